//! What code belongs to. (build id, file offset) is the identity of a location; names are an attribute that may improve.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use super::{InodeNumber, JitSources, StartTicks, UnknownReason};

/// The GNU build id note: 1 to 20 bytes that name one exact build of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId {
    len: u8,
    bytes: [u8; 20],
}

impl BuildId {
    /// `None` when empty or longer than the 20 bytes of a SHA-1 (longer ids are not cut: a prefix is another identity).
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        if id.is_empty() || id.len() > 20 {
            return None;
        }
        let mut bytes = [0; 20];
        bytes[..id.len()].copy_from_slice(id);
        Some(Self { len: id.len() as u8, bytes })
    }

    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// The sort of thing that holds code. The numbers are stored: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BinaryKind {
    /// The running kernel and its modules; offsets are kernel addresses.
    Kernel = 0,
    /// An ELF file mapped from disk; offsets are file offsets.
    File = 1,
    /// The kernel's shared object in every process; offsets are file offsets into its image.
    Vdso = 2,
    /// Executable memory with no file behind it (JIT); offsets are virtual addresses.
    Anonymous = 3,
}

impl BinaryKind {
    /// The kind stored as `n`, if there is one.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        [Self::Kernel, Self::File, Self::Vdso, Self::Anonymous].into_iter().find(|kind| *kind as u8 == n)
    }
}

/// Path of the [`Binary`] that stands for code in mappings that were not recorded. No file has it: those of files begin with `/`.
pub const UNRECORDED_PATH: &str = "[too many mappings of this user]";

/// Class of users who can have written a file: files of different classes never share names or unwind rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Root, and nobody else may write it.
    System,
    /// This user alone may write it.
    User(u32),
    /// Its group may write it, too; of a file with an access control list, other users may.
    Group {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Everybody may write it; owned by this user.
    Everybody(u32),
    /// It lies on a file system that may have been made by a user (FUSE, a medium mounted without set-user-id): what it says of
    /// owners holds there only.
    Mount {
        /// Device, as `st_dev`.
        dev: u64,
        /// Owner, as this file system says.
        uid: u32,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::User(uid) => write!(f, "user-{uid}"),
            Self::Group { uid, gid } => write!(f, "group-{uid}-{gid}"),
            Self::Everybody(uid) => write!(f, "everybody-{uid}"),
            Self::Mount { dev, uid } => write!(f, "mount-{dev}-{uid}"),
        }
    }
}

impl Owner {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (class, numbers) = text.split_once('-').unwrap_or((text, ""));
        let pair = || numbers.split_once('-');
        Some(match class {
            "system" if numbers.is_empty() => Self::System,
            "user" => Self::User(numbers.parse().ok()?),
            "group" => {
                let (uid, gid) = pair()?;
                Self::Group { uid: uid.parse().ok()?, gid: gid.parse().ok()? }
            }
            "everybody" => Self::Everybody(numbers.parse().ok()?),
            "mount" => {
                let (dev, uid) = pair()?;
                Self::Mount { dev: dev.parse().ok()?, uid: uid.parse().ok()? }
            }
            _ => return None,
        })
    }

    /// The user that work on such a file is charged to, and that shares a child process with no other. Those who own what lies on mounts
    /// that users may have made are one user, nobody's: such a file system may call root the owner.
    #[must_use]
    pub fn user(self) -> u32 {
        match self {
            Self::System => 0,
            Self::User(uid) | Self::Group { uid, .. } | Self::Everybody(uid) => uid,
            Self::Mount { .. } => u32::MAX,
        }
    }

    /// Whether a file of this class may name what is in a file of that one: who can write it can write that one too, or is root.
    #[must_use]
    pub fn may_name(self, named: Self) -> bool {
        let alone = matches!(self, Self::User(uid) if !named.is_passing() && uid == named.user());
        self == Self::System || self == named || alone
    }

    /// Whether a reboot, or another user's mount, can give it to another file: what is found out about such a file is not kept on disk.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Mount { .. })
    }
}

/// What tells a file from others with its build id, which any file can claim. Text: `LENGTH:OWNER:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// Length in bytes.
    pub len: u64,
    /// Who can have written it.
    pub owner: Owner,
    /// Hash of some of its pages.
    pub hash: u64,
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:016x}", self.len, self.owner, self.hash)
    }
}

impl FileIdentity {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (len, owner, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let hash = u64::from_str_radix(hash, 16).ok().filter(|_| parts.next().is_none())?;
        Some(Self { len: len.parse().ok()?, owner: Owner::parse(owner)?, hash })
    }
}

