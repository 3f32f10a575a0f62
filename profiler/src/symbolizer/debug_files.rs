//! Where the debug information of a file lies when it is not in the file: gdb's places, in gdb's order, inside the root directory
//! of the process. Runs in the parent: it opens, carefully, and does not parse.
//!
//! 1. `/usr/lib/debug/.build-id/ab/cdef.debug`, also on the host for a process with a root of its own (the build id says that it is
//!    the same);
//! 2. the name in `.gnu_debuglink`: beside the file, in `.debug/` beside it, below `/usr/lib/debug`.
//!
//! A file found is used only when it has the same build id (of a binary without one, the checksum that its link tells), and nobody can have written it but root or who can write
//! the file it is about ([`Owner::may_name`]): otherwise one user could name another's frames. (`info gdb`, "Separate Debug Files".)

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::contents::Facts;
use crate::process::{build_id_of, open_file_in_root, owner_of};
use crate::profile::{BuildId, Owner};

const DEBUG: &str = "/usr/lib/debug";
/// Largest file whose checksum is made, each time that names are asked for: a quarter of a second.
const MAX_SUMMED: u64 = 256 << 20;

/// Opens the debug file of a binary.
pub(super) fn debug_file(
    root: Option<&File>,
    path: &str,
    build_id: Option<BuildId>,
    owner: Owner,
    facts: &Facts,
) -> Option<File> {
    let folder = Path::new(path).parent()?;
    let by_link = facts.link.iter().flat_map(|name| {
        let below = folder.strip_prefix("/").unwrap_or(folder);
        [folder.join(name), folder.join(".debug").join(name), Path::new(DEBUG).join(below).join(name)]
    });
    let Some(build_id) = build_id else {
        let checksum = facts.link_checksum?;
        let mut theirs =
            by_link.filter(|candidate| candidate != Path::new(path)).filter_map(|path| open_theirs(root, &path, owner));
        return theirs.find(|file| checksum_of(file) == Some(checksum));
    };
    let by_id = by_build_id(&build_id);
    let mut inside = std::iter::once(by_id.clone()).chain(by_link).filter(|candidate| candidate != Path::new(path));
    let host = || root.and_then(|_| open(None, &by_id, &build_id, owner));
    inside.find_map(|candidate| open(root, &candidate, &build_id, owner)).or_else(host)
}

/// Opens the file that has what several debug files have in common: by its path, which may begin in the debug file's folder, or by
/// its build id.
pub(super) fn shared_file(root: Option<&File>, facts: &Facts, owner: Owner) -> Option<File> {
    let (path, build_id) = facts.shared.as_ref()?;
    let build_id = BuildId::new(build_id)?;
    let candidates = [Path::new(DEBUG).join(path.trim_start_matches("../")), by_build_id(&build_id)];
    candidates.iter().find_map(|candidate| {
        open(root, candidate, &build_id, owner).or_else(|| open(None, candidate, &build_id, owner))
    })
}

/// Opens the package of a file's split debug information: beside it, with its name and `.dwp`. Its units are found by numbers that the
/// file has of them, so it needs no build id.
pub(super) fn package(root: Option<&File>, path: &str, owner: Owner) -> Option<File> {
    open_theirs(root, Path::new(&format!("{path}.dwp")), owner)
}

/// Opens files of split debug information: where they were compiled to, else beside the file. The number of their unit tells whether they
/// are the right ones.
pub(super) fn unit_files(root: Option<&File>, path: &str, owner: Owner, files: &[(String, String)]) -> Vec<File> {
    let beside = Path::new(path).parent().unwrap_or(Path::new("/"));
    let open = |(folder, file): &(String, String)| {
        let compiled = Path::new("/").join(folder).join(file);
        let name = Path::new(file).file_name()?;
        open_theirs(root, &compiled, owner).or_else(|| open_theirs(root, &beside.join(name), owner))
    };
    files.iter().filter_map(open).collect()
}

fn by_build_id(build_id: &BuildId) -> PathBuf {
    let id = build_id.to_string();
    let (first, rest) = id.split_at(2);
    Path::new(DEBUG).join(".build-id").join(first).join(format!("{rest}.debug"))
}

fn open(root: Option<&File>, path: &Path, build_id: &BuildId, owner: Owner) -> Option<File> {
    open_theirs(root, path, owner).filter(|file| build_id_of(file) == Some(*build_id))
}

/// CRC-32 of a file, as zlib has it; `None` of a huge one.
fn checksum_of(file: &File) -> Option<u32> {
    let (mut sum, mut buffer, mut at) = (crc32fast::Hasher::new(), vec![0; 256 << 10], 0);
    loop {
        let read = file.read_at(&mut buffer, at).ok()?;
        sum.update(&buffer[..read]);
        at += read as u64;
        match read {
            0 => return Some(sum.finalize()),
            _ if at > MAX_SUMMED => return None,
            _ => {}
        }
    }
}

