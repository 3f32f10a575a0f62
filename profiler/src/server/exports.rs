//! The endpoints that answer with a file for another program: text, a picture, a page, a profile.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Query};
use actix_web::{HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;

use super::State;
use super::api::RangeParams;
use super::error::Failure;
use super::routes::{Limits, Problems, Question};
use crate::export::folded::{Lines, Marks};
use crate::export::svg::{self, Caption};
use crate::export::{html, pprof};
use crate::profile::{CallTree, TimeRange};
use crate::query::Merged;

/// Lines are written as they are sent, so only the tree is held: 24 MB and the names for a million nodes.
const FOLDED_NODES: Limits = Limits { usual: 1_000_000, most: 1_000_000 };
/// inferno holds all lines and all frames at once, and browsers draw slowly beyond this.
const SVG_NODES: Limits = Limits { usual: 10_000, most: 50_000 };
/// As many as it takes well itself.
const HTML_NODES: Limits = Limits { usual: html::MAX_NODES as u32, most: html::MAX_NODES as u32 };
/// A sample is about 100 bytes before compression, all of them held.
const PPROF_NODES: Limits = Limits { usual: 200_000, most: 200_000 };

/// These endpoints.
pub fn configure(config: &mut ServiceConfig<'_>) {
    config.service(export_folded).service(export_svg).service(export_html).service(export_pprof);
}

/// Folded stacks, one line a stack: `process;frame;frame count`.
#[utoipa::path(
    tag = "export",
    params(RangeParams),
    responses((status = 200, body = String, content_type = "text/plain", description = "The lines."), Problems)
)]
#[get("/api/v1/export/folded")]
async fn export_folded(state: Data<State>, params: Query<RangeParams>) -> Result<HttpResponse, Failure> {
    let question = Question::parse(params.into_inner(), &FOLDED_NODES, &state)?;
    let range = question.range;
    let merged = state.readers.ask(move |reader: &mut _| question.call_tree(reader)).await?;
    let body = FoldedBody { tree: merged.tree, lines: Lines::new(Marks::None) };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CONTENT_DISPOSITION, attachment(range, "folded")))
        .body(body))
}

/// A flame graph as an SVG file that stands alone.
#[utoipa::path(
    tag = "export",
    params(RangeParams),
    responses((status = 200, body = String, content_type = "image/svg+xml", description = "The picture."), Problems)
)]
#[get("/api/v1/export/svg")]
async fn export_svg(state: Data<State>, params: Query<RangeParams>) -> Result<HttpResponse, Failure> {
    let question = Question::parse(params.into_inner(), &SVG_NODES, &state)?;
    let range = question.range;
    let ask = move |reader: &mut _| {
        let merged = question.call_tree(reader)?;
        let samples = merged.tree.nodes.first().map_or(0, |root| root.total);
        let filter = shown_filter(&question);
        let caption = Caption {
            title: "CPU".into(),
            subtitle: format!("{} to {}, {filter}, {samples} samples.", utc(range.from), utc(range.to)),
        };
        let mut picture = Vec::new();
        svg::write(&merged.tree, &caption, &mut picture).map_err(|error| Failure::Internal(error.into()))?;
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
    params(RangeParams),
    responses((status = 200, body = String, content_type = "text/html", description = "The page."), Problems)
)]
#[get("/api/v1/export/html")]
async fn export_html(state: Data<State>, params: Query<RangeParams>) -> Result<HttpResponse, Failure> {
    let question = Question::parse(params.into_inner(), &HTML_NODES, &state)?;
    let range = question.range;
    let about = format!("{} to {}, {}", utc(range.from), utc(range.to), shown_filter(&question));
    let caption = html::Caption { title: "CPU flame graph".into(), about };
    let write =
        move |merged: &Merged, out: &mut Vec<u8>| html::write(&merged.tree, merged.nanos_per_sample, &caption, out);
    file(&state, question, "text/html; charset=utf-8", "html", write).await
}

/// A profile as pprof has it, gzipped: for `go tool pprof` and what reads its format.
#[utoipa::path(
    tag = "export",
    params(RangeParams),
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.google.protobuf+gzip", description = "The profile."), Problems)
)]
#[get("/api/v1/export/pprof")]
async fn export_pprof(state: Data<State>, params: Query<RangeParams>) -> Result<HttpResponse, Failure> {
    let question = Question::parse(params.into_inner(), &PPROF_NODES, &state)?;
    let TimeRange { from, to } = question.range;
    let write = move |merged: &Merged, out: &mut Vec<u8>| {
        pprof::write(&merged.tree, from.0, to.0.saturating_sub(from.0), merged.nanos_per_sample, out)
    };
    file(&state, question, "application/vnd.google.protobuf+gzip", "pb.gz", write).await
}

/// A file that is made whole, to be kept under the range's name.
async fn file(
    state: &Data<State>,
    question: Question,
    content: &'static str,
    extension: &str,
    write: impl FnOnce(&Merged, &mut Vec<u8>) -> io::Result<()> + Send + 'static,
) -> Result<HttpResponse, Failure> {
    let name = attachment(question.range, extension);
    let ask = move |reader: &mut _| {
        let merged = question.call_tree(reader)?;
        let mut bytes = Vec::new();
        write(&merged, &mut bytes).map_err(|error| Failure::Internal(error.into()))?;
        Ok(bytes)
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, content))
        .insert_header((CONTENT_DISPOSITION, name))
        .body(state.readers.ask(ask).await?))
}

/// The filter, in words where there is none.
fn shown_filter(question: &Question) -> &str {
    if question.filter.is_empty() { "everything" } else { &question.filter }
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
