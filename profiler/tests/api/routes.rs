//! Routes and what they answer, data aside.

use std::time::Duration;

use profiler::profile::WallNanos;
use profiler::server::{LiveStatus, SharedLive};

use crate::client::{Server, noon};

/// Each path of the OpenAPI document leads to an endpoint that answers as the document says it may.
#[test]
fn every_documented_route_answers() {
    let server = Server::start();
    let document = server.get("/api/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 11, "{paths:?}");
    for (path, item) in paths {
        let method = if path == "/api/v1/symbolize" { "post" } else { "get" };
        assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), [method], "{path}");
        let answer = server.ask(&method.to_uppercase(), &path.replace("{name}", "comm"), "");
        let answers = item[method]["responses"].as_object().unwrap();
        assert!(answers.contains_key(&answer.status.to_string()), "{path}: {answer:?}");
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
}

/// HEAD is GET without the body.
#[test]
fn head_answers_as_get_without_the_body() {
    let server = Server::start();
    for path in ["/healthz", "/api/openapi.json", "/", "/api/nothing"] {
        let (get, head) = (server.get(path), server.ask("HEAD", path, ""));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
}

/// What is wrong with a question is said with a stable code.
#[test]
fn bad_questions_say_what_is_wrong() {
    let server = Server::start();
    let table = [
        ("/api/v1/flamegraph?limit=0", 400, "limit_out_of_range"),
        ("/api/v1/flamegraph?limit=200001", 400, "limit_out_of_range"),
        ("/api/v1/timeline?limit=5001", 400, "limit_out_of_range"),
        ("/api/v1/top?limit=4294967295", 400, "limit_out_of_range"),
        ("/api/v1/top?limit=4294967296", 400, "bad_parameter"),
        ("/api/v1/top?limit=-1", 400, "bad_parameter"),
        ("/api/v1/top?limit=many", 400, "bad_parameter"),
        ("/api/v1/top?unknown=1", 400, "bad_parameter"),
        ("/api/v1/top?sort=line", 400, "bad_parameter"),
        ("/api/v1/top?order=up", 400, "bad_parameter"),
        ("/api/v1/top?search=/(/", 400, "bad_parameter"),
        ("/api/v1/flamegraph?group=nothing", 400, "unknown_label"),
        ("/api/v1/flamegraph?below=main", 400, "bad_parameter"),
        ("/api/v1/flamegraph?mode=bottomup&below=1-00000000000000", 400, "bad_parameter"),
        ("/api/v1/top?from=now-1h&from=now-2h", 400, "bad_parameter"),
        ("/api/v1/labels?from=now", 400, "bad_parameter"),
        ("/api/v1/status?x", 400, "bad_parameter"),
        ("/api/v1/top?from=yesterday", 400, "bad_time_range"),
        ("/api/v1/export/folded?from=", 400, "bad_time_range"),
        ("/api/v1/export/svg?from=now&to=now-1h", 400, "bad_time_range"),
        ("/api/v1/labels/nothing/values", 404, "unknown_label"),
        ("/api/v1/labels/%2e%2e%2fstatus/values", 404, "unknown_label"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/timeline/", 404, "not_found"),
        ("/api", 404, "not_found"),
        ("/api/", 404, "not_found"),
    ];
    for (path, status, code) in table {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{path}: {answer:?}");
    }
}

/// The page, or where it is to come from.
#[test]
fn the_root_is_a_page() {
    let server = Server::start();
    let answer = server.get("/");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{answer:?}");
    assert_eq!(server.get("/?from=now-1h").status, 200, "the page's state is in the query string");
    match answer.header("etag") {
        Some(tag) => {
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let again = server.get_with("/", &format!("If-None-Match: {tag}\r\n"));
            assert_eq!((again.status, again.body.as_str()), (304, ""));
        }
        None => assert!(answer.body.contains("make web"), "{answer:?}"),
    }
}

/// Answers are compressed for those who can read it.
#[test]
fn answers_are_compressed_on_request() {
    let server = Server::start();
    let encoding = |accepted: &str| {
        let answer = server.get_with("/api/openapi.json", &format!("Accept-Encoding: {accepted}\r\n"));
        answer.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(encoding("gzip").as_deref(), Some("gzip"));
    assert_eq!(encoding("gzip, deflate, br, zstd").as_deref(), Some("zstd"));
    assert_eq!(encoding("identity"), None);
}

/// The page's own files are packed already, and who reads that gets them so.
#[test]
fn the_page_is_sent_as_it_was_packed() {
    let server = Server::start();
    let plain = server.get("/");
    assert!(!plain.body.contains("make web"), "the page is not built: make web");
    let packed = server.get_with("/", "Accept-Encoding: gzip, deflate, br, zstd\r\n");
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("br")));
    assert_eq!(packed.header("content-type"), plain.header("content-type"));
    assert_eq!(packed.header("etag"), plain.header("etag"));
    assert!(packed.body.len() < plain.body.len());
}

/// Scrapers get OpenMetrics, whole.
#[test]
fn metrics_are_open_metrics() {
    let server = Server::start();
    let answer = server.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.body.ends_with("# EOF\n"), "{answer:?}");
    assert!(answer.body.contains("\nprocess_resident_memory_bytes "), "{answer:?}");
}

