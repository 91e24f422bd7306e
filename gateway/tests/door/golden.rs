//! Requests and answers in files that a stranger can read. A case is a request, `----`, what reaches the
//! member (lines with `>`), and the answer; `====` ends it.
//!
//! Each case is sent over HTTP/1.1 as written, and over HTTP/2 with prior knowledge, with the same answer.
//! `date`, `content-length` and the three cross-origin headers are checked for all answers and left out.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::Door;
use gateway::Limits;

#[tokio::test]
async fn plain_http() {
    check(include_str!("golden/plain.txt")).await;
}

#[tokio::test]
async fn v2_keys() {
    check(include_str!("golden/v2.txt")).await;
}

#[tokio::test]
async fn v3_json() {
    check(include_str!("golden/json.txt")).await;
}

#[tokio::test]
async fn members() {
    check(include_str!("golden/members.txt")).await;
}

#[tokio::test]
async fn leases_and_upkeep() {
    check(include_str!("golden/leases.txt")).await;
}

#[tokio::test]
async fn json_streams() {
    check(include_str!("golden/streams.txt")).await;
}

async fn check(file: &str) {
    let door = Door::open(Limits::default()).await;
    let mut actual = String::new();
    for case in file.split_inclusive("====\n") {
        let (request, _) = case.split_once("----\n").expect("a request and an answer");
        let comments: String = request.split_inclusive('\n').filter(|line| line.starts_with('#')).collect();
        let request = request.strip_prefix(comments.as_str()).unwrap_or(request);
        let over_http1 = http1(&door, request).await;
        let over_http2 = http2(&door, request).await;
        assert_eq!(over_http1, over_http2, "HTTP/1.1 and HTTP/2 differ for {request}");
        write!(actual, "{comments}{request}----\n{over_http1}====\n").expect("text grows");
    }
    door.close().await;
    let differs = actual.lines().zip(file.lines()).position(|(got, expected)| got != expected);
    assert!(differs.is_none(), "line {} differs; all of it now:\n{actual}", differs.unwrap_or(0) + 1);
    assert_eq!(actual, file);
}

/// The first line, the headers, and the body without the line end that the file puts behind it.
fn parts(request: &str) -> (&str, &str, Vec<(&str, &str)>, &str) {
    let (head, body) = request.split_once("\n\n").unwrap_or((request.trim_end_matches('\n'), ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("method and target");
    let headers = lines.map(|line| line.split_once(": ").expect("a name and a value")).collect();
    (method, target, headers, body.trim_end_matches('\n'))
}

async fn http1(door: &Door, request: &str) -> String {
    let (method, target, headers, body) = parts(request);
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").expect("text grows");
    }
    write!(text, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("text grows");
    let answer = door.exchange(text.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").to_owned();
    let headers = lines.map(|line| line.split_once(": ").expect("a name and a value"));
    let headers = headers.filter(|(name, _)| *name != "Connection");
    let mut headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let chunked = headers.iter().position(|(name, _)| name == "transfer-encoding");
    let body = match chunked.map(|at| headers.remove(at)) {
        Some(_) => unchunk(body),
        None => body.to_owned(),
    };
    show(door, &status, headers, &body, method)
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        body.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    body
}

async fn http2(door: &Door, request: &str) -> String {
    let (method, target, headers, body) = parts(request);
    let io = TokioIo::new(door.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("prior knowledge is enough");
    let connection = tokio::spawn(connection);
    let mut builder = Request::builder().method(method).uri(format!("http://localhost{target}"));
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let request = builder.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
    let response: Response<_> = sender.send_request(request).await.expect("an answer");
    drop(sender);
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    connection.await.expect("no panic").expect("a connection that ends well");
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("visible ASCII").to_owned()));
    let body = String::from_utf8_lossy(&body);
    show(door, head.status.as_str(), headers.collect(), &body, method)
}

fn show(door: &Door, status: &str, mut headers: Vec<(String, String)>, body: &str, method: &str) -> String {
    let mut take = |name: &str| {
        let at = headers.iter().position(|(known, _)| known == name);
        headers.remove(at.unwrap_or_else(|| panic!("{name} is missing"))).1
    };
    assert!(take("date").ends_with(" GMT"));
    assert_eq!(take("access-control-allow-origin"), "*");
    assert_eq!(take("access-control-allow-methods"), "POST, GET, OPTIONS, PUT, DELETE");
    assert_eq!(take("access-control-allow-headers"), "accept, content-type, authorization");
    let length = headers.iter().position(|(known, _)| known == "content-length");
    if let Some(length) = length.map(|at| headers.remove(at).1) {
        assert!(length == body.len().to_string() || method == "HEAD", "{length} for {body:?}");
    } else {
        // A stream has none.
        let streams = [r#"{"result":"#, r#"{"action":"set","#];
        let is_stream = streams.iter().any(|begin| body.starts_with(begin));
        assert!(body.is_empty() || is_stream, "{body:?} has no length");
    }
    headers.sort_unstable();
    let mut shown = String::new();
    for seen in door.fake.take_seen() {
        writeln!(shown, "> {seen}").expect("text grows");
    }
    writeln!(shown, "{status}").expect("text grows");
    for (name, value) in headers {
        writeln!(shown, "{name}: {value}").expect("text grows");
    }
    if !body.is_empty() {
        let line_end = if body.ends_with('\n') { "" } else { "\\\n" };
        write!(shown, "\n{body}{line_end}").expect("text grows");
    }
    shown
}
