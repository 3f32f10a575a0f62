//! HTTP: the page, `/api/v1`, `/metrics`, `/healthz`, on a loopback address.
//!
//! Inputs: a database by path, figures of the running pipeline by [`SharedLive`]. Nothing can be changed through it: GET
//! and HEAD only, no request bodies. Every connection has a deadline for each thing it can dawdle over, every question
//! one for its answer; connections, answers and questions are bounded and shared among peers, so that clients cannot slow sampling
//! down, fill memory or shut one another out.
//!
//! Async lives in this room only: [`Bound::run`] brings its own runtime and blocks the thread it is given.

mod annotate;
pub mod api;
mod assets;
mod connections;
#[cfg(test)]
mod contract;
mod error;
mod exports;
mod from_query;
mod gate;
mod hosts;
mod live;
mod login;
mod metrics;
mod parameters;
mod readers;
mod recording;
mod refusals;
mod routes;
mod turns;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::{Compress, from_fn};
use actix_web::web::{Bytes, Data, to};
use actix_web::{App, HttpServer, rt};
use utoipa::OpenApi;
use utoipa_actix_web::AppExt;

use self::annotate::Desk;
use self::connections::Connections;
pub use self::connections::PeerKey;
use self::hosts::HostNames;
pub use self::live::{Cost, LiveStatus, SharedLive};
pub use self::login::{
    Login, LoginMode, LoginOptions, MetricsAccess, TokenError, key_of, link_with, read_token, rotate_token, token_path,
};
use self::readers::Readers;
pub use self::recording::{Recording, Starting};
use self::refusals::Refusals;
use self::turns::Shares;
use crate::annotate::{Annotator, SourceRoot};
use crate::profile::WallNanos;
use crate::store::StoreError;
use crate::symbolizer::{Debuginfod, WorkerCommand};

/// A request's head must be here by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// An idle connection is kept so long for the next request.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A refused body is thrown away for so long before the connection closes.
const LINGER: Duration = Duration::from_secs(1);
/// A client that takes nothing of its answer for so long is cut off.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Connections that actix takes: those that are open, and as many that have been ended and not closed yet.
const MOST_TAKEN: usize = 2 * connections::MOST_OPEN;
/// Connections that wait in the kernel to be taken; `net.core.somaxconn` limits it further.
const BACKLOG: i32 = 4096;
/// Two questions, one for the status, one about files, one that looks who asks, and what compresses answers.
const BLOCKING_THREADS: usize = 8;
/// Questions at once, and waiting. Each can hold a call tree and its JSON, 50 MiB for a busy day, and each reader the names: two at once
/// would answer hardly sooner on the two cores of a small host, and need twice the memory, so the second is for another peer only. A page asks
/// up to twelve questions when it opens: two pages of one user find room, and more than half of it is left for others.
const QUESTIONS: Shares = Shares { at_once: 2, at_once_of_peer: 1, waiting: 64, waiting_of_peer: 24 };
/// The same for `/status`, which must not wait behind them.
const STATUS_QUESTIONS: Shares = Shares { at_once: 1, at_once_of_peer: 1, waiting: 64, waiting_of_peer: 16 };

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address; port 0 takes any.
    pub listen: SocketAddr,
    /// Who may read.
    pub login: LoginOptions,
    /// Names besides the loopback ones that requests may be addressed to: `name` or `name:port`.
    pub allow_hosts: Vec<String>,
    /// The database; it must exist.
    pub database: PathBuf,
    /// A question that takes longer is given up.
    pub query_deadline: Duration,
    /// Below which folders source text may be read.
    pub source_roots: Vec<SourceRoot>,
    /// The child that reads foreign files.
    pub worker: WorkerCommand,
    /// Debug files that servers gave.
    pub debuginfod: Option<Arc<Debuginfod>>,
    /// The folder in which names are kept.
    pub kept_names: Option<PathBuf>,
    /// Whose a connection is, by its address here and there.
    pub peer_of: fn(SocketAddr, SocketAddr) -> PeerKey,
    /// The wall clock.
    pub clock: fn() -> WallNanos,
}

