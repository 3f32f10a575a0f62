//! Requests that wait, grouped by binary: whose turn is it?
//!
//! Pure: time comes in as an argument. A location waits once, however often it is asked for. A binary that took long rests a
//! hundred times as long before it is parsed again, unless somebody waits for it, so no binary takes more than one percent of a core, however large its debug
//! information is and however steadily new locations in it turn up. For a few samples it rests longer than that: a busy kernel has a new address
//! every few seconds for hours, and its table takes 50 ms to read.
//!
//! A user other than root has a share: of the time (`sys/time_share.rs`), so that others have their turn however many files of one user
//! take long; and of the requests that wait, a quarter.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::service::{MAX_WAITING, Request};
use super::wire::MAX_OFFSETS;
use crate::profile::{Binary, BinaryKey};
use crate::store::LocationId;
use crate::sys::time_share::{ROOT, TimeShares, owner_of};

/// Rest for time taken.
const REST_FACTOR: u32 = 100;
/// Samples, at all its places that wait, that are too few to be hasty about.
const FEW: u64 = 20;
/// Rest for time taken, then, up to the longest.
const REST_FACTOR_FOR_FEW: u32 = 800;
const MAX_REST_FOR_FEW: Duration = Duration::from_secs(60);
/// Most requests that may wait in files of one user other than root. What is beyond is asked for again with the next window it is in.
const MAX_OF_USER: usize = MAX_WAITING / 4;
/// Longest rest.
const MAX_REST: Duration = Duration::from_secs(300);

/// Requests of one binary, to be answered together.
#[derive(Debug)]
pub(super) struct Job {
    /// The binary.
    pub binary: Arc<Binary>,
    /// Its busiest locations, busiest first; at most [`MAX_OFFSETS`].
    pub requests: Vec<Request>,
}

/// Until when a binary rests.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    /// The same while only a few samples wait.
    until_for_few: Instant,
}

impl Rest {
    fn of(&self, requests: &[Request]) -> Instant {
        if weight(requests) < FEW { self.until_for_few } else { self.until }
    }
}

/// The user that time spent on a binary is charged to.
pub(super) fn owner(binary: &Binary) -> u32 {
    match (&binary.key, &binary.file) {
        (BinaryKey::Jit { user, .. }, _) => *user,
        (key, Some(_)) if let Some(identity) = key.identity() => identity.owner.user(),
        (_, Some(file)) => owner_of(file),
        // Answered without a file: at once.
        (_, None) => ROOT,
    }
}

/// Samples that wait.
fn weight(requests: &[Request]) -> u64 {
    requests.iter().map(|request| request.weight).fold(0, u64::saturating_add)
}

/// Requests of one binary.
#[derive(Debug)]
struct Group {
    /// The user that time spent on it is charged to.
    owner: u32,
    requests: Vec<Request>,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    groups: HashMap<BinaryKey, Group>,
    waiting: HashSet<LocationId>,
    resting: HashMap<BinaryKey, Rest>,
    shares: TimeShares,
}

impl Pending {
    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request; `false` when its location waits already, or too many of the file's owner do.
    pub fn add(&mut self, request: Request) -> bool {
        if request.weight == Request::AT_ONCE {
            self.resting.remove(&request.binary.key);
        }
        let group = self.groups.get(&request.binary.key);
        let known = group.filter(|group| group.requests.iter().any(|request| request.binary.file.is_some()));
        let owner = known.map_or_else(|| owner(&request.binary), |group| group.owner);
        if owner != ROOT && self.waiting.len() >= MAX_OF_USER {
            let theirs = self.groups.values().filter(|group| group.owner == owner);
            if theirs.map(|group| group.requests.len()).sum::<usize>() >= MAX_OF_USER {
                return false;
            }
        }
        let new = self.waiting.insert(request.location);
        if new {
            let key = request.binary.key.clone();
            let group = self.groups.entry(key).or_insert(Group { owner, requests: Vec::new() });
            group.owner = owner;
            group.requests.push(request);
        }
        new
    }

    /// The busiest requests of the busiest binary that does not rest; with `hurry` none does.
    pub fn next(&mut self, now: Instant, hurry: bool) -> Option<Job> {
        self.resting.retain(|_, rest| rest.until_for_few > now);
        let awake = self.groups.iter().filter(|(key, group)| hurry || self.left(key, group, now).is_zero());
        let key = awake.max_by_key(|(_, group)| weight(&group.requests))?.0.clone();
        let Group { owner, mut requests } = self.groups.remove(&key)?;
        requests.sort_by_key(|request| (std::cmp::Reverse(request.weight), request.location));
        let later = requests.split_off(requests.len().min(MAX_OFFSETS));
        if !later.is_empty() {
            self.groups.insert(key, Group { owner, requests: later });
        }
        requests.iter().for_each(|request| {
            self.waiting.remove(&request.location);
        });
        // The newest request of a binary may have its file where older ones do not.
        let with_file = requests.iter().find(|request| request.binary.file.is_some());
        let binary = with_file.or(requests.first())?.binary.clone();
        Some(Job { binary, requests })
    }

