//! What is named, by which sources, in how many questions, and what is kept of it.

use super::super::super::lane::{FileContent, Trust};
use super::super::super::wire::MAX_OFFSETS;
use super::*;
use crate::profile::NameSources;

/// Memory without a file and files never opened need no child to be answered.
#[test]
fn what_has_no_file_is_answered_at_once() {
    let nobody = WorkerCommand { program: "/nonexistent".into(), ..WorkerCommand::default() };
    let answers = ask(nobody, &[(&special(BinaryKind::Anonymous), 1), (&special(BinaryKind::File), 2)]);
    let expected = [UnknownReason::NoFile, UnknownReason::FileGone].map(Symbolized::Unknown);
    assert_eq!(answers, expected);
}

/// A list longer than one question holds is answered whole, and the file is not blamed for it.
#[test]
fn long_lists_are_asked_in_several_questions() {
    let mut worker = NamesWorker::new(real_child());
    let (file, offsets) = (file_of(b"no ELF file"), vec![7; MAX_OFFSETS + 1]);
    let bad = Symbolized::Unknown(UnknownReason::BadFile);
    assert_eq!(worker.of_file(&mapped(&file), &offsets, None), Some(vec![bad; MAX_OFFSETS + 1]));
    assert_eq!(worker.lane.files(), (0, 0));
}

/// More than there is room for is given back, and blocks nobody.
#[test]
fn a_full_queue_says_what_found_no_room() {
    let command = WorkerCommand { patience: Duration::from_millis(200), ..obedient_child() };
    let hang = binary("hang", file_of(b"HANG!"));
    let symbolizer = Symbolizer::start(NamesWorker::new(command), |_| {}).unwrap();
    let request = |n| Request { location: LocationId(n), binary: hang.clone(), offset: 0, weight: n as u64 };
    let too_many = MAX_WAITING as i64 + 100;
    assert_eq!(symbolizer.request((0..too_many).map(request).collect()), 100);
    assert!(symbolizer.waiting() <= MAX_WAITING);
    let _ = symbolizer.finish(Duration::ZERO);
}

