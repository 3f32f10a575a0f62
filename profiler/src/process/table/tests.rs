//! The table driven by drawn records: lives, forks, execs, reused pids, losses, control groups.

use proptest::prelude::*;

use super::super::drawing::{Host, sample, sample_of};
use super::*;
use crate::profile::{ContainerId, RawSample, Sample, StackEnd, StartTicks};

/// A process that lived between two readings of the buffers is known from side-band records alone.
#[test]
fn a_short_life_is_known_from_its_records() {
    let mut host = Host::default();
    host.draw(
        "
        10 fork 100 <- 50
        11 exec 100 short
        12 mmap 100 0x1000-0x2000 /bin/short
        13 mmap 100 0x8000-0x9000 /lib/libc.so
        20 exit 100
        ",
    );
    let resolved = host.table.resolve(&sample(19, 100, &[0x8010, 0x1021]));
    assert_eq!(host.describe(&resolved), "/bin/short+0x20 /lib/libc.so+0x10 complete");
    let facts = host.facts(&resolved);
    assert_eq!((facts.comm.as_str(), facts.exe.as_deref()), ("short", Some("/bin/short")));
    assert_eq!(facts.key, resolved.process);
}

/// A fork has its parent's mappings, and what the one maps later the other does not see.
#[test]
fn a_fork_shares_until_one_changes() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 shell
        11 mmap 50 0x1000-0x2000 /bin/shell
        12 fork 100 <- 50
        13 mmap 100 0x3000-0x4000 /lib/child.so
        14 mmap 50 0x3000-0x4000 /lib/parent.so
        ",
    );
    let mut of = |pid| {
        let resolved = host.table.resolve(&sample(15, pid, &[0x3004, 0x1011]));
        host.describe(&resolved)
    };
    assert_eq!(of(100), "/bin/shell+0x10 /lib/child.so+0x4 complete");
    assert_eq!(of(50), "/bin/shell+0x10 /lib/parent.so+0x4 complete");
    let child = host.table.resolve(&sample(16, 100, &[]));
    assert_eq!(host.facts(&child).comm, "shell", "named as its parent until it is renamed");
}

/// After an exec nothing of the old program is left, neither mappings nor name nor executable.
#[test]
fn an_exec_clears_what_was_mapped() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 old
        11 mmap 50 0x1000-0x2000 /bin/old
        12 exec 50 new
        13 mmap 50 0x5000-0x6000 /bin/new
        14 mmap 50 0x7000-0x8000 /lib/new.so
        ",
    );
    let resolved = host.table.resolve(&sample(15, 50, &[0x1004, 0x5011]));
    assert_eq!(host.describe(&resolved), "/bin/new+0x10 [anon]+0x1004 complete");
    let facts = host.facts(&resolved);
    assert_eq!((facts.comm.as_str(), facts.exe.as_deref()), ("new", Some("/bin/new")));
}

/// What was unmapped is known for samples of after that time, and only for them.
#[test]
fn an_unmapping_cuts_from_its_time_on() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 program
        11 mmap 50 0x1000-0x2000 /bin/program
        12 mmap 50 0x5000-0x6000 /lib/first.so
        ",
    );
    let known = |host: &Host| host.table.mapped_at(50);
    assert_eq!(known(&host), BootNanos(12_000_000));
    let first = host.table.resolve(&sample(13, 50, &[0x5010, 0x1100]));
    host.table.apply(SideBand::Unmap { time: BootNanos(14_000_000), pid: 50, start: 0x4000, end: 0x7000 });
    assert_eq!(known(&host), BootNanos(14_000_000));
    let gone = host.table.resolve(&sample(15, 50, &[0x1010, 0x5100]));
    host.draw("16 mmap 50 0x5000-0x6000 /lib/second.so");
    let second = host.table.resolve(&sample(17, 50, &[0x5010, 0x1100]));
    let described = [first, gone, second].map(|sample| host.describe(&sample));
    assert_eq!(
        described,
        [
            "/bin/program+0xff /lib/first.so+0x10 complete",
            "/bin/program+0x10 return_address_lost",
            "/bin/program+0xff /lib/second.so+0x10 complete",
        ]
    );
}

