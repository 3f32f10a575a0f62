//! pprof: gzip around one protobuf message, as `go tool pprof`, Grafana and speedscope read it.
//!
//! In: [`StackSamples`], places in code that are not merged by function, so that lines and addresses are true. Out: the
//! message of [`message`]. A location is a place, its lines the functions inlined there; a mapping is the sampled part of
//! a file (see [`layout`]); the process is a set of labels, and a root frame where that is asked for. Values are samples,
//! and the CPU time they stand for.
//!
//! Invariant: the values of all samples add up to those of the input.

mod layout;
mod message;

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::profile::{StackSamples, ThreadLabels};
use layout::Layout;
use message::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};

/// What a profile says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Beginning of the range, in nanoseconds since the Unix epoch.
    pub start: i64,
    /// Lines for people: what made it, where.
    pub comments: Vec<String>,
    /// Whether each stack begins with a frame that names its process.
    pub process_frames: bool,
}

/// What made a profile, and on which host, where that is known.
#[must_use]
pub fn comments(host: Option<String>) -> Vec<String> {
    let program = concat!("profiler ", env!("CARGO_PKG_VERSION")).to_owned();
    std::iter::once(program).chain(host.map(|host| format!("host {host}"))).collect()
}

/// Texts of a profile, each once; the first one is empty.
#[derive(Debug)]
struct Strings {
    list: Vec<String>,
    known: HashMap<Box<str>, i64>,
}

impl Strings {
    fn new() -> Self {
        Self { list: vec![String::new()], known: HashMap::from([(Box::default(), 0)]) }
    }

    fn of(&mut self, text: &str) -> i64 {
        if let Some(known) = self.known.get(text) {
            return *known;
        }
        let at = self.list.len() as i64;
        self.list.push(text.to_owned());
        self.known.insert(text.into(), at);
        at
    }
}

/// Writes samples as a profile.
///
/// # Errors
/// Those of `out`.
pub fn write(samples: &StackSamples, about: &About, out: impl Write) -> io::Result<()> {
    let mut strings = Strings::new();
    let mut profile = header(samples, about, &mut strings);
    let program = main_program(samples);
    let layout = Layout::of(samples, program);
    profile.mappings = layout.parts.iter().map(|part| mapping(samples, part, &mut strings)).collect();
    if let Some(program) = program {
        profile.mappings[..=program].rotate_right(1);
    }
    profile.functions = (1..)
        .zip(&samples.functions)
        .map(|(id, function)| Function {
            id,
            name: strings.of(&function.name),
            system_name: strings.of(&function.linker_name),
            file: strings.of(function.file.as_deref().unwrap_or_default()),
            start_line: function.declared.into(),
        })
        .collect();
    profile.locations = (1..)
        .zip(&samples.places)
        .zip(&layout.places)
        .map(|((id, place), (part, address))| Location {
            id,
            mapping: part.map_or(0, |part| u64::from(part) + 1),
            address: *address,
            lines: place
                .lines
                .iter()
                .map(|at| Line { function: u64::from(at.function) + 1, line: at.line.into(), column: 0 })
                .collect(),
            is_folded: false,
        })
        .collect();
    let roots = if about.process_frames { process_frames(samples, &mut profile, &mut strings) } else { Vec::new() };
    let labels: Vec<Vec<Label>> = samples.threads.iter().map(|thread| labels(thread, &mut strings)).collect();
    let mut out = GzEncoder::new(out, Compression::default());
    // Fields may come in any order and pieces: samples are the bulk, and are written one by one.
    let mut piece = Vec::new();
    for sample in &samples.samples {
        let mut locations: Vec<u64> = samples.places_of(sample).map(|place| u64::from(place) + 1).collect();
        locations.extend(roots.get(sample.thread as usize));
        let value = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let values = vec![value(sample.samples), value(sample.nanos)];
        let sample = Sample { locations, values, labels: labels[sample.thread as usize].clone() };
        prost::encoding::message::encode(2, &sample, &mut piece);
        if piece.len() > 1 << 16 {
            out.write_all(&piece)?;
            piece.clear();
        }
    }
    out.write_all(&piece)?;
    profile.strings = strings.list;
    out.write_all(&profile.encode_to_vec())?;
    out.finish()?.flush()
}

