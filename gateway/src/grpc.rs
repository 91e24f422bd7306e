//! gRPC's unary calls over HTTP/2, as lean as they can be: one message in, shared with the socket's buffer;
//! one buffer out. Streaming calls come with the services that have them.
//!
//! Codes and texts of what is wrong with the framing are grpc-go's, since clients know them.

use std::future::Future;
use std::time::Duration;

use api::{Code, Fault, Member};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use types::MemberId;

use crate::body::Body;
use crate::calls::with_unary;
use crate::gateway::Shared;
use crate::meters::CallMeters;
use crate::refusal::Refusal;
use crate::rpc::Rpc;

/// A message is preceded by a flag (compressed or not) and four bytes of length.
const PREFIX_BYTES: usize = 5;

const CONTENT_TYPE_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What `grpc-message` may not hold as it is.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is gRPC, by its content type.
pub(crate) fn speaks(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one call.
pub(crate) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let Some(rpc) = Rpc::at_path(head.uri.path()) else { return unserved(shared, head.uri.path()) };
    let call = Call { shared, meters: shared.meters.call(rpc), headers };
    with_unary!(rpc, act => call.run(body, act).await)
}

/// One call under way.
struct Call<'a> {
    shared: &'a Shared,
    meters: &'a CallMeters,
    headers: HeaderMap,
}

impl<'a> Call<'a> {
    async fn run<Q, A, F>(self, body: Incoming, act: fn(&'a dyn Member, Q) -> F) -> Response<Body>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let started = self.meters.start();
        let acting = self.act(body, act);
        let outcome = match time_left(&self.headers) {
            None => acting.await,
            Some(left) => tokio::time::timeout(left, acting)
                .await
                .unwrap_or_else(|_| Err(Refusal::new(Code::DeadlineExceeded, "context deadline exceeded"))),
        };
        match outcome {
            Ok(framed) => {
                self.shared.meters.sent(self.meters, framed.len() - PREFIX_BYTES);
                started.end(None);
                success(framed)
            }
            Err(refusal) => {
                started.end(Some(refusal.code));
                failure(&refusal)
            }
        }
    }

    async fn act<Q, A, F>(&self, body: Incoming, act: fn(&'a dyn Member, Q) -> F) -> Result<Bytes, Refusal>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let message = read(body, self.shared.message_bytes_max, &self.headers).await?;
        self.check_metadata().await?;
        self.shared.meters.received(self.meters, message.len(), self.headers.get("client-api-version"));
        let request = Q::decode(message).map_err(|error| {
            Refusal::new(Code::Internal, format!("grpc: error unmarshalling request: {error}"))
        })?;
        Ok(frame(&act(self.shared.member.as_ref(), request).await?))
    }

    /// What etcd asks of every call, whatever it does.
    async fn check_metadata(&self) -> Result<(), Refusal> {
        if let Some(version) = self.headers.get("client-api-version")
            && std::str::from_utf8(version.as_bytes()).is_err()
        {
            return Err(Refusal::new(Code::InvalidArgument, "etcdserver: invalid client api version"));
        }
        if self.headers.get("hasleader").is_some_and(|value| value == "true")
            && self.shared.member.status().await?.body.leader == MemberId::default()
        {
            return Err(Fault::NoLeader.into());
        }
        Ok(())
    }
}

/// Reads the one message of a unary call, and to the end of the stream.
async fn read(mut body: Incoming, bytes_max: usize, headers: &HeaderMap) -> Result<Bytes, Refusal> {
    let mut have = Bytes::new();
    let length = loop {
        if let Some(length) = length_of(&have, bytes_max, headers)?
            && have.len() >= PREFIX_BYTES + length
        {
            break length;
        }
        let Some(more) = next(&mut body).await? else {
            let text = if have.is_empty() { "EOF" } else { "unexpected EOF" };
            return Err(Refusal::new(Code::Internal, text));
        };
        have = join(have, more);
    };
    let message = have.split_off(PREFIX_BYTES);
    if message.len() > length || (!body.is_end_stream() && next(&mut body).await?.is_some()) {
        return Err(Refusal::new(Code::Internal, "a unary call has one message"));
    }
    Ok(message)
}

/// The next data that is not empty; `None` at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::canceled())?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The length of the message whose beginning this is, as soon as it can be told.
fn length_of(have: &[u8], bytes_max: usize, headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(&[compressed, a, b, c, d]) = have.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    if compressed != 0 {
        let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).unwrap_or("");
        let text = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
        return Err(Refusal::new(Code::Unimplemented, text));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > bytes_max { Err(Refusal::message_too_large(length, bytes_max)) } else { Ok(Some(length)) }
}

/// Most messages come in one piece, and are not copied; others grow in place.
fn join(have: Bytes, more: Bytes) -> Bytes {
    if have.is_empty() {
        return more;
    }
    let mut joined = have.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    joined.extend_from_slice(&more);
    joined.freeze()
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    // Answers above 4 GiB cannot be told in gRPC; nothing here holds that much.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut framed);
    framed.freeze()
}

/// The time that the caller gives, from `grpc-timeout`: up to eight digits and a unit.
fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

fn success(framed: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::message(framed));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    response
}

/// An answer that has a status and nothing else.
fn failure(refusal: &Refusal) -> Response<Body> {
    let mut response = Response::new(Body::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    headers.insert("grpc-status", HeaderValue::from(refusal.code as u16));
    let text = utf8_percent_encode(&refusal.text, MESSAGE).to_string();
    headers.insert("grpc-message", HeaderValue::from_str(&text).expect("what is left is visible ASCII"));
    response
}

fn unserved(shared: &Shared, path: &str) -> Response<Body> {
    let refusal = if let Some(meters) = shared.meters.unserved(path) {
        meters.start().end(Some(Code::Unimplemented));
        Refusal::unimplemented(path.rsplit('/').next().unwrap_or(path))
    } else {
        Refusal::new(Code::Unimplemented, unknown(path))
    };
    failure(&refusal)
}

/// grpc-go's words for what it does not know.
fn unknown(path: &str) -> String {
    match path.strip_prefix('/').and_then(|path| path.rsplit_once('/')) {
        Some((service, method)) if Rpc::ALL.iter().any(|rpc| rpc.names().0 == service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
        None => format!("malformed method name: {path:?}"),
    }
}
