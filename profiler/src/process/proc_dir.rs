//! Reading `/proc` with bounds. All reading of one process goes through one descriptor of its directory, so that every answer is
//! of the same process even if its pid is given to another meanwhile (the kernel then says "no such process").

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::cgroup::Cgroup;
use super::open_file::{OpenedFile, open_in_root, open_link};
use super::proc_text::{MapsLine, MapsReader, Stat, is_ended, is_running, parse_identity, parse_stat};
use super::reading_time::Patience;

/// Most bytes read of `stat` and `cgroup`; real ones are below 4 KiB.
const MAX_SMALL: u64 = 64 * 1024;
/// Bytes of `maps` read at a time.
const MAPS_CHUNK: usize = 64 << 10;
/// Most bytes read of `maps`: more than 65,530 mappings with paths of usual length.
const MAX_MAPS: u64 = 16 * 1024 * 1024;

/// Where `/proc` is mounted.
#[derive(Clone, Debug)]
pub struct ProcRoot {
    path: PathBuf,
}

impl ProcRoot {
    /// The running host's.
    #[must_use]
    pub fn host() -> Self {
        Self::at("/proc")
    }

    /// A mount, or a directory which looks like one, elsewhere.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// All processes there are now.
    ///
    /// # Errors
    /// It cannot be listed.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = std::fs::read_dir(&self.path)?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }

    /// Looks at one process.
    ///
    /// # Errors
    /// There is none, or it is hidden (`hidepid`).
    pub(super) fn process(&self, pid: u32) -> io::Result<ProcessDir> {
        let dir = rustix::fs::open(self.path.join(pid.to_string()), DIRECTORY, Mode::empty())?;
        Ok(ProcessDir { dir, other: OnceCell::new() })
    }

    /// A file below it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(&self, path: &str) -> io::Result<File> {
        File::open(self.path.join(path))
    }

    /// A small file below it, such as `sys/kernel/random/boot_id`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        read_bounded(File::open(self.path.join(path))?, MAX_SMALL)
    }
}

/// `/proc/PID` of one process, even when its pid comes back for another.
///
/// When the first thread of a process has ended and others go on, the process is a zombie that has neither memory nor executable nor
/// root directory: those are asked of another thread, whose directory (`/proc/TID`) answers all that the first one's did.
#[derive(Debug)]
pub(super) struct ProcessDir {
    dir: OwnedFd,
    /// Of a thread that goes on, looked for when it is needed.
    other: OnceCell<Option<OwnedFd>>,
}

/// A directory, to open files in it.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Threads looked at for one that goes on: those of a process that ends may all be about to.
const MAX_OTHERS: usize = 64;

impl ProcessDir {
    /// Name, parent, start time.
    pub fn stat(&self) -> Option<Stat> {
        parse_stat(&self.read("stat", MAX_SMALL).ok()?)
    }

    /// Its effective user, which owns the directory (and not its files, when it may not be dumped: `man 5 proc`).
    pub fn user(&self) -> Option<u32> {
        Some(rustix::fs::fstat(&self.dir).ok()?.st_uid)
    }

