//! Build ids that files claim: which file of the system's own has one, and which files with one id have different content.
//!
//! One id on different content is nothing bad by itself: programs are stripped, or packed around one launcher. But it is what an attack on
//! names looks like, so people are told. Bounded: what is not remembered is only not told.

use std::collections::{HashMap, VecDeque};

use crate::profile::{BinaryId, BuildId, FileIdentity, Owner};

/// Most build ids remembered.
const MAX_IDS: usize = 16_384;
/// Most conflicts that wait to be told.
const MAX_NEWS: usize = 16;

/// Beginning of what people are told.
pub const CLAIM_NOTICE: &str = "two different files claim build id";

/// The claims on build ids.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ids: HashMap<BuildId, Claim>,
    news: VecDeque<String>,
    /// Pairs of files that were found to claim one id and to differ.
    pub conflicts: u64,
    /// Files that could not be opened while they were known to be the mapped ones.
    pub not_verified: u64,
}

/// Who claims a build id.
#[derive(Debug)]
struct Claim {
    first: FileIdentity,
    path: String,
    id: BinaryId,
    system: Option<BinaryId>,
    /// Binaries that were told of as differing; no more than one for each id.
    told: bool,
}

impl Claims {
    /// The system's own file with this build id.
    pub(super) fn system(&self, build_id: BuildId) -> Option<BinaryId> {
        self.ids.get(&build_id)?.system
    }

    /// Notes that a file has a build id.
    pub(super) fn note(&mut self, build_id: BuildId, file: FileIdentity, path: &str, id: BinaryId) {
        if self.ids.len() >= MAX_IDS && !self.ids.contains_key(&build_id) {
            return;
        }
        let new = || Claim { first: file, path: path.to_owned(), id, system: None, told: false };
        let claim = self.ids.entry(build_id).or_insert_with(new);
        if file.owner == Owner::System {
            // Two files of root's with one id cannot both stand for it: the first one does.
            claim.system.get_or_insert(id);
        }
        if (claim.first.len, claim.first.hash) == (file.len, file.hash) || std::mem::replace(&mut claim.told, true) {
            return;
        }
        self.conflicts += 1;
        let says = |path: &str, file: &FileIdentity| format!("{path} ({}, {} bytes)", describe(file.owner), file.len);
        let (one, other) = (says(&claim.path, &claim.first), says(path, &file));
        if self.news.len() < MAX_NEWS {
            self.news.push_back(format!("{CLAIM_NOTICE} {build_id}: {one} and {other}; each keeps its own names"));
        }
    }

    /// The conflicts found since the last call.
    pub(super) fn take_news(&mut self) -> impl Iterator<Item = String> + '_ {
        self.news.drain(..)
    }

    /// Forgets binaries that are forgotten.
    pub(super) fn retain(&mut self, keep: impl Fn(BinaryId) -> bool) {
        self.ids.retain(|_, claim| {
            claim.system = claim.system.filter(|id| keep(*id));
            keep(claim.id) || claim.system.is_some()
        });
    }
}

fn describe(owner: Owner) -> String {
    match owner {
        Owner::System => "only root can write it".to_owned(),
        Owner::User(uid) => format!("of user {uid}"),
        Owner::Group { uid, gid } => format!("of user {uid}, group {gid} can write it"),
        Owner::Everybody(uid) => format!("of user {uid}, everybody can write it"),
        Owner::Mount { uid, .. } => format!("of user {uid} on a mount that a user may have made"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn id(n: u8) -> BuildId {
        BuildId::new(&[n; 20]).unwrap()
    }

    /// The first two files that differ are named once, with their owners; copies do not differ, whoever owns them.
    #[test]
    fn two_files_that_claim_one_id_are_named_once() {
        let mut claims = Claims::default();
        let file = |owner, hash| FileIdentity { len: 9, owner, hash };
        claims.note(id(1), file(Owner::User(65534), 1), "/tmp/fake", BinaryId(5));
        claims.note(id(1), file(Owner::User(1000), 1), "/home/x/copy", BinaryId(6));
        assert_eq!((claims.conflicts, claims.system(id(1))), (0, None));
        for n in 7..9 {
            claims.note(id(1), file(Owner::System, 2), "/usr/bin/real", BinaryId(n));
        }
        assert_eq!((claims.conflicts, claims.system(id(1))), (1, Some(BinaryId(7))));
        let news: Vec<_> = claims.take_news().collect();
        assert_eq!(news.len(), 1);
        for part in ["/tmp/fake", "/usr/bin/real", "65534", "only root", &id(1).to_string()] {
            assert!(news[0].contains(part), "{news:?}");
        }
        assert_eq!(claims.take_news().count(), 0);
        claims.retain(|id| id != BinaryId(7));
        assert_eq!(claims.system(id(1)), None);
    }
}
