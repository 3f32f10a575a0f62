//! The perf event that makes samples on one CPU, opened here and not by aya so that it can be read:
//! how long it ran, which `THROTTLE` records the kernel wrote for it, and how often its timer fired.
//!
//! The kernel has no count of overflows. A second software clock in the same group, without a
//! program, has one all the same: its ring is paused, so that every overflow adds one to
//! `PERF_FORMAT_LOST` (Linux 6.0) and writes nothing. Both timers start in one interrupt with one
//! period, so both fire in one interrupt, the sampling one first.
//!
//! Other events than the clock run the same program, which tells them apart by the cookie that a link
//! (`BPF_LINK_CREATE`, Linux 5.15) gives them.

#![expect(unsafe_code, reason = "perf_event_open, its ioctls and mmap have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;

use perf_event_open_sys::bindings::{
    PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_PAGE_FAULTS,
    PERF_COUNT_SW_PAGE_FAULTS_MAJ, PERF_COUNT_SW_PAGE_FAULTS_MIN, PERF_FLAG_FD_CLOEXEC, PERF_FORMAT_LOST,
    PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING, PERF_IOC_FLAG_GROUP, PERF_SAMPLE_CPU,
    PERF_SAMPLE_IDENTIFIER, PERF_SAMPLE_TID, PERF_SAMPLE_TIME, PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, perf_event_attr,
};
use perf_event_open_sys::ioctls;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The event counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The software clock.
    CpuClock,
    /// The hardware's cycles.
    Cycles,
    /// Page faults of all kinds.
    PageFaults,
    /// Page faults that needed no input.
    MinorFaults,
    /// Page faults that waited for a disk.
    MajorFaults,
    /// A thread left a CPU.
    ContextSwitches,
}

/// How often an event makes a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// So many times a second.
    Hertz(u32),
    /// Each time that it was counted so often.
    Count(u64),
}

/// What the kernel says of an event since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTimes {
    /// Nanoseconds for which it was to run.
    pub enabled: u64,
    /// Nanoseconds for which it ran.
    pub running: u64,
    /// How often its timer fired; `None` when it cannot be had (before Linux 6.0, cycles).
    pub fired: Option<u64>,
}

/// One CPU's sampling event.
#[derive(Debug)]
pub struct SamplingEvent {
    event: OwnedFd,
    firings: Option<FiringCount>,
    /// What holds the program to the event, where a link does.
    link: Option<OwnedFd>,
}

impl SamplingEvent {
    /// Opens the event on `cpu`, stopped. Its `THROTTLE` records go to `ring`, which must be that
    /// CPU's side-band event.
    ///
    /// # Errors
    /// `EINVAL` above the kernel's limit on the frequency, `ENODEV` when the CPU is offline,
    /// `EACCES`/`EPERM` without `CAP_PERFMON`.
    pub fn open(counted: Counted, every: Every, cpu: u32, ring: BorrowedFd<'_>) -> io::Result<Self> {
        let mut attr = attr(counted, every);
        attr.set_disabled(1);
        attr.read_format = u64::from(PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING);
        let event = open(&mut attr, cpu, -1)?;
        // SAFETY: both descriptors are open; the kernel refuses what does not fit together.
        checked(unsafe { ioctls::SET_OUTPUT(event.as_raw_fd(), ring.as_raw_fd()) })?;
        // Without it sampling works as well, and the causes of missed ticks are fewer.
        let firings = (counted == Counted::CpuClock).then(|| FiringCount::open(every, cpu, event.as_raw_fd()).ok());
        Ok(Self { event, firings: firings.flatten(), link: None })
    }

    /// Has the program run at every overflow from now on, and starts the event. The program sees `number` as the event's cookie; 0 needs
    /// no kernel that has them.
    ///
    /// # Errors
    /// The kernel refuses the program; `EINVAL` for a number before Linux 5.15.
    pub fn start(&mut self, program: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        let fd = self.event.as_raw_fd();
        if number == 0 {
            // SAFETY: both descriptors are open.
            checked(unsafe { ioctls::SET_BPF(fd, program.as_raw_fd().cast_unsigned()) })?;
        } else {
            self.link = Some(link(program, self.event.as_fd(), number.into())?);
        }
        // The whole group at once: its timers start in one interrupt.
        // SAFETY: the descriptor is open.
        checked(unsafe { ioctls::ENABLE(fd, PERF_IOC_FLAG_GROUP) })
    }

    /// Stops the event; it can still be read.
    ///
    /// # Errors
    /// Never seen.
    pub fn stop(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        checked(unsafe { ioctls::DISABLE(self.event.as_raw_fd(), PERF_IOC_FLAG_GROUP) })
    }

