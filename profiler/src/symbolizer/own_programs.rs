//! Which eBPF programs in the kernel are ours: the profiler shows its own cost by name. Runs in the parent.
//!
//! The kernel tells the tag of a program, a hash of its instructions, to who holds a descriptor of it
//! (`/proc/self/fdinfo/N`, `man 5 proc_pid_fdinfo`), and names the program in `/proc/kallsyms` by it: `bpf_prog_6deef7357e7b4530_sample`.

use std::collections::HashSet;
use std::path::Path;

use crate::profile::{Symbol, Symbolized};

/// Most descriptors looked at.
const MAX_DESCRIPTORS: usize = 65_536;
/// Letters of a tag.
const TAG: usize = 16;
const PROGRAM: &str = "bpf_prog_";
const FOREIGN: &str = " [bpf]";
const OURS: &str = " [profiler]";

/// The tags of the programs that this process holds.
pub(super) fn own_tags() -> HashSet<String> {
    tags_in(Path::new("/proc/self/fdinfo"))
}

fn tags_in(folder: &Path) -> HashSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_DESCRIPTORS);
    let tag = |text: String| Some(text.lines().find_map(|line| line.strip_prefix("prog_tag:"))?.trim().to_owned());
    entries.filter_map(|entry| tag(std::fs::read_to_string(entry.path()).ok()?)).collect()
}

/// Shows a program by its name, and whose it is: `sample [profiler]`, `other [bpf]`. What has no name keeps its tag.
pub(super) fn mark(name: &mut Symbolized, own: &HashSet<String>) {
    let Symbolized::Named(symbols) = name else { return };
    for Symbol { name, .. } in symbols {
        let program = name.strip_suffix(FOREIGN).and_then(|name| name.strip_prefix(PROGRAM));
        let Some((tag, program)) = program.and_then(|program| program.split_at_checked(TAG)) else { continue };
        let whose = if own.contains(tag) { OURS } else { FOREIGN };
        let program = program.strip_prefix('_').filter(|program| !program.is_empty());
        let marked = program.map_or_else(|| format!("{PROGRAM}{tag}{whose}"), |program| format!("{program}{whose}"));
        *name = marked.into();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Ours are told from others' of the same name by their tags; other symbols stay as they are.
    #[test]
    fn our_programs_are_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let of_program = "pos:\t0\nflags:\t02000002\nprog_type:\t7\nprog_jited:\t1\nprog_tag:\t6deef7357e7b4530\n";
        std::fs::write(folder.path().join("9"), of_program).unwrap();
        std::fs::write(folder.path().join("3"), "pos:\t0\nflags:\t02\n").unwrap();
        let own = tags_in(folder.path());
        assert_eq!(own.len(), 1);
        for (symbol, expected) in [
            ("bpf_prog_6deef7357e7b4530_sample [bpf]", "sample [profiler]"),
            ("bpf_prog_0000000000000000_sample [bpf]", "sample [bpf]"),
            ("bpf_prog_6deef7357e7b4530 [bpf]", "bpf_prog_6deef7357e7b4530 [profiler]"),
            ("bpf_dispatcher_xdp [bpf]", "bpf_dispatcher_xdp [bpf]"),
            ("bpf_prog_6deef7357e7b4530_x", "bpf_prog_6deef7357e7b4530_x"),
        ] {
            let mut name = Symbolized::Named(vec![Symbol { name: symbol.into(), ..Symbol::default() }]);
            mark(&mut name, &own);
            let Symbolized::Named(symbols) = name else { unreachable!("named above") };
            assert_eq!(&*symbols[0].name, expected);
        }
    }
}
