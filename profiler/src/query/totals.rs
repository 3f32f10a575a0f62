//! Sums over the whole database.

use super::QueryError;
use crate::profile::{Losses, StackEnd, TimeRange};
use crate::store::Reader;

/// What the whole database holds: windows that retention deleted are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Samples taken.
    pub taken: u64,
    /// Samples stored.
    pub stored: u64,
    /// Samples lost.
    pub losses: Losses,
    /// Stored samples by how their user walk ended.
    pub stacks: Vec<(StackEnd, u64)>,
    /// Windows.
    pub windows: u64,
    /// Start of the oldest and end of the newest window.
    pub span: Option<TimeRange>,
}

/// Totals of the whole database. Kept by the writer, so this is cheap at any size.
///
/// # Errors
/// [`QueryError::Store`].
pub fn totals(reader: &mut Reader) -> Result<Totals, QueryError> {
    let (sums, span) = reader.snapshot()?.sums()?;
    Ok(Totals {
        taken: sums.taken,
        stored: sums.stored,
        losses: sums.losses,
        stacks: sums.endings,
        windows: sums.windows,
        span,
    })
}

/// The boot that the newest window was recorded in; `None` without windows.
///
/// # Errors
/// [`QueryError::Store`].
pub fn newest_boot(reader: &mut Reader) -> Result<Option<String>, QueryError> {
    Ok(reader.snapshot()?.newest_boot()?)
}
