//! The endpoints that answer with a file for another program: text, a picture, a page, a profile.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;

use super::State;
use super::api::{BoxParams, LimitParams, PprofParams, RangeParams};
use super::error::Failure;
use super::parameters::Parameters;
use super::routes::{Counted, Limits, Problems, Question};
use crate::export::folded::{Lines, Marks};
use crate::export::svg::{self, Caption};
use crate::export::{caption, html, pprof};
use crate::profile::{CallTree, TimeRange};
use crate::query::{self, Merged, Shape, Within};
use crate::store::Reader;
use crate::sys::host::name_in_boot;

/// Lines are written as they are sent, so only the tree is held: 24 MB and the names for a million nodes.
const FOLDED_NODES: Limits = Limits { usual: 1_000_000, most: 1_000_000 };
/// inferno holds all lines and all frames at once, and browsers draw slowly beyond this.
const SVG_NODES: Limits = Limits { usual: 10_000, most: 50_000 };
/// As many as it takes well itself.
const HTML_NODES: Limits = Limits { usual: html::MAX_NODES as u32, most: html::MAX_NODES as u32 };

/// Nothing is left out of a pprof file: `query::stack_samples` has its own limit, and refuses what is more.
const PPROF: Limits = Limits { usual: 1, most: 1 };

/// These endpoints.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(export_folded).service(export_svg).service(export_html).service(export_pprof);
}

/// Folded stacks, one line a stack: `process;frame;frame count`. Where samples of several rates are in the range, the count is nanoseconds.
#[utoipa::path(
    tag = "export",
    params(RangeParams, LimitParams, BoxParams),
    responses((status = 200, body = String, content_type = "text/plain", description = "The lines."), Problems)
)]
#[get("/api/v1/export/folded")]
async fn export_folded(state: Data<State>, asked: Parameters<Counted>) -> Result<HttpResponse, Failure> {
    let asked = Asked::parse(asked.0, &FOLDED_NODES, &state)?;
    let range = asked.question.range;
    let merged = state.readers.ask(move |reader: &mut _| asked.call_tree(reader)).await?;
    let body = FoldedBody { tree: merged.tree, lines: Lines::new(Marks::None) };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CONTENT_DISPOSITION, attachment(range, "folded")))
        .body(body))
}

/// A flame graph as an SVG file that stands alone.
#[utoipa::path(
    tag = "export",
    params(RangeParams, LimitParams, BoxParams),
    responses((status = 200, body = String, content_type = "image/svg+xml", description = "The picture."), Problems)
)]
#[get("/api/v1/export/svg")]
async fn export_svg(state: Data<State>, asked: Parameters<Counted>) -> Result<HttpResponse, Failure> {
    let asked = Asked::parse(asked.0, &SVG_NODES, &state)?;
    let range = asked.question.range;
    let ask = move |reader: &mut _| {
        let merged = asked.call_tree(reader)?;
        let (title, _) = asked.caption(reader, &merged)?;
        // A line holds no more than 160 letters.
        let total = merged.tree.nodes.first().map_or(0, |root| root.total);
        let title = format!("{title}, {}", caption::range(range));
        let caption = Caption { title, subtitle: caption::amount(&asked.question.filter, total, merged.measure) };
        let mut picture = Vec::new();
        svg::write(&merged.tree, merged.measure, &caption, &mut picture)
            .map_err(|error| Failure::Internal(error.into()))?;
        Ok(picture)
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "image/svg+xml"))
        .insert_header((CONTENT_DISPOSITION, attachment(range, "svg")))
        .body(state.readers.ask(ask).await?))
}

/// A flame graph as one page that opens from a file and asks for nothing.
#[utoipa::path(
    tag = "export",
    params(RangeParams, LimitParams, BoxParams),
    responses((status = 200, body = String, content_type = "text/html", description = "The page."), Problems)
)]
#[get("/api/v1/export/html")]
async fn export_html(state: Data<State>, asked: Parameters<Counted>) -> Result<HttpResponse, Failure> {
    let asked = Asked::parse(asked.0, &HTML_NODES, &state)?;
    let range = asked.question.range;
    let ask = move |reader: &mut _| {
        let merged = asked.call_tree(reader)?;
        let (title, about) = asked.caption(reader, &merged)?;
        let caption = html::Caption { title, about };
        let mut page = Vec::new();
        html::write(&merged.tree, merged.measure, &caption, &mut page)
            .map_err(|error| Failure::Internal(error.into()))?;
        Ok(page)
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_DISPOSITION, attachment(range, "html")))
        .body(state.readers.ask(ask).await?))
}