/// What root alone can write, or who can write the file that it is about.
fn open_theirs(root: Option<&File>, path: &Path, owner: Owner) -> Option<File> {
    let file = match root {
        Some(root) => open_file_in_root(root, path),
        None => open_file_in_root(File::open("/").ok()?, path),
    };
    let file = file.ok()?;
    let theirs = owner_of(&file, &rustix::fs::fstat(&file).ok()?).ok()?;
    theirs.may_name(owner).then_some(file)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{MetadataExt, symlink};
    use std::process::Command;

    use super::*;

    /// A root directory with a program in it, `/opt/app`, and its debug file; and what the program's build id is.
    fn root() -> (tempfile::TempDir, BuildId) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("opt")).unwrap();
        std::fs::write(dir.path().join("app.c"), "int main(void) { return 0; }").unwrap();
        let script =
            "cc -g -Wl,--build-id -o opt/app app.c && objcopy --only-keep-debug opt/app app.debug && strip opt/app";
        assert!(Command::new("sh").current_dir(&dir).args(["-c", script]).status().unwrap().success());
        let build_id = build_id_of(&File::open(dir.path().join("opt/app")).unwrap()).unwrap();
        (dir, build_id)
    }

    /// Each place is looked at, in gdb's order, and only inside the root.
    #[test]
    fn every_place_is_looked_at() {
        let (dir, build_id) = root();
        let debug = std::fs::read(dir.path().join("app.debug")).unwrap();
        let facts = Facts { link: Some("app.debug".to_owned()), ..Facts::default() };
        let found = || {
            let root = File::open(dir.path()).unwrap();
            debug_file(Some(&root), "/opt/app", Some(build_id), Owner::System, &facts)
                .map(|file| file.metadata().unwrap().ino())
        };
        assert_eq!(found(), None);
        let by_id = by_build_id(&build_id);
        let places =
            ["/usr/lib/debug/opt/app.debug", "/opt/.debug/app.debug", "/opt/app.debug", by_id.to_str().unwrap()];
        for place in places {
            let place = dir.path().join(place.trim_start_matches('/'));
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, &debug).unwrap();
            assert_eq!(found(), Some(std::fs::metadata(&place).unwrap().ino()), "{}", place.display());
        }
    }

    /// A binary without a build id has the debug file with the checksum that its link tells, and no other.
    #[test]
    fn a_checksum_stands_in_for_a_build_id() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.c"), "int main(void) { return 0; }").unwrap();
        let script = "cc -g -Wl,--build-id=none -o app app.c && objcopy --only-keep-debug app app.debug && strip app
                      objcopy --add-gnu-debuglink=app.debug app";
        assert!(Command::new("sh").current_dir(&dir).args(["-ec", script]).status().unwrap().success());
        let app = File::open(dir.path().join("app")).unwrap();
        assert_eq!(build_id_of(&app), None);
        let facts = crate::symbolizer::contents::Contents::of(&app).unwrap().facts;
        let found =
            || debug_file(Some(&File::open(dir.path()).unwrap()), "/app", None, Owner::System, &facts).is_some();
        assert!(found());
        let mut bytes = std::fs::read(dir.path().join("app.debug")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(dir.path().join("app.debug"), bytes).unwrap();
        assert!(!found(), "another file of that name");
    }

    /// What has another build id, another owner, lies outside of the root or is no regular file is not used.
    #[test]
    fn foreign_files_are_not_used() {
        let (dir, build_id) = root();
        let facts = Facts { link: Some("app.debug".to_owned()), ..Facts::default() };
        let place = dir.path().join("opt/app.debug");
        let found =
            |owner| debug_file(Some(&File::open(dir.path()).unwrap()), "/opt/app", Some(build_id), owner, &facts);
        std::fs::copy("/bin/true", &place).unwrap();
        assert!(found(Owner::System).is_none(), "another build");
        symlink(dir.path().join("app.debug"), dir.path().join("link")).unwrap();
        std::fs::rename(dir.path().join("link"), &place).unwrap();
        assert!(found(Owner::System).is_none(), "a link to the outside");
        std::fs::remove_file(&place).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(found(Owner::System).is_none(), "a FIFO");
        std::fs::remove_file(&place).unwrap();
        std::fs::copy(dir.path().join("app.debug"), &place).unwrap();
        assert!(found(Owner::System).is_some());
        std::os::unix::fs::chown(&place, Some(1234), None).unwrap();
        assert!(found(Owner::System).is_none(), "somebody else's");
        assert!(found(Owner::User(1234)).is_some(), "the same user's");
    }
}