/// A file whose debug information claims to be 64 TiB when unpacked would abort its child (the allocation fails): what is so large is
/// left out of the copy, and the symbol table still names it.
#[test]
fn debug_information_that_kills_does_not_cost_the_symbol_table() {
    let dir = tempfile::tempdir().unwrap();
    let (source, path) = (dir.path().join("bomb.c"), dir.path().join("bomb"));
    std::fs::write(&source, "int main(void) { return 0; }").unwrap();
    let cc = std::process::Command::new("cc").args(["-g", "-gz=zlib", "-o"]).arg(&path).arg(&source).status();
    assert!(cc.unwrap().success());
    let mut image = std::fs::read(&path).unwrap();
    let number = |image: &[u8], at: usize, len: usize| {
        image[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    // Every compressed section (`SHF_COMPRESSED`) begins with its type, padding, and its unpacked size.
    let (table, count) = (number(&image, 40, 8), number(&image, 60, 2));
    let headers = (0..count).map(|n| table + n * 64);
    let compressed: Vec<usize> = headers.filter(|at| number(&image, at + 8, 8) & 0x800 != 0).collect();
    assert!(!compressed.is_empty());
    for header in compressed {
        let section = number(&image, header + 24, 8);
        image[section + 8..section + 16].copy_from_slice(&(1_u64 << 46).to_le_bytes());
    }
    std::fs::write(&path, &image).unwrap();
    let nm = std::process::Command::new("nm").arg(&path).output().unwrap();
    let nm = String::from_utf8(nm.stdout).unwrap();
    let main = nm.lines().find(|line| line.ends_with(" T main")).unwrap();
    // The text of a small position-independent program lies in its file as it does in memory.
    let offset = u64::from_str_radix(&main[..16], 16).unwrap();
    let bomb = binary("bomb", File::open(&path).unwrap());
    let answers = ask(real_child(), &[(&bomb, offset)]);
    let Symbolized::Named(symbols) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((&*symbols[0].name, &symbols[0].source), ("main", &None));
    let mut worker = NamesWorker::new(real_child());
    assert!(worker.of_file(&mapped(bomb.file.as_ref().unwrap()), &[offset], None).is_some());
    assert_eq!(worker.lane.files(), (0, 0), "what claims to be so large is not unpacked: no child is harmed");
}

/// Names are there after a restart without any child, with what was found where; what was not asked before is asked of one. A debug
/// file that has come since is used.
#[test]
fn names_are_kept_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let make = "printf 'int main(void) { return 0; }\\nint other(void) { return 1; }' > app.c
        cc -g -Wl,--build-id -o whole app.c; objcopy --only-keep-debug whole app.debug; objcopy --strip-debug whole app
        objcopy --add-gnu-debuglink=app.debug app; mv app.debug later";
    let made = std::process::Command::new("sh").current_dir(&folder).args(["-ec", make]).status().unwrap();
    assert!(made.success());
    let symbol = |program: &str, name: &str| {
        let table = std::process::Command::new("nm").arg(folder.path().join(program)).output().unwrap();
        let table = String::from_utf8(table.stdout).unwrap();
        let line = table.lines().find(|line| line.ends_with(&format!(" T {name}"))).unwrap().to_owned();
        u64::from_str_radix(&line[..16], 16).unwrap()
    };
    let cache = folder.path().join("cache");
    let ask = |child: WorkerCommand, program: &str, offset: u64| {
        let path = folder.path().join(program);
        let file = File::open(&path).unwrap();
        let build_id = crate::process::build_id_of(&file);
        let (path, identity) = (path.to_str().unwrap(), Some(identity_of(&file)));
        let mapped = Mapped { file: &file, path, build_id, identity, root: None, debug: None };
        let mut worker = NamesWorker::new(child).keeping_in(Some(&cache));
        let answer = worker.of_file(&mapped, &[offset], None).map(|mut names| names.remove(0));
        (answer, worker.take_found())
    };
    let nobody = || WorkerCommand { program: "/nonexistent".into(), ..real_child() };
    let (main, other) = (symbol("whole", "main"), symbol("whole", "other"));
    let first = ask(real_child(), "whole", main);
    assert!(matches!(&first.0, Some(Symbolized::Named(symbols)) if symbols[0].source.is_some()), "{first:?}");
    assert_eq!(ask(nobody(), "whole", main), first, "no child is needed");
    assert_eq!(ask(nobody(), "whole", other).0, None, "not asked before");
    assert!(ask(real_child(), "whole", other).0.is_some());
    assert_eq!(ask(nobody(), "whole", main), first, "both are kept");
    // Without debug information: as long as none comes.
    let source = |answer: Option<Symbolized>| match answer {
        Some(Symbolized::Named(symbols)) => symbols[0].source.is_some(),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        assert!(!source(ask(real_child(), "app", main).0));
    }
    std::fs::rename(folder.path().join("later"), folder.path().join("app.debug")).unwrap();
    assert!(source(ask(real_child(), "app", main).0), "a debug file has come");
    assert!(source(ask(nobody(), "app", main).0));
}

/// Once a file's debug information has harmed a child, less than it has is found: that is not kept for the next start.
#[test]
fn what_a_harmed_child_left_out_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let us = ourselves();
    let file = us.file.as_ref().unwrap();
    let here = file_offset_of(what_a_harmed_child_left_out_is_not_kept as *const () as u64);
    let build_id = crate::profile::BuildId::new(&[7]);
    let kept = |harmed: bool| {
        let cache = folder.path().join(harmed.to_string());
        let mut worker = NamesWorker::new(real_child()).keeping_in(Some(&cache));
        if harmed {
            worker.lane.blame(FileContent::of(file).unwrap(), Trust::SymbolsOnly);
        }
        let mapped = Mapped { build_id, identity: Some(identity_of(file)), ..mapped(file) };
        let names = worker.of_file(&mapped, &[here], None).unwrap();
        assert!(matches!(names[0], Symbolized::Named(_)), "{names:?}");
        worker.let_go();
        std::fs::read_dir(&cache).unwrap().count()
    };
    assert_eq!((kept(true), kept(false)), (0, 1));
}

