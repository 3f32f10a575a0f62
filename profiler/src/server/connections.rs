//! Open connections by peer: who may have how many, and which one goes when there is no room.
//!
//! In: each connection as it is accepted, each request as it begins and ends. Out: a place for it, or the end of another connection.
//!
//! - At most [`MOST_OPEN`] connections. When they are full, a new one ends the oldest connection that waits for a request (idle, or
//!   with an incomplete head), of the peer that has most connections. A peer never loses one to a peer that has more.
//! - At most [`MOST_ANSWERING`] connections are being answered, [`MOST_ANSWERING_OF_PEER`] of one peer, with at most [`MOST_BYTES`] and
//!   [`MOST_BYTES_OF_PEER`] of answers on their way; further requests are refused. `/healthz` and `/metrics` are not: their answers
//!   are small and never wait for a turn.
//! - A connection that waits for a request longer than [`MOST_WAIT`], or takes its answer for longer than [`MOST_ANSWER`], is ended.
//!
//! Invariant: the counts of a peer are the sums over its connections.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, ResponseError, rt};
use rustix::net::{Shutdown, shutdown};

use super::error::Failure;
use super::refusals::{Cause, Refusals};

/// Open connections. actix holds two buffers of 8 KiB for each; one of them grows to 128 KiB while a long head comes.
pub const MOST_OPEN: usize = 768;
/// Connections whose request is being answered.
const MOST_ANSWERING: usize = 256;
/// The same of one peer. A browser has six.
const MOST_ANSWERING_OF_PEER: usize = 64;
/// Bytes of answers that their clients have not taken yet. The largest answer has about 10 MB.
const MOST_BYTES: usize = 192 << 20;
/// The same of one peer.
const MOST_BYTES_OF_PEER: usize = 64 << 20;
/// What an answer of unknown length counts: folded stacks are written out of a tree of at most a million nodes.
const STREAM_BYTES: usize = 32 << 20;
/// actix-http has a deadline for the first head of a connection only, and none for a later one that has begun to come. This one is
/// longer than its deadlines for the first head and for idling together.
const MOST_WAIT: Duration = Duration::from_secs(12);
/// A client that takes a byte now and then never meets `TCP_USER_TIMEOUT`.
const MOST_ANSWER: Duration = Duration::from_secs(300);
/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// What is answered whatever else is going on.
const ALWAYS: [&str; 2] = ["/healthz", "/metrics"];

tokio::task_local! {
    /// Who asks, for what a request's handler shares among peers.
    static PEER: PeerKey;
}

/// Whose connection it is, as far as shares go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerKey {
    /// A user of this host.
    Uid(u32),
    /// An address; of IPv6 ones the first 64 bits, which one host has for itself.
    Address(IpAddr),
}

impl PeerKey {
    /// By address alone.
    #[must_use]
    pub fn of_address(_local: SocketAddr, remote: SocketAddr) -> Self {
        Self::Address(match remote.ip().to_canonical() {
            IpAddr::V6(ip) if !ip.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))
            }
            ip => ip,
        })
    }

    /// The peer whose request is being answered by the current task; in a task without request, the unspecified address.
    #[must_use]
    pub fn current() -> Self {
        PEER.try_with(|peer| *peer).unwrap_or(Self::Address(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
    }
}

/// All connections of a server.
#[derive(Debug, Default)]
pub struct Connections {
    table: Mutex<Table>,
    refusals: Arc<Refusals>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By number, so the oldest first.
    open: BTreeMap<u64, Entry>,
    peers: HashMap<PeerKey, Share>,
    answering: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    peer: PeerKey,
    /// When it began to wait, or its answer began.
    since: Instant,
    answering: bool,
    /// Of its answer.
    bytes: usize,
    socket: OwnedFd,
}

/// What one peer has.
#[derive(Debug, Default)]
struct Share {
    open: usize,
    answering: usize,
    bytes: usize,
}

/// One connection's place; in actix's data of the connection, and given back when that is dropped.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    peer: PeerKey,
    all: Arc<Connections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.table().remove(self.number);
    }
}

impl Table {
    fn remove(&mut self, number: u64) -> Option<Entry> {
        let mut entry = self.open.remove(&number)?;
        self.end_answer(&mut entry);
        let share = self.peers.get_mut(&entry.peer)?;
        share.open -= 1;
        if share.open == 0 {
            self.peers.remove(&entry.peer);
        }
        Some(entry)
    }

