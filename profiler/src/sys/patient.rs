//! Doing what may never end (looking up a path on a dead network file system, or one in user space whose server does not answer) on
//! another thread, and waiting only so long.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Threads that may hang at a time. With all of them hanging, nothing is tried.
const MAX_THREADS: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// One thread at work, as many as hang.
#[derive(Debug)]
pub struct Patient {
    patience: Duration,
    name: &'static str,
    helper: Option<SyncSender<Job>>,
    /// Its count is one more than there are threads.
    threads: Arc<()>,
}

impl Patient {
    /// Waits so long for each thing. Starts nothing yet.
    #[must_use]
    pub fn new(name: &'static str, patience: Duration) -> Self {
        Self { patience, name, helper: None, threads: Arc::new(()) }
    }

    /// Does it, elsewhere.
    ///
    /// # Errors
    /// `TimedOut` when it takes too long: it then goes on, and what comes of it is dropped. `WouldBlock` when too much hangs already;
    /// what starting a thread says.
    pub fn run<T: Send + 'static>(&mut self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (answer, answered) = sync_channel(1);
        let job: Job = Box::new(move || drop(answer.send(job())));
        let helper = match self.helper.take() {
            Some(helper) => helper,
            None => self.start()?,
        };
        // Fails only when the thread is gone, which its answer tells as well.
        let _ = helper.send(job);
        match answered.recv_timeout(self.patience) {
            Ok(result) => {
                self.helper = Some(helper);
                Ok(result)
            }
            // Without a sender it ends after what it hangs on.
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn start(&self) -> io::Result<SyncSender<Job>> {
        if Arc::strong_count(&self.threads) > MAX_THREADS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (sender, jobs) = sync_channel::<Job>(1);
        let alive = Arc::clone(&self.threads);
        std::thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            jobs.into_iter().for_each(|job| job());
            drop(alive);
        })?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// What ends in time has its answer, all from one thread.
    #[test]
    fn what_ends_is_answered_by_one_thread() {
        let mut patient = Patient::new("test", Duration::from_secs(20));
        let threads: Vec<_> = (0..100).map(|_| patient.run(|| std::thread::current().id()).unwrap()).collect();
        assert!(threads.iter().all(|thread| *thread == threads[0]));
    }

    /// What hangs costs its patience, and no more than so many threads; when it goes on at last, there is room again.
    #[test]
    fn what_hangs_is_left_alone() {
        let mut patient = Patient::new("test", PATIENCE);
        let begin = Instant::now();
        let (release, releases): (Vec<_>, Vec<_>) = (0..MAX_THREADS).map(|_| channel::<()>()).unzip();
        for hang in releases {
            let error = patient.run(move || hang.recv().is_ok()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(patient.run(|| ()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= PATIENCE * MAX_THREADS as u32);
        drop(release);
        while patient.run(|| ()).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the threads never ended");
            std::thread::yield_now();
        }
    }

    /// A panic on the other thread is an error here.
    #[test]
    fn a_panic_is_an_error() {
        let mut patient = Patient::new("test", Duration::from_secs(20));
        assert!(patient.run(|| panic!("as it should")).is_err());
        assert_eq!(patient.run(|| 7).unwrap(), 7);
    }
}
