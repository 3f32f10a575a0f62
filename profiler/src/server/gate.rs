//! What every request passes first: is it meant for us, may it ask, may it have a body (never), and who asks.
//!
//! In this order: one `Host`, on the list ([`HostNames`]); GET or HEAD, or the one POST there is, from no other page than ours; no
//! body; not from another page, which may be another port's of this host; a login ([`Login`]). The pages come before the login: what
//! another page asks in a browser of somebody who may read must not have their answer. A request
//! that is turned away is answered and its connection closed, its body unread. Every answer, errors included, leaves with
//! the headers that keep a browser from doing anything else with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};

use super::error::Failure;
use super::hosts::HostNames;
use super::login::{Admission, Login};
use super::refusals::Refusals;

/// Nothing from outside, nothing inline, no frames around us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];

/// The one thing that can be asked for by POST.
const SYMBOLIZE: &str = "/api/v1/symbolize";

/// Lets a request through to `next` or answers it itself.
///
/// # Errors
/// Those of `next`.
pub async fn gate(
    hosts: &HostNames,
    login: &Login,
    refusals: &Refusals,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admission = match check(hosts, &request) {
        Ok(()) => login.admit(hosts, &request).await,
        Err(failure) => {
            refusals.failure(&failure);
            Admission::Out(failure.error_response())
        }
    };
    let mut response = match admission {
        Admission::In => {
            // The connection leaves the body out by itself; routes need not know HEAD.
            if request.method() == Method::HEAD {
                request.head_mut().method = Method::GET;
            }
            next.call(request).await?.map_into_boxed_body()
        }
        Admission::Out(answer) => refuse(request, answer),
        Admission::Refused(cause, who, answer) => {
            refusals.login(cause, who);
            refuse(request, answer)
        }
    };
    if let Some(failure) = response.response().error().and_then(|error| error.as_error::<Failure>()) {
        refusals.failure(failure);
    }
    protect(response.headers_mut());
    Ok(response)
}

fn check(hosts: &HostNames, request: &ServiceRequest) -> Result<(), Failure> {
    let mut named = request.headers().get_all(header::HOST);
    let (Some(host), None) = (named.next(), named.next()) else { return Err(Failure::NoHost) };
    // A request line with an authority (`GET http://name/`) overrides the header (RFC 9112, 3.2.2): both must be ours.
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if !host.to_str().is_ok_and(|host| hosts.allows(host)) || !authority.is_none_or(|name| hosts.allows(name)) {
        return Err(Failure::WrongHost);
    }
    let asks = request.method() == Method::POST && request.path() == SYMBOLIZE;
    if !asks && request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Failure::Method);
    }
    let headers = request.headers();
    if asks && !is_our_page(hosts, headers) {
        return Err(Failure::OtherPage);
    }
    let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0");
    if !empty || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Failure::Body);
    }
    // The page itself says nothing, and is what a link elsewhere leads to.
    let answers = request.path().starts_with("/api") || request.path() == "/metrics";
    if answers && !is_our_page(hosts, headers) {
        return Err(Failure::CrossSite);
    }
    Ok(())
}

/// Whether what asks to do something is the page itself, or no page at all: a page of another port of this host is as foreign as
/// any. Browsers alone send these two headers, and pages cannot forge them: an origin with every POST and with what reads across origins, a
/// site with everything.
fn is_our_page(hosts: &HostNames, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = headers.get(header::ORIGIN).map(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        // The same name as in the request, or, where a proxy put its own there, the one that we were started with.
        let same = |host: &str| hosts.allows(host) && headers.get(header::HOST).is_some_and(|named| named == host);
        host.is_some_and(|host| same(host) || hosts.is_given(host))
    });
    matches!(site, None | Some(b"same-origin" | b"none")) && origin != Some(false)
}

fn refuse(mut request: ServiceRequest, mut response: HttpResponse) -> ServiceResponse<BoxBody> {
    let payload = request.take_payload();
    response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    let response = response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) => BoxBody::new(Unread { bytes, _payload: payload }),
        Err(body) => body,
    });
    request.into_response(response)
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// An answer that holds on to the request's body without reading it.
///
/// actix-http 3.20 closes a connection, within the disconnect timeout, whose body was not read by the end of the answer.
/// A chunked body that nobody holds any more, though, it reads on to the end, however long that takes to come.
struct Unread {
    bytes: Bytes,
    _payload: Payload,
}

impl MessageBody for Unread {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}
