//! The answer to who may not read: why, and how to get in. Programs get a problem, people a page; neither says anything about profiles.

use std::path::Path;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, http::header};

use crate::server::api::Problem;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It brings nothing, and comes from nobody who needs nothing.
    NoLogin,
    /// Its session is over, or another user's.
    SessionEnded,
    /// Its link is too old.
    LinkExpired,
    /// Its link was used.
    LinkUsed,
    /// Its token, link or session is none of ours.
    Wrong,
    /// The same, once too often.
    TooMany,
}

/// A refusal, and where the way in is.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub why: Why,
    /// The database.
    pub database: &'a Path,
    /// The file with its token; `None` if that is in memory alone.
    pub token_file: Option<&'a Path>,
}

impl Refusal<'_> {
    fn facts(&self) -> (StatusCode, &'static str, &'static str) {
        let status = if self.why == Why::TooMany { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::UNAUTHORIZED };
        let (code, title) = match self.why {
            Why::NoLogin => ("login_required", "this needs a login"),
            Why::SessionEnded => ("session_ended", "your session has ended"),
            Why::LinkExpired => ("link_expired", "this link is too old: a link can be used for ten minutes"),
            Why::LinkUsed => ("link_used", "this link was used: each can be used once"),
            Why::Wrong => ("wrong_login", "this token, link or session is not one of this profiler's"),
            Why::TooMany => ("too_many_tries", "too many wrong tries"),
        };
        (status, code, title)
    }

    /// The command that prints a link for the address that `request` was sent to.
    fn command(&self, request: &HttpRequest) -> String {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let database = self.database.display().to_string();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%=".contains(&byte);
        let database =
            if database.bytes().all(plain) { database } else { format!("'{}'", database.replace('\'', r"'\''")) };
        format!("sudo profiler url --db {database} --base http://{host}")
    }

    fn detail(&self, request: &HttpRequest) -> String {
        match (self.why, self.token_file) {
            (Why::TooMany, _) => "wait a minute".to_owned(),
            (_, Some(file)) => format!(
                "in a browser, open the link that `{}` prints; a program sends `Authorization: Bearer` and what {} holds",
                self.command(request),
                file.display()
            ),
            (_, None) => "its token is in memory alone: open the link that it printed at its start, or ask as the user who started it, \
                without a proxy"
                .to_owned(),
        }
    }

    /// The answer to `request`.
    #[must_use]
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let (status, code, title) = self.facts();
        let detail = self.detail(request);
        let mut response = HttpResponse::build(status);
        match self.why {
            Why::TooMany => response.insert_header((RETRY_AFTER, HeaderValue::from_static("60"))),
            _ => response.insert_header((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"profiler\""))),
        };
        let path = request.path();
        if path.starts_with("/api") || path == "/metrics" {
            let command = self.token_file.filter(|_| self.why != Why::TooMany).map(|_| self.command(request));
            let (status, code, title) = (status.as_u16(), code.to_owned(), title.to_owned());
            let problem = Problem { status, code, title, detail, command };
            let body = serde_json::to_vec(&problem).expect("strings and a number always become JSON");
            return response.content_type("application/problem+json").body(body);
        }
        response.content_type("text/html; charset=utf-8").body(self.page(request, title))
    }

    fn page(&self, request: &HttpRequest, title: &str) -> String {
        // A browser keeps a strict cookie to itself when another site's page leads here; from this page it sends it.
        let arrives = |name: &str, value: &[u8]| request.headers().get(name).is_some_and(|is| is.as_bytes() == value);
        let from_elsewhere = (arrives("sec-fetch-site", b"cross-site") || arrives("sec-fetch-site", b"same-site"))
            && arrives("sec-fetch-mode", b"navigate")
            && self.why == Why::NoLogin
            && request.path() == "/";
        let again = if from_elsewhere {
            format!("<meta http-equiv=\"refresh\" content=\"0; url=./?{}\">", escape(request.query_string()))
        } else {
            String::new()
        };
        let way = match (self.why, self.token_file) {
            (Why::TooMany, _) => "<p>Wait a minute, then try again.</p>".to_owned(),
            (_, Some(_)) => format!(
                "<p>This profiler shows what runs on its host to those who may read its token. On that host, run</p>\
                 <pre>{}</pre><p>and open the link that it prints. What follows <code>--base</code> is what the address bar has, \
                 up to the page.</p>",
                escape(&self.command(request))
            ),
            (_, None) => format!("<p>{}.</p>", escape(&self.detail(request))),
        };
        let mut capital = title.to_owned();
        capital[..1].make_ascii_uppercase();
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Login - profiler</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">{again}</head>\
             <body><h1>{}</h1>{way}</body></html>\n",
            escape(&capital)
        )
    }
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
