//! Finding the files in which a program's runtime tells of the code it wrote, and holding them open. Opens them, does not read them.
//!
//! - A jitdump is found by its mapping: whoever writes one maps a page of it executable, wherever it lies (`perf inject` goes by that).
//! - A perf map, or a jitdump that is not mapped, lies in `/tmp` of the program's own mount namespace, where anybody may put anything. It
//!   is believed only when it is a regular file with one name, reached without a single link, that belongs to the program's user or to root,
//!   and is no older than the program: pids come again. What the program itself has open, or mapped, may have any age.
//! - A program that was forked from another, and has not called exec since, has that one's code and uses its files too.
//! - After a program has ended, what was held then is its own, and nothing else: the path may be a later process's.
//!
//! May hang where a file system does: to be called in a pool of threads.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::mappings::MAX_RANGES;
use super::open_file::{open_directory_exactly, open_exactly};
use super::proc_dir::{ProcRoot, ProcessDir};
use super::proc_text::MapsLine;
use super::reading_time::Patience;
use crate::profile::{BinaryKey, JitFiles, JitProgram, JitSources, NameSource, ProcessKey, WallNanos};
use crate::sys::clock::{boot_now, wall_now};

/// Largest perf map.
pub const MAX_JIT_MAP: u64 = 64 << 20;
/// Largest dump: most of it is code, which is not read.
const MAX_DUMP: u64 = 1 << 30;
/// A start time is this inexact, and clocks of file systems lag, in nanoseconds.
const SLACK: i64 = 1_000_000_000;
/// Programs that one was forked from: a server that forks its master that forks workers has two.
const MAX_PARENTS: usize = 2;
/// Most descriptors of a program looked at for a file that seems too old.
const MAX_OPEN: usize = 4096;
/// Processor time for reading the mappings of one process.
const PATIENCE: Duration = Duration::from_millis(100);

/// Files to ask for names.
#[derive(Debug)]
pub struct JitLook {
    /// Perf maps and jitdumps: of the program, then of those it was forked from.
    pub files: Vec<(NameSource, Arc<File>)>,
    /// One is there that may not be used.
    pub refused: bool,
    /// The program has ended: no more will come.
    pub ended: bool,
}

