//! What gives frames their names: commands to copy.

use crate::profile::UnknownReason;

/// Runtimes that tell of the code they write when they are asked to: the end of the program's name, and how it is asked.
const RUNTIMES: [(&str, &str); 6] = [
    ("node", "node --perf-basic-prof"),
    // JDK 17 and later, at any time while it runs.
    ("java", "jcmd java Compiler.perfmap"),
    // CPython 3.12 and later.
    ("python", "python3 -X perf"),
    ("dotnet", "DOTNET_PerfMapEnabled=1 dotnet"),
    ("beam.smp", "ERL_FLAGS=\"+JPperf true\" erl"),
    ("ruby", "ruby --yjit --yjit-perf=map"),
];

/// A command that gives names to frames of a file that have none for this reason; `None` where none is known. `program` wrote the
/// code, where there is no file; `package` is the distribution's.
pub(super) fn name_remedy(
    reason: UnknownReason,
    path: &str,
    program: Option<&str>,
    package: Option<&str>,
) -> Option<String> {
    match reason {
        UnknownReason::NoSymbols => package.map(|package| format!("apt install {}", symbols_of(package))),
        UnknownReason::KernelHidden => Some("sysctl kernel.kptr_restrict=1".to_owned()),
        UnknownReason::NoFile => {
            let program = program.unwrap_or(path);
            let name = program
                .rsplit('/')
                .next()
                .unwrap_or(program)
                .trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            RUNTIMES.into_iter().find(|(runtime, _)| *runtime == name).map(|(_, command)| command.to_owned())
        }
        _ => None,
    }
}

/// The package with the symbols of a package's files, as Debian and Ubuntu call them.
fn symbols_of(package: &str) -> String {
    // glibc's are older than the automatic ones, and are kept under their name.
    let suffix = if package == "libc6" { "dbg" } else { "dbgsym" };
    format!("{package}-{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each reason that a command mends has its command, for the program in question; others have none.
    #[test]
    fn a_remedy_fits_its_reason() {
        let remedy = |reason, path, program, package| name_remedy(reason, path, program, package);
        let stripped = |package| remedy(UnknownReason::NoSymbols, "/bin/x", None, package);
        assert_eq!(stripped(Some("libc6")).as_deref(), Some("apt install libc6-dbg"));
        assert_eq!(stripped(Some("git")).as_deref(), Some("apt install git-dbgsym"));
        assert_eq!(stripped(None), None);
        let jit = |program| remedy(UnknownReason::NoFile, "[anon]", Some(program), None);
        assert_eq!(jit("/usr/bin/node").as_deref(), Some("node --perf-basic-prof"));
        assert_eq!(jit("/usr/bin/python3.12").as_deref(), Some("python3 -X perf"));
        assert_eq!(jit("/opt/own/app"), None);
        assert!(remedy(UnknownReason::KernelHidden, "[kernel]", None, None).is_some());
        assert_eq!(remedy(UnknownReason::NotFound, "/bin/x", None, Some("x")), None);
    }
}