    fn end_answer(&mut self, entry: &mut Entry) {
        let Some(share) = self.peers.get_mut(&entry.peer) else { return };
        let (answering, bytes) = (usize::from(entry.answering), entry.bytes);
        share.answering -= answering;
        share.bytes -= bytes;
        self.answering -= answering;
        self.bytes -= bytes;
        (entry.answering, entry.bytes) = (false, 0);
    }

    fn open_of(&self, peer: &PeerKey) -> usize {
        self.peers.get(peer).map_or(0, |share| share.open)
    }

    /// The connection that makes room for a new one of `peer`.
    fn victim(&self, peer: &PeerKey) -> Option<u64> {
        let own = self.open_of(peer);
        let waiting = self.open.iter().filter(|(_, entry)| !entry.answering);
        let most = waiting.map(|(number, entry)| (self.open_of(&entry.peer), entry.since, *number));
        let (open, _, number) = most.max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)))?;
        (open >= own).then_some(number)
    }
}

impl Connections {
    /// None yet; refusals are counted by `refusals`.
    #[must_use]
    pub fn new(refusals: Arc<Refusals>) -> Self {
        Self { table: Mutex::default(), refusals }
    }

    /// A place for a new connection of `peer`, if need be that of another one; `None` when there is none to be had.
    fn enter(self: &Arc<Self>, peer: PeerKey, socket: OwnedFd, now: Instant) -> Option<Connection> {
        let mut table = self.table();
        if table.open.len() >= MOST_OPEN {
            let Some(victim) = table.victim(&peer) else {
                self.refusals.count(Cause::ConnectionRefused);
                return None;
            };
            if let Some(entry) = table.remove(victim) {
                end(&entry.socket);
            }
            self.refusals.count(Cause::ConnectionEvicted);
        }
        let number = table.next;
        table.next += 1;
        table.peers.entry(peer).or_default().open += 1;
        table.open.insert(number, Entry { peer, since: now, answering: false, bytes: 0, socket });
        Some(Connection { number, peer, all: Arc::clone(self) })
    }

    /// A request on a connection begins to be answered.
    fn begin(self: &Arc<Self>, number: u64, always: bool, now: Instant) -> Result<Answering, Cause> {
        let mut table = self.table();
        let table = &mut *table;
        let entry = table.open.get_mut(&number).ok_or(Cause::ConnectionEvicted)?;
        let share = table.peers.get_mut(&entry.peer).ok_or(Cause::ConnectionEvicted)?;
        entry.since = now;
        if !always && !entry.answering {
            if table.answering >= MOST_ANSWERING || table.bytes >= MOST_BYTES {
                return Err(Cause::AnswersFull);
            }
            if share.answering >= MOST_ANSWERING_OF_PEER || share.bytes >= MOST_BYTES_OF_PEER {
                return Err(Cause::AnswersOfPeer);
            }
            entry.answering = true;
            share.answering += 1;
            table.answering += 1;
        }
        Ok(Answering { number, all: Arc::clone(self) })
    }

    /// The answer on a connection takes so much memory until it has been sent.
    fn weigh(&self, number: u64, bytes: usize) {
        let mut table = self.table();
        let table = &mut *table;
        let Some(entry) = table.open.get_mut(&number).filter(|entry| entry.answering) else { return };
        let Some(share) = table.peers.get_mut(&entry.peer) else { return };
        entry.bytes += bytes;
        share.bytes += bytes;
        table.bytes += bytes;
    }