impl ServerOptions {
    /// `database` on 127.0.0.1:7117, with ten seconds for a question.
    #[must_use]
    pub fn new(database: PathBuf, clock: fn() -> WallNanos) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7117)),
            login: LoginOptions::default(),
            allow_hosts: Vec::new(),
            database,
            query_deadline: Duration::from_secs(10),
            source_roots: Vec::new(),
            worker: WorkerCommand::default(),
            debuginfod: None,
            kept_names: None,
            peer_of: PeerKey::of_address,
            clock,
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program has the port.
    #[error(
        "port {port} is in use on {ip}: another profiler may be running; use --listen {ip}:PORT for another port",
        port = .0.port(), ip = Ip(.0)
    )]
    PortInUse(SocketAddr),
    /// Ports below 1024 need a privilege.
    #[error("no permission to listen on {0}: use a port above 1023, such as --listen 127.0.0.1:7117")]
    PortForbidden(SocketAddr),
    /// Anything else about the address.
    #[error("failed to listen on {listen}: use --listen 127.0.0.1:7117")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// `--allow-host` takes names.
    #[error("bad --allow-host {0:?}: write a name or name:port, such as profiler.example or profiler.example:8443")]
    BadAllowHost(String),
    /// The token file for `/metrics`.
    #[error("bad --metrics-token-file")]
    MetricsToken(#[source] TokenError),
    /// The database cannot be opened.
    #[error("failed to open database {path}")]
    Database {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        error: StoreError,
    },
    /// While serving.
    #[error("the server stopped")]
    Stopped(#[source] io::Error),
}

/// Where a browser on this host finds what listens on `address`.
#[must_use]
pub fn page_url(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        SocketAddr::V6(address) if address.ip().is_unspecified() => format!("http://[::1]:{}", address.port()),
        address => format!("http://{}:{}", Ip(&address), address.port()),
    }
}

/// The address's host part as one writes it in `--listen`.
struct Ip<'a>(&'a SocketAddr);

impl std::fmt::Display for Ip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => address.ip().fmt(f),
            SocketAddr::V6(address) => write!(f, "[{}]", address.ip()),
        }
    }
}

/// A server that has its port, and answers nobody yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    hosts: HostNames,
    login: Arc<Login>,
    readers: Arc<Readers>,
    options: ServerOptions,
}

/// Takes the port of a database that is there, and opens that.
///
/// # Errors
/// [`ServerError`]; each names the thing and the fix.
pub fn bind(options: ServerOptions) -> Result<Bound, ServerError> {
    let bound = listen(options)?;
    let opened = bound.readers.open_one();
    opened.map_err(|error| ServerError::Database { path: bound.options.database.clone(), error })?;
    bound.login.keep();
    Ok(bound)
}

/// Takes the port; the database is not looked at before there are questions.
///
/// # Errors
/// Those of [`bind`] about the address.
pub fn listen(options: ServerOptions) -> Result<Bound, ServerError> {
    let listen = options.listen;
    let hosts = HostNames::new(listen, &options.allow_hosts).map_err(ServerError::BadAllowHost)?;
    let readers = Arc::new(Readers::new(options.database.clone(), QUESTIONS, options.query_deadline));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ServerError::PortInUse(listen),
        io::ErrorKind::PermissionDenied => ServerError::PortForbidden(listen),
        _ => ServerError::Listen { listen, error },
    };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    let address = listener.local_addr().map_err(failed)?;
    let behind_proxy = !options.allow_hosts.is_empty();
    let unencrypted = !listen.ip().is_loopback() && !behind_proxy;
    let login = Login::new(&options.login, &options.database, behind_proxy, unencrypted, options.clock);
    let login = Arc::new(login.map_err(ServerError::MetricsToken)?);
    Ok(Bound { listener, address, hosts, login, readers, options })
}

/// What every request can reach.
struct State {
    connections: Arc<Connections>,
    refusals: Arc<Refusals>,
    readers: Arc<Readers>,
    status_readers: Arc<Readers>,
    desk: Desk,
    recording: Recording,
    hosts: HostNames,
    login: Arc<Login>,
    database: PathBuf,
    /// This program's file, as the label `exe` has it.
    own_exe: Option<String>,
    openapi: Bytes,
    clock: fn() -> WallNanos,
}

