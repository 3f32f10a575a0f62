//! What a range holds, row by row: who, how much, which stack. For people's SQL and for slices; trees are quicker made elsewhere.

use std::sync::Arc;

use super::sieve::Sieve;
use super::{QueryError, Selector};
use crate::profile::{FrameKind, StackEnd, TimeRange};
use crate::store::{Reader, RowMap, Snapshot, StackId};

/// Labels of a process, as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Row of the process.
    pub id: u32,
    /// Host pid.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: Arc<str>,
    /// Path of its executable, or nothing.
    pub exe: Arc<str>,
    /// Control group.
    pub cgroup: Arc<str>,
    /// Container id, or nothing.
    pub container: Arc<str>,
    /// systemd unit, or nothing.
    pub unit: Arc<str>,
}

/// Samples of one thread name of one process with one stack, in one piece of time.
#[derive(Clone, Debug)]
pub struct Row {
    /// Wall clock at the start of the piece, in nanoseconds.
    pub start: i64,
    /// How much time the piece stands for, in nanoseconds.
    pub span: i64,
    /// Samples per second and CPU.
    pub hz: u32,
    /// Whose.
    pub holder: Arc<Holder>,
    /// Name of the thread.
    pub thread: Arc<str>,
    /// How the walk of the user stack ended.
    pub end: StackEnd,
    /// Which stack, for [`Frames::of`]: good for this database only.
    pub stack: StackId,
    /// Samples.
    pub samples: u64,
}

/// A frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFrame {
    /// Function, or what stands for it.
    pub function: Arc<str>,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Line, 0 when not known.
    pub line: u32,
    /// Path of the binary.
    pub binary: Option<Arc<str>>,
    /// What it is.
    pub kind: FrameKind,
}

/// Gives the frames of stacks.
pub struct Frames<'a, 'b>(&'a mut Snapshot<'b>);

impl Frames<'_, '_> {
    /// The frames of a stack, innermost first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub fn of(&mut self, stack: StackId) -> Result<Vec<RowFrame>, QueryError> {
        let mut frames = Vec::new();
        for location in self.0.locations(stack)? {
            let placed: Vec<_> = self.0.frames_at(location)?.collect();
            frames.extend(placed.into_iter().map(|placed| {
                let frame = self.0.frame(placed.frame);
                RowFrame {
                    function: Arc::clone(&frame.name),
                    file: frame.file.clone(),
                    line: placed.line,
                    binary: frame.binary.clone(),
                    kind: frame.kind,
                }
            }));
        }
        frames.reverse();
        Ok(frames)
    }
}

/// Walks the rows of a range, in the fewest pieces of at most `longest` nanoseconds (where there is something finer).
///
/// # Errors
/// Those of the database and of `each`.
pub fn rows<E: From<QueryError>>(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    longest: i64,
    mut each: impl FnMut(&mut Frames<'_, '_>, &Row) -> Result<(), E>,
) -> Result<(), E> {
    let lift = |error: crate::store::StoreError| E::from(QueryError::from(error));
    let mut snapshot = reader.snapshot().map_err(lift)?;
    let mut sieve = Sieve::new(selector);
    let mut holders = RowMap::<u32, Arc<Holder>>::default();
    for piece in snapshot.pieces(range, longest).map_err(lift)? {
        let stacks = snapshot.stacks(&piece).map_err(lift)?;
        let mut passing = Vec::with_capacity(stacks.groups().len());
        for group in stacks.groups() {
            passing.push(sieve.passes(&mut snapshot, group).map_err(lift)?);
        }
        let mut found = Vec::new();
        stacks.each(|at, _| passing[at], |at, stack, samples| found.push((at, stack, samples))).map_err(lift)?;
        for (at, stack, samples) in found {
            let key = stacks.groups()[at].key;
            let known = holders.get(&key.process).cloned();
            let holder = match known {
                Some(known) => known,
                None => {
                    let holder = Arc::new(holder(&mut snapshot, key.process).map_err(lift)?);
                    holders.insert(key.process, Arc::clone(&holder));
                    holder
                }
            };
            let thread = snapshot.text(key.thread).map_err(lift)?;
            let (start, span, hz) = (piece.start, piece.span, piece.series.hz);
            each(&mut Frames(&mut snapshot), &Row { start, span, hz, holder, thread, end: key.end, stack, samples })?;
        }
    }
    Ok(())
}

pub(super) fn holder(snapshot: &mut Snapshot<'_>, id: u32) -> Result<Holder, crate::store::StoreError> {
    let row = snapshot.process(id)?;
    Ok(Holder {
        id,
        pid: row.pid,
        comm: snapshot.text(row.comm)?,
        exe: snapshot.text(row.exe)?,
        cgroup: snapshot.text(row.cgroup)?,
        container: snapshot.text(row.container)?,
        unit: snapshot.text(row.unit)?,
    })
}
