//! Being woken by the ring buffer: only by records that the kernel side says are urgent.
//!
//! A ring buffer is readable as long as there is anything in it, so that a plain `poll` would return at once. Edge-triggered, epoll
//! tells of wake-ups only (`man 7 epoll`), and most records make none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

/// See above.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

impl Wake {
    /// Of this ring buffer.
    pub fn of(ring: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, ring, epoll::EventData::new_u64(0), epoll::EventFlags::IN | epoll::EventFlags::ET)?;
        Ok(Self(epoll))
    }

    /// Waits for a wake-up since the last call, for so long at most. Says whether there was one.
    pub fn wait(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut events: [epoll::Event; 1] =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match epoll::wait(&self.0, &mut events[..], timeout.as_ref()) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}
