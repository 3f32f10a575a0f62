#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::profile::{
    BinaryKind, BuildId, CodeFile, CodePlace, CodeSegment, FrameKind, FunctionNames, PlaceLine, ThreadStack,
};

fn uncompressed(bytes: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut raw).unwrap();
    raw
}

fn written(samples: &StackSamples, about: &About) -> Vec<u8> {
    let mut out = Vec::new();
    write(samples, about, &mut out).unwrap();
    out
}

fn read(samples: &StackSamples, about: &About) -> Profile {
    Profile::decode(&uncompressed(&written(samples, about))[..]).unwrap()
}

fn function(name: &str, file: Option<&str>) -> FunctionNames {
    FunctionNames {
        name: name.into(),
        linker_name: format!("_Z{name}").as_str().into(),
        file: file.map(Into::into),
        declared: 2,
    }
}

fn line(function: u32, line: u32, kind: FrameKind) -> PlaceLine {
    PlaceLine { function, line, kind }
}

fn thread(pid: u32, comm: &str, name: &str) -> ThreadLabels {
    let none = Arc::<str>::default();
    ThreadLabels {
        pid,
        comm: comm.into(),
        thread: name.into(),
        exe: format!("/usr/bin/{comm}").as_str().into(),
        cgroup: none.clone(),
        container: none.clone(),
        unit: none,
    }
}

/// main (app+0x1234, line 7) calls step, inlined into loop (app+0x2010); the kernel below it; one stack is cut short.
fn drawn() -> StackSamples {
    let binaries = vec![
        CodeFile {
            kind: BinaryKind::File,
            path: "/usr/bin/app".into(),
            build_id: BuildId::new(&[0xab, 0xcd]),
            code: None,
        },
        CodeFile { kind: BinaryKind::Kernel, path: "[kernel]".into(), build_id: BuildId::new(&[0x01]), code: None },
        CodeFile { kind: BinaryKind::File, path: "/usr/lib/libx.so".into(), build_id: None, code: None },
    ];
    let functions = vec![
        function("main", Some("app.c")),
        function("loop", Some("app.c")),
        function("step", Some("step.h")),
        function("do_syscall_64", None),
        function("[libx.so+0x9]", None),
        function("[stack cut short]", None),
    ];
    let place =
        |binary: u32, offset, named, lines: Vec<PlaceLine>| CodePlace { binary: Some(binary), offset, named, lines };
    let places = vec![
        place(0, 0x1234, true, vec![line(0, 7, FrameKind::User)]),
        place(0, 0x2010, true, vec![line(2, 3, FrameKind::Inlined), line(1, 9, FrameKind::User)]),
        place(1, 0xffff_ffff_8100_0010, true, vec![line(3, 0, FrameKind::Kernel)]),
        place(2, 9, false, vec![line(4, 0, FrameKind::Unknown)]),
        CodePlace { binary: None, offset: 0, named: false, lines: vec![line(5, 0, FrameKind::Note)] },
    ];
    let nodes = vec![(0, 0), (0, 0), (1, 1), (2, 2), (0, 3)];
    let threads = vec![thread(7, "web", "web"), thread(7, "web", "io")];
    let stack = |thread, node, note, samples| ThreadStack { thread, node, note, samples, nanos: samples * 100 };
    let samples = vec![stack(0, 2, None, 3), stack(1, 3, None, 2), stack(1, 4, Some(4), 1)];
    StackSamples { binaries, functions, places, nodes, threads, samples, recorded_nanos: 50 }
}

fn mapping_of<'p>(profile: &'p Profile, location: &Location) -> &'p Mapping {
    profile.mappings.iter().find(|mapping| mapping.id == location.mapping).unwrap()
}

/// A stack as `function:line<...@pid/thread`, inlined functions joined by `^`.
fn shown(profile: &Profile) -> Vec<String> {
    let text = |at: i64| profile.strings[at as usize].as_str();
    let line = |line: &Line| format!("{}:{}", text(profile.functions[line.function as usize - 1].name), line.line);
    let location = |id: &u64| profile.locations[*id as usize - 1].lines.iter().map(line).collect::<Vec<_>>().join("^");
    let label = |sample: &Sample, key: &str| {
        let label = sample.labels.iter().find(|label| text(label.key) == key);
        label.map_or("-", |label| text(label.text)).to_owned()
    };
    let stack = |sample: &Sample| {
        let stack: Vec<_> = sample.locations.iter().map(location).collect();
        format!("{} @{}/{} {:?}", stack.join("<"), label(sample, "pid"), label(sample, "thread"), sample.values)
    };
    profile.samples.iter().map(stack).collect()
}