    /// Ends what has waited or been answered for too long.
    fn sweep(&self, now: Instant) {
        let mut table = self.table();
        let is_over = |entry: &Entry| {
            now.saturating_duration_since(entry.since) > if entry.answering { MOST_ANSWER } else { MOST_WAIT }
        };
        let over: Vec<u64> = table.open.iter().filter(|(_, entry)| is_over(entry)).map(|(number, _)| *number).collect();
        for number in over {
            if let Some(entry) = table.remove(number) {
                end(&entry.socket);
                self.refusals.count(Cause::ConnectionTooSlow);
            }
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.table().open.len()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// actix finds the end of its input, and closes.
fn end(socket: &OwnedFd) {
    // The client may have ended it already.
    let _ = shutdown(socket, Shutdown::Both);
}

/// Keeps the deadlines, and tells of refusals; for ever.
pub async fn keep_deadlines(all: Arc<Connections>) {
    loop {
        rt::time::sleep(SWEEP).await;
        let now = Instant::now();
        all.sweep(now);
        all.refusals.report(now);
    }
}

/// Gives a connection that was accepted its place.
pub fn accept(
    all: &Arc<Connections>,
    peer_of: fn(SocketAddr, SocketAddr) -> PeerKey,
    stream: &rt::net::TcpStream,
    data: &mut Extensions,
) {
    let place = || {
        let peer = peer_of(stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let socket = rustix::io::fcntl_dupfd_cloexec(stream, 0).ok()?;
        all.enter(peer, socket, Instant::now())
    };
    match place() {
        Some(place) => {
            data.insert(place);
        }
        // Requests that have come with it find no place there, and are refused.
        None => {
            let _ = shutdown(stream, Shutdown::Both);
        }
    }
}

/// Holds a place among the answers while a request is answered, and says whose it is to what answers it.
///
/// # Errors
/// Those of `next`.
pub async fn share(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let always = ALWAYS.contains(&request.path());
    let place = request.conn_data::<Connection>().map(|place| (Arc::clone(&place.all), place.number, place.peer));
    // A connection whose place went to another one, or never had any, is at its end.
    let Some((all, number, peer)) = place else { return Ok(refuse(request)) };
    match all.begin(number, always, Instant::now()) {
        Ok(answering) => {
            let response = PEER.scope(peer, next.call(request)).await?;
            Ok(response.map_body(|_, body| BoxBody::new(Answer { body: body.boxed(), _answering: answering })))
        }
        Err(cause) => {
            all.refusals.count(cause);
            Ok(refuse(request))
        }
    }
}

fn refuse(request: ServiceRequest) -> ServiceResponse<BoxBody> {
    let mut response = Failure::Busy.error_response();
    response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    request.into_response(response)
}

/// Counts an answer's bytes, before they are compressed: so long are they held.
///
/// # Errors
/// Those of `next`.
pub async fn weigh<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let response = next.call(request).await?;
    if let Some(place) = response.request().conn_data::<Connection>() {
        let bytes = match response.response().body().size() {
            BodySize::None => 0,
            BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX >> 8),
            BodySize::Stream => STREAM_BYTES,
        };
        place.all.weigh(place.number, bytes);
    }
    Ok(response)
}

/// An answer under way; ends when dropped.
#[derive(Debug)]
struct Answering {
    number: u64,
    all: Arc<Connections>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut table = self.all.table();
        if let Some(mut entry) = table.open.remove(&self.number) {
            table.end_answer(&mut entry);
            entry.since = Instant::now();
            table.open.insert(self.number, entry);
        }
    }
}

/// An answer's body, and its place as long as the body is being sent.
struct Answer {
    body: BoxBody,
    _answering: Answering,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const MALLORY: PeerKey = PeerKey::Uid(1001);
    const ALICE: PeerKey = PeerKey::Uid(1000);

    /// Connections, and the clients' ends of them.
    #[derive(Default)]
    struct Host {
        all: Arc<Connections>,
        open: Vec<(Connection, UnixStream)>,
    }

    impl Host {
        fn connect(&mut self, peer: PeerKey) -> bool {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let place = self.all.enter(peer, ours.into(), Instant::now());
            let came_in = place.is_some();
            self.open.extend(place.map(|place| (place, theirs)));
            came_in
        }

        fn connect_all(&mut self, peer: PeerKey, count: usize) {
            for _ in 0..count {
                self.connect(peer);
            }
        }

        /// Which of a peer's connections have been ended, by the order they came in.
        fn ended(&mut self, peer: PeerKey) -> Vec<usize> {
            let of_peer = self.open.iter_mut().filter(|(place, _)| place.peer == peer).enumerate();
            let is_ended = |(nth, (_, theirs)): (usize, &mut (Connection, UnixStream))| {
                matches!(theirs.read(&mut [0]), Ok(0)).then_some(nth)
            };
            of_peer.filter_map(is_ended).collect()
        }

        fn count(&self, cause: Cause) -> u64 {
            self.all.refusals.total(cause)
        }
    }

