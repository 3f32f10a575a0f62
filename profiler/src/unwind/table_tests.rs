//! The tables over ordinary memory: what is loaded is where the mappings say, and nothing is reused too early.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use profiler_ebpf::tables::{Cfa, Mapping, PAGE, PAGE_MAPPINGS, PAGES_PER_CHUNK, Page, Rule, Saved, Space};

use super::images::Images;
use super::rows::RuleTable;
use super::spaces::Spaces;
use super::*;
use crate::profile::{BinaryId, BootNanos, MappedRange};

const SECOND: u64 = 1_000_000_000;
const LIBC: BinaryId = BinaryId(7);
const PROGRAM: BinaryId = BinaryId(8);

/// The kernel's tables in ordinary memory.
#[derive(Debug, Default)]
struct Fake {
    pages: Vec<Page>,
    rules: BTreeMap<u16, Rule>,
    spaces: BTreeMap<u32, Space>,
}

impl PageMemory for Fake {
    fn add_chunks(&mut self, chunks: Range<u32>) -> io::Result<()> {
        self.pages.resize((chunks.end * PAGES_PER_CHUNK) as usize, [0; PAGE / 8]);
        Ok(())
    }

    fn drop_chunk(&mut self, _: u32) {
        self.pages.truncate(self.pages.len() - PAGES_PER_CHUNK as usize);
    }

    fn write(&mut self, page: u32, words: &Page) {
        self.pages[page as usize] = *words;
    }
}

impl Kernel for Fake {
    fn set_rule(&mut self, number: u16, rule: Rule) {
        self.rules.insert(number, rule);
    }

    fn add_space(&mut self, pid: u32, space: Space, _: BootNanos) -> io::Result<Option<Unmapped>> {
        self.spaces.insert(pid, space);
        Ok(None)
    }

    fn replace_space(&mut self, pid: u32, space: Space, _: BootNanos) -> io::Result<()> {
        self.spaces.entry(pid).and_modify(|old| *old = space);
        Ok(())
    }

    fn remove_space(&mut self, pid: u32) {
        self.spaces.remove(&pid);
    }
}

/// Tables, driven by hand.
struct Host {
    kernel: Fake,
    images: Images,
    spaces: Spaces,
    wanted: Vec<BinaryId>,
    now: BootNanos,
}

impl Host {
    fn new(budget: u64) -> Self {
        let mut kernel = Fake::default();
        let images = Images::new(budget, &mut kernel);
        Self { kernel, images, spaces: Spaces::default(), wanted: Vec::new(), now: BootNanos(100 * SECOND) }
    }

    fn enter(&mut self, generation: u64, ranges: &[MappedRange]) {
        let Self { kernel, images, spaces, wanted, now } = self;
        spaces.enter(generation, ranges.to_vec(), images, kernel, wanted, *now).unwrap().unwrap();
    }

    fn assign(&mut self, pid: u32, generation: u64) {
        self.spaces.assign(pid, generation, self.now, &mut self.kernel).unwrap();
    }

    fn load(&mut self, binary: BinaryId, image: Image) {
        let changed = self.images.load(binary, image, &mut self.kernel, self.now).unwrap();
        self.refresh(changed.binaries);
    }

    fn refresh(&mut self, changed: Vec<BinaryId>) {
        let changed: BTreeSet<BinaryId> = changed.into_iter().collect();
        let Self { kernel, images, spaces, wanted, now } = self;
        spaces.refresh(&changed, images, kernel, wanted, *now).unwrap();
    }

    fn pass(&mut self, seconds: u64) {
        self.now.0 += seconds * SECOND;
        let changed = self.images.reuse(&mut self.kernel, self.now).unwrap();
        self.refresh(changed.binaries);
    }

    /// The mapping that the kernel side finds for a process at an address.
    fn mapping(&self, pid: u32, address: u64) -> Mapping {
        let space = self.kernel.spaces[&pid];
        let all = (0..space.count as usize).map(|at| {
            let page = self.kernel.pages[space.first_page as usize + at / PAGE_MAPPINGS];
            let [start, end, bias, both] = page.as_chunks::<4>().0[at % PAGE_MAPPINGS];
            Mapping { start, end, bias, image: both as u32, granules: (both >> 32) as u32 }
        });
        all.into_iter().find(|mapping| (mapping.start..mapping.end).contains(&address)).unwrap()
    }

