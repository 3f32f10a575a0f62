//! The words that stand in a flame graph where a user stack is cut short.

use super::Runtime;
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

/// The note with the file whose frame the walk ended at, where that is the one to look at: `[...: libfoo.so]`.
#[must_use]
pub fn note_in(end: StackEnd, path: Option<&str>) -> Option<String> {
    let note = note(end)?;
    let file = path.and_then(|path| path.rsplit('/').next()).filter(|_| remedy(end).is_some());
    Some(match file {
        Some(file) => format!("{}: {file}]", note.trim_end_matches(']')),
        None => note.to_owned(),
    })
}

/// What a person can do about stacks that end so in a file; `None` where the file is not to blame.
#[must_use]
pub const fn remedy(end: StackEnd) -> Option<&'static str> {
    Some(match end {
        StackEnd::FramePointerLost => {
            "walk by unwind rows (--unwind auto), or build it with frame pointers: -fno-omit-frame-pointer, -C force-frame-pointers=yes"
        }
        StackEnd::NoUnwindRows => "build it with unwind tables (-fasynchronous-unwind-tables) or with frame pointers",
        StackEnd::RowsNotLoaded => "passes by itself within a second; if it stays, raise --unwind-memory",
        StackEnd::UnsupportedRule => {
            "its assembler code describes its stack in a way that is not understood: report the file"
        }
        StackEnd::ReturnAddressLost | StackEnd::StackNotRising => {
            "its unwind tables do not describe its code: hand-written assembler, most likely"
        }
        StackEnd::JitFramePointerLost => "ask its runtime for frame pointers",
        _ => return None,
    })
}

/// The same where it is known what runtime wrote the code.
#[must_use]
pub fn remedy_of(end: StackEnd, runtime: Option<Runtime>) -> Option<&'static str> {
    match (end, runtime) {
        (StackEnd::JitFramePointerLost, Some(runtime)) => Some(runtime.frame_pointers()),
        _ => remedy(end),
    }
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

    /// What helps code that was made at run time is its runtime's affair; other ends are not.
    #[test]
    fn a_runtime_is_helped_by_its_own_words() {
        let of = |runtime| remedy_of(StackEnd::JitFramePointerLost, runtime).unwrap_or_default();
        assert!(
            of(Some(Runtime::HotSpot)).contains("PreserveFramePointer") && !of(Some(Runtime::Php)).contains("java")
        );
        assert!(of(Some(Runtime::Beam)).contains("JPperf") && !of(None).contains("java"));
        assert_eq!(remedy_of(StackEnd::NoUnwindRows, Some(Runtime::HotSpot)), remedy(StackEnd::NoUnwindRows));
    }

    /// Where the file is to blame it is named, by its name alone.
    #[test]
    fn a_note_names_the_file_to_look_at() {
        let path = Some("/usr/lib/libfoo.so.1");
        let rows = note_in(StackEnd::NoUnwindRows, path);
        assert_eq!(rows.as_deref(), Some("[stack cut short: file has no unwind rows: libfoo.so.1]"));
        assert_eq!(note_in(StackEnd::NoUnwindRows, None).as_deref(), note(StackEnd::NoUnwindRows));
        assert_eq!(note_in(StackEnd::TruncatedAtMaxDepth, path).as_deref(), Some("[truncated at 512 frames]"));
        assert_eq!(note_in(StackEnd::Complete, path), None);
    }
}
