//! Which CPUs are online, from `/sys/devices/system/cpu/online`: ranges with holes, such as `0-3,6,8-11`.

use std::collections::BTreeSet;
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

    /// Nonsense is refused instead of filling memory.
    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        for list in ["x", "1-", "0-4294967295", "-1"] {
            assert_eq!(parse(list), None, "{list}");
        }
    }
}
