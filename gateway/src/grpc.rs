//! gRPC over HTTP/2. Codes and texts of what is wrong with the framing are grpc-go's, since clients know them.

mod frame;
mod messages;
mod unary;

use std::sync::{Arc, OnceLock};

use api::{Code, Member};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub(crate) use frame::{Encoding, PREFIX_BYTES, put, put_prefix};
pub(crate) use messages::Messages;

use crate::body::Body;
use crate::calls::with_unary;
use crate::gateway::{Connection, Shared};
use crate::leave::Leave;
use crate::metadata::Metadata;
use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::stream::{Call, Form, Head, Inlet, Outlet, Streamed};
use crate::streams;

/// The code with which a call ended.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Why it was refused.
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How messages are compressed.
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

const CONTENT_TYPE_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What `grpc-message` may not hold as it is.
const TEXT: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is gRPC, by its content type.
pub(crate) fn speaks(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers one call; at `leave` streams without an end are ended.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    connection: &Connection,
    leave: &Leave,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(rpc) = Rpc::at_path(head.uri.path()) else { return unserved(shared, head.uri.path()) };
    let metadata = Metadata::of_grpc(head.headers);
    if rpc.is_streaming() {
        let member = shared.guest(metadata.caller(connection.peer_name.as_ref()));
        return Box::pin(stream(shared, rpc, metadata, member, body, leave)).await;
    }
    let guest = OnceLock::new();
    let meters = shared.meters.call(rpc);
    let call = unary::Call { shared, meters, metadata, body, connection, guest: &guest };
    with_unary!(rpc, act => call.run(act).await, _ => unserved(shared, head.uri.path()))
}

async fn stream(
    shared: &Arc<Shared>,
    rpc: Rpc,
    metadata: Metadata,
    member: Arc<dyn Member>,
    body: Incoming,
    leave: &Leave,
) -> Response<Body> {
    let encoding = metadata.encoding();
    if let Some(refusal) = encoding.refusal() {
        return failure(&refusal);
    }
    let gzip = encoding == Encoding::Gzip;
    let inlet = Inlet::Grpc(Messages::new(Arc::clone(shared), rpc, body, encoding));
    let outlet = Outlet::new(Arc::clone(shared), rpc, Form::Grpc { gzip });
    let call = Call { shared: Arc::clone(shared), member, rpc, metadata, inlet, outlet };
    let mut streamed = Streamed::new(call, leave, streams::begin);
    let head = if rpc.is_endless() { Head::AtOnce } else { Head::WithFirst };
    match streamed.start(head).await {
        Ok(()) => success(Body::streamed(streamed), gzip),
        Err(refusal) => failure(&refusal),
    }
}

fn success(body: Body, gzip: bool) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    if gzip {
        response.headers_mut().insert(ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// An answer that has a status and nothing else.
pub(crate) fn failure(refusal: &Refusal) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.headers_mut() = status(refusal);
    response.headers_mut().insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    response
}

/// The headers or trailers that tell a refusal.
pub(crate) fn status(refusal: &Refusal) -> HeaderMap {
    let text = utf8_percent_encode(&refusal.text, TEXT).to_string();
    let text = HeaderValue::from_str(&text).expect("what is left is visible ASCII");
    HeaderMap::from_iter([(STATUS, HeaderValue::from(refusal.code as u16)), (MESSAGE, text)])
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
