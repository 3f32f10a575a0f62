//! What holds for any tables and any stack.

use profiler_ebpf::tables::{BLOCK_ROWS, GRANULE_SHIFT};
use proptest::prelude::*;

use super::*;

/// Words that a stack may hold: code, stack, small numbers, anything.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..64_u64).prop_map(|n| CODE + n * 5),
        4 => (0..128_u64).prop_map(at),
        1 => 0..32_u64,
        1 => any::<u64>(),
    ]
}

prop_compose! {
    /// Bytes as rules, but of kinds that exist more often than not.
    fn rule()(cfa in 0..9_u8, cfa_register in prop_oneof![Just(RSP), Just(RBP), Just(29), Just(31), any::<u8>()], fp in 0..6_u8, ra in 0..64_u8,
        cfa_offset in prop_oneof![0..64_i32, any::<i32>()], fp_offset in prop_oneof![-32..32_i16, any::<i16>()],
        ra_offset in prop_oneof![-32..32_i16, any::<i16>()], extra in prop_oneof![0..16_i32, any::<i32>()]) -> Rule {
        Rule { cfa, cfa_register, fp, ra, cfa_offset, fp_offset, ra_offset, extra }
    }
}

prop_compose! {
    fn registers()(ip in word(), sp in word(), fp in word(), lr in word(), general in prop::collection::vec(word(), 32), all in 0..2_u64)
        -> Registers {
        Registers { ip, sp, fp, lr, general: general.try_into().unwrap(), all }
    }
}

fn mode() -> impl Strategy<Value = UnwindMode> {
    prop_oneof![Just(UnwindMode::Auto), Just(UnwindMode::Rows), Just(UnwindMode::FramePointers)]
}

fn machine() -> impl Strategy<Value = Machine> {
    prop_oneof![Just(Machine::X86_64), Just(Machine::Aarch64)]
}

proptest! {
    /// Whatever rules and stack say: no panic, at least the frame that was interrupted, at most the limit, an end that is known.
    #[test]
    fn any_rules_and_any_stack_end_in_a_bounded_walk(
        rules in prop::collection::vec(rule(), 1..20),
        stack in prop::collection::vec(word(), 0..128),
        (registers, machine, mode) in (registers(), machine(), mode()),
        jit in any::<bool>(),
    ) {
        let mut drawing = Drawing::new(&rules, &stack).on(machine).by(mode);
        if jit {
            drawing = drawing.with(CODE + 0x1000, CODE + 0x2000, Mapping::JIT);
        }
        let walked = drawing.walk(registers);
        prop_assert!((1..=MAX_USER_FRAMES).contains(&walked.frames.len()));
        prop_assert_eq!(walked.frames.len() == MAX_USER_FRAMES, walked.end == StackEnd::TruncatedAtMaxDepth);
        let marked = walked.frames.iter().any(|frame| frame & BY_FRAME_POINTER != 0);
        prop_assert!(!(marked && walked.end == StackEnd::Complete), "frames by frame pointer are owned up to");
    }

    /// Pages of any bytes, mappings that lead anywhere: the same.
    #[test]
    fn any_pages_end_in_a_bounded_walk(
        pages in prop::collection::vec(prop::collection::vec(any::<u64>(), 64), 1..8),
        rules in prop::collection::vec(rule(), 1..8),
        images in prop::collection::vec((any::<u64>(), 0..16_u32, any::<u32>()), 0..40),
        count in prop_oneof![0..64_u32, any::<u32>()],
        stack in prop::collection::vec(word(), 0..64),
        (registers, machine) in (registers(), machine()),
    ) {
        let mut pool = Pool::default();
        rules.into_iter().for_each(|rule| { pool.add_rule(rule); });
        pool.add_pages(&pages.into_iter().map(|page| page.try_into().unwrap()).collect::<Vec<Page>>());
        let mapping = |(n, (bias, image, granules))| Mapping { start: n * 64, end: (n + 1) * 64, bias, image, granules };
        let mappings: Vec<Mapping> = (CODE / 64..).zip(images).map(mapping).collect();
        let space = Space { count, ..pool.space(&mappings) };
        let bytes: Vec<u8> = stack.iter().flat_map(|word| word.to_le_bytes()).collect();
        let memory = StackBytes { start: STACK, bytes: &bytes };
        let walked = walk(registers, machine, &pool, space, &memory, UnwindMode::Auto);
        prop_assert!((1..=MAX_USER_FRAMES).contains(&walked.frames.len()));
    }

    /// The search by halves finds what looking at every row finds.
    #[test]
    fn the_search_in_a_block_finds_the_row_in_force(
        starts in prop::collection::btree_set(0..(1_u64 << GRANULE_SHIFT), 1..BLOCK_ROWS),
        looked_up in 0..(1_u64 << GRANULE_SHIFT),
    ) {
        // Each row has a rule of its own, told by how far up the return address is.
        let mut pool = Pool::default();
        let rows: Vec<(u64, u16)> = (1..).zip(&starts).map(|(n, start)| (*start, pool.add_rule(cfa(RSP, 8 * n)))).collect();
        let image = pool.add_pages(&image_of(&rows));
        let file = Mapping { start: CODE, end: CODE + 512, bias: CODE.wrapping_neg(), image, granules: 1 };
        let space = pool.space(&[file]);
        // Each return address says which word it was, in code that is not mapped.
        let bytes: Vec<u8> = (1..=128_u64).flat_map(|n| (n << 20).to_le_bytes()).collect();
        let memory = StackBytes { start: STACK, bytes: &bytes };
        let walked = walk(Registers { ip: CODE + looked_up, ..in_row(0) }, Machine::X86_64, &pool, space, &memory, UnwindMode::Rows);
        let expected = starts.iter().filter(|start| **start <= looked_up).count() as u64;
        if expected == 0 {
            prop_assert_eq!(walked.end, StackEnd::NoUnwindRows);
        } else {
            prop_assert_eq!(walked.registers.ip, expected << 20);
        }
    }
}
