//! SQL over samples: the tables `samples` and `frames`, made for one question from a range and a selector.
//!
//! ```text
//! samples  time seconds pid comm exe thread cgroup container unit ended function stack samples cpu_seconds
//! frames   stack depth function file line binary kind          depth 0 is the innermost
//! ```
//!
//! They are made only for a question that names them, in memory, up to [`MOST_ROWS`].

use std::collections::HashSet;

use rusqlite::params;

use super::{QueryError, Selector, rows};
use crate::profile::{FrameKind, TimeRange};
use crate::store::Reader;
use crate::store::sql::{Sql, SqlError};

/// Rows of `samples`: about a minute's work and half a gigabyte.
const MOST_ROWS: u64 = 3_000_000;

impl From<QueryError> for SqlError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Store(error) => Self::Store(error),
            other => Self::Bad(other.to_string()),
        }
    }
}

/// Makes the tables that `question` names.
///
/// # Errors
/// Those of the database; more rows than [`MOST_ROWS`].
pub fn prepare(
    sql: &Sql,
    question: &str,
    reader: &mut Reader,
    range: TimeRange,
    selector: &Selector,
) -> Result<(), SqlError> {
    let mut words = question.split(|c: char| !c.is_alphanumeric() && c != '_');
    if !words.any(|word| word.eq_ignore_ascii_case("samples") || word.eq_ignore_ascii_case("frames")) {
        return Ok(());
    }
    let conn = sql.temporary();
    let blame = |error| sql.blame(error);
    conn.execute_batch(
        "CREATE TEMP TABLE samples (time REAL, seconds REAL, pid INTEGER, comm TEXT, exe TEXT, thread TEXT, cgroup TEXT,
                                    container TEXT, unit TEXT, ended TEXT, function TEXT, stack INTEGER, samples INTEGER,
                                    cpu_seconds REAL);
         CREATE TEMP TABLE frames (stack INTEGER, depth INTEGER, function TEXT, file TEXT, line INTEGER, binary TEXT, kind TEXT,
                                   PRIMARY KEY (stack, depth)) WITHOUT ROWID;
         BEGIN",
    )
    .map_err(blame)?;
    let mut add = conn
        .prepare("INSERT INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)")
        .map_err(blame)?;
    let mut add_frame =
        conn.prepare("INSERT INTO frames VALUES (?1, ?2, ?3, ?4, nullif(?5, 0), ?6, ?7)").map_err(blame)?;
    let mut leaves = std::collections::HashMap::<u32, std::sync::Arc<str>>::new();
    let mut known = HashSet::new();
    let mut left = MOST_ROWS;
    rows::<SqlError>(reader, range, selector, i64::MAX, |frames, row| {
        left = left.checked_sub(1).ok_or_else(|| {
            SqlError::Bad(format!(
                "the range has more than {MOST_ROWS} rows of samples: name a shorter one, or a filter"
            ))
        })?;
        let stack = row.stack.0;
        if known.insert(stack) {
            let frames = frames.of(row.stack)?;
            let leaf = frames.first().map_or_else(|| "[no stack]".into(), |frame| frame.function.clone());
            leaves.insert(stack, leaf);
            for (depth, frame) in frames.iter().enumerate() {
                let (file, binary) = (frame.file.as_deref(), frame.binary.as_deref());
                add_frame
                    .execute(params![stack, depth as i64, &*frame.function, file, frame.line, binary, kind(frame.kind)])
                    .map_err(blame)?;
            }
        }
        let text = |text: &'_ std::sync::Arc<str>| (!text.is_empty()).then(|| text.to_string());
        let holder = &row.holder;
        add.execute(params![
            row.start as f64 / 1e9,
            row.span as f64 / 1e9,
            holder.pid,
            &*holder.comm,
            text(&holder.exe),
            &*row.thread,
            text(&holder.cgroup),
            text(&holder.container),
            text(&holder.unit),
            row.end.name(),
            leaves.get(&stack).map(|leaf| leaf.to_string()),
            stack,
            i64::try_from(row.samples).unwrap_or(i64::MAX),
            row.samples as f64 / f64::from(row.hz.max(1)),
        ])
        .map_err(blame)?;
        Ok(())
    })?;
    drop((add, add_frame));
    conn.execute_batch("COMMIT").map_err(blame)
}

const fn kind(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Kernel => "kernel",
        FrameKind::Inlined => "inlined",
        FrameKind::Jit => "jit",
        FrameKind::Unknown => "unknown",
        FrameKind::Root | FrameKind::Process | FrameKind::User | FrameKind::Note | FrameKind::Remainder => "user",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;
    use crate::profile::WallNanos;
    use crate::query::parse_selector;
    use crate::store::Store;
    use crate::store::drawing::{name_all, window};
    use crate::store::sql::SqlLimits;

    const ALL_TIME: TimeRange = TimeRange { from: WallNanos(0), to: WallNanos(i64::MAX) };
    const LIMITS: SqlLimits = SqlLimits { rows: 100, time: Duration::from_secs(30), memory: 1 << 30 };

    /// Self and total of functions come out of the two tables, for a range and a selector, packed windows included.
    #[test]
    fn samples_and_frames_answer_for_functions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (mut store, _) = Store::open(&path).unwrap();
        for n in 0..40 {
            let unnamed =
                store.write_window(&window(n, "web/7  main;serve x5\nweb/8~io  main x2\ndb/9  main x1")).unwrap();
            name_all(&mut store, &unnamed);
            while store.tend().unwrap() {}
        }
        let mut reader = Reader::open(&path).unwrap();
        let mut ask = |question: &str| -> Vec<String> {
            let sql = Sql::open(&path, LIMITS).unwrap();
            let web = parse_selector(r#"{comm="web"}"#).unwrap();
            prepare(&sql, question, &mut reader, ALL_TIME, &web).unwrap();
            let mut rows = Vec::new();
            sql.ask(question, |_| {}, |row| rows.push(format!("{row:?}"))).unwrap();
            rows
        };
        let own = ask("SELECT function, sum(samples) FROM samples GROUP BY 1 ORDER BY 2 DESC");
        assert_eq!(own, [r#"[Text("serve"), Integer(200)]"#, r#"[Text("main"), Integer(80)]"#]);
        let total = ask(
            "SELECT f.function, sum(samples) FROM samples JOIN (SELECT DISTINCT stack, function FROM frames) AS f USING (stack)
             GROUP BY 1 ORDER BY 2 DESC",
        );
        assert_eq!(total, [r#"[Text("main"), Integer(280)]"#, r#"[Text("serve"), Integer(200)]"#]);
        let threads = ask("SELECT DISTINCT thread FROM samples WHERE pid = 8");
        assert_eq!(threads, [r#"[Text("io")]"#]);
    }
}
