//! A process is (pid, start time), never a pid alone: pids come back.

use super::{BinaryId, BootNanos};

/// Start time in clock ticks (10 ms) since boot: the resolution `/proc/PID/stat` shows, so both sources agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartTicks(pub u64);

impl StartTicks {
    /// USER_HZ is 100 on every Linux architecture we build for (`man 7 time`).
    const NANOS: u64 = 10_000_000;

    /// From the kernel's `task_struct.start_boottime`, rounded down as `/proc` does.
    #[must_use]
    pub fn from_boot(start: BootNanos) -> Self {
        Self(start.0 / Self::NANOS)
    }

    /// The boot-clock instant of the tick.
    #[must_use]
    pub fn to_boot(self) -> BootNanos {
        BootNanos(self.0.saturating_mul(Self::NANOS))
    }
}

/// Identity of a process within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// Host pid (thread group id in the kernel's words).
    pub pid: u32,
    /// When it started.
    pub start: StartTicks,
}

/// A container's id as found in a cgroup path: 64 hexadecimal digits, or the name systemd-nspawn and LXC use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(pub String);

/// What is known of a process. All strings come from other processes: hostile, shown as text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Identity.
    pub key: ProcessKey,
    /// Name of its main thread (`comm`, at most 15 bytes); `[kernel]`-threads have theirs, such as `kworker/0:1`.
    pub comm: String,
    /// Path of its executable, when it could be read or was seen mapped.
    pub exe: Option<String>,
    /// Control group path, the unified one where there is one, else the `name=systemd` or first one; `/` at the root.
    pub cgroup: String,
    /// Container id parsed from the path.
    pub container: Option<ContainerId>,
    /// systemd unit parsed from the path (`nginx.service`, `session-3.scope`).
    pub unit: Option<String>,
}

/// An executable range of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// Offset in the file of `start`.
    pub offset: u64,
    /// The file behind it (or the vDSO); `None` for memory that code is made in at run time.
    pub file: Option<BinaryId>,
}
