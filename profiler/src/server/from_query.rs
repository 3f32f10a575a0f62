//! Query results become wire values: indexes for strings, milliseconds for times, columns for rows. Nothing is computed.

use std::collections::{BTreeMap, HashMap};

use super::api;
use super::live::{Cost, LiveStatus};
use crate::annotate;
use crate::profile::{CallTree, Frame, LossCause, MissedTicks, Reason, TimeRange, WallNanos};
use crate::query;

/// The timeline's buckets as columns, and the series of a label's values; `since` is when the sampler that is running started.
#[must_use]
pub fn timeline(
    timeline: &query::Timeline,
    groups: Option<(String, query::Series)>,
    since: Option<WallNanos>,
    now: WallNanos,
) -> api::Timeline {
    let length = timeline.step.saturating_mul(i64::try_from(timeline.buckets.len()).unwrap_or(i64::MAX));
    let end = WallNanos(timeline.start.0.saturating_add(length));
    // While something records, what comes after the newest window is not there yet; the future never is.
    let known = if since.is_some() { timeline.known_until.or(since) } else { None };
    let known = known.map_or(now, |known| WallNanos(known.0.min(now.0)));
    let gap = |gap: &TimeRange| {
        let to = WallNanos(gap.to.0.min(known.0));
        (gap.from.0 < to.0).then(|| api::Gap { from_ms: gap.from.as_millis(), to_ms: to.as_millis() })
    };
    let mut began = timeline.resumed.clone();
    // The first window of this sampler may be one of them already.
    let new = |since: &WallNanos| began.iter().all(|at| at.0.abs_diff(since.0) > timeline.step.unsigned_abs());
    began.extend(since.filter(|since| (timeline.start.0..end.0).contains(&since.0)).filter(new));
    began.sort_unstable();
    api::Timeline {
        from_ms: timeline.start.as_millis(),
        to_ms: end.as_millis(),
        step_ms: timeline.step / 1_000_000,
        buckets: api::TimelineBuckets {
            samples: timeline.buckets.iter().map(|bucket| bucket.samples).collect(),
            busy_cores: timeline.buckets.iter().map(|bucket| bucket.busy_cores).collect(),
            utilisation: timeline.buckets.iter().map(|bucket| bucket.utilisation).collect(),
            lost: timeline.buckets.iter().map(|bucket| bucket.lost).collect(),
            missed_share: timeline.buckets.iter().map(|bucket| bucket.missed_share).collect(),
            missed_cause: timeline.buckets.iter().map(|bucket| worst(&bucket.missed)).collect(),
            incomplete: timeline.buckets.iter().map(|bucket| bucket.incomplete).collect(),
        },
        gaps: timeline.gaps.iter().filter_map(gap).collect(),
        began_ms: began.into_iter().map(WallNanos::as_millis).collect(),
        cpus: timeline.cpus,
        groups: groups.map(|(label, series)| {
            let (values, samples) = series.values.into_iter().unzip();
            let query::Series { others, hidden_values, measure, .. } = series;
            let (scale, counts_samples) = (measure.scale(), measure.counts_samples());
            api::TimelineGroups { label, values, samples, others, hidden_values, scale, counts_samples }
        }),
    }
}

/// What most ticks were missed for.
fn worst(missed: &MissedTicks) -> Option<String> {
    let (cause, ticks) = missed.iter().max_by_key(|(_, ticks)| *ticks)?;
    (ticks > 0).then(|| cause.name().to_owned())
}

/// Missed ticks by the name of the cause, zeros too.
fn by_cause(missed: &MissedTicks) -> BTreeMap<String, u64> {
    missed.iter().map(|(cause, ticks)| (cause.name().to_owned(), ticks)).collect()
}

/// A function's lines.
#[must_use]
pub fn source(function: String, lines: &query::Lines, read: annotate::Source) -> api::Source {
    let line = |line: annotate::Line| api::SourceText {
        line: line.line,
        text: line.text,
        self_: line.self_,
        total: line.total,
    };
    api::Source {
        function,
        file: lines.file.as_deref().map(str::to_owned),
        found: read.found,
        reason: read.reason,
        total: lines.total,
        scale: lines.measure.scale(),
        counts_samples: lines.measure.counts_samples(),
        first_line: read.lines.first().map_or(0, |line| line.line),
        lines: read.lines.into_iter().map(line).collect(),
    }
}

