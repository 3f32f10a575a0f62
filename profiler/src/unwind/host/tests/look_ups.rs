//! Finding mappings, fixed rules and words.

use profiler_ebpf::tables::{RULE_END, RULE_NONE, RULE_UNSUPPORTED};

use super::*;

/// A word that lies across the boundary of a memory page is read, and so is a stack that is not aligned.
#[test]
fn words_at_odd_places_are_read() {
    let mut bytes = vec![0; 5000];
    bytes[4092..4100].copy_from_slice(&row(0).to_le_bytes());
    let mut drawing = Drawing::new(&[end(), cfa(RSP, 8)], &[]);
    let space = drawing.space();
    let memory = StackBytes { start: STACK, bytes: &bytes };
    let registers = Registers { sp: STACK + 4092, ..in_row(1) };
    let walked = walk(registers, Machine::X86_64, &drawing.pool, space, &memory, UnwindMode::Rows);
    assert_eq!(walked.end, StackEnd::Complete);
}

/// A word that begins inside one already read, four bytes on, is not that one.
#[test]
fn a_word_between_two_words_is_read_for_itself() {
    let mut bytes = vec![0; 600];
    bytes[..8].copy_from_slice(&row(1).to_le_bytes());
    bytes[12..20].copy_from_slice(&row(0).to_le_bytes());
    let mut drawing = Drawing::new(&[end(), cfa(RSP, 12), cfa(RSP, 8)], &[]);
    let space = drawing.space();
    let memory = StackBytes { start: STACK, bytes: &bytes };
    let walked = walk(in_row(2), Machine::X86_64, &drawing.pool, space, &memory, UnwindMode::Rows);
    assert_eq!(seen(&walked), (vec![row(2), row(1) - 1, row(0) - 1], StackEnd::Complete));
}

/// What one process's look-up has found is not another's, though the address is the same.
#[test]
fn the_cache_answers_for_one_space_only() {
    let mut drawing = Drawing::new(&[end()], &[]);
    let file = drawing.space();
    drawing.mappings[0].image = Mapping::JIT;
    let jit = drawing.space();
    let memory = StackBytes { start: 0, bytes: &[] };
    let world = World(&drawing.pool, &memory);
    let mut cache: Box<RowCache> = Box::new([CachedRow::default(); CACHE_SLOTS]);
    // More spaces than the cache has slots: some share one.
    for id in 1..=2 * CACHE_SLOTS as u32 {
        let (space, code) = if id.is_multiple_of(2) { (file, rows::Code::Rows) } else { (jit, rows::Code::Jit) };
        let space = Space { id, ..space };
        let mut find = || rows::find(&world, &mut cache, &space, &mut Mapping::default(), row(0));
        assert!(find().is(code) && find().is(code), "space {id}");
    }
}

/// Beyond the end of an image there are no rows, whatever lies there.
#[test]
fn an_image_ends_where_it_says() {
    let mut pool = Pool::default();
    let image = pool.add_pages(&image_of(&[(0, RULE_END), (600, RULE_END)]));
    for (granules, expected) in [(2, StackEnd::Complete), (1, StackEnd::NoUnwindRows)] {
        let mapping = Mapping { start: CODE, end: CODE + 1024, bias: CODE.wrapping_neg(), image, granules };
        let space = pool.space(&[mapping]);
        let registers = Registers { ip: CODE + 512, ..in_row(0) };
        let memory = StackBytes { start: 0, bytes: &[] };
        let walked = walk(registers, Machine::X86_64, &pool, space, &memory, UnwindMode::Rows);
        assert_eq!(walked.end, expected);
    }
}

/// Every address between the first and the last of many mappings finds its own.
#[test]
fn every_mapping_is_found() {
    let mut pool = Pool::default();
    let image = pool.add_pages(&image_of(&[(0, RULE_END), (0xfff, RULE_END)]));
    for count in [1, 2, 3, 15, 16, 17, 33, 100, 4096] {
        let mapping = |n: u64| Mapping {
            start: 0x10000 + n * 0x2000,
            end: 0x11000 + n * 0x2000,
            image: if n.is_multiple_of(3) { image } else { Mapping::JIT },
            bias: (0x10000 + n * 0x2000).wrapping_neg(),
            granules: 8,
        };
        let mappings: Vec<Mapping> = (0..count).map(mapping).collect();
        let space = pool.space(&mappings);
        let end_at = |ip| {
            let registers = Registers { ip, sp: STACK, all: 1, ..Registers::default() };
            walk(registers, Machine::X86_64, &pool, space, &StackBytes { start: 0, bytes: &[] }, UnwindMode::Auto).end
        };
        for (n, mapping) in (0_u64..).zip(&mappings) {
            let expected = if n.is_multiple_of(3) { StackEnd::Complete } else { StackEnd::JitFramePointerLost };
            assert_eq!((end_at(mapping.start), end_at(mapping.end - 1)), (expected, expected), "{n} of {count}");
            assert_eq!((end_at(mapping.start - 1), end_at(mapping.end)), (StackEnd::NoMappings, StackEnd::NoMappings));
        }
    }
}

/// The fixed rules mean what their numbers say.
#[test]
fn the_fixed_rules_are_in_their_places() {
    let rules = fixed_rules();
    let cfa = [RULE_NONE, RULE_UNSUPPORTED, RULE_END].map(|number| rules[usize::from(number)].cfa);
    assert_eq!(cfa, [Cfa::None as u8, Cfa::Unsupported as u8, Cfa::End as u8]);
}
