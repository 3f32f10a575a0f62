//! pprof: gzip around one protobuf message, as `go tool pprof`, Grafana and speedscope read it.
//!
//! The format is <https://github.com/google/pprof/blob/main/proto/profile.proto>; field numbers below are its. Strings, functions
//! and locations are tables, a sample is a list of locations, leaf first. Counts are samples, and beside them the CPU time
//! they stand for. The process is a label (`comm`), not a frame: pprof's own views group by labels.
//!
//! Invariant: the values of all samples add up to the root's total.

use std::collections::HashMap;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::profile::{CallTree, FrameId, FrameKind};

/// What a value counts, and in what.
#[derive(Clone, PartialEq, Eq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    locations: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    labels: Vec<Label>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    file: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping: u64,
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "4")]
    file: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mappings: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// A frame as pprof knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PprofFrame<'a> {
    /// Function.
    pub name: &'a str,
    /// Source file, or nothing.
    pub file: &'a str,
    /// Line, 0 when not known.
    pub line: u32,
    /// Path of the binary, or nothing.
    pub binary: &'a str,
}

/// Builds one profile, sample by sample.
#[derive(Debug)]
pub struct Pprof {
    profile: Profile,
    strings: HashMap<Box<str>, i64>,
    mappings: HashMap<i64, u64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<(u64, u64, u32), u64>,
    nanos_per_sample: i64,
}

impl Pprof {
    /// An empty profile of a time range in nanoseconds, whose samples stand for this much CPU time each.
    #[must_use]
    pub fn new(start: i64, length: i64, nanos_per_sample: u64) -> Self {
        let period = i64::try_from(nanos_per_sample).unwrap_or(i64::MAX);
        let mut new = Self {
            profile: Profile { time_nanos: start, duration_nanos: length, period, ..Profile::default() },
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            nanos_per_sample: period,
        };
        // The format wants the empty string first.
        new.string("");
        let count = ValueType { kind: new.string("samples"), unit: new.string("count") };
        let time = ValueType { kind: new.string("cpu"), unit: new.string("nanoseconds") };
        new.profile.period_type = Some(time.clone());
        new.profile.sample_types = vec![count, time];
        new
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&known) = self.strings.get(text) {
            return known;
        }
        let id = self.profile.strings.len() as i64;
        self.profile.strings.push(text.to_owned());
        self.strings.insert(text.into(), id);
        id
    }

    /// The number of a frame, for [`Self::add`].
    pub fn location(&mut self, frame: PprofFrame<'_>) -> u64 {
        let (name, file) = (self.string(frame.name), self.string(frame.file));
        let mapping = if frame.binary.is_empty() { 0 } else { self.mapping(frame.binary) };
        let functions = &mut self.profile.functions;
        let function = *self.functions.entry((name, file)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(Function { id, name, file });
            id
        });
        let locations = &mut self.profile.locations;
        *self.locations.entry((mapping, function, frame.line)).or_insert_with(|| {
            let id = locations.len() as u64 + 1;
            locations.push(Location { id, mapping, lines: vec![Line { function, line: frame.line.into() }] });
            id
        })
    }

    fn mapping(&mut self, binary: &str) -> u64 {
        let file = self.string(binary);
        let mappings = &mut self.profile.mappings;
        *self.mappings.entry(file).or_insert_with(|| {
            let id = mappings.len() as u64 + 1;
            mappings.push(Mapping { id, file, has_functions: true });
            id
        })
    }

    /// Adds samples of one stack, leaf first.
    pub fn add(&mut self, locations: Vec<u64>, samples: u64, labels: &[(&str, &str)]) {
        let count = i64::try_from(samples).unwrap_or(i64::MAX);
        let labels =
            labels.iter().map(|(key, text)| Label { key: self.string(key), text: self.string(text) }).collect();
        let values = vec![count, count.saturating_mul(self.nanos_per_sample)];
        self.profile.samples.push(Sample { locations, values, labels });
    }

    /// Writes the finished profile.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut out = GzEncoder::new(out, Compression::default());
        out.write_all(&self.profile.encode_to_vec())?;
        out.finish()?.flush()
    }
}

/// Writes a call tree of `[start, start + length)` nanoseconds.
///
/// # Errors
/// Those of `out`.
pub fn write(tree: &CallTree, start: i64, length: i64, nanos_per_sample: u64, out: impl Write) -> io::Result<()> {
    let mut pprof = Pprof::new(start, length, nanos_per_sample);
    // The frames from the root to the node before, and the name of its process.
    let mut path = Vec::<FrameId>::new();
    for node in &tree.nodes {
        path.truncate(node.depth as usize);
        path.push(node.frame);
        if node.self_ == 0 {
            continue;
        }
        let frames = path.iter().filter_map(|frame| tree.frames.get(frame.0 as usize));
        let comm = frames.clone().find(|frame| frame.kind == FrameKind::Process).map_or("", |frame| &frame.name);
        let code = frames.filter(|frame| !matches!(frame.kind, FrameKind::Root | FrameKind::Process));
        let mut locations: Vec<_> = code
            .map(|frame| {
                pprof.location(PprofFrame {
                    name: &frame.name,
                    file: frame.file.as_deref().unwrap_or_default(),
                    line: frame.line.unwrap_or_default(),
                    binary: frame.binary.as_deref().unwrap_or_default(),
                })
            })
            .collect();
        locations.reverse();
        pprof.add(locations, node.self_, &[("comm", comm)]);
    }
    pprof.write(out)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::export::drawing::tree;

    fn read(bytes: &[u8]) -> Profile {
        let mut raw = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
        Profile::decode(&raw[..]).unwrap()
    }

    /// Leaf first, the process as a label, values that add up: what pprof's readers rely on.
    #[test]
    fn a_tree_becomes_samples_leaf_first_with_their_process() {
        let tree = tree("web 0\n  main 1\n    serve 3\ndb 0\n  main 2\n");
        let mut out = Vec::new();
        write(&tree, 5, 10, 100, &mut out).unwrap();
        let profile = read(&out);
        let text = |at: i64| profile.strings[at as usize].as_str();
        let name = |location: &u64| {
            let location = &profile.locations[*location as usize - 1];
            text(profile.functions[location.lines[0].function as usize - 1].name)
        };
        let mut samples: Vec<_> = profile
            .samples
            .iter()
            .map(|sample| {
                let stack: Vec<_> = sample.locations.iter().map(name).collect();
                format!("{} {} {:?}", text(sample.labels[0].text), stack.join("<"), sample.values)
            })
            .collect();
        samples.sort();
        assert_eq!(samples, ["db main [2, 200]", "web main [1, 100]", "web serve<main [3, 300]"]);
        assert_eq!((profile.time_nanos, profile.duration_nanos, profile.period), (5, 10, 100));
        assert_eq!(text(0), "");
    }

    /// Nothing to show is a profile all the same.
    #[test]
    fn an_empty_tree_is_an_empty_profile() {
        let mut out = Vec::new();
        write(&CallTree::default(), 0, 0, 0, &mut out).unwrap();
        assert!(read(&out).samples.is_empty());
    }
}
