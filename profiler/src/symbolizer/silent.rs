//! Programs that wrote code and did not tell of all of it: do they now? Somebody may have followed the advice
//! (`jcmd PID Compiler.perfmap`), minutes after the code was sampled; a runtime may tell of it when it ends.
//!
//! Time comes in as an argument, and looking is the caller's; bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::service::Request;
use crate::profile::{Binary, BinaryKey};
use crate::store::LocationId;

/// How often a program's files are looked at.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Most programs.
const MOST: usize = 256;
/// Most places without a name that are remembered for the last look, of all programs: 32 bytes each. `profiler symbolize` names the rest.
const MOST_PLACES: usize = 16_384;

/// What a program tells by: length and time of last change of its files; `None` while there are none.
pub(super) type Stamp = Option<(u64, i64, i64)>;

/// A look at a program's files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    /// What there is.
    pub stamp: Stamp,
    /// There will be no more.
    pub ended: bool,
}

#[derive(Debug)]
struct Program {
    binary: Arc<Binary>,
    stamp: Stamp,
    /// Places without a name: offset and weight.
    places: HashMap<LocationId, (u64, u64)>,
}

/// The programs.
#[derive(Debug, Default)]
pub(super) struct Silent {
    programs: HashMap<BinaryKey, Program>,
    places: usize,
    next: Option<Instant>,
}

impl Silent {
    /// A program has told no more than this, and nothing of these places.
    pub fn note<'a>(
        &mut self,
        binary: &Arc<Binary>,
        looked: Looked,
        unnamed: impl Iterator<Item = &'a Request>,
        now: Instant,
    ) {
        let Looked { stamp, ended } = looked;
        // One that ended and never told anything will not.
        if ended && stamp.is_none() || self.programs.len() >= MOST && !self.programs.contains_key(&binary.key) {
            return;
        }
        let new = || Program { binary: Arc::clone(binary), stamp, places: HashMap::new() };
        let program = self.programs.entry(binary.key.clone()).or_insert_with(new);
        program.stamp = stamp;
        for request in unnamed {
            if self.places >= MOST_PLACES {
                break;
            }
            let before = program.places.insert(request.location, (request.offset, request.weight));
            self.places += usize::from(before.is_none());
        }
        self.next.get_or_insert(now + LOOK);
    }

    /// When to look next.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks at all of them when it is time: gives those that tell something else now. `look` says what; `None` of one that does not answer.
    pub fn told(&mut self, now: Instant, mut look: impl FnMut(&Binary) -> Option<Looked>) -> Vec<Arc<Binary>> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let (mut told, mut places) = (Vec::new(), 0);
        self.programs.retain(|_, program| {
            let keep = match look(&program.binary) {
                Some(Looked { stamp: stamp @ Some(_), .. }) if stamp != program.stamp => {
                    told.push(Arc::clone(&program.binary));
                    false
                }
                Some(Looked { ended, .. }) => !ended,
                None => false,
            };
            places += if keep { program.places.len() } else { 0 };
            keep
        });
        self.places = places;
        self.next = (!self.programs.is_empty()).then_some(now + LOOK);
        told
    }

    /// The last look: the places to ask about again, of programs that tell anything.
    pub fn finish(&mut self, mut look: impl FnMut(&Binary) -> Option<Looked>) -> Vec<Request> {
        let programs = std::mem::take(&mut self.programs);
        (self.places, self.next) = (0, None);
        let tells = programs.into_values().filter(|program| {
            !program.places.is_empty() && look(&program.binary).is_some_and(|looked| looked.stamp.is_some())
        });
        let requests = tells.flat_map(|Program { binary, places, .. }| {
            let request =
                move |(location, (offset, weight))| Request { location, binary: binary.clone(), offset, weight };
            places.into_iter().map(request)
        });
        requests.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BinaryKind, StartTicks};

    fn program(pid: u32) -> Arc<Binary> {
        let key = BinaryKey::Jit { boot_id: String::new(), pid, start: StartTicks(1), inside: pid, user: 0 };
        Arc::new(Binary::new(BinaryKind::Anonymous, key, "[anon]"))
    }

    fn pid(binary: &Binary) -> u32 {
        if let BinaryKey::Jit { pid, .. } = binary.key { pid } else { 0 }
    }

    fn looked(stamp: Stamp, ended: bool) -> Option<Looked> {
        Some(Looked { stamp, ended })
    }

    /// Programs 1 to 5, which have told nothing but 4.
    fn silent(now: Instant) -> Silent {
        let mut silent = Silent::default();
        for pid in 1..=5 {
            let binary = program(pid);
            let request = Request { location: LocationId(pid.into()), binary: binary.clone(), offset: 16, weight: 3 };
            let stamp = if pid == 4 { Some((7, 1, 0)) } else { None };
            silent.note(&binary, Looked { stamp, ended: false }, [request].iter(), now);
        }
        silent
    }

    /// A program whose file comes, or changes, is told of once, also when it came with the program's end; one that says nothing is looked
    /// at again, one that has ended is not.
    #[test]
    fn a_program_that_tells_at_last_is_told_of_once() {
        let now = Instant::now();
        let mut silent = silent(now);
        assert!(silent.told(now, |_| panic!("too early")).is_empty());
        let look = |found: &Binary| match pid(found) {
            1 => looked(None, false),
            2 => looked(None, true),
            5 => looked(Some((9, 2, 0)), true),
            _ => looked(Some((9, 2, 0)), false),
        };
        let mut told: Vec<_> = silent.told(now + LOOK, look).iter().map(|found| pid(found)).collect();
        told.sort_unstable();
        assert_eq!(told, [3, 4, 5]);
        let mut seen = 0;
        let none = silent.told(now + LOOK * 2, |_| {
            seen += 1;
            looked(None, false)
        });
        assert!(none.is_empty());
        assert_eq!((seen, silent.places, silent.next()), (1, 1, Some(now + LOOK * 3)));
        assert!(silent.told(now + LOOK * 3, |_| None).is_empty());
        assert_eq!((silent.places, silent.next()), (0, None));
    }

    /// At the end all places of programs that tell anything are asked about once more.
    #[test]
    fn the_last_look_asks_again() {
        let mut silent = silent(Instant::now());
        let look = |found: &Binary| looked((pid(found) > 2).then_some((7, 1, 0)), pid(found) == 5);
        let mut again: Vec<_> =
            silent.finish(look).iter().map(|request| (request.location.0, request.offset)).collect();
        again.sort_unstable();
        assert_eq!(again, [(3, 16), (4, 16), (5, 16)]);
        assert!(silent.finish(|_| panic!("nothing is left")).is_empty());
    }
}
