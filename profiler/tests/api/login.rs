//! Who may read. The other users of these tests are the test's own, whom the server does not know as who started it: those that are
//! really others are in `tests/end_to_end/login.rs`.

use std::time::{Duration, Instant};

use profiler::server::{LoginMode, MetricsAccess, read_token, rotate_token, token_path};

use crate::client::{Answer, Server, noon, uid};

/// Every path there is, and some that there are not.
fn paths(server: &Server) -> Vec<String> {
    let document = server.get_with("/api/openapi.json", &server.bearer()).json();
    let documented = document["paths"].as_object().unwrap().keys().map(|path| path.replace("{name}", "comm"));
    let page = server.get_with("/", &server.bearer()).body;
    let assets = page.split('"').filter_map(|part| part.strip_prefix("./")).map(|asset| format!("/{asset}"));
    let others = [
        "/",
        "/?from=now-1h",
        "/index.html",
        "/nothing",
        "/api",
        "/api/nothing",
        "/assets/x.js",
        "/healthz/",
        "//healthz",
    ];
    let all: Vec<_> = documented.chain(assets).chain(others.map(str::to_owned)).collect();
    assert!(all.len() > 25 && all.iter().any(|path| path.ends_with(".js")), "{all:?}");
    all
}

fn method(path: &str) -> &'static str {
    if path == "/api/v1/symbolize" { "POST" } else { "GET" }
}

/// `name=value` of the cookie that an answer sets.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn path_of(link: &str) -> &str {
    link.find("/?").map(|at| &link[at..]).unwrap()
}

/// The user who started it needs nothing, over IPv4 and IPv6; what they read is not told to any cache or site.
#[test]
fn who_started_it_needs_no_login() {
    for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let server = Server::with(None, |options| options.listen = listen.parse().unwrap());
        for path in ["/", "/metrics", "/api/v1/labels", "/api/v1/status"] {
            let answer = server.get(path);
            assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "{listen} {path} {answer:?}");
        }
    }
}

/// Without a login there is one thing to read: whether windows are stored. The page that says so names the way in.
#[test]
fn others_read_nothing_but_health() {
    let server = Server::of_others();
    assert_eq!(server.get("/healthz").status, 200);
    for path in paths(&server) {
        if path == "/healthz" {
            continue;
        }
        for method in [method(&path), "HEAD"] {
            let answer = server.ask(method, &path, "");
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"profiler\""), "{path}");
            assert_eq!(
                (answer.header("referrer-policy"), answer.header("cache-control")),
                (Some("no-referrer"), Some("no-store"))
            );
            assert_eq!((answer.header("set-cookie"), answer.header("etag")), (None, None), "{path}");
        }
        let answer = server.ask(method(&path), &path, "");
        if path.starts_with("/api") || path == "/metrics" {
            assert_eq!(answer.problem(), "login_required", "{path}");
        }
        let way_in = format!(
            "profiler url --db {} --base http://localhost:{}",
            server.database.display(),
            server.address.port()
        );
        assert!(answer.body.contains(&way_in), "{path}: {}", answer.body);
    }
}

/// A program sends the token and reads everything; nothing like it will do, and other schemes are not looked at.
#[test]
fn a_program_sends_the_token() {
    let server = Server::of_others();
    for path in paths(&server) {
        let answer = server.ask(method(&path), &path, &server.bearer());
        assert_ne!(answer.status, 401, "{path}: {answer:?}");
    }
    let token = read_token(&server.database).unwrap().text().to_owned();
    for wrong in ["x", &token[1..], &format!("{token}x"), &token.to_uppercase()] {
        let answer = server.get_with("/api/v1/status", &format!("Authorization: Bearer {wrong}\r\n"));
        assert_eq!((answer.status, answer.problem().as_str()), (401, "wrong_login"), "{wrong}");
        let command = answer.json()["command"].as_str().unwrap_or_default().to_owned();
        assert!(command.starts_with("sudo profiler url --db "), "{command}");
        assert!(token.len() < 8 || !answer.body.contains(&token[1..]), "{answer:?}");
    }
    let basic = server.get_with("/api/v1/status", "Authorization: Basic cm9vdDpyb290\r\n");
    assert_eq!(basic.problem(), "login_required");
}

/// Even who started it is refused with a wrong token: a script with an old one must hear of it.
#[test]
fn a_wrong_token_is_wrong_for_everybody() {
    let server = Server::start();
    assert_eq!(server.get_with("/api/v1/status", "Authorization: Bearer x\r\n").problem(), "wrong_login");
}

