//! What is refused before anything is served.

use std::path::PathBuf;
use std::time::Duration;

use profiler::server::{LiveStatus, Recording, ServerError, ServerOptions, SharedLive, Starting, bind, listen};
use profiler::store::Store;

use crate::client::{Server, noon, options};

/// What cannot be served is refused before it starts, with the address and the fix.
#[test]
fn addresses_that_cannot_be_served_are_refused_with_a_fix() {
    let (_folder, taken) = options();
    let first = bind(taken.clone()).unwrap();
    let again = ServerOptions { listen: first.address(), ..taken.clone() };
    let message = bind(again).unwrap_err().to_string();
    assert!(message.contains(&format!("port {} is in use on 127.0.0.1", first.address().port())), "{message}");
    assert!(message.contains("--listen 127.0.0.1:PORT"), "{message}");

    let remote = ServerOptions { listen: "0.0.0.0:0".parse().unwrap(), ..taken.clone() };
    let bound = bind(remote).unwrap();
    assert_eq!(bound.url(), format!("http://127.0.0.1:{}", bound.address().port()));
    assert!(
        bound.login().notices().iter().any(|notice| notice.contains("unencrypted")),
        "{:?}",
        bound.login().notices()
    );
    assert_eq!(first.login().notices(), Vec::<String>::new());

    let pattern = ServerOptions { allow_hosts: vec!["*.example".into()], ..taken.clone() };
    assert!(bind(pattern).unwrap_err().to_string().contains("*.example"));

    let foreign = ServerOptions { listen: "192.0.2.1:0".parse().unwrap(), ..taken };
    assert!(matches!(bind(foreign), Err(ServerError::Listen { .. })));
}

/// The URL is one that the server answers under.
#[test]
fn the_url_is_one_to_open() {
    let (_folder, options) = options();
    let bound = bind(ServerOptions { listen: "[::1]:0".parse().unwrap(), ..options }).unwrap();
    assert_eq!(bound.url(), format!("http://[::1]:{}", bound.address().port()));
}

/// A database that is not there is an error at the start, naming it.
#[test]
fn a_database_that_cannot_be_read_is_refused_at_the_start() {
    let (_folder, options) = options();
    let missing = ServerOptions { database: PathBuf::from("/nonexistent/profiler.db"), ..options };
    let error = bind(missing).unwrap_err();
    assert!(matches!(error, ServerError::Database { .. }) && error.to_string().contains("/nonexistent/profiler.db"));
}

/// The address is served before there is a database or a pipeline: `/healthz`, `/metrics` and the page are there, questions are told to
/// wait, and are answered as soon as sampling has begun.
#[test]
fn a_server_answers_while_sampling_starts() {
    let (folder, options) = options();
    let database = options.database.clone();
    std::fs::remove_file(&database).unwrap();
    let starting = Starting::now();
    let server =
        Server::serving(listen(options).unwrap(), Recording::Beside(starting.clone()), folder, database.clone());
    let health = server.get("/healthz");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("starting")));
    assert_eq!(server.get("/metrics").status, 200);
    assert_eq!(server.get("/api/openapi.json").status, 200);
    for path in ["/api/v1/status", "/api/v1/top", "/api/v1/labels"] {
        let answer = server.get(path);
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("starting", Some("1")), "{path}");
    }
    assert!(!database.exists(), "nobody has opened it");
    drop(Store::open(&database).unwrap());
    let live = LiveStatus { since: noon(), window: Duration::from_secs(10), ..LiveStatus::default() };
    starting.begin(SharedLive::new(live));
    assert_eq!(server.get("/healthz").json()["status"], "ok");
    assert_eq!(server.get("/api/v1/top").status, 200);
}