/// A pid that comes back is another process; late samples of the first still find it, by their start time.
#[test]
fn a_pid_that_comes_back_is_another_process() {
    let mut host = Host::default();
    host.draw(
        "
        1000 fork 100 <- 1
        1001 exec 100 first
        1002 mmap 100 0x1000-0x2000 /bin/first
        ",
    );
    let first = host.table.resolve(&sample_of(1003, 100, 99, &[0x1001]));
    host.draw(
        "
        1010 exit 100
        3000 fork 100 <- 1
        3001 exec 100 second
        3002 mmap 100 0x1000-0x2000 /bin/second
        ",
    );
    let second = host.table.resolve(&sample_of(3003, 100, 299, &[0x1001]));
    let late = host.table.resolve(&sample_of(1009, 100, 99, &[0x1002]));
    assert_eq!(host.describe(&first), "/bin/first+0x1 complete");
    assert_eq!(host.describe(&second), "/bin/second+0x1 complete");
    assert_eq!(host.describe(&late), "/bin/first+0x2 complete");
    assert_eq!(late.process, first.process);
    assert_eq!(second.process.start, StartTicks(299));
    assert_eq!(host.facts(&first).comm, "first");
}

/// A sample may come without a start time, or of a process whose records were all lost: it keeps its leaf, and says why
/// it has no more.
#[test]
fn an_unknown_process_keeps_its_leaf() {
    let mut host = Host::default();
    let resolved = host.table.resolve(&sample_of(5, 4_100_000, 0, &[0x1000, 0x2000]));
    assert_eq!(host.describe(&resolved), "[anon]+0x1000 no_mappings");
    assert_eq!(host.facts(&resolved).comm, "test");
    let unseen = host.table.facts(ProcessKey { pid: 9, start: StartTicks(1) }, 0);
    assert_eq!(unseen.comm, "?");
}

/// After its main thread left a process is kept for late samples, and longer while others of its threads run; one that no sample hit is
/// not, or a storm of forks would fill the table with the dead.
#[test]
fn the_dead_are_kept_for_a_grace_period() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 gone
        10 exec 60 threads
        10 exec 70 unseen
        20 exit 50
        20 exit 60
        20 exit 70
        ",
    );
    host.table.resolve(&sample(15, 50, &[]));
    host.table.resolve(&sample(20_000, 60, &[]));
    host.end_window(5_000);
    assert_eq!(host.table.counts().processes, 3);
    host.end_window(25_000);
    assert_eq!(host.table.counts().processes, 2);
    host.end_window(31_000);
    assert_eq!(host.table.counts().processes, 1);
    host.end_window(51_000);
    assert_eq!(host.table.counts().processes, 0);
}

/// Threads: their forks, exits and names are not the process's.
#[test]
fn threads_do_not_touch_their_process() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 main
        11 mmap 50 0x1000-0x2000 /bin/main
        ",
    );
    let time = BootNanos(12_000_000);
    host.table.apply(SideBand::Fork { time, pid: 50, ppid: 50, tid: 51 });
    host.table.apply(SideBand::Comm { time, pid: 50, tid: 51, comm: "worker".to_owned() });
    host.table.apply(SideBand::Exit { time, pid: 50, tid: 51 });
    let resolved = host.table.resolve(&sample(13, 50, &[0x1001]));
    assert_eq!(host.describe(&resolved), "/bin/main+0x1 complete");
    host.end_window(100_000);
    assert_eq!(host.table.counts().processes, 1);
}