/// That no sample of the range has the function: an answer, for pages ask again when the range changes, and a function may be in none of it.
#[must_use]
pub fn no_source(asked: query::FunctionIs) -> api::Source {
    api::Source {
        reason: Some(nowhere(&asked)),
        function: asked.name,
        file: asked.file,
        found: None,
        total: 0,
        scale: 0,
        counts_samples: true,
        first_line: 0,
        lines: Vec::new(),
    }
}

/// The same of its instructions.
#[must_use]
pub fn no_disassembly(asked: query::FunctionIs) -> api::Disassembly {
    api::Disassembly {
        reason: Some(nowhere(&asked)),
        function: asked.name,
        binary: asked.binary,
        build_id: None,
        available: false,
        instructions: Vec::new(),
        total: 0,
        scale: 0,
        counts_samples: true,
        hidden_instructions: 0,
    }
}

fn nowhere(asked: &query::FunctionIs) -> String {
    let place = asked.binary.as_ref().or(asked.file.as_ref()).map_or_else(String::new, |place| format!(" of {place}"));
    format!("no sample of this range and filter has the function{place}")
}

/// A function's instructions.
#[must_use]
pub fn disassembly(function: String, code: &query::Code, read: annotate::Disassembly) -> api::Disassembly {
    let instruction = |instruction: annotate::Instruction| {
        let (file, line) =
            instruction.source.map_or((None, None), |source| (Some(source.file.to_string()), source.line));
        let hidden = instruction.hidden.clone();
        let shown = |nth, byte| if hidden.contains(&nth) { "..".to_owned() } else { format!("{byte:02x}") };
        api::Instruction {
            address: format!("{:x}", instruction.address),
            bytes: (0_usize..).zip(&instruction.bytes).map(|(nth, byte)| shown(nth, *byte)).collect(),
            text: instruction.text,
            file,
            line,
            self_: instruction.self_,
            total: instruction.total,
        }
    };
    api::Disassembly {
        function,
        binary: Some(code.binary.path.clone()),
        build_id: code.binary.build_id.map(|id| id.to_string()),
        available: read.instructions.iter().any(|instruction| !instruction.text.is_empty()),
        reason: read.reason,
        instructions: read.instructions.into_iter().map(instruction).collect(),
        total: code.total,
        scale: code.measure.scale(),
        counts_samples: code.measure.counts_samples(),
        hidden_instructions: read.hidden as u64,
    }
}

/// Both sides' tree as columns.
#[must_use]
pub fn diff(ranges: [TimeRange; 2], by: query::By, diff: &query::Diff) -> api::Diff {
    let mut strings = Strings::default();
    let [before, after] = [0, 1].map(|side| {
        let (range, side) = (ranges[side], diff.sides[side]);
        api::DiffSide {
            from_ms: range.from.as_millis(),
            to_ms: range.to.as_millis(),
            samples: side.total,
            scale: side.measure.scale(),
            counts_samples: side.measure.counts_samples(),
            heaviest: side.measure.heaviest(),
            incomplete: side.incomplete,
            recorded_ms: side.recorded_nanos / 1_000_000,
        }
    });
    let nodes = &diff.nodes;
    api::Diff {
        before,
        after,
        by: match by {
            query::By::Share => "share",
            query::By::Time => "time",
        }
        .into(),
        hidden_nodes: diff.hidden_nodes,
        frames: columns(&diff.frames, &mut strings),
        nodes: api::DiffColumns {
            depth: nodes.iter().map(|node| node.depth).collect(),
            frame: nodes.iter().map(|node| node.frame.0).collect(),
            total_before: nodes.iter().map(|node| node.total[0]).collect(),
            total_after: nodes.iter().map(|node| node.total[1]).collect(),
            self_before: nodes.iter().map(|node| node.self_[0]).collect(),
            self_after: nodes.iter().map(|node| node.self_[1]).collect(),
            // Two digits: more would say nothing, and take most of the answer.
            z: nodes.iter().map(|node| (node.z * 100.0).round() / 100.0).collect(),
        },
        strings: strings.list.into_iter().map(str::to_owned).collect(),
    }
}

/// The cells of a heat map.
#[must_use]
pub fn heat_map(grid: query::Grid, map: query::HeatMap) -> api::HeatMap {
    api::HeatMap {
        from_ms: grid.range.from.as_millis(),
        to_ms: grid.range.to.as_millis(),
        columns: grid.columns,
        rows: grid.rows,
        column_nanos: grid.column_nanos(),
        samples: map.cells,
        untimed: map.untimed,
        scale: map.measure.scale(),
        counts_samples: map.measure.counts_samples(),
    }
}

