//! Who may read: whoever has the token, by header, link or session, and the user who started this, by socket.
//!
//! In: a request that passed the gate. Out: let in, sent on without the link in its address, or refused. In this order:
//!
//! 1. `/healthz` is open; so is `/metrics` if that was chosen, and everything with `--no-login`.
//! 2. `Authorization: Bearer` decides alone.
//! 3. A session's cookie. It holds on connections of the user that it was made on: a cookie goes to every port of a host, and on
//!    another port another user may listen.
//! 4. On loopback, the user of the peer's socket ([`Peer`], [`Holders`]). Never where a proxy may stand between: with
//!    `--allow-host`, with the headers that proxies add, in HTTP/1.0, under another name than a loopback one.
//! 5. On `/`, a link.
//!
//! Requests that another site's page makes in a browser end at the gate, whatever they bring.

mod holder;
mod links;
mod peer;
mod refusal;
mod token;
mod token_file;
mod tries;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, Version};
use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio::sync::Semaphore;

use self::holder::Holders;
use self::links::Links;
use self::peer::Peer;
pub use self::peer::{key_of, remember};
use self::refusal::{Refusal, Why};
pub use self::token::Token;
use self::token_file::TokenFile;
pub use self::token_file::{TokenError, path_of as token_path, read_of as read_token, rotate as rotate_token};
use self::tries::Tries;
use super::connections::PeerKey;
use super::hosts::HostNames;
use super::refusals::Cause;
use crate::annotate::Viewer;
use crate::profile::WallNanos;

/// How late a wrong try is answered that was one too many.
const PENALTY: Duration = Duration::from_secs(1);
/// Parameter of the page's address that is a link.
const PARAMETER: &str = "login=";
/// Headers that proxies add, besides those that begin with `x-forwarded-`.
const PROXY_HEADERS: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Who needs a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginMode {
    /// All but the user who started this.
    #[default]
    Others,
    /// All.
    Everyone,
    /// Nobody.
    Nobody,
}

/// Who may read `/metrics`.
#[derive(Clone, Debug, Default)]
pub enum MetricsAccess {
    /// Who may read everything.
    #[default]
    Login,
    /// Also who has the token in this file.
    TokenFile(PathBuf),
    /// Everybody.
    Open,
}

/// Who may read.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// Who needs a login.
    pub mode: LoginMode,
    /// Users who started this, and need none on loopback.
    pub starters: Vec<u32>,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
}

impl Default for LoginOptions {
    /// The user of this process, and a login for `/metrics`.
    fn default() -> Self {
        Self { mode: LoginMode::default(), starters: vec![holder::own_user()], metrics: MetricsAccess::default() }
    }
}

/// What becomes of a request.
pub enum Admission {
    /// It is answered.
    In,
    /// It is answered by this already.
    Out(HttpResponse),
    /// It is refused, for this cause, to this peer if that is known.
    Refused(Cause, Option<PeerKey>, HttpResponse),
}

/// Decides who may read.
#[derive(Debug)]
pub struct Login {
    mode: LoginMode,
    starters: Vec<u32>,
    attributes: bool,
    unencrypted: bool,
    database: PathBuf,
    token: TokenFile,
    metrics_open: bool,
    metrics_token: Option<TokenFile>,
    links: Links,
    tries: Tries,
    holders: Arc<Holders>,
    /// One search at a time: each reads all of `/proc` at worst.
    searching: Semaphore,
    clock: fn() -> WallNanos,
}

