//! The endpoints that show a function beside its samples: machine code and source text.
//!
//! Samples come from the database as for every question; files are looked at after that, one question at a time, so that a slow disk
//! or a large binary holds up nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, block};
use actix_web::{HttpRequest, HttpResponse, get};
use tokio::time::Instant;
use utoipa_actix_web::service_config::ServiceConfig;

use super::api::{self, BoxParams, DisassemblyParams, LimitParams, RangeParams, SourceParams};
use super::connections::PeerKey;
use super::error::Failure;
use super::parameters::Parameters;
use super::routes::{Problems, Question, TOP_ROWS, json, to_json};
use super::turns::{Shares, Turns};
use super::{State, from_query};
use crate::annotate::Annotator;
use crate::query::{self, FunctionIs};
use crate::store::Reader;

/// Questions at once, and waiting.
const SHARES: Shares = Shares { at_once: 1, at_once_of_peer: 1, waiting: 16, waiting_of_peer: 4 };

/// The one who looks at files, and those who wait for them.
#[derive(Debug)]
pub struct Desk {
    annotator: Arc<Mutex<Annotator>>,
    turns: Arc<Turns>,
    deadline: Duration,
}

impl Desk {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(annotator: Annotator, deadline: Duration) -> Self {
        Self { annotator: Arc::new(Mutex::new(annotator)), turns: Turns::new(SHARES), deadline }
    }

    /// Asks on a blocking thread; `question` keeps its deadline itself.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Annotator, std::time::Instant) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = self.turns.take(PeerKey::current(), Instant::now() + self.deadline).await?;
        let deadline = Instant::now() + self.deadline;
        let annotator = Arc::clone(&self.annotator);
        let answer = block(move || {
            // Given back when the question has really ended.
            let _turn = turn;
            question(&mut annotator.lock().unwrap_or_else(PoisonError::into_inner), deadline.into_std())
        });
        answer.await.map_err(|panicked| Failure::Internal(panicked.to_string().into()))
    }
}

/// These endpoints.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(source).service(disassembly);
}

/// A function's source lines with their samples.
#[utoipa::path(
    tag = "functions",
    params(RangeParams, SourceParams, BoxParams),
    responses(
        (status = 200, body = api::Source, description = "The lines; without text where the file is not to be had."),
        Problems
    )
)]
#[get("/api/v1/source")]
async fn source(
    state: Data<State>,
    request: HttpRequest,
    asked: Parameters<(RangeParams, SourceParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, SourceParams { function, file, source_map }, area)) = asked;
    let viewer = state.login.viewer(&state.hosts, &request).await;
    let viewer = viewer.adding(source_map.as_deref().unwrap_or_default()).map_err(Failure::BadParameter)?;
    let (question, within) = Question::counted((range, LimitParams::default(), area), &TOP_ROWS, &state)?;
    let is = FunctionIs { name: function, binary: None, file };
    let asked = is.clone();
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(question.demangle);
        Ok(query::lines(reader, within, &question.selector, &is)?)
    };
    let Some(lines) = state.readers.ask(ask).await? else {
        return Ok(json(StatusCode::OK, to_json(&from_query::no_source(asked))?));
    };
    let (read, lines) = state.desk.ask(move |annotator, _| (annotator.source(&lines, &viewer), lines)).await?;
    Ok(json(StatusCode::OK, to_json(&from_query::source(asked.name, &lines, read))?))
}

/// A function's instructions with their samples.
#[utoipa::path(
    tag = "functions",
    params(RangeParams, DisassemblyParams, BoxParams),
    responses(
        (status = 200, body = api::Disassembly, description = "The instructions; without text where the binary is not to be had."),
        Problems
    )
)]
#[get("/api/v1/disassembly")]
async fn disassembly(
    state: Data<State>,
    asked: Parameters<(RangeParams, DisassemblyParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, DisassemblyParams { function, binary }, area)) = asked;
    let (question, within) = Question::counted((range, LimitParams::default(), area), &TOP_ROWS, &state)?;
    let is = FunctionIs { name: function, binary, file: None };
    let asked = is.clone();
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(question.demangle);
        Ok(query::code(reader, within, &question.selector, &is)?)
    };
    let Some(code) = state.readers.ask(ask).await? else {
        return Ok(json(StatusCode::OK, to_json(&from_query::no_disassembly(asked))?));
    };
    let name = asked.name;
    let answer = move |annotator: &mut Annotator, deadline| {
        let read = annotator.disassemble(&code, &name, deadline);
        (read, code, name)
    };
    let (read, code, name) = state.desk.ask(answer).await?;
    Ok(json(StatusCode::OK, to_json(&from_query::disassembly(name, &code, read))?))
}
