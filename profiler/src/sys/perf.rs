//! Perf events that aya does not wrap: two dummy software events per CPU whose common mapped ring carries the kernel's side-band
//! records (mmap2, comm, fork, exit), stamped by the boot clock.
//!
//! A mapping's record has a file's build id or its inode, never both: so the second event asks for the same mappings
//! without build ids, into the ring of the first (`PERF_EVENT_IOC_SET_OUTPUT`). Each record ends in the id of its event.
//!
//! Source: perf_event_open(2), "MMAP layout". The kernel writes records and moves `data_head`; we read up to it and move
//! `data_tail`. Bytes between tail and head are ours until then.

#![expect(unsafe_code, reason = "perf_event_open, mmap and the shared ring have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_CPU, PERF_SAMPLE_IDENTIFIER, PERF_SAMPLE_TID,
    PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr, perf_event_mmap_page,
};
use perf_event_open_sys::ioctls;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Pages of one ring, without the control page: 512 KiB, room for about 1,500 mappings of two records between two polls.
const RING_PAGES: usize = 128;

/// One CPU's side-band events.
#[derive(Debug)]
pub struct SideBandRing {
    /// Keeps the events alive; others of the CPU may send their records to the first.
    events: [OwnedFd; 2],
    /// The kernel's id of the event whose mappings have inodes.
    by_inode: u64,
    base: NonNull<u8>,
    page: usize,
    /// Reused between records.
    record: Vec<u8>,
}

// SAFETY: the mapping belongs to this value alone; reading it needs `&mut self`.
unsafe impl Send for SideBandRing {}

/// One record as the kernel wrote it.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// `PERF_RECORD_*`.
    pub kind: u32,
    /// Flags of the record.
    pub misc: u16,
    /// It comes from the event whose mappings have inodes. The flag for a build id is not to be believed of it: the kernel (6.18) leaves it
    /// as it was for the event before.
    pub by_inode: bool,
    /// What follows the header, with the sample id trailer (pid, tid, time, cpu, id of the event).
    pub body: &'a [u8],
}

impl SideBandRing {
    /// Starts listening on `cpu`.
    ///
    /// # Errors
    /// `EACCES`/`EPERM` without `CAP_PERFMON`, `ENODEV` when the CPU is offline, `EINVAL` on kernels before 5.12 (build ids).
    pub fn open(cpu: u32) -> io::Result<Self> {
        let by_build_id = open_event(cpu, |attr| {
            attr.set_build_id(1);
            attr.set_comm(1);
            attr.set_comm_exec(1);
            attr.set_task(1);
        })?;
        let by_inode = open_event(cpu, |_| {})?;
        let (fd, mut id) = (by_inode.as_raw_fd(), 0_u64);
        // SAFETY: our own descriptor; the kernel writes eight bytes to `id`.
        if unsafe { ioctls::ID(fd, &raw mut id) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let page = rustix::param::page_size();
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                (1 + RING_PAGES) * page,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                by_build_id.as_fd(),
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let output = by_build_id.as_raw_fd();
        let ring = Self { events: [by_build_id, by_inode], by_inode: id, base, page, record: Vec::new() };
        // SAFETY: both descriptors are ours and open.
        if unsafe { ioctls::SET_OUTPUT(fd, output) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ring)
    }

    /// Hands every record that has come to `each`, oldest first.
    pub fn drain(&mut self, mut each: impl FnMut(RawRecord<'_>)) {
        let size = (RING_PAGES * self.page) as u64;
        let control = self.base.cast::<perf_event_mmap_page>().as_ptr();
        // SAFETY: both words lie in the mapped control page, aligned, shared with the kernel and accessed atomically.
        let (head, tail) = unsafe {
            (AtomicU64::from_ptr(&raw mut (*control).data_head), AtomicU64::from_ptr(&raw mut (*control).data_tail))
        };
        // Pairs with the kernel's write barrier: records up to `end` are complete.
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        while end.wrapping_sub(at) >= 8 {
            let mut header = [0; 8];
            self.copy(at, &mut header, size);
            let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let misc = u16::from_ne_bytes([header[4], header[5]]);
            let len = u64::from(u16::from_ne_bytes([header[6], header[7]]));
            if len < 8 || len > end.wrapping_sub(at) {
                // Cannot happen with a sane kernel; skip what there is rather than loop.
                at = end;
                break;
            }
            let mut record = std::mem::take(&mut self.record);
            record.resize(len as usize - 8, 0);
            self.copy(at + 8, &mut record, size);
            let by_inode = record.last_chunk() == Some(&self.by_inode.to_ne_bytes());
            each(RawRecord { kind, misc, by_inode, body: &record });
            self.record = record;
            at += len;
        }
        // Pairs with the kernel's read of the tail: it may write there from now on.
        tail.store(at, Ordering::Release);
    }

    /// Copies from ring position `at`, around the end if need be.
    fn copy(&self, at: u64, into: &mut [u8], size: u64) {
        let start = (at % size) as usize;
        let first = into.len().min(size as usize - start);
        // SAFETY: `start + first` and the rest lie inside the mapped ring, which follows the control page; the kernel does
        // not write between tail and head.
        unsafe {
            let ring = self.base.as_ptr().add(self.page);
            std::ptr::copy_nonoverlapping(ring.add(start), into.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(ring, into.as_mut_ptr().add(first), into.len() - first);
        }
    }
}

impl AsFd for SideBandRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events[0].as_fd()
    }
}

/// Opens a dummy event that tells of executable mappings, and of what else `ask` says.
fn open_event(cpu: u32, ask: impl FnOnce(&mut perf_event_attr)) -> io::Result<OwnedFd> {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(PERF_COUNT_SW_DUMMY),
        sample_type: u64::from(PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_IDENTIFIER),
        clockid: libc::CLOCK_BOOTTIME,
        ..Default::default()
    };
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_sample_id_all(1);
    attr.set_use_clockid(1);
    attr.set_exclude_kernel(1);
    // No wake-ups: the reader polls.
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = u32::MAX;
    ask(&mut attr);
    // SAFETY: `attr` is a complete structure that outlives the call; the descriptor returned is ours.
    unsafe {
        let flags = u64::from(PERF_FLAG_FD_CLOEXEC) as _;
        let fd = perf_event_open_sys::perf_event_open(&raw mut attr, -1, cpu as i32, -1, flags);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

impl Drop for SideBandRing {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `open`, unmapped once.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), (1 + RING_PAGES) * self.page) };
    }
}

/// Highest sampling frequency that the kernel allows now (`kernel.perf_event_max_sample_rate`).
///
/// # Errors
/// The file cannot be read (no perf events in this kernel).
pub fn max_sample_rate() -> io::Result<u32> {
    let mut text = String::new();
    io::Read::read_to_string(&mut File::open("/proc/sys/kernel/perf_event_max_sample_rate")?, &mut text)?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