/// The tree as columns; `own_exe` is the profiler's executable.
#[must_use]
pub fn flame_graph(range: TimeRange, merged: &query::Merged, own_exe: Option<&str>) -> api::FlameGraph {
    let CallTree { nodes, frames, incomplete, hidden_nodes } = &merged.tree;
    let mut strings = Strings::default();
    api::FlameGraph {
        from_ms: range.from.as_millis(),
        to_ms: range.to.as_millis(),
        samples: nodes.first().map_or(0, |root| root.total),
        scale: merged.measure.scale(),
        counts_samples: merged.measure.counts_samples(),
        incomplete: *incomplete,
        hidden_nodes: *hidden_nodes,
        kinds: merged.kinds.into(),
        around: merged.around.map(|of| api::FunctionSamples { total: of.total, self_: of.self_ }),
        recorded_ms: merged.recorded_nanos / 1_000_000,
        own: own_exe.map(|exe| api::OwnWork {
            exe: exe.to_owned(),
            names: merged.own.names.iter().map(ToString::to_string).collect(),
            total: merged.own.total,
        }),
        hottest: merged.hottest.as_ref().map(|hottest| api::Hottest {
            process: hottest.process.to_string(),
            total: hottest.total,
            function: hottest.function.as_ref().map(|frame| api::HottestFunction {
                name: frame.name.to_string(),
                kind: frame.kind as u8,
                binary: frame.binary.as_deref().map(Into::into),
                file: frame.file.as_deref().map(Into::into),
                self_: hottest.self_,
            }),
        }),
        frames: columns(frames, &mut strings),
        nodes: api::NodeColumns {
            depth: nodes.iter().map(|node| node.depth).collect(),
            frame: nodes.iter().map(|node| node.frame.0).collect(),
            total: nodes.iter().map(|node| node.total).collect(),
            self_: nodes.iter().map(|node| node.self_).collect(),
        },
        strings: strings.list.into_iter().map(str::to_owned).collect(),
    }
}

fn columns<'a>(frames: &'a [Frame], strings: &mut Strings<'a>) -> api::FrameColumns {
    let mut columns = api::FrameColumns::default();
    for frame in frames {
        columns.name.push(strings.index(&frame.name));
        columns.kind.push(frame.kind as u8);
        columns.binary.push(strings.optional(frame.binary.as_deref()));
        columns.file.push(strings.optional(frame.file.as_deref()));
        columns.line.push(frame.line.unwrap_or(0));
        columns.reason.push(strings.optional(frame.reason.map(Reason::name)));
    }
    columns
}

/// Each string once, in the order of first use.
#[derive(Default)]
struct Strings<'a> {
    list: Vec<&'a str>,
    index: HashMap<&'a str, u32>,
}

impl<'a> Strings<'a> {
    fn index(&mut self, text: &'a str) -> u32 {
        *self.index.entry(text).or_insert_with(|| {
            self.list.push(text);
            u32::try_from(self.list.len() - 1).expect("a tree has fewer than 2^32 / 3 frames")
        })
    }

    fn optional(&mut self, text: Option<&'a str>) -> i64 {
        text.map_or(-1, |text| i64::from(self.index(text)))
    }
}

/// How good the stacks are.
#[must_use]
pub fn quality(quality: query::Quality) -> api::Quality {
    let row = |row: query::Incomplete| api::Incomplete {
        cause: row.end.name().to_owned(),
        comm: row.comm.as_ref().into(),
        binary: row.binary.as_deref().map(Into::into),
        samples: row.samples,
        remedy: row.remedy.map(Into::into),
    };
    let interpreter = |row: query::Interpreted| api::Interpreter {
        comm: row.comm.as_ref().into(),
        runtime: row.runtime.to_string(),
        file: row.file.as_deref().map(Into::into),
        total: row.total,
        named: row.named,
        remedies: row.remedies.into_iter().map(remedy).collect(),
    };
    let unnamed = |row: query::Unnamed| api::Unnamed {
        reason: row.reason.unwrap_or(Reason::Unnamed(None)).name().to_owned(),
        binary: row.binary.as_deref().map(Into::into),
        samples: row.samples,
    };
    api::Quality {
        samples: quality.total,
        scale: quality.measure.scale(),
        counts_samples: quality.measure.counts_samples(),
        complete: quality.complete,
        incomplete: quality.incomplete.into_iter().map(row).collect(),
        hidden_rows: quality.hidden_rows,
        kinds: quality.kinds.into(),
        unnamed: quality.unnamed.into_iter().map(unnamed).collect(),
        hidden_unnamed: quality.hidden_unnamed,
        interpreters: quality.interpreters.into_iter().map(interpreter).collect(),
        hidden_interpreters: quality.hidden_interpreters,
        script_total: quality.scripts[0],
        script_named: quality.scripts[1],
        missed_share: quality.missed_share,
        ticks_missed: by_cause(&quality.missed),
    }
}