/// Leaf first, each place with its own line, inlined functions as lines of one location, the note at the root, labels of the thread.
#[test]
fn samples_keep_places_lines_and_labels() {
    let profile = read(&drawn(), &About { start: 5, comments: vec!["made by".into()], process_frames: false });
    assert_eq!(
        shown(&profile),
        [
            "step:3^loop:9<main:7 @7/web [3, 300]",
            "do_syscall_64:0<step:3^loop:9<main:7 @7/io [2, 200]",
            "[libx.so+0x9]:0<[stack cut short]:0 @7/io [1, 100]",
        ]
    );
    let text = |at: i64| profile.strings[at as usize].as_str();
    assert_eq!((profile.time_nanos, profile.duration_nanos, profile.period), (5, 50, 100));
    assert_eq!((text(0), text(profile.default_sample_type), text(profile.comments[0])), ("", "cpu", "made by"));
    assert_eq!(text(profile.functions[0].system_name), "_Zmain");
}

/// Addresses lead back to file offsets; what is an address of the kernel does not leave.
#[test]
fn addresses_lead_back_to_file_offsets_and_those_of_the_kernel_stay() {
    let samples = drawn();
    let profile = read(&samples, &About::default());
    for (location, place) in profile.locations.iter().zip(&samples.places) {
        let Some(binary) = place.binary else {
            assert_eq!((location.mapping, location.address), (0, 0));
            continue;
        };
        let mapping = mapping_of(&profile, location);
        assert_eq!(profile.strings[mapping.file as usize], *samples.binaries[binary as usize].path);
        if samples.binaries[binary as usize].kind == BinaryKind::Kernel {
            assert_eq!((location.address, mapping.start, mapping.limit), (0, 0, 0));
        } else {
            assert!((mapping.start..mapping.limit).contains(&location.address), "{mapping:?} {location:?}");
            assert_eq!(location.address - mapping.start + mapping.offset, place.offset);
        }
    }
    let of = |nth: usize| &profile.mappings[nth];
    assert_eq!(profile.strings[of(0).build_id as usize], "abcd");
    assert_eq!([of(0).has_functions, of(0).has_line_numbers, of(0).has_inline_frames], [true; 3]);
    assert_eq!([of(2).has_functions, of(2).has_line_numbers, of(2).has_inline_frames], [false; 3]);
    assert_eq!((of(0).limit - of(0).start, of(0).offset), (0x2000, 0x1000));
    assert!(of(2).start > of(0).limit, "addresses of two files are different ones");
    // To pprof that is a kernel.
    assert_ne!(of(0).start, of(0).offset);
    assert_eq!((of(2).offset, of(2).limit - of(2).start), (0, 4096));
}

/// A mapping is the executable segment where that is known and its samples lie in it: of the program where the linker put it, of others
/// where nothing else is.
#[test]
fn mappings_are_executable_segments() {
    let mapping = |code: CodeSegment, exe: &str| {
        let mut samples = drawn();
        samples.binaries[0].code = Some(code);
        samples.threads.iter_mut().for_each(|thread| thread.exe = exe.into());
        let profile = read(&samples, &About::default());
        let Mapping { start, limit, offset, .. } = *mapping_of(&profile, &profile.locations[0]);
        (start, limit - start, offset, profile.locations[0].address)
    };
    let whole = CodeSegment { offset: 0x1000, address: 0x40_1000, len: 0x5001 };
    assert_eq!(mapping(whole, "/usr/bin/app"), (0x40_1000, 0x6000, 0x1000, 0x40_1234));
    // As lld has it.
    let within = CodeSegment { offset: 0x1010, address: 0x20_2010, len: 0x5000 };
    assert_eq!(mapping(within, "/usr/bin/app"), (0x20_2000, 0x6000, 0x1000, 0x20_2234));
    let far = CodeSegment { address: u64::MAX - 0xfff, ..whole };
    for (code, exe) in [(within, "/usr/bin/other"), (far, "/usr/bin/app")] {
        let (start, length, offset, address) = mapping(code, exe);
        assert_eq!((length, offset, address - start), (0x6000, 0x1000, 0x234), "{code:?}");
        assert!((1 << 40..1 << 62).contains(&start), "{start:#x}");
    }
    for wrong in [
        CodeSegment { offset: 0x2000, ..whole },
        CodeSegment { len: 0x1000, ..whole },
        CodeSegment { len: 0, ..whole },
        CodeSegment { address: 0x40_1001, ..whole },
        CodeSegment { offset: !0xfff, ..whole },
    ] {
        let (_, length, offset, _) = mapping(wrong, "/usr/bin/app");
        assert_eq!((length, offset), (0x2000, 0x1000), "{wrong:?}");
    }
}

