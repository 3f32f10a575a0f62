//! The room against real processes: our own children, which run, delete and replace their programs. The links of
//! `/proc/PID/map_files` need root; where they are refused, `/proc/PID/exe` does for the program itself.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

use super::build_id::{Elf, read_elf};
use super::drawing::sample_of;
use super::proc_text::{MapsLine, executable_maps, parse_stat};
use super::{ProcRoot, ProcessTable};
use crate::profile::{Binary, BinaryKey, BinaryKind, BootNanos, BuildId, StartTicks};
use crate::profile::{InodeNumber, MappedFile, SideBand, UnknownReason};

/// A program that waits to be killed, copied to a place of its own.
struct Running {
    _dir: TempDir,
    path: PathBuf,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sleep_program() -> PathBuf {
    ["/usr/bin/sleep", "/bin/sleep"].map(PathBuf::from).into_iter().find(|path| path.exists()).unwrap()
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::copy(sleep_program(), &path).unwrap();
        let child = Command::new(&path).arg("600").spawn().unwrap();
        let running = Self { _dir: dir, path, child };
        running.mapping();
        running
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The mapping of the program's code, once it is there.
    fn mapping(&self) -> MapsLine {
        code_of(self.pid(), &self.path)
    }
}

fn code_of(pid: u32, path: &Path) -> MapsLine {
    let path = path.as_os_str().as_encoded_bytes();
    code_that(pid, |line| line.path.starts_with(path))
}

/// Memory without a file.
fn code_of_length(pid: u32, length: u64) -> MapsLine {
    code_that(pid, |line| line.path.is_empty() && line.end - line.start == length)
}

fn code_that(pid: u32, is_it: impl Fn(&MapsLine) -> bool) -> MapsLine {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let maps = std::fs::read(format!("/proc/{pid}/maps")).unwrap();
        if let Some(line) = executable_maps(&maps).find(&is_it) {
            return line;
        }
        assert!(Instant::now() < deadline, "the child did not start: {}", String::from_utf8_lossy(&maps));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn build_id(path: &Path) -> Option<BuildId> {
    match read_elf(&File::open(path).unwrap()) {
        Elf::Is(id) => id,
        Elf::Not => None,
    }
}

/// The binary that a sample at this address lies in, and the offset.
fn resolve(table: &mut ProcessTable, pid: u32, address: u64) -> (Arc<Binary>, u64) {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok().and_then(|text| parse_stat(&text));
    let start = stat.map_or(StartTicks(0), |stat| stat.start);
    let sample = table.resolve(&sample_of(1000, pid, start.0, &[address]));
    (table.binary(sample.stack[0].binary), sample.stack[0].offset)
}

fn is_elf(binary: &Binary) -> bool {
    let mut magic = [0; 4];
    let file = binary.file.as_deref();
    file.is_some_and(|mut file| file.read_exact(&mut magic).is_ok() && &magic == b"\x7fELF")
}

/// A process we never heard of is read at its first sample; its file is pinned and has its build id.
#[test]
fn an_unknown_process_is_read_at_its_first_sample() {
    let running = Running::start();
    let line = running.mapping();
    let mut table = ProcessTable::new(ProcRoot::host());
    let (binary, offset) = resolve(&mut table, running.pid(), line.start + 16);
    assert_eq!(offset, line.offset + 16);
    assert_eq!((binary.kind, binary.build_id), (BinaryKind::File, build_id(&running.path)));
    assert!(is_elf(&binary));
    let pid = running.pid();
    let sample = table.resolve(&sample_of(u64::MAX / 2_000_000, pid, 0, &[]));
    let facts = table.facts(sample.process, sample.revision);
    assert_eq!((facts.comm.as_str(), facts.exe.as_deref()), ("program", running.path.to_str()));
}

/// A file that was not open when it was asked for is told of when it is, with what had stood for it.
#[test]
fn a_file_that_is_open_too_late_is_told_of() {
    let running = Running::start();
    let (pid, line) = (running.pid(), running.mapping());
    let start = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap().start;
    let mut table = ProcessTable::new(ProcRoot::host());
    let raw = sample_of(1000, pid, start.0, &[line.start + 16]);
    let who = table.identify_now(&raw);
    let stood_in = table.place_now(&who, &raw).stack[0].binary;
    assert!(table.binary(stood_in).file.is_none());
    let deadline = Instant::now() + Duration::from_secs(10);
    let opened = loop {
        table.begin_pass(BootNanos(2_000_000_000));
        let opened = table.take_opened();
        if !opened.is_empty() {
            break opened;
        }
        assert!(Instant::now() < deadline, "the file was not opened");
        std::thread::sleep(Duration::from_millis(2));
    };
    let [(before, binary)] = opened[..] else { panic!("{opened:?}") };
    assert_eq!(before, stood_in);
    assert!(is_elf(&table.binary(binary)));
    assert!(table.take_opened().is_empty(), "once");
}

/// The map of a program that wrote code is held open from its first sample on.
#[test]
fn the_map_of_written_code_is_held_from_the_first_sample() {
    let code = "import mmap, os, time
area = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_EXEC)
open(f'/tmp/perf-{os.getpid()}.map', 'w').write('1000 10 f\\n')
time.sleep(600)";
    let child = Command::new("python3").args(["-c", code]).spawn().unwrap();
    let mut running = Running { _dir: tempfile::tempdir().unwrap(), path: PathBuf::new(), child };
    let pid = running.pid();
    let (line, map) = (code_of_length(pid, 4096), format!("/tmp/perf-{pid}.map"));
    let deadline = Instant::now() + Duration::from_secs(10);
    let wait = |what: &str, is_so: &mut dyn FnMut() -> bool| {
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait("no map", &mut || std::fs::metadata(&map).is_ok_and(|map| map.len() > 0));
    let start = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap().start;
    let mut table = ProcessTable::new(ProcRoot::host());
    let sample = table.resolve(&sample_of(1000, pid, start.0, &[line.start + 16]));
    let sources = table.binary(sample.stack[0].binary).jit.clone().unwrap();
    wait("the map is not held", &mut || sources.has_file());
    assert_eq!(table.counts().jit_programs, 1);
    std::fs::remove_file(&map).unwrap();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert!(!sources.has_ended());
    table.apply(SideBand::Exit { time: BootNanos(u64::MAX / 2), pid, tid: pid });
    wait("the end is not noted", &mut || sources.has_ended());
    let look = super::look_for_jit_files(&ProcRoot::host(), &sources, [true; 2]);
    assert_eq!(look.files.len(), 1, "held still");
}

/// Code that a program wrote is that program's, though the program has ended before its stack could be placed.
#[test]
fn code_that_was_written_is_known_after_the_program_has_ended() {
    let code = "import mmap, time
area = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_EXEC)
time.sleep(600)";
    let child = Command::new("python3").args(["-c", code]).spawn().unwrap();
    let mut running = Running { _dir: tempfile::tempdir().unwrap(), path: PathBuf::new(), child };
    let pid = running.pid();
    let line = code_of_length(pid, 4096);
    let stat = parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap();
    let mut table = ProcessTable::new(ProcRoot::host());
    let raw = sample_of(1000, pid, stat.start.0, &[line.start + 16]);
    let who = table.identify_now(&raw);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let sample = table.place_now(&who, &raw);
    let binary = table.binary(sample.stack[0].binary);
    assert!(matches!(binary.key, BinaryKey::Jit { pid: of, .. } if of == pid), "{:?}", binary.key);
}

/// A program deleted while it runs is still reached.
#[test]
fn a_deleted_program_is_pinned_by_the_kernels_link() {
    let running = Running::start();
    let line = running.mapping();
    let expected = build_id(&running.path);
    std::fs::remove_file(&running.path).unwrap();
    let mut table = ProcessTable::new(ProcRoot::host());
    table.scan_all(BootNanos(0));
    let (binary, _) = resolve(&mut table, running.pid(), line.start);
    assert_eq!((binary.kind, binary.build_id), (BinaryKind::File, expected));
    assert_eq!(binary.path, running.path.to_str().unwrap());
    assert!(is_elf(&binary));
}

/// What lies at the path now is not what runs: another program, then a FIFO that would block whoever opens it.
#[test]
fn a_replaced_program_is_not_mistaken_for_the_new_file() {
    let running = Running::start();
    let line = running.mapping();
    let expected = build_id(&running.path);
    std::fs::remove_file(&running.path).unwrap();
    std::fs::copy(std::env::current_exe().unwrap(), &running.path).unwrap();
    let (binary, _) = resolve(&mut ProcessTable::new(ProcRoot::host()), running.pid(), line.start);
    assert_eq!(binary.build_id, expected);
    assert!(is_elf(&binary));

    std::fs::remove_file(&running.path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &running.path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let begin = Instant::now();
    let (binary, _) = resolve(&mut ProcessTable::new(ProcRoot::host()), running.pid(), line.start);
    assert!(is_elf(&binary) && begin.elapsed() < Duration::from_secs(1));
}

fn inode_of(path: &Path) -> InodeNumber {
    let stat = std::fs::metadata(path).unwrap();
    let (major, minor) = (rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev()));
    InodeNumber { major, minor, inode: stat.ino(), generation: 7 }
}

/// The record's device and inode are the identity: the file is pinned at the record, though the process is gone before its sample is
/// read. A file that has only the build id, or only the inode, is not taken for it; nor is what no inode was told of.
#[test]
fn the_file_of_a_dead_process_is_found_by_its_inode() {
    let path = sleep_program();
    let real = build_id(&path).unwrap();
    let dead = {
        let mut child = Command::new("/bin/true").stdout(Stdio::null()).spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let mut table = ProcessTable::new(ProcRoot::host());
    let other = BuildId::new(&[1; 20]).unwrap();
    let inode = inode_of(&path);
    let elsewhere = InodeNumber { inode: inode.inode + 1, ..inode };
    let cases = [
        (0x1000, real, Some(inode)),
        (0x3000, other, Some(inode)),
        (0x5000, real, Some(elsewhere)),
        (0x7000, real, None),
    ];
    for (start, id, inode) in cases {
        table.apply(SideBand::Mmap {
            time: BootNanos(1_000_000),
            pid: dead,
            start,
            len: 0x1000,
            page_offset: 0x4000,
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            identity: MappedFile { build_id: Some(id), inode },
            executable: true,
            shared: false,
        });
    }
    let (found, offset) = resolve(&mut table, dead, 0x1010);
    assert!(matches!(found.key, BinaryKey::File(id, file) if id == real && file.len == path.metadata().unwrap().len()));
    assert_eq!(offset, 0x4010);
    assert!(is_elf(&found));
    for (address, id) in [(0x3010, other), (0x5010, real), (0x7010, real)] {
        let (missing, _) = resolve(&mut table, dead, address);
        assert!(matches!(missing.key, BinaryKey::Claimed { build_id, .. } if build_id == id), "{missing:?}");
    }
    assert_eq!(table.counts().pinned_files, 2, "the vDSO and this one");
}

/// A process maps a file that another one has mapped, and ends at once: nothing is opened for it.
#[test]
fn a_file_that_is_open_is_known_by_its_inode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    std::fs::copy(sleep_program(), &path).unwrap();
    let (id, inode) = (build_id(&path).unwrap(), inode_of(&path));
    let mut table = ProcessTable::new(ProcRoot::host());
    // No process has these pids: they end at 2^22.
    let [first, second, third] = [1, 2, 3].map(|n| (1 << 30) + n);
    let map = |table: &mut ProcessTable, pid, inode| {
        table.apply(SideBand::Mmap {
            time: BootNanos(1_000_000),
            pid,
            start: 0x1000,
            len: 0x1000,
            page_offset: 0,
            path: format!("/somewhere/else/{pid}").into_bytes(),
            identity: MappedFile { build_id: Some(id), inode: Some(inode) },
            executable: true,
            shared: false,
        });
    };
    table.apply(SideBand::Mmap {
        time: BootNanos(1_000_000),
        pid: first,
        start: 0x1000,
        len: 0x1000,
        page_offset: 0,
        path: path.as_os_str().as_encoded_bytes().to_vec(),
        identity: MappedFile { build_id: Some(id), inode: Some(inode) },
        executable: true,
        shared: false,
    });
    let (found, _) = resolve(&mut table, first, 0x1010);
    std::fs::remove_file(&path).unwrap();
    map(&mut table, second, inode);
    map(&mut table, third, InodeNumber { generation: inode.generation + 1, ..inode });
    assert!(Arc::ptr_eq(&resolve(&mut table, second, 0x1010).0, &found));
    let (reused, _) = resolve(&mut table, third, 0x1010);
    assert!(matches!(reused.key, BinaryKey::Claimed { .. }), "the number was given to another file: {reused:?}");
}

/// What lies at the path and is no regular file is told from what is gone: the one is refused, the other not.
#[test]
fn a_file_that_is_refused_is_told_from_one_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, gone) = (folder.path().join("fifo"), folder.path().join("gone"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut table = ProcessTable::new(ProcRoot::host());
    // No process has this pid: they end at 2^22.
    let nobody = 1 << 30;
    for (start, path) in [(0x1000, fifo), (0x3000, gone)] {
        table.apply(SideBand::Mmap {
            time: BootNanos(1_000_000),
            pid: nobody,
            start,
            len: 0x1000,
            page_offset: 0,
            path: path.as_os_str().as_encoded_bytes().to_vec(),
            identity: MappedFile { build_id: BuildId::new(&[(start >> 12) as u8; 20]), inode: None },
            executable: true,
            shared: false,
        });
    }
    let unopened = [0x1010, 0x3010].map(|address| resolve(&mut table, nobody, address).0.unopened);
    assert_eq!(unopened, [Some(UnknownReason::FileRefused), None]);
}

/// A sample that cannot wait for its file says that it was late, not that it was refused; once it is open, samples have it.
#[test]
fn a_file_that_is_not_open_in_time_is_told_from_one_that_is_refused() {
    let running = Running::start();
    let (pid, line) = (running.pid(), running.mapping());
    let mut table = ProcessTable::new(ProcRoot::host());
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok().and_then(|text| parse_stat(&text)).unwrap();
    let sample = |ms| sample_of(ms, pid, stat.start.0, &[line.start + 16]);
    let first = sample(1000);
    let who = table.identify_now(&first);
    let late = table.place_now(&who, &first);
    assert_eq!(table.binary(late.stack[0].binary).unopened, Some(UnknownReason::NotOpenedInTime));
    // A second later it is looked for again, or its answer was taken.
    let later = table.resolve(&sample(5000));
    let binary = table.binary(later.stack[0].binary);
    assert_eq!(binary.unopened, None);
    assert!(is_elf(&binary));
}

/// A program that runs from memory (`memfd_create`) is a file like others.
#[test]
fn a_program_in_a_memfd_is_a_file() {
    let memfd = File::from(rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::empty()).unwrap());
    std::io::copy(&mut File::open(sleep_program()).unwrap(), &mut &memfd).unwrap();
    let mut child = Command::new(format!("/proc/self/fd/{}", memfd.as_raw_fd())).arg("600").spawn().unwrap();
    let line = code_of(child.id(), Path::new("/memfd:hidden"));
    let (binary, _) = resolve(&mut ProcessTable::new(ProcRoot::host()), child.id(), line.start);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((binary.kind, binary.path.as_str()), (BinaryKind::File, "/memfd:hidden"));
    assert_eq!(binary.build_id, build_id(&sleep_program()));
    assert!(is_elf(&binary));
}