/// Whether a mapped file is a jitdump, by its name: `jit-PID.dump`, and ` (deleted)` perhaps.
pub(super) fn is_jitdump(path: &[u8]) -> bool {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let number = name.strip_prefix(b"jit-").and_then(|name| name.strip_suffix(b".dump"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// A program before its files are looked for.
pub(super) fn program(ProcessKey { pid, start }: ProcessKey, (inside, user): (u32, u32)) -> JitProgram {
    JitProgram { pid, start, inside, user, map: None, dump: None }
}

/// When the machine was started, by the wall clock as it is now.
pub(super) fn booted() -> WallNanos {
    WallNanos(wall_now().0.saturating_sub(boot_now().0.cast_signed()))
}

/// Where a program of this boot tells of its code, found by what is known of it from a database: of one that runs, by `/proc`; of one that
/// has ended, in our `/tmp`, in a file of root's or of `user`'s. `None` when another process has its pid, or the boot is another.
#[must_use]
pub fn jit_sources_of(proc: &ProcRoot, boot_id: &str, process: ProcessKey, user: u32) -> Option<JitSources> {
    let this_boot = proc.read("sys/kernel/random/boot_id").ok()?;
    if this_boot.trim_ascii() != boot_id.as_bytes() {
        return None;
    }
    let Ok(dir) = proc.process(process.pid) else {
        return Some(JitSources::new(program(process, (process.pid, user)), None, booted()));
    };
    sources_in(&dir, process)
}

/// Where the program of a key tells of its code, of which nothing is held open; `None` of another sort of key. `root` is its root directory,
/// unless that is ours.
#[must_use]
pub fn jit_sources(key: &BinaryKey, root: Option<Arc<File>>) -> Option<JitSources> {
    let BinaryKey::Jit { pid, start, inside, user, .. } = *key else { return None };
    Some(JitSources::new(program(ProcessKey { pid, start }, (inside, user)), root, booted()))
}

/// The same of a process that runs.
pub(super) fn sources_in(dir: &ProcessDir, process: ProcessKey) -> Option<JitSources> {
    let (identity, root) = (dir.identity_inside()?, File::from(dir.root().ok()?));
    // Read first, then made sure that it was this process.
    dir.stat().filter(|stat| stat.start == process.start)?;
    Some(JitSources::new(program(process, identity), Some(Arc::new(root)), booted()))
}

/// Looks for a program's files and gives those that may be used: its map, its dump.
#[must_use]
pub fn look_for_jit_files(proc: &ProcRoot, sources: &JitSources, [map, dump]: [bool; 2]) -> JitLook {
    look(proc, sources, false);
    let JitFiles { programs, refused, ended, .. } = sources.files();
    let mut files = Vec::new();
    for program in programs {
        let maps = program.map.filter(|_| map).map(|file| (NameSource::PerfMap, file));
        let dumps = program.dump.filter(|_| dump).map(|file| (NameSource::Jitdump, file));
        files.extend(maps.into_iter().chain(dumps));
    }
    JitLook { files, refused, ended }
}

/// Looks for a program's files and holds what it finds; `left` when the program is known to have ended.
pub(super) fn look(proc: &ProcRoot, sources: &JitSources, left: bool) {
    let mut found = sources.files();
    if found.ended {
        return;
    }
    found.refused = false;
    let (itself, has_ended) = match found.programs.first().map_or(Life::Ended, |program| life_of(proc, program)) {
        Life::Goes(dir) => (Some(dir), false),
        Life::Ended => (None, true),
        Life::Unknown => (None, false),
    };
    if found.temporary.is_none() {
        let root = match (&itself, &sources.root) {
            (Some(dir), _) => dir.root().map(File::from),
            (None, Some(root)) => root.try_clone(),
            (None, None) => File::open("/"),
        };
        match root.and_then(|root| open_directory_exactly(root, Path::new("tmp"))) {
            Ok(temporary) => found.temporary = Some(Arc::new(temporary)),
            Err(error) => found.refused = error.kind() != ErrorKind::NotFound,
        }
    }
    if let Some(dir) = &itself
        && !found.has_parents
    {
        found.programs.extend(parents(proc, dir));
        found.has_parents = true;
    }
    let JitFiles { programs, temporary, refused, .. } = &mut found;
    for (nth, program) in programs.iter_mut().enumerate() {
        let other = match nth {
            0 => None,
            _ => life_of(proc, program).goes(),
        };
        let dir = if nth > 0 { &other } else { &itself };
        let mapped = dir.as_ref().and_then(mapped_dump).map(Arc::new);
        let is_mapped = mapped.is_some();
        program.dump = mapped.or(program.dump.take());
        let Some(temporary) = temporary.as_ref() else { continue };
        let mut open = |name: String, largest| match open_exactly(temporary, Path::new(&name)) {
            Ok(file) if is_theirs(&file, program, [sources.booted, booted()], largest, dir.as_ref()) => {
                Some(Arc::new(file))
            }
            // An empty one is about to be written.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => None,
            Ok(_) | Err(_) => {
                *refused = true;
                None
            }
        };
        let map = open(format!("perf-{}.map", program.inside), MAX_JIT_MAP);
        let dump = if is_mapped { None } else { open(format!("jit-{}.dump", program.inside), MAX_DUMP) };
        program.map = map.or(program.map.take());
        program.dump = dump.or(program.dump.take());
    }
    found.ended = left || has_ended;
    sources.set(found);
}

/// What has become of a program.
enum Life {
    Goes(ProcessDir),
    Ended,
    /// `/proc` does not say: no descriptor is left, say. What is not known to have ended is looked at again.
    Unknown,
}

impl Life {
    fn goes(self) -> Option<ProcessDir> {
        if let Self::Goes(dir) = self { Some(dir) } else { None }
    }
}

fn life_of(proc: &ProcRoot, program: &JitProgram) -> Life {
    let dir = match proc.process(program.pid) {
        Ok(dir) => dir,
        Err(error) if error.kind() == ErrorKind::NotFound => return Life::Ended,
        Err(_) => return Life::Unknown,
    };
    match dir.stat() {
        Some(stat) if stat.start != program.start || (stat.ended && !dir.goes_on()) => Life::Ended,
        Some(_) => Life::Goes(dir),
        None => Life::Unknown,
    }
}

/// The jitdump that a program has mapped last.
fn mapped_dump(dir: &ProcessDir) -> Option<File> {
    let (lines, _) = dir.executable_maps(MAX_RANGES, Patience::of(PATIENCE))?;
    let line = lines.iter().rfind(|line| is_jitdump(&line.path))?;
    let MapsLine { start, end, identity, path, .. } = line;
    // The link needs a privilege; without it the path leads to the file, unless that has been replaced.
    let opened = dir.open_mapped(*start, *end).or_else(|_| dir.open(path)).ok()?;
    let is_same = identity.inode.is_some_and(|inode| inode.inode == opened.inode);
    (is_same && opened.file.metadata().ok()?.len() <= MAX_DUMP).then_some(opened.file)
}

/// Programs that this one was forked from, as long as each runs and none has called exec since.
fn parents(proc: &ProcRoot, dir: &ProcessDir) -> Vec<JitProgram> {
    let (mut found, layout) = (Vec::new(), layout(dir));
    let mut parent = dir.stat().map_or(0, |stat| stat.ppid);
    while found.len() < MAX_PARENTS && parent > 1 && layout.is_some() {
        let Ok(dir) = proc.process(parent) else { break };
        let (Some(stat), Some(identity)) = (dir.stat(), dir.identity_inside()) else { break };
        if self::layout(&dir) != layout {
            break;
        }
        found.push(program(ProcessKey { pid: parent, start: stat.start }, identity));
        parent = stat.ppid;
    }
    found
}

/// What a fork has of its parent, and a program that was executed has not: the executable, and where the kernel put the vDSO, which it draws
/// anew for each exec.
fn layout(dir: &ProcessDir) -> Option<(Vec<u8>, u64)> {
    let (lines, _) = dir.executable_maps(MAX_RANGES, Patience::of(PATIENCE))?;
    let vdso = lines.iter().find(|line| line.path == b"[vdso]")?.start;
    Some((dir.exe()?, vdso))
}

/// Whether a file that lies where a program's would is its own. Its age is judged by the wall clock as it was and as it is: the smaller
/// reading is the safe one after the clock was set, by NTP or by hand.
fn is_theirs(
    file: &File,
    program: &JitProgram,
    booted: [WallNanos; 2],
    largest: u64,
    dir: Option<&ProcessDir>,
) -> bool {
    let Ok(stat) = file.metadata() else { return false };
    let [then, now] = booted;
    let begun = then.0.min(now.0).saturating_add(program.start.to_boot().0.cast_signed());
    let written = stat.mtime().saturating_mul(1_000_000_000).saturating_add(stat.mtime_nsec());
    let theirs = stat.uid() == program.user || stat.uid() == 0;
    let is_young = written.saturating_add(SLACK) >= begun;
    let has_it = || dir.is_some_and(|dir| dir.has_open((stat.dev(), stat.ino()), MAX_OPEN));
    theirs && stat.nlink() == 1 && stat.len() <= largest && (is_young || has_it())
}

#[cfg(test)]
mod tests;
