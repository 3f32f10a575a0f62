//! Images against the rows they were built from, and against bytes that are none.
#![expect(clippy::unwrap_used, reason = "tests")]

use profiler_ebpf::tables::{BLOCK_ROWS, Block, GRANULE_SHIFT, INDEX_ENTRIES, PAGE, Page, Rule};
use proptest::prelude::*;

use super::rows::{FIXED_RULES, Rows, RuleTable, fill_holes, offset_of, rule_of};
use super::{Cause, Image, Stats};

/// Rules with numbers from 3 on.
fn some_rules(count: u16) -> Vec<Rule> {
    (0..count)
        .map(|n| Rule { cfa: 2, cfa_register: 7, ra: 1, cfa_offset: i32::from(n) * 8, ..Rule::default() })
        .collect()
}

/// Rows at these distances from each other, with rules of these numbers, ended by one without.
fn rows_of(start: u64, steps: &[(u64, u16)]) -> Vec<u64> {
    let mut rows = Rows::new();
    let mut at = start;
    for (step, rule) in steps {
        at += step;
        rows.push(at, *rule).unwrap();
    }
    rows.push(at + 17, 0).unwrap();
    rows.finish()
}

/// What is in force at an offset, by the rows themselves.
fn in_force(rows: &[u64], offset: u64) -> u16 {
    rows.partition_point(|row| offset_of(*row) <= offset).checked_sub(1).map_or(0, |at| rule_of(rows[at]))
}

/// Kernel memory as the walk sees it.
fn pages_of(image: &Image, numbers: &[u16]) -> Vec<Page> {
    let mut pages = Vec::new();
    image.write_pages(numbers, |at, page| {
        assert_eq!(at as usize, pages.len());
        pages.push(*page);
    });
    pages
}

/// The walk's own look-up, in the words of `tables.rs`.
fn look_up(pages: &[Page], granules: u32, rel: u64) -> u16 {
    let bytes = |page: usize| pages[page].iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    let granule = rel >> GRANULE_SHIFT;
    if granule >= u64::from(granules) {
        return 0;
    }
    let entry = granule as usize;
    let index = bytes(entry / INDEX_ENTRIES);
    let block = u32::from_ne_bytes(index[entry % INDEX_ENTRIES * 4..][..4].try_into().unwrap());
    let block = bytes(block as usize);
    let number = |at: usize| u16::from_ne_bytes(block[at * 2..][..2].try_into().unwrap());
    let last = (0..BLOCK_ROWS).rev().find(|row| number(*row) <= rel as u16).unwrap();
    number(BLOCK_ROWS + last)
}

