//! What to sample, how often, by which event: checked before anything is loaded.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::programs::ProgramType;
use aya::programs::perf_event::{HardwareEvent, PerfEventConfig, PerfEventGroup, PerfEventScope};
use aya::sys::{BpfHelper, is_helper_supported};

use profiler_ebpf::tables::{TAIL_STACK, UnwindMode};

use super::SamplerError;
use super::descendants::{descendants, parents};
use crate::profile::SampleEvent;
use crate::sys::perf::max_sample_rate;
use crate::sys::sampling_event::Counted;

/// Samples per second and CPU when none are asked for: prime, so that it never beats in step with periodic work.
pub const DEFAULT_HZ: u32 = 97;

/// How often to sample, by somebody's word or by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    hz: u32,
    is_asked_for: bool,
}

impl Default for Frequency {
    /// [`DEFAULT_HZ`], or the kernel's limit where that is lower.
    fn default() -> Self {
        Self { hz: DEFAULT_HZ, is_asked_for: false }
    }
}

impl Frequency {
    /// A frequency that was asked for: checks `hz` against our range and the kernel's limit.
    ///
    /// # Errors
    /// [`SamplerError::FrequencyRange`], [`SamplerError::FrequencyLimit`].
    pub fn new(hz: u32) -> Result<Self, SamplerError> {
        Self::within(hz, frequency_limit())
    }

    fn within(hz: u32, limit: u32) -> Result<Self, SamplerError> {
        match hz {
            0 | 10_001.. => Err(SamplerError::FrequencyRange { hz }),
            _ if hz > limit => Err(SamplerError::FrequencyLimit { hz, limit }),
            _ => Ok(Self { hz, is_asked_for: true }),
        }
    }

    /// Samples per second and CPU that are wanted; the kernel may allow fewer.
    #[must_use]
    pub fn hz(self) -> u32 {
        self.hz
    }

    /// What a kernel with this limit gives of it.
    #[must_use]
    pub fn under(self, limit: u32) -> u32 {
        self.hz.min(limit).max(1)
    }

    /// The same at the start of sampling, when nobody's word is broken yet: who asked for more than the
    /// limit is told so.
    ///
    /// # Errors
    /// [`SamplerError::FrequencyLimit`].
    pub(super) fn at_start(self, limit: u32) -> Result<u32, SamplerError> {
        if self.is_asked_for && self.hz > limit {
            return Err(SamplerError::FrequencyLimit { hz: self.hz, limit });
        }
        Ok(self.under(limit))
    }
}

/// The kernel's limit now. A kernel without the limit's file has no perf events: opening one says so better.
pub(super) fn frequency_limit() -> u32 {
    max_sample_rate().unwrap_or(u32::MAX)
}

/// Whom to sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Everybody.
    #[default]
    All,
    /// These processes, their children, and theirs.
    Pids(Vec<u32>),
    /// The processes of one cgroup v2, and of those below it.
    Cgroup(Cgroup),
}

impl Target {
    /// The processes that belong to it now; `None` when that is everybody.
    #[must_use]
    pub fn members(&self) -> Option<Vec<u32>> {
        match self {
            Self::All => None,
            Self::Pids(pids) => {
                let roots = pids.iter().copied().collect();
                Some(descendants(&roots, &parents()).into_iter().chain(pids.iter().copied()).collect())
            }
            Self::Cgroup(cgroup) => Some(cgroup.members()),
        }
    }
}

/// A cgroup v2 as the eBPF side compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The directory's inode number.
    pub id: u64,
    /// Steps below the root.
    pub level: u32,
    /// Its directory.
    pub directory: PathBuf,
}

