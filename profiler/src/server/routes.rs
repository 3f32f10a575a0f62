//! The endpoints: parse the query string, ask the database, answer. Their attributes are the OpenAPI document.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, Data, Path, Query, QueryConfig};
use actix_web::{HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, OpenApi};
use utoipa_actix_web::service_config::ServiceConfig;

use super::api::{
    self, BoxParams, DiffParams, GridParams, LimitParams, Problem, RangeParams, ShapeParams, TimelineParams, TopParams,
};
use super::error::Failure;
use super::live::Cost;
use super::metrics::{self, Scrape};
use super::parameters::Parameters;
use super::refusals::Cause;
use super::{State, annotate, exports, from_query};
use crate::profile::{Demangle, TimeRange};
use crate::query::{self, Area, By, Grid, PathHash, Selector, Shape, TopOrder, TopRows, View, Within};
use crate::store::Reader;
use crate::sys::distribution::Distribution;

/// A limit that an endpoint takes when none is asked for, and the most it gives.
pub struct Limits {
    pub(super) usual: u32,
    pub(super) most: u32,
}

const TIMELINE_SERIES: Limits = Limits { usual: 10, most: 100 };
const TIMELINE_POINTS: Limits = Limits { usual: 600, most: 5_000 };
/// A node is about 40 bytes of JSON and 24 in memory; 200,000 keep an answer near 10 MB.
const FLAME_GRAPH_NODES: Limits = Limits { usual: 100_000, most: 200_000 };
const BINARIES: Limits = Limits { usual: 200, most: 1_000 };
pub const TOP_ROWS: Limits = Limits { usual: 200, most: 10_000 };

/// Answers that any question about a range can get instead of the one it wants.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variants only describe answers in the OpenAPI document")]
pub enum Problems {
    /// A parameter is wrong: `bad_selector`, `bad_time_range`, `unknown_label`, `limit_out_of_range`, `bad_parameter`.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No login, or a wrong one: `login_required`, `session_ended`, `wrong_login`.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// Too many wrong ones from there: `too_many_tries`.
    #[response(status = 429, content_type = "application/problem+json")]
    TooManyTries(Problem),
    /// A page of another site, or of another port, asks: `cross_site`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The Host header is not one of ours: `wrong_host`.
    #[response(status = 421, content_type = "application/problem+json")]
    Misdirected(Problem),
    /// A defect: `internal`.
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(Problem),
    /// `database_unreadable`, or `busy` or `starting` with a Retry-After header.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
    /// The answer would take too much memory: `query_too_large`.
    #[response(status = 422, content_type = "application/problem+json")]
    TooMuchMemory(Problem),
    /// The deadline passed: `query_too_large`.
    #[response(status = 504, content_type = "application/problem+json")]
    TooLarge(Problem),
}

/// Answers of the gate, to whoever asks for something that is no question about a range.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the variants only describe answers in the OpenAPI document")]
enum Refused {
    /// No login, or a wrong one: `login_required`, `session_ended`, `wrong_login`.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// A page of another site, or of another port, asks: `cross_site`.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The Host header is not one of ours: `wrong_host`.
    #[response(status = 421, content_type = "application/problem+json")]
    Misdirected(Problem),
    /// Too many wrong logins from there: `too_many_tries`.
    #[response(status = 429, content_type = "application/problem+json")]
    TooManyTries(Problem),
}

/// Query parameters of an endpoint that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

/// The document's own words; paths and schemas come from the endpoints.
#[derive(OpenApi)]
#[openapi(info(
    title = "profiler",
    description = "Continuous profiles of this host: see docs/api.md. GET and HEAD only, but for one POST; no request bodies. Errors are \
        `application/problem+json` with a stable `code`."
))]
pub struct Document;

