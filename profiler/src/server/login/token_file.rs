//! The file that holds the token: made at the first start beside the database, 0600, read again whenever it changes.
//!
//! Whoever may read it may read every profile. It belongs to the database's owner, who can read everything anyway. A file that another
//! user put there, a link, or one that everybody may read or others may write is not taken: the token is in memory then, and says so.
//! Files are written beside and linked or renamed into their place, so that no reader meets half of one, and nothing of another's is
//! opened for writing.

use std::fs::Metadata;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, fchown, linkat, openat, renameat, unlinkat};
use rustix::process::geteuid;

use super::token::{Token, random_name};

/// Mode bits that a token file may not have: others' all, and the group's but reading, which somebody must have granted.
const FORBIDDEN: u32 = 0o037;

/// Why there is no token in a file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No file.
    #[error("there is no token file {0}: the profiler that serves this database makes it when it starts")]
    Missing(PathBuf),
    /// A link, a folder, a pipe.
    #[error("token file {0} is not a regular file: remove it")]
    NotAFile(PathBuf),
    /// Another user's.
    #[error("token file {path} belongs to user {uid}, who may have put it there: remove it")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Open to others.
    #[error("token file {path} has mode {mode:04o}: chmod 600 it, and renew the token with `profiler url --rotate`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a token.
    #[error("token file {0} does not hold a token (32 to 256 letters and digits): remove it")]
    Malformed(PathBuf),
    /// Anything else.
    #[error("failed to {action} token file {path}")]
    Io {
        /// Read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Where the token of a database is.
#[must_use]
pub fn path_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".token");
    path.into()
}

/// What tells one state of a file from another.
type Seen = Option<[i64; 7]>;

fn seen(path: &Path) -> Seen {
    let about = std::fs::symlink_metadata(path).ok()?;
    let signed = u64::cast_signed;
    Some([
        signed(about.dev()),
        signed(about.ino()),
        about.ctime(),
        about.ctime_nsec(),
        signed(about.len()),
        about.mode().into(),
        about.uid().into(),
    ])
}

/// A token that follows its file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// The database, and who started this; of a token that is ours to make.
    made_for: Option<(PathBuf, Vec<u32>)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    token: Arc<Token>,
    owners: Vec<u32>,
    seen: Seen,
    in_memory: Option<String>,
}

impl TokenFile {
    /// The token of `database`; if there is none, one that [`Self::keep`] writes down, for there may be no database yet. `starters` may
    /// own the file as well.
    #[must_use]
    pub fn of_database(database: &Path, starters: &[u32]) -> Self {
        let path = path_of(database);
        let owners = owners(database, starters);
        let seen = seen(&path);
        let (token, in_memory) = match read(&path, &owners) {
            Ok(token) => (token, None),
            Err(TokenError::Missing(_)) => (Token::random(), None),
            Err(error) => (Token::random(), Some(with_causes(&error))),
        };
        let state = State { token: Arc::new(token), owners, seen, in_memory };
        Self { path, made_for: Some((database.to_owned(), starters.to_vec())), state: Mutex::new(state) }
    }

    /// Writes the token down if there is no file with one; where that is not possible it is in memory alone.
    pub fn keep(&self) {
        let Some((database, starters)) = &self.made_for else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.owners = owners(database, starters);
        let kept = match read(&self.path, &state.owners) {
            // Another profiler may be quicker: then its token is that of the database.
            Err(TokenError::Missing(_)) => {
                write_down(database, &state.token, false).and_then(|()| read(&self.path, &state.owners))
            }
            read => read,
        };
        state.seen = seen(&self.path);
        state.in_memory = match kept {
            Ok(token) => {
                state.token = Arc::new(token);
                None
            }
            Err(error) => Some(with_causes(&error)),
        };
    }

    /// A token that somebody else made, for one thing.
    ///
    /// # Errors
    /// It cannot be read, or is no token.
    pub fn given(path: &Path) -> Result<Self, TokenError> {
        // Whoever starts the profiler names it, and may have given it to who scrapes.
        let uid = std::fs::symlink_metadata(path).map_or(0, |about| about.uid());
        let owners = vec![0, geteuid().as_raw(), uid];
        let seen = seen(path);
        let token = Arc::new(read(path, &owners)?);
        let state = State { token, owners, seen, in_memory: None };
        Ok(Self { path: path.to_owned(), made_for: None, state: Mutex::new(state) })
    }