/// Names of processes are text that anyone may choose: they are shown without control characters and cut.
#[test]
fn names_are_made_safe_to_show() {
    let mut host = Host::default();
    let comm = "\u{1b}[31mevil\u{202e}and much too long".to_owned();
    host.table.apply(SideBand::Exec { time: BootNanos(1), pid: 50, comm });
    let resolved = host.table.resolve(&RawSample { thread: "\u{7}bell".into(), tid: 50, ..sample(2, 50, &[]) });
    assert_eq!(&*resolved.thread, "\u{fffd}bell");
    let facts = host.facts(&resolved);
    assert_eq!(facts.comm, "\u{fffd}bell");
}

/// The scan finds what runs, with mappings, executable and control group; older records do not undo it.
#[test]
fn the_scan_reads_what_runs() {
    let mut host = Host::with_proc(&[(
        70,
        "70 (daemon) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0",
        "00400000-00401000 r-xp 00001000 08:01 99   /usr/bin/daemon\n",
        "0::/system.slice/daemon.service\n",
    )]);
    host.table.scan_all(BootNanos(10_000_000_000));
    host.draw(
        "
        9000 exec 70 before
        9001 mmap 70 0x400000-0x401000 /usr/bin/before
        ",
    );
    let resolved = host.table.resolve(&sample_of(10_001, 70, 500, &[0x40_0010]));
    assert_eq!(host.describe(&resolved), "/usr/bin/daemon+0x1010 complete");
    let facts = host.facts(&resolved);
    assert_eq!((facts.comm.as_str(), facts.unit.as_deref()), ("daemon", Some("daemon.service")));
}

/// After records were lost, a process is read again at its next sample, and one that is not there any more is let go.
#[test]
fn lost_records_are_made_up_for() {
    let stat = "70 (daemon) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
    let mut host = Host::with_proc(&[(70, stat, "1000-2000 r-xp 00000000 08:01 99 /bin/a\n", "0::/a\n")]);
    host.table.scan_all(BootNanos(0));
    host.draw("6000 exec 80 vanished");
    host.write_maps(70, "1000-2000 r-xp 00000000 08:01 98 /bin/b\n");
    let stale = host.table.resolve(&sample_of(6001, 70, 500, &[0x1001]));
    assert_eq!(host.describe(&stale), "/bin/a+0x1 complete");
    host.table.apply(SideBand::Lost { time: BootNanos(6_002_000_000), count: 3 });
    let fresh = host.table.resolve(&sample_of(6003, 70, 500, &[0x1001]));
    assert_eq!(host.describe(&fresh), "/bin/b+0x1 complete");
    host.end_window(6004);
    host.end_window(60_000);
    assert_eq!(host.table.counts().processes, 1);
}

/// The control group is read again when the kernel's id changes, samples from before the move keep theirs, and an id that has been
/// seen before and after the reading is known at once for the next process in it.
#[test]
fn control_groups_are_followed_and_shared() {
    let id = "c".repeat(64);
    let stat = "70 (a) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
    let mut host = Host::with_proc(&[(70, stat, "", "0::/before\n")]);
    host.table.scan_all(BootNanos(0));
    let at = |time, pid, cgroup_id| RawSample { cgroup_id, ..sample_of(time, pid, 500, &[]) };
    let before = host.table.resolve(&at(6000, 70, 7));
    assert_eq!(host.facts(&before).cgroup, "/before");
    host.write_cgroup(70, &format!("0::/docker/{id}\n"));
    let after = host.table.resolve(&at(6001, 70, 8));
    assert_eq!(host.facts(&before).cgroup, "/before");
    assert_eq!(host.facts(&after).container, Some(ContainerId(id.clone())));
    // It may have been moved after the sample and before the reading.
    host.draw("6002 fork 90 <- 1");
    let child = host.table.resolve(&RawSample { cgroup_id: 8, ..sample(6003, 90, &[]) });
    assert_eq!(host.facts(&child).container, None);
    host.table.resolve(&at(6004, 70, 8));
    // Too short-lived to be read, but the kernel gave its samples the same id.
    host.draw("6005 fork 91 <- 1");
    let child = host.table.resolve(&RawSample { cgroup_id: 8, ..sample(6006, 91, &[]) });
    assert_eq!(host.facts(&child).container, Some(ContainerId(id)));
}