/// Every endpoint.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.app_data(QueryConfig::default().error_handler(|error, _| match error {
        actix_web::error::QueryPayloadError::Deserialize(error) => Failure::BadParameter(error.to_string()).into(),
        other => Failure::BadParameter(other.to_string()).into(),
    }));
    config
        .service(timeline)
        .service(flamegraph)
        .service(diff)
        .service(heatmap)
        .service(heatmap_flamegraph)
        .service(top)
        .service(quality)
        .service(binaries)
        .service(symbolize)
        .service(labels)
        .service(label_values);
    annotate::configure(config);
    exports::configure(config);
    config.service(status).service(document).service(scrape).service(healthz);
}

/// Parameters of a question that counts samples of a range, or of a box of its heat map.
pub type Counted = (RangeParams, LimitParams, BoxParams);

/// A question about a range, parsed.
pub struct Question {
    /// When.
    pub range: TimeRange,
    /// Whose.
    pub selector: Selector,
    limit: usize,
    /// The selector, as it was given.
    pub filter: String,
    /// What is shown of names.
    pub demangle: Demangle,
}

impl Question {
    /// Takes the parameters apart.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn parse(params: RangeParams, limit: LimitParams, limits: &Limits, state: &State) -> Result<Self, Failure> {
        let given = limit.limit.unwrap_or(limits.usual);
        if given == 0 || given > limits.most {
            return Err(Failure::Limit { given, most: limits.most });
        }
        let demangle = params.demangle.as_deref().map_or(Some(Demangle::default()), Demangle::parse);
        let demangle = demangle.ok_or_else(|| Failure::BadParameter("demangle is full, simple or none".into()))?;
        let from = params.from.as_deref().unwrap_or("now-1h");
        let to = params.to.as_deref().unwrap_or("now");
        let filter = params.filter.unwrap_or_default();
        Ok(Self {
            range: query::parse_range(from, to, (state.clock)())?,
            selector: query::parse_selector(&filter)?,
            limit: given as usize,
            filter,
            demangle,
        })
    }

    /// Takes the parameters apart, those of a box too.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn counted((range, limit, area): Counted, limits: &Limits, state: &State) -> Result<(Self, Within), Failure> {
        let question = Self::parse(range, limit, limits, state)?;
        let within = within(question.range, area)?;
        Ok((question, within))
    }

    /// Most nodes or rows of the answer.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The call tree of it, cut to the limit.
    ///
    /// # Errors
    /// Those of [`query::flame_graph`].
    pub fn call_tree(&self, reader: &mut Reader) -> Result<query::Merged, Failure> {
        reader.set_demangle(self.demangle);
        Ok(query::flame_graph(reader, self.range, &self.selector, self.limit)?)
    }
}

/// `mode` and `focus`.
fn view(mode: Option<&str>, focus: Option<String>) -> Result<View, Failure> {
    match (mode.unwrap_or("topdown"), focus) {
        ("topdown", None) => Ok(View::TopDown),
        ("bottomup", None) => Ok(View::BottomUp),
        ("callers", Some(focus)) => Ok(View::Callers(focus)),
        ("callees", Some(focus)) => Ok(View::Callees(focus)),
        ("topdown" | "bottomup", Some(_)) => {
            Err(Failure::BadParameter("focus goes with mode=callers or mode=callees".into()))
        }
        ("callers" | "callees", None) => Err(Failure::BadParameter("this mode needs focus=FUNCTION".into())),
        _ => Err(Failure::BadParameter("mode is topdown, bottomup, callers or callees".into())),
    }
}

/// What is wanted of a flame graph.
fn shape(params: ShapeParams, max_nodes: usize, state: &State) -> Result<Shape, Failure> {
    let ShapeParams { mode, focus, group, below, around } = params;
    let view = view(mode.as_deref(), focus)?;
    if (below.is_some() || around.is_some()) && view != View::TopDown {
        return Err(Failure::BadParameter("below and around go with mode=topdown".into()));
    }
    if below.is_some() && around.is_some() {
        return Err(Failure::BadParameter("below and around are two ways to spend one limit: take one".into()));
    }
    let around = around.as_deref().map(str::parse).transpose().map_err(Failure::BadParameter)?;
    Ok(Shape { view, group, below: path(below.as_deref())?, around, own_exe: state.own_exe.clone(), max_nodes })
}