/// The binaries.
#[must_use]
pub fn binaries(binaries: query::NamedBinaries) -> api::Binaries {
    let row = |row: query::NamedBinary| api::Binary {
        path: row.path,
        build_id: row.build_id,
        program: row.program,
        samples_self: row.samples_self,
        frames: row.frames,
        named: row.named,
        inlined_frames: row.inlined_frames,
        sources: row
            .sources
            .into_iter()
            .map(|found| api::NameSource { source: found.source.name().to_owned(), found: found.found })
            .collect(),
        reason: row.reason.map(|reason| reason.name().to_owned()),
        remedies: row.remedies.into_iter().map(remedy).collect(),
    };
    api::Binaries {
        binaries: binaries.rows.into_iter().map(row).collect(),
        hidden_rows: binaries.hidden_rows,
        frames: binaries.frames,
        named: binaries.named,
        together: binaries.together.map(remedy),
        scale: binaries.measure.scale(),
        counts_samples: binaries.measure.counts_samples(),
    }
}

fn remedy(remedy: query::Remedy) -> api::Remedy {
    api::Remedy { command: remedy.command, note: remedy.note }
}

/// The table.
#[must_use]
pub fn top(top: query::Top) -> api::Top {
    let row = |row: query::TopRow| api::TopRow {
        name: row.frame.name.as_ref().into(),
        kind: row.frame.kind as u8,
        binary: row.frame.binary.as_deref().map(Into::into),
        file: row.frame.file.as_deref().map(Into::into),
        line: row.frame.line,
        self_: row.self_,
        total: row.total,
    };
    api::Top {
        samples: top.total,
        scale: top.measure.scale(),
        counts_samples: top.measure.counts_samples(),
        rows: top.rows.into_iter().map(row).collect(),
        hidden_rows: top.hidden_rows,
        unmatched_rows: top.unmatched_rows,
    }
}

/// The values of one label.
#[must_use]
pub fn label_values(label: String, found: query::LabelValues) -> api::LabelValues {
    let query::LabelValues { measure, values, hidden_values, total, mut names } = found;
    let value = |(value, samples): (String, u64)| api::LabelValue { name: names.remove(&value), value, samples };
    api::LabelValues {
        label,
        values: values.into_iter().map(value).collect(),
        hidden_values,
        samples: total,
        scale: measure.scale(),
        counts_samples: measure.counts_samples(),
    }
}

/// The ledger. Every cause of loss is there, at zero too; of the ends only those that occurred.
#[must_use]
pub fn totals(totals: &query::Totals) -> api::Totals {
    let lost = |cause: LossCause| (cause.name().to_owned(), totals.losses.0.get(&cause).copied().unwrap_or(0));
    let mut stacks = BTreeMap::new();
    for (end, samples) in &totals.stacks {
        *stacks.entry(end.name().to_owned()).or_default() += samples;
    }
    api::Totals {
        taken: totals.taken,
        stored: totals.stored,
        lost: LossCause::ALL.into_iter().map(lost).collect(),
        stacks,
    }
}

/// The sampler, live.
#[must_use]
pub fn recording(live: &LiveStatus, own: Cost, children: Cost, now: WallNanos) -> api::Recording {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    api::Recording {
        event: live.event.to_owned(),
        hz: live.hz,
        hz_wanted: live.hz_wanted,
        cpus: live.cpus,
        since_ms: live.since.as_millis(),
        window_ms: millis(live.window),
        lag_ms: millis(live.lag(now)),
        late: live.late(now).map(|late| late.name().to_owned()),
        waits_for: live.waits_for(),
        cpu_ms: millis(own.cpu + children.cpu),
        rss_bytes: own.rss_bytes.saturating_add(children.rss_bytes),
        children_cpu_ms: millis(children.cpu),
        children_rss_bytes: children.rss_bytes,
        ticks_missed: by_cause(&live.ticks_missed),
        unwind: live.unwind.map(|unwind| api::UnwindTables {
            files: unwind.files,
            rows: unwind.rows,
            loading: unwind.loading,
            processes: unwind.processes,
            memory_bytes: unwind.held_bytes,
            memory_limit_bytes: unwind.budget_bytes,
            evicted: unwind.evicted,
        }),
        names: live.name_sources.names().map(str::to_owned).collect(),
    }
}
