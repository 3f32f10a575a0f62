//! Which process holds a socket: what a uid alone does not say.
//!
//! Root of a container that shares the host's network has uid 0, and so has a socket that root's program made and handed to another
//! user's, or that a set-uid program opens for whoever runs it. So a process is looked for that has the socket's inode among its
//! descriptors, is run by one of the users by real and by effective uid, and lives in our mount namespace or in that of the first
//! process here: a container has its own. Whatever is not found, for want of privilege or time, is nobody's.
//!
//! Processes that were found before are looked at first; a browser asks again and again.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

/// Longest search. 10,000 processes with 20 descriptors each take about as long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Processes remembered.
const RECENT: usize = 16;

/// Looks for processes by socket.
#[derive(Debug, Default)]
pub struct Holders {
    recent: Mutex<VecDeque<u32>>,
}

impl Holders {
    /// Whether a process of `users`, of our mount namespace or the first process's, holds the socket.
    #[must_use]
    pub fn held_by(&self, users: &[u32], inode: u32) -> bool {
        let until = Instant::now() + PATIENCE;
        let link = format!("socket:[{inode}]");
        let homes = ["/proc/self/ns/mnt", "/proc/1/ns/mnt"].map(namespace);
        let fits = |pid: u32| holds(pid, users, &link, until) && is_run_by(pid, users) && is_at_home(pid, &homes);
        let recent: Vec<u32> = self.lock().iter().copied().collect();
        let found = recent.iter().copied().find(|pid| fits(*pid)).or_else(|| {
            let mut pids: Vec<u32> = fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect();
            // Who asks has more often come lately than long ago.
            pids.sort_unstable_by(|a, b| b.cmp(a));
            pids.into_iter().take_while(|_| Instant::now() < until).find(|pid| fits(*pid))
        });
        if let Some(pid) = found {
            let mut recent = self.lock();
            recent.retain(|other| *other != pid);
            recent.push_front(pid);
            recent.truncate(RECENT);
        }
        found.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u32>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one of its descriptors is the socket.
fn holds(pid: u32, users: &[u32], link: &str, until: Instant) -> bool {
    let folder = format!("/proc/{pid}");
    // The folder's owner is the process's effective user, or root for what may not be dumped. Others cannot fit.
    let owner = fs::metadata(&folder).map(|about| about.uid());
    if !owner.is_ok_and(|uid| uid == 0 || users.contains(&uid)) {
        return false;
    }
    fs::read_dir(format!("{folder}/fd"))
        .into_iter()
        .flatten()
        .take_while(|_| Instant::now() < until)
        .any(|entry| entry.is_ok_and(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == Path::new(link))))
}

/// Whether real and effective user are among `users`.
fn is_run_by(pid: u32, users: &[u32]) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let mut ids = ids.split_whitespace().map(|id| id.parse::<u32>().ok());
    let mut among = || ids.next().flatten().is_some_and(|uid| users.contains(&uid));
    among() && among()
}

fn is_at_home(pid: u32, homes: &[Option<(u64, u64)>]) -> bool {
    let own = namespace(&format!("/proc/{pid}/ns/mnt"));
    own.is_some() && homes.contains(&own)
}

fn namespace(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// The uid that stands for users without one in this user namespace; nobody is taken for it.
#[must_use]
pub fn overflow_uid() -> u32 {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    text.trim().parse().unwrap_or(65_534)
}

/// Who runs this process.
#[must_use]
pub fn own_user() -> u32 {
    geteuid().as_raw()
}
