//! The v3 calls as JSON over POST: protobuf's JSON form, with names as they are in the .proto text, 64-bit
//! numbers as strings, bytes in base64, and defaults left out.
//!
//! Whatever the request says its content type is, its body is read as JSON; what follows the first value is
//! not looked at, as in etcd.

use std::future::Future;

use api::{Code, Member};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};

use crate::body::{self, Body, BodyError};
use crate::calls::with_unary;
use crate::gateway::Shared;
use crate::refusal::Refusal;
use crate::rpc::{JsonPath, Rpc};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The headers of the gRPC answer behind it; etcd shows this one.
const METADATA: HeaderName = HeaderName::from_static("grpc-metadata-content-type");

/// Messages of one call.
struct Form {
    request: MessageDescriptor,
    response: MessageDescriptor,
}

/// The JSON forms of all calls, by their numbers.
pub(crate) struct Forms(Vec<Form>);

impl Forms {
    /// From the descriptors that were built in.
    pub(crate) fn load() -> Self {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build wrote the descriptors");
        Self(Rpc::ALL.iter().map(|rpc| Form::find(&pool, *rpc)).collect())
    }

    fn of(&self, rpc: Rpc) -> &Form {
        &self.0[rpc as usize]
    }
}

impl Form {
    fn find(pool: &DescriptorPool, rpc: Rpc) -> Self {
        let (service, method) = rpc.names();
        let service = pool.get_service_by_name(service).expect("the services are built in");
        let method = service.methods().find(|known| known.name() == method).expect("so are their methods");
        Self { request: method.input(), response: method.output() }
    }

    /// The message that a body says. An empty body and `null` are the empty message.
    fn read<Q: Message + Default>(&self, body: &[u8]) -> Result<Q, Refusal> {
        let body = body.trim_ascii();
        if body.is_empty() || body.starts_with(b"null") {
            return Ok(Q::default());
        }
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut source = serde_json::Deserializer::from_slice(body);
        DynamicMessage::deserialize_with_options(self.request.clone(), &mut source, &options)
            .map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))?
            .transcode_to()
            .map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))
    }

    fn write(&self, message: &impl Message) -> Result<Vec<u8>, Refusal> {
        let broken = |error: &dyn std::fmt::Display| Refusal::new(Code::Internal, error.to_string());
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(true)
            .stringify_64_bit_integers(true);
        let mut dynamic = DynamicMessage::new(self.response.clone());
        dynamic.transcode_from(message).map_err(|error| broken(&error))?;
        let mut text = serde_json::Serializer::new(Vec::with_capacity(256));
        dynamic.serialize_with_options(&mut text, &options).map_err(|error| broken(&error))?;
        Ok(text.into_inner())
    }
}

/// Answers a request whose path, without the prefix of the version, is `path`.
pub(crate) async fn answer(shared: &Shared, method: &Method, path: &str, body: Incoming) -> Response<Body> {
    match call(shared, method, path, body).await {
        Ok(text) => {
            let mut response = Response::new(Body::of(text));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response.headers_mut().insert(METADATA, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(refusal) => failure(&refusal),
    }
}

async fn call(shared: &Shared, method: &Method, path: &str, body: Incoming) -> Result<Vec<u8>, Refusal> {
    let found = JsonPath::find(path).ok_or_else(|| Refusal::new(Code::NotFound, "Not Found"))?;
    if method != Method::POST {
        return Err(Refusal::new(Code::Unimplemented, "Method Not Allowed"));
    }
    let rpc = match found {
        JsonPath::Rpc(rpc) => rpc,
        JsonPath::Unserved(method) => return Err(Refusal::unimplemented(method)),
    };
    let body = read(shared, body).await?;
    let call = Call { shared, rpc, body };
    with_unary!(rpc, act => call.run(act).await)
}

async fn read(shared: &Shared, body: Incoming) -> Result<Bytes, Refusal> {
    // Base64 makes four bytes of three, and there are the names.
    let of_messages = shared.message_bytes_max.saturating_mul(3) / 2;
    let bytes_max = shared.limits.body_bytes_max.max(of_messages);
    body::collect(body, bytes_max, &shared.limits).await.map_err(|error| match error {
        BodyError::TooLarge => {
            Refusal::new(Code::ResourceExhausted, format!("http: body larger than max ({bytes_max})"))
        }
        BodyError::TooSlow => Refusal::message_too_slow(),
        BodyError::Broken => Refusal::canceled(),
    })
}

struct Call<'a> {
    shared: &'a Shared,
    rpc: Rpc,
    body: Bytes,
}

impl<'a> Call<'a> {
    /// The gateway is a gRPC client of its own server in etcd, so these calls count among gRPC's, and
    /// messages have the same limit.
    async fn run<Q, A, F>(self, act: fn(&'a dyn Member, Q) -> F) -> Result<Vec<u8>, Refusal>
    where
        Q: Message + Default,
        A: Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let form = self.shared.forms.of(self.rpc);
        let request: Q = form.read(&self.body)?;
        drop(self.body);
        let meters = self.shared.meters.call(self.rpc);
        let started = meters.start();
        let (bytes, bytes_max) = (request.encoded_len(), self.shared.message_bytes_max);
        let outcome = if bytes > bytes_max {
            Err(Refusal::message_too_large(bytes, bytes_max))
        } else {
            self.shared.meters.received(meters, bytes, None);
            act(self.shared.member.as_ref(), request).await
        };
        if let Ok(response) = &outcome {
            self.shared.meters.sent(meters, response.encoded_len());
        }
        started.end(outcome.as_ref().err().map(|refusal| refusal.code));
        form.write(&outcome?)
    }
}

/// All three keys that clients of one version or another read.
fn failure(refusal: &Refusal) -> Response<Body> {
    let text = serde_json::Value::from(&*refusal.text);
    let body = format!(r#"{{"error":{text},"code":{},"message":{text}}}"#, refusal.code as u8);
    let mut response = Response::new(Body::of(body));
    *response.status_mut() = status(refusal.code);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The HTTP status of a code, as the newest etcd maps it.
fn status(code: Code) -> StatusCode {
    const CLIENT_CLOSED_REQUEST: u16 = 499;
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Canceled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
    }
}