impl Bound {
    /// Where it listens, the port as taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser on this host.
    #[must_use]
    pub fn url(&self) -> String {
        page_url(self.address)
    }

    /// Who may read.
    #[must_use]
    pub fn login(&self) -> Arc<Login> {
        Arc::clone(&self.login)
    }

    /// Serves on this thread until `stop` is done; then requests under way get two seconds to finish.
    ///
    /// # Errors
    /// [`ServerError::Stopped`] when the runtime or the listener fails.
    pub fn run(self, recording: Recording, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        let database = self.options.database;
        let status_readers = Readers::new(database.clone(), STATUS_QUESTIONS, self.options.query_deadline);
        self.readers.report_damage(&recording);
        status_readers.report_damage(&recording);
        let annotator = Annotator::new(self.options.worker, self.options.source_roots);
        let annotator = annotator.with_debuginfod(self.options.debuginfod);
        let annotator = annotator.keeping_names_in(self.options.kept_names.as_deref());
        let refusals = Arc::new(Refusals::default());
        let connections = Arc::new(Connections::new(Arc::clone(&refusals)));
        let (accepted, peer_of) = (Arc::clone(&connections), self.options.peer_of);
        let state = Data::new(State {
            connections: Arc::clone(&connections),
            refusals,
            readers: self.readers,
            status_readers: Arc::new(status_readers),
            desk: Desk::new(annotator, self.options.query_deadline),
            recording,
            hosts: self.hosts,
            login: self.login,
            database,
            own_exe: std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok()),
            openapi: openapi(),
            clock: self.options.clock,
        });
        let app = move || {
            let state = state.clone();
            App::new()
                .into_utoipa_app()
                .configure(routes::configure)
                .into_app()
                .app_data(state.clone())
                .default_service(to(assets::serve))
                .wrap(from_fn(recording::hold_back))
                .wrap(from_fn(connections::weigh))
                .wrap(Compress::default())
                .wrap(from_fn(connections::share))
                // Outermost: nothing is answered that did not pass it, and nothing leaves without its headers.
                .wrap(from_fn(move |request, next| {
                    let state = state.clone();
                    async move { gate::gate(&state.hosts, &state.login, &state.refusals, request, next).await }
                }))
        };
        rt::System::new()
            .block_on(async {
                rt::spawn(connections::keep_deadlines(connections));
                HttpServer::new(app)
                    .workers(1)
                    .worker_max_blocking_threads(BLOCKING_THREADS)
                    .max_connections(MOST_TAKEN)
                    .client_request_timeout(HEAD_DEADLINE)
                    .client_disconnect_timeout(LINGER)
                    .keep_alive(KEEP_ALIVE)
                    // A client that has closed its side waits for nothing: its question is given up.
                    .h1_allow_half_closed(false)
                    .shutdown_signal(stop)
                    .shutdown_timeout(2)
                    .on_connect(move |connection, data| {
                        if let Some(stream) = connection.downcast_ref::<rt::net::TcpStream>() {
                            cut_off_slow_readers(stream);
                            login::remember(stream, data);
                            connections::accept(&accepted, peer_of, stream, data);
                        }
                    })
                    .listen(self.listener)?
                    .run()
                    .await
            })
            .map_err(ServerError::Stopped)
    }
}

/// The document, as the endpoints describe themselves.
fn openapi() -> Bytes {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(routes::Document::openapi())
        .configure(routes::configure)
        .split_for_parts();
    Bytes::from(serde_json::to_vec(&document).expect("an OpenAPI document always becomes JSON"))
}

/// actix-web has no deadline for a client that reads nothing. The kernel has: with `TCP_USER_TIMEOUT` it gives up a
/// connection whose window has been closed, or whose data unacknowledged, for so long (`man 7 tcp`).
fn cut_off_slow_readers(stream: &rt::net::TcpStream) {
    let millis = u32::try_from(READ_DEADLINE.as_millis()).expect("a few seconds");
    // Without it the connection works, only its deadline is missing: the client has closed it already.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}