/// The name of a node.
fn path(text: Option<&str>) -> Result<Option<PathHash>, Failure> {
    text.map(str::parse).transpose().map_err(Failure::BadParameter)
}

/// The columns and rows of a heat map.
fn grid(range: TimeRange, params: GridParams) -> Result<Grid, Failure> {
    let (columns, rows) = (params.columns.unwrap_or(60), params.rows.unwrap_or(50));
    let cells = u64::from(columns) * u64::from(rows);
    if cells == 0 || cells > query::MAX_CELLS as u64 {
        let most = query::MAX_CELLS;
        return Err(Failure::BadParameter(format!(
            "columns times rows goes from 1 to {most}, {columns} x {rows} is {cells}"
        )));
    }
    Ok(Grid { range, columns, rows })
}

/// A heat map and a box of it: what is not given is its edge.
fn area(range: TimeRange, params: BoxParams) -> Result<(Grid, Area), Failure> {
    let BoxParams { columns, rows, column_from, column_to, row_from, row_to } = params;
    let grid = grid(range, GridParams { columns, rows })?;
    let area = Area {
        columns: [column_from.unwrap_or(0), column_to.unwrap_or(grid.columns - 1)],
        rows: [row_from.unwrap_or(0), row_to.unwrap_or(grid.rows - 1)],
    };
    Ok((grid, area))
}

/// The samples of a range, or, where its heat map's columns are given, of a box of that.
fn within(range: TimeRange, params: BoxParams) -> Result<Within, Failure> {
    let BoxParams { columns, rows, column_from, column_to, row_from, row_to } = params;
    if columns.is_some() {
        let (grid, area) = area(range, params)?;
        return Ok(Within::Box(grid, area));
    }
    if [rows, column_from, column_to, row_from, row_to].iter().any(Option::is_some) {
        return Err(Failure::BadParameter("a box of a heat map needs its columns".into()));
    }
    Ok(range.into())
}

