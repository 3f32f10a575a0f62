//! A selector against rows: each text is asked about once, however many processes, threads and windows share it.

use super::Selector;
use super::labels::Label;
use crate::store::{Group, RowMap, Snapshot, StoreError};

/// What a selector says of the processes and threads met so far.
pub(super) struct Sieve<'a> {
    selector: &'a Selector,
    names_thread: bool,
    processes: RowMap<u32, bool>,
    /// By the matcher's place and the text's row (a pid for itself).
    texts: RowMap<(u32, u32), bool>,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(selector: &'a Selector) -> Self {
        let names_thread = selector.matchers().iter().any(|matcher| matcher.label() == Label::Thread);
        Self { selector, names_thread, processes: RowMap::default(), texts: RowMap::default() }
    }

    /// Whether everything passes.
    pub(super) fn is_open(&self) -> bool {
        self.selector.is_empty()
    }

    /// Whether the samples of a group pass.
    pub(super) fn passes(&mut self, snapshot: &mut Snapshot<'_>, group: &Group) -> Result<bool, StoreError> {
        if self.is_open() {
            return Ok(true);
        }
        let process = group.key.process;
        let passes = match self.processes.get(&process) {
            Some(known) => *known,
            None => {
                let row = snapshot.process(process)?;
                let passes = self.all(snapshot, |label| label.row(&row))?;
                self.processes.insert(process, passes);
                passes
            }
        };
        Ok(passes
            && (!self.names_thread
                || self.all(snapshot, |label| (label == Label::Thread).then_some(group.key.thread))?))
    }

    /// Whether every matcher passes whose label has a row here.
    fn all(&mut self, snapshot: &mut Snapshot<'_>, row: impl Fn(Label) -> Option<u32>) -> Result<bool, StoreError> {
        for (nth, matcher) in (0..).zip(self.selector.matchers()) {
            let Some(row) = row(matcher.label()) else { continue };
            let passes = match self.texts.get(&(nth, row)) {
                Some(known) => *known,
                None => {
                    let passes = matcher.passes(&matcher.label().text(snapshot, row)?);
                    self.texts.insert((nth, row), passes);
                    passes
                }
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
