//! Unwind rows of a file, compiled in a child: the parent's side.
//!
//! What rows are is the unwinder's; here they are bytes. The parent makes the memfd that they go into, at a fixed size that the
//! child cannot change, and reads it by copying: nothing that the child still writes can reach us later.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Instant;

use super::child::WorkerCommand;
use super::lane::{FileContent, Lane, LaneError};
use super::memfd::fixed_memfd;
use super::wire::{Kind, Reply};

/// Most bytes of rows of one file. Chromium's 230 MB have 1.5 million rows.
const MAX_ROWS: u64 = 64 << 20;

/// Why a file has no rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// Its compiler says why, in a code of its own.
    #[error("the file has no unwind rows (code {0})")]
    Refused(u8),
    /// Two children crashed on it, or it does not answer: it is tried again later (`set_aside.rs`).
    #[error("the file is set aside")]
    SetAside,
    /// Something else ended the children: worth another try, after other files.
    #[error("the child that parses files was interrupted")]
    Interrupted,
    /// No memory to be had: worth another try.
    #[error("failed to compile unwind rows")]
    Io(#[from] io::Error),
}

/// Compiles unwind rows in a child of its own, beside the one that names.
#[derive(Debug)]
pub struct RowsWorker {
    lane: Lane,
}

impl RowsWorker {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(command: WorkerCommand) -> Self {
        Self { lane: Lane::new(command) }
    }

    /// The rows of a file of this user (what its file system says, where that is not known), as its compiler wrote them. Blocks until they are there, a child is to blame, or something else ended two
    /// children; after more of those in a row, it waits before it starts another, for 15 s at most. To be called on a thread that has the
    /// time.
    ///
    /// # Errors
    /// See [`RowsError`].
    pub fn unwind_rows(&mut self, file: &File, user: Option<u32>) -> Result<Vec<u8>, RowsError> {
        let content = FileContent::of(file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.owned_by(user);
        if let Some(at) = self.lane.not_before() {
            thread::sleep(at.saturating_duration_since(Instant::now()));
        }
        while self.lane.distrust(&content).is_none() {
            let rows = fixed_memfd(MAX_ROWS)?;
            match self.lane.ask(Kind::UnwindRows, Some(&content), &[file.as_fd(), rows.as_fd()], &[], None) {
                Ok(Reply::Written(len)) => return Ok(read(&rows, len)?),
                Ok(Reply::Refused(code)) => return Err(RowsError::Refused(code)),
                // `WorkerChild::ask` lets no other reply through.
                Ok(_) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                // At once again: two faults set it aside.
                Err(LaneError::Failed(_)) => {}
                Err(_) if self.lane.is_ready() => {}
                Err(_) => return Err(RowsError::Interrupted),
            }
        }
        Err(RowsError::SetAside)
    }

    /// Lets an idle child go, and its memory with it.
    pub fn let_go(&mut self) {
        self.lane.let_go();
    }
}

fn read(rows: &File, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|len| *len as u64 <= MAX_ROWS);
    let mut bytes = vec![0; len.ok_or(io::ErrorKind::InvalidData)?];
    rows.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::super::worker::tests::obedient_child;
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn ask(worker: &mut RowsWorker, bytes: &[u8]) -> Result<Vec<u8>, RowsError> {
        worker.unwind_rows(&file_of(bytes), None)
    }

    /// The compiler of the tests copies the file: what comes back is what it wrote, from one child after the other.
    #[test]
    fn rows_come_back_as_they_were_written() {
        let mut worker = RowsWorker::new(obedient_child());
        let long: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        for content in [&b"rows"[..], &long, b"r"] {
            assert_eq!(ask(&mut worker, content).unwrap(), content);
        }
        worker.let_go();
        assert_eq!(ask(&mut worker, b"again").unwrap(), b"again");
    }

    /// A refusal keeps its code; a file that kills two children, or hangs one, is not tried again soon, and the next one is compiled.
    #[test]
    fn a_file_that_harms_its_child_is_set_aside() {
        let command = WorkerCommand { patience: Duration::from_millis(500), ..obedient_child() };
        let mut worker = RowsWorker::new(command);
        assert!(matches!(ask(&mut worker, b"REFUS"), Err(RowsError::Refused(77))));
        let bad = file_of(b"ABORT");
        for _ in 0..2 {
            assert!(matches!(worker.unwind_rows(&bad, None), Err(RowsError::SetAside)));
        }
        let hang = file_of(b"HANG!");
        for _ in 0..10 {
            assert!(matches!(worker.unwind_rows(&hang, None), Err(RowsError::SetAside)));
        }
        assert_eq!(worker.lane.files(), (1, 1), "one set aside, one postponed");
        assert_eq!(ask(&mut worker, b"fine").unwrap(), b"fine");
    }
}
