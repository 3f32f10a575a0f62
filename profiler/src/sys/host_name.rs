//! What this host is called.

use crate::profile::printable;

/// Longest name of a host (`HOST_NAME_MAX`).
const MAX_NAME: usize = 64;

/// The name of this host, if it is in that boot now: a database of another host, or of a boot before, does not say which host
/// it was recorded on.
#[must_use]
pub fn name_in_boot(boot_id: &str) -> Option<String> {
    let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    (now.trim() == boot_id).then(|| printable(rustix::system::uname().nodename().to_bytes(), MAX_NAME))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A boot of another host, or an earlier one, names nobody.
    #[test]
    fn only_the_present_boot_has_a_host_name() {
        let now = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(name_in_boot(now.trim()).as_deref(), Some(name.trim()));
        assert_eq!(name_in_boot("00000000-0000-0000-0000-000000000000"), None);
    }
}