/// Ten wrong ones are answered at once, more come late and are told to wait; the right one is never kept waiting by them.
#[test]
fn guesses_are_limited_and_lock_nobody_out() {
    let server = Server::of_others();
    let guess = || server.get_with("/api/v1/status", "Authorization: Bearer 00000000000000000000000000000000\r\n");
    for _ in 0..10 {
        assert_eq!(guess().status, 401);
    }
    let asked = Instant::now();
    let late = guess();
    assert_eq!((late.status, late.problem().as_str()), (429, "too_many_tries"));
    assert!(asked.elapsed() >= Duration::from_secs(1) && late.header("retry-after").is_some(), "{late:?}");
    assert_eq!(server.get_with("/?login=00", "").status, 429, "a link is a guess too");
    assert_eq!(server.get_with("/api/v1/status", &server.bearer()).status, 200);
    assert_eq!(server.get(path_of(&server.link)).status, 303);
    let metrics = server.get_with("/metrics", &server.bearer()).body;
    assert!(metrics.contains("profiler_http_refused_total{cause=\"wrong_login\"} 10"), "{metrics}");
    assert!(metrics.contains("profiler_http_refused_total{cause=\"too_many_tries\"} 2"), "{metrics}");
}

/// A link leaves the address at once and the view in it as it was; the session that it gives reads everything, by a cookie that no
/// script sees and no other site's page makes the browser send. It works once.
#[test]
fn a_link_lets_one_browser_in_once() {
    let server = Server::of_others();
    let link = path_of(&server.link);
    let looked = server.ask("HEAD", link, "");
    assert_eq!(looked.status, 401, "who only looks does not use it up");
    let first = server.get(&format!("{link}&from=now-1h&filter=%7Bcomm%3D%22a%22%7D"));
    assert_eq!((first.status, first.header("location")), (303, Some("./?from=now-1h&filter=%7Bcomm%3D%22a%22%7D")));
    let set = first.header("set-cookie").unwrap();
    assert!(set.ends_with("; HttpOnly; SameSite=Strict") && !set.contains("Domain"), "{set}");
    let (name, value) = (set.split('=').next().unwrap(), cookie(&first));
    let token = read_token(&server.database).unwrap().text().to_owned();
    assert!(!format!("{first:?}").contains(&token) && !server.link.contains(&token));
    let cookie = format!("Cookie: other=1; {value}\r\n");
    for path in ["/", "/api/v1/status", "/metrics", "/api/v1/labels"] {
        assert_eq!(server.get_with(path, &cookie).status, 200, "{path}");
    }
    let again = server.get(link);
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
    assert!(again.body.contains("This link was used"), "{again:?}");
    // With a session a used link leads to the page: a click on it twice is no fault.
    assert_eq!(server.get_with(link, &cookie).status, 303);
    for changed in
        [format!("Cookie: {value}0\r\n"), format!("Cookie: {name}=1.x.0.0\r\n"), format!("Cookie: x{value}\r\n")]
    {
        assert_eq!(server.get_with("/api/v1/status", &changed).status, 401, "{changed}");
    }
    // The other pages of this host, to which the browser does send it, have nothing of it.
    for foreign in
        ["Sec-Fetch-Site: same-site\r\n", "Origin: http://localhost:3000\r\n", "Origin: http://evil.example\r\n"]
    {
        assert_eq!(
            server.get_with("/api/v1/status", &format!("{cookie}{foreign}")).problem(),
            "cross_site",
            "{foreign}"
        );
    }
}

/// What came over TLS goes back over TLS only: a proxy tells, by either of the headers that proxies have for it.
#[test]
fn a_session_through_a_proxy_with_tls_is_for_tls_only() {
    let server = Server::of_others();
    let token = read_token(&server.database).unwrap();
    for (headers, secure) in [
        ("X-Forwarded-Proto: https\r\n", true),
        ("Forwarded: for=192.0.2.60;proto=https;by=203.0.113.43\r\n", true),
        ("X-Forwarded-Proto: http\r\n", false),
        ("", false),
    ] {
        let link = format!("/{}", profiler::server::link_with(&token, noon()));
        let answer = server.get_with(&link, headers);
        assert_eq!(answer.status, 303, "{headers}");
        assert_eq!(answer.header("set-cookie").unwrap().ends_with("; SameSite=Strict; Secure"), secure, "{headers}");
    }
}

/// Another token ends sessions, links and programs of the one before, at once and without a restart.
#[test]
fn another_token_ends_everything_before_it() {
    let server = Server::of_others();
    let link = path_of(&server.link);
    let session = format!("Cookie: {}\r\n", cookie(&server.get(link)));
    let bearer = server.bearer();
    let unused = format!("/{}", profiler::server::link_with(&read_token(&server.database).unwrap(), noon()));
    for header in [&session, &bearer] {
        assert_eq!(server.get_with("/api/v1/status", header).status, 200);
    }
    rotate_token(&server.database).unwrap();
    for header in [&session, &bearer] {
        assert_eq!(server.get_with("/api/v1/status", header).status, 401);
    }
    assert_eq!(server.get(&unused).status, 401);
    assert_eq!(server.get_with("/api/v1/status", &server.bearer()).status, 200);
    let fresh = format!("/{}", profiler::server::link_with(&read_token(&server.database).unwrap(), noon()));
    assert_eq!(server.get(&fresh).status, 303);
}