    /// Where it is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it is in memory alone, if it is.
    #[must_use]
    pub fn in_memory(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).in_memory.clone()
    }

    /// The token as the file has it now; the one before where the file is gone, or became one that is not taken.
    #[must_use]
    pub fn current(&self) -> Arc<Token> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen(&self.path);
        if now != state.seen {
            state.seen = now;
            match read(&self.path, &state.owners) {
                Ok(token) => {
                    state.in_memory = None;
                    if !state.token.is(token.text().as_bytes()) {
                        tracing::info!(file = %self.path.display(), "another token: links and sessions have ended");
                        state.token = Arc::new(token);
                    }
                }
                Err(error) => tracing::warn!("the token stays as it was: {}", with_causes(&error)),
            }
        }
        Arc::clone(&state.token)
    }
}

fn with_causes(error: &TokenError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Whose token files are taken: root's, our own, the database's owner's, and those of who started us.
fn owners(database: &Path, starters: &[u32]) -> Vec<u32> {
    let database = std::fs::metadata(database).map(|about| about.uid()).ok();
    [0, geteuid().as_raw()].into_iter().chain(database).chain(starters.iter().copied()).collect()
}

/// Reads the token of `database`.
///
/// # Errors
/// There is none, or it may not be taken.
pub fn read_of(database: &Path) -> Result<Token, TokenError> {
    read(&path_of(database), &owners(database, &[]))
}

/// Makes another token for `database`: sessions and links of the one before end.
///
/// # Errors
/// The folder cannot be written.
pub fn rotate(database: &Path) -> Result<Token, TokenError> {
    let token = Token::random();
    write_down(database, &token, true)?;
    Ok(token)
}

fn read(path: &Path, owners: &[u32]) -> Result<Token, TokenError> {
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENOENT) => TokenError::Missing(path.to_owned()),
        Some(libc::ELOOP | libc::ENXIO) => TokenError::NotAFile(path.to_owned()),
        _ => TokenError::Io { action: "read", path: path.to_owned(), source },
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let mut file = std::fs::File::from(file);
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(TokenError::NotAFile(path.to_owned()));
    }
    if !owners.contains(&about.uid()) {
        return Err(TokenError::Foreign { path: path.to_owned(), uid: about.uid() });
    }
    let mode = about.mode() & 0o7777;
    if mode & FORBIDDEN != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    match (&mut file).take(4096).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
        read => drop(read.map_err(failed)?),
    }
    Token::parse(&text).ok_or_else(|| TokenError::Malformed(path.to_owned()))
}

/// Writes the token of `database`; over the one there is, or, if there is one, not.
fn write_down(database: &Path, token: &Token, replace: bool) -> Result<(), TokenError> {
    let path = path_of(database);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source: io::Error| TokenError::Io { action: "write", path: path.clone(), source };
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, folder, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".new-{}", random_name()));
    let about = std::fs::metadata(database).ok();
    let written = write(&folder, &unfinished, token, about.as_ref()).and_then(|()| {
        if replace {
            renameat(&folder, &unfinished, &folder, name)
        } else {
            linkat(&folder, &unfinished, &folder, name, AtFlags::empty())
        }
        .map_err(Into::into)
    });
    if written.is_err() || !replace {
        // Renamed, or never made: then there is nothing to remove.
        let _ = unlinkat(&folder, &unfinished, AtFlags::empty());
    }
    match written {
        Err(error) if !replace && error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        written => written.map_err(failed),
    }
}