impl Cgroup {
    /// Finds a cgroup by its directory, or by its path below the cgroup v2 mount (`/system.slice/nginx.service`).
    ///
    /// # Errors
    /// No cgroup v2 mounted, or no such cgroup.
    pub fn find(path: &Path) -> Result<Self, SamplerError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = cgroup2_mount(&mounts).ok_or_else(|| SamplerError::Unsupported {
            missing: "no cgroup v2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified"
                .into(),
        })?;
        Self::find_below(&root, path)
    }

    fn find_below(root: &Path, path: &Path) -> Result<Self, SamplerError> {
        let named = root.join(path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(path));
        let found = || {
            // Without `..`, so that the steps below the root can be counted.
            let directory = named.canonicalize().ok()?;
            let level = directory.strip_prefix(root).ok()?.components().count() as u32;
            let metadata = fs::metadata(&directory).ok().filter(fs::Metadata::is_dir)?;
            Some(Self { id: metadata.ino(), level, directory })
        };
        found().ok_or_else(|| SamplerError::NoSuchCgroup { path: named.clone() })
    }

    /// The processes in it and in those below it, as `cgroup.procs` lists them; what cannot be read has none.
    fn members(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut folders = vec![self.directory.clone()];
        while let Some(folder) = folders.pop() {
            let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
            let below = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
            folders.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        pids
    }
}

/// Mount point of the first cgroup v2 hierarchy: field 5 of the line whose part after ` - ` begins with `cgroup2`.
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(PathBuf::from(line.split(' ').nth(4)?))
}

/// Options of a [`super::Sampler`].
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// How often.
    pub frequency: Frequency,
    /// By which event.
    pub event: SampleEvent,
    /// What is sampled beside it; their events have the numbers from 1 on, in this order.
    pub others: Vec<OtherEvent>,
    /// Whom.
    pub target: Target,
    /// Slots of our user stack map: a power of two. Fewer only send stacks more often.
    pub user_stack_slots: u32,
    /// Buckets of each kernel stack map. Fewer only send stacks inline more often.
    pub kernel_stack_buckets: u32,
    /// How user stacks are walked.
    pub unwind: UnwindMode,
    /// What drives the walk; `None`: the best that this kernel has.
    pub walk_loop: Option<WalkLoop>,
}

/// An event beside the clock, of which each so many make a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherEvent {
    /// What is counted.
    pub counted: Counted,
    /// How many of them make a sample.
    pub period: u64,
}

/// What takes a walk's steps, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkLoop {
    /// The helper `bpf_loop`, from Linux 5.17 on: 512 frames.
    BpfLoop,
    /// Programs that call each other, on kernels before that: 512 frames, too.
    TailCalls,
}

impl WalkLoop {
    /// The best that this kernel has. Asks it, which needs the right to load programs.
    #[must_use]
    pub fn of_running_kernel() -> Self {
        // A kernel that does not say is taken for a current one: then loading tells what is wrong.
        match is_helper_supported(ProgramType::PerfEvent, BpfHelper::BPF_FUNC_loop) {
            Ok(false) => Self::TailCalls,
            Ok(true) | Err(_) => Self::BpfLoop,
        }
    }

    /// The program that takes samples this way.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::BpfLoop => "sample",
            Self::TailCalls => "sample_by_tail_calls",
        }
    }
}

impl SamplerOptions {
    /// The defaults: 65,536 slots are 512 KiB, 2 x 2,048 buckets of 1 KiB are 4 MiB of kernel memory.
    #[must_use]
    pub fn new(frequency: Frequency, event: SampleEvent, target: Target) -> Self {
        Self {
            frequency,
            event,
            others: Vec::new(),
            target,
            user_stack_slots: 65_536,
            kernel_stack_buckets: 2048,
            unwind: UnwindMode::FramePointers,
            walk_loop: None,
        }
    }