    /// Ids of its threads.
    fn threads(&self) -> impl Iterator<Item = u32> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tasks = rustix::fs::openat(&self.dir, "task", flags, Mode::empty()).ok();
        let entries = tasks.and_then(|tasks| rustix::fs::Dir::read_from(&tasks).ok());
        entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok())
    }

    /// Whether a thread of it is running, or waits for a CPU, right now.
    pub fn runs(&self) -> bool {
        self.threads().any(|tid| self.read(&format!("task/{tid}/stat"), MAX_SMALL).is_ok_and(|stat| is_running(&stat)))
    }

    /// Whether it goes on though its first thread has ended.
    pub fn goes_on(&self) -> bool {
        self.other().is_some()
    }

    /// The directory of a thread that has not ended, if the first one has.
    fn other(&self) -> Option<&OwnedFd> {
        let find = || {
            let stat = self.read("stat", MAX_SMALL).ok()?;
            if !is_ended(&stat) {
                return None;
            }
            self.threads().take(MAX_OTHERS).find_map(|tid| {
                // Beside this process's own directory, wherever that is mounted.
                let dir = rustix::fs::openat(&self.dir, format!("../{tid}"), DIRECTORY, Mode::empty()).ok()?;
                let alive = |of: &OwnedFd, name: &str| read_in(of, name, MAX_SMALL).is_ok_and(|stat| !is_ended(&stat));
                // Opened first and asked then: while a thread of this process has the number, nobody else has.
                (alive(&self.dir, &format!("task/{tid}/stat")) && alive(&dir, "stat")).then_some(dir)
            })
        };
        self.other.get_or_init(find).as_ref()
    }

    /// Its memory, to be read.
    pub fn open_memory(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(self.other().unwrap_or(&self.dir), "mem", flags, Mode::empty())?))
    }

    /// What it calls itself: process id in its own namespace, effective user.
    pub fn identity_inside(&self) -> Option<(u32, u32)> {
        parse_identity(&self.read("status", MAX_SMALL).ok()?)
    }

    /// Which mount namespace it sees, as an inode number; 0 when it does not say.
    pub fn mount_namespace(&self) -> u64 {
        let inode = |dir: &OwnedFd| Some(rustix::fs::statat(dir, "ns/mnt", AtFlags::empty()).ok()?.st_ino);
        inode(&self.dir).or_else(|| inode(self.other()?)).unwrap_or_default()
    }

    /// Control group.
    pub fn cgroup(&self) -> Option<Cgroup> {
        Some(Cgroup::parse(&self.read("cgroup", MAX_SMALL).ok()?))
    }

    /// Executable mappings, at most so many; `None` when they could not be read, or not in time; empty for kernel threads. Stops reading when
    /// there are more, after 16 MiB, or when their processor time is used up, and says that these are not all.
    pub fn executable_maps(&self, most: usize, patience: Patience) -> Option<(Vec<MapsLine>, bool)> {
        let (lines, all) = read_maps(&self.dir, most, patience)?;
        if lines.is_empty()
            && let Some(other) = self.other()
        {
            return read_maps(other, most, patience);
        }
        Some((lines, all))
    }

    /// Path of the executable, as the kernel shows it (with ` (deleted)` when it is).
    pub fn exe(&self) -> Option<Vec<u8>> {
        let exe = |dir: &OwnedFd| Some(rustix::fs::readlinkat(dir, "exe", Vec::new()).ok()?.into_bytes());
        exe(&self.dir).or_else(|| exe(self.other()?))
    }

    /// Whether it has a file open, as far as so many of its descriptors tell.
    pub fn has_open(&self, (dev, inode): (u64, u64), most: usize) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptors = rustix::fs::openat(self.other().unwrap_or(&self.dir), "fd", flags, Mode::empty()).ok();
        let listed = descriptors.as_ref().and_then(|fds| Some((fds, rustix::fs::Dir::read_from(fds).ok()?)));
        listed.is_some_and(|(fds, entries)| {
            entries.filter_map(Result::ok).take(most).any(|entry| {
                let found = rustix::fs::statat(fds, entry.file_name(), AtFlags::empty());
                found.is_ok_and(|found| (found.st_dev, found.st_ino) == (dev, inode))
            })
        })
    }

    /// Opens a path as the process would see it.
    pub fn open(&self, path: &[u8]) -> io::Result<OpenedFile> {
        open_in_root(self.root()?, Path::new(std::ffi::OsStr::from_bytes(path)))
    }

    /// Its root directory, by a descriptor that only stands for it.
    pub fn root(&self) -> io::Result<OwnedFd> {
        let root = |dir: &OwnedFd| rustix::fs::openat(dir, "root", DIRECTORY, Mode::empty());
        root(&self.dir).or_else(|error| self.other().map_or(Err(error), root)).map_err(io::Error::from)
    }

    /// Opens the file mapped at exactly this range, deleted or not. Needs privileges of the host's root.
    pub fn open_mapped(&self, start: u64, end: u64) -> io::Result<OpenedFile> {
        self.open_link(&format!("map_files/{start:x}-{end:x}"))
    }

    /// Opens the executable, deleted or not.
    pub fn open_exe(&self) -> io::Result<OpenedFile> {
        self.open_link("exe")
    }

    fn open_link(&self, link: &str) -> io::Result<OpenedFile> {
        let link = Path::new(link);
        open_link(&self.dir, link).or_else(|error| self.other().map_or(Err(error), |other| open_link(other, link)))
    }

    fn read(&self, name: &str, max: u64) -> io::Result<Vec<u8>> {
        read_in(&self.dir, name, max)
    }
}

fn read_in(dir: &OwnedFd, name: &str, max: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    read_bounded(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?), max)
}

/// The executable mappings of one directory.
fn read_maps(dir: &OwnedFd, most: usize, patience: Patience) -> Option<(Vec<MapsLine>, bool)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::openat(dir, "maps", flags, Mode::empty()).ok()?);
    let (mut maps, mut rest, mut all) = (MapsReader::default(), Vec::new(), 0);
    loop {
        // The kernel gives whole lines, a page of them at a time.
        let begin = rest.len();
        rest.resize(begin + MAPS_CHUNK, 0);
        let got = file.read(&mut rest[begin..]).ok()?;
        rest.truncate(begin + got);
        all += got as u64;
        if got == 0 {
            maps.read(&rest);
            return Some((maps.lines, true));
        }
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        maps.read(&rest[..end]);
        rest.drain(..end);
        if patience.is_late() {
            return None;
        }
        if maps.lines.len() > most || all > MAX_MAPS || patience.is_over() {
            maps.lines.truncate(most);
            return Some((maps.lines, false));
        }
    }
}

fn read_bounded(file: File, max: u64) -> io::Result<Vec<u8>> {
    // `/proc` files have no size: begin with a page, as most fit.
    let mut bytes = Vec::with_capacity(4096);
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    /// After a process is reaped its directory answers nothing, rather than for whoever has the pid next.
    #[test]
    fn a_directory_outlives_its_process_but_does_not_change_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dir = ProcRoot::host().process(child.id()).unwrap();
        assert_eq!(dir.stat().unwrap().ppid, std::process::id());
        assert!(dir.cgroup().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            dir.stat().is_none()
                && dir.exe().is_none()
                && dir.executable_maps(9, Patience::of(Duration::from_secs(1))).is_none()
        );
    }

    /// We are running, in this very thread; a process that sleeps is not.
    #[test]
    fn who_runs_is_told_from_who_sleeps() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let runs = |pid| ProcRoot::host().process(pid).unwrap().runs();
        while runs(child.id()) {
            std::thread::yield_now();
        }
        assert!(runs(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// We are in the list of processes.
    #[test]
    fn the_list_of_processes_has_us() {
        assert!(ProcRoot::host().pids().unwrap().contains(&std::process::id()));
        assert!(ProcRoot::at("/nowhere").pids().is_err());
    }
}
