//! The user that a child becomes: one that no other process has, so that nobody but root can signal or trace it.
//!
//! In: the tables of users and the user namespace of this host. Out: a random number out of a range that nobody hands out.
//! A signal needs an equal user id or `CAP_KILL` (`man 2 kill`), so a child under `nobody` is at the mercy of everything else that
//! runs as `nobody`, and two children under one id of each other. This holds on every kernel, without user or pid namespaces,
//! which distributions switch off.

use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Where systemd, shadow, SSSD and FreeIPA hand out nothing by default: systemd's containers end at 1,879,048,191 and its foreign
/// files begin at 2,147,352,576 (<https://systemd.io/UIDS-GIDS>), mapped directories end at 2,000,200,000
/// (`ldap_idmap_range_max`, `man 5 sssd-ldap`), `SUB_UID_MAX` is 600,100,000 (`man 5 login.defs`).
const UNUSED: RangeInclusive<u32> = 2_013_265_920..=2_147_287_039;
/// For a user namespace of 65,536 users: what systemd's table calls unused below its dynamic users.
const UNUSED_IN_NAMESPACE: RangeInclusive<u32> = 60_578..=61_183;
/// Draws before a range is given up.
const DRAWS: usize = 64;
/// Most bytes read of a table of users.
const MAX_TABLE: u64 = 1 << 20;

/// Users of the children of this process.
static IN_USE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A user for one child, as long as this value lives.
#[derive(Debug)]
pub(super) struct ChildUser(u32);

impl ChildUser {
    /// Draws one. `None` where the user namespace has none to spare; the child keeps the profiler's own user then.
    pub fn draw() -> Option<Self> {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(read);
        let mut taken = ranges(&read("/etc/passwd"), 2, None);
        taken.extend(ranges(&read("/etc/subuid"), 1, Some(2)));
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        let user = choose(&maps.map(|map| mapped(&map)), &taken, &in_use, random)?;
        in_use.push(user);
        Some(Self(user))
    }

    /// Its number, which is that of its group, too.
    pub fn id(&self) -> u32 {
        self.0
    }
}

impl Drop for ChildUser {
    fn drop(&mut self) {
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).retain(|user| *user != self.0);
    }
}

/// A user that both maps of the namespace have, and that is neither in a table nor in use.
fn choose(
    maps: &[Vec<RangeInclusive<u64>>; 2],
    taken: &[RangeInclusive<u64>],
    in_use: &[u32],
    mut random: impl FnMut() -> Option<u32>,
) -> Option<u32> {
    let has = |ranges: &[RangeInclusive<u64>], user: u32| ranges.iter().any(|range| range.contains(&u64::from(user)));
    for range in [UNUSED, UNUSED_IN_NAMESPACE] {
        for _ in 0..DRAWS {
            let user = range.start() + random()? % (range.end() - range.start() + 1);
            if maps.iter().all(|map| has(map, user)) && !has(taken, user) && !in_use.contains(&user) {
                return Some(user);
            }
        }
    }
    None
}

/// The ranges inside of a namespace: the first and third column (`man 7 user_namespaces`).
fn mapped(map: &str) -> Vec<RangeInclusive<u64>> {
    let range = |line: &str| {
        let mut words = line.split_whitespace().map(str::parse::<u64>);
        let (first, _, count) = (words.next()?.ok()?, words.next()?.ok()?, words.next()?.ok()?);
        Some(first..=first.checked_add(count.checked_sub(1)?)?)
    };
    map.lines().filter_map(range).collect()
}

/// The users that a table with colons names: one in each line, or as many as its column `count` says.
fn ranges(table: &str, first: usize, count: Option<usize>) -> Vec<RangeInclusive<u64>> {
    let range = |line: &str| {
        let number = |column: usize| line.split(':').nth(column)?.trim().parse::<u64>().ok();
        let begin = number(first)?;
        let count = count.map_or(Some(1), number)?;
        Some(begin..=begin.checked_add(count.checked_sub(1)?)?)
    };
    table.lines().filter_map(range).collect()
}

/// What can be read of a file; nothing where there is none.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_TABLE).read_to_end(&mut bytes));
    if read.is_ok() { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() }
}

fn random() -> Option<u32> {
    let mut bytes = [0; 4];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    (read == 4).then(|| u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const HOST: &str = "         0          0 4294967295\n";

    fn maps(text: &str) -> [Vec<RangeInclusive<u64>>; 2] {
        [mapped(text), mapped(text)]
    }

    /// Two children that live at the same time have two users, far from those that people and services have.
    #[test]
    fn children_have_users_of_their_own() {
        let users: Vec<_> = (0..50).map(|_| ChildUser::draw().unwrap()).collect();
        let ids: std::collections::BTreeSet<u32> = users.iter().map(ChildUser::id).collect();
        assert_eq!(ids.len(), users.len());
        assert!(ids.iter().all(|id| UNUSED.contains(id) || UNUSED_IN_NAMESPACE.contains(id)), "{ids:?}");
    }

    /// A user of somebody's, of a range lent to somebody, or of another child is passed over.
    #[test]
    fn a_user_of_others_is_passed_over() {
        let first = *UNUSED.start();
        let mut taken = ranges(&format!("a:x:{first}:1::/:\nbroken:x\n"), 2, None);
        taken.extend(ranges(&format!("b:{}:3\nc:{}:0\n", first + 1, first + 5), 1, Some(2)));
        let mut next = 0;
        let count = || {
            next += 1;
            Some(next - 1)
        };
        assert_eq!(choose(&maps(HOST), &taken, &[first + 4], count), Some(first + 5));
    }

    /// In a user namespace a user is drawn that the namespace has; where it has none to spare there is none.
    #[test]
    fn a_namespace_gives_what_it_has() {
        let draw = |map: &str| choose(&maps(map), &[], &[], random);
        assert!(UNUSED_IN_NAMESPACE.contains(&draw("0 100000 65536\n").unwrap()));
        assert_eq!(draw("0 1000 1\n"), None);
        assert_eq!(draw(""), None);
        assert_eq!(choose(&[mapped(HOST), mapped("0 1000 1\n")], &[], &[], random), None);
    }
}
