//! Samples that the kernel left unfinished are taken up here, and become what they would have been.

use proptest::prelude::*;

use super::*;
use crate::profile::{BootNanos, StartTicks};

/// A sample as the kernel would send it: walked with the tables it had, its tail attached where it was left for want of more.
fn sampled(walked: &Walked, stack: &[u8]) -> RawSample {
    let late = matches!(walked.end, StackEnd::NoMappings | StackEnd::RowsNotLoaded);
    let from = (walked.registers.sp - STACK) as usize;
    let stack = stack.get(from..).unwrap_or_default();
    let most = TAIL_STACK - (walked.registers.sp % MEMORY_PAGE) as usize;
    let carried = stack[..stack.len().min(most)].into();
    RawSample {
        time: BootNanos(1),
        cpu: 0,
        pid: 1,
        tid: 1,
        start: StartTicks(1),
        thread: "test".into(),
        cgroup_id: 0,
        kernel: [].into(),
        user: walked.frames.as_slice().into(),
        end: walked.end,
        unfinished: late.then(|| Box::new(Unfinished { registers: walked.registers, stack: carried })),
        event: 0,
        weight: 1,
    }
}

/// Walks the drawing with its file not loaded, or not even mapped, then finishes that with everything there.
fn finished(mut drawing: Drawing, registers: Registers, hide: impl Fn(&mut Mapping)) -> RawSample {
    let mut hidden = drawing.mappings.clone();
    hidden.iter_mut().for_each(hide);
    hidden.sort_by_key(|mapping| mapping.start);
    let (late, space) = (drawing.pool.space(&hidden), drawing.space());
    let bytes = drawing.bytes();
    let memory = StackBytes { start: STACK, bytes: &bytes };
    let mut sample = sampled(&walk(registers, Machine::HERE, &drawing.pool, late, &memory, drawing.mode), &bytes);
    finish(&mut sample, &drawing.pool, space, drawing.mode, &|_| None);
    assert_eq!(sample.unfinished, None);
    sample
}

fn not_loaded(mapping: &mut Mapping) {
    mapping.image = Mapping::NOT_LOADED;
}

/// From the first frame on, when nothing was known; the interrupted frame stays an interrupted one.
#[test]
fn a_sample_of_an_unknown_process_is_walked_from_its_leaf() {
    let drawing = || Drawing::new(&[end(), cfa(RSP, 8), cfa(10, 8)], &[7, row(1), row(0)]);
    let mut registers = in_row(2);
    registers.general[10] = at(1);
    let whole = drawing().walk(registers);
    assert_eq!((whole.frames.len(), whole.end), (3, StackEnd::Complete));
    for hide in [not_loaded, |mapping: &mut Mapping| (mapping.start, mapping.end) = (1, 2)] {
        let sample = finished(drawing(), registers, hide);
        assert_eq!((&*sample.user, sample.end), (&*whole.frames, StackEnd::Complete));
    }
}

/// The stack that came along has an end, and other stacks (a signal's handler returns to one) did not come: the one is lost, the
/// other was too early.
#[test]
fn a_stack_that_did_not_come_along_was_too_early() {
    let at_register = || Drawing::new(&[cfa(10, 8)], &[7, 8]);
    let with = |general| {
        let mut registers = in_row(0);
        registers.general[10] = general;
        finished(at_register(), registers, not_loaded).end
    };
    assert_eq!(with(at(2)), StackEnd::StackUnreadable, "the word behind the last one");
    assert_eq!(with(STACK + 2 * MEMORY_PAGE), StackEnd::RowsNotLoaded);
}

/// A caller that is in no mapping now is none: what led there was wrong.
#[test]
fn a_caller_that_is_still_unmapped_is_lost() {
    let sample = finished(Drawing::new(&[cfa(RSP, 8)], &[0x5008]), in_row(0), not_loaded);
    assert_eq!((&*sample.user, sample.end), (&[row(0)][..], StackEnd::ReturnAddressLost));
    let unknown = Registers { ip: 0x5008, ..in_row(0) };
    let sample = finished(Drawing::new(&[end()], &[7]), unknown, |_| ());
    assert_eq!(
        (&*sample.user, sample.end),
        (&[0x5008][..], StackEnd::NoMappings),
        "the interrupted instruction was there"
    );
}

