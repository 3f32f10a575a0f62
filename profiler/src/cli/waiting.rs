//! Samples that wait: memory for them, and those that wait for the files of their stacks to be opened, until then or until their window
//! closes.
//!
//! Bounded, with a share for each process and each user: a sample that finds no room is placed with what is known, as one is whose window
//! closes, and counted.

use std::collections::{HashMap, VecDeque};

use super::unwinding::{Ready, size};
use crate::process::{Budget, Charge, Identified};

/// Most memory of samples that wait for files.
const MAX_BYTES: usize = 8 << 20;
/// One process has this part of a room: a compiler's deep stacks, whose rows take seconds to come, leave some for the programs beside it.
const PARTS: usize = 4;

/// Memory for waiting samples.
pub(super) struct Room {
    budget: Budget,
    limit: usize,
    of_process: HashMap<u32, usize>,
    /// Samples that found none because of their process.
    refused: u64,
}

impl Room {
    /// So many bytes.
    pub fn new(limit: usize) -> Self {
        Self { budget: Budget::new(limit), limit, of_process: HashMap::new(), refused: 0 }
    }

    /// Takes room for a sample of this length; `None` when its process or its user has no more. [`Self::leave`] gives the process's back.
    pub fn enter(&mut self, who: &Identified, bytes: usize) -> Option<Charge> {
        self.enter_as(who.pid(), who.user(), bytes)
    }

    fn enter_as(&mut self, pid: u32, user: u32, bytes: usize) -> Option<Charge> {
        let own = self.of_process.get(&pid).copied().unwrap_or(0) + bytes;
        if own > self.limit / PARTS {
            self.refused += 1;
            return None;
        }
        let charge = self.budget.charge(user, bytes)?;
        self.of_process.insert(pid, own);
        Some(charge)
    }

    /// A sample of a process waits no longer.
    pub fn leave(&mut self, pid: u32, bytes: usize) {
        if let Some(own) = self.of_process.get_mut(&pid) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                self.of_process.remove(&pid);
            }
        }
    }

    /// What is in use, and how many samples found no room.
    pub fn counts(&self) -> (usize, u64) {
        let counts = self.budget.counts();
        (counts.used, counts.refused + self.refused)
    }
}

/// The samples.
pub(super) struct Waiting {
    held: VecDeque<(Ready, Charge)>,
    room: Room,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { held: VecDeque::new(), room: Room::new(MAX_BYTES) }
    }
}

impl Waiting {
    /// Lets a sample wait; gives it back when there is no room.
    pub fn hold(&mut self, ready: Ready) -> Option<Ready> {
        let (_, who, raw) = &ready;
        let Some(charge) = self.room.enter(who, size(raw)) else { return Some(ready) };
        self.held.push_back((ready, charge));
        None
    }

    /// All of them, to be tried again.
    pub fn take(&mut self) -> VecDeque<Ready> {
        self.release_if(|_| true)
    }

    /// Those of a generation, which wait no longer.
    pub fn release(&mut self, generation: u32) -> VecDeque<Ready> {
        self.release_if(|of| of == generation)
    }

    fn release_if(&mut self, is_due: impl Fn(u32) -> bool) -> VecDeque<Ready> {
        let (due, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|(ready, _)| is_due(ready.0));
        self.held = rest;
        due.iter().for_each(|((_, who, raw), _)| self.room.leave(who.pid(), size(raw)));
        due.into_iter().map(|(ready, _)| ready).collect()
    }

    /// What they take, and how many found no room.
    pub fn counts(&self) -> (usize, u64) {
        self.room.counts()
    }

    /// Whether samples of a generation wait.
    pub fn holds(&self, generation: u32) -> bool {
        self.held.iter().any(|(ready, _)| ready.0 == generation)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// However much of one process, or of one user's processes, waits: the others' samples find room. What leaves makes room again.
    #[test]
    fn waiting_samples_leave_room_for_other_processes_and_users() {
        let mut room = Room::new(8000);
        let mut held: Vec<_> = (0..20).filter_map(|_| room.enter_as(1, 0, 100)).collect();
        assert_eq!((held.len(), room.enter_as(1, 0, 100).is_some()), (20, false), "a quarter is one process's");
        held.extend((0..20).map(|nth| room.enter_as(100 + nth, 1000, 100).unwrap()));
        assert!(room.enter_as(200, 1000, 100).is_none(), "a quarter is one user's");
        held.push(room.enter_as(300, 1001, 100).unwrap());
        assert_eq!(room.counts(), (4100, 2));
        held.clear();
        assert!(room.enter_as(1, 0, 100).is_none(), "not left yet");
        room.leave(1, 100);
        let again = room.enter_as(1, 0, 100);
        assert_eq!((again.is_some(), room.counts().0), (true, 100));
        (0..20).for_each(|_| room.leave(1, 100));
        assert!(!room.of_process.contains_key(&1));
    }
}
