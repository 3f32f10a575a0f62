//! Living programs that wrote code and did not tell of all of it: do they now? Somebody may have followed the advice
//! (`jcmd PID Compiler.perfmap`), minutes after the code was sampled.
//!
//! Time comes in as an argument, and looking is the caller's; bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::profile::{Binary, BinaryKey};

/// How often a program's file is looked for.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Most programs.
const MOST: usize = 256;

/// What a program tells by: length and time of last change of its file; `None` while there is none.
pub(super) type Stamp = Option<(u64, i64, i64)>;

/// The programs.
#[derive(Debug, Default)]
pub(super) struct Silent {
    programs: HashMap<BinaryKey, (Arc<Binary>, Stamp)>,
    next: Option<Instant>,
}

impl Silent {
    /// A program has told no more than this.
    pub fn note(&mut self, program: &Arc<Binary>, stamp: Stamp, now: Instant) {
        if self.programs.len() < MOST || self.programs.contains_key(&program.key) {
            self.programs.insert(program.key.clone(), (Arc::clone(program), stamp));
            self.next.get_or_insert(now + LOOK);
        }
    }

    /// When to look next.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks at all of them when it is time: gives those that tell something else now. `look` says what; `None` of a program that has ended.
    pub fn told(&mut self, now: Instant, mut look: impl FnMut(&Binary) -> Option<Stamp>) -> Vec<Arc<Binary>> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut told = Vec::new();
        self.programs.retain(|_, (program, before)| match look(program) {
            Some(stamp) if stamp == *before => true,
            Some(None) | None => false,
            Some(_) => {
                told.push(Arc::clone(program));
                false
            }
        });
        self.next = (!self.programs.is_empty()).then_some(now + LOOK);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BinaryKind, StartTicks};

    fn program(pid: u32) -> Arc<Binary> {
        let key = BinaryKey::Jit { boot_id: String::new(), pid, start: StartTicks(1), inside: pid, user: 0 };
        let (kind, path) = (BinaryKind::Anonymous, "[anon]".to_owned());
        Arc::new(Binary { key, kind, path, build_id: None, code: None, file: None, root: None, refused: false })
    }

    /// A program whose file comes, or changes, is told of once; one that says nothing is looked at again, one that has ended is not.
    #[test]
    fn a_program_that_tells_at_last_is_told_of_once() {
        let (mut silent, now) = (Silent::default(), Instant::now());
        (1..=4).for_each(|pid| silent.note(&program(pid), if pid == 4 { Some((7, 1, 0)) } else { None }, now));
        assert!(silent.told(now, |_| panic!("too early")).is_empty());
        let look = |found: &Binary| match &found.key {
            BinaryKey::Jit { pid: 1, .. } => Some(None),
            BinaryKey::Jit { pid: 2, .. } => None,
            _ => Some(Some((9, 2, 0))),
        };
        let mut told: Vec<_> = silent.told(now + LOOK, look).iter().map(|program| program.key.clone()).collect();
        told.sort_by_key(|key| format!("{key:?}"));
        assert_eq!(told, [program(3).key.clone(), program(4).key.clone()]);
        let mut looked = 0;
        assert!(
            silent
                .told(now + LOOK * 2, |_| {
                    looked += 1;
                    Some(None)
                })
                .is_empty()
        );
        assert_eq!((looked, silent.next()), (1, Some(now + LOOK * 3)));
        assert!(silent.told(now + LOOK * 3, |_| None).is_empty());
        assert_eq!(silent.next(), None);
    }
}
