//! Samples that wait, for the files of their stacks to be opened or for time to read their process, until then or until their window closes;
//! and memory for samples that wait for anything.
//!
//! Bounded, with a share for each process and each user: a sample that finds no room is placed with what is known, as one is whose window
//! closes, and counted.

use std::collections::{HashMap, VecDeque};

use crate::process::{Budget, Charge, Identified};

/// Most memory of samples that wait for files, and of those that wait for time to read their process.
pub(super) const MAX_BYTES: usize = 8 << 20;
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

/// The samples, of one kind.
pub(super) struct Waiting<T> {
    held: VecDeque<Held<T>>,
    room: Room,
}

struct Held<T> {
    generation: u32,
    pid: u32,
    bytes: usize,
    sample: T,
    _charge: Charge,
}

impl<T> Waiting<T> {
    /// So many bytes of them.
    pub fn new(limit: usize) -> Self {
        Self { held: VecDeque::new(), room: Room::new(limit) }
    }

    /// Lets a sample of a process and a user wait, which takes so many bytes; gives it back when there is no room.
    pub fn hold(&mut self, generation: u32, (pid, user): (u32, u32), bytes: usize, sample: T) -> Option<T> {
        let Some(charge) = self.room.enter_as(pid, user, bytes) else { return Some(sample) };
        self.held.push_back(Held { generation, pid, bytes, sample, _charge: charge });
        None
    }

    /// All of them, to be tried again.
    pub fn take(&mut self) -> Vec<T> {
        self.release_if(|_| true)
    }

    /// Those of a generation, which wait no longer.
    pub fn release(&mut self, generation: u32) -> Vec<T> {
        self.release_if(|of| of == generation)
    }

    fn release_if(&mut self, is_due: impl Fn(u32) -> bool) -> Vec<T> {
        let (due, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|held| is_due(held.generation));
        self.held = rest;
        due.iter().for_each(|held| self.room.leave(held.pid, held.bytes));
        due.into_iter().map(|held| held.sample).collect()
    }

    /// What they take, and how many found no room.
    pub fn counts(&self) -> (usize, u64) {
        self.room.counts()
    }

    /// Whether samples of a generation wait.
    pub fn holds(&self, generation: u32) -> bool {
        self.held.iter().any(|held| held.generation == generation)
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

    /// What is held comes back once, of its generation or all; what finds no room comes back at once.
    #[test]
    fn waiting_samples_come_back_by_generation() {
        let mut waiting = Waiting::new(400);
        assert_eq!((waiting.hold(1, (7, 0), 50, 'a'), waiting.hold(2, (7, 0), 50, 'b')), (None, None));
        assert_eq!((waiting.hold(1, (7, 0), 50, 'c'), waiting.hold(1, (8, 0), 50, 'd')), (Some('c'), None));
        assert_eq!((waiting.holds(1), waiting.holds(3), waiting.counts()), (true, false, (150, 1)));
        assert_eq!((waiting.release(1), waiting.holds(1)), (vec!['a', 'd'], false));
        assert_eq!((waiting.take(), waiting.is_empty(), waiting.counts()), (vec!['b'], true, (0, 1)));
    }
}