    /// Bytes of the ring buffer: half a second (five polls) of samples at 512 bytes each, a power of two from 8 to 64 MiB
    /// (8: for tails of unfinished samples, which may fill half of it; 1 where there are none).
    pub(super) fn ring_bytes(&self, cpus: usize) -> u32 {
        let (hz, cpus) = (u64::from(self.frequency.hz()), cpus as u64);
        let least = if self.unwind == UnwindMode::FramePointers { 1 << 20 } else { 8 << 20 };
        // Unfinished samples carry their stack. While programs start they are many, but the tables come within a poll.
        let tails =
            if self.unwind == UnwindMode::FramePointers { 0 } else { hz.min(199) * cpus * TAIL_STACK as u64 / 8 };
        (hz * cpus * 512 / 2 + tails).clamp(least, 1 << 26).next_power_of_two() as u32
    }
}

/// The CPU's cycle counter when a short test shows that it counts here, else the software clock.
#[must_use]
pub fn choose_event() -> SampleEvent {
    if cycles_count() { SampleEvent::Cycles } else { SampleEvent::CpuClock }
}

/// Spins for 10 ms under a cycle counter: virtual machines often open one that never counts.
fn cycles_count() -> bool {
    let scope = PerfEventScope::CallingProcess { cpu: None };
    let Ok(mut group) = PerfEventGroup::open(PerfEventConfig::Hardware(HardwareEvent::CpuCycles), [], scope) else {
        return false;
    };
    if group.enable().is_err() {
        return false;
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(10) {
        std::hint::spin_loop();
    }
    // Ten milliseconds of any CPU are more than a million cycles.
    group.read().is_ok_and(|read| read.values.first().is_some_and(|cycles| *cycles > 1_000_000))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Our range first, then the kernel's limit with the sysctl that changes it.
    #[test]
    fn a_frequency_out_of_range_or_above_the_kernels_limit_is_refused() {
        assert_eq!(Frequency::within(97, 100_000).unwrap().hz(), 97);
        assert!(matches!(Frequency::within(0, 100_000), Err(SamplerError::FrequencyRange { hz: 0 })));
        assert!(matches!(Frequency::within(10_001, 100_000), Err(SamplerError::FrequencyRange { .. })));
        let message = Frequency::within(997, 500).unwrap_err().to_string();
        assert!(message.contains("sysctl kernel.perf_event_max_sample_rate=997"), "{message}");
    }

    /// Nobody asked for the default, so it gives way; what was asked for does so only once sampling has begun.
    #[test]
    fn only_the_default_frequency_gives_way_at_the_start() {
        let (default, asked) = (Frequency::default(), Frequency::within(97, 100).unwrap());
        assert_eq!(default.at_start(50).unwrap(), 50);
        assert_eq!(default.at_start(100_000).unwrap(), DEFAULT_HZ);
        assert!(matches!(asked.at_start(50), Err(SamplerError::FrequencyLimit { hz: 97, limit: 50 })));
        assert_eq!((asked.at_start(97).unwrap(), asked.under(50), asked.under(0)), (97, 50, 1));
    }

    /// A path can be written below the mount or whole, with detours; what lies elsewhere is no cgroup.
    #[test]
    fn a_cgroup_has_its_level_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        let id = fs::metadata(root.join("a/b")).unwrap().ino();
        let whole = root.join("a/b");
        for path in [Path::new("/a/b"), Path::new("a/b/"), Path::new("/a/../a/./b"), &whole] {
            assert_eq!(
                Cgroup::find_below(&root, path).unwrap(),
                Cgroup { id, level: 2, directory: whole.clone() },
                "{}",
                path.display()
            );
        }
        assert_eq!(Cgroup::find_below(&root, Path::new("/")).unwrap().level, 0);
        for path in ["/missing", "/..", "/../../tmp"] {
            assert!(
                matches!(Cgroup::find_below(&root, Path::new(path)), Err(SamplerError::NoSuchCgroup { .. })),
                "{path}"
            );
        }
    }

    /// Hybrid hosts mount version 2 somewhere below version 1.
    #[test]
    fn the_cgroup_v2_mount_is_found_among_version_1_mounts() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
                      32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        assert_eq!(cgroup2_mount(mounts).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount("30 25 0:26 / / rw - ext4 /dev/vda rw\n"), None);
    }
}
