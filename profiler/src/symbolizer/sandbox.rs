//! What the child may not do: it gives up everything but answering, before the first question.
//!
//! Four layers, each enough against a parser that a file has taken over, together for the day when one has a hole: a user of its
//! own (`child_user.rs`) without capabilities; Landlock, which refuses every path, port and foreign process (kernel 5.13; descriptors that we were
//! given and memfds are no paths, `man 7 landlock`); a seccomp list of the system calls that parsing needs; limits on memory,
//! time, descriptors and processes.

use std::collections::BTreeMap;
use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Added to the profiler's own score: a fiftieth of the memory that runs out, the host's or a control group's (`man 5
/// proc_pid_oom_score_adj`). The kernel's ranking by size does the rest: a child that holds little is spared, for its end
/// would free little, and one that has grown goes before the profiler.
const OOM_SCORE: i32 = 20;
/// Descriptors: the socket, what a question brings, and a few for the parser.
const DESCRIPTORS: u64 = 64;

/// Which layers are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The user that it runs as, which no other process has. `None`: the profiler's own, which has no right to change users.
    pub user: Option<u32>,
    /// Landlock: all of it, some (older kernels), or none.
    pub landlock: Layer,
    /// The list of system calls is in force.
    pub seccomp: bool,
}

/// How much of a layer the kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    /// Nothing.
    None = 0,
    /// Less than was asked for.
    Partial = 1,
    /// Everything.
    Full = 2,
}

/// Limits that are never raised again. Those on memory and processor time are set for each question, below these.
pub(super) struct HardLimits {
    pub memory: u64,
    pub cpu_seconds: u64,
    pub file: u64,
}

/// Gives everything up. What the kernel has not got is left out and told; what it has and refuses is an error.
pub(super) fn enter(limits: &HardLimits, user: Option<u32>, is_urgent: bool) -> io::Result<Confinement> {
    // These two only make us a better neighbour: go on where they are refused.
    if !is_urgent {
        let _ = rustix::process::nice(5);
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score(read_oom_score()).to_string());
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Nproc, 0),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Fsize, limits.file),
        (Resource::As, limits.memory),
        (Resource::Cpu, limits.cpu_seconds),
    ] {
        let maximum = rustix::process::getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?;
    }
    let user = user.filter(|user| become_user(*user));
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    // Another process of our user, where that is the profiler's, cannot trace us. (Before the next line: changing users clears it.)
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let landlock = landlock().map_err(io::Error::other)?;
    let seccomp = seccomp()?;
    Ok(Confinement { user, landlock, seccomp })
}

fn read_oom_score() -> i32 {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// A child's score, by the profiler's. Protection that somebody gave the profiler is not for a child, which can be had again.
fn oom_score(own: i32) -> i32 {
    (own + OOM_SCORE).clamp(0, 1000)
}

/// `false` where we have no right to.
fn become_user(id: u32) -> bool {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).is_ok()
        && rustix::thread::set_thread_res_gid(group, group, group).is_ok()
        && rustix::thread::set_thread_res_uid(user, user, user).is_ok()
}

/// A ruleset without a single rule: nothing is allowed.
fn landlock() -> Result<Layer, landlock::RulesetError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V6))?
        .handle_access(AccessNet::from_all(ABI::V6))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Layer::Full,
        RulesetStatus::PartiallyEnforced => Layer::Partial,
        RulesetStatus::NotEnforced => Layer::None,
    })
}

/// `false` on a kernel without it. What is not on the list fails with `EPERM`: a parser that tries something odd gets an error,
/// which it can handle, and so do the attempts of the self-test.
fn seccomp() -> io::Result<bool> {
    let Ok(arch) = std::env::consts::ARCH.try_into() else { return Ok(false) };
    let rules = rules().map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(true),
        Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
            if error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(false)
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

/// System calls without a condition.
const ALLOWED: &[libc::c_long] = &[
    // Talking to the parent and reading what it gave.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_ppoll,
    libc::SYS_lseek,
    libc::SYS_close,
    // Looking at files: Landlock and the user say which.
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    // Memory, locks, time, randomness.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrusage,
    // Panicking, crashing and leaving.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let equal = |argument, mask: u64, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let rule = |condition| SeccompRule::new(vec![condition]);
    let all = u64::from(u32::MAX);
    let no_code = |argument| equal(argument, libc::PROT_EXEC as u64, 0);
    let write = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
    let ourselves = u64::from(std::process::id());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // No new code.
    rules.insert(libc::SYS_mmap, vec![rule(no_code(2)?)?]);
    rules.insert(libc::SYS_mprotect, vec![rule(no_code(2)?)?]);
    // Opening to read: our own memfds again, by their names in `/proc/self/fd`.
    rules.insert(libc::SYS_openat, vec![rule(equal(2, write, 0)?)?]);
    // Aborting is a signal to oneself.
    rules.insert(libc::SYS_tgkill, vec![rule(equal(0, all, ourselves)?)?]);
    // Its own limits, downwards or within the hard ones.
    rules.insert(libc::SYS_prlimit64, vec![rule(equal(0, all, 0)?)?]);
    let fcntl = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    let fcntl = fcntl.map(|command| equal(1, all, command as u64).and_then(rule));
    rules.insert(libc::SYS_fcntl, fcntl.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child goes a little before its profiler, never far before others, and is not protected where the profiler is.
    #[test]
    fn a_child_is_not_the_first_victim() {
        assert_eq!([0, 500, 990, -500, -1000].map(oom_score), [20, 520, 1000, 0, 0]);
    }
}
