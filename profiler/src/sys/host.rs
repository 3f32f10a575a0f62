//! This host: what it is called, and what tells it from others.

use std::fmt::Write as _;
use std::fs;

use ring::hmac;

use crate::profile::{Host, printable};

/// Longest name of a host (`HOST_NAME_MAX`).
const MAX_NAME: usize = 64;

/// This host. Its machine id is confidential (`man 5 machine-id`): what is stored is made of it, as `sd_id128_get_machine_app_specific`
/// makes ids, and leads back to nothing. Where there is none (some containers), hosts are told apart by their names.
#[must_use]
pub fn this_host() -> Host {
    let name = printable(rustix::system::uname().nodename().to_bytes(), MAX_NAME);
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().find_map(|path| fs::read_to_string(path).ok());
    let id = id
        .map(|id| id.trim().to_owned())
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Host { machine: machine(id.as_deref(), &name), name }
}

/// 128 bits as hexadecimal digits.
fn machine(id: Option<&str>, name: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, id.unwrap_or(name).as_bytes());
    let purpose: &[u8] =
        if id.is_some() { b"profiler: a host by its machine id" } else { b"profiler: a host by its name" };
    hmac::sign(&key, purpose).as_ref().iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The name of this host, if it is in that boot now: a database of another host, or of a boot before, does not say which host
/// it was recorded on.
#[must_use]
pub fn name_in_boot(boot_id: &str) -> Option<String> {
    let now = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    (now.trim() == boot_id).then(|| this_host().name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A boot of another host, or an earlier one, names nobody.
    #[test]
    fn only_the_present_boot_has_a_host_name() {
        let now = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(name_in_boot(now.trim()).as_deref(), Some(name.trim()));
        assert_eq!(name_in_boot("00000000-0000-0000-0000-000000000000"), None);
    }

    /// A machine is the same one whatever it is called, and its id cannot be read off; without one a name has to do.
    #[test]
    fn a_machine_is_known_by_its_id() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(machine(Some(id), "a"), machine(Some(id), "b"));
        assert_ne!(machine(None, "a"), machine(None, "b"));
        assert_ne!(machine(Some("a"), ""), machine(None, "a"));
        assert_eq!(machine(Some(id), "a").len(), 32);
        assert!(!this_host().machine.is_empty());
    }
}
