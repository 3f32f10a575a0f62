//! The token, and what is derived from it: one-time links and sessions.
//!
//! 256 random bits as text. Links and sessions are authenticated with it (HMAC-SHA256), so that `profiler url` needs to ask nobody, a
//! restart ends no session, and another token ends all of them. Whatever is presented is compared in constant time: by a tag under a
//! key of this process alone.
//!
//! - A link: 48 bits of milliseconds at which it was made, 64 random bits, the tag; in hex. It holds for [`LINK_LIFE`].
//! - A session: second at which it ends, user of the connection that it was made on (`x` without one), 64 random bits, the tag.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use ring::hmac;

use crate::profile::WallNanos;

/// How long a link can be used.
pub const LINK_LIFE: Duration = Duration::from_secs(600);
/// How long a session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Shortest text that is taken for a token: 32 characters of hex are 128 bits.
const SHORTEST: usize = 32;
const LONGEST: usize = 256;
const LINK_PAYLOAD: usize = 12 + 16;

/// Key of comparisons: what two texts' tags under it say leaks nothing about either.
static COMPARING: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()));

/// A token.
pub struct Token {
    text: String,
    key: hmac::Key,
    tag: hmac::Tag,
    cookie: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Who has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user of this host whose connection it was made on.
    pub uid: Option<u32>,
    /// Whether its time is over.
    pub ended: bool,
}

/// A link that was made with this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// When, in milliseconds of the wall clock.
    pub made_ms: i64,
    /// What makes it one of its own.
    pub nonce: u64,
}

impl Token {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self::of(hex(&random::<32>()))
    }

    /// One that was written down; `None` for what is too short, too long, or cannot be sent in a header (RFC 6750, 2.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        ((SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(plain)).then(|| Self::of(text.to_owned()))
    }

    fn of(text: String) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        let tag = hmac::sign(&COMPARING, text.as_bytes());
        // Cookies of one host are shared by its ports: two profilers must not take each other's place.
        let cookie = format!("profiler-{}", &hex(hmac::sign(&key, b"cookie").as_ref())[..8]);
        Self { text, key, tag, cookie }
    }

    /// What is written down.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of its cookie.
    #[must_use]
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Whether `presented` is it.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        hmac::verify(&COMPARING, presented, self.tag.as_ref()).is_ok()
    }

    /// A new link.
    #[must_use]
    pub fn link(&self, now: WallNanos) -> String {
        let made = u64::try_from(now.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
        self.sealed("link", format!("{made:012x}{}", hex(&random::<8>())), "")
    }

    /// A link of this token, however old.
    #[must_use]
    pub fn open_link(&self, text: &str) -> Option<Link> {
        let (payload, tag) = text.split_at_checked(LINK_PAYLOAD)?;
        self.verify("link", payload, tag)?;
        let made_ms = i64::from_str_radix(&payload[..12], 16).ok()?;
        Some(Link { made_ms, nonce: u64::from_str_radix(&payload[12..], 16).ok()? })
    }

    /// A new session.
    #[must_use]
    pub fn session(&self, uid: Option<u32>, now: WallNanos) -> String {
        let ends = now.as_millis() / 1000 + SESSION_LIFE.as_secs().cast_signed();
        let uid = uid.map_or("x".to_owned(), |uid| uid.to_string());
        self.sealed("session", format!("{ends}.{uid}.{}", hex(&random::<8>())), ".")
    }

    /// A session of this token.
    #[must_use]
    pub fn open_session(&self, text: &str, now: WallNanos) -> Option<Session> {
        let (payload, tag) = text.rsplit_once('.')?;
        self.verify("session", payload, tag)?;
        let mut parts = payload.split('.');
        let ends: i64 = parts.next()?.parse().ok()?;
        let uid = parts.next()?;
        let uid = if uid == "x" { None } else { Some(uid.parse().ok()?) };
        Some(Session { uid, ended: now.as_millis() / 1000 >= ends })
    }

    fn sealed(&self, what: &str, payload: String, between: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{what}:{payload}").as_bytes());
        payload + between + &hex(tag.as_ref())
    }

    fn verify(&self, what: &str, payload: &str, tag: &str) -> Option<()> {
        hmac::verify(&self.key, format!("{what}:{payload}").as_bytes(), &unhex(tag)?).ok()
    }
}

/// Random bytes of the kernel's.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Fails without the system call only, which Linux has since 3.17.
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("the kernel gives random bytes");
    }
    bytes
}

/// A name that nobody can foresee.
#[must_use]
pub fn random_name() -> String {
    hex(&random::<8>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a string does not fail");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) || text.len() > 2 * LONGEST {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn noon() -> WallNanos {
        WallNanos::from_millis(1_793_534_400_123)
    }

    /// A token is itself and nothing else: not a part of it, not with more behind it, not of other case.
    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token::random();
        let text = token.text().to_owned();
        assert!(token.is(text.as_bytes()) && text.len() == 64);
        for wrong in [&text[..63], &format!("{text}0"), "", &text.to_uppercase(), &"0".repeat(64)] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(Token::parse(&format!("  {text}\n")).unwrap().is(text.as_bytes()));
        for bad in ["", "short", &"x".repeat(257), &"ä".repeat(32), &format!("{text}\n{text}")] {
            assert!(Token::parse(bad).is_none(), "{bad:?}");
        }
    }

    /// Every bit of a link and of a session counts, neither passes for the other, and another token's are nothing.
    #[test]
    fn what_is_changed_or_of_another_token_is_nothing() {
        let token = Token::random();
        let (link, session) = (token.link(noon()), token.session(Some(1000), noon()));
        assert_eq!(token.open_link(&link).unwrap().made_ms, noon().as_millis());
        assert_ne!(token.link(noon()), link, "two links of one moment are two");
        assert_eq!(token.open_session(&session, noon()), Some(Session { uid: Some(1000), ended: false }));
        for at in 0..link.len() {
            let mut changed = link.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(token.open_link(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for at in 0..session.len() {
            let mut changed = session.clone().into_bytes();
            changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
            assert_eq!(token.open_session(std::str::from_utf8(&changed).unwrap(), noon()), None, "{at}");
        }
        let other = Token::random();
        assert_eq!((other.open_link(&link), other.open_session(&session, noon())), (None, None));
        assert_eq!(token.open_session(&link, noon()), None);
        for nonsense in ["", ".", "..", "x", "ä", &"ä".repeat(46), &"0".repeat(92), &"f".repeat(4000), "1.x.0.00"] {
            assert_eq!(token.open_link(nonsense), None, "{nonsense}");
            assert_eq!(token.open_session(nonsense, noon()), None, "{nonsense}");
        }
    }

    /// A session has its time.
    #[test]
    fn a_session_ends() {
        let token = Token::random();
        let session = token.session(None, noon());
        let after = |seconds: u64| {
            let then = WallNanos::from_millis(noon().as_millis() + (seconds * 1000).cast_signed());
            token.open_session(&session, then).unwrap()
        };
        assert_eq!(after(SESSION_LIFE.as_secs() - 1), Session { uid: None, ended: false });
        assert_eq!(after(SESSION_LIFE.as_secs()), Session { uid: None, ended: true });
    }
}
