//! For tests: a host drawn as lines of side-band records, and samples described as text.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use tempfile::TempDir;

use super::{ProcRoot, ProcessTable};
use crate::profile::{BootNanos, ProcessFacts, RawSample, Sample, StackEnd, StartTicks};
use crate::profile::{InodeNumber, MappedFile, SideBand};

/// A table over a `/proc` of our own making.
pub(super) struct Host {
    /// The table.
    pub table: ProcessTable,
    proc: TempDir,
}

impl Default for Host {
    fn default() -> Self {
        Self::with_proc(&[])
    }
}

impl Host {
    /// A host whose `/proc` has these processes: pid, `stat`, `maps`, `cgroup`.
    pub fn with_proc(processes: &[(u32, &str, &str, &str)]) -> Self {
        let proc = tempfile::tempdir().unwrap();
        for (pid, stat, maps, cgroup) in processes {
            let dir = proc.path().join(pid.to_string());
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("stat"), stat).unwrap();
            std::fs::write(dir.join("maps"), maps).unwrap();
            std::fs::write(dir.join("cgroup"), cgroup).unwrap();
        }
        Self { table: ProcessTable::new(ProcRoot::at(proc.path())), proc }
    }

    pub fn write_maps(&self, pid: u32, maps: &str) {
        std::fs::write(self.proc.path().join(pid.to_string()).join("maps"), maps).unwrap();
    }

    pub fn write_cgroup(&self, pid: u32, cgroup: &str) {
        std::fs::write(self.proc.path().join(pid.to_string()).join("cgroup"), cgroup).unwrap();
    }

    /// Applies records, one a line: milliseconds, kind, pid, and what the kind needs.
    pub fn draw(&mut self, records: &str) {
        for line in records.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let ms: u64 = words[0].parse().unwrap();
            let time = BootNanos(ms * 1_000_000);
            let pid = words[2].parse().unwrap();
            match words[1] {
                "exec" => self.table.apply(SideBand::Exec { time, pid, comm: words[3].to_owned() }),
                "exit" => self.table.apply(SideBand::Exit { time, pid, tid: pid }),
                "fork" => self.table.apply(SideBand::Fork { time, pid, ppid: words[4].parse().unwrap(), tid: pid }),
                "mmap" => {
                    let (start, end) = words[3].split_once('-').unwrap();
                    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
                    self.map(ms, pid, hex(start), hex(end), words[4]);
                }
                other => panic!("no such record: {other}"),
            }
        }
    }

    /// Maps a file, which is known by its inode number, from its beginning.
    pub fn map(&mut self, ms: u64, pid: u32, start: u64, end: u64, path: &str) {
        let inode = path.bytes().fold(1, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte));
        self.table.apply(SideBand::Mmap {
            time: BootNanos(ms * 1_000_000),
            pid,
            start,
            len: end - start,
            page_offset: 0,
            path: path.as_bytes().to_vec(),
            identity: MappedFile::of_inode(InodeNumber { inode, ..InodeNumber::default() }),
            executable: true,
            shared: false,
        });
    }

    pub fn end_window(&mut self, ms: u64) {
        self.table.end_window(BootNanos(ms * 1_000_000));
    }

    /// What was known of a sample's process at its time.
    pub fn facts(&self, sample: &Sample) -> Arc<ProcessFacts> {
        self.table.facts(sample.process, sample.revision)
    }

    /// `path+offset` of each location, root first, and the end.
    pub fn describe(&self, sample: &Sample) -> String {
        let place = |at: &crate::profile::Location| format!("{}+{:#x} ", self.table.binary(at.binary).path, at.offset);
        sample.stack.iter().map(place).collect::<String>() + sample.end.name()
    }
}

/// A sample in user code that could not tell its start time. Leaf first: the interrupted instruction, then return addresses.
pub(super) fn sample(ms: u64, pid: u32, user: &[u64]) -> RawSample {
    sample_of(ms, pid, 0, user)
}

/// A sample in user code of a second thread of the process that started at `start`.
pub(super) fn sample_of(ms: u64, pid: u32, start: u64, user: &[u64]) -> RawSample {
    RawSample {
        time: BootNanos(ms * 1_000_000),
        cpu: 0,
        pid,
        tid: pid + 1,
        start: StartTicks(start),
        thread: "test".into(),
        cgroup_id: 0,
        kernel: [].into(),
        // Of a caller the kernel side sends the last byte of the call.
        user: user.iter().enumerate().map(|(depth, at)| at.wrapping_sub(u64::from(depth > 0))).collect(),
        end: StackEnd::Complete,
        unfinished: None,
        event: 0,
        weight: 1,
    }
}
