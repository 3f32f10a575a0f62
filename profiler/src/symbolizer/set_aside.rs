//! Files that are not parsed for a while, and which part of them still is.
//!
//! In: what became of children by file. Out: what may be asked about a file now. Time is an argument.
//!
//! - A file is set aside after two faults, of which the second was that of a child that had parsed no other file.
//! - Its debug information first; one more fault, and its symbol tables too.
//! - It is tried again after 1, 10 and 60 minutes, then every hour; one more fault sets it aside again.
//! - A file that does not answer is postponed: left for the same times, and not blamed. So is one whose child was ended by something
//!   else [`INTERRUPTIONS`] times, each time after the children of other files had answered (it may want all the memory there is).
//! - At most [`MAX_FILES`] are remembered, [`SHARE`] of them of one user: beyond, the user's oldest is forgotten, so no user makes
//!   room for his own by forgetting others'.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lane::{FileContent, Trust};

/// Most files remembered. 100 bytes each.
const MAX_FILES: usize = 4096;
/// Most of one user.
const SHARE: usize = MAX_FILES / 8;
/// Ends of children that are none of their doing and still postpone the file.
const INTERRUPTIONS: u8 = 10;
/// Faults that set a file aside.
const STRIKES: u8 = 2;
/// For how long, the first time and later.
const PAUSES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(3600)];

#[derive(Clone, Copy, Debug)]
struct Entry {
    strikes: u8,
    interruptions: u8,
    /// What may be asked until then; `None` while it has been neither set aside nor postponed.
    trust: Option<(Trust, Instant)>,
    /// How often it was.
    times: usize,
    changed: Instant,
}

