//! Who can have written a file: the class that its names and unwind rows are shared in.
//!
//! `st_uid` is what the file system says. Most are the kernel's own, mounted by root, and say the truth. On others a user decides: FUSE
//! (`fusermount` mounts for anybody, and the file server may claim any owner), media that a desktop mounts for its user, overlays of
//! these made in a user namespace. All of them are FUSE, or an overlay, or are mounted without set-user-id. Such a file system
//! is believed only when the host's own mount table has it, mounted with set-user-id and not as FUSE.
//!
//! Asks the file system: call it where that may hang.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use rustix::fs::{Stat, StatVfsMountFlags};

use crate::profile::Owner;

/// `f_type` (`linux/magic.h`); `virtiofs` has the number of FUSE too.
const FUSE: i64 = 0x6573_5546;
const OVERLAY: i64 = 0x794c_7630;
/// Most of a mount table read: 100 bytes a line, 100,000 mounts (`fs.mount-max`).
const MAX_TABLE: u64 = 16 << 20;

/// The class of an open file.
///
/// # Errors
/// The file system does not say.
pub fn owner_of(file: &File, stat: &Stat) -> io::Result<Owner> {
    let kind = rustix::fs::fstatfs(file)?.f_type;
    let without_setuid = rustix::fs::fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::NOSUID);
    let doubtful = kind == FUSE || kind == OVERLAY || without_setuid;
    let believed = !doubtful || is_of_the_host(stat.st_dev);
    Ok(class(stat.st_uid, stat.st_gid, stat.st_mode, (!believed).then_some(stat.st_dev)))
}

/// The class that owner and mode say; with the device when its file system is not believed.
fn class(uid: u32, gid: u32, mode: u32, doubtful: Option<u64>) -> Owner {
    // The group's bits are the mask of an access control list, if there is one (`man 5 acl`).
    match (doubtful, mode & 0o002 != 0, mode & 0o020 != 0) {
        (Some(dev), ..) => Owner::Mount { dev, uid },
        (None, true, _) => Owner::Everybody(uid),
        (None, false, true) => Owner::Group { uid, gid },
        (None, false, false) if uid == 0 => Owner::System,
        (None, false, false) => Owner::User(uid),
    }
}

/// Whether the host has mounted a device itself, with set-user-id. An open file keeps its device's number from being given to another
/// mount: so the table must be read after the file was opened, and a table kept from before would not do.
fn is_of_the_host(dev: u64) -> bool {
    mount_table().is_ok_and(|table| believed_devices(&table).contains(&dev))
}

/// The host's mount table; ours where that may not be read.
fn mount_table() -> io::Result<String> {
    let read = |path| {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(File::open(path)?, MAX_TABLE), &mut text)?;
        Ok(text)
    };
    read("/proc/1/mountinfo").or_else(|_: io::Error| read("/proc/self/mountinfo"))
}

/// The devices of a mount table (`man 5 proc_pid_mountinfo`) whose owners are believed.
fn believed_devices(table: &str) -> HashSet<u64> {
    let device = |line: &str| {
        // 36 35 98:0 /root /mnt rw,nosuid shared:1 - ext4 /dev/sda1 rw
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (major, minor) = fields.nth(2)?.split_once(':')?;
        let options = fields.nth(2)?;
        let kind = file_system.split(' ').next()?;
        let believed = !kind.starts_with("fuse") && options.split(',').all(|option| option != "nosuid");
        believed.then_some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
    };
    table.lines().filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Only what root alone can write is the system's; an access control list shows in the group's bits.
    #[test]
    fn a_file_belongs_to_whoever_can_write_it() {
        let cases = [
            (0, 0o100_755, Owner::System),
            (0, 0o100_555, Owner::System),
            (0, 0o104_755, Owner::System),
            (0, 0o100_775, Owner::Group { uid: 0, gid: 50 }),
            (0, 0o100_757, Owner::Everybody(0)),
            (0, 0o100_777, Owner::Everybody(0)),
            (1000, 0o100_755, Owner::User(1000)),
            (1000, 0o100_664, Owner::Group { uid: 1000, gid: 50 }),
        ];
        for (uid, mode, owner) in cases {
            assert_eq!(class(uid, 50, mode, None), owner, "{mode:o}");
            assert_eq!(class(uid, 50, mode, Some(9)), Owner::Mount { dev: 9, uid });
        }
    }

    /// A device is believed when the host has mounted it with set-user-id, wherever else it is mounted too; FUSE never is.
    #[test]
    fn a_users_mounts_are_not_believed() {
        let table = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /tmp rw,nosuid,nodev shared:2 - tmpfs tmpfs rw
23 21 0:50 / /home/x/mnt rw,nosuid,nodev,relatime shared:3 - fuse.sshfs x@y:/ rw,user_id=1000
24 21 0:51 / /mnt/ntfs rw,relatime shared:4 - fuseblk /dev/sdb1 rw,user_id=0,allow_other
25 21 8:33 / /media/x/stick rw,nosuid,nodev,relatime shared:5 - ext4 /dev/sdc1 rw
26 21 0:60 / /var/lib/docker/overlay2/a/merged rw,relatime - overlay overlay rw,lowerdir=l
27 21 0:61 / /host rw,relatime - virtiofs root rw
28 21 0:20 / /run/x rw,relatime - tmpfs tmpfs rw
broken line
29 21 x:y / /bad rw - ext4 e rw";
        let mut devices: Vec<_> =
            believed_devices(table).into_iter().map(|dev| (rustix::fs::major(dev), rustix::fs::minor(dev))).collect();
        devices.sort_unstable();
        assert_eq!(devices, [(0, 20), (0, 60), (0, 61), (8, 1)]);
    }

    /// A file of this host has the class that its mode says.
    #[test]
    fn an_open_file_has_a_class() {
        let of = |file: &File| owner_of(file, &rustix::fs::fstat(file).unwrap()).unwrap();
        assert_eq!(of(&File::open("/bin/sh").unwrap()), Owner::System);
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_bits_retain(0o666)).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert!(matches!(of(&file), Owner::Everybody(owner) | Owner::Mount { uid: owner, .. } if owner == uid));
    }
}
