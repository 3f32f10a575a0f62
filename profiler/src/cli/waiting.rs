//! Samples that wait for the files of their stacks to be opened, until then or until their window closes.
//!
//! Bounded: a sample that finds no room is placed with what is known, as one is whose window closes.

use std::collections::VecDeque;

use super::unwinding::{Ready, size};

/// Most memory of waiting samples.
const MAX_BYTES: usize = 8 << 20;

/// The samples.
#[derive(Default)]
pub(super) struct Waiting {
    held: VecDeque<Ready>,
    bytes: usize,
}

impl Waiting {
    /// Lets a sample wait; gives it back when there is no room.
    pub fn hold(&mut self, ready: Ready) -> Option<Ready> {
        let bytes = size(&ready.2);
        if self.bytes + bytes > MAX_BYTES {
            return Some(ready);
        }
        self.bytes += bytes;
        self.held.push_back(ready);
        None
    }

    /// All of them, to be tried again.
    pub fn take(&mut self) -> VecDeque<Ready> {
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Those of a generation, which wait no longer.
    pub fn release(&mut self, generation: u32) -> VecDeque<Ready> {
        let (due, rest): (VecDeque<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|ready| ready.0 == generation);
        self.held = rest;
        self.bytes = self.held.iter().map(|ready| size(&ready.2)).sum();
        due
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether samples of a generation wait.
    pub fn holds(&self, generation: u32) -> bool {
        self.held.iter().any(|ready| ready.0 == generation)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
