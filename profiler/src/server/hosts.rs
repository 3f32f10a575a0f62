//! Which `Host` a request may carry: the defence against DNS rebinding.
//!
//! A web page can point its own name at 127.0.0.1 and have the browser ask us; the name in `Host` is then the page's.
//! So names are compared exactly, letter case aside: no suffixes, no trailing dot, no resolving. Allowed are `localhost`,
//! `127.0.0.1` and `[::1]`, the address listened on, and the names given by `--allow-host`. The port plays no part in
//! rebinding and may be any for these (`ssh -L 8000:localhost:7117` makes it 8000), unless `--allow-host` names one.

use std::net::SocketAddr;

use actix_web::http::header::{self, HeaderMap};

/// What a browser on this host calls it.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The allowed names.
#[derive(Clone, Debug)]
pub struct HostNames(Vec<Allowed>);

#[derive(Clone, Debug)]
struct Allowed {
    name: String,
    port: Option<u16>,
    /// By `--allow-host`.
    given: bool,
}

impl HostNames {
    /// Loopback names, the address of `listen` unless it stands for every address, and `extra` (`name` or `name:port`).
    ///
    /// # Errors
    /// The entry of `extra` that is neither.
    pub fn new(listen: SocketAddr, extra: &[String]) -> Result<Self, String> {
        let own = match listen.ip() {
            ip if ip.is_unspecified() => None,
            std::net::IpAddr::V4(ip) => Some(ip.to_string()),
            std::net::IpAddr::V6(ip) => Some(format!("[{ip}]")),
        };
        let fixed = LOOPBACK.map(str::to_owned).into_iter().chain(own);
        let mut names: Vec<_> = fixed.map(|name| Allowed { name, port: None, given: false }).collect();
        for entry in extra {
            let (name, port) = split(entry).filter(|(name, _)| is_plausible(name)).ok_or_else(|| entry.clone())?;
            names.push(Allowed { name: name.to_owned(), port, given: true });
        }
        Ok(Self(names))
    }

    /// Whether a request with this `Host` (or authority) is meant for us.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let Some((name, port)) = split(host) else { return false };
        let fits = |allowed: &Allowed| {
            allowed.name.eq_ignore_ascii_case(name) && (allowed.port.is_none() || allowed.port == port)
        };
        self.0.iter().any(fits)
    }

    /// Whether the request is addressed to a loopback name, as it is when nothing stands between.
    #[must_use]
    pub fn is_loopback(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(split);
        host.is_some_and(|(name, _)| LOOPBACK.iter().any(|loopback| loopback.eq_ignore_ascii_case(name)))
    }

    /// Whether `--allow-host` names exactly this, port and all: where the page is for those who come by a proxy that does not pass
    /// `Host` on. Loopback names are nobody's alone: on another port of them there is another page.
    #[must_use]
    pub fn is_given(&self, host: &str) -> bool {
        let fits = |(name, port): (&str, Option<u16>)| {
            self.0
                .iter()
                .any(|allowed| allowed.given && allowed.name.eq_ignore_ascii_case(name) && allowed.port == port)
        };
        split(host).is_some_and(fits)
    }
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let name_len = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at_checked(name_len)?;
    if rest.is_empty() {
        return Some((name, None));
    }
    let digits = rest.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((name, Some(digits.parse().ok()?)))
}

/// Not a URL, not a pattern: what a browser can send.
fn is_plausible(name: &str) -> bool {
    let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn names(extra: &[&str]) -> HostNames {
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        HostNames::new("127.0.0.1:7117".parse().unwrap(), &extra).unwrap()
    }

    /// Loopback names pass in every form a browser writes them, and nothing that only looks like one.
    #[test]
    fn only_exact_loopback_names_pass() {
        let table = [
            ("localhost", true),
            ("localhost:7117", true),
            ("LOCALHOST:7117", true),
            ("localhost:8000", true),
            ("127.0.0.1", true),
            ("127.0.0.1:7117", true),
            ("[::1]", true),
            ("[::1]:7117", true),
            ("evil.example", false),
            ("evil.example:7117", false),
            ("localhost.evil", false),
            ("localhost.evil:7117", false),
            ("127.0.0.1.nip.io", false),
            ("localhost.", false),
            ("localhost.:7117", false),
            ("127.1", false),
            ("127.0.0.2", false),
            ("2130706433", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[0:0:0:0:0:0:0:1]", false),
            ("localhost:", false),
            ("localhost:+80", false),
            ("localhost:99999", false),
            ("localhost:80:80", false),
            ("evil@localhost", false),
            ("localhost@evil.example", false),
            ("localhost/", false),
            ("localhost ", false),
            ("", false),
            (":7117", false),
        ];
        for (host, allowed) in table {
            assert_eq!(names(&[]).allows(host), allowed, "{host:?}");
        }
    }

    /// `--allow-host` adds exactly what it names; a port in it binds.
    #[test]
    fn allowed_hosts_are_added_exactly() {
        let names = names(&["prof.example", "proxy.example:8443"]);
        for (host, allowed) in [
            ("prof.example", true),
            ("Prof.Example:443", true),
            ("x.prof.example", false),
            ("proxy.example:8443", true),
            ("proxy.example", false),
            ("proxy.example:7117", false),
        ] {
            assert_eq!(names.allows(host), allowed, "{host:?}");
        }
    }

    /// What `--allow-host` names is where the page is, that port of it and no other.
    #[test]
    fn the_page_is_where_allowed_hosts_say() {
        let names = names(&["prof.example", "proxy.example:8443"]);
        for (host, given) in [
            ("prof.example", true),
            ("PROF.example", true),
            ("prof.example:8080", false),
            ("proxy.example:8443", true),
            ("proxy.example", false),
            ("localhost", false),
            ("127.0.0.1:7117", false),
            ("evil.example", false),
            ("", false),
        ] {
            assert_eq!(names.is_given(host), given, "{host:?}");
        }
    }

    /// The address listened on is a name of ours; "every address" is not.
    #[test]
    fn the_address_listened_on_is_allowed() {
        let on = |listen: &str| HostNames::new(listen.parse().unwrap(), &[]).unwrap();
        assert!(on("192.0.2.7:7117").allows("192.0.2.7:7117"));
        assert!(on("[2001:db8::7]:7117").allows("[2001:db8::7]:7117"));
        assert!(!on("0.0.0.0:7117").allows("0.0.0.0:7117"));
        assert!(!on("0.0.0.0:7117").allows("192.0.2.7:7117"));
    }

    /// Patterns and URLs are refused at the start, not silently never matched.
    #[test]
    fn entries_that_no_browser_sends_are_refused() {
        for entry in ["", "*", "*.example", "http://prof.example", "prof.example/", "a b", "[::1", "[x]", "a:b", "a:"] {
            let refused = HostNames::new("127.0.0.1:1".parse().unwrap(), &[entry.to_owned()]);
            assert_eq!(refused.err().as_deref(), Some(entry));
        }
    }
}
