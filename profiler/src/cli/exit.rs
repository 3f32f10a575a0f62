//! Errors -> exit codes, as `profiler --help` lists them.

use std::io;

use crate::query::QueryError;
use crate::sampler::SamplerError;
use crate::server::{ServerError, TokenError};
use crate::store::StoreError;
use crate::store::sql::SqlError;

/// There is nothing to show, and that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoSamples(pub String);

/// The command line parses and still makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The command of `record` cannot be executed.
#[derive(Debug, thiserror::Error)]
#[error("failed to execute {command}")]
pub struct NotExecutable {
    /// The command.
    pub command: String,
    /// Why.
    pub source: io::Error,
}

/// The exit code for an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = cause.downcast_ref::<SamplerError>() {
        return Some(match error {
            SamplerError::NotAllowed { .. } => 4,
            SamplerError::FrequencyRange { .. } | SamplerError::FrequencyLimit { .. } => 2,
            SamplerError::NoSuchCgroup { .. } | SamplerError::TooManyEvents { .. } => 2,
            SamplerError::Unsupported { .. } | SamplerError::Verifier { .. } | SamplerError::PidNamespace => 5,
            SamplerError::PerfEvent { .. } | SamplerError::Load(_) => 5,
        });
    }
    if let Some(error) = cause.downcast_ref::<QueryError>() {
        return match error {
            QueryError::BadSelector(_) | QueryError::BadTime(_) | QueryError::UnknownLabel(_) => Some(2),
            _ => Some(7),
        };
    }
    if let Some(error) = cause.downcast_ref::<ServerError>() {
        return Some(match error {
            ServerError::Database { .. } => 7,
            ServerError::BadAllowHost(_) | ServerError::MetricsToken(_) => 2,
            _ => 6,
        });
    }
    if let Some(TokenError::Io { source, .. }) = cause.downcast_ref::<TokenError>()
        && source.kind() == io::ErrorKind::PermissionDenied
    {
        return Some(4);
    }
    if let Some(NotExecutable { source, .. }) = cause.downcast_ref::<NotExecutable>() {
        return Some(if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 });
    }
    if let Some(error) = cause.downcast_ref::<SqlError>() {
        return match error {
            SqlError::Bad(_) => Some(2),
            SqlError::Time(_) | SqlError::Memory(_) => Some(1),
            SqlError::Store(_) => Some(7),
        };
    }
    if cause.is::<StoreError>() {
        return Some(7);
    }
    if cause.is::<NoSamples>() {
        return Some(3);
    }
    cause.is::<Usage>().then_some(2)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// The code is that of the cause, whatever was wrapped around it.
    #[test]
    fn the_exit_code_is_the_causes() {
        let denied = SamplerError::NotAllowed { action: "x", source: io::ErrorKind::PermissionDenied.into() };
        let error = Err::<(), _>(denied).context("failed to start").expect_err("an error");
        assert_eq!(exit_code(&error), 4);
        assert_eq!(exit_code(&anyhow::anyhow!("anything")), 1);
        let missing = NotExecutable { command: "x".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(exit_code(&missing.into()), 127);
    }
}