fn header(samples: &StackSamples, about: &About, strings: &mut Strings) -> Profile {
    let count = ValueType { kind: strings.of("samples"), unit: strings.of("count") };
    let time = ValueType { kind: strings.of("cpu"), unit: strings.of("nanoseconds") };
    let (all, nanos) = samples.totals();
    Profile {
        time_nanos: about.start,
        duration_nanos: i64::try_from(samples.recorded_nanos).unwrap_or(i64::MAX),
        period: i64::try_from(nanos.checked_div(all).unwrap_or(0)).unwrap_or(i64::MAX),
        period_type: Some(time.clone()),
        default_sample_type: time.kind,
        sample_types: vec![count, time],
        comments: about.comments.iter().map(|comment| strings.of(comment)).collect(),
        ..Profile::default()
    }
}

/// The binary of the program with the most samples: pprof takes the first mapping for the program that was profiled.
fn main_program(samples: &StackSamples) -> Option<usize> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for sample in &samples.samples {
        let count = counts.entry(&samples.threads[sample.thread as usize].exe).or_default();
        *count = count.saturating_add(sample.samples);
    }
    let exes = samples.binaries.iter().map(|binary| counts.get(&*binary.path).copied().unwrap_or(0));
    let (nth, count) = exes.enumerate().max_by_key(|(nth, count)| (*count, std::cmp::Reverse(*nth)))?;
    (count > 0).then_some(nth)
}

fn mapping(samples: &StackSamples, part: &layout::Part, strings: &mut Strings) -> Mapping {
    let binary = &samples.binaries[part.binary as usize];
    let build_id = binary.build_id.map(|id| id.to_string()).unwrap_or_default();
    Mapping {
        id: u64::from(part.binary) + 1,
        start: part.start,
        limit: part.limit,
        offset: part.offset,
        file: strings.of(&binary.path),
        build_id: strings.of(&build_id),
        has_functions: part.named,
        has_filenames: part.has_files,
        has_line_numbers: part.has_lines,
        has_inline_frames: part.has_inlined,
    }
}

/// A location for each thread that names its process, for the root of its stacks.
fn process_frames(samples: &StackSamples, profile: &mut Profile, strings: &mut Strings) -> Vec<u64> {
    let mut known = HashMap::new();
    let Profile { functions, locations, .. } = profile;
    let frame = |thread: &ThreadLabels| {
        let name = strings.of(&thread.comm);
        *known.entry(name).or_insert_with(|| {
            let function = functions.len() as u64 + 1;
            functions.push(Function { id: function, name, system_name: name, ..Function::default() });
            let id = locations.len() as u64 + 1;
            locations.push(Location { id, lines: vec![Line { function, ..Line::default() }], ..Location::default() });
            id
        })
    };
    samples.threads.iter().map(frame).collect()
}

fn labels(thread: &ThreadLabels, strings: &mut Strings) -> Vec<Label> {
    let pid = thread.pid.to_string();
    let texts: [(&str, &str); 7] = [
        ("pid", &pid),
        ("comm", &thread.comm),
        ("thread", &thread.thread),
        ("exe", &thread.exe),
        ("cgroup", &thread.cgroup),
        ("container", &thread.container),
        ("unit", &thread.unit),
    ];
    let label = |(key, text): (&str, &str), strings: &mut Strings| Label {
        key: strings.of(key),
        text: strings.of(text),
        ..Label::default()
    };
    texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|text| label(text, strings)).collect()
}

#[cfg(test)]
mod tests;
