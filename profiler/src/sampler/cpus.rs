//! Which CPUs are online, from `/sys/devices/system/cpu/online`: ranges with holes, such as `0-3,6,8-11`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

/// Highest CPU number believed: the kernel's own `NR_CPUS` is at most 8,192 on x86-64.
const MAX_CPU: u32 = 65_535;

/// The CPUs that are online now.
///
/// # Errors
/// sysfs is not mounted, or the list makes no sense.
pub fn online() -> io::Result<BTreeSet<u32>> {
    parse(&fs::read_to_string("/sys/devices/system/cpu/online")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/sys/devices/system/cpu/online makes no sense"))
}

fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// What a CPU did since boot, in clock ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// It worked.
    pub work: u64,
    /// It had nothing to run, and slept for most of that.
    pub idle: u64,
}

/// The times of each CPU; empty when `/proc/stat` cannot be read.
pub fn times() -> BTreeMap<u32, CpuTimes> {
    parse_times(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// Lines such as `cpu3 user nice system idle iowait irq softirq steal ..` (`man 5 proc_stat`).
fn parse_times(stat: &str) -> BTreeMap<u32, CpuTimes> {
    let line = |line: &str| {
        // The line of all CPUs together has a blank instead of a number.
        let (cpu, fields) = line.strip_prefix("cpu")?.split_once(' ')?;
        let cpu = cpu.parse().ok()?;
        let fields = fields.split_ascii_whitespace();
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, ..] = ticks[..] else { return None };
        Some((cpu, CpuTimes { work: user + nice + system + irq + softirq, idle: idle + iowait }))
    };
    stat.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// CPU numbers are not 0 to count - 1.
    #[test]
    fn an_online_list_may_have_holes() {
        assert_eq!(parse("0-2,5,7-8\n").unwrap().into_iter().collect::<Vec<_>>(), [0, 1, 2, 5, 7, 8]);
        assert_eq!(parse("3").unwrap().into_iter().collect::<Vec<_>>(), [3]);
    }

    /// Idle and waiting time is no work, stolen time is neither; the line of all CPUs together is none of them.
    #[test]
    fn work_is_what_a_cpu_did_itself() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 1000 1000 8 16 1000 0 0\ncpu12 5 0 0 0 0 0 0 0 0 0\nintr 7 8 9\n";
        let times = |work, idle| CpuTimes { work, idle };
        assert_eq!(parse_times(stat), BTreeMap::from([(0, times(31, 2000)), (12, times(5, 0))]));
        assert!(!super::times().is_empty());
    }

    /// Nonsense is refused instead of filling memory.
    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        for list in ["x", "1-", "0-4294967295", "-1"] {
            assert_eq!(parse(list), None, "{list}");
        }
    }
}
