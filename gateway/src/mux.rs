//! Where plain HTTP requests go, by their paths: as Go's mux sends them, with etcd's cross-origin headers on
//! every answer.

use std::sync::Arc;

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::body::{Body, Upload};
use crate::gateway::{Connection, Shared};
use crate::leave::Leave;
use crate::refusal::Refusal;
use crate::{grpc, json, plain, v2};

/// `text/plain`, as Go writes it.
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Bytes of a path that Go's URLs hold as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// etcd's answer to a certificate with a name on a request in JSON, while proof is asked for.
const NAME_IGNORED: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected";

/// For a page that may not have its browser write here.
const FOREIGN: &str = "kvorum: the origin of this request is not among those of --cors";

/// Answers one request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<()>,
    upload: &mut Upload,
    connection: &Connection,
    leave: &Leave,
) -> Response<Body> {
    if !connection.is_encrypted
        && let Some(text) = shared.browsers.misdirected(&request)
    {
        return error(StatusCode::MISDIRECTED_REQUEST, &text);
    }
    // A safe method, OPTIONS among them, changes nothing, and a page may not read what it says.
    if !request.method().is_safe() && shared.browsers.is_foreign(&request) {
        return error(StatusCode::FORBIDDEN, FOREIGN);
    }
    let origin = shared.browsers.origin(&request);
    let without_body = request.method() == Method::HEAD;
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(Body::default())
    } else {
        match decode(request.uri().path()) {
            Some(path) => route(shared, path, request, upload, connection, leave).await,
            None => bad_request(),
        }
    };
    shared.browsers.allow(origin.as_ref(), response.headers_mut());
    if without_body { headers_of(response) } else { response }
}

/// The answer to HEAD: the headers of the answer that it stands for, its length among them. hyper leaves the
/// body out by itself in HTTP/1 only.
fn headers_of(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    // Of a redirect Go writes no body for HEAD, and so knows no length.
    if !head.status.is_redirection() {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Response::from_parts(head, Body::default())
}

async fn route(
    shared: &Arc<Shared>,
    mut path: Vec<u8>,
    request: Request<()>,
    upload: &mut Upload,
    connection: &Connection,
    leave: &Leave,
) -> Response<Body> {
    // The old names of the JSON interface are those of the new one.
    if let Some(rest) = [&b"/v3beta/"[..], b"/v3alpha/"].iter().find_map(|old| path.strip_prefix(*old)) {
        path = [b"/v3/", rest].concat();
    }
    if !is_clean(&path) {
        return redirect(&request, &clean(&path));
    }
    let Ok(path) = std::str::from_utf8(&path) else { return v2::or_not_found(shared, &path) };
    if connection.is_monitor {
        let is_served = ["/metrics", "/health", "/livez", "/readyz"].iter().any(|known| {
            path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        return if is_served { plain::answer(shared, path, &request).await } else { not_found() };
    }
    if let Some(path) = path.strip_prefix("/v3").filter(|path| path.starts_with('/')) {
        if connection.is_json_shut {
            return not_found();
        }
        // Else its owner might think that it counts.
        if connection.peer_name.as_ref().is_some_and(|name| !name.is_empty()) && shared.member.guards() {
            return error(StatusCode::BAD_REQUEST, NAME_IGNORED);
        }
        let (method, headers) = (request.method(), request.headers());
        return json::answer(json::Request { shared, method, path, headers, upload, leave }).await;
    }
    if let Some(key) = path.strip_prefix("/v2/keys").filter(|key| key.is_empty() || key.starts_with('/')) {
        return v2::answer(shared, key, request, upload, connection, leave).await;
    }
    if let Some(rest) =
        path.strip_prefix("/v2/members").filter(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return v2::members::answer(shared, rest, request, upload, connection).await;
    }
    if let Some(rest) = path.strip_prefix("/v2/auth/") {
        return v2::users::answer(shared, rest, request, upload, connection).await;
    }
    if let Some(which) = path.strip_prefix("/v2/stats/") {
        return v2::stats::answer(shared, which, request.method());
    }
    match path {
        "/v2/machines" => v2::members::machines(shared, request.method()).await,
        "/v3" => redirect(&request, b"/v3/"),
        _ => plain::answer(shared, path, &request).await,
    }
}

/// The bytes of a percent-encoded path; `None` when an escape is none.
fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}

/// Whether [`clean`] would change nothing.
fn is_clean(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    let mut parts = rest.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let is_end = part.is_empty() && parts.peek().is_none();
        if !is_end && matches!(part, b"" | b"." | b"..") {
            return false;
        }
    }
    true
}

/// Without empty, `.` and `..` components; a slash at the end stays.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut cleaned = Vec::with_capacity(path.len() + 1);
    for part in &parts {
        cleaned.push(b'/');
        cleaned.extend_from_slice(part);
    }
    if parts.is_empty() || path.ends_with(b"/") {
        cleaned.push(b'/');
    }
    cleaned
}

fn redirect(request: &Request<()>, path: &[u8]) -> Response<Body> {
    let mut location = percent_encode(path, PATH).to_string();
    if let Some(query) = request.uri().query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = Response::new(Body::default());
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        let shown = location
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;");
        response = Response::new(Body::of(format!("<a href=\"{shown}\">Moved Permanently</a>.\n\n")));
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
    }
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// An error as Go's `http.Error` writes it.
pub(crate) fn error(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::of(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

/// The answer where too many calls are under way, in the form that the client reads.
pub(crate) fn crowded<B>(request: &Request<B>) -> Response<Body> {
    let refusal = Refusal::too_many();
    if request.version() == Version::HTTP_2 && grpc::speaks(request.headers()) {
        return grpc::failure(&refusal);
    }
    if request.uri().path().starts_with("/v3") {
        return json::failure(&refusal);
    }
    error(StatusCode::SERVICE_UNAVAILABLE, &refusal.text)
}

/// There is nothing at this path.
pub(crate) fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// The path does not take this method; `allowed` does it.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// What Go answers before it looks at a request any closer.
fn bad_request() -> Response<Body> {
    let mut response = Response::new(Body::of("400 Bad Request"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_gos_mux_does() {
        for (path, cleaned) in [
            ("/", "/"),
            ("", "/"),
            ("//a", "/a"),
            ("/a/", "/a/"),
            ("/a/./b/../c", "/a/c"),
            ("/../..", "/"),
            ("/a/..", "/"),
            ("/a//", "/a/"),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
            assert_eq!(is_clean(path.as_bytes()), path == cleaned, "{path}");
        }
    }

    #[test]
    fn escapes_are_two_hexadecimal_digits() {
        assert_eq!(decode("/a%2Fb%ff").as_deref(), Some(&b"/a/b\xff"[..]));
        for path in ["/%", "/%2", "/%zz", "/%+1"] {
            assert_eq!(decode(path), None, "{path}");
        }
    }
}