/// On a host with control groups of version 1 no id tells of a move: a runtime forks, moves the child and executes; others move a
/// process that runs on.
#[test]
fn control_groups_of_version_1_are_asked_for_again() {
    let (first, second) = ("a".repeat(64), "b".repeat(64));
    let stat = "70 (a) S 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0";
    let mut host = Host::with_proc(&[(70, stat, "", "4:memory:/runtime\n0::/\n")]);
    let at = |time| RawSample { cgroup_id: 1, ..sample_of(time, 70, 500, &[]) };
    host.draw("5500 fork 70 <- 1");
    let runtime = host.table.resolve(&at(6000));
    host.write_cgroup(70, &format!("4:memory:/docker/{first}\n0::/\n"));
    host.draw("6100 exec 70 program");
    let contained = host.table.resolve(&at(6200));
    host.write_cgroup(70, &format!("4:memory:/docker/{second}\n0::/\n"));
    let unasked = host.table.resolve(&at(6300));
    let moved = host.table.resolve(&at(7300));
    assert_eq!(host.facts(&runtime).cgroup, "/runtime");
    assert_eq!(host.facts(&contained).container, Some(ContainerId(first)));
    assert_eq!(host.facts(&unasked), host.facts(&contained));
    assert_eq!(host.facts(&moved).container, Some(ContainerId(second)));
}

/// Samples from before an exec stand under the old program, those after it under the new one, whose executable is known later; so do
/// names that a program gives itself. What was before is dropped when no window needs it.
#[test]
fn samples_keep_the_facts_of_their_time() {
    let mut host = Host::default();
    host.draw(
        "
        10 exec 50 old
        11 mmap 50 0x1000-0x2000 /bin/old
        ",
    );
    let old = host.table.resolve(&sample(12, 50, &[0x1001]));
    host.draw("20 exec 50 new");
    let entering = host.table.resolve(&sample(21, 50, &[]));
    host.draw("22 mmap 50 0x5000-0x6000 /bin/new");
    let new = host.table.resolve(&sample(23, 50, &[0x5001]));
    let late = host.table.resolve(&sample(13, 50, &[0x1001]));
    host.table.apply(SideBand::Comm { time: BootNanos(30_000_000), pid: 50, tid: 50, comm: "self".to_owned() });
    let renamed = host.table.resolve(&sample(31, 50, &[0x5001]));
    let told = |sample: &Sample| {
        let facts = host.facts(sample);
        format!("{} {}", facts.comm, facts.exe.as_deref().unwrap_or("-"))
    };
    let all = [&old, &entering, &new, &late, &renamed].map(told);
    assert_eq!(all, ["old /bin/old", "new /bin/new", "new /bin/new", "old /bin/old", "self /bin/new"]);
    assert_eq!(host.describe(&late), "[anon]+0x1001 no_mappings", "by the mappings of the old program, which are gone");
    host.end_window(40_000);
    assert_eq!(host.facts(&old), host.facts(&renamed));
}

