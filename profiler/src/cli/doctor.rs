//! `profiler doctor`: what this host offers for profiling, what is missing, and the command that fixes it.

use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use profiler_ebpf::tables::UnwindMode;
use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::args::{DoctorArgs, UnwindArgs};
use super::export::write_stdout;
use super::host::{cache, default_database};
use crate::profile::SampleEvent;
use crate::sampler::{
    DEFAULT_HZ, Frequency, Sampler, SamplerError, SamplerOptions, Target, WalkLoop, check_pid_namespace, choose_event,
    kernel_fields,
};
use crate::symbolizer::{Attempt, Confinement, Layer, SelfTest, WorkerCommand};
use crate::sys::clock::boot_now;
use crate::sys::perf::max_sample_rate;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Works, with less.
    Warn,
    /// Does not work.
    Fail,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, finding: finding.into(), fix: None }
    }

    fn warn(name: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, finding: finding.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, finding: finding.into(), fix: Some(fix.into()) }
    }
}

/// Runs the command.
///
/// # Errors
/// Standard output is closed.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let checks = checks(&args.unwind);
    write_stdout(|out| {
        if args.json {
            serde_json::to_writer_pretty(&mut *out, &checks)?;
            writeln!(out)
        } else {
            checks.iter().try_for_each(|check| print(check, out))
        }
    })?;
    let failed = |name: &str| checks.iter().any(|check| check.verdict == Verdict::Fail && check.name == name);
    Ok(if failed("capabilities") {
        4.into()
    } else if checks.iter().any(|check| check.verdict == Verdict::Fail) {
        5.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn print(check: &Check, out: &mut impl Write) -> io::Result<()> {
    let mark = match check.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    writeln!(out, "{mark}  {:<22} {}", check.name, check.finding)?;
    match &check.fix {
        Some(fix) => writeln!(out, "      {:<22} fix: {fix}", ""),
        None => Ok(()),
    }
}

fn checks(unwind: &UnwindArgs) -> Vec<Check> {
    let status = read("/proc/self/status");
    vec![
        kernel(&read("/proc/sys/kernel/osrelease")),
        pid_namespace(),
        capabilities(effective_capabilities(&status)),
        btf(),
        jit(&read("/proc/sys/net/core/bpf_jit_enable")),
        paranoid(&read("/proc/sys/kernel/perf_event_paranoid"), effective_capabilities(&status)),
        sample_rate(max_sample_rate().ok()),
        pmu(choose_event()),
        memlock(&read("/proc/sys/kernel/osrelease")),
        lockdown(&read("/sys/kernel/security/lockdown")),
        kernel_symbols(&read("/proc/sys/kernel/kptr_restrict")),
        cgroup2(&read("/proc/self/mountinfo")),
        programs(),
        unwind_tables(unwind.unwind_memory, &cache(unwind)),
        sandbox(SelfTest::run(&WorkerCommand::default())),
        database(&default_database()),
    ]
}

/// A small file's text, without the newline; empty when it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Major and minor of `6.18.44-cloud`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel";
    match version(release) {
        Some(version) if version >= (5, 15) => Check::ok(NAME, release),
        _ => Check::fail(
            NAME,
            format!(
                "{release}: bpf_task_pt_regs, by which user stacks are found from inside the kernel, came with 5.15"
            ),
            "boot a kernel from 5.15 on (Debian 12, Ubuntu 22.04, RHEL 9.2 and later have one)",
        ),
    }
}

fn pid_namespace() -> Check {
    const NAME: &str = "pid namespace";
    match check_pid_namespace() {
        Ok(()) => Check::ok(NAME, "the host's"),
        Err(error) => {
            Check::fail(NAME, error.to_string(), "run it on the host, or start the container with --pid=host")
        }
    }
}

/// Capability numbers, from linux/capability.h.
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYSLOG: u32 = 34;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn capabilities(effective: u64) -> Check {
    const NAME: &str = "capabilities";
    let has = |capability: u32| effective >> capability & 1 == 1;
    let admin = has(CAP_SYS_ADMIN);
    let missing = |needed: &[(&'static str, u32)]| -> Vec<&str> {
        needed.iter().filter(|(_, capability)| !has(*capability)).map(|(name, _)| *name).collect()
    };
    let fix =
        "run as root, or: sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_syslog,cap_dac_read_search+ep PROFILER";
    let required = missing(&[("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)]);
    if !required.is_empty() && !admin {
        return Check::fail(NAME, format!("missing {}: sampling is not allowed", required.join(", ")), fix);
    }
    let useful = missing(&[
        ("CAP_SYS_PTRACE", CAP_SYS_PTRACE),
        ("CAP_SYSLOG", CAP_SYSLOG),
        ("CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH),
    ]);
    if useful.is_empty() {
        Check::ok(NAME, "everything needed")
    } else {
        Check::warn(
            NAME,
            format!("missing {}: other users' binaries or the kernel stay unnamed", useful.join(", ")),
            fix,
        )
    }
}

fn btf() -> Check {
    match kernel_fields() {
        Ok(()) => Check::ok("BTF", "/sys/kernel/btf/vmlinux has the fields needed"),
        Err(error) => Check::warn(
            "BTF",
            format!("{error}: -p does not work, and a reused pid may be mistaken for its predecessor"),
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
        ),
    }
}

fn jit(enable: &str) -> Check {
    match enable {
        // Without the file the JIT is compiled in for good (CONFIG_BPF_JIT_ALWAYS_ON hides nothing else).
        "" | "1" | "2" => Check::ok("BPF JIT", "on"),
        _ => {
            Check::warn("BPF JIT", "off: each sample costs several times more", "sudo sysctl net.core.bpf_jit_enable=1")
        }
    }
}

fn paranoid(value: &str, effective: u64) -> Check {
    const NAME: &str = "perf_event_paranoid";
    let admin = effective >> CAP_SYS_ADMIN & 1 == 1;
    match value.parse::<i32>() {
        Err(_) => Check::fail(NAME, "no perf events in this kernel", "boot a kernel with CONFIG_PERF_EVENTS=y"),
        // Debian's and Ubuntu's own level: CAP_PERFMON is not enough there.
        Ok(level) if level > 2 && !admin => {
            Check::fail(NAME, format!("{level}: needs CAP_SYS_ADMIN"), "sudo sysctl kernel.perf_event_paranoid=2")
        }
        Ok(level) => Check::ok(NAME, format!("{level}")),
    }
}

fn sample_rate(limit: Option<u32>) -> Check {
    const NAME: &str = "sample rate";
    match limit {
        Some(limit) if limit >= DEFAULT_HZ => Check::ok(NAME, format!("up to {} Hz", limit.min(10_000))),
        Some(limit) => {
            Check::warn(NAME, format!("limited to {limit} Hz"), "sudo sysctl kernel.perf_event_max_sample_rate=100000")
        }
        None => Check::fail(NAME, "no perf events in this kernel", "boot a kernel with CONFIG_PERF_EVENTS=y"),
    }
}

fn pmu(event: SampleEvent) -> Check {
    match event {
        SampleEvent::Cycles => Check::ok("cycle counter", "counts: samples see code with interrupts off"),
        // Not a warning: most virtual machines have none, and the clock does the job.
        SampleEvent::CpuClock => Check::ok("cycle counter", "none: the software CPU clock is used instead"),
    }
}

fn memlock(release: &str) -> Check {
    const NAME: &str = "locked memory";
    // Since 5.11 maps are charged to the memory cgroup.
    let charged = version(release).is_some_and(|version| version < (5, 11));
    match getrlimit(Resource::Memlock).current {
        Some(limit) if charged && limit < 64 << 20 => {
            Check::fail(NAME, format!("limited to {limit} bytes"), "ulimit -l unlimited")
        }
        _ => Check::ok(NAME, "not limiting"),
    }
}

fn lockdown(modes: &str) -> Check {
    // The mode in brackets is in force: `none [integrity] confidentiality`.
    if modes.contains("[confidentiality]") {
        let finding = "confidentiality: process start times cannot be read by eBPF";
        return Check::warn("lockdown", finding, "boot with lockdown=integrity or less");
    }
    Check::ok("lockdown", if modes.is_empty() { "none" } else { modes })
}

fn kernel_symbols(kptr_restrict: &str) -> Check {
    const NAME: &str = "kernel symbols";
    let Ok(symbols) = fs::read_to_string("/proc/kallsyms") else {
        return Check::warn(
            NAME,
            "no /proc/kallsyms: kernel frames stay unnamed",
            "boot a kernel with CONFIG_KALLSYMS=y",
        );
    };
    if symbols.lines().take(100).any(|line| !line.starts_with("0000000000000000")) {
        Check::ok(NAME, "readable")
    } else {
        let finding = format!("hidden (kernel.kptr_restrict={kptr_restrict}): kernel frames stay unnamed");
        Check::warn(NAME, finding, "grant CAP_SYSLOG, or: sudo sysctl kernel.kptr_restrict=1")
    }
}

fn cgroup2(mountinfo: &str) -> Check {
    if mountinfo.contains(" - cgroup2 ") {
        Check::ok("cgroup v2", "mounted")
    } else {
        let fix = "sudo mkdir -p /sys/fs/cgroup/unified && sudo mount -t cgroup2 none /sys/fs/cgroup/unified";
        Check::warn("cgroup v2", "not mounted: --cgroup does not work", fix)
    }
}

/// The proof: loads the programs, attaches them to every CPU, and waits for ticks.
fn programs() -> Check {
    const NAME: &str = "eBPF programs";
    let sampled = || -> Result<(u64, u32, &str), SamplerError> {
        let options = SamplerOptions::new(Frequency::default(), SampleEvent::CpuClock, Target::All);
        let sampler = Sampler::start(SamplerOptions { unwind: UnwindMode::Auto, ..options }, boot_now())?;
        std::thread::sleep(Duration::from_millis(200));
        let by = match sampler.walk_loop() {
            WalkLoop::BpfLoop => "bpf_loop",
            WalkLoop::TailCalls => "tail calls (bpf_loop came with 5.17)",
        };
        Ok((sampler.counters(0)?.ticks, sampler.cpus(), by))
    };
    match sampled() {
        Ok((0, cpus, _)) => {
            Check::fail(NAME, format!("attached to {cpus} CPUs, no tick came in 0.2 s"), "report this with `uname -a`")
        }
        Ok((ticks, cpus, by)) => {
            let finding =
                format!("verified, attached to {cpus} CPUs, {ticks} ticks in 0.2 s; stacks are walked by {by}");
            Check::ok(NAME, finding)
        }
        Err(error) => Check::fail(NAME, error.to_string(), "mend the lines above first"),
    }
}

/// What the unwind tables may take, and what of them is there for the next start.
fn unwind_tables(limit: ByteSize, folder: &Path) -> Check {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.metadata().ok());
    let (files, bytes) =
        files.filter(Metadata::is_file).fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.len()));
    let kept = format!("{} of {files} files are kept in {}", ByteSize(bytes).display().iec(), folder.display());
    let limit = limit.display().iec();
    Check::ok("unwind tables", format!("up to {limit} of kernel memory (--unwind-memory); {kept}"))
}

/// Another proof: a child that parses foreign files tries to do what it must not.
fn sandbox(found: io::Result<SelfTest>) -> Check {
    const NAME: &str = "symbolizer sandbox";
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let finding = format!("its process does not start ({error}): nothing is named");
            return Check::fail(NAME, finding, "allow the profiler to execute itself (noexec, seccomp, AppArmor)");
        }
    };
    if !found.exposed_to.is_empty() {
        let finding = format!("not tight: {:?} can signal a child", found.exposed_to);
        return Check::fail(NAME, finding, "report this with `uname -a` and /proc/self/uid_map");
    }
    let Confinement { user, landlock, seccomp } = found.confinement;
    if !found.escaped.is_empty() && !found.explained_by_missing_landlock() {
        let finding = format!("not tight: foreign files may lead to {:?}", found.escaped);
        return Check::fail(NAME, finding, "report this with `uname -a`");
    }
    if landlock == Layer::None {
        let finding = "works without Landlock, which this kernel has not got: only its user keeps it from files";
        return Check::warn(NAME, finding, "boot a kernel with CONFIG_SECURITY_LANDLOCK=y and landlock in lsm=");
    }
    if !seccomp {
        let finding = "works without seccomp, which this kernel has not got";
        return Check::warn(NAME, finding, "boot a kernel with CONFIG_SECCOMP_FILTER=y");
    }
    let user =
        user.map_or("our own user without capabilities".to_owned(), |user| format!("a user of its own ({user})"));
    let partly = if landlock == Layer::Full { "" } else { " (what this kernel has of it)" };
    let tried = Attempt::ALL.len();
    Check::ok(NAME, format!("{user}, Landlock{partly}, seccomp: {tried} of {tried} attempts to leave were refused"))
}

fn database(path: &Path) -> Check {
    const NAME: &str = "database";
    let folder = path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(folder) {
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize) >> 20;
            let finding = format!("{} ({free} MiB free)", path.display());
            if rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                let finding = format!("{}: {} may not be written", path.display(), folder.display());
                Check::warn(NAME, finding, "run as its owner, or name another place with --db")
            } else if free < 1024 {
                Check::warn(NAME, finding, "free some space, or name another place with --db")
            } else {
                Check::ok(NAME, finding)
            }
        }
        Err(error) => Check::fail(NAME, format!("{}: {error}", folder.display()), "name another place with --db"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::symbolizer::Exposure;

    /// Below 5.15 the walk cannot run; the line says so and what to do.
    #[test]
    fn an_old_kernel_fails_with_a_fix() {
        assert_eq!(kernel("6.1.0-47-amd64").verdict, Verdict::Ok);
        assert_eq!(kernel("5.15.0").verdict, Verdict::Ok);
        for release in ["5.10.0-21-amd64", "4.19.0", "", "x"] {
            let check = kernel(release);
            assert_eq!(check.verdict, Verdict::Fail, "{release}");
            assert!(check.fix.is_some_and(|fix| fix.contains("5.15")));
        }
    }

    /// The limit, and what lies in the folder itself.
    #[test]
    fn kept_unwind_tables_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("names")).unwrap();
        fs::write(folder.path().join("a.rows"), [0; 1536]).unwrap();
        let told = |folder: &Path| unwind_tables(ByteSize::mib(256), folder).finding;
        let finding = told(folder.path());
        assert!(
            finding.starts_with("up to 256.0 MiB of kernel memory (--unwind-memory); 1.5 KiB of 1 files"),
            "{finding}"
        );
        assert!(told(Path::new("/nowhere")).contains("0 B of 0 files"));
    }

    /// A place that cannot be written is told of before anything is recorded.
    #[test]
    fn a_database_that_cannot_be_written_is_found() {
        assert_eq!(database(&std::env::temp_dir().join("a/b/x.db")).verdict, Verdict::Ok);
        let check = database(Path::new("/proc/x.db"));
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.fix.is_some_and(|fix| fix.contains("--db")), "{}", check.finding);
    }

    /// Without the two that sampling needs it fails; without the others names suffer.
    #[test]
    fn missing_capabilities_are_named() {
        let all =
            1_u64 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_SYS_PTRACE | 1 << CAP_SYSLOG | 1 << CAP_DAC_READ_SEARCH;
        assert_eq!(capabilities(all).verdict, Verdict::Ok);
        let check = capabilities(1 << CAP_PERFMON);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.finding.contains("CAP_BPF") && !check.finding.contains("CAP_PERFMON"), "{}", check.finding);
        assert_eq!(capabilities(1 << CAP_BPF | 1 << CAP_PERFMON).verdict, Verdict::Warn);
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
    }

    /// A sandbox that lets something through fails, one that the kernel cannot have in full is told of.
    #[test]
    fn a_sandbox_with_holes_is_told_of() {
        let found = |landlock, escaped: &[Attempt]| {
            let confinement = Confinement { user: Some(2_100_000_000), landlock, seccomp: true };
            sandbox(Ok(SelfTest { confinement, escaped: escaped.to_vec(), exposed_to: Vec::new() }))
        };
        assert_eq!(found(Layer::Full, &[]).verdict, Verdict::Ok);
        assert_eq!(found(Layer::Partial, &[]).verdict, Verdict::Ok);
        let check = found(Layer::None, &[Attempt::ReadFile]);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.fix.is_some_and(|fix| fix.contains("CONFIG_SECURITY_LANDLOCK")));
        assert_eq!(found(Layer::None, &[Attempt::Listen]).verdict, Verdict::Fail);
        let check = found(Layer::Full, &[Attempt::ReadFile]);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.finding.contains("ReadFile"), "{}", check.finding);
        let confinement = Confinement { user: Some(65534), landlock: Layer::Full, seccomp: true };
        let exposed_to = vec![Exposure::Nobody];
        let check = sandbox(Ok(SelfTest { confinement, escaped: Vec::new(), exposed_to }));
        assert!(check.verdict == Verdict::Fail && check.finding.contains("[Nobody] can signal"), "{}", check.finding);
        assert_eq!(sandbox(Err(io::ErrorKind::PermissionDenied.into())).verdict, Verdict::Fail);
    }

    /// Debian's level 3 shuts CAP_PERFMON out.
    #[test]
    fn paranoid_level_three_needs_the_sysctl() {
        assert_eq!(paranoid("2", 0).verdict, Verdict::Ok);
        assert_eq!(paranoid("3", 1 << CAP_SYS_ADMIN).verdict, Verdict::Ok);
        let check = paranoid("3", 1 << CAP_PERFMON);
        assert_eq!(
            (check.verdict, check.fix.as_deref()),
            (Verdict::Fail, Some("sudo sysctl kernel.perf_event_paranoid=2"))
        );
        assert_eq!(paranoid("", 0).verdict, Verdict::Fail);
    }
}
