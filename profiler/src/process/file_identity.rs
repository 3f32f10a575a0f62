//! What tells an open file from others that claim its build id: its length, who can have written it, and a hash of some of its pages.
//!
//! A build id is a note that anybody can copy into any file; some honest programs carry one of zeros, a constant, or that of the
//! launcher they were packed around. At most [`MAX_READ`] bytes are read: the first page (headers, notes), the last, and of each
//! executable segment the first, the middle, the last and some at places drawn from its size. A segment that is no larger is read
//! whole. So two files of one class, one length and one build id may still be taken for one when all of these pages are equal: only
//! a user's own files can be made so, and they share names with nothing but this user's files.
//!
//! Asks the file system: call it where that may hang.

use std::fs::File;
use std::hash::Hasher;
use std::io;

use siphasher::sip::SipHasher13;

use super::build_id::{Elf, executable_segments, read_elf, read_up_to};
use super::owner::owner_of;
use crate::profile::{CodeSegment, FileIdentity};

const PAGE: u64 = 4096;
/// Most bytes read: pages in the page cache already, as a rule, for they are the code that runs.
const MAX_READ: u64 = 64 << 10;
/// Segments looked at; real files have one.
const MAX_SEGMENTS: usize = 2;

/// What an open file is: an ELF file or not, and its identity.
///
/// # Errors
/// The file system does not say.
pub(super) fn identify(file: &File) -> io::Result<(Elf, FileIdentity)> {
    let stat = rustix::fs::fstat(file)?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    let identity = FileIdentity { len, owner: owner_of(file, &stat)?, hash: hash_of(file, len) };
    Ok((read_elf(file), identity))
}

/// Hash of the pages that stand for the whole file. A page that cannot be read counts as an empty one.
fn hash_of(file: &File, len: u64) -> u64 {
    let mut hasher = SipHasher13::new();
    let mut page = [0; PAGE as usize];
    for (offset, size) in places(&executable_segments(file), len) {
        let got = read_up_to(file, &mut page[..size as usize], offset);
        hasher.write_u64(offset);
        hasher.write_u64(got as u64);
        hasher.write(&page[..got]);
    }
    hasher.finish()
}

/// Where to read: offsets and sizes, in order, each at most a page.
fn places(segments: &[CodeSegment], len: u64) -> Vec<(u64, u64)> {
    let mut starts = vec![0, len.saturating_sub(PAGE)];
    let segments = &segments[..segments.len().min(MAX_SEGMENTS)];
    let share = (MAX_READ / PAGE - starts.len() as u64) / segments.len().max(1) as u64;
    for &CodeSegment { offset, len: size, .. } in segments {
        let size = size.min(len.saturating_sub(offset));
        let pages = size.div_ceil(PAGE);
        let mut draw = Draw(offset ^ size.rotate_left(32));
        let nth = (0..share).map(|nth| match nth {
            _ if pages <= share => nth.min(pages.saturating_sub(1)),
            0 => 0,
            1 => pages / 2,
            2 => pages - 1,
            _ => draw.next() % pages,
        });
        starts.extend(nth.map(|nth| offset.saturating_add(nth * PAGE)));
    }
    starts.sort_unstable();
    starts.dedup();
    starts.iter().map(|&start| (start, PAGE.min(len.saturating_sub(start)))).filter(|(_, size)| *size > 0).collect()
}

/// The same numbers for the same beginning, on every host (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::profile::Owner;

    fn of(path: &Path) -> FileIdentity {
        identify(&File::open(path).unwrap()).unwrap().1
    }

    fn segment(offset: u64, len: u64) -> CodeSegment {
        CodeSegment { offset, address: 0, len }
    }

    proptest! {
        /// However odd a file's headers are, at most the promised bytes are read, inside the file.
        #[test]
        fn reads_are_bounded(
            segments in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..9), len in prop_oneof![0_u64..300_000, any::<u64>()],
        ) {
            let segments: Vec<_> = segments.into_iter().map(|(offset, len)| segment(offset, len)).collect();
            let places = places(&segments, len);
            prop_assert!(places.iter().map(|(_, size)| size).sum::<u64>() <= MAX_READ);
            prop_assert!(places.iter().all(|(start, size)| *size <= PAGE && *size > 0 && start + size <= len));
            prop_assert!(places.is_sorted());
        }

        /// Every byte of a small executable segment counts, and so do the headers and the end.
        #[test]
        fn small_segments_are_read_whole(size in 1_u64..50_000, at in 0_u64..50_000) {
            let places = places(&[segment(8192, size)], 100_000);
            let at = 8192 + at % size;
            prop_assert!(places.iter().any(|(start, len)| (*start..start + len).contains(&at)));
            prop_assert!(places.iter().any(|(start, _)| *start == 0));
            prop_assert!(places.iter().any(|(start, len)| start + len == 100_000));
        }
    }

    /// Copies and hard links are the same file; other code with the same build id and length is another one; so is a file
    /// of another owner, or one that others can write.
    #[test]
    fn files_of_one_build_id_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, body) in [("one", "return 1;"), ("two", "return 2;")] {
            std::fs::write(at("x.c"), format!("int main(void) {{ {body} }}")).unwrap();
            let options = ["-O1", "-Wl,--build-id=0x1234", "-o", name, "x.c"];
            assert!(Command::new("cc").current_dir(&dir).args(options).status().unwrap().success());
        }
        let (one, two) = (of(&at("one")), of(&at("two")));
        let [first, second] = ["one", "two"].map(|name| read_elf(&File::open(at(name)).unwrap()));
        assert_eq!(first, second, "both claim one build id");
        assert_eq!(one.len, two.len);
        assert_ne!(one.hash, two.hash);
        std::fs::copy(at("one"), at("copy")).unwrap();
        std::fs::hard_link(at("one"), at("link")).unwrap();
        assert_eq!([of(&at("copy")), of(&at("link"))], [one, one]);
        std::fs::OpenOptions::new().write(true).open(at("copy")).unwrap().write_all_at(b"!", one.len - 1).unwrap();
        assert_ne!(of(&at("copy")), one, "the last byte counts");
    }

    /// A file given to another user is in this user's class.
    #[test]
    fn a_file_given_away_is_another_one() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        let before = of(&path);
        if std::os::unix::fs::chown(&path, Some(1234), None).is_err() {
            return;
        }
        let after = of(&path);
        assert_eq!((before.len, before.hash), (after.len, after.hash));
        assert!(matches!(after.owner, Owner::User(1234) | Owner::Mount { uid: 1234, .. }), "{after:?}");
        assert_ne!(before.owner, after.owner);
    }
}