/// The vDSO of any process is ours, with its image at hand.
#[test]
fn the_vdso_has_an_image() {
    let running = Running::start();
    let maps = std::fs::read(format!("/proc/{}/maps", running.pid())).unwrap();
    let vdso = executable_maps(&maps).find(|line| line.path == b"[vdso]").unwrap();
    let (binary, offset) = resolve(&mut ProcessTable::new(ProcRoot::host()), running.pid(), vdso.start + 0x800);
    assert_eq!((binary.kind, binary.path.as_str(), offset), (BinaryKind::Vdso, "[vdso]", 0x800));
    assert!(is_elf(&binary) && binary.build_id.is_some());
}

/// A file nobody maps any more is closed after a while, and its binary forgotten later still; ids are not used again.
#[test]
fn unused_files_are_closed() {
    let running = Running::start();
    let line = running.mapping();
    let mut table = ProcessTable::new(ProcRoot::host());
    let pid = running.pid();
    let before = table.counts().pinned_files;
    assert!(resolve(&mut table, pid, line.start).0.file.is_some());
    assert_eq!(table.counts().pinned_files, before + 1);
    table.apply(SideBand::Exit { time: BootNanos(2_000_000_000), pid, tid: pid });
    table.end_window(BootNanos(40_000_000_000));
    assert_eq!(table.counts().pinned_files, before + 1, "the last window that names it is not stored yet");
    table.end_window(BootNanos(70_000_000_000));
    assert_eq!(table.counts().pinned_files, before);
}
