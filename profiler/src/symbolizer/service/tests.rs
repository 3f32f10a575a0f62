//! The service with real children: good files, files that kill or hang, the kernel, the vDSO.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;

use super::super::child::WorkerChild;
use super::super::child::WorkerCommand;
use super::super::lane::{FileContent, Trust};
use super::super::memfd::fixed_memfd;
use super::super::wire::{Kind, MAX_OFFSETS, Reply};
use super::super::worker::tests::{obedient_child, real_child};
use super::*;
use crate::profile::{BinaryKey, FileIdentity, NameSources, Owner};

/// A good file: ourselves.
fn ourselves() -> Arc<Binary> {
    binary("ourselves", File::open(std::env::current_exe().unwrap()).unwrap())
}

/// As of a file of root's, told from others by its length alone.
fn identity_of(file: &File) -> FileIdentity {
    FileIdentity { len: file.metadata().unwrap().len(), owner: Owner::System, hash: 1 }
}

fn binary(name: &str, file: File) -> Arc<Binary> {
    let key = BinaryKey::Inode { path: name.to_owned(), dev: 0, inode: 0, mtime: 0, identity: None };
    let (path, file) = (name.to_owned(), Some(Arc::new(file)));
    Arc::new(Binary {
        key,
        kind: BinaryKind::File,
        path,
        build_id: None,
        code: None,
        file,
        root: None,
        jit: None,
        unopened: None,
    })
}

fn mapped(file: &File) -> Mapped<'_> {
    Mapped { file, path: "/x", build_id: None, identity: None, root: None, debug: None }
}

