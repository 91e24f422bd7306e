//! v2's view of the cluster: `/v2/members` and `/v2/machines`, in the words of etcd's own errors.

use api::{Consistency, Fault};
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Value;
use types::v2auth::Access;
use types::{MemberId, MemberRecord, MemberUrl, parse_urls};

use crate::body::{Body, BodyError, Upload};
use crate::gateway::{Connection, Shared};
use crate::mux::{self, TEXT};

use super::answer::string;
use super::{guard, users};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is refused, and in which words.
struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What went wrong inside is not told here.
    fn internal(fault: &Fault) -> Self {
        tracing::debug!(%fault, "a request for /v2/members failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }

    fn no_such(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("No such member: {id}"))
    }
}

/// Answers a request for what is below `/v2/members`.
pub(crate) async fn answer(
    shared: &Shared,
    rest: &str,
    request: Request<()>,
    upload: &mut Upload,
    connection: &Connection,
) -> Response<Body> {
    if !shared.member.v2_enabled() {
        return mux::not_found();
    }
    if !matches!(*request.method(), Method::GET | Method::POST | Method::DELETE | Method::PUT) {
        return mux::method_not_allowed("GET,POST,DELETE,PUT");
    }
    if *request.method() != Method::GET {
        match guard::permits(shared, request.headers(), connection, || Access::Root).await {
            Ok(true) => {}
            Ok(false) => return users::insufficient(),
            Err(fault) => return refuse(Refused::internal(&fault)),
        }
    }
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let (head, ()) = request.into_parts();
    let mut response = match head.method {
        Method::GET => get(shared, rest).await.unwrap_or_else(refuse),
        Method::POST => add(shared, &head.headers, upload).await.unwrap_or_else(refuse),
        // Without an id, no method that needs one is allowed.
        _ if rest.is_empty() => {
            let mut response = mux::method_not_allowed("");
            response.headers_mut().remove(ALLOW);
            response
        }
        Method::PUT => update(shared, rest, &head.headers, upload).await.unwrap_or_else(refuse),
        _ => remove(shared, rest).await.unwrap_or_else(refuse),
    };
    let id = HeaderValue::from_str(&shared.member.header().cluster.to_string())
        .expect("hexadecimal digits are visible ASCII");
    response.headers_mut().insert(HeaderName::from_static("x-etcd-cluster-id"), id);
    response
}

/// Answers `/v2/machines`: where clients reach the members.
pub(crate) async fn machines(shared: &Shared, method: &Method) -> Response<Body> {
    if !shared.member.v2_enabled() {
        return mux::not_found();
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return mux::method_not_allowed("GET,HEAD");
    }
    // From what this member knows, so that it answers while nobody leads.
    let members = shared.member.members(Consistency::Serializable).await;
    let mut urls: Vec<String> = members.map_or_else(
        |_| Vec::new(),
        |reply| reply.body.into_iter().flat_map(|member| member.client_urls).collect(),
    );
    urls.sort_unstable();
    let mut response = Response::new(Body::of(urls.join(", ")));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

async fn get(shared: &Shared, rest: &str) -> Result<Response<Body>, Refused> {
    if !matches!(rest, "" | "leader") {
        return Err(Refused::new(StatusCode::NOT_FOUND, "Not found"));
    }
    let internal = |fault: Fault| Refused::internal(&fault);
    let members = shared.member.members(Consistency::Serializable).await.map_err(internal)?.body;
    let mut text = String::new();
    if rest.is_empty() {
        text.push_str("{\"members\":");
        list(&mut text, &members, member);
        text.push('}');
    } else {
        let leader = shared.member.status().await.map_err(internal)?.body.leader;
        let leader = members.iter().find(|member| member.id == leader);
        let election = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, "During election");
        member(&mut text, leader.ok_or_else(election)?);
    }
    Ok(json(StatusCode::OK, text + "\n"))
}

async fn add(shared: &Shared, headers: &HeaderMap, upload: &mut Upload) -> Result<Response<Body>, Refused> {
    let peer_urls = read(shared, headers, upload).await?;
    let conflict = |message| Refused::new(StatusCode::CONFLICT, message);
    let added = shared.member.member_add(peer_urls, false).await.map_err(|fault| match fault {
        Fault::MemberExists => conflict("membership: ID exists"),
        Fault::PeerUrlExists => conflict("membership: peerURL exists"),
        fault => Refused::internal(&fault),
    })?;
    let mut text = String::new();
    member(&mut text, &added.body.member);
    Ok(json(StatusCode::CREATED, text + "\n"))
}