    /// What the kernel says of it now.
    ///
    /// # Errors
    /// The descriptor cannot be read: never seen.
    pub fn times(&self) -> io::Result<EventTimes> {
        // Firings first: whatever is read later can only have seen more.
        let fired = self.firings.as_ref().map(FiringCount::read).transpose()?;
        let [_, enabled, running] = read(self.event.as_fd())?;
        Ok(EventTimes { enabled, running, fired })
    }
}

/// A software clock that only counts how often it fires.
#[derive(Debug)]
struct FiringCount {
    event: OwnedFd,
    ring: NonNull<u8>,
}

// SAFETY: the mapping is never read or written, only unmapped by its one owner.
unsafe impl Send for FiringCount {}

impl FiringCount {
    /// The control page and the least ring: none at all would not be counted.
    fn bytes() -> usize {
        2 * rustix::param::page_size()
    }

    fn open(every: Every, cpu: u32, leader: RawFd) -> io::Result<Self> {
        let mut attr = attr(Counted::CpuClock, every);
        attr.read_format = u64::from(PERF_FORMAT_LOST);
        let event = open(&mut attr, cpu, leader)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let ring = unsafe {
            mmap(
                std::ptr::null_mut(),
                Self::bytes(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                event.as_fd(),
                0,
            )?
        };
        let ring = NonNull::new(ring.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let count = Self { event, ring };
        // SAFETY: the descriptor is open.
        checked(unsafe { ioctls::PAUSE_OUTPUT(count.event.as_raw_fd(), 1) })?;
        Ok(count)
    }

    fn read(&self) -> io::Result<u64> {
        let [_, lost] = read(self.event.as_fd())?;
        Ok(lost)
    }
}

impl Drop for FiringCount {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `open`, unmapped once.
        let _ = unsafe { munmap(self.ring.as_ptr().cast(), Self::bytes()) };
    }
}

fn attr(counted: Counted, every: Every) -> perf_event_attr {
    let (type_, config) = match counted {
        Counted::CpuClock => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK),
        Counted::Cycles => (PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES),
        Counted::PageFaults => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS),
        Counted::MinorFaults => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MIN),
        Counted::MajorFaults => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS_MAJ),
        Counted::ContextSwitches => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES),
    };
    let mut attr = perf_event_attr {
        type_,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(config),
        // As the side-band ring's records: they end in the same fields, by the same clock.
        sample_type: u64::from(PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_IDENTIFIER),
        clockid: libc::CLOCK_BOOTTIME,
        ..Default::default()
    };
    match every {
        Every::Hertz(hz) => {
            attr.set_freq(1);
            attr.__bindgen_anon_1.sample_freq = u64::from(hz);
        }
        Every::Count(period) => attr.__bindgen_anon_1.sample_period = period,
    }
    attr.set_sample_id_all(1);
    attr.set_use_clockid(1);
    // No wake-ups: everything here is polled.
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = u32::MAX;
    attr
}

fn open(attr: &mut perf_event_attr, cpu: u32, leader: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is a complete structure that outlives the call; the descriptor returned is ours.
    unsafe {
        let flags = u64::from(PERF_FLAG_FD_CLOEXEC) as _;
        let fd = perf_event_open_sys::perf_event_open(attr, -1, cpu.cast_signed(), leader, flags);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Has `program` run at each overflow of `event`, which it sees by its cookie, as long as the link returned is open.
fn link(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> io::Result<OwnedFd> {
    /// `enum bpf_cmd` and `enum bpf_attach_type` of `linux/bpf.h`.
    const BPF_LINK_CREATE: libc::c_int = 28;
    const BPF_PERF_EVENT: u32 = 41;
    /// The part of `union bpf_attr` that the command reads.
    #[repr(C)]
    struct LinkCreate {
        program: i32,
        target: i32,
        attach_type: u32,
        flags: u32,
        cookie: u64,
    }
    let (program, target) = (program.as_raw_fd(), event.as_raw_fd());
    let attr = LinkCreate { program, target, attach_type: BPF_PERF_EVENT, flags: 0, cookie };
    // SAFETY: the structure outlives the call, which reads as many bytes as it is told; the descriptor returned is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkCreate>());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The words of a counter, as its `read_format` lays them out.
fn read<const N: usize>(event: BorrowedFd<'_>) -> io::Result<[u64; N]> {
    let mut words = [[0_u8; 8]; N];
    let read = rustix::io::read(event, words.as_flattened_mut())?;
    if read != 8 * N {
        // The kernel reads nothing of an event that could not be scheduled at all.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(words.map(u64::from_ne_bytes))
}