/// Samples over time, in equal buckets; by the values of a label, if asked.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, TimelineParams, BoxParams), responses((status = 200, body = api::Timeline, description = "One entry a bucket, as columns."), Problems))]
#[get("/api/v1/timeline")]
async fn timeline(
    state: Data<State>,
    asked: Parameters<(RangeParams, LimitParams, TimelineParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit, TimelineParams { by, series }, area)) = asked;
    let most = series.unwrap_or(TIMELINE_SERIES.usual);
    if most == 0 || most > TIMELINE_SERIES.most {
        return Err(Failure::BadParameter(format!("series goes from 1 to {}", TIMELINE_SERIES.most)));
    }
    let (question, within) = Question::counted((range, limit, area), &TIMELINE_POINTS, &state)?;
    let since = state.recording.live().map(|live| live.snapshot().since);
    let now = (state.clock)();
    let ask = move |reader: &mut _| {
        let Question { selector, limit, .. } = question;
        let timeline = query::timeline(reader, within, &selector, limit)?;
        let groups = match by {
            Some(label) => {
                let series = query::series(reader, within, &selector, limit, &label, most as usize)?;
                Some((label, series))
            }
            None => None,
        };
        to_json(&from_query::timeline(&timeline, groups, since, now))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// The merged call tree of a range, pruned to the limit; from its roots, its leaves, or one function.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, ShapeParams), responses((status = 200, body = api::FlameGraph, description = "The tree, as columns."), Problems))]
#[get("/api/v1/flamegraph")]
async fn flamegraph(
    state: Data<State>,
    asked: Parameters<(RangeParams, LimitParams, ShapeParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit, shape_asked)) = asked;
    let question = Question::parse(range, limit, &FLAME_GRAPH_NODES, &state)?;
    let shape = shape(shape_asked, question.limit, &state)?;
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(question.demangle);
        let Question { range, selector, .. } = question;
        let merged = query::flame_graph_from(reader, range, &selector, &shape)?;
        to_json(&from_query::flame_graph(range, &merged, shape.own_exe.as_deref()))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// Two ranges or selectors against each other, as one call tree.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, DiffParams), responses((status = 200, body = api::Diff, description = "The tree, as columns."), Problems))]
#[get("/api/v1/diff")]
async fn diff(
    state: Data<State>,
    asked: Parameters<(RangeParams, LimitParams, DiffParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit, DiffParams { base_from, base_to, base_filter, by, below })) = asked;
    let below = path(below.as_deref())?;
    let by = match by.as_deref() {
        None | Some("share") => By::Share,
        Some("time") => By::Time,
        Some(_) => return Err(Failure::BadParameter("by is share or time".into())),
    };
    let base = RangeParams {
        from: base_from.or_else(|| range.from.clone()),
        to: base_to.or_else(|| range.to.clone()),
        filter: base_filter.or_else(|| range.filter.clone()),
        ..range.clone()
    };
    let before = Question::parse(base, limit, &FLAME_GRAPH_NODES, &state)?;
    let after = Question::parse(range, limit, &FLAME_GRAPH_NODES, &state)?;
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(after.demangle);
        let sides = [(before.range, &before.selector), (after.range, &after.selector)];
        let diff = query::diff(reader, sides, by, below, after.limit)?;
        to_json(&from_query::diff([before.range, after.range], by, &diff))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// Samples by the time they were taken, to 10 ms: columns of a range, rows of each column.
#[utoipa::path(tag = "profiles", params(RangeParams, GridParams), responses((status = 200, body = api::HeatMap, description = "The cells, one column after the other."), Problems))]
#[get("/api/v1/heatmap")]
async fn heatmap(state: Data<State>, asked: Parameters<(RangeParams, GridParams)>) -> Result<HttpResponse, Failure> {
    let Parameters((range, cells)) = asked;
    let question = Question::parse(range, LimitParams::default(), &FLAME_GRAPH_NODES, &state)?;
    let grid = grid(question.range, cells)?;
    let ask = move |reader: &mut _| {
        let map = query::heat_map(reader, grid, &question.selector)?;
        to_json(&from_query::heat_map(grid, map))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// The flame graph of a box of a heat map.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, ShapeParams, BoxParams), responses((status = 200, body = api::FlameGraph, description = "The tree, as columns."), Problems))]
#[get("/api/v1/heatmap/flamegraph")]
async fn heatmap_flamegraph(
    state: Data<State>,
    asked: Parameters<(RangeParams, LimitParams, ShapeParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit, shape_asked, box_asked)) = asked;
    let question = Question::parse(range, limit, &FLAME_GRAPH_NODES, &state)?;
    let shape = shape(shape_asked, question.limit, &state)?;
    let (grid, area) = area(question.range, box_asked)?;
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(question.demangle);
        let merged = query::flame_graph_of_area(reader, grid, area, &question.selector, &shape)?;
        to_json(&from_query::flame_graph(question.range, &merged, shape.own_exe.as_deref()))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// Functions by falling self, or in another order; those that fit a search, if one is given.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, TopParams, BoxParams), responses((status = 200, body = api::Top, description = "The rows."), Problems))]
#[get("/api/v1/top")]
async fn top(
    state: Data<State>,
    asked: Parameters<(RangeParams, LimitParams, TopParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit, TopParams { sort, order, search }, area)) = asked;
    let sort = match sort.as_deref().unwrap_or("self") {
        "self" => TopOrder::Self_,
        "total" => TopOrder::Total,
        "name" => TopOrder::Name,
        "binary" => TopOrder::Binary,
        _ => return Err(Failure::BadParameter("sort is self, total, name or binary".into())),
    };
    let ascending = match order.as_deref().unwrap_or("desc") {
        "asc" => true,
        "desc" => false,
        _ => return Err(Failure::BadParameter("order is asc or desc".into())),
    };
    let search = search.filter(|text| !text.trim().is_empty()).map(|text| text.parse()).transpose();
    let search = search.map_err(Failure::BadParameter)?;
    let (question, within) = Question::counted((range, limit, area), &TOP_ROWS, &state)?;
    let wanted = TopRows { order: sort, ascending, search, max_rows: question.limit };
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(question.demangle);
        let top = query::top(reader, within, &question.selector, &wanted)?;
        to_json(&from_query::top(top))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// How good the samples are: whole stacks, and where, why and whose the others end; what ended in a function without a name.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams, BoxParams), responses((status = 200, body = api::Quality, description = "The quality."), Problems))]
#[get("/api/v1/quality")]
async fn quality(state: Data<State>, asked: Parameters<Counted>) -> Result<HttpResponse, Failure> {
    let (question, within) = Question::counted(asked.0, &TOP_ROWS, &state)?;
    let ask = move |reader: &mut Reader| {
        let quality = query::quality(reader, within, &question.selector, question.limit)?;
        to_json(&from_query::quality(quality))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// How well each binary is named, where names were found, why others are missing and what helps.
#[utoipa::path(tag = "profiles", params(RangeParams, LimitParams), responses((status = 200, body = api::Binaries, description = "The binaries."), Problems))]
#[get("/api/v1/binaries")]
async fn binaries(state: Data<State>, asked: Parameters<(RangeParams, LimitParams)>) -> Result<HttpResponse, Failure> {
    let Parameters((range, limit)) = asked;
    let question = Question::parse(range, limit, &BINARIES, &state)?;
    let ask = move |reader: &mut _| {
        let binaries =
            query::binaries(reader, question.range, &question.selector, question.limit, &Distribution::here())?;
        to_json(&from_query::binaries(binaries))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// Names again what has no name: debug packages may have come since. Answers at once; names come as they are found.
#[utoipa::path(
    tag = "profiles",
    responses(
        (status = 200, body = api::Symbolizing, description = "It has begun, unless everything has a name."),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "`not_recording`."),
        Problems
    )
)]
#[post("/api/v1/symbolize")]
async fn symbolize(state: Data<State>, _none: Query<NoParams>) -> Result<HttpResponse, Failure> {
    let live = state.recording.live().cloned().ok_or(Failure::NotRecording)?;
    let ask = |reader: &mut Reader| reader.unnamed().map_err(|error| query::QueryError::from(error).into());
    let unnamed = state.status_readers.ask(ask).await?;
    let started = unnamed > 0;
    live.update(|live| live.name_again |= started);
    Ok(json(StatusCode::OK, to_json(&api::Symbolizing { started, unnamed })?))
}

/// The labels that a selector can name.
#[utoipa::path(tag = "labels", responses((status = 200, body = api::Labels, description = "Their names."), Problems))]
#[get("/api/v1/labels")]
async fn labels(_none: Query<NoParams>) -> Result<HttpResponse, Failure> {
    let labels = query::LABELS.map(str::to_owned).into();
    Ok(json(StatusCode::OK, to_json(&api::Labels { labels })?))
}

/// Values of a label in a range, by falling samples.
#[utoipa::path(
    tag = "labels",
    params(RangeParams, LimitParams, BoxParams, ("name" = String, Path, description = "The label, such as `comm`.")),
    responses(
        (status = 200, body = api::LabelValues, description = "The values, the empty one for \"has none\"."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "`unknown_label`."),
        Problems
    )
)]
#[get("/api/v1/labels/{name}/values")]
async fn label_values(
    state: Data<State>,
    name: Path<String>,
    asked: Parameters<Counted>,
) -> Result<HttpResponse, Failure> {
    let name = name.into_inner();
    if !query::LABELS.contains(&name.as_str()) {
        return Err(Failure::NoSuchLabel(name));
    }
    let (question, within) = Question::counted(asked.0, &TOP_ROWS, &state)?;
    let ask = move |reader: &mut _| {
        let values = query::label_values(reader, within, &question.selector, &name, question.limit)?;
        to_json(&from_query::label_values(name, values))
    };
    Ok(json(StatusCode::OK, state.readers.ask(ask).await?))
}

/// What is sampling, what was taken, stored and lost, and how large the database is.
#[utoipa::path(tag = "server", responses((status = 200, body = api::Status, description = "The figures."), Problems))]
#[get("/api/v1/status")]
async fn status(state: Data<State>, _none: Query<NoParams>) -> Result<HttpResponse, Failure> {
    let database = state.database.clone();
    let ask = move |reader: &mut _| Ok((query::totals(reader)?, database_bytes(&database)));
    let (totals, bytes) = state.status_readers.ask(ask).await?;
    let now = (state.clock)();
    let live = state.recording.live().map(super::live::SharedLive::snapshot);
    let mut notices = live.as_ref().map(|live| live.notices.clone()).unwrap_or_default();
    // Why nothing is stored is a notice already.
    notices.extend(live.as_ref().filter(|live| live.unstored.is_none()).and_then(|live| live.failing(now)));
    notices.extend(state.login.notices());
    let status = api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        recording: live.map(|live| from_query::recording(&live, Cost::own(), Cost::children(), now)),
        database: api::Database {
            path: state.database.display().to_string(),
            bytes,
            windows: totals.windows,
            oldest_ms: totals.span.map(|span| span.from.as_millis()),
            newest_ms: totals.span.map(|span| span.to.as_millis()),
        },
        totals: from_query::totals(&totals),
        notices,
    };
    Ok(json(StatusCode::OK, to_json(&status)?))
}

/// This document.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "OpenAPI 3.1.", content_type = "application/json"), Refused)
)]
#[get("/api/openapi.json")]
async fn document(state: Data<State>) -> HttpResponse {
    json(StatusCode::OK, state.openapi.clone())
}

