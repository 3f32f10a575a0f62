//! What gives frames their names: commands to copy, each tried or from the manual named beside it.

use super::runtime::Runtime;
use crate::profile::UnknownReason;
use crate::sys::distribution::{Distribution, Family};

/// What helps.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Remedy {
    /// A command to copy; `None` where only the note helps.
    pub command: Option<String>,
    /// What it needs to work, what it does besides, or where the manual is.
    pub note: Option<String>,
}

impl Remedy {
    fn new(command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), note: None }
    }

    fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn only(note: &str) -> Option<Self> {
        Some(Self { command: None, note: Some(note.to_owned()) })
    }
}

/// What is known of a binary that has frames without a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnamed<'a> {
    /// Why most of them have none.
    pub reason: UnknownReason,
    /// Path as its processes saw it.
    pub path: &'a str,
    /// The program that wrote the code, where there is no file.
    pub program: Option<&'a str>,
    /// The processes that did, those with most frames first.
    pub pids: &'a [u32],
    /// The distribution's package that the file belongs to.
    pub package: Option<&'a str>,
    /// Whether servers were asked for its debug file.
    pub servers_asked: bool,
}

/// Most processes that a command is given for.
const MOST_PIDS: usize = 3;

/// What helps, the best first; nothing where no help is known.
pub(super) fn name_remedies(unnamed: &Unnamed<'_>, host: &Distribution) -> Vec<Remedy> {
    match unnamed.reason {
        UnknownReason::NoSymbols => {
            let server = server_of(host).filter(|_| !unnamed.servers_asked && is_distributed(unnamed));
            server.map(from_server).into_iter().chain(package_remedy(unnamed, host)).collect()
        }
        UnknownReason::KernelHidden => vec![Remedy::new("sysctl kernel.kptr_restrict=1")],
        // Code that no file told of, or that was written after the file that did.
        UnknownReason::NoFile | UnknownReason::NotFound => {
            unnamed.program.and_then(|program| runtime_remedy(program, unnamed)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// One command for the packages of several files.
pub(super) fn packages_remedy(packages: &[&str], host: &Distribution) -> Option<Remedy> {
    let symbols: Vec<String> = packages.iter().map(|package| symbols_of(package)).collect();
    (!symbols.is_empty()).then(|| with_archive(&symbols, host))
}

/// Whether a file may be one of the distribution's.
fn is_distributed(unnamed: &Unnamed<'_>) -> bool {
    unnamed.package.is_some()
        || ["/usr/", "/lib", "/bin/", "/sbin/"].iter().any(|folder| unnamed.path.starts_with(folder))
            && !unnamed.path.starts_with("/usr/local/")
}

/// The server with a distribution's debug files (<https://sourceware.org/elfutils/Debuginfod.html>).
fn server_of(host: &Distribution) -> Option<&'static str> {
    if !host.is_first {
        return None;
    }
    Some(match host.family {
        Family::Debian => "https://debuginfod.debian.net",
        Family::Ubuntu => "https://debuginfod.ubuntu.com",
        Family::Fedora => "https://debuginfod.fedoraproject.org",
        Family::Suse => "https://debuginfod.opensuse.org",
        Family::Arch => "https://debuginfod.archlinux.org",
        Family::Other => return None,
    })
}

fn from_server(server: &str) -> Remedy {
    Remedy::new(format!("profiler run --debuginfod={server}"))
        .noting("start the profiler so: it fetches the symbols; build ids of what runs here are sent to that server")
}

fn package_remedy(unnamed: &Unnamed<'_>, host: &Distribution) -> Option<Remedy> {
    if let Some(package) = unnamed.package {
        return Some(with_archive(&[symbols_of(package)], host));
    }
    let path = unnamed.path;
    // It is put into a command.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte));
    if !is_plain || !is_distributed(unnamed) {
        return None;
    }
    match host.family {
        Family::Fedora => Some(
            Remedy::new(format!("dnf debuginfo-install \"$(rpm -qf {path})\""))
                .noting("https://docs.fedoraproject.org/en-US/quick-docs/debugging-applications/"),
        ),
        Family::Suse => Some(
            Remedy::new(format!(
                "zypper install --plus-content debug \"$(rpm -qf --qf '%{{NAME}}-debuginfo' {path})\""
            ))
            .noting("https://en.opensuse.org/openSUSE:Bugreport_application_crash"),
        ),
        _ => None,
    }
}

/// The package with the symbols of a package's files, as Debian and Ubuntu call them.
fn symbols_of(package: &str) -> String {
    // glibc's are older than the automatic ones, and are kept under their name.
    let suffix = if package == "libc6" { "dbg" } else { "dbgsym" };
    format!("{package}-{suffix}")
}

fn with_archive(packages: &[String], host: &Distribution) -> Remedy {
    let command = Remedy::new(format!("apt install {}", packages.join(" ")));
    if packages.iter().all(|package| package.ends_with("-dbg")) {
        return command;
    }
    match host.family {
        Family::Ubuntu => command.noting(
            "needs Ubuntu's archive of debug symbols: https://documentation.ubuntu.com/server/how-to/debugging/debug-symbol-packages/",
        ),
        _ if host.codename.is_empty() => {
            command.noting("needs the archive of debug symbols: https://wiki.debian.org/AutomaticDebugPackages")
        }
        _ => command.noting(format!(
            "needs the archive of debug symbols, a line in /etc/apt/sources.list.d/debug.list and apt update: \
             deb http://deb.debian.org/debian-debug/ {}-debug main (https://wiki.debian.org/AutomaticDebugPackages)",
            host.codename
        )),
    }
}

/// What names the functions of scripts that a runtime runs, or shows them by other means; `file` is one of the runtime's, `pids` are the
/// processes with the most samples.
pub(super) fn script_remedies(runtime: Runtime, file: Option<&str>, pids: &[u32]) -> Vec<Remedy> {
    let path = file.unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let version = version_in(if runtime == Runtime::HotSpot { path } else { name });
    let of_pid = |command: &str| pids.first().map(|pid| Remedy::new(format!("{command} {pid}")));
    let compiled = |program: String| {
        let unnamed = Unnamed {
            reason: UnknownReason::NoFile,
            path: "[anon]",
            program: Some(&program),
            pids,
            package: None,
            servers_asked: false,
        };
        runtime_remedy(&program, &unnamed)
    };
    let remedies = match runtime {
        Runtime::CPython if version.is_some_and(|version| version < (3, 12)) => [
            of_pid("py-spy record -o profile.svg --pid").map(|remedy| {
                remedy.noting("CPython before 3.12 tells no profiler its functions; py-spy reads them: https://github.com/benfred/py-spy")
            }),
            None,
        ],
        Runtime::CPython => [
            Some(Remedy::new("PYTHONPERFSUPPORT=1 python3").noting("start the program so, or with python3 -X perf (CPython 3.12 and later)")),
            None,
        ],
        Runtime::Ruby => [
            of_pid("rbspy record --pid")
                .map(|remedy| remedy.noting("rbspy reads the functions of the interpreter: https://rbspy.github.io")),
            compiled(format!("ruby{}", version.map_or_else(String::new, |(major, minor)| format!("{major}.{minor}"))))
                .filter(|remedy| remedy.command.is_some()),
        ],
        Runtime::Php => [
            of_pid("phpspy -p")
                .map(|remedy| remedy.noting("phpspy reads the functions of the interpreter: https://github.com/adsr/phpspy")),
            None,
        ],
        Runtime::Perl => [
            Some(Remedy::new("perl -d:NYTProf").noting("start the program so; nothing reads them of one that runs: https://metacpan.org/pod/Devel::NYTProf")),
            None,
        ],
        Runtime::Lua => [Remedy::only("nothing reads the functions of a Lua that runs; luac -l shows what it executes"), None],
        Runtime::LuaJit => {
            [Some(Remedy::new("luajit -jp=l").noting("start the program so: LuaJIT's own profiler, by line (https://luajit.org/ext_profiler.html)")), None]
        }
        Runtime::V8 => [
            Some(
                Remedy::new("node --perf-basic-prof --interpreted-frames-native-stack")
                    .noting("start the program so; without the second flag only compiled functions have names"),
            ),
            None,
        ],
        Runtime::HotSpot => {
            // `/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so` belongs to its `bin/java`.
            let library = path.rsplit_once("/lib/").filter(|_| name.starts_with("libjvm"));
            let program = library.map_or_else(|| "java".to_owned(), |(folder, _)| format!("{folder}/bin/java"));
            [
                compiled(if name == "java" { path.to_owned() } else { program }),
                Some(Remedy::new("java -XX:+PreserveFramePointer").noting("start the program so: stacks are whole then")),
            ]
        }
        Runtime::Beam => [compiled("beam.smp".into()), None],
        Runtime::DotNet => [compiled("dotnet".into()), None],
    };
    remedies.into_iter().flatten().collect()
}

/// How a runtime is made to tell of the code it writes.
fn runtime_remedy(program: &str, unnamed: &Unnamed<'_>) -> Option<Remedy> {
    let file = program.rsplit('/').next().unwrap_or(program);
    let name = file.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let version = version_in(if name == "java" { program } else { file });
    let is_before = |major, minor| version.is_some_and(|found| found < (major, minor));
    let again = unnamed.reason == UnknownReason::NotFound;
    let restart = |command: &str| (!again).then(|| Remedy::new(command).noting("start the program so"));
    match name {
        "java" if is_before(17, 0) => Remedy::only("JDK 17 and later tell of their code: jcmd PID Compiler.perfmap"),
        "java" => {
            let pids = unnamed.pids.iter().take(MOST_PIDS);
            let commands: Vec<String> = pids.map(|pid| format!("jcmd {pid} Compiler.perfmap")).collect();
            let note = if again {
                "code that was compiled since the last time: ask again, or start the program with -XX:+DumpPerfMapAtExit"
            } else {
                "as the user of the program, while it runs (JDK 17 and later)"
            };
            (!commands.is_empty()).then(|| Remedy::new(commands.join("; ")).noting(note))
        }
        "node" => restart("node --perf-basic-prof"),
        "python" if is_before(3, 12) => Remedy::only("CPython 3.12 and later tell of their functions: python3 -X perf"),
        "python" => restart("python3 -X perf"),
        "dotnet" => restart("DOTNET_PerfMapEnabled=1 dotnet"),
        "beam.smp" => restart("ERL_FLAGS=\"+JPperf true\" erl"),
        "ruby" if is_before(3, 3) => Remedy::only("Ruby 3.3 and later tell of their code: ruby --yjit --yjit-perf=map"),
        "ruby" => restart("ruby --yjit --yjit-perf=map"),
        "php" => restart("php -d opcache.jit_debug=16"),
        _ => None,
    }
}

/// The version in a program's name (`python3.11`), or in its path (`/usr/lib/jvm/java-17-openjdk-amd64/bin/java`).
fn version_in(text: &str) -> Option<(u32, u32)> {
    let text = text.split_once("java-").map_or(text, |(_, rest)| rest);
    let digits = &text[text.find(|c: char| c.is_ascii_digit())?..];
    let mut numbers = digits.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    let (major, minor) = (numbers.next()??, numbers.next().flatten());
    // `java-1.8.0`
    if (major, minor) == (1, Some(8)) { Some((8, 0)) } else { Some((major, minor.unwrap_or(0))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(family: Family, codename: &str) -> Distribution {
        Distribution { family, codename: codename.into(), is_first: true }
    }

    fn of(reason: UnknownReason, path: &'static str) -> Unnamed<'static> {
        Unnamed { reason, path, program: None, pids: &[], package: None, servers_asked: false }
    }

    fn commands(unnamed: &Unnamed<'_>, host: &Distribution) -> Vec<String> {
        name_remedies(unnamed, host).into_iter().filter_map(|remedy| remedy.command).collect()
    }

    /// Symbols come from the distribution's server where none was asked, else from its package, by its own package manager; what is not
    /// its own has neither.
    #[test]
    fn symbols_come_from_the_distribution() {
        let debian = host(Family::Debian, "bookworm");
        let git = Unnamed { package: Some("git"), ..of(UnknownReason::NoSymbols, "/usr/bin/git") };
        assert_eq!(
            commands(&git, &debian),
            ["profiler run --debuginfod=https://debuginfod.debian.net", "apt install git-dbgsym"]
        );
        let asked = Unnamed { servers_asked: true, ..git };
        let remedies = name_remedies(&asked, &debian);
        assert_eq!(remedies.len(), 1);
        assert!(remedies[0].note.as_deref().is_some_and(|note| note.contains("bookworm-debug main")), "{remedies:?}");
        let libc = Unnamed { package: Some("libc6"), servers_asked: true, ..git };
        assert_eq!(name_remedies(&libc, &debian), [Remedy::new("apt install libc6-dbg")]);
        let git = of(UnknownReason::NoSymbols, "/usr/bin/git");
        let fedora = commands(&git, &host(Family::Fedora, ""));
        assert_eq!(fedora[1], "dnf debuginfo-install \"$(rpm -qf /usr/bin/git)\"");
        assert_eq!(
            commands(&git, &host(Family::Arch, "")),
            ["profiler run --debuginfod=https://debuginfod.archlinux.org"]
        );
        for own in ["/opt/own/app", "/usr/local/bin/app", "/home/x/app"] {
            assert_eq!(commands(&of(UnknownReason::NoSymbols, own), &host(Family::Fedora, "")), [""; 0]);
        }
        let planted = of(UnknownReason::NoSymbols, "/usr/bin/$(reboot)");
        assert_eq!(
            commands(&planted, &host(Family::Suse, "")),
            ["profiler run --debuginfod=https://debuginfod.opensuse.org"]
        );
        assert_eq!(commands(&git, &Distribution::default()), [""; 0]);
    }

    /// Several packages are one command.
    #[test]
    fn packages_are_installed_together() {
        let remedy = packages_remedy(&["git", "libc6"], &host(Family::Debian, "trixie"));
        assert_eq!(remedy.and_then(|remedy| remedy.command).as_deref(), Some("apt install git-dbgsym libc6-dbg"));
        assert_eq!(packages_remedy(&[], &Distribution::default()), None);
    }

    /// Functions of a script come from what the version knows, with the pid of the process.
    #[test]
    fn functions_of_a_script_come_from_what_the_version_knows() {
        let of = |runtime, file: &str| {
            let remedies = script_remedies(runtime, Some(file), &[4711, 12]);
            remedies.into_iter().filter_map(|remedy| remedy.command).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(of(Runtime::CPython, "/usr/bin/python3.11"), "py-spy record -o profile.svg --pid 4711");
        assert_eq!(of(Runtime::CPython, "/usr/lib/libpython3.13.so.1.0"), "PYTHONPERFSUPPORT=1 python3");
        assert_eq!(of(Runtime::Ruby, "/usr/lib/libruby-3.1.so.3.1"), "rbspy record --pid 4711");
        assert_eq!(of(Runtime::Ruby, "/usr/bin/ruby3.3"), "rbspy record --pid 4711; ruby --yjit --yjit-perf=map");
        let jvm = |version| format!("/usr/lib/jvm/java-{version}-openjdk-amd64/lib/server/libjvm.so");
        assert!(
            of(Runtime::HotSpot, &jvm(17))
                .starts_with("jcmd 4711 Compiler.perfmap; jcmd 12 Compiler.perfmap; java -XX:")
        );
        assert_eq!(of(Runtime::HotSpot, &jvm(11)), "java -XX:+PreserveFramePointer");
        assert!(of(Runtime::V8, "/usr/bin/node").contains("--interpreted-frames-native-stack"));
        assert!(script_remedies(Runtime::Php, None, &[]).is_empty(), "no pid, no command");
    }

    /// A runtime is asked as its version knows, by the processes that ran; what a version does not know is not recommended.
    #[test]
    fn a_runtime_is_asked_as_its_version_knows() {
        let of = |program, reason| {
            let unnamed = Unnamed { program: Some(program), pids: &[4711, 12], ..of(reason, "[anon]") };
            let remedies = name_remedies(&unnamed, &Distribution::default());
            remedies.into_iter().next().map(|remedy| (remedy.command, remedy.note.is_some()))
        };
        let jit = |program| of(program, UnknownReason::NoFile);
        let command = |text: &str| Some((Some(text.to_owned()), true));
        assert_eq!(
            jit("/usr/lib/jvm/java-17-openjdk-amd64/bin/java"),
            command("jcmd 4711 Compiler.perfmap; jcmd 12 Compiler.perfmap")
        );
        assert_eq!(jit("/usr/lib/jvm/java-11-openjdk-amd64/bin/java"), Some((None, true)));
        assert_eq!(jit("/usr/lib/jvm/java-1.8.0-openjdk/bin/java"), Some((None, true)));
        assert_eq!(
            of("/opt/jdk/bin/java", UnknownReason::NotFound),
            command("jcmd 4711 Compiler.perfmap; jcmd 12 Compiler.perfmap")
        );
        assert_eq!(jit("/usr/bin/node"), command("node --perf-basic-prof"));
        assert_eq!(of("/usr/bin/node", UnknownReason::NotFound), None);
        assert_eq!(jit("/usr/bin/python3.12"), command("python3 -X perf"));
        assert_eq!(jit("/usr/bin/python3.11"), Some((None, true)));
        assert_eq!(jit("/usr/bin/ruby3.1"), Some((None, true)));
        assert_eq!(jit("/usr/bin/ruby3.3"), command("ruby --yjit --yjit-perf=map"));
        assert_eq!(jit("/usr/bin/php8.2"), command("php -d opcache.jit_debug=16"));
        assert_eq!(jit("/opt/own/app"), None);
        assert_eq!(jit("java"), command("jcmd 4711 Compiler.perfmap; jcmd 12 Compiler.perfmap"));
    }
}