    /// When all places are taken, the peer that has most of them gives its oldest one up, and nobody else does.
    #[test]
    fn a_full_table_costs_the_peer_that_fills_it() {
        let mut host = Host::default();
        host.connect_all(ALICE, 4);
        host.connect_all(MALLORY, MOST_OPEN - 4);
        assert_eq!(host.ended(MALLORY), [0_usize; 0]);
        host.connect_all(MALLORY, 3);
        assert_eq!(host.ended(MALLORY), [0, 1, 2]);
        assert!(host.connect(ALICE));
        assert_eq!((host.ended(ALICE), host.ended(MALLORY)), (vec![], vec![0, 1, 2, 3]));
        assert_eq!((host.all.open(), host.count(Cause::ConnectionEvicted)), (MOST_OPEN, 4));
    }

    /// A connection whose request is being answered never makes room; the oldest that waits does.
    #[test]
    fn a_request_being_answered_keeps_its_connection() {
        let mut host = Host::default();
        host.connect_all(MALLORY, MOST_OPEN);
        let _answers = [0, 1].map(|nth| host.all.begin(host.open[nth].0.number, false, Instant::now()).unwrap());
        host.connect(ALICE);
        assert_eq!(host.ended(MALLORY), [2]);
    }

    /// A peer with most of the connections gets none of those of others.
    #[test]
    fn a_peer_takes_no_place_of_peers_that_have_fewer() {
        let mut host = Host::default();
        host.connect_all(MALLORY, MOST_OPEN);
        let answers: Vec<_> = host.open.iter().map(|(place, _)| place.number).collect();
        // More than may be answered at once: as if the limit were higher.
        for number in &answers {
            host.all.table().open.get_mut(number).unwrap().answering = true;
        }
        host.all.table().answering = answers.len();
        host.all.table().peers.get_mut(&MALLORY).unwrap().answering = answers.len();
        assert!(!host.connect(ALICE), "nobody waits");
        assert_eq!(host.count(Cause::ConnectionRefused), 1);
    }

    /// One peer's answers have a share, in number and in bytes; others' are answered all the same, and what is always answered is.
    #[test]
    fn answers_have_a_share_for_each_peer() {
        let mut host = Host::default();
        host.connect_all(MALLORY, MOST_ANSWERING_OF_PEER + 1);
        host.connect(ALICE);
        let begin = |host: &Host, nth: usize, always| host.all.begin(host.open[nth].0.number, always, Instant::now());
        let mut answers: Vec<_> = (0..MOST_ANSWERING_OF_PEER).map(|nth| begin(&host, nth, false).unwrap()).collect();
        assert_eq!(begin(&host, MOST_ANSWERING_OF_PEER, false).unwrap_err(), Cause::AnswersOfPeer);
        assert!(begin(&host, MOST_ANSWERING_OF_PEER, true).is_ok());
        assert!(begin(&host, MOST_ANSWERING_OF_PEER + 1, false).is_ok());
        answers.pop();
        host.all.weigh(host.open[0].0.number, MOST_BYTES_OF_PEER);
        assert_eq!(begin(&host, MOST_ANSWERING_OF_PEER, false).unwrap_err(), Cause::AnswersOfPeer);
        drop(answers);
        assert!(begin(&host, MOST_ANSWERING_OF_PEER, false).is_ok());
        host.open.clear();
        let table = host.all.table();
        assert_eq!((table.open.len(), table.peers.len(), table.answering, table.bytes), (0, 0, 0, 0));
    }

    /// A head that never ends, also after a first request, and an answer that is never taken, are cut off.
    #[test]
    fn what_takes_too_long_is_ended() {
        let mut host = Host::default();
        host.connect_all(MALLORY, 2);
        let now = Instant::now();
        let _answer = host.all.begin(host.open[1].0.number, false, now).unwrap();
        host.all.sweep(now + MOST_WAIT / 2);
        assert_eq!(host.ended(MALLORY), [0_usize; 0]);
        host.all.sweep(now + MOST_WAIT + SWEEP);
        assert_eq!(host.ended(MALLORY), [0]);
        host.all.sweep(now + MOST_ANSWER + SWEEP);
        assert_eq!((host.ended(MALLORY), host.count(Cause::ConnectionTooSlow)), (vec![0, 1], 2));
    }

    /// One host has a whole /64 of IPv6 addresses, so these are one peer.
    #[test]
    fn ipv6_peers_are_told_apart_by_their_network() {
        let of =
            |ip: &str| PeerKey::of_address("127.0.0.1:1".parse().unwrap(), SocketAddr::new(ip.parse().unwrap(), 9));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
    }
}
