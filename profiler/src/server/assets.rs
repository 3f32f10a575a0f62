//! The page: what `make web` put into `web/dist`, embedded in the binary.
//!
//! A debug build reads the folder at each request instead, so that the page can be worked on without a rebuild. A build
//! without the folder serves a short page that says what to do. Only exact names of files are served; the page keeps its
//! state in the query string, so every other path is 404. Each file is there once more, packed by the build as small as it gets
//! (`name.br`), for whoever reads that: packing it at each request took longer than sending it.

use actix_web::http::header::{
    ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, ContentType, ETAG, Encoding, EntityTag,
    Header as _, HeaderValue, IF_NONE_MATCH, IfNoneMatch, VARY,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use rust_embed::{Embed, EmbeddedFile};

use super::error::Failure;

#[derive(Embed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Dist;

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>profiler</title>\
    <h1>The page is not in this build</h1><p>Run <code>make web</code>, then build again. \
    The interface is at <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p></html>\n";

const NOT_FOUND: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Not found</title>\
    <h1>Not found</h1><p><a href=\"/\">To the profiler</a></p></html>\n";

/// The file that `request` names, or why there is none. Everything that is no route ends here.
///
/// # Errors
/// [`Failure::NoSuchEndpoint`] below `/api`.
pub async fn serve(request: HttpRequest) -> Result<HttpResponse, Failure> {
    let path = request.path();
    if path == "/api" || path.starts_with("/api/") {
        return Err(Failure::NoSuchEndpoint);
    }
    let name = match path.strip_prefix('/').unwrap_or(path) {
        "" => "index.html",
        name => name,
    };
    Ok(match file(name) {
        Some(file) => answer(&request, name, file),
        None if name == "index.html" => HttpResponse::Ok().content_type(ContentType::html()).body(NOT_BUILT),
        None => HttpResponse::NotFound().content_type(ContentType::html()).body(NOT_FOUND),
    })
}

/// Names are plain and relative. The embedded table would find nothing else; the folder of a debug build might.
fn file(name: &str) -> Option<EmbeddedFile> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'));
    let inside = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    if plain && inside { Dist::get(name) } else { None }
}

fn answer(request: &HttpRequest, name: &str, file: EmbeddedFile) -> HttpResponse {
    let hash = file.metadata.sha256_hash();
    // Weak: the same file leaves with different encodings.
    let tag = EntityTag::new_weak(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect());
    // Vite puts a hash of the content into the names below assets/.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = request.headers().contains_key(IF_NONE_MATCH)
        && match request.get_header::<IfNoneMatch>() {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
            None => false,
        };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static(cache))).insert_header((ETAG, tag.to_string()));
    if known {
        return response.finish();
    }
    response.content_type(content_type(name));
    // The same for all, so that a cache between keeps both.
    response.insert_header((VARY, HeaderValue::from_name(ACCEPT_ENCODING)));
    match reads_brotli(request).then(|| self::file(&format!("{name}.br"))).flatten() {
        Some(packed) => {
            response.insert_header((CONTENT_ENCODING, HeaderValue::from_static("br")));
            response.body(packed.data.into_owned())
        }
        None => response.body(file.data.into_owned()),
    }
}

fn reads_brotli(request: &HttpRequest) -> bool {
    request.headers().contains_key(ACCEPT_ENCODING)
        && AcceptEncoding::parse(request)
            .is_ok_and(|accepted| accepted.negotiate([Encoding::brotli()].iter()) == Some(Encoding::brotli()))
}

/// By extension: the kinds that the page is made of.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who does not say so gets no brotli.
    #[test]
    fn brotli_is_for_those_who_read_it() {
        let reads = |accepted: &str| {
            reads_brotli(
                &actix_web::test::TestRequest::get().insert_header((ACCEPT_ENCODING, accepted)).to_http_request(),
            )
        };
        assert!(reads("gzip, deflate, br, zstd"));
        assert!(!reads("gzip, deflate") && !reads("br;q=0, gzip") && !reads("identity"));
        assert!(!reads_brotli(&actix_web::test::TestRequest::get().to_http_request()));
    }

    /// Nothing outside the folder has a name here.
    #[test]
    fn names_that_leave_the_folder_are_no_files() {
        for name in
            ["../Cargo.toml", "assets/../../Cargo.toml", "/etc/passwd", ".gitignore", "a//b", "a\0b", "..%2fCargo.toml"]
        {
            assert!(file(name).is_none(), "{name:?}");
        }
    }
}