/// A profile as pprof has it, gzipped: for `go tool pprof` and what reads its format. Samples keep their process, thread,
/// addresses and lines.
#[utoipa::path(
    tag = "export",
    params(RangeParams, PprofParams, BoxParams),
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.google.protobuf+gzip", description = "The profile."), Problems)
)]
#[get("/api/v1/export/pprof")]
async fn export_pprof(
    state: Data<State>,
    asked: Parameters<(RangeParams, PprofParams, BoxParams)>,
) -> Result<HttpResponse, Failure> {
    let Parameters((range, PprofParams { process_frames }, area)) = asked;
    let asked = Asked::parse((range, LimitParams::default(), area), &PPROF, &state)?;
    let range = asked.question.range;
    let ask = move |reader: &mut Reader| {
        reader.set_demangle(asked.question.demangle);
        let samples = query::stack_samples(reader, asked.within, &asked.question.selector)?;
        let span = query::totals(reader)?.span;
        let about = pprof::About {
            start: span.map_or(range.from.0, |span| range.from.0.max(span.from.0)),
            comments: pprof::comments(query::newest_boot(reader)?.as_deref().and_then(name_in_boot)),
            process_frames: process_frames.unwrap_or(false),
        };
        let mut bytes = Vec::new();
        pprof::write(&samples, &about, &mut bytes).map_err(|error| Failure::Internal(error.into()))?;
        Ok(bytes)
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/vnd.google.protobuf+gzip"))
        .insert_header((CONTENT_DISPOSITION, attachment(range, "pb.gz")))
        .body(state.readers.ask(ask).await?))
}

/// What is to be exported: a range, or a box of its heat map.
struct Asked {
    question: Question,
    within: Within,
}

impl Asked {
    fn parse(params: Counted, limits: &Limits, state: &State) -> Result<Self, Failure> {
        let (question, within) = Question::counted(params, limits, state)?;
        Ok(Self { question, within })
    }

    /// Title and range of what was drawn.
    fn caption(&self, reader: &mut Reader, merged: &Merged) -> Result<(String, String), Failure> {
        let host = query::newest_boot(reader)?.as_deref().and_then(name_in_boot);
        let total = merged.tree.nodes.first().map_or(0, |root| root.total);
        let mut about = caption::about(self.question.range, &self.question.filter, total, merged.measure);
        if matches!(self.within, Within::Box(..)) {
            about.insert_str(0, "Box of the heat map of ");
        }
        Ok((caption::title(host.as_deref()), about))
    }

    /// The call tree, cut to the limit.
    fn call_tree(&self, reader: &mut Reader) -> Result<Merged, Failure> {
        match self.within {
            Within::Range(_) => self.question.call_tree(reader),
            Within::Box(grid, area) => {
                reader.set_demangle(self.question.demangle);
                let shape = Shape { max_nodes: self.question.limit(), ..Shape::default() };
                Ok(query::flame_graph_of_area(reader, grid, area, &self.question.selector, &shape)?)
            }
        }
    }
}

/// `attachment; filename="profile-20261101T120000Z-20261101T130000Z.folded"`.
fn attachment(range: TimeRange, extension: &str) -> String {
    format!("attachment; filename=\"profile-{}-{}.{extension}\"", utc(range.from), utc(range.to))
}

/// `20261101T120000Z`.
fn utc(time: crate::profile::WallNanos) -> String {
    jiff::Timestamp::from_millisecond(time.as_millis())
        .map_or_else(|_| "unknown".into(), |time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Folded lines, made a piece at a time as the client takes them.
struct FoldedBody {
    tree: CallTree,
    lines: Lines,
}

impl MessageBody for FoldedBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        const PIECE: usize = 64 << 10;
        let this = &mut *self;
        let mut piece = String::new();
        while piece.len() < PIECE && this.lines.next(&this.tree, &mut piece) {}
        Poll::Ready((!piece.is_empty()).then(|| Ok(Bytes::from(piece))))
    }
}
