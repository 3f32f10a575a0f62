//! Stacks of a simulated host: programs, the stacks they can have, and the names of what is on them.
//!
//! Shapes are drawn so that they have what recorded ones have: mean depth 31, common beginnings, a third in the kernel at the
//! end, functions shared between programs through libraries, 60 letters a name, a third of the places with an inlined
//! function.

use std::collections::HashSet;
use std::sync::Arc;

use profiler::profile::{Binary, BinaryId, BinaryKey, BinaryKind, BuildId, Location, SourceLine, Symbol, Symbolized};

use crate::dice::Dice;

/// Libraries that all programs share.
const LIBRARIES: u64 = 6;
/// Functions of a program, of a library, of the kernel.
const FUNCTIONS: [u64; 3] = [1_500, 2_000, 4_000];
const KERNEL: u32 = 0;
const FIRST_PROGRAM: u32 = 1 + LIBRARIES as u32;

/// A program's stacks, in no order: walks through a call graph that is the same every time, from `main` down. The likeliest
/// callee is taken most of the time, so stacks have long beginnings in common: about ten nodes of the call tree are a stack's
/// own, as in the recorded profiles that these were modelled on (26,000 stacks, 242,000 nodes).
pub fn stacks(program: u32, count: usize, dice: &mut Dice) -> Vec<Arc<[Location]>> {
    let mut known = HashSet::with_capacity(count);
    let mut stacks = Vec::with_capacity(count);
    while stacks.len() < count {
        let depth = 12 + dice.below(39) as usize;
        let kernel = if dice.below(3) == 0 { 4 + dice.below(8) as usize } else { 0 };
        let mut stack = Vec::with_capacity(depth);
        let mut at = (FIRST_PROGRAM + program, 0);
        for level in 0..depth {
            let in_kernel = level + kernel >= depth;
            if in_kernel && at.0 != KERNEL {
                // A system call: one of a few doors.
                at = (KERNEL, dice.below(30).min(dice.below(30)));
            }
            // Which of its calls a function is in: the first, the second...
            let call = (0..6).find(|_| dice.below(100) < 94).unwrap_or(6);
            stack.push(Location { binary: BinaryId(at.0), offset: at.1 * 256 + call * 16 });
            at = callee(program, at, call);
        }
        let stack: Arc<[Location]> = stack.into();
        if known.insert(Arc::clone(&stack)) {
            stacks.push(stack);
        }
    }
    stacks
}

/// The function that the `call`th call of a function reaches, and where it is.
fn callee(program: u32, (binary, function): (u32, u64), call: u64) -> (u32, u64) {
    let mut chance = Dice(u64::from(binary) << 48 ^ function << 8 ^ call);
    match binary {
        KERNEL => (KERNEL, chance.below(FUNCTIONS[2])),
        library if library < FIRST_PROGRAM && chance.below(4) > 0 => (library, chance.below(FUNCTIONS[1])),
        _ if chance.below(3) == 0 => (1 + chance.below(LIBRARIES) as u32, chance.below(FUNCTIONS[1])),
        // A library calls back into the program.
        _ => (FIRST_PROGRAM + program, chance.below(FUNCTIONS[0])),
    }
}

/// Every binary of a host with so many programs.
pub fn binaries(programs: u32) -> Vec<(BinaryId, Arc<Binary>)> {
    (0..FIRST_PROGRAM + programs).map(|n| (BinaryId(n), Arc::new(binary(n)))).collect()
}

fn binary(n: u32) -> Binary {
    let id = BuildId::new(&n.to_be_bytes());
    let (kind, path) = match n {
        KERNEL => (BinaryKind::Kernel, "[kernel]".to_owned()),
        n if n < FIRST_PROGRAM => (BinaryKind::File, format!("/usr/lib/x86_64-linux-gnu/libshared{n}.so.6")),
        n => (BinaryKind::File, exe(n - FIRST_PROGRAM)),
    };
    let key = match id {
        Some(id) if kind == BinaryKind::File => BinaryKey::BuildId(kind, id),
        _ => BinaryKey::Kernel { boot_id: crate::host::BOOT.into() },
    };
    Binary { build_id: id, ..Binary::new(kind, key, path) }
}

/// Path of a program.
pub fn exe(program: u32) -> String {
    format!("/usr/bin/service-{program}")
}

/// The names at a place.
pub fn name(place: Location) -> Symbolized {
    let Location { binary: BinaryId(binary), offset } = place;
    let symbol = |function: u64, inlined| Symbol {
        name: format!("service::module_{}::Type{binary}<T, U>::function_{function:06}_does_its_work", function % 40)
            .into(),
        raw: None,
        source: Some(SourceLine {
            file: format!("/usr/src/service-{binary}/module_{}.rs", function % 40).into(),
            line: Some((offset % 997) as u32 + 1),
        }),
        declared: Some((function % 997) as u32 + 1),
        inlined,
    };
    let function = offset / 256;
    let inner = (function % 3 == 0).then(|| symbol(function / 3 + 10_000, true));
    Symbolized::Named(inner.into_iter().chain([symbol(function, false)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What sizes depend on is as in recorded profiles: depth, and how much of a stack is its own.
    #[test]
    fn stacks_share_as_much_as_recorded_ones() {
        let stacks = stacks(0, 2_000, &mut Dice(1));
        let frames: usize = stacks.iter().map(|stack| stack.len()).sum();
        let nodes: HashSet<_> = stacks.iter().flat_map(|stack| (1..=stack.len()).map(|end| &stack[..end])).collect();
        let (depth, own) = (frames as f64 / 2_000.0, nodes.len() as f64 / 2_000.0);
        assert!((30.0..34.0).contains(&depth) && (7.0..13.0).contains(&own), "depth {depth}, own nodes {own}");
    }
}
