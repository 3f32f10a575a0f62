//! The schema: `migrations/*.sql`, embedded, applied in order, recorded in `user_version` and in the table `migration`.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::StoreError;

/// "prfl", in the file's header: tells our databases from everybody else's.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"prfl");

/// Never edit one that was released; add the next.
const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../../migrations/0001_profiles.sql")),
    M::up(include_str!("../../../migrations/0002_rollups.sql")),
    M::up(include_str!("../../../migrations/0003_views.sql")),
    M::up(include_str!("../../../migrations/0004_name_sources.sql")),
    M::up(include_str!("../../../migrations/0005_function_begin.sql")),
    M::up(include_str!("../../../migrations/0006_missed_ticks.sql")),
    M::up(include_str!("../../../migrations/0007_code_and_declarations.sql")),
    M::up(include_str!("../../../migrations/0008_series.sql")),
];

/// The schema version this program writes, and the highest it reads.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings a writable database to [`VERSION`], each migration in its own transaction.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    Migrations::from_slice(MIGRATIONS).to_latest(conn).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err.into(),
        other => StoreError::Migration(other),
    })
}

/// The database that an older program makes.
#[cfg(test)]
pub(super) fn to_version(conn: &mut Connection, version: usize) {
    Migrations::from_slice(MIGRATIONS).to_version(conn, version).expect("a migration is SQL");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Each migration leaves a row saying when, and the number in the file's header agrees.
    #[test]
    fn migrations_are_recorded_with_their_time() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        migrate(&mut conn).unwrap();
        let rows: i64 =
            conn.query_row("SELECT count(*) FROM migration WHERE applied_at > 1.7e9", [], |row| row.get(0)).unwrap();
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!((rows, version), (VERSION, VERSION));
    }

    /// Names of a database of schema 3 are there afterwards, also through the views that were made anew.
    #[test]
    fn older_names_stay() {
        let mut conn = Connection::open_in_memory().unwrap();
        Migrations::from_slice(MIGRATIONS).to_version(&mut conn, 3).unwrap();
        conn.execute_batch(
            "INSERT INTO string VALUES (1, 1, 'main'), (2, 2, ''), (3, 3, '/bin/x');
             INSERT INTO binary VALUES (1, 'x', 1, 3, NULL);
             INSERT INTO function VALUES (7, 1, 2);
             INSERT INTO location VALUES (5, 1, 16, 1);
             INSERT INTO location_frame VALUES (5, 0, 7, 0, 0)",
        )
        .unwrap();
        migrate(&mut conn).unwrap();
        let names: (String, String) = conn
            .query_row(
                "SELECT function, linker_name FROM v_locations JOIN v_functions ON v_functions.name = function",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(names, ("main".into(), "main".into()));
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, VERSION);
    }

    /// A database of schema 6 keeps its binaries and names; nobody knows where their code lies or where they are declared.
    #[test]
    fn binaries_and_names_of_schema_6_stay() {
        let mut conn = Connection::open_in_memory().unwrap();
        Migrations::from_slice(MIGRATIONS).to_version(&mut conn, 6).unwrap();
        conn.execute_batch(
            "INSERT INTO string VALUES (1, 1, 'main'), (2, 2, 'a.c'), (3, 3, '/bin/x');
             INSERT INTO binary (id, identity, kind, path) VALUES (1, 'x', 1, 3);
             INSERT INTO function VALUES (7, 1, 2, 0);
             INSERT INTO location (id, binary, offset, state) VALUES (5, 1, 16, 1);
             INSERT INTO location_frame VALUES (5, 0, 7, 12, 0)",
        )
        .unwrap();
        migrate(&mut conn).unwrap();
        let row: (String, String, i64, Option<i64>, Option<i64>) = conn
            .query_row(
                "SELECT binary, function, line, declared, code_offset FROM v_locations JOIN v_binaries ON path = binary",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
            )
            .unwrap();
        assert_eq!(row, ("/bin/x".into(), "main".into(), 12, None, None));
    }

    /// Windows, roll-ups and busiest functions of schema 7 keep their rows and figures, each way of sampling a series of a host that nobody knows.
    #[test]
    fn ways_of_sampling_of_schema_7_become_series() {
        let mut conn = Connection::open_in_memory().unwrap();
        Migrations::from_slice(MIGRATIONS).to_version(&mut conn, 7).unwrap();
        conn.execute_batch(
            r#"INSERT INTO string VALUES (1, 1, 'web');
             INSERT INTO window (id, boot, boot_start, wall_start, wall_end, event, hz, length, cpus, busy, idle, filtered, taken, stored, lost,
                                 incomplete, losses, missed, misses)
             VALUES (3, 1, 5, 1000000000, 11000000000, 0, 97, 10000000000, 2, 40, 1900, 0, 40, 37, 3, 2, '{"1":3}', 7, '{"0":7}'),
                    (4, 1, 15, 11000000000, 21000000000, 1, 19, 10000000000, 2, 4, 190, 0, 4, 4, 0, 0, NULL, NULL, NULL);
             INSERT INTO rollup (id, level, start, event, hz, finest, windows, wall_end, length, cpus, busy, idle, filtered, taken, stored, lost,
                                 incomplete, directory, stacks)
             VALUES (9, 2, 3600000000000, 0, 97, 1, 360, 7200000000000, 3600000000000, 2, 400, 19000, 0, 400, 400, 0, 0, x'0102', x'03');
             INSERT INTO hour_leaf VALUES (1, 0, 97, 1, 0, 400)"#,
        )
        .unwrap();
        let columns = "time, utc, seconds, hz, cpus, busy, idle, taken, stored, lost, incomplete, missed";
        let figures = [
            format!("SELECT event, losses, misses, {columns} FROM v_windows ORDER BY id"),
            format!("SELECT piece, {columns} FROM v_history ORDER BY time"),
            "SELECT time, comm, function, samples, round(cpu_seconds, 4) FROM v_samples".to_owned(),
        ];
        let read = |conn: &Connection, sql: &str| {
            let mut select = conn.prepare(sql).unwrap();
            let text = |row: &rusqlite::Row<'_>| {
                Ok((0..).map_while(|at| row.get::<_, rusqlite::types::Value>(at).ok()).collect())
            };
            let rows = select.query_map([], text).unwrap().collect::<Result<Vec<Vec<_>>, _>>();
            rows.unwrap()
        };
        let before = figures.each_ref().map(|sql| read(&conn, sql));
        migrate(&mut conn).unwrap();
        assert_eq!(figures.each_ref().map(|sql| read(&conn, sql)), before);
        assert_eq!(before.each_ref().map(Vec::len), [2, 3, 1]);
        let blobs = read(&conn, "SELECT directory, stacks, split FROM rollup WHERE id = 9");
        assert_eq!(blobs, [[vec![1_u8, 2].into(), vec![3_u8].into(), rusqlite::types::Value::Null]]);
        let series = read(&conn, "SELECT host, type, event, period FROM v_series ORDER BY id");
        let row = |event: &str, period: i64| {
            vec![String::new().into(), "process_cpu".to_owned().into(), event.to_owned().into(), period.into()]
        };
        assert_eq!(series, [row("cpu-clock", 10_309_278), row("cycles", 52_631_578)]);
        conn.execute("DELETE FROM rollup", []).unwrap();
        assert_eq!(read(&conn, "SELECT count(*) FROM hour_leaf"), [[0.into()]], "they go with their hour");
    }

    /// A database of schema 5 keeps its figures and its views' columns; nobody counted its missed ticks.
    #[test]
    fn figures_of_schema_5_stay() {
        let mut conn = Connection::open_in_memory().unwrap();
        Migrations::from_slice(MIGRATIONS).to_version(&mut conn, 5).unwrap();
        conn.execute_batch(
            r#"INSERT INTO window (id, boot, boot_start, wall_start, wall_end, event, hz, length, cpus, busy, idle, filtered, taken,
                                 stored, lost, incomplete, losses)
             VALUES (3, 1, 5, 1000000000, 11000000000, 0, 97, 10000000000, 2, 40, 1900, 0, 40, 37, 3, 2, '{"1":3}')"#,
        )
        .unwrap();
        let figures = "SELECT id, time, seconds, event, hz, cpus, busy, idle, taken, stored, lost, incomplete, losses FROM v_windows";
        let read = |conn: &Connection, sql: &str| {
            let text =
                |row: &rusqlite::Row<'_>| (0..).map_while(|at| row.get::<_, rusqlite::types::Value>(at).ok()).collect();
            conn.query_row(sql, [], |row| Ok(text(row))).unwrap()
        };
        let before: Vec<_> = read(&conn, figures);
        migrate(&mut conn).unwrap();
        assert_eq!(read(&conn, figures), before);
        assert_eq!(before.len(), 13);
        let null = rusqlite::types::Value::Null;
        assert_eq!(read(&conn, "SELECT missed, misses FROM v_windows"), [null.clone(), null.clone()]);
        assert_eq!(read(&conn, "SELECT busy, idle, missed FROM v_history"), [40.into(), 1900.into(), null]);
    }
}
