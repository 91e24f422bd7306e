//! v2's answers: events and errors as Go's encoder writes them, and the statuses and headers beside them.

use std::fmt::Write as _;

use api::V2Reply;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use types::v2::{Action, Event, Node, Refusal, Timestamp};
use types::{ClusterId, Index, Term};

use crate::body::Body;

/// Room for the headers of an answer, those of CORS and HTTP with them.
const HEADERS: usize = 12;

// Names that are looked at once, by the compiler, and not for each answer.
const X_RAFT_INDEX: HeaderName = HeaderName::from_static("x-raft-index");
const X_RAFT_TERM: HeaderName = HeaderName::from_static("x-raft-term");
const X_ETCD_CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
const X_ETCD_INDEX: HeaderName = HeaderName::from_static("x-etcd-index");

/// An answer of the keyspace.
pub(crate) fn reply(cluster: ClusterId, reply: V2Reply, quiet: bool) -> Response<Body> {
    let event = match reply.result {
        Ok(event) => event,
        Err(refused) => return refusal(cluster, &refused),
    };
    let mut response = Response::new(Body::of(text(&event, quiet)));
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    if created(&event) {
        *response.status_mut() = StatusCode::CREATED;
    }
    heads(response.headers_mut(), cluster, event.index, reply.raft_index, reply.raft_term);
    response
}

/// The headers of what the keyspace answers, refusals excepted.
pub(crate) fn heads(
    headers: &mut HeaderMap,
    cluster: ClusterId,
    index: u64,
    raft_index: Index,
    raft_term: Term,
) {
    common(headers, cluster, index);
    headers.insert(X_RAFT_INDEX, HeaderValue::from(raft_index.0));
    headers.insert(X_RAFT_TERM, HeaderValue::from(raft_term.0));
}

/// A refusal, of the keyspace or of the door.
pub(crate) fn refusal(cluster: ClusterId, refusal: &Refusal) -> Response<Body> {
    let mut body = format!(r#"{{"errorCode":{},"message":"{}""#, refusal.code, message(refusal.code));
    if !refusal.cause.is_empty() {
        body.push_str(",\"cause\":");
        string(&mut body, refusal.cause.as_bytes());
    }
    let _ = write!(body, ",\"index\":{}}}", refusal.index);
    body.push('\n');
    let mut response = Response::new(Body::of(body));
    *response.status_mut() = status(refusal.code);
    common(response.headers_mut(), cluster, refusal.index);
    response
}

fn common(headers: &mut HeaderMap, cluster: ClusterId, index: u64) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let id = HeaderValue::from_str(&cluster.to_string()).expect("hexadecimal digits are visible ASCII");
    headers.insert(X_ETCD_CLUSTER_ID, id);
    headers.insert(X_ETCD_INDEX, HeaderValue::from(index));
}

/// Whether the node was not there before: always after `create`, and after a `set` that replaced nothing.
fn created(event: &Event) -> bool {
    match event.action {
        Action::Create => true,
        Action::Set => event.prev_node.is_none(),
        _ => false,
    }
}

/// Room for what is in a node beside its key and value, and around it.
const TEXT_BYTES: usize = 256;

fn length(node: &Node) -> usize {
    node.key.len() + node.value.as_ref().map_or(0, Bytes::len) + TEXT_BYTES
}

/// An event in JSON; `quiet` leaves out what a writer knows already.
pub(crate) fn text(event: &Event, quiet: bool) -> String {
    let mut out =
        String::with_capacity(TEXT_BYTES + length(&event.node) + event.prev_node.as_ref().map_or(0, length));
    out.push_str("{\"action\":\"");
    out.push_str(event.action.as_str());
    out.push('"');
    if !quiet || matches!(event.action, Action::Get | Action::Delete | Action::CompareAndDelete) {
        out.push_str(",\"node\":");
        node(&mut out, &event.node);
        if let Some(before) = &event.prev_node {
            out.push_str(",\"prevNode\":");
            node(&mut out, before);
        }
    }
    out.push_str("}\n");
    out
}

/// Fields in etcd's order; what is zero is left out. The depth of a tree is bounded where nodes are made.
fn node(out: &mut String, node: &Node) {
    let mut fields = Fields::open(out);
    if !node.key.is_empty() {
        string(fields.name("key"), node.key.as_bytes());
    }
    if let Some(value) = &node.value {
        string(fields.name("value"), value);
    }
    if node.dir {
        fields.name("dir").push_str("true");
    }
    if let Some(time) = node.expiration.and_then(timestamp) {
        let _ = write!(fields.name("expiration"), "\"{time}\"");
    }
    fields.number("ttl", node.ttl);
    if !node.nodes.is_empty() {
        nodes(fields.name("nodes"), &node.nodes);
    }
    fields.number("modifiedIndex", node.modified_index);
    fields.number("createdIndex", node.created_index);
    out.push('}');
}