/// A pipeline that stores nothing for more than three windows is unhealthy, and says why.
#[test]
fn health_follows_the_pipeline() {
    let live = SharedLive::new(LiveStatus { since: noon(), window: Duration::from_secs(10), ..LiveStatus::default() });
    let server = Server::with(Some(live.clone()), |_| ());
    assert_eq!(server.get("/healthz").json()["status"], "ok");
    live.update(|live| live.since = WallNanos(noon().0 - 31_000_000_000));
    let failing = server.get("/healthz");
    assert_eq!((failing.status, failing.json()["status"].as_str()), (503, Some("failing")));
    assert!(failing.json()["reason"].as_str().unwrap().contains("31 s"), "{failing:?}");
    live.update(|live| live.stored_until = Some(noon()));
    assert_eq!(server.get("/healthz").status, 200);
}

/// Naming again can be asked of a profiler that samples, by its own page or by no page, and by nobody else.
#[test]
fn only_our_page_asks_for_names() {
    let live = SharedLive::default();
    let server = Server::with(Some(live.clone()), |options| {
        let (mut store, _) = profiler::store::Store::open(&options.database).unwrap();
        store.write_window(&crate::profiles::window()).unwrap();
    });
    let path = "/api/v1/symbolize";
    let foreign = [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://evil.example\r\n",
        "Origin: http://localhost:3000\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1\r\n",
    ];
    for headers in foreign {
        assert_eq!(server.ask("POST", path, headers).status, 403, "{headers}");
        assert!(!live.snapshot().name_again, "{headers}");
    }
    assert_eq!(server.get(path).status, 404);
    let own = format!("Sec-Fetch-Site: same-origin\r\nOrigin: http://localhost:{}\r\n", server.address.port());
    for headers in ["", own.as_str()] {
        let answer = server.ask("POST", path, headers);
        assert_eq!(answer.json(), serde_json::json!({"started": true, "unnamed": 2}), "{headers}");
        assert!(live.update(|live| std::mem::take(&mut live.name_again)), "{headers}");
    }
    // Behind a proxy that asks in its own name, the page is at the name that was allowed, at no other and at no other port of it.
    let proxied = Server::with(Some(live.clone()), |options| {
        options.allow_hosts = vec!["prof.example".into()];
        let (mut store, _) = profiler::store::Store::open(&options.database).unwrap();
        store.write_window(&crate::profiles::window()).unwrap();
    });
    for (origin, status) in [
        ("https://prof.example", 200),
        ("https://prof.example:8443", 403),
        ("https://x.prof.example", 403),
        ("https://localhost", 403),
    ] {
        let headers = format!("Sec-Fetch-Site: same-origin\r\nOrigin: {origin}\r\n{}", proxied.bearer());
        let answer = proxied.ask("POST", path, &headers);
        assert_eq!(answer.status, status, "{origin}");
        assert_eq!(live.update(|live| std::mem::take(&mut live.name_again)), status == 200, "{origin}");
        assert!(status == 200 || answer.json()["detail"].as_str().unwrap().contains("--allow-host"), "{origin}");
    }
    let body = server.ask("POST", path, "Content-Length: 5\r\n");
    assert_eq!(body.status, 413);
    let serving = Server::start();
    assert_eq!(serving.ask("POST", path, "").json()["code"], "not_recording");
}
