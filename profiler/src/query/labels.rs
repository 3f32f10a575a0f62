//! Labels: what a selector can name, and the values they take in a range.

use std::borrow::Cow;
use std::collections::HashMap;

use super::merge::Sieve;
use super::{QueryError, Selector};
use crate::profile::TimeRange;
use crate::store::{ProcessRow, Reader, StoreError, decode};

/// Labels a selector can name, in the order shown to people.
pub const LABELS: [&str; 7] = ["comm", "pid", "exe", "thread", "cgroup", "container", "unit"];

/// One of [`LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Comm,
    Pid,
    Exe,
    Thread,
    Cgroup,
    Container,
    Unit,
}

impl Label {
    /// The label called `name`.
    pub(super) fn parse(name: &str) -> Result<Self, QueryError> {
        let all = [Self::Comm, Self::Pid, Self::Exe, Self::Thread, Self::Cgroup, Self::Container, Self::Unit];
        let at = LABELS.iter().position(|label| *label == name);
        at.map(|at| all[at]).ok_or_else(|| QueryError::UnknownLabel(name.chars().take(64).collect()))
    }

    /// Its value for a process, empty when it has none; `None` for `thread`, which is not the process's.
    pub(super) fn of(self, process: &ProcessRow) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Comm => &process.comm,
            Self::Pid => return Some(Cow::Owned(process.pid.to_string())),
            Self::Exe => &process.exe,
            Self::Thread => return None,
            Self::Cgroup => &process.cgroup,
            Self::Container => &process.container,
            Self::Unit => &process.unit,
        }))
    }
}

/// Values of a label in a range with their samples, by falling samples, then value; the empty value is "has none".
///
/// # Errors
/// [`QueryError::UnknownLabel`], [`QueryError::Store`].
pub fn label_values(
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
    label: &str,
) -> Result<Vec<(String, u64)>, QueryError> {
    let label = Label::parse(label)?;
    let snapshot = reader.snapshot()?;
    let mut sieve = Sieve::new(selector);
    let mut processes = HashMap::<i64, u64>::new();
    let mut threads = HashMap::new();
    snapshot.shares(range, |share| -> Result<(), StoreError> {
        if sieve.process(&snapshot, share.process)?.is_none() {
            return Ok(());
        }
        if label != Label::Thread && !sieve.names_thread() {
            add(processes.entry(share.process).or_default(), share.samples);
            return Ok(());
        }
        for entry in decode(share.stacks) {
            let entry = entry.map_err(|bad| StoreError::BadRow(bad.0))?;
            if sieve.thread(&snapshot, entry.thread)? {
                add(processes.entry(share.process).or_default(), entry.count);
                add(threads.entry(entry.thread).or_default(), entry.count);
            }
        }
        Ok(())
    })?;
    let mut values = HashMap::<String, u64>::new();
    if label == Label::Thread {
        for (thread, samples) in threads {
            add(values.entry(snapshot.thread(thread)?).or_default(), samples);
        }
    } else {
        for (process, samples) in processes {
            let row = sieve.process(&snapshot, process)?;
            let value = row.and_then(|row| label.of(row)).unwrap_or_default();
            add(values.entry(value.into_owned()).or_default(), samples);
        }
    }
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    Ok(values)
}

fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::WallNanos;
    use crate::query::parse_selector;
    use crate::store::Store;
    use crate::store::drawing::window;

    /// Values come by falling samples; whatever the label, they add up to the samples that pass.
    #[test]
    fn values_are_sorted_and_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        store.write_window(&window(0, "web/7  main x2\nweb/8~io  main x2\ndb/9~io  main x3")).unwrap();
        store.write_window(&window(1, "web/7  main x1")).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let mut ask = |label: &str, selector: &str| {
            let all = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
            let values = label_values(&mut reader, all, &parse_selector(selector).unwrap(), label);
            values.map(|values| values.iter().map(|(value, n)| format!("{value} {n}")).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(ask("comm", "").unwrap(), "web 5, db 3");
        assert_eq!(ask("pid", "").unwrap(), "7 3, 9 3, 8 2");
        assert_eq!(ask("thread", "").unwrap(), "io 5, main 3");
        assert_eq!(ask("thread", r#"comm="web""#).unwrap(), "main 3, io 2");
        assert_eq!(ask("comm", r#"thread="io""#).unwrap(), "db 3, web 2");
        assert_eq!(ask("unit", "pid!=7").unwrap(), "db.service 3, web.service 2");
        assert!(matches!(ask("host", ""), Err(QueryError::UnknownLabel(_))));
        assert!(LABELS.iter().all(|label| ask(label, "").is_ok()));
    }
}
