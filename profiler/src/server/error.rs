//! The only map from what went wrong to an HTTP status and a [`Problem`].
//!
//! The answer names the thing and the fix; the chain of causes goes to the log only (`refusals.rs`), because it may hold paths and
//! contents that are not the client's business.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};

use super::api::Problem;
use crate::query::QueryError;
use crate::store::StoreError;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The question itself.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The label in the path does not exist.
    #[error("unknown label {0:?}")]
    NoSuchLabel(String),
    /// The query string does not parse.
    #[error("bad query parameter: {0}")]
    BadParameter(String),
    /// `limit` is outside what the endpoint gives.
    #[error("limit {given} is out of range")]
    Limit {
        /// As asked.
        given: u32,
        /// The most there is.
        most: u32,
    },
    /// The database cannot be opened.
    #[error("failed to open the database")]
    Database(#[source] StoreError),
    /// Enough questions are being answered.
    #[error("too many questions at once")]
    Busy,
    /// Sampling has not begun, and there may be no database yet.
    #[error("the profiler is starting")]
    Starting,
    /// The deadline passed.
    #[error("query too large: not answered within {} s", .0.as_secs_f64())]
    TooLarge(Duration),
    /// A defect of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing under `/api` has this path.
    #[error("no such endpoint")]
    NoSuchEndpoint,
    /// The `Host` is not ours.
    #[error("this server does not go by that name")]
    WrongHost,
    /// No `Host`, or several.
    #[error("a request needs exactly one Host header")]
    NoHost,
    /// Neither GET nor HEAD.
    #[error("method not allowed")]
    Method,
    /// The request has a body.
    #[error("request bodies are not accepted")]
    Body,
    /// Only a database is served.
    #[error("nothing is sampling here")]
    NotRecording,
    /// The browser says that another site's page asks.
    #[error("another site may not ask this server")]
    CrossSite,
    /// The one thing that can be asked for is asked for by a page that is not at an address of ours.
    #[error("only the profiler's own page may ask for this")]
    OtherPage,
}

impl Failure {
    /// Status, stable code, what to do.
    fn facts(&self) -> (StatusCode, &'static str, String) {
        use StatusCode as S;
        match self {
            Self::Query(QueryError::BadSelector(_)) => {
                (S::BAD_REQUEST, "bad_selector", r#"write it as {comm="postgres", container=~"web-.*"}"#.into())
            }
            Self::Query(QueryError::BadTime(_)) => (
                S::BAD_REQUEST,
                "bad_time_range",
                "from and to take now-1h, 2026-11-01T12:00:00Z, or Unix time, and from lies before to".into(),
            ),
            Self::Query(QueryError::UnknownLabel(_)) => (S::BAD_REQUEST, "unknown_label", labels()),
            Self::NoSuchLabel(_) => (S::NOT_FOUND, "unknown_label", labels()),
            Self::BadParameter(_) => {
                (S::BAD_REQUEST, "bad_parameter", "/api/openapi.json lists the parameters of each endpoint".into())
            }
            Self::Limit { most, .. } => (S::BAD_REQUEST, "limit_out_of_range", format!("limit goes from 1 to {most}")),
            Self::Query(QueryError::TooLarge) => {
                (S::UNPROCESSABLE_ENTITY, "query_too_large", "narrow the range or the filter".into())
            }
            Self::Query(QueryError::Store(error)) | Self::Database(error) if error.is_damage() => (
                S::SERVICE_UNAVAILABLE,
                "database_unreadable",
                format!("{error}; `profiler db check` lists everything that is"),
            ),
            Self::Query(QueryError::Store(_)) | Self::Database(_) => (
                S::SERVICE_UNAVAILABLE,
                "database_unreadable",
                "the log says why; `profiler doctor` checks the file and its permissions".into(),
            ),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "try again in a few seconds".into()),
            Self::Starting => (
                S::SERVICE_UNAVAILABLE,
                "starting",
                "profiles can be read as soon as sampling has begun: try again in a second".into(),
            ),
            Self::TooLarge(_) => (S::GATEWAY_TIMEOUT, "query_too_large", "narrow the range or the filter".into()),
            Self::Internal(_) => {
                (S::INTERNAL_SERVER_ERROR, "internal", "this is a defect; the log has the details to report".into())
            }
            Self::NoSuchEndpoint => (S::NOT_FOUND, "not_found", "/api/openapi.json lists every endpoint".into()),
            Self::WrongHost => (
                S::MISDIRECTED_REQUEST,
                "wrong_host",
                "use localhost, or start with --allow-host NAME to serve under another name".into(),
            ),
            Self::NoHost => (S::BAD_REQUEST, "no_host", "send one Host header, such as localhost:7117".into()),
            Self::Method => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "use GET or HEAD".into()),
            Self::Body => (S::PAYLOAD_TOO_LARGE, "body_not_accepted", "put everything into the URL".into()),
            Self::NotRecording => (
                S::CONFLICT,
                "not_recording",
                "run `profiler symbolize --db FILE` for a database that nobody writes to".into(),
            ),
            Self::CrossSite => (
                S::FORBIDDEN,
                "cross_site",
                "open this address in a tab of its own, or use a command-line client".into(),
            ),
            Self::OtherPage => (
                S::FORBIDDEN,
                "cross_site",
                "behind a proxy, start the profiler with --allow-host and the name (and port) in the browser's address bar, \
                 or have the proxy pass the Host header on"
                    .into(),
            ),
        }
    }

    /// What the client is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code, detail) = self.facts();
        Problem { status: status.as_u16(), code: code.to_owned(), title: self.title(), detail, command: None }
    }

    /// The message, without what only the log may have.
    fn title(&self) -> String {
        match self {
            Self::Query(QueryError::Store(_)) => "failed to read the database".into(),
            other => other.to_string(),
        }
    }
}