/// What makes two binaries the same one, across processes, restarts and reboots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BinaryKey {
    /// One boot of one kernel: its addresses are randomised at each boot.
    Kernel {
        /// `/proc/sys/kernel/random/boot_id`, without the newline.
        boot_id: String,
    },
    /// The vDSO, which the kernel alone makes; or a file with a build id in a database from when that was thought to be enough.
    BuildId(BinaryKind, BuildId),
    /// A file with a build id, as it was found when it was opened: the same wherever it lies.
    File(BuildId, FileIdentity),
    /// A file with a build id that could not be opened while it was known to be the mapped one.
    Claimed {
        /// The build id that the kernel read in it.
        build_id: BuildId,
        /// Path as mapped.
        path: String,
        /// The file, as the kernel saw it. Not stored: it says nothing once the profiler has ended.
        inode: Option<InodeNumber>,
    },
    /// A file without a build id: the same while it is the same inode, unmodified.
    Inode {
        /// Path as mapped.
        path: String,
        /// Device number, as `st_dev`.
        dev: u64,
        /// Inode number.
        inode: u64,
        /// Modification time in nanoseconds since the epoch (0 when it could not be read).
        mtime: i64,
        /// What else it was found to be; `None` when it was not opened, and in databases from before.
        identity: Option<FileIdentity>,
    },
    /// File-less executable memory of processes that are not known any more.
    Anonymous,
    /// Code that one process wrote. Its runtime may tell of it in a file.
    Jit {
        /// `/proc/sys/kernel/random/boot_id`, without the newline.
        boot_id: String,
        /// Process id.
        pid: u32,
        /// When the process began.
        start: StartTicks,
        /// Process id in the innermost namespace, which is what the process calls itself.
        inside: u32,
        /// Effective user, whose files are believed.
        user: u32,
    },
}

impl BinaryKey {
    /// What a file was found to be besides its build id.
    #[must_use]
    pub fn identity(&self) -> Option<FileIdentity> {
        match self {
            Self::File(_, identity) => Some(*identity),
            Self::Inode { identity, .. } => *identity,
            _ => None,
        }
    }
}

/// Where a file's code lies: in the file, and at which address its linker put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSegment {
    /// Offset in the file.
    pub offset: u64,
    /// Address of that offset.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A file, kernel or memory area that holds code.
#[derive(Debug)]
pub struct Binary {
    /// Identity.
    pub key: BinaryKey,
    /// What it is.
    pub kind: BinaryKind,
    /// Path as the process saw it, `[kernel]`, `[vdso]` or `[anon]`.
    pub path: String,
    /// Its build id, when it has one.
    pub build_id: Option<BuildId>,
    /// Its first executable segment, where an ELF file was opened and says so.
    pub code: Option<CodeSegment>,
    /// The open file, pinned at first sight so that deletion or replacement cannot take it away. `None` when it could
    /// not be opened, and for the kernel and anonymous memory.
    pub file: Option<Arc<File>>,
    /// Of code that a process wrote: where its runtime tells of it. `None` when that is not held open.
    pub jit: Option<Arc<JitSources>>,
    /// Why there is no file, where more is known than that it is gone.
    pub unopened: Option<UnknownReason>,
    /// The root directory of a process that had it mapped, where its debug information may lie; `None` when it is ours.
    pub root: Option<Arc<File>>,
}

impl Binary {
    /// One of which nothing else is known, and nothing is open.
    #[must_use]
    pub fn new(kind: BinaryKind, key: BinaryKey, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { key, kind, path, build_id: None, code: None, file: None, jit: None, unopened: None, root: None }
    }

    /// The same with nothing of it open.
    #[must_use]
    pub fn without_files(&self) -> Self {
        let Self { key, kind, path, build_id, code, unopened, .. } = self;
        let (build_id, code, unopened) = (*build_id, *code, *unopened);
        Self { build_id, code, unopened, ..Self::new(*kind, key.clone(), path.clone()) }
    }
}

/// Index of a [`Binary`] in the process room's table; valid for one run of the profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BinaryId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    /// A file names what its writers can write, and root's file everything. Root's of a mount that a user may have made is not root's.
    #[test]
    fn a_file_names_what_its_writers_own() {
        let mount = |uid| Owner::Mount { dev: 9, uid };
        let of_group = Owner::Group { uid: 1000, gid: 50 };
        let may = [
            (Owner::System, Owner::User(1000)),
            (Owner::System, mount(0)),
            (Owner::User(1000), Owner::User(1000)),
            (Owner::User(1000), of_group),
            (Owner::User(1000), Owner::Everybody(1000)),
            (of_group, of_group),
            (mount(0), mount(0)),
        ];
        let may_not = [
            (mount(0), Owner::System),
            (mount(0), Owner::Mount { dev: 8, uid: 0 }),
            (mount(1000), Owner::User(1000)),
            (Owner::User(1000), mount(1000)),
            (Owner::User(1001), Owner::User(1000)),
            (of_group, Owner::User(1000)),
            (Owner::Everybody(0), Owner::System),
        ];
        assert!(may.iter().all(|(file, named)| file.may_name(*named)));
        let may = may_not.into_iter().find(|(file, named)| file.may_name(*named));
        assert_eq!(may, None);
    }

    /// Work on a mount that a user may have made is charged to nobody else, and least of all to root.
    #[test]
    fn what_a_mount_claims_is_charged_to_no_user() {
        let user = |uid| Owner::Mount { dev: 9, uid }.user();
        assert_eq!((user(0), user(1000)), (u32::MAX, u32::MAX));
        assert_eq!((Owner::System.user(), Owner::Everybody(7).user()), (0, 7));
    }
}