/// pprof names the profile after its first mapping: the program with the most samples.
#[test]
fn the_first_mapping_is_the_programs() {
    let mut samples = drawn();
    samples.binaries[2].path = "/usr/bin/db".into();
    samples.threads[1].exe = "/usr/bin/db".into();
    samples.samples[1].samples = 30;
    let profile = read(&samples, &About::default());
    let files: Vec<_> = profile.mappings.iter().map(|mapping| &*profile.strings[mapping.file as usize]).collect();
    assert_eq!(files, ["/usr/bin/db", "/usr/bin/app", "[kernel]"]);
    assert_eq!(profile.mappings.iter().map(|mapping| mapping.id).collect::<Vec<_>>(), [3, 1, 2]);
}

/// A root frame for each process name, where that is asked for.
#[test]
fn process_frames_stand_at_the_root() {
    let profile = read(&drawn(), &About { process_frames: true, ..About::default() });
    assert_eq!(shown(&profile)[0], "step:3^loop:9<main:7<web:0 @7/web [3, 300]");
    assert_eq!(shown(&profile)[2], "[libx.so+0x9]:0<[stack cut short]:0<web:0 @7/io [1, 100]");
}

/// Nothing to show is a profile all the same.
#[test]
fn no_samples_are_an_empty_profile() {
    assert!(read(&StackSamples::default(), &About::default()).samples.is_empty());
}

proptest! {
    /// Offsets that a hostile file makes up give neither a panic nor an address outside of its mapping.
    #[test]
    fn any_offsets_lie_in_their_mapping(offsets in proptest::collection::vec(any::<u64>(), 1..20)) {
        let binaries = vec![CodeFile { kind: BinaryKind::File, path: "/x".into(), build_id: None, code: None }; 2];
        let lines = vec![line(0, 0, FrameKind::User)];
        let places: Vec<_> = (0..)
            .zip(offsets)
            .map(|(nth, offset)| CodePlace { binary: Some(nth % 2), offset, named: true, lines: lines.clone() })
            .collect();
        let samples = StackSamples { binaries, functions: vec![function("f", None)], places, ..StackSamples::default() };
        let profile = read(&samples, &About::default());
        for (location, place) in profile.locations.iter().zip(&samples.places) {
            let mapping = mapping_of(&profile, location);
            if mapping.limit > 0 {
                prop_assert!((mapping.start..mapping.limit).contains(&location.address));
                prop_assert_eq!(location.address - mapping.start + mapping.offset, place.offset);
            }
        }
    }
}

/// The format's own document reads every field that is written: what it calls them, and nothing it does not know.
#[test]
fn protoc_reads_it_by_the_document_of_the_format() {
    // In Debian's golang-github-google-pprof-dev, which scripts/setup.sh installs.
    let folder = "/usr/share/gocode/src/github.com/google/pprof/proto";
    let about = About { start: 5, comments: vec!["made by".into()], process_frames: false };
    let mut protoc = Command::new("protoc")
        .args(["--decode=perftools.profiles.Profile", "profile.proto", "-I", folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("protoc is installed by scripts/setup.sh test");
    protoc.stdin.take().unwrap().write_all(&uncompressed(&written(&drawn(), &about))).unwrap();
    let output = protoc.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let has = |field: &str| text.lines().filter(|line| line.trim_start().starts_with(field)).count();
    for (field, count) in [
        ("sample {", 3),
        ("mapping {", 3),
        ("location {", 5),
        ("function {", 6),
        ("build_id:", 2),
        ("memory_start:", 2),
        ("file_offset:", 1),
        ("has_inline_frames: true", 1),
        ("address:", 3),
        ("system_name:", 6),
        ("start_line: 2", 6),
        ("comment:", 1),
        ("default_sample_type:", 1),
        ("duration_nanos: 50", 1),
        ("period: 100", 1),
    ] {
        assert_eq!(has(field), count, "{field} in {text}");
    }
    let unknown = text.lines().find(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
    assert_eq!(unknown, None, "a field that the format does not have");
}
