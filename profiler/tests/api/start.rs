//! What is refused before anything is served.

use std::path::PathBuf;

use profiler::server::{ServerError, ServerOptions, bind};

use crate::client::options;

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
    let message = bind(remote.clone()).unwrap_err().to_string();
    assert!(message.contains("--insecure-no-auth") && message.contains("0.0.0.0:0"), "{message}");
    let bound = bind(ServerOptions { allow_remote: true, ..remote }).unwrap();
    assert_eq!(bound.url(), format!("http://127.0.0.1:{}", bound.address().port()));

    let pattern = ServerOptions { allow_hosts: vec!["*.example".into()], ..taken.clone() };
    assert!(bind(pattern).unwrap_err().to_string().contains("*.example"));

    let foreign = ServerOptions { listen: "192.0.2.1:0".parse().unwrap(), allow_remote: true, ..taken };
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