async fn update(
    shared: &Shared,
    id: &str,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<Response<Body>, Refused> {
    let known = parse_id(id)?;
    let peer_urls = read(shared, headers, upload).await?;
    shared.member.member_update(known, peer_urls).await.map_err(|fault| match fault {
        Fault::PeerUrlExists => Refused::new(StatusCode::CONFLICT, "membership: peerURL exists"),
        Fault::MemberNotFound => Refused::no_such(id),
        fault => Refused::internal(&fault),
    })?;
    Ok(no_content())
}

async fn remove(shared: &Shared, id: &str) -> Result<Response<Body>, Refused> {
    shared.member.member_remove(parse_id(id)?).await.map_err(|fault| match fault {
        Fault::MemberRemoved => Refused::new(StatusCode::GONE, format!("Member permanently removed: {id}")),
        Fault::MemberNotFound => Refused::no_such(id),
        fault => Refused::internal(&fault),
    })?;
    Ok(no_content())
}

fn parse_id(id: &str) -> Result<MemberId, Refused> {
    // A sign is no digit to Go.
    let digits = id.chars().all(|char| char.is_ascii_hexdigit());
    let number = u64::from_str_radix(id, 16).ok().filter(|_| digits);
    number.map(MemberId).ok_or_else(|| Refused::no_such(id))
}

/// The peer URLs in a request's body.
async fn read(shared: &Shared, headers: &HeaderMap, upload: &mut Upload) -> Result<Vec<MemberUrl>, Refused> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default();
    if content_type != "application/json" {
        let message = format!("Bad Content-Type {content_type}, accept application/json");
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let wrong = |message: String| Refused::new(StatusCode::BAD_REQUEST, message);
    let body = upload.collect(shared.limits.body_bytes_max, shared).await;
    let body = body.map_err(|error| {
        wrong(match error {
            BodyError::TooLarge => "http: request body too large".to_owned(),
            BodyError::TooSlow => "the body did not arrive in time".to_owned(),
            BodyError::NoRoom(_) => Fault::TooManyRequests.text().to_owned(),
            BodyError::Broken => "unexpected EOF".to_owned(),
        })
    })?;
    let value: Value = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    let texts = peer_urls(value).map_err(wrong)?;
    parse_urls(texts.iter().map(String::as_str)).map_err(|error| wrong(error.to_string()))
}

/// The field `peerURLs`, whose name Go reads in any case; `null` is an empty list.
fn peer_urls(value: Value) -> Result<Vec<String>, String> {
    const OBJECT: &str = r#"struct { PeerURLs []string "json:\"peerURLs\"" }"#;
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => return Ok(Vec::new()),
        other => {
            return Err(format!("json: cannot unmarshal {} into Go value of type {OBJECT}", kind(&other)));
        }
    };
    let mut named = fields.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("peerURLs"));
    let of_field = |value: &Value, wanted: &str| {
        format!("json: cannot unmarshal {} into Go struct field .peerURLs of type {wanted}", kind(value))
    };
    match named.next_back().map(|(_, value)| value) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                Value::Null => Ok(String::new()),
                other => Err(of_field(&other, "string")),
            })
            .collect(),
        Some(other) => Err(of_field(&other, "[]string")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn member(out: &mut String, member: &MemberRecord) {
    out.push_str("{\"id\":\"");
    out.push_str(&member.id.to_string());
    out.push_str("\",\"name\":");
    string(out, member.name.as_bytes());
    out.push_str(",\"peerURLs\":");
    list(out, &member.peer_urls, |out, url| string(out, url.as_bytes()));
    out.push_str(",\"clientURLs\":");
    list(out, &member.client_urls, |out, url| string(out, url.as_bytes()));
    out.push('}');
}

fn list<T>(out: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

#[allow(clippy::needless_pass_by_value, reason = "it ends here, and is handed over by `unwrap_or_else`")]
fn refuse(refused: Refused) -> Response<Body> {
    let mut text = String::from("{\"message\":");
    string(&mut text, refused.message.as_bytes());
    json(refused.status, text + "}")
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::of(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_go_reads_them() {
        let check = |text: &str, expect: Result<&[&str], &str>| {
            let value = serde_json::from_str(text).expect("JSON");
            let urls = peer_urls(value);
            let urls = urls.as_deref().map(|urls| urls.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(urls.as_deref().map_err(|error| error.as_str()), expect, "{text}");
        };
        check(r#"{"peerURLs":["a","b"]}"#, Ok(&["a", "b"]));
        check(r#"{"PEERurls":["a"],"other":1}"#, Ok(&["a"]));
        check("null", Ok(&[]));
        check("{}", Ok(&[]));
        check(r#"{"peerURLs":null}"#, Ok(&[]));
        let of_type = |kind: &str, field: &str, wanted: &str| {
            format!("json: cannot unmarshal {kind} into Go {field} of type {wanted}")
        };
        check(r#"{"peerURLs":"x"}"#, Err(&of_type("string", "struct field .peerURLs", "[]string")));
        check(r#"{"peerURLs":[1]}"#, Err(&of_type("number", "struct field .peerURLs", "string")));
        let object = r#"struct { PeerURLs []string "json:\"peerURLs\"" }"#;
        check("[]", Err(&of_type("array", "value", object)));
    }

    #[test]
    fn ids_are_hexadecimal_and_nothing_else() {
        let id = |text| parse_id(text).map(|id| id.0).ok();
        assert_eq!(id("8e9e05c52164694d"), Some(0x8e9e_05c5_2164_694d));
        assert_eq!(id("00A"), Some(10));
        for text in ["", "x", "+1", "-1", "1/", "18e9e05c52164694d"] {
            assert_eq!(id(text), None, "{text}");
        }
    }
}