    /// The rule that a walk would find.
    fn rule(&self, pid: u32, address: u64) -> Rule {
        let mapping = self.mapping(pid, address);
        let rel = address.wrapping_add(mapping.bias);
        let bytes = |page: u32| -> Vec<u8> {
            self.kernel.pages[page as usize].iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        let (granule, index) = ((rel >> 9) as u32, |page: Vec<u8>, at: usize| {
            page[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap()
        });
        let block = bytes(mapping.image + index(bytes(mapping.image + granule / 128), granule as usize % 128 * 4));
        let half = |at: usize| u16::from_ne_bytes([block[at], block[at + 1]]);
        let row = (0..128).rev().find(|row| half(row * 2) <= rel as u16).unwrap();
        self.kernel.rules[&half(256 + row * 2)]
    }
}

fn range(start: u64, len: u64, offset: u64, file: BinaryId) -> MappedRange {
    MappedRange { start, end: start + len, offset, file: Some(file) }
}

fn rule(offset: i32) -> Rule {
    let cfa = Cfa::Register as u8;
    Rule { cfa, cfa_register: 7, cfa_offset: offset, ra: Saved::AtCfa as u8, ra_offset: -8, ..Rule::default() }
}

/// `kib` KiB of code from file offset 0x1000 on, 32 rows a KiB, by turns with two rules of its own.
fn image(first: i32, kib: u64) -> Image {
    let mut rules = RuleTable::new();
    let numbers = [first, first + 8].map(|offset| rules.number(rule(offset)).unwrap());
    let rows: Vec<u64> =
        (0..kib * 32).map(|n| (0x1000 + n * 32) << 16 | u64::from(numbers[(n % 2) as usize])).collect();
    Image::build(&rows, rules.into_rules(), Stats::default()).unwrap()
}

/// A process's mapping says nothing until the file's rows have come; then every process that maps the file finds them.
#[test]
fn rows_are_found_where_the_file_is_mapped() {
    let mut host = Host::new(64 * CHUNK);
    host.enter(1, &[range(0x40_0000, 0x4000, 0x1000, PROGRAM), range(0x7f00_0000, 0x4000, 0x2000, LIBC)]);
    host.enter(2, &[range(0x7e00_0000, 0x4000, 0x1000, LIBC)]);
    host.assign(50, 1);
    host.assign(60, 2);
    assert_eq!(host.wanted, [PROGRAM, LIBC], "each is asked for once");
    assert_eq!(host.mapping(50, 0x7f00_0000).image, Mapping::NOT_LOADED);
    let before = host.kernel.spaces[&60];
    host.load(LIBC, image(16, 64));
    assert_ne!(host.kernel.spaces[&60].id, before.id, "what says something else is another space");
    assert_eq!(host.rule(60, 0x7e00_0000), rule(16));
    assert_eq!(host.rule(60, 0x7e00_0020), rule(24));
    assert_eq!(host.rule(50, 0x7f00_0f3f), rule(24));
    assert_eq!(host.mapping(50, 0x40_0000).image, Mapping::NOT_LOADED);
    host.load(PROGRAM, image(160, 16));
    assert_eq!(host.rule(50, 0x40_0040), rule(160));
    assert!(host.spaces.entered(1).unwrap().ready);
}

/// A file without rows is no reason to wait.
#[test]
fn what_has_no_rows_says_so() {
    let mut host = Host::new(64 * CHUNK);
    host.enter(1, &[range(0x40_0000, 0x4000, 0, PROGRAM)]);
    host.assign(50, 1);
    assert!(!host.spaces.entered(1).unwrap().ready);
    let changed = host.images.missing(PROGRAM, Missing::NoRows, host.now);
    host.refresh(changed.binaries);
    assert_eq!(host.mapping(50, 0x40_0000).image, Mapping::NO_ROWS);
    assert!(host.spaces.entered(1).unwrap().ready);
}

/// A file that was opened too late is asked for then, in the spaces that there are, under its old number or another.
#[test]
fn a_file_that_is_open_at_last_is_asked_for() {
    for is in [PROGRAM, LIBC] {
        let mut host = Host::new(64 * CHUNK);
        host.enter(1, &[range(0x40_0000, 0x4000, 0x1000, PROGRAM)]);
        host.assign(50, 1);
        let changed = host.images.missing(PROGRAM, Missing::Unreadable, host.now);
        host.refresh(changed.binaries);
        assert_eq!(host.mapping(50, 0x40_0000).image, Mapping::NO_ROWS);
        host.wanted.clear();
        host.images.forget_missing(PROGRAM);
        host.spaces.rename(PROGRAM, is);
        host.refresh(vec![is]);
        assert_eq!((host.wanted.as_slice(), host.mapping(50, 0x40_0000).image), (&[is][..], Mapping::NOT_LOADED));
        host.load(is, image(16, 64));
        assert_eq!(host.rule(50, 0x40_0020), rule(24));
    }
    let mut host = Host::new(64 * CHUNK);
    host.images.missing(PROGRAM, Missing::NoRows, host.now);
    host.images.forget_missing(PROGRAM);
    assert_eq!(host.images.why_missing(PROGRAM), Some(Missing::NoRows), "that is for good");
}

/// When the budget is used up the image used longest ago goes, its pages only after no walk can be reading them; it comes back
/// when it is needed.
#[test]
fn the_image_used_longest_ago_goes_first() {
    let mut host = Host::new(3 * CHUNK);
    let file = BinaryId;
    for n in 10..14 {
        host.enter(n.into(), &[range(0x40_0000, 0x100_0000, 0x1000, file(n))]);
        host.assign(n, n.into());
        host.load(file(n), image(16, 4096));
        host.pass(1);
    }
    let loaded = |host: &Host| -> Vec<bool> {
        (10..14).map(|n| host.mapping(n, 0x40_0000).image < Mapping::FIRST_SPECIAL).collect()
    };
    assert_eq!(loaded(&host), [true, true, true, true]);
    host.pass(30);
    host.images.touch([file(10), file(12)].into_iter(), host.now);
    host.enter(20, &[range(0x40_0000, 0x100_0000, 0x1000, PROGRAM)]);
    host.assign(20, 20);
    host.load(PROGRAM, image(32, 4096));
    assert_eq!(loaded(&host), [true, false, true, true]);
    host.pass(0);
    assert_eq!(host.mapping(20, 0x40_0000).image, Mapping::NOT_LOADED, "a walk may be reading its pages yet");
    host.pass(2);
    assert_eq!(host.rule(20, 0x40_0020), rule(40));
    assert_eq!(host.rule(10, 0x40_0020), rule(24), "others are untouched");
    assert_eq!(host.images.evicted, 1);
    host.wanted.clear();
    assert!(host.images.revive(file(11)), "a sample needs it again");
    assert!(!host.images.revive(file(11)), "once");
}

/// What all need at once does not fit: who comes last gets none, and the others keep theirs.
#[test]
fn images_in_use_do_not_push_each_other_out() {
    let mut host = Host::new(2 * CHUNK);
    for n in 10..14 {
        host.enter(n.into(), &[range(0x40_0000, 0x100_0000, 0x1000, BinaryId(n))]);
        host.assign(n, n.into());
        host.load(BinaryId(n), image(16, 4096));
    }
    let images: Vec<u32> = (10..14).map(|n| host.mapping(n, 0x40_0000).image).collect();
    assert!(images[0] < Mapping::FIRST_SPECIAL && images[1] < Mapping::FIRST_SPECIAL, "{images:?}");
    assert_eq!(images[3], Mapping::NO_ROWS);
    assert_eq!(host.images.why_missing(BinaryId(13)), Some(Missing::OverBudget));
    assert_eq!(host.images.evicted, 0);
}

/// Processes come and go, and with them their spaces and files: nothing is left.
#[test]
fn what_nobody_maps_is_given_back() {
    let mut host = Host::new(64 * CHUNK);
    for pid in 100..200 {
        let generation = u64::from(pid);
        host.enter(
            generation,
            &[range(0x40_0000, 0x4000, 0x1000, BinaryId(pid)), range(0x7f00_0000, 0x4000, 0x1000, LIBC)],
        );
        host.assign(pid, generation);
        host.load(BinaryId(pid), image(pid as i32 * 16, 64));
    }
    host.load(LIBC, image(8, 512));
    let rules = host.images.rules.len();
    assert!(rules > 200, "{rules}");
    host.pass(60);
    let Host { kernel, images, spaces, now, .. } = &mut host;
    let mapped = spaces.tidy(|pid| (pid == 150).then_some(150), images, kernel, *now);
    assert_eq!(mapped, BTreeSet::from([LIBC, BinaryId(150)]));
    for gone in images.binaries().filter(|id| !mapped.contains(id)).collect::<Vec<_>>() {
        images.forget(gone, *now);
    }
    host.pass(2);
    assert_eq!(host.kernel.spaces.keys().copied().collect::<Vec<_>>(), [150]);
    assert_eq!(host.images.rules.len(), 3 + 4);
    assert_eq!(host.rule(150, 0x40_0000), rule(2400));
    let left = image(2400, 64).pages() + image(8, 512).pages() + 1;
    assert_eq!(host.images.pool.used() / 512, u64::from(left), "two images and a page of mappings");
}

/// A process that has called exec, of which we are yet to hear, is not given the mappings of the program before.
#[test]
fn what_the_kernel_has_taken_away_stays_away() {
    let mut host = Host::new(64 * CHUNK);
    host.enter(1, &[range(0x40_0000, 0x4000, 0x1000, PROGRAM)]);
    host.assign(50, 1);
    host.kernel.spaces.remove(&50);
    host.load(PROGRAM, image(16, 16));
    assert!(host.kernel.spaces.is_empty());
}