fn steps() -> impl Strategy<Value = Vec<(u64, u16)>> {
    let near = (1_u64..40, 0_u16..40);
    let far = (1_u64..200_000, 0_u16..40);
    proptest::collection::vec(prop_oneof![30 => near, 1 => far], 1..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// At every row's start and end, the image, and kernel memory under other rule numbers, say what the rows say.
    #[test]
    fn an_image_says_what_its_rows_say(start in 0_u64..1 << 40, steps in steps()) {
        let rows = rows_of(start, &steps);
        prop_assume!(!rows.is_empty());
        let image = Image::build(&rows, some_rules(40), Stats::default()).unwrap();
        let numbers: Vec<u16> = (0..40).map(|n| 1000 + n).collect();
        let pages = pages_of(&image, &numbers);
        prop_assert_eq!(pages.len() as u32, image.pages());
        for row in &rows {
            for offset in [offset_of(*row), offset_of(*row).saturating_sub(1), offset_of(*row) + 1] {
                let expected = in_force(&rows, offset);
                prop_assert_eq!(image.number_at(offset).unwrap_or(0), expected, "at {}", offset);
                let kernel = offset.checked_sub(image.base()).map_or(0, |rel| look_up(&pages, image.granules(), rel));
                let expected = if expected < FIXED_RULES { expected } else { 1000 + expected - FIXED_RULES };
                prop_assert_eq!(kernel, expected, "at {}", offset);
            }
        }
        prop_assert_eq!(Image::decode(&image.encode()).unwrap(), image);
    }

    /// Rows in any order become sorted ones without repetition, and a second source fills only what the first leaves open.
    #[test]
    fn holes_are_filled_and_nothing_else(
        first in proptest::collection::vec((0_u64..3000, 1_u16..9), 0..40),
        second in proptest::collection::vec((0_u64..3000, 1_u16..9), 0..40),
    ) {
        let finished = |functions: &[(u64, u16)]| {
            let mut rows = Rows::new();
            for (start, rule) in functions {
                rows.push(start * 64, *rule).unwrap();
                rows.push(start * 64 + 40, 0).unwrap();
            }
            rows.finish()
        };
        let (first, second) = (finished(&first), finished(&second));
        let both = fill_holes(first.clone(), second.clone()).unwrap();
        prop_assert!(both.is_sorted());
        for pair in both.windows(2) {
            prop_assert!(offset_of(pair[0]) < offset_of(pair[1]) && rule_of(pair[0]) != rule_of(pair[1]));
        }
        for offset in first.iter().chain(&second).map(|row| offset_of(*row)) {
            let expected = Some(in_force(&first, offset)).filter(|rule| *rule != 0);
            prop_assert_eq!(in_force(&both, offset), expected.unwrap_or(in_force(&second, offset)));
        }
    }

    /// Damage is found by the checksum; what has a right checksum and is wrong all the same is refused or harmless.
    #[test]
    fn damaged_images_are_refused(steps in steps(), flips in proptest::collection::vec((any::<usize>(), 1_u8..), 1..8)) {
        let rows = rows_of(4096, &steps);
        prop_assume!(!rows.is_empty());
        let mut bytes = Image::build(&rows, some_rules(40), Stats::default()).unwrap().encode();
        let whole = bytes.clone();
        for (at, mask) in flips {
            let at = at % bytes.len();
            bytes[at] ^= mask;
        }
        prop_assume!(bytes != whole);
        prop_assert!(Image::decode(&bytes).is_err());
        let end = bytes.len() - 4;
        let sum = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
        if let Ok(image) = Image::decode(&bytes) {
            pages_of(&image, &[]);
            let base = image.base();
            prop_assert!((0..64).all(|at| image.rule_at(base + at * 997).cfa <= 7));
        }
    }
}

/// More rows in half a KiB than a block holds: the surplus is unknown up to the next granule, and counted.
#[test]
fn crowded_code_is_unknown_and_counted() {
    let steps: Vec<(u64, u16)> = (0..400).map(|n| (2, 3 + n % 2)).collect();
    let rows = rows_of(0x1_0000 - 2, &steps);
    let image = Image::build(&rows, some_rules(2), Stats::default()).unwrap();
    let number = |rel: u64| image.number_at(0x1_0000 + rel).unwrap();
    assert_eq!([number(0), number(2), number(252), number(254), number(511)], [3, 4, 3, 1, 1]);
    assert_eq!([number(512), number(514)], [3, 4], "the next granule begins anew");
    assert_eq!(image.stats().unsupported[Cause::Crowded as usize], 128 + 17);
}

/// A row of a real library costs less than five bytes of kernel memory.
#[test]
fn a_row_costs_less_than_five_bytes() {
    let file = std::fs::File::open(format!("/lib/{}-linux-gnu/libc.so.6", std::env::consts::ARCH)).unwrap();
    let image = super::compile(&file).unwrap();
    let bytes = image.pages() as usize * PAGE;
    assert!(bytes < image.stats().rows as usize * 5, "{bytes} bytes for {} rows", image.stats().rows);
    assert_eq!(size_of::<Block>(), PAGE);
}

/// More rules than there are numbers: the caller is told.
#[test]
fn rules_run_out() {
    let mut table = RuleTable::new();
    let rule = |n: i32| Rule { cfa: 2, cfa_offset: n, ..Rule::default() };
    let numbers: Vec<Option<u16>> = (0..20_000).map(|n| table.number(rule(n))).collect();
    assert_eq!(numbers[0], Some(FIXED_RULES));
    assert_eq!(numbers[16_383], Some(16_383 + FIXED_RULES));
    assert_eq!(numbers[16_384], None);
    assert_eq!(table.number(rule(5)), Some(5 + FIXED_RULES));
}