/// A program that renames itself without end keeps a bounded number of names in a window, and the rest is counted.
#[test]
fn names_without_end_are_bounded_and_counted() {
    let mut host = Host::default();
    host.draw("10 exec 50 many");
    let name = |host: &mut Host, ms: u64| {
        let (time, comm) = (BootNanos(ms * 1_000_000), format!("name {ms}"));
        host.table.apply(SideBand::Comm { time, pid: 50, tid: 50, comm });
        host.table.resolve(&sample(ms, 50, &[]))
    };
    let first = name(&mut host, 11);
    let last = (12..1000).map(|ms| name(&mut host, ms)).last().expect("many");
    assert_eq!((&*host.facts(&first).comm, &*host.facts(&last).comm), ("name 11", "name 999"));
    assert!(host.table.counts().facts_merged > 900 && last.revision <= 64, "{:?} {last:?}", host.table.counts());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    /// Whatever is recorded in whatever order, a sample stays its own process's, no longer than it was, and the books agree.
    #[test]
    fn any_records_are_survived(steps in proptest::collection::vec((0_u8..9, 0_u64..60_000, 1_u32..5, 0_u64..8, 1_u32..5), 1..60)) {
        let mut host = Host::default();
        for (kind, ms, pid, page, other) in steps {
            let time = BootNanos(ms * 1_000_000);
            let comm = format!("p{pid}");
            match kind {
                0 => host.table.apply(SideBand::Exec { time, pid, comm }),
                1 => host.table.apply(SideBand::Fork { time, pid, ppid: other, tid: pid }),
                2 => host.table.apply(SideBand::Exit { time, pid, tid: other }),
                3 => host.table.apply(SideBand::Comm { time, pid, tid: other, comm }),
                4 => host.table.apply(SideBand::Lost { time, count: 1 }),
                5 => host.end_window(ms),
                6 => host.map(ms, pid, page * 0x1000, (page + u64::from(other)) * 0x1000, &comm),
                _ => {
                    let user = [page * 0x1000, u64::from(other) * 0x1000 + 5, u64::MAX, 0];
                    let raw = sample_of(ms, pid, ms / 10 * u64::from(other % 2), &user);
                    let sample = host.table.resolve(&raw);
                    prop_assert_eq!(sample.process.pid, pid);
                    prop_assert!(!sample.stack.is_empty() && sample.stack.len() <= user.len());
                    prop_assert_eq!(host.facts(&sample).key, sample.process);
                }
            }
            let held: usize = host.table.processes.values().map(Vec::len).sum();
            prop_assert_eq!(host.table.counts().processes, held);
        }
    }
}

/// Whoever maps without end is cut short, and it is counted.
#[test]
fn mappings_without_end_are_refused_and_counted() {
    let mut host = Host::default();
    for n in 0..5000_u64 {
        host.map(10, 50, n * 0x2000 + 0x1000, n * 0x2000 + 0x2000, "/bin/many");
    }
    assert!(host.table.counts().mappings_refused > 0);
    let resolved = host.table.resolve(&sample(11, 50, &[0x1000]));
    assert_eq!(resolved.end, StackEnd::Complete);
}

/// One user's mappings fill the user's share and no more; code beyond it says so, and another user's mappings are recorded.
#[test]
fn mappings_beyond_a_users_share_are_counted_and_say_so() {
    let mut host = Host::default();
    let long = "d".repeat(3900);
    for pid in [50, 60] {
        host.draw(&format!("10 fork {pid} <- 1"));
        let process = host.table.newest(pid).expect("just forked");
        (process.user, process.user_stale) = (pid, false);
    }
    for n in 0..4000 {
        host.map(11, 50, n << 12, (n + 1) << 12, &format!("/{long}/{n}"));
    }
    let counts = host.table.counts();
    assert!(counts.mappings_refused > 1000 && counts.mappings.used <= counts.mappings.limit / 4, "{counts:?}");
    host.draw("12 mmap 60 0x1000-0x2000 /lib/other.so");
    assert_eq!(host.table.counts().mappings_refused, counts.mappings_refused);
    let last = host.table.resolve(&sample(20, 50, &[0xf9f_0010, 0x1010]));
    assert!(
        host.describe(&last).ends_with("[too many mappings of this user]+0x0 complete"),
        "{}",
        host.describe(&last)
    );
    let other = host.table.resolve(&sample(20, 60, &[0x1010]));
    assert_eq!(host.describe(&other), "/lib/other.so+0x10 complete");
    host.draw("30 exec 50 another");
    host.end_window(40);
    assert!(host.table.counts().mappings.used < 1 << 20, "{:?}", host.table.counts());
}