impl Login {
    /// Reads the token of `database`, or makes one, which is kept later. `behind_proxy`: whether connections may be a proxy's, so that their user says nothing.
    /// `unencrypted`: whether what is sent crosses a network as it is.
    ///
    /// # Errors
    /// The token file for `/metrics` cannot be used.
    pub fn new(
        options: &LoginOptions,
        database: &Path,
        behind_proxy: bool,
        unencrypted: bool,
        clock: fn() -> WallNanos,
    ) -> Result<Self, TokenError> {
        let overflow = holder::overflow_uid();
        let starters: Vec<u32> = options.starters.iter().copied().filter(|uid| *uid != overflow).collect();
        let metrics_token = match &options.metrics {
            MetricsAccess::TokenFile(path) => Some(TokenFile::given(path)?),
            MetricsAccess::Login | MetricsAccess::Open => None,
        };
        Ok(Self {
            mode: options.mode,
            attributes: options.mode == LoginMode::Others && !behind_proxy,
            unencrypted,
            token: TokenFile::of_database(database, &starters),
            starters,
            database: database.to_owned(),
            metrics_open: matches!(options.metrics, MetricsAccess::Open),
            metrics_token,
            links: Links::since(clock()),
            tries: Tries::default(),
            holders: Arc::default(),
            searching: Semaphore::new(1),
            clock,
        })
    }

    /// Keeps the token beside the database, which is there by now.
    pub fn keep(&self) {
        if self.mode != LoginMode::Nobody {
            self.token.keep();
        }
    }

    /// The page's address with a link that lets its first user in, unless nobody needs one.
    #[must_use]
    pub fn link(&self, url: &str) -> String {
        match self.mode {
            LoginMode::Nobody => url.to_owned(),
            LoginMode::Others | LoginMode::Everyone => {
                format!("{url}/{}", link_with(&self.token.current(), (self.clock)()))
            }
        }
    }