/// Figures for Prometheus.
#[utoipa::path(
    tag = "server",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text", description = "OpenMetrics."),
        Refused
    )
)]
#[get("/metrics")]
async fn scrape(state: Data<State>) -> HttpResponse {
    let live = state.recording.live().map(super::live::SharedLive::snapshot);
    // Two stat calls: not worth a thread.
    let database_bytes = database_bytes(&state.database);
    let scrape = Scrape {
        live,
        own: Cost::own(),
        children: Cost::children(),
        database_bytes,
        connections: state.connections.open(),
        waiting: state.readers.waiting() + state.status_readers.waiting(),
        kept: state.readers.kept_with(&state.status_readers),
        refused: Cause::ALL.map(|cause| state.refusals.total(cause)),
        now: (state.clock)(),
    };
    HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(scrape.encode())
}

/// Whether windows are being stored.
#[utoipa::path(
    tag = "server",
    responses(
        (status = 200, body = api::Health, description = "All is well, or sampling is starting."),
        (status = 503, body = api::Health, description = "Windows are not being stored, none was for more than three windows, or sampling has not started within a minute.")
    )
)]
#[get("/healthz")]
async fn healthz(state: Data<State>) -> Result<HttpResponse, Failure> {
    let live = state.recording.live();
    let failing = live.and_then(|live| live.snapshot().failing((state.clock)()));
    let reason = failing.or_else(|| state.recording.failing_start());
    let (code, word) = match reason {
        None if state.recording.starting().is_some() => (StatusCode::OK, "starting"),
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    Ok(json(code, to_json(&api::Health { status: word.to_owned(), reason })?))
}

/// An answer's body.
///
/// # Errors
/// A defect.
pub fn to_json(value: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Failure::Internal(error.into()))
}

/// An answer.
pub fn json(code: StatusCode, body: Bytes) -> HttpResponse {
    HttpResponse::build(code).content_type("application/json").body(body)
}

/// The file and its write-ahead log; what is not there counts nothing.
fn database_bytes(database: &std::path::Path) -> u64 {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
    size(database) + size(log.as_ref())
}
