//! Children that die, hang, are killed, stopped or taken for others, and the files that are blamed for it, or not.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;

use super::super::super::child::WorkerChild;
use super::super::super::lane::FileContent;
use super::super::super::memfd::fixed_memfd;
use super::super::super::wire::{Kind, Reply};
use super::*;

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
    let (symbolizer, answers) = started(worker);
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
    let (symbolizer, answers) = started(NamesWorker::new(command));
    let request = Request { location: LocationId(1), binary: ourselves(), offset: 0, weight: 1 };
    assert_eq!(symbolizer.request(vec![request]), 0);
    assert_eq!(symbolizer.finish(Duration::from_millis(300)), 1);
    assert_eq!(answers.iter().count(), 0);
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
