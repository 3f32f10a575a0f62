//! A name for a node that lasts: the hash of the frames from the root down to it, as the page's addresses have it
//! (`web/src/model/focus-path.ts`; both check the same examples). Pure.
//!
//! Numbers of nodes change with every answer; the path of (kind, name, binary) does not.

use std::str::FromStr;

use super::tree::{Shown, Tree};
use crate::profile::Frame;
use crate::store::RowMap;

/// Such as `4-1f3a9c02b7d4e0`: the depth, then 53 bits of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathHash {
    depth: u32,
    bits: u64,
}

impl FromStr for PathHash {
    /// What is wrong with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(depth, bits)| {
            let digits = bits.len() == 14 && bits.bytes().all(|digit| digit.is_ascii_hexdigit());
            Some(Self {
                depth: depth.parse().ok().filter(|depth| *depth <= 65_535)?,
                bits: digits.then(|| u64::from_str_radix(bits, 16).ok())??,
            })
        });
        let cut: String = text.chars().take(64).collect();
        parsed.ok_or_else(|| format!("{cut:?} names no node: a depth, '-' and 14 hexadecimal digits do"))
    }
}

/// The node of this path; `None` when the tree has none.
pub(super) fn find<'a, const N: usize>(
    tree: &Tree<N>,
    path: PathHash,
    frame: impl Fn(Shown) -> &'a Frame,
) -> Option<u32> {
    let mut known = RowMap::<Shown, Hash>::default();
    // By node: its depth and the hash of its path. Parents come before their children.
    let mut paths: Vec<(u32, Hash)> = Vec::with_capacity(tree.len());
    for (at, shown) in tree.shown.iter().enumerate() {
        let (depth, above) = match at {
            0 => (0, SEED),
            _ => {
                let (depth, hash) = paths[tree.parents[at] as usize];
                (depth + 1, hash)
            }
        };
        let hash = if depth > path.depth {
            SEED
        } else {
            above.then(*known.entry(*shown).or_insert_with(|| Hash::of(frame(*shown))))
        };
        if depth == path.depth && hash.bits() == path.bits {
            return u32::try_from(at).ok();
        }
        paths.push((depth, hash));
    }
    None
}

#[cfg(test)]
impl PathHash {
    /// Of the frames from the root on.
    pub(super) fn of<const N: usize>(frames: [&Frame; N]) -> Self {
        let hash = frames.iter().fold(SEED, |hash, frame| hash.then(Hash::of(frame)));
        Self { depth: N as u32 - 1, bits: hash.bits() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hash {
    high: u32,
    low: u32,
}

const SEED: Hash = Hash { high: 0xdead_beef, low: 0x41c6_ce57 };

impl Hash {
    /// Of a frame alone. In UTF-16 units, which is what the page's language has.
    fn of(frame: &Frame) -> Self {
        let Self { mut high, mut low } = SEED;
        let binary = frame.binary.as_deref().unwrap_or_default();
        let text = format!("{} {}\0{binary}", frame.kind as u8, frame.name);
        for unit in text.encode_utf16() {
            high = (high ^ u32::from(unit)).wrapping_mul(2_654_435_761);
            low = (low ^ u32::from(unit)).wrapping_mul(1_597_334_677);
        }
        Self { high, low }.then(SEED)
    }

    /// Mixes a frame into a path; not commutative, so order matters.
    fn then(self, own: Self) -> Self {
        let mut high = self.high.wrapping_mul(31) ^ own.high;
        let mut low = self.low.wrapping_mul(37) ^ own.low;
        high = (high ^ (high >> 16)).wrapping_mul(2_246_822_507) ^ (low ^ (low >> 13)).wrapping_mul(3_266_489_909);
        low = (low ^ (low >> 16)).wrapping_mul(2_246_822_507) ^ (high ^ (high >> 13)).wrapping_mul(3_266_489_909);
        Self { high, low }
    }

    fn bits(self) -> u64 {
        u64::from(self.high & 0x1f_ffff) << 32 | u64::from(self.low)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::FrameKind;
    use crate::store::CachedFrame;

    fn frame(name: &str, kind: FrameKind, binary: Option<&str>) -> Frame {
        Frame { name: name.into(), kind, binary: binary.map(Into::into), file: None, line: None, reason: None }
    }

    /// The page writes these into addresses and asks with them: `web/src/model/focus-path.test.ts` has the same.
    #[test]
    fn a_path_has_the_hash_that_the_page_gives_it() {
        let frames = [
            frame("all", FrameKind::Root, None),
            frame("web", FrameKind::Process, None),
            frame("größe<日本, 🔥>", FrameKind::User, Some("/usr/bin/app")),
        ];
        let mut tree = Tree::<1>::new();
        let shown = |at: u32| Shown::frame(CachedFrame(at));
        tree.shown[0] = shown(0);
        let web = tree.push(0, shown(1), [1]);
        tree.push(web, shown(1), [1]);
        let leaf = tree.push(web, shown(2), [1]);
        let look_up = |text: &str| find(&tree, text.parse().unwrap(), |shown| &frames[shown.get().unwrap().0 as usize]);
        assert_eq!(look_up("0-17532870b0df6c"), Some(0));
        assert_eq!(look_up("1-0b1b3257f752b1"), Some(web));
        assert_eq!(look_up("2-04fe4f7ae6bd3e"), Some(leaf));
        assert_eq!(look_up("1-00000000000000"), None);
        assert_eq!(look_up("9-00000000000000"), None);
    }

    /// What people type is refused in words, not guessed at.
    #[test]
    fn what_is_no_path_is_refused() {
        for text in
            ["", "1", "1-", "1-123", "x-00000000000000", "1-0000000000000g", "70000-00000000000000", "1-+0000000000000"]
        {
            assert!(text.parse::<PathHash>().is_err(), "{text}");
        }
    }
}
