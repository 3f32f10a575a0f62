//! Unwind rows of a file, compiled in a child: the parent's side.
//!
//! What rows are is the unwinder's; here they are bytes. The parent makes the memfd that they go into, at a fixed size that the
//! child cannot change, and reads it by copying: nothing that the child still writes can reach us later.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::child::WorkerCommand;
use super::lane::{FileContent, Lane, LaneError, Trust};
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
    /// It crashed or hung a child, now or before: it is not tried again.
    #[error("the file is set aside: a child crashed or hung on it")]
    SetAside,
    /// No child or no memory to be had: worth another try.
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

    /// The rows of a file, as its compiler wrote them. Blocks until they are there or `patience` is over; to be called on a
    /// thread that has the time.
    ///
    /// # Errors
    /// See [`RowsError`].
    pub fn unwind_rows(&mut self, file: &File, patience: Duration) -> Result<Vec<u8>, RowsError> {
        let content = FileContent::of(file).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if self.lane.distrust(&content).is_some() {
            return Err(RowsError::SetAside);
        }
        let rows = fixed_memfd(MAX_ROWS)?;
        match self.lane.ask(Kind::UnwindRows, Some(&content), &[file.as_fd(), rows.as_fd()], &[], patience) {
            Ok(Reply::Written(len)) => Ok(read(&rows, len)?),
            Ok(Reply::Refused(code)) => Err(RowsError::Refused(code)),
            // `WorkerChild::ask` lets no other reply through.
            Ok(_) => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
            Err(LaneError::NoChild(error)) => Err(error.into()),
            Err(LaneError::Failed(error)) => {
                tracing::warn!(%error, "a child failed on the unwind tables of a file, which is set aside");
                self.lane.blame(content, Trust::Nothing);
                Err(RowsError::SetAside)
            }
        }
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

    use std::io::Write;
    use std::time::Instant;

    use super::super::worker::tests::obedient_child;
    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn ask(worker: &mut RowsWorker, bytes: &[u8]) -> Result<Vec<u8>, RowsError> {
        worker.unwind_rows(&file_of(bytes), Duration::from_secs(20))
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

    /// A refusal keeps its code; a file that kills or hangs its child is never tried again, and the next one is compiled.
    #[test]
    fn a_file_that_harms_its_child_is_set_aside() {
        let mut worker = RowsWorker::new(obedient_child());
        assert!(matches!(ask(&mut worker, b"REFUS"), Err(RowsError::Refused(77))));
        let bad = file_of(b"ABORT");
        for _ in 0..2 {
            assert!(matches!(worker.unwind_rows(&bad, Duration::from_secs(20)), Err(RowsError::SetAside)));
        }
        let hang = file_of(b"HANG!");
        let begin = Instant::now();
        for _ in 0..10 {
            assert!(matches!(worker.unwind_rows(&hang, Duration::from_millis(500)), Err(RowsError::SetAside)));
        }
        assert!(begin.elapsed() < Duration::from_secs(4), "tried once only");
        assert_eq!(ask(&mut worker, b"fine").unwrap(), b"fine");
    }
}