fn special(kind: BinaryKind) -> Arc<Binary> {
    let key = BinaryKey::Inode { path: format!("{kind:?}"), dev: 0, inode: 0, mtime: 0, identity: None };
    Arc::new(Binary {
        key,
        kind,
        path: String::new(),
        build_id: None,
        code: None,
        file: None,
        root: None,
        jit: None,
        unopened: None,
    })
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// A vDSO by its kind; what is in it does not matter.
fn own_vdso() -> Binary {
    let file = Some(Arc::new(File::open("/bin/true").unwrap()));
    let key = BinaryKey::Inode { path: "[vdso]".into(), dev: 0, inode: 0, mtime: 0, identity: None };
    Binary {
        key,
        kind: BinaryKind::Vdso,
        path: "[vdso]".into(),
        build_id: None,
        code: None,
        file,
        root: None,
        jit: None,
        unopened: None,
    }
}

/// Asks for all, and gives the answers in the order of the requests.
fn ask(command: WorkerCommand, requests: &[(&Arc<Binary>, u64)]) -> Vec<Symbolized> {
    let (sender, answers) = channel();
    let symbolizer = Symbolizer::start(NamesWorker::new(command), move |batch| sender.send(batch).unwrap()).unwrap();
    let batch = requests.iter().enumerate().map(|(n, (binary, offset))| Request {
        location: LocationId(n as i64),
        binary: (*binary).clone(),
        offset: *offset,
        weight: 1,
    });
    assert_eq!(symbolizer.request(batch.collect()), 0);
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    let mut answers: Vec<_> = answers.iter().flat_map(|batch: Answers| batch.names).collect();
    answers.sort_by_key(|(location, _)| *location);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

const FAILED: Symbolized = Symbolized::Unknown(UnknownReason::SymbolizerFailed);

/// Memory without a file and files never opened need no child to be answered.
#[test]
fn what_has_no_file_is_answered_at_once() {
    let nobody = WorkerCommand { program: "/nonexistent".into(), ..WorkerCommand::default() };
    let answers = ask(nobody, &[(&special(BinaryKind::Anonymous), 1), (&special(BinaryKind::File), 2)]);
    let expected = [UnknownReason::NoFile, UnknownReason::FileGone].map(Symbolized::Unknown);
    assert_eq!(answers, expected);
}

/// A file that ends its child takes only its own names with it: the next file has its answers from a new child.
#[test]
fn a_child_that_dies_is_replaced_and_the_file_set_aside() {
    let bad = binary("bad", file_of(b"ABORT"));
    let good = ourselves();
    let answers = ask(obedient_child(), &[(&bad, 1), (&good, 0), (&bad, 2)]);
    assert_eq!((&answers[0], &answers[2]), (&FAILED, &FAILED));
    assert_ne!(answers[1], FAILED);
}

/// A file that hangs its child costs its deadline once, and no more.
#[test]
fn a_child_that_hangs_is_killed_and_its_file_never_parsed_again() {
    let hang = binary("hang", file_of(b"HANG!"));
    let patience = Duration::from_millis(500);
    let command = WorkerCommand { patience, ..obedient_child() };
    let begin = Instant::now();
    let requests: Vec<_> = (0..3000).map(|offset| (&hang, offset)).collect();
    assert!(ask(command, &requests).iter().all(|answer| *answer == FAILED));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

/// A child killed from outside is replaced at the next question.
#[test]
fn a_killed_child_is_known_to_be_dead() {
    let good = ourselves();
    let file = good.file.as_ref().unwrap();
    let copy = fixed_memfd(file.metadata().unwrap().len()).unwrap();
    let spare = fixed_memfd(1).unwrap();
    let files = [file.as_fd(), copy.as_fd(), spare.as_fd()];
    let mut child = WorkerChild::spawn(&real_child()).unwrap();
    let answer = child.ask(Kind::Elf, &files, &[0, 1], None).unwrap();
    assert!(matches!(answer.reply, Reply::Names(names) if names.len() == 2));
    child.kill();
    assert!(child.ask(Kind::Elf, &files, &[0, 1], None).is_err());
    let mut child = WorkerChild::spawn(&real_child()).unwrap();
    assert!(child.ask(Kind::Elf, &files, &[0, 1], None).is_ok());
}

/// A child that was killed while it had nothing to do, for want of memory say, costs no file its names.
#[test]
fn no_file_is_blamed_for_the_end_of_an_idle_child() {
    let mut worker = NamesWorker::new(real_child());
    let us = ourselves();
    let mapped = mapped(us.file.as_ref().unwrap());
    assert!(worker.of_file(&mapped, &[0], None).is_some());
    let child = worker.lane.child.as_mut().unwrap();
    child.kill();
    while child.is_alive() {
        std::thread::yield_now();
    }
    assert!(worker.of_file(&mapped, &[0], None).is_some());
    assert_eq!(worker.lane.files(), (0, 0));
}

/// Whether a child has come to its question, and with it the question's file, a temporary one. Before it is another program, one that is
/// stopped holds up who starts it, and has all of his files (`man 2 vfork`).
fn has_file_of_question(child: &str) -> bool {
    if !std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default().contains("child_main") {
        return false;
    }
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{child}/fd")) else { return false };
    let links = descriptors.flatten().filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    links.map(|link| link.display().to_string()).any(|link| link.ends_with("(deleted)") && !link.starts_with("/memfd"))
}

/// Sends a signal to every child of one thread that is at a question, until it is dropped.
struct Killer {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Killer {
    /// Of the children of the thread that calls: a lane starts its child within a question.
    fn start(signal: rustix::process::Signal) -> Self {
        let thread = rustix::thread::gettid().as_raw_pid();
        let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&sent), Arc::clone(&stop));
        let killer = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children"));
                for child in children.unwrap_or_default().split_whitespace() {
                    if !has_file_of_question(child) {
                        continue;
                    }
                    let pid = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
                    count.fetch_add(usize::from(rustix::process::kill_process(pid, signal).is_ok()), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { sent, stop, thread: Some(killer) }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Waits until a lane starts children again; the longest pause is 15 s.
fn wait_until_ready(worker: &NamesWorker) {
    let begin = Instant::now();
    while worker.not_before().is_some() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whatever ends a child from outside, in the middle of its question and again and again: no file is set aside or postponed, the question
/// waits, and names come once that is over.
#[test]
fn no_file_is_blamed_for_children_that_others_end() {
    use rustix::process::Signal;

    let check = |signal| {
        let mut worker = NamesWorker::new(obedient_child());
        // Without the signal it would take ten seconds.
        let hang = file_of(b"HANG!");
        let content = FileContent::of(&hang).unwrap();
        let killer = Killer::start(signal);
        for round in 0..4 {
            wait_until_ready(&worker);
            let (before, begin) = (killer.sent(), Instant::now());
            assert_eq!(worker.of_file(&mapped(&hang), &[1], None), None, "{signal:?} {round}: worth another try");
            assert!(killer.sent() > before, "{signal:?} {round}");
            assert!(begin.elapsed() < Duration::from_secs(9), "{signal:?} {round}: nothing ended it");
            assert_eq!((worker.lane.files(), worker.lane.distrust(&content)), ((0, 0), None), "{signal:?} {round}");
            assert!(worker.not_before().is_some(), "{signal:?} {round}: a pause");
        }
        drop(killer);
        wait_until_ready(&worker);
        let names = worker.of_file(&mapped(&File::open("/bin/true").unwrap()), &[0], None);
        assert!(names.is_some(), "{signal:?}: it is over");
        assert!(worker.not_before().is_none(), "{signal:?}: and forgotten");
    };
    std::thread::scope(|scope| {
        let threads = [Signal::KILL, Signal::TERM, Signal::STOP].map(|signal| scope.spawn(move || check(signal)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A file on which two children end by their own fault is set aside, asked about again when its time is over, and named if it harms
/// nobody then.
#[test]
fn a_file_set_aside_is_tried_again_and_named() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let write = |beginning: &[u8]| {
        let mut image = std::fs::read("/proc/self/exe").unwrap();
        image[..5].copy_from_slice(beginning);
        std::fs::write(path.path(), image).unwrap();
        // It is to be the same file, for all that is known of it.
        let file = File::options().write(true).open(path.path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    write(b"ABORT");
    let here = file_offset_of(a_file_set_aside_is_tried_again_and_named as *const () as u64);
    let mut worker = NamesWorker::new(obedient_child());
    worker.lane.shorten_pauses(Duration::from_secs(2));
    let guilty = binary("guilty", File::open(path.path()).unwrap());
    let (sender, answers) = channel();
    let symbolizer = Symbolizer::start(worker, move |batch| sender.send(batch).unwrap()).unwrap();
    let ask = || {
        let (location, binary) = (LocationId(1), Arc::clone(&guilty));
        assert_eq!(symbolizer.request(vec![Request { location, binary, offset: here, weight: Request::AT_ONCE }]), 0);
    };
    let next = || answers.recv_timeout(Duration::from_secs(60)).unwrap();
    ask();
    assert_eq!(next().names, [(LocationId(1), FAILED)]);
    write(b"\x7fELF\x02");
    let told = next();
    assert!(told.tells_more && told.names.is_empty() && told.binary.path == "guilty", "{told:?}");
    ask();
    let named = next();
    assert!(matches!(&named.names[..], [(_, Symbolized::Named(_))]), "{named:?}");
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
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

/// Going through a hundred megabytes of debug information leaves no large child behind: it gives them back, or goes. And an idle one goes.
#[test]
fn a_child_gives_memory_back_after_its_answer() {
    let mut worker = NamesWorker::new(real_child());
    let us = ourselves();
    let here = file_offset_of(file_offset_of as *const () as u64);
    let names = worker.of_file(&mapped(us.file.as_ref().unwrap()), &[here], None).unwrap();
    assert!(matches!(&names[0], Symbolized::Named(symbols) if symbols[0].source.is_some()), "{names:?}");
    let Some(pid) = worker.lane.child.as_ref().and_then(WorkerChild::pid) else { return };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 96 << 10, "{kilobytes} kB");
    worker.let_go();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// Files of two users are never parsed by the same child: the second could be named by whom the first has taken over. Root's
/// files may follow nobody's.
#[test]
fn files_of_different_users_have_different_children() {
    let mut worker = NamesWorker::new(real_child());
    let image = std::fs::read("/bin/true").unwrap();
    let file = |owner| {
        let file = file_of(&image);
        rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(owner)), None).unwrap();
        file
    };
    let mut pid = |owner| {
        worker.of_file(&mapped(&file(owner)), &[0], None).unwrap();
        worker.lane.child.as_ref().unwrap().pid()
    };
    let children = [0, 1000, 1000, 1001, 0, 0].map(&mut pid);
    let same: Vec<bool> = children.windows(2).map(|pair| pair[0] == pair[1]).collect();
    assert_eq!(same, [true, true, false, false, true]);
}

/// The signal that Ctrl-C sends to all processes of the terminal's group does not reach it: the last names are still asked for.
#[test]
fn a_child_is_out_of_ctrl_cs_reach() {
    let child = WorkerChild::spawn(&real_child()).unwrap();
    let pid = rustix::process::Pid::from_raw(child.pid().unwrap() as i32).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid, "the leader of a group of its own");
}

/// Whoever is no child of ours is found out before a file is blamed: the requests stay without an answer.
#[test]
fn a_program_that_does_not_say_hello_is_no_child() {
    let command = WorkerCommand { program: "/bin/true".into(), args: Vec::new(), ..WorkerCommand::default() };
    assert!(WorkerChild::spawn(&command).is_err());
    let (sender, answers) = channel();
    let symbolizer = Symbolizer::start(NamesWorker::new(command), move |batch| sender.send(batch).unwrap()).unwrap();
    let request = Request { location: LocationId(1), binary: ourselves(), offset: 0, weight: 1 };
    assert_eq!(symbolizer.request(vec![request]), 0);
    assert_eq!(symbolizer.finish(Duration::from_millis(300)), 1);
    assert_eq!(answers.iter().count(), 0);
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

/// A file that is truncated and rewritten while it is parsed may end children, never us, and never the others' names.
#[test]
fn a_file_that_changes_while_it_is_parsed_harms_nobody_else() {
    let image = std::fs::read("/proc/self/exe").unwrap();
    let image = &image[..image.len().min(4 << 20)];
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), image).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let owner = std::thread::spawn({
        let (stop, path, image) = (stop.clone(), path.path().to_owned(), image.to_vec());
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&path, b"\x7fELF").unwrap();
                std::fs::write(&path, &image).unwrap();
            }
        }
    });
    let good = ourselves();
    let here = file_offset_of(a_file_that_changes_while_it_is_parsed_harms_nobody_else as *const () as u64);
    for _ in 0..10 {
        let changing = binary("changing", File::open(path.path()).unwrap());
        let answers = ask(real_child(), &[(&changing, 0x1000), (&good, here)]);
        assert!(matches!(answers[1], Symbolized::Named(_)), "{:?}", answers[1]);
    }
    stop.store(true, Ordering::Relaxed);
    owner.join().unwrap();
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
    assert_eq!(ask(command, &[(&Arc::new(own_vdso()), 0)]), off);
}

/// With the names comes what was looked for and found where, and the package of a file without symbols.
#[test]
fn a_stripped_program_of_the_host_leads_to_its_package() {
    let path = std::fs::canonicalize("/bin/true").unwrap();
    let file = File::open(&path).unwrap();
    let binary = binary(path.to_str().unwrap(), file);
    let (sender, answers) = channel();
    let symbolizer =
        Symbolizer::start(NamesWorker::new(real_child()), move |batch| sender.send(batch).unwrap()).unwrap();
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

/// Where an address of ours lies in our file.
fn file_offset_of(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let offset = hex(fields.nth(1)?);
        (hex(start)..hex(end)).contains(&address).then(|| address - hex(start) + offset)
    });
    offset.unwrap()
}

/// When a process began (field 22 of its `stat`, the 20th after the name).
fn start_of(pid: u32) -> crate::profile::StartTicks {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
    crate::profile::StartTicks(fields.nth(19).unwrap().parse().unwrap())
}

/// A program that tells of nothing has its answer at once; when its map comes, long after, somebody is told to ask again.
#[test]
fn a_program_that_tells_at_last_is_heard() {
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let user = rustix::process::geteuid().as_raw();
    let pid = sleeper.id();
    let start = start_of(pid);
    let key = BinaryKey::Jit { boot_id: String::new(), pid, start, inside: pid, user };
    let (kind, path) = (BinaryKind::Anonymous, "[anon]".to_owned());
    let binary = Arc::new(Binary {
        key,
        kind,
        path,
        build_id: None,
        code: None,
        file: None,
        root: None,
        jit: None,
        unopened: None,
    });
    let (sender, answers) = channel();
    let symbolizer =
        Symbolizer::start(NamesWorker::new(real_child()), move |batch| sender.send(batch).unwrap()).unwrap();
    let request = || vec![Request { location: LocationId(1), binary: Arc::clone(&binary), offset: 0x1001, weight: 1 }];
    assert_eq!(symbolizer.request(request()), 0);
    let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(answer.names, [(LocationId(1), Symbolized::Unknown(UnknownReason::NoFile))]);
    let map = format!("/tmp/perf-{pid}.map");
    std::fs::write(&map, "1000 10 late\n").unwrap();
    let told = answers.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(told.tells_more && told.binary.key == binary.key && told.names.is_empty());
    assert_eq!(symbolizer.request(request()), 0);
    let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(&answer.names[..], [(_, Symbolized::Named(symbols))] if &*symbols[0].name == "late"));
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    assert_eq!(answers.iter().count(), 0, "told once");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    std::fs::remove_file(map).unwrap();
}

/// A map that comes at the very end is used for what had no name, also where its program has ended since.
#[test]
fn a_map_that_comes_last_is_used_at_the_end() {
    for ends in [false, true] {
        let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = sleeper.id();
        let (start, user) = (start_of(pid), rustix::process::geteuid().as_raw());
        let key = BinaryKey::Jit { boot_id: String::new(), pid, start, inside: pid, user };
        let jit = crate::process::jit_sources(&key, None).map(Arc::new);
        let (kind, path) = (BinaryKind::Anonymous, "[anon]".to_owned());
        let binary = Arc::new(Binary {
            key,
            kind,
            path,
            build_id: None,
            code: None,
            file: None,
            root: None,
            jit,
            unopened: None,
        });
        let (sender, answers) = channel();
        let symbolizer =
            Symbolizer::start(NamesWorker::new(real_child()), move |batch| sender.send(batch).unwrap()).unwrap();
        symbolizer.request(vec![Request { location: LocationId(1), binary, offset: 0x1001, weight: 1 }]);
        let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(answer.names, [(LocationId(1), Symbolized::Unknown(UnknownReason::NoFile))]);
        let map = format!("/tmp/perf-{pid}.map");
        std::fs::write(&map, "1000 10 last\n").unwrap();
        if ends {
            sleeper.kill().unwrap();
            sleeper.wait().unwrap();
        }
        assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
        std::fs::remove_file(map).unwrap();
        let names: Vec<_> = answers.iter().flat_map(|answer| answer.names).collect();
        assert!(
            matches!(&names[..], [(_, Symbolized::Named(symbols))] if &*symbols[0].name == "last"),
            "{ends}: {names:?}"
        );
        let _ = sleeper.kill();
        let _ = sleeper.wait();
    }
}

/// A sample of code that its runtime tells of later gets its name then: the program lives, and is asked again. Of a program that has ended
/// the answer is final at once.
#[test]
fn code_told_of_late_is_named_late() {
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let map = format!("/tmp/perf-{}.map", sleeper.id());
    std::fs::write(&map, "1000 10 early\n").unwrap();
    let jit = |pid: u32| {
        let start = start_of(sleeper.id());
        let user = rustix::process::geteuid().as_raw();
        let key = BinaryKey::Jit { boot_id: String::new(), pid, start, inside: sleeper.id(), user };
        let (kind, path) = (BinaryKind::Anonymous, "[anon]".to_owned());
        Arc::new(Binary {
            key,
            kind,
            path,
            build_id: None,
            code: None,
            file: None,
            root: None,
            jit: None,
            unopened: None,
        })
    };
    let (sender, answers) = channel();
    let symbolizer =
        Symbolizer::start(NamesWorker::new(real_child()), move |batch| sender.send(batch).unwrap()).unwrap();
    let request = |location, binary: &Arc<Binary>, offset| Request {
        location: LocationId(location),
        binary: binary.clone(),
        offset,
        weight: 1,
    };
    let (alive, dead) = (jit(sleeper.id()), jit(u32::MAX >> 1));
    let batch = vec![request(1, &alive, 0x1001), request(2, &alive, 0x2001), request(3, &dead, 0x2001)];
    assert_eq!(symbolizer.request(batch.clone()), 0);
    let mut names = std::collections::BTreeMap::new();
    let next = |names: &mut std::collections::BTreeMap<i64, String>| {
        for (LocationId(location), answer) in answers.recv_timeout(Duration::from_secs(60)).unwrap().names {
            let text = match answer {
                Symbolized::Named(symbols) => symbols[0].name.to_string(),
                Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => format!("{reason:?}"),
            };
            names.insert(location, text);
        }
    };
    while names.len() < 2 {
        next(&mut names);
    }
    assert_eq!(names, [(1, "early".to_owned()), (3, "NotFound".to_owned())].into());
    std::fs::write(&map, "1000 10 early\n2000 10 late\n").unwrap();
    // The store asks in every window for what has no answer: it waits once.
    assert_eq!(symbolizer.request(vec![batch[1].clone()]), 0);
    while !names.contains_key(&2) {
        next(&mut names);
    }
    assert_eq!(names[&2], "late");
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    assert_eq!(answers.iter().count(), 0, "answered once");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    std::fs::remove_file(map).unwrap();
}
