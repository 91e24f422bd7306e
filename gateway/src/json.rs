//! The v3 calls as JSON over POST, streams too: requests one after another in the body, answers a line each.
//!
//! Whatever the request says its content type is, its body is read as JSON; what follows the first value of a
//! call that has one request is not looked at, as in etcd.

mod form;
mod values;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use api::{Code, Member};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use prost::Message;

use form::Form;
pub(crate) use form::Lines;
pub(crate) use values::Values;

use crate::body::{Body, BodyError, Upload};
use crate::calls::with_unary;
use crate::gateway::Shared;
use crate::leave::Leave;
use crate::metadata::Metadata;
use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::stream::{self, Head, Inlet, Outlet, Streamed};
use crate::streams;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The headers of the gRPC answer behind it; etcd shows this one.
const METADATA: HeaderName = HeaderName::from_static("grpc-metadata-content-type");
const METADATA_VALUE: HeaderValue = HeaderValue::from_static("application/grpc");

/// A request, without what led here.
pub(crate) struct Request<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) method: &'a Method,
    /// Without the prefix of the version.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) upload: &'a mut Upload,
    /// At this streams without an end are ended.
    pub(crate) leave: &'a Leave,
}

/// Answers a request.
pub(crate) async fn answer(request: Request<'_>) -> Response<Body> {
    let rpc = match find(request.method, request.path) {
        Ok(rpc) => rpc,
        Err(refusal) => return failure(&refusal),
    };
    if rpc.is_streaming() {
        return stream(rpc, request).await.unwrap_or_else(|refusal| failure(&refusal));
    }
    let (shared, began) = (Arc::clone(request.shared), Instant::now());
    let called = call(rpc, request).await;
    shared.ended(shared.meters.call(rpc), began);
    match called {
        Ok(text) => {
            let mut response = Response::new(Body::of(text));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response.headers_mut().insert(METADATA, METADATA_VALUE);
            response
        }
        Err(refusal) => failure(&refusal),
    }
}

fn find(method: &Method, path: &str) -> Result<Rpc, Refusal> {
    let found = Rpc::at_json_path(path).ok_or_else(|| Refusal::new(Code::NotFound, "Not Found"))?;
    if method != Method::POST {
        return Err(Refusal::new(Code::Unimplemented, "Method Not Allowed"));
    }
    Ok(found)
}

async fn call(rpc: Rpc, request: Request<'_>) -> Result<Vec<u8>, Refusal> {
    let shared = request.shared.as_ref();
    let body = read(shared, request.upload).await?;
    let metadata = Metadata::of_json(request.headers)?;
    let guest = OnceLock::new();
    let call = Call { shared, rpc, metadata, body, guest: &guest };
    with_unary!(rpc, act => call.run(act).await, _ => Err(Refusal::unimplemented(rpc.names().1)))
}