fn labels() -> String {
    format!("the labels are {}", crate::query::LABELS.join(", "))
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.facts().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        match self {
            Self::Busy | Self::Database(_) => response.insert_header((RETRY_AFTER, HeaderValue::from_static("5"))),
            Self::Starting => response.insert_header((RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Method => response.insert_header((ALLOW, HeaderValue::from_static("GET, HEAD"))),
            _ => &mut response,
        };
        response.body(serde_json::to_vec(&self.problem()).expect("strings and a number always become JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each failure has its status and code, and a fix; the codes are part of the interface.
    #[test]
    fn every_failure_has_a_status_a_code_and_a_fix() {
        let broken = || StoreError::Sqlite(rusqlite::Error::InvalidQuery);
        let table = [
            (Failure::Query(QueryError::BadSelector("x".into())), 400, "bad_selector"),
            (Failure::Query(QueryError::BadTime("x".into())), 400, "bad_time_range"),
            (Failure::Query(QueryError::UnknownLabel("x".into())), 400, "unknown_label"),
            (Failure::Query(QueryError::Store(broken())), 503, "database_unreadable"),
            (Failure::NoSuchLabel("x".into()), 404, "unknown_label"),
            (Failure::BadParameter("x".into()), 400, "bad_parameter"),
            (Failure::Limit { given: 0, most: 9 }, 400, "limit_out_of_range"),
            (Failure::Database(broken()), 503, "database_unreadable"),
            (Failure::Busy, 503, "busy"),
            (Failure::Starting, 503, "starting"),
            (Failure::TooLarge(Duration::from_secs(10)), 504, "query_too_large"),
            (Failure::Internal("x".into()), 500, "internal"),
            (Failure::NoSuchEndpoint, 404, "not_found"),
            (Failure::WrongHost, 421, "wrong_host"),
            (Failure::NoHost, 400, "no_host"),
            (Failure::Method, 405, "method_not_allowed"),
            (Failure::Body, 413, "body_not_accepted"),
            (Failure::CrossSite, 403, "cross_site"),
            (Failure::OtherPage, 403, "cross_site"),
        ];
        for (failure, status, code) in table {
            let problem = failure.problem();
            assert_eq!((problem.status, problem.code.as_str()), (status, code), "{failure:?}");
            assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{failure:?}");
        }
    }

    /// What is damaged is said: somebody must look after it.
    #[test]
    fn damage_is_named() {
        let problem = Failure::Query(QueryError::Store(StoreError::BadRow("a sum is odd"))).problem();
        assert_eq!((problem.status, problem.code.as_str()), (503, "database_unreadable"));
        assert!(problem.detail.contains("a sum is odd") && problem.detail.contains("db check"), "{problem:?}");
    }

    /// Causes stay in the log.
    #[test]
    fn causes_are_not_told_to_clients() {
        let problem = Failure::Internal("secret".into()).problem();
        assert!(!format!("{problem:?}").contains("secret"));
    }
}