    /// Takes a job back that nobody could do yet: not before `until`.
    pub fn put_back(&mut self, job: Job, until: Instant) {
        self.resting.insert(job.binary.key.clone(), Rest { until, until_for_few: until });
        job.requests.into_iter().for_each(|request| {
            self.add(request);
        });
    }

    /// Ends the rest of a binary whose file is tried again: how long that takes is bounded by how seldom files are.
    pub fn wake(&mut self, key: &BinaryKey) {
        self.resting.remove(key);
    }

    /// How long until some binary is awake; `None` when nothing waits.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.groups.iter().map(|(key, group)| self.left(key, group, now)).min()
    }

    /// How long a binary, or its owner, still rests.
    fn left(&self, key: &BinaryKey, group: &Group, now: Instant) -> Duration {
        let rest = self.resting.get(key).map(|rest| rest.of(&group.requests).saturating_duration_since(now));
        rest.unwrap_or_default().max(self.shares.rest(group.owner, now))
    }

    /// Notes that parsing a binary took this long.
    pub fn took(&mut self, binary: &Binary, took: Duration, now: Instant) {
        self.shares.took(owner(binary), took, now);
        let rest = (took * REST_FACTOR).min(MAX_REST);
        let rest_for_few = (took * REST_FACTOR_FOR_FEW).min(MAX_REST_FOR_FEW).max(rest);
        self.resting.insert(binary.key.clone(), Rest { until: now + rest, until_for_few: now + rest_for_few });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{BinaryKind, BuildId};

    fn binary(name: u8) -> Arc<Binary> {
        let id = BuildId::new(&[name]).unwrap();
        let key = BinaryKey::BuildId(BinaryKind::File, id);
        Arc::new(Binary { build_id: Some(id), ..Binary::new(BinaryKind::File, key, name.to_string()) })
    }

    fn request(binary: &Arc<Binary>, location: i64, weight: u64) -> Request {
        Request { location: LocationId(location), binary: binary.clone(), offset: location as u64, weight }
    }

    fn locations(job: Option<Job>) -> Vec<i64> {
        job.map(|job| job.requests.iter().map(|request| request.location.0).collect()).unwrap_or_default()
    }

    /// The binary with the most samples goes first, and its busiest location before its others.
    #[test]
    fn the_busiest_goes_first() {
        let (a, b) = (binary(1), binary(2));
        let mut pending = Pending::default();
        for request in [request(&a, 1, 5), request(&b, 2, 1), request(&b, 3, 9)] {
            assert!(pending.add(request));
        }
        let now = Instant::now();
        assert_eq!(locations(pending.next(now, false)), [3, 2]);
        assert_eq!(locations(pending.next(now, false)), [1]);
        assert!(pending.next(now, false).is_none());
    }

    /// The store asks again every window for what has no name yet; it waits once.
    #[test]
    fn a_location_waits_once() {
        let a = binary(1);
        let mut pending = Pending::default();
        assert!(pending.add(request(&a, 1, 5)));
        assert!(!pending.add(request(&a, 1, 5)));
        assert_eq!(pending.len(), 1);
        assert_eq!(locations(pending.next(Instant::now(), false)), [1]);
        assert!(pending.add(request(&a, 1, 5)), "answered or lost, it may be asked again");
    }

    /// A file that took 20 s and was set aside is not left alone for five minutes when it is to be tried again after one.
    #[test]
    fn a_binary_that_is_tried_again_does_not_rest() {
        let a = binary(1);
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.took(&a, Duration::from_secs(20), now);
        pending.add(request(&a, 1, 1));
        let later = now + Duration::from_secs(60);
        assert!(pending.next(later, false).is_none());
        pending.wake(&a.key);
        assert_eq!(locations(pending.next(later, false)), [1]);
    }

    /// A binary that took 20 ms is left alone for 2 s, and others are served meanwhile; in a hurry nobody rests.
    #[test]
    fn an_expensive_binary_rests() {
        let (a, b) = (binary(1), binary(2));
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.took(&a, Duration::from_millis(20), now);
        pending.add(request(&a, 1, 500));
        assert_eq!(pending.wait(now), Some(Duration::from_secs(2)));
        pending.add(request(&b, 2, 1));
        assert_eq!(pending.wait(now), Some(Duration::ZERO));
        assert_eq!(locations(pending.next(now, false)), [2]);
        assert!(pending.next(now + Duration::from_millis(1900), false).is_none());
        assert_eq!(locations(pending.next(now + Duration::from_millis(2001), false)), [1]);
        pending.add(request(&a, 1, 500));
        pending.took(&a, Duration::from_secs(1), now);
        assert_eq!(locations(pending.next(now, true)), [1]);
        pending.add(request(&a, 2, Request::AT_ONCE));
        assert_eq!(locations(pending.next(now, false)), [2], "somebody waits");
    }

    /// One more address of a kernel that took 20 ms waits 16 s, unless others join it.
    #[test]
    fn a_few_samples_wait_longer() {
        let a = binary(1);
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.took(&a, Duration::from_millis(20), now);
        pending.add(request(&a, 1, 2));
        assert_eq!(pending.wait(now), Some(Duration::from_secs(16)));
        assert!(pending.next(now + Duration::from_secs(15), false).is_none());
        pending.add(request(&a, 2, FEW));
        assert_eq!(pending.wait(now), Some(Duration::from_secs(2)));
        assert_eq!(locations(pending.next(now + Duration::from_secs(3), false)), [2, 1]);
        pending.add(request(&a, 3, 2));
        assert_eq!(locations(pending.next(now + Duration::from_secs(17), false)), [3]);
    }

    fn file_of(user: u32, name: u8) -> Arc<Binary> {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fchown(&file, Some(rustix::fs::Uid::from_raw(user)), None).unwrap();
        Arc::new(Binary { file: Some(Arc::new(file)), ..binary(name).without_files() })
    }

    /// However many files of one user take ten seconds each, and however busy they are: the others' files have their turn after the first.
    #[test]
    fn files_of_one_user_rest_together() {
        let mut pending = Pending::default();
        let mut now = Instant::now();
        (1..=8).for_each(|n| assert!(pending.add(request(&file_of(1000, n), n.into(), 1000))));
        let job = pending.next(now, false).unwrap();
        now += Duration::from_secs(10);
        pending.took(&job.binary, Duration::from_secs(10), now);
        assert!(pending.next(now, false).is_none());
        assert_eq!(pending.wait(now), Some(Duration::from_secs(30)));
        for (user, location) in [(0, 20), (1001, 21)] {
            assert!(pending.add(request(&file_of(user, location), location.into(), 1)));
            assert_eq!(locations(pending.next(now, false)), [i64::from(location)], "{user}");
        }
        assert_eq!(locations(pending.next(now + Duration::from_secs(31), false)).len(), 1, "his next one");
        assert_eq!(locations(pending.next(now, true)).len(), 1, "in a hurry nobody rests");
    }

    /// One user's requests leave room for the others'.
    #[test]
    fn requests_of_one_user_leave_room() {
        let mut pending = Pending::default();
        let (theirs, ours) = (file_of(1000, 1), file_of(1001, 2));
        let fits = (0..MAX_OF_USER as i64 + 10).filter(|n| pending.add(request(&theirs, *n, 1))).count();
        assert_eq!(fits, MAX_OF_USER);
        assert!(pending.add(request(&ours, -1, 1)) && pending.add(request(&file_of(0, 3), -2, 1)));
    }

    /// What was taken back waits once, until its time has come; in a hurry it does not.
    #[test]
    fn a_job_taken_back_waits_its_time() {
        let a = binary(1);
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.add(request(&a, 1, 5));
        let job = pending.next(now, false).unwrap();
        pending.put_back(job, now + Duration::from_secs(1));
        assert_eq!((pending.len(), pending.wait(now)), (1, Some(Duration::from_secs(1))));
        assert!(pending.next(now, false).is_none());
        assert_eq!(locations(pending.next(now + Duration::from_millis(1001), false)), [1]);
    }

    /// A binary with more locations than one question holds is asked in pieces, the busy ones first.
    #[test]
    fn a_crowd_is_asked_in_pieces() {
        let a = binary(1);
        let mut pending = Pending::default();
        let count = MAX_OFFSETS as i64 + 10;
        (0..count).for_each(|n| assert!(pending.add(request(&a, n, n as u64))));
        let first = locations(pending.next(Instant::now(), false));
        assert_eq!((first.len(), first[0]), (MAX_OFFSETS, count - 1));
        assert_eq!(locations(pending.next(Instant::now(), false)).len(), 10);
    }
}
