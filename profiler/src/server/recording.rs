//! What the server knows of the pipeline beside it: none, starting, or running.
//!
//! The address is bound before anything else is done, and served while the start goes on: until it has ended, `/healthz` says `starting`,
//! the page and the document are there, and questions are answered by 503 `starting`. Nothing opens the database before.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, ResponseError};

use super::State;
use super::error::Failure;
use super::live::SharedLive;

/// A start that takes longer counts as failing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pipeline whose windows are served.
#[derive(Clone, Debug, Default)]
pub enum Recording {
    /// None: a database is served that nobody writes to.
    #[default]
    None,
    /// One that has been started, or will be.
    Beside(Starting),
}

/// A pipeline, from before its start.
#[derive(Clone, Debug)]
pub struct Starting {
    since: Instant,
    live: Arc<OnceLock<SharedLive>>,
}

impl Starting {
    /// It starts now.
    #[must_use]
    pub fn now() -> Self {
        Self { since: Instant::now(), live: Arc::default() }
    }

    /// It has started: its database can be read.
    pub fn begin(&self, live: SharedLive) {
        let _ = self.live.set(live);
    }
}

impl From<SharedLive> for Recording {
    /// A pipeline that runs already.
    fn from(live: SharedLive) -> Self {
        let starting = Starting::now();
        starting.begin(live);
        Self::Beside(starting)
    }
}

impl Recording {
    /// Figures of the pipeline, once it runs.
    #[must_use]
    pub fn live(&self) -> Option<&SharedLive> {
        match self {
            Self::None => None,
            Self::Beside(starting) => starting.live.get(),
        }
    }

    /// For how long it has been starting; `None` when it has started, or there is none.
    #[must_use]
    pub fn starting(&self) -> Option<Duration> {
        match self {
            Self::Beside(starting) if starting.live.get().is_none() => Some(starting.since.elapsed()),
            _ => None,
        }
    }

    /// Why a start counts as failing, if it does.
    #[must_use]
    pub fn failing_start(&self) -> Option<String> {
        let lasts = self.starting().filter(|lasts| *lasts > PATIENCE)?;
        Some(format!("sampling has not started for {} s: see the log for the reason", lasts.as_secs()))
    }
}

/// Answers for the interface while there is no database yet.
///
/// # Errors
/// Those of `next`.
pub async fn hold_back(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request.app_data::<Data<State>>();
    let starting = state.is_some_and(|state| state.recording.starting().is_some());
    if starting && request.path().starts_with("/api/v1/") {
        return Ok(request.into_response(Failure::Starting.error_response()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}