    /// What a person should know about who may read.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        if self.mode == LoginMode::Nobody {
            let open = "There is no login (--no-login): whoever reaches this address reads every profile.";
            return vec![open.to_owned()];
        }
        let in_memory =
            |why| format!("The login token is in memory only: {why}. `profiler url` cannot print links for it.");
        let unencrypted = "Logins and profiles cross the network unencrypted: listen on 127.0.0.1 behind a proxy with TLS \
            (--allow-host), or use ssh -L.";
        let unencrypted = self.unencrypted.then(|| unencrypted.to_owned());
        self.token.in_memory().map(in_memory).into_iter().chain(unencrypted).collect()
    }

    /// Lets a request in, or answers it.
    pub async fn admit(&self, hosts: &HostNames, request: &ServiceRequest) -> Admission {
        let (path, headers) = (request.path(), request.headers());
        let metrics = path == "/metrics";
        if self.mode == LoginMode::Nobody || path == "/healthz" || (metrics && self.metrics_open) {
            return Admission::In;
        }
        let token = self.token.current();
        if let Some(presented) = bearer(headers) {
            let for_metrics = self.metrics_token.as_ref().filter(|_| metrics).map(TokenFile::current);
            let right = token.is(presented) | for_metrics.is_some_and(|token| token.is(presented));
            return if right { Admission::In } else { self.wrong(request).await };
        }
        let peer = request.request().conn_data::<Peer>();
        let mut why = Why::NoLogin;
        let mut inside = false;
        if let Some(cookie) = cookie(headers, token.cookie()) {
            match token.open_session(cookie, (self.clock)()) {
                Some(session) => {
                    let its_user = match (session.uid, peer) {
                        (None, _) => true,
                        (Some(uid), Some(peer)) => peer.owner().await.is_some_and(|owner| owner.uid == uid),
                        (Some(_), None) => false,
                    };
                    inside = its_user && !session.ended;
                    why = Why::SessionEnded;
                }
                None => why = Why::Wrong,
            }
        }
        if !inside
            && self.is_direct(hosts, request.request())
            && let Some(peer) = peer
        {
            inside = self.is_starter(peer).await;
        }
        if let Some((link, rest)) = link_of(request) {
            if inside {
                return Admission::Out(go_on(&rest, None));
            }
            return self.follow(request, &token, link, &rest).await;
        }
        if inside {
            return Admission::In;
        }
        if why == Why::Wrong { self.wrong(request).await } else { self.refuse(request, why, None) }
    }

    /// Whether the peer's socket says who asks: no proxy can stand between.
    fn is_direct(&self, hosts: &HostNames, request: &HttpRequest) -> bool {
        self.attributes && !is_proxied(request) && hosts.is_loopback(request.headers())
    }

    /// Who looks at source text by a request that was let in: whose user on this host is certain only if it is one who started this.
    pub async fn viewer(&self, hosts: &HostNames, request: &HttpRequest) -> Viewer {
        if self.mode == LoginMode::Nobody {
            return Viewer::default();
        }
        let uid = match request.conn_data::<Peer>().filter(|_| self.is_direct(hosts, request)) {
            Some(peer) if self.is_starter(peer).await => peer.owner().await.map(|owner| owner.uid),
            _ => None,
        };
        Viewer::logged_in(uid)
    }

    /// Whether it is a user who started this, who asks by a program of theirs on this host.
    async fn is_starter(&self, peer: &Peer) -> bool {
        let search = || async {
            let Some(owner) = peer.owner().await.filter(|owner| self.starters.contains(&owner.uid)) else {
                return false;
            };
            let Ok(_turn) = self.searching.acquire().await else { return false };
            let (holders, starters) = (Arc::clone(&self.holders), self.starters.clone());
            web::block(move || holders.held_by(&starters, owner.inode)).await.unwrap_or(false)
        };
        *peer.starter.get_or_init(search).await
    }

    /// Uses a link, and sends the browser on with a session.
    async fn follow(&self, request: &ServiceRequest, token: &Token, link: &str, rest: &str) -> Admission {
        let Some(link) = token.open_link(link) else { return self.wrong(request).await };
        // Whoever only looks what is behind a link must not use it up.
        if request.method() != Method::GET {
            return self.refuse(request, Why::NoLogin, None);
        }
        let now = (self.clock)();
        if let Err(why) = self.links.use_up(link, now) {
            return self.refuse(request, why, None);
        }
        let uid = match request.request().conn_data::<Peer>() {
            Some(peer) => peer.owner().await.map(|owner| owner.uid),
            None => None,
        };
        let life = token::SESSION_LIFE.as_secs();
        let session = token.session(uid, now);
        // No path: the one that the browser sees, below a proxy too.
        // A proxy with TLS says so (`Forwarded`, `X-Forwarded-Proto`); without TLS a browser would drop a secure cookie. Who makes the
        // header up spoils only the session of their own answer.
        let secure = if request.connection_info().scheme() == "https" { "; Secure" } else { "" };
        let cookie = format!("{}={session}; Max-Age={life}; HttpOnly; SameSite=Strict{secure}", token.cookie());
        Admission::Out(go_on(rest, Some(&cookie)))
    }

    fn refuse(&self, request: &ServiceRequest, why: Why, who: Option<PeerKey>) -> Admission {
        let cause = match why {
            Why::NoLogin | Why::SessionEnded => Cause::LoginRequired,
            Why::Wrong | Why::LinkExpired | Why::LinkUsed => Cause::LoginWrong,
            Why::TooMany => Cause::LoginTries,
        };
        let token_file = self.token.in_memory().is_none().then(|| self.token.path());
        let refusal = Refusal { why, database: &self.database, token_file };
        Admission::Refused(cause, who, refusal.answer(request.request()))
    }

    /// Counts a wrong try, and refuses it: late, if it is one too many.
    async fn wrong(&self, request: &ServiceRequest) -> Admission {
        let peer = request.request().conn_data::<Peer>();
        let who = match peer {
            Some(peer) => peer.key().await,
            None => PeerKey::Address(std::net::Ipv4Addr::UNSPECIFIED.into()),
        };
        if self.tries.wrong(who, Instant::now()) {
            return self.refuse(request, Why::Wrong, Some(who));
        }
        rt::time::sleep(PENALTY).await;
        self.refuse(request, Why::TooMany, Some(who))
    }
}

/// What follows the page's address in a link.
#[must_use]
pub fn link_with(token: &Token, now: WallNanos) -> String {
    format!("?{PARAMETER}{}", token.link(now))
}

/// The token of `Authorization: Bearer` (RFC 6750); other schemes, a proxy's own, are not ours to judge.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether something between the peer and who asks may have sent it.
fn is_proxied(request: &HttpRequest) -> bool {
    let named = |name: &str| PROXY_HEADERS.contains(&name) || name.starts_with("x-forwarded-");
    request.version() < Version::HTTP_11 || request.headers().keys().any(|name| named(name.as_str()))
}