fn nodes(out: &mut String, nodes: &[Node]) {
    for (at, child) in nodes.iter().enumerate() {
        out.push(if at == 0 { '[' } else { ',' });
        node(out, child);
    }
    out.push(']');
}

/// An object that is being written.
struct Fields<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Fields<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn name(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self.out
    }

    fn number<N: Copy + Default + PartialEq + std::fmt::Display>(&mut self, name: &str, number: N) {
        if number != N::default() {
            let _ = write!(self.name(name), "{number}");
        }
    }
}

/// Nanoseconds without zeros at the end, in UTC. `None` for the years that the text form does not have.
pub(super) fn timestamp(time: Timestamp) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0)).ok()?;
    time.format(&Rfc3339).ok()
}

/// A string with the escapes of Go's encoder. Each byte that is no UTF-8 becomes U+FFFD.
pub(crate) fn string(out: &mut String, text: &[u8]) {
    out.push('"');
    match std::str::from_utf8(text) {
        Ok(text) => escape(out, text),
        Err(_) => {
            for chunk in text.utf8_chunks() {
                escape(out, chunk.valid());
                chunk.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
            }
        }
    }
    out.push('"');
}

/// Most text has nothing to escape and is copied as it is.
fn escape(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !ESCAPED[usize::from(byte)] {
            continue;
        }
        let Some(char) = text.get(at..).and_then(|rest| rest.chars().next()) else { continue };
        out.push_str(text.get(plain..at).unwrap_or_default());
        escaped(out, char);
        plain = at + char.len_utf8();
    }
    out.push_str(text.get(plain..).unwrap_or_default());
}

/// Bytes with which a character begins that may need an escape.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escaped[byte] = true;
        byte += 1;
    }
    // The last one begins U+2028 and U+2029.
    let others = [b'"', b'\\', b'<', b'>', b'&', 0xe2];
    let mut at = 0;
    while at < others.len() {
        escaped[others[at] as usize] = true;
        at += 1;
    }
    escaped
};

fn escaped(out: &mut String, char: char) {
    match char {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        }
        char => out.push(char),
    }
}

fn status(code: u16) -> StatusCode {
    match code {
        100 => StatusCode::NOT_FOUND,
        102 | 108 => StatusCode::FORBIDDEN,
        110 => StatusCode::UNAUTHORIZED,
        101 | 105 => StatusCode::PRECONDITION_FAILED,
        300 | 301 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn message(code: u16) -> &'static str {
    match code {
        100 => "Key not found",
        101 => "Compare failed",
        102 => "Not a file",
        104 => "Not a directory",
        105 => "Key already exists",
        106 => "The prefix of given key is a keyword in etcd",
        107 => "Root is read only",
        108 => "Directory not empty",
        110 => "The request requires user authentication",
        200 => "Value is Required in POST form",
        201 => "PrevValue is Required in POST form",
        202 => "The given TTL in POST form is not a number",
        203 => "The given index in POST form is not a number",
        209 => "Invalid field",
        210 => "Invalid POST form",
        211 => "Value provided on refresh",
        212 => "A TTL must be provided on refresh",
        300 => "Raft Internal Error",
        301 => "During Leader Election",
        400 => "watcher is cleared due to etcd recovery",
        401 => "The event in requested index is outdated and cleared",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let check = |text: &[u8], expected: &str| {
            let mut out = String::new();
            string(&mut out, text);
            assert_eq!(out, format!("\"{expected}\""));
        };
        check(b"<a>&\"\\", r#"\u003ca\u003e\u0026\"\\"#);
        check("\u{2028}\u{1}\u{7f}\n\r\tä".as_bytes(), "\\u2028\\u0001\u{7f}\\n\\r\\tä");
        check(b"a\xff\xe2\x80z", r"a\ufffd\ufffd\ufffdz");
        check("€\u{2028}€&€".as_bytes(), r"€\u2028€\u0026€");
    }

    #[test]
    fn times_lose_the_zeros_at_their_end() {
        let check = |nanos, expected| assert_eq!(timestamp(Timestamp(nanos)).as_deref(), Some(expected));
        check(1_795_195_094_009_237_070, "2026-11-20T17:18:14.00923707Z");
        check(0, "1970-01-01T00:00:00Z");
    }
}
