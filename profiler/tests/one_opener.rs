//! Nothing in the program opens a database file but SQLite: closing it would drop SQLite's locks (`store/file.rs`). A text search,
//! for what a type cannot forbid.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What opens a file, or reads one whole.
const OPENERS: [&str; 10] = [
    "File::open(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
    "rustix::fs::open",
];

/// Files of the store that open something, how often, and what.
const ALLOWED: [(&str, usize, &str); 3] = [
    ("store/file.rs", 3, "a new database that nobody has open yet; the lock and the log, which are no database"),
    ("store/open_files.rs", 1, "the writer's second lock, closed after its connection"),
    ("store/upkeep/backup.rs", 3, "a new copy before and after SQLite writes it; its folder"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Lines of the program itself that open a file, by file: without comments, and without the tests at the end of a file.
fn openers() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut found = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let opening: Vec<_> =
            lines.filter(|line| OPENERS.iter().any(|opener| line.contains(opener))).map(str::to_owned).collect();
        if !opening.is_empty() {
            found.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), opening);
        }
    }
    assert!(found.len() > 20, "the search finds nothing any more: {found:?}");
    found
}

/// The room of the database opens these files and no other, and no other room opens something that it calls a database.
#[test]
fn nothing_but_sqlite_opens_a_database() {
    let openers = openers();
    for (file, lines) in &openers {
        if file.starts_with("store/") {
            let allowed = ALLOWED.iter().find(|(name, ..)| name == file).map_or(0, |(_, count, _)| *count);
            assert_eq!(
                lines.len(),
                allowed,
                "{file} opens files by itself; read the opening of store/file.rs: {lines:?}"
            );
        } else {
            let named = lines
                .iter()
                .find(|line| ["database", "db)", ".db\"", "-wal", "-shm"].iter().any(|name| line.contains(name)));
            assert_eq!(named, None, "{file} opens a database by itself; read the opening of store/file.rs");
        }
    }
    for (file, ..) in ALLOWED {
        assert!(openers.contains_key(file), "{file} opens nothing any more: take it from the list");
    }
}

/// Connections are opened by the store alone.
#[test]
fn connections_are_opened_by_the_store() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for path in files.iter().filter(|path| !path.starts_with(root.join("store"))) {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        assert!(!code.contains("Connection::open"), "{} opens a database past the store", path.display());
    }
}