async fn stream(rpc: Rpc, request: Request<'_>) -> Result<Response<Body>, Refusal> {
    let shared = Arc::clone(request.shared);
    let bytes_max = body_bytes_max(&shared);
    let metadata = Metadata::of_json(request.headers)?;
    let Some(body) = request.upload.take() else { return Err(Refusal::canceled()) };
    let mut values = Values::new(Arc::clone(&shared), rpc, body, bytes_max);
    if let Err(refusal) = values.begin().await {
        request.upload.give_back(values.into_body());
        return Err(refusal);
    }
    let lines = Lines(Form::of(rpc));
    let call = stream::Call {
        outlet: Outlet::new(Arc::clone(&shared), rpc, stream::Form::Json(lines)),
        inlet: Inlet::Json(values),
        member: shared.guest(metadata.caller(None)),
        metadata,
        shared,
        rpc,
    };
    let mut streamed = Streamed::new(call, request.leave, streams::begin);
    let mut response = match streamed.start(Head::WithFirst).await {
        Ok(()) => {
            let has_answers = streamed.has_answers();
            let mut response = Response::new(Body::streamed(streamed));
            if has_answers {
                response.headers_mut().insert(METADATA, METADATA_VALUE);
            }
            response
        }
        Err(refusal) => {
            let mut response = Response::new(Body::of(error_line(&refusal)));
            *response.status_mut() = status(refusal.code);
            response
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    Ok(response)
}

async fn read(shared: &Shared, upload: &mut Upload) -> Result<Bytes, Refusal> {
    let bytes_max = body_bytes_max(shared);
    upload.collect(bytes_max, shared).await.map_err(|error| match error {
        BodyError::TooLarge => {
            Refusal::new(Code::ResourceExhausted, format!("http: body larger than max ({bytes_max})"))
        }
        BodyError::TooSlow => Refusal::out_of_time(),
        BodyError::NoRoom(_) => Refusal::too_many(),
        BodyError::Broken => Refusal::canceled(),
    })
}

fn body_bytes_max(shared: &Shared) -> usize {
    // Base64 makes four bytes of three, and there are the names.
    shared.limits.body_bytes_max.max(shared.message_bytes_max.saturating_mul(3) / 2)
}

struct Call<'a> {
    shared: &'a Shared,
    rpc: Rpc,
    metadata: Metadata,
    body: Bytes,
    guest: &'a OnceLock<Arc<dyn Member>>,
}

impl<'a> Call<'a> {
    /// The gateway is a gRPC client of its own server in etcd, so these calls count among gRPC's, and
    /// messages have the same limit.
    async fn run<Q, A, F>(self, act: fn(&'a Arc<dyn Member>, Q) -> F) -> Result<Vec<u8>, Refusal>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let form = Form::of(self.rpc);
        let request: Q = form.read(&self.body)?;
        let meters = self.shared.meters.call(self.rpc);
        let started = meters.start();
        let (bytes, bytes_max) = (request.encoded_len(), self.shared.message_bytes_max);
        let outcome = if bytes > bytes_max {
            Err(Refusal::message_too_large(bytes, bytes_max))
        } else {
            self.shared.meters.received(meters, bytes, self.metadata.version());
            let acting = self.act(act, request);
            Metadata::in_time(self.metadata.time_left(), acting).await
        };
        if let Ok(response) = &outcome {
            self.shared.meters.sent(meters, 1, response.encoded_len() as u64);
        }
        started.end(outcome.as_ref().err().map(|refusal| refusal.code));
        form.write(&outcome?)
    }

    async fn act<Q, A, F>(&self, act: fn(&'a Arc<dyn Member>, Q) -> F, request: Q) -> Result<A, Refusal>
    where
        F: Future<Output = Result<A, Refusal>>,
    {
        self.metadata.check(self.shared.member.as_ref()).await?;
        // A certificate says who sent a gRPC call, and nothing about a request in JSON, as in etcd.
        act(self.shared.member_for(self.guest, || self.metadata.caller(None)), request).await
    }
}

/// All three keys that clients of one version or another read.
pub(crate) fn failure(refusal: &Refusal) -> Response<Body> {
    let text = serde_json::Value::from(&*refusal.text);
    let body = format!(r#"{{"error":{text},"code":{},"message":{text}}}"#, refusal.code as u8);
    let mut response = Response::new(Body::of(body));
    *response.status_mut() = status(refusal.code);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The last line of a stream that failed, with the keys that clients of one version or another read.
pub(crate) fn error_line(refusal: &Refusal) -> Bytes {
    let (code, text) = (refusal.code as u8, serde_json::Value::from(&*refusal.text));
    let status = status(refusal.code);
    let (number, name) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let grpc = format!(r#""grpc_code":{code},"http_code":{number},"message":{text},"http_status":"{name}""#);
    Bytes::from(format!("{{\"error\":{{{grpc},\"code\":{code}}}}}\n"))
}

/// The HTTP status of a code, as the newest etcd maps it.
fn status(code: Code) -> StatusCode {
    const CLIENT_CLOSED_REQUEST: u16 = 499;
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Canceled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
    }
}