fn write(folder: &OwnedFd, name: &std::ffi::OsStr, token: &Token, database: Option<&Metadata>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    if geteuid().is_root()
        && let Some(owner) = database.filter(|owner| owner.uid() != 0)
    {
        // On file systems without owners it fails, and there is nothing to give.
        let _ = fchown(&file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())));
    }
    let mut file = std::fs::File::from(file);
    file.write_all(format!("{}\n", token.text()).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{FileType, mknodat};

    use super::*;

    fn database() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("x.db");
        fs::write(&database, "").unwrap();
        (folder, database)
    }

    fn started(database: &Path, starters: &[u32]) -> TokenFile {
        let file = TokenFile::of_database(database, starters);
        file.keep();
        file
    }

    /// The first start makes the file for its owner alone, and every later one finds the token in it.
    #[test]
    fn the_first_start_makes_the_file_and_later_ones_read_it() {
        let (folder, database) = database();
        let first = started(&database, &[]);
        assert_eq!(first.in_memory(), None);
        let about = fs::metadata(first.path()).unwrap();
        assert_eq!((about.mode() & 0o7777, about.len()), (0o600, 65));
        let again = started(&database, &[]);
        assert!(again.current().is(first.current().text().as_bytes()));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "nothing unfinished stays: {names:?}");
    }

    /// What another user could have put there, or can read, is not taken; it is not touched either, and the server has a token.
    #[test]
    fn what_others_put_there_or_can_read_is_not_taken() {
        type Plant = fn(&Path);
        let text = "0123456789abcdef".repeat(4);
        let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let plants: [(Plant, &str); 7] = [
            (fifo, "not a regular file"),
            (|path| symlink("/dev/null", path).unwrap(), "not a regular file"),
            (|path| symlink("nowhere", path).unwrap(), "not a regular file"),
            (|path| fs::create_dir(path).unwrap(), "not a regular file"),
            (|path| fs::write(path, "0123456789abcdef".repeat(4)).unwrap(), "mode 0644"),
            (
                |path| {
                    fs::write(path, "short").unwrap();
                    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
                },
                "does not hold a token",
            ),
            (
                |path| {
                    fs::write(path, b"\xff\xfe").unwrap();
                    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
                },
                "does not hold a token",
            ),
        ];
        for (plant, reason) in plants {
            let (_folder, database) = database();
            let path = path_of(&database);
            plant(&path);
            let before = seen(&path);
            let file = started(&database, &[]);
            let said = file.in_memory().unwrap();
            assert!(said.contains(reason) && said.contains(path.to_str().unwrap()), "{said}");
            assert!(!file.current().is(text.as_bytes()) && read_of(&database).is_err(), "{reason}");
            assert_eq!(seen(&path), before, "{reason}");
        }
    }

    /// Another token in the file is the token from the next look on; a file that went bad changes nothing.
    #[test]
    fn another_token_in_the_file_counts_at_once() {
        let (_folder, database) = database();
        let file = started(&database, &[]);
        let first = file.current();
        let second = rotate(&database).unwrap();
        assert!(file.current().is(second.text().as_bytes()) && !file.current().is(first.text().as_bytes()));
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o7777, 0o600);
        fs::set_permissions(file.path(), Permissions::from_mode(0o666)).unwrap();
        assert!(file.current().is(second.text().as_bytes()));
        fs::remove_file(file.path()).unwrap();
        assert!(file.current().is(second.text().as_bytes()));
    }

    /// Rotating replaces a link that somebody put there, and leaves alone what it points at.
    #[test]
    fn rotating_replaces_a_link_and_not_its_target() {
        let (folder, database) = database();
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        symlink(&target, path_of(&database)).unwrap();
        let token = rotate(&database).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(read_of(&database).unwrap().is(token.text().as_bytes()));
    }

    /// Before there is a database, and perhaps its folder, the token is that which is kept afterwards.
    #[test]
    fn the_token_is_there_before_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("new/x.db");
        let file = TokenFile::of_database(&database, &[]);
        let first = file.current();
        fs::create_dir(folder.path().join("new")).unwrap();
        assert_eq!((file.in_memory(), path_of(&database).exists()), (None, false));
        file.keep();
        assert!(read_of(&database).unwrap().is(first.text().as_bytes()) && file.current().is(first.text().as_bytes()));
    }

    /// A folder that takes no files leaves the token in memory.
    #[test]
    fn without_a_place_the_token_is_in_memory() {
        let file = started(Path::new("/proc/x.db"), &[]);
        assert!(file.in_memory().unwrap().contains("/proc/x.db.token"), "{:?}", file.in_memory());
        assert_eq!(file.current().text().len(), 64);
    }
}