impl Entry {
    fn leave(&mut self, trust: Trust, pauses: &[Duration; 3], now: Instant) -> Duration {
        let pause = pauses[self.times.min(pauses.len() - 1)];
        self.times += 1;
        self.trust = Some((trust, now + pause));
        pause
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct SetAside {
    files: HashMap<FileContent, Entry>,
    /// For how long a file is left, the first time and later.
    pub pauses: [Duration; 3],
}

impl Default for SetAside {
    fn default() -> Self {
        Self { files: HashMap::new(), pauses: PAUSES }
    }
}

impl SetAside {
    /// What is known against a file now; `None` also when it is to be tried again.
    pub fn trust(&self, content: &FileContent, now: Instant) -> Option<Trust> {
        let (trust, until) = self.files.get(content)?.trust?;
        (until > now).then_some(trust)
    }

    /// When a file that is set aside now is tried again.
    pub fn until(&self, content: &FileContent, now: Instant) -> Option<Instant> {
        let (_, until) = self.files.get(content)?.trust?;
        (until > now).then_some(until)
    }

    /// Whether a file's next question needs a child that has parsed no other file.
    pub fn is_suspect(&self, content: &FileContent) -> bool {
        self.files.get(content).is_some_and(|entry| entry.strikes > 0)
    }

    /// Whether a file was set aside or postponed, and its time is over.
    pub fn is_retry(&self, content: &FileContent, now: Instant) -> bool {
        self.files.get(content).and_then(|entry| entry.trust).is_some_and(|(_, until)| until <= now)
    }

    /// Files that are set aside, or were and have not been tried again.
    pub fn len(&self) -> usize {
        self.files.values().filter(|entry| entry.trust.is_some() && entry.strikes > 0).count()
    }

    /// The same of files that are postponed.
    pub fn postponed(&self) -> usize {
        self.files.values().filter(|entry| entry.trust.is_some() && entry.strikes == 0).count()
    }

    /// A child has failed on a file by its own fault; `alone` if it had parsed no other. `first` is what may be asked once the file
    /// is set aside. Says for how long it is, if this is news.
    pub fn fault(&mut self, content: FileContent, alone: bool, first: Trust, now: Instant) -> Option<Duration> {
        let pauses = self.pauses;
        let entry = self.entry(content, now);
        match entry.trust {
            // A part of it has been given up, and the rest did no better.
            Some((_, until)) if until > now => {
                entry.trust = Some((Trust::Nothing, until));
                Some(until - now)
            }
            before => {
                entry.strikes = if alone { entry.strikes + 1 } else { entry.strikes.max(1) };
                if before.is_none() && entry.strikes < STRIKES {
                    return None;
                }
                entry.strikes = STRIKES;
                Some(entry.leave(first, &pauses, now))
            }
        }
    }

    /// A file does not answer: it is left for a while. Says for how long.
    pub fn postpone(&mut self, content: FileContent, now: Instant) -> Duration {
        let pauses = self.pauses;
        self.entry(content, now).leave(Trust::Nothing, &pauses, now)
    }

    /// A child that parsed a file was ended by something else, while the children of other files were not. Says for how long the file is
    /// postponed, if that was once too often.
    pub fn interrupted(&mut self, content: FileContent, now: Instant) -> Option<Duration> {
        let pauses = self.pauses;
        let entry = self.entry(content, now);
        entry.interruptions += 1;
        (entry.interruptions >= INTERRUPTIONS).then(|| {
            entry.interruptions = 0;
            entry.leave(Trust::Nothing, &pauses, now)
        })
    }

    fn entry(&mut self, content: FileContent, now: Instant) -> &mut Entry {
        self.make_room(&content);
        let fresh = Entry { strikes: 0, interruptions: 0, trust: None, times: 0, changed: now };
        let entry = self.files.entry(content).or_insert(fresh);
        entry.changed = now;
        entry
    }

    /// A child has answered in full about a file: what was against it is over, unless only a part was asked about.
    pub fn acquit(&mut self, content: &FileContent, now: Instant) {
        if self.trust(content, now).is_none() {
            self.files.remove(content);
        }
    }

    fn make_room(&mut self, content: &FileContent) {
        if self.files.contains_key(content) {
            return;
        }
        let of = |owner: u32| move |(file, _): &(&FileContent, &Entry)| file.owner() == owner;
        let mut from = content.owner();
        if self.files.iter().filter(of(from)).count() < SHARE {
            if self.files.len() < MAX_FILES {
                return;
            }
            let mut counts: HashMap<u32, usize> = HashMap::new();
            self.files.keys().for_each(|file| *counts.entry(file.owner()).or_default() += 1);
            from = counts.into_iter().max_by_key(|(_, count)| *count).map_or(from, |(owner, _)| owner);
        }
        let oldest = self.files.iter().filter(of(from)).min_by_key(|(_, entry)| entry.changed);
        if let Some(oldest) = oldest.map(|(file, _)| *file) {
            self.files.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(owner: u32, inode: u64) -> FileContent {
        FileContent::made(owner, inode)
    }

    const SYMBOLS: Trust = Trust::SymbolsOnly;

    /// One fault is an accident; the second, of a child that parsed nothing else, sets the file's debug information aside, a third the
    /// file. A fault in the company of other files never counts twice.
    #[test]
    fn two_faults_alone_set_a_file_aside() {
        let (mut aside, now, file) = (SetAside::default(), Instant::now(), file(0, 1));
        for _ in 0..5 {
            assert_eq!(aside.fault(file, false, SYMBOLS, now), None);
        }
        assert!(aside.trust(&file, now).is_none() && aside.is_suspect(&file) && aside.len() == 0);
        assert_eq!(aside.fault(file, true, SYMBOLS, now), Some(PAUSES[0]));
        assert_eq!(aside.trust(&file, now), Some(SYMBOLS));
        aside.acquit(&file, now);
        assert_eq!(aside.trust(&file, now), Some(SYMBOLS), "its symbols are no proof of the rest");
        aside.fault(file, true, SYMBOLS, now);
        assert_eq!((aside.trust(&file, now), aside.len()), (Some(Trust::Nothing), 1));
    }

    /// What was set aside is tried again after 1, 10, 60 and 60 minutes; one fault sets it aside again, a full answer ends it.
    #[test]
    fn a_file_is_tried_again_later_and_later() {
        let (mut aside, mut now, file) = (SetAside::default(), Instant::now(), file(0, 1));
        aside.fault(file, true, SYMBOLS, now);
        for minutes in [1, 10, 60, 60] {
            let pause = Duration::from_secs(60 * minutes);
            assert_eq!(aside.fault(file, true, SYMBOLS, now), Some(pause));
            assert!(aside.trust(&file, now + pause - Duration::from_secs(1)).is_some());
            now += pause;
            assert!(aside.trust(&file, now).is_none() && aside.is_retry(&file, now) && aside.is_suspect(&file));
        }
        aside.acquit(&file, now);
        assert!(!aside.is_suspect(&file) && aside.len() == 0);
        assert_eq!(aside.fault(file, true, SYMBOLS, now), None, "it has two chances again");
    }

    /// A file that does not answer is left for 1, 10 and 60 minutes without blame, and so is one that children end on alone, by nobody's
    /// fault; an answer ends both.
    #[test]
    fn files_that_do_not_answer_are_postponed_and_not_blamed() {
        let (mut aside, mut now, slow, greedy) = (SetAside::default(), Instant::now(), file(0, 1), file(0, 2));
        for pause in PAUSES {
            assert_eq!(aside.postpone(slow, now), pause);
            assert_eq!((aside.trust(&slow, now), aside.until(&slow, now)), (Some(Trust::Nothing), Some(now + pause)));
            assert_eq!((aside.len(), aside.postponed(), aside.is_suspect(&slow)), (0, 1, false));
            now += pause;
            assert!(aside.trust(&slow, now).is_none() && aside.is_retry(&slow, now));
        }
        aside.acquit(&slow, now);
        assert_eq!(aside.postponed(), 0);
        for _ in 1..INTERRUPTIONS {
            assert_eq!(aside.interrupted(greedy, now), None);
        }
        assert_eq!((aside.interrupted(greedy, now), aside.postponed()), (Some(PAUSES[0]), 1));
        assert_eq!(aside.fault(file(0, 3), true, SYMBOLS, now), None);
        assert_eq!(aside.len(), 0);
    }

    /// A user who brings many bad files loses his own oldest ones, nobody else's; and all are bounded.
    #[test]
    fn a_user_has_a_share_of_what_is_remembered() {
        let (mut aside, now) = (SetAside::default(), Instant::now());
        let others = file(7, 1);
        aside.fault(others, true, SYMBOLS, now);
        let mut bring = |owner, count: usize| {
            for n in 0..count as u64 {
                aside.fault(file(owner, 100 + n), true, SYMBOLS, now + Duration::from_millis(n + 1));
            }
            aside.files.len()
        };
        assert_eq!(bring(1000, MAX_FILES * 2), SHARE + 1);
        for owner in 1001..1020 {
            bring(owner, SHARE);
        }
        assert_eq!(bring(1020, 1), MAX_FILES);
        assert!(aside.is_suspect(&others) && aside.is_suspect(&file(1020, 100)));
        assert!(!aside.is_suspect(&file(1000, 100)) && aside.files.len() == MAX_FILES);
    }
}