/// The link in the page's address, and what else is there.
fn link_of(request: &ServiceRequest) -> Option<(&str, String)> {
    if request.path() != "/" {
        return None;
    }
    let parts = || request.query_string().split('&');
    let link = parts().find_map(|part| part.strip_prefix(PARAMETER))?;
    let rest: Vec<&str> = parts().filter(|part| !part.starts_with(PARAMETER) && !part.is_empty()).collect();
    Some((link, rest.join("&")))
}

/// To the page as its address is without a link; relative, for a proxy may have it below a path.
fn go_on(rest: &str, cookie: Option<&str>) -> HttpResponse {
    let address = if rest.is_empty() { "./".to_owned() } else { format!("./?{rest}") };
    let mut response = HttpResponse::SeeOther();
    response.insert_header((header::LOCATION, address));
    if let Some(cookie) = cookie {
        response.insert_header((header::SET_COOKIE, cookie));
    }
    response.finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use actix_web::test::TestRequest;

    use super::*;

    /// The link leaves the address; everything else in it stays as it was, byte by byte.
    #[test]
    fn a_link_leaves_the_rest_of_the_address_as_it_was() {
        let of = |uri: &str| {
            let request = TestRequest::with_uri(uri).to_srv_request();
            link_of(&request).map(|(link, rest)| (link.to_owned(), rest))
        };
        let some = |link: &str, rest: &str| Some((link.to_owned(), rest.to_owned()));
        assert_eq!(of("/?login=ab"), some("ab", ""));
        assert_eq!(
            of("/?from=now-1h&login=ab&filter=%7Bcomm%3D%22x%22%7D"),
            some("ab", "from=now-1h&filter=%7Bcomm%3D%22x%22%7D")
        );
        assert_eq!(of("/?login=a&login=b"), some("a", ""));
        assert_eq!(of("/?xlogin=ab"), None);
        assert_eq!(of("/api/v1/top?login=ab"), None);
    }

    /// Bearer tokens in any case of the word; nothing of other schemes.
    #[test]
    fn bearer_tokens_are_read() {
        let of = |value: &'static str| {
            let request = TestRequest::get().insert_header((header::AUTHORIZATION, value)).to_srv_request();
            bearer(request.headers()).map(<[u8]>::to_vec)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some(b"abc".as_slice()));
        assert_eq!(of("bearer   abc ").as_deref(), Some(b"abc".as_slice()));
        assert_eq!(of("Bearer ").as_deref(), Some(b"".as_slice()));
        for other in ["Basic YWJj", "Bearerabc", "", "abc"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    /// One cookie among others, by its whole name.
    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let request =
            TestRequest::get().insert_header((header::COOKIE, "a=1; profiler-12=x; profiler-1=y")).to_srv_request();
        assert_eq!(cookie(request.headers(), "profiler-1"), Some("y"));
        assert_eq!(cookie(request.headers(), "profiler-12"), Some("x"));
        assert_eq!(cookie(request.headers(), "rofiler-1"), None);
    }

    /// Whatever proxies add shows one.
    #[test]
    fn what_proxies_add_is_seen() {
        for name in ["Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Whatever"] {
            assert!(is_proxied(&TestRequest::get().insert_header((name, "x")).to_http_request()), "{name}");
        }
        assert!(is_proxied(&TestRequest::get().version(Version::HTTP_10).to_http_request()));
        assert!(!is_proxied(&TestRequest::get().insert_header(("Accept", "x")).to_http_request()));
    }

    /// The user that a foreign user namespace's users are shown as starts nothing.
    #[test]
    fn nobody_is_no_starter() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("x.db");
        let options = LoginOptions { starters: vec![0, holder::overflow_uid(), 1000], ..LoginOptions::default() };
        let login = Login::new(&options, &database, false, false, || WallNanos(0)).unwrap();
        assert_eq!(login.starters, [0, 1000]);
    }
}