/// What does not fit into the tail is not known: the sample ends as it did in the kernel, with all frames up to there.
#[test]
fn a_stack_longer_than_the_tail_ends_as_it_did() {
    let step = 1024;
    let mut stack = vec![7; 400 * 128];
    stack.iter_mut().skip(step / 8 - 1).step_by(step / 8).for_each(|word| *word = row(0));
    let most = TAIL_STACK / 4096;
    for (sp, pages) in [(STACK, most), (STACK + 4 * step as u64, most), (STACK + step as u64, most - 1)] {
        let registers = Registers { sp, ..in_row(0) };
        let sample = finished(Drawing::new(&[cfa(RSP, step as i32)], &stack), registers, not_loaded);
        let carried = pages * 4096 + if pages < most { 4096 - step } else { 0 };
        assert_eq!((sample.user.len(), sample.end), (1 + carried / step, StackEnd::RowsNotLoaded));
    }
}

/// Where the stack itself ends, it cannot be read, then or now.
#[test]
fn the_end_of_the_stack_is_told_from_the_end_of_the_tail() {
    let sample = finished(Drawing::new(&[cfa(RSP, 8)], &[row(0); 3]), in_row(0), not_loaded);
    assert_eq!((sample.user.len(), sample.end), (4, StackEnd::StackUnreadable));
}

/// Frames already found and those found now are one stack under one limit.
#[test]
fn the_limit_is_that_of_the_whole_stack() {
    let mut stack = vec![JIT; 600];
    stack[300..].fill(row(0));
    let jit = Mapping { start: JIT - 8, end: JIT + 8, ..Drawing::new(&[cfa(RSP, 8)], &[]).mappings[0] };
    let mut drawing = Drawing::new(&[cfa(RSP, 8)], &stack);
    drawing.mappings.push(Mapping { bias: (JIT - 8).wrapping_neg(), ..jit });
    let hide = |mapping: &mut Mapping| {
        if mapping.start == CODE {
            not_loaded(mapping)
        }
    };
    let sample = finished(drawing, Registers { ip: JIT, ..in_row(0) }, hide);
    assert_eq!((sample.user.len(), sample.end), (MAX_USER_FRAMES, StackEnd::TruncatedAtMaxDepth));
}

/// Other code than that at `CODE`.
const JIT: u64 = 0x5000;

proptest! {
    /// Wherever rows were missing, the finished sample is the one that would have been taken with them: up to two files and code made at run
    /// time, one file hidden.
    #[test]
    fn a_finished_sample_is_what_it_would_have_been(
        path in prop::collection::vec((0..3_usize, 0..4_u64), 1..40),
        hidden in 0..2_usize,
    ) {
        // Frame n is in code `path[n].0`, with `path[n].1` words below its frame pointer and return address.
        let code = [CODE, 0x5000, 0x9000];
        let (mut stack, mut records) = (vec![], vec![]);
        for (_, words) in &path {
            stack.extend(vec![7; *words as usize]);
            records.push(stack.len());
            stack.extend([0, 0]);
        }
        for (n, record) in records.iter().enumerate() {
            stack[*record] = records.get(n + 1).map_or(0, |next| at(*next as u64));
            stack[*record + 1] = path.get(n + 1).map_or(0, |(which, _)| code[*which] + 9);
        }
        let drawing = || {
            let mut drawing = Drawing::new(&[pushed_rbp(cfa(RBP, 16))], &stack);
            let file = drawing.mappings[0];
            drawing.mappings.push(Mapping { start: code[1], end: code[1] + 16, bias: code[1].wrapping_neg(), ..file });
            drawing.with(code[2], code[2] + 16, Mapping::JIT)
        };
        let registers = Registers { ip: code[path[0].0] + 9, sp: STACK, fp: at(records[0] as u64), all: 1, ..Registers::default() };
        let whole = drawing().walk(registers);
        let hide = |mapping: &mut Mapping| if mapping.start == code[hidden] { not_loaded(mapping) };
        let sample = finished(drawing(), registers, hide);
        prop_assert_eq!((&*sample.user, sample.end), (&*whole.frames, whole.end));
        prop_assert!(path.iter().any(|(which, _)| *which == 2) || whole.end == StackEnd::Complete);
    }
}
