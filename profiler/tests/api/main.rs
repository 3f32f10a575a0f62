//! The HTTP interface over real sockets.

#![expect(clippy::unwrap_used, reason = "tests")]

mod client;
mod functions;
mod hostile;
mod kernel_addresses;
mod login;
mod profiles;
mod reachable;
mod routes;
mod start;