/// What is switched off is neither used nor looked for, and the reason tells of it.
#[test]
fn what_is_switched_off_names_nothing() {
    let sources = NameSources::parse("-kallsyms,-vdso,-perf_map,-jitdump,-debug_file").unwrap();
    let mut worker = NamesWorker::new(WorkerCommand { sources, ..real_child() });
    let off = vec![Symbolized::Unknown(UnknownReason::SwitchedOff)];
    assert_eq!(worker.of_kernel(&[1], None), Some(off.clone()));
    assert_eq!(worker.take_found(), []);
    let jit = BinaryKey::Jit {
        boot_id: String::new(),
        pid: 1,
        start: crate::profile::StartTicks(0),
        inside: std::process::id(),
        user: 0,
    };
    let jit = crate::process::jit_sources(&jit, None).map(Arc::new);
    assert_eq!(worker.of_jit(jit.as_ref(), &[1], None), Some(off.clone()));
    worker.of_file(&mapped(&File::open("/bin/true").unwrap()), &[0x3000], None).unwrap();
    let looked: Vec<_> = worker.take_found().into_iter().map(|found| found.source).collect();
    assert!(looked.contains(&NameSource::Dwarf) && !looked.contains(&NameSource::DebugFile), "{looked:?}");
    let command = WorkerCommand { sources, ..real_child() };
    let key = BinaryKey::Inode { path: "[vdso]".into(), dev: 0, inode: 0, mtime: 0, identity: None };
    // By its kind; what is in it does not matter.
    let file = Some(Arc::new(File::open("/bin/true").unwrap()));
    let vdso = Binary { file, ..Binary::new(BinaryKind::Vdso, key, "[vdso]") };
    assert_eq!(ask(command, &[(&Arc::new(vdso), 0)]), off);
}

/// With the names comes what was looked for and found where, and the package of a file without symbols.
#[test]
fn a_stripped_program_of_the_host_leads_to_its_package() {
    let path = std::fs::canonicalize("/bin/true").unwrap();
    let file = File::open(&path).unwrap();
    let binary = binary(path.to_str().unwrap(), file);
    let (symbolizer, answers) = started(NamesWorker::new(real_child()));
    let request = Request { location: LocationId(1), binary, offset: 0x3000, weight: 1 };
    assert_eq!(symbolizer.request(vec![request]), 0);
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    let status = answers.recv().unwrap().status;
    let found = |source| status.sources.iter().find(|found| found.source == source).map(|found| found.found.as_deref());
    assert_eq!(found(NameSource::Dynsym), Some(path.to_str()), "{status:?}");
    assert_eq!(found(NameSource::Dwarf), Some(None), "{status:?}");
    assert_eq!(status.package.as_deref(), Some("coreutils"));
}

/// The kernel and the vDSO are named through the same child.
#[test]
fn the_kernel_and_the_vdso_are_named() {
    use crate::process::{ProcRoot, ProcessTable};
    use crate::profile::{BootNanos, RawSample, StackEnd, StartTicks};

    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let vdso = maps.lines().find(|line| line.ends_with("[vdso]")).map(|line| hex(line.split('-').next().unwrap()));
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let schedule = kallsyms.lines().find(|line| line.ends_with(" schedule")).unwrap();
    let kernel = hex(schedule.split(' ').next().unwrap());
    let mut table = ProcessTable::new(ProcRoot::host());
    let begin = vdso.unwrap();
    let raw = RawSample {
        time: BootNanos(u64::MAX / 2),
        cpu: 0,
        pid: std::process::id(),
        tid: std::process::id(),
        start: StartTicks(0),
        thread: "test".into(),
        cgroup_id: 0,
        kernel: [kernel].into(),
        user: (begin..begin + 0x2000).step_by(64).collect(),
        end: StackEnd::Complete,
        unfinished: None,
        event: 0,
        weight: 1,
    };
    let sample = table.resolve(&raw);
    let places: Vec<_> = sample.stack.iter().map(|at| (table.binary(at.binary), at.offset)).collect();
    let requests: Vec<_> = places.iter().map(|(binary, offset)| (binary, *offset)).collect();
    let answers = ask(real_child(), &requests);
    let names: Vec<&str> = answers
        .iter()
        .filter_map(|answer| match answer {
            Symbolized::Named(symbols) => Some(&*symbols[0].name),
            Symbolized::Unknown(_) | Symbolized::Nameless(..) => None,
        })
        .collect();
    assert!(names.iter().any(|name| name.contains("clock_gettime")), "{names:?}");
    assert!(kernel == 0 || names.contains(&"schedule"), "{names:?}");
}