/// What may have come through a proxy is nobody's, whoever runs the proxy: by its headers, by HTTP/1.0, by the name asked for, and
/// always when a name was allowed for one.
#[test]
fn behind_a_proxy_everybody_needs_a_login() {
    let server = Server::start();
    for header in [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "Via: 1.1 x",
        "X-Real-IP: ::1",
    ] {
        assert_eq!(server.get_with("/api/v1/status", &format!("{header}\r\n")).problem(), "login_required", "{header}");
    }
    let old = server.raw(b"GET /api/v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert_eq!(Answer::parse(&old).status, 401);
    let proxied = Server::with(None, |options| options.allow_hosts = vec!["prof.example".into()]);
    for host in ["prof.example", "localhost"] {
        let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        assert_eq!(Answer::parse(&proxied.raw(format!("{request}\r\n").as_bytes())).status, 401, "{host}");
        let with = format!("{request}{}\r\n", proxied.bearer());
        assert_eq!(Answer::parse(&proxied.raw(with.as_bytes())).status, 200, "{host}");
    }
}

/// A page elsewhere in the browser of who started it gains nothing by that: not as itself, not by a name pointed here.
#[test]
fn other_pages_gain_nothing_by_the_user_who_started_it() {
    let live = profiler::server::SharedLive::default();
    let server = Server::with(Some(live.clone()), |_| ());
    for path in ["/api/v1/status", "/api/v1/top", "/api/openapi.json", "/api/v1/export/folded", "/metrics"] {
        for headers in [
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
            "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",
            "Origin: http://evil.example\r\n",
            "Origin: null\r\n",
        ] {
            let answer = server.get_with(path, headers);
            assert_eq!((answer.status, answer.problem().as_str()), (403, "cross_site"), "{path} {headers}");
        }
        let rebound =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n", server.address.port());
        assert_eq!(Answer::parse(&server.raw(rebound.as_bytes())).status, 421, "{path}");
    }
    assert_eq!(server.ask("POST", "/api/v1/symbolize", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    assert!(!live.snapshot().name_again);
}

/// `/metrics` by choice: with a token that opens nothing else, or to everybody.
#[test]
fn metrics_can_have_a_token_of_their_own_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics.token");
    let secret = "scrape-scrape-scrape-scrape-1234";
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let access = MetricsAccess::TokenFile(file);
    let server = Server::with(None, |options| {
        options.login.starters = vec![uid() + 1];
        options.login.metrics = access;
    });
    let bearer = format!("Authorization: Bearer {secret}\r\n");
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.get_with("/metrics", &bearer).status, 200);
    assert_eq!(server.get_with("/metrics", &server.bearer()).status, 200);
    for path in ["/", "/api/v1/status"] {
        assert_eq!(server.get_with(path, &bearer).status, 401, "{path}");
    }
    let open = Server::with(None, |options| {
        options.login.starters = vec![uid() + 1];
        options.login.metrics = MetricsAccess::Open;
    });
    assert_eq!((open.get("/metrics").status, open.get("/api/v1/status").status), (200, 401));
}

/// Everybody may be asked, or nobody; the second says so where people look.
#[test]
fn everybody_or_nobody_can_be_asked() {
    let everyone = Server::with(None, |options| options.login.mode = LoginMode::Everyone);
    assert_eq!(everyone.get("/api/v1/status").status, 401);
    assert_eq!(everyone.get_with("/api/v1/status", &everyone.bearer()).status, 200);
    let nobody = Server::with(None, |options| {
        options.login.starters = vec![uid() + 1];
        options.login.mode = LoginMode::Nobody;
    });
    let status = nobody.get("/api/v1/status").json();
    assert!(status["notices"].to_string().contains("--no-login"), "{status}");
    assert_eq!(nobody.link, format!("http://{}", nobody.address), "no link where none is needed");
}

/// A token file that is not to be trusted costs the file, not the service: the token is in memory, and the page says why.
#[test]
fn a_planted_token_file_is_not_taken() {
    let server = Server::with(None, |options| {
        std::fs::write(token_path(&options.database), "planted-planted-planted-planted-").unwrap();
        std::fs::set_permissions(token_path(&options.database), std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
    });
    let planted = "Authorization: Bearer planted-planted-planted-planted-\r\n";
    assert_eq!(server.get_with("/api/v1/status", planted).status, 401);
    let status = server.get("/api/v1/status").json();
    assert!(status["notices"].to_string().contains("in memory only"), "{status}");
    assert_eq!(server.get_with(path_of(&server.link), "X-Forwarded-For: x\r\n").status, 303, "the printed link works");
}
