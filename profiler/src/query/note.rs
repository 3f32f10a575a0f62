//! The words that stand in a flame graph where a user stack is cut short.

use crate::profile::StackEnd;

/// The frame between a process and a stack that does not reach the thread's first function; `None` when the stack is whole.
/// One wording per way of ending, so that each can be searched for.
#[must_use]
pub const fn note(end: StackEnd) -> Option<&'static str> {
    Some(match end {
        StackEnd::Complete | StackEnd::NoUserStack | StackEnd::CompleteByFramePointers => return None,
        StackEnd::TruncatedAtMaxDepth => "[truncated at 512 frames]",
        StackEnd::FramePointerLost => "[stack cut short: caller keeps no frame pointer]",
        StackEnd::StackUnreadable => "[stack cut short: stack memory could not be read]",
        StackEnd::ReturnAddressLost => "[stack cut short: return address is not code]",
        StackEnd::NoRegisters => "[no user stack: registers could not be had]",
        StackEnd::NoUnwindRows => "[stack cut short: file has no unwind rows]",
        StackEnd::RowsNotLoaded => "[stack cut short: unwind rows were not loaded yet]",
        StackEnd::NoMappings => "[stack cut short: mappings of the process are not known]",
        StackEnd::UnsupportedRule => "[stack cut short: unwind row with a rule that is not supported]",
        StackEnd::JitFramePointerLost => "[stack cut short: code made at run time keeps no frame pointer]",
        StackEnd::StackNotRising => "[stack cut short: unwind rows do not fit the stack]",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Exactly the incomplete stacks carry a note, each its own, and the number in the text is the real limit.
    #[test]
    fn each_cut_short_stack_has_its_own_note() {
        let notes: HashSet<_> = StackEnd::ALL.into_iter().filter_map(note).collect();
        let incomplete = StackEnd::ALL.into_iter().filter(|end| !end.is_complete());
        assert_eq!(incomplete.clone().count(), notes.len());
        assert!(incomplete.into_iter().all(|end| note(end).is_some()));
        assert_eq!(
            note(StackEnd::TruncatedAtMaxDepth),
            Some(&*format!("[truncated at {} frames]", profiler_ebpf::MAX_USER_FRAMES))
        );
    }
}
