//! gRPC by hand over hyper's HTTP/2: the message goes out as given, the answer is shown as it came, with
//! headers and trailers. Messages are written and shown in protobuf's JSON form.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::mpsc;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).expect("the build checked the descriptors"));

/// An answer as it came.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status of HTTP, which is 200 whatever gRPC says.
    pub http_status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Messages without their framing; `None` stands for one that came compressed.
    pub messages: Vec<Option<Bytes>>,
    /// Trailers; those of an answer without a message come as headers and stay there.
    pub trailers: Vec<(String, String)>,
}

/// A method by its short name: `KV/Put` for `/etcdserverpb.KV/Put`; `None` when there is none.
pub fn method(name: &str) -> Option<MethodDescriptor> {
    let (service, method) = name.split_once('/')?;
    let service = POOL.services().find(|known| known.name() == service)?;
    service.methods().find(|known| known.name() == method)
}

/// The method that has this path on the wire.
pub fn method_at(path: &str) -> Option<MethodDescriptor> {
    POOL.services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .find(|known| path_of(known) == path)
}

/// The path of a method on the wire.
pub fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A message in its JSON form, encoded.
pub fn encode(kind: MessageDescriptor, json: &str) -> anyhow::Result<Vec<u8>> {
    let json = if json.trim().is_empty() { "{}" } else { json };
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(kind, &mut reader).context("the JSON form of a message")?;
    reader.end().context("one message and no more")?;
    Ok(message.encode_to_vec())
}

/// An encoded message in its JSON form, on one line and in etcd's spelling.
pub fn decode(kind: MessageDescriptor, bytes: &[u8]) -> anyhow::Result<String> {
    let message = DynamicMessage::decode(kind, bytes).context("decode the answer")?;
    let mut writer = serde_json::Serializer::new(Vec::new());
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(&mut writer, &options).context("write the answer as JSON")?;
    String::from_utf8(writer.into_inner()).context("JSON is UTF-8")
}

/// Calls `path` with one message on a connection of its own.
pub fn call(
    address: SocketAddr,
    path: &str,
    metadata: &[(String, String)],
    message: &[u8],
    patience: Duration,
) -> anyhow::Result<Reply> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    runtime.block_on(async {
        tokio::time::timeout(patience, exchange(address, path, metadata, message))
            .await
            .with_context(|| format!("no answer within {patience:?}"))?
    })
}

async fn exchange(
    address: SocketAddr,
    path: &str,
    metadata: &[(String, String)],
    message: &[u8],
) -> anyhow::Result<Reply> {
    Connection::open(address).await?.call(path, metadata, message).await
}

/// A connection that is kept from one call to the next.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("set an option of the socket")?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.context("HTTP/2 handshake")?;
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Calls `path` with one message, and takes all that comes until the end.
    pub async fn call(
        &mut self,
        path: &str,
        metadata: &[(String, String)],
        message: &[u8],
    ) -> anyhow::Result<Reply> {
        let mut request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(frame(message)?)).context("build the request")?;
        let response = self.sender.send_request(request).await.context("send the request")?;
        let mut reply = Reply {
            http_status: response.status().as_u16(),
            headers: fields(response.headers()),
            ..Reply::default()
        };
        let body = response.into_body().collect().await.context("read the answer")?;
        reply.trailers = body.trailers().map(fields).unwrap_or_default();
        reply.messages = unframe(body.to_bytes())?;
        Ok(reply)
    }
}

/// A call that goes on: messages are sent and received one by one.
#[derive(Debug)]
pub struct Stream {
    sender: Option<mpsc::Sender<Bytes>>,
    response: Option<tokio::task::JoinHandle<anyhow::Result<http::Response<Incoming>>>>,
    body: Option<Incoming>,
    pending: BytesMut,
    /// What is known of the answer, without its messages.
    pub reply: Reply,
}

/// What is sent over a stream, as hyper asks for it.
struct Outgoing(mpsc::Receiver<Bytes>);

/// Messages that wait to be sent; the one who sends waits for room.
const OUTGOING_MAX: usize = 64;

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Stream {
    /// Begins a call of `path` on a connection of its own; nothing is sent yet but the headers.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        metadata: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.context("HTTP/2 handshake")?;
        tokio::spawn(connection);
        let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
        let mut request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(name, value);
        }
        let request = request.body(Outgoing(receiver)).context("build the request")?;
        let response =
            tokio::spawn(async move { client.send_request(request).await.context("send the request") });
        Ok(Self {
            sender: Some(sender),
            response: Some(response),
            body: None,
            pending: BytesMut::new(),
            reply: Reply::default(),
        })
    }

    /// Sends a message.
    pub async fn send(&self, message: &[u8]) -> anyhow::Result<()> {
        let sender = self.sender.as_ref().context("the stream is open for sending")?;
        sender.send(frame(message)?).await.context("the call has ended")
    }

    /// Says that no more messages come.
    pub fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next message; `None` after the last one, when `reply` has status and trailers.
    pub async fn receive(&mut self) -> anyhow::Result<Option<Bytes>> {
        if let Some(response) = self.response.take() {
            let response = response.await.context("the call's own task")??;
            self.reply.http_status = response.status().as_u16();
            self.reply.headers = fields(response.headers());
            self.body = Some(response.into_body());
        }
        loop {
            if let Some(message) = self.whole_message() {
                return Ok(Some(message));
            }
            let body = self.body.as_mut().context("an answer")?;
            match body.frame().await {
                None => return Ok(None),
                Some(frame) => match frame.context("read the answer")?.into_data() {
                    Ok(data) => self.pending.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok().context("neither data nor trailers")?;
                        self.reply.trailers = fields(&trailers);
                    }
                },
            }
        }
    }

    fn whole_message(&mut self) -> Option<Bytes> {
        let length = self.pending.get(1..5)?.try_into().ok().map(u32::from_be_bytes)? as usize;
        let end = length.checked_add(5)?;
        (self.pending.len() >= end).then(|| self.pending.split_to(end).freeze().slice(5..))
    }
}

fn frame(message: &[u8]) -> anyhow::Result<Bytes> {
    let length = u32::try_from(message.len()).context("a message under 4 GiB")?;
    let mut framed = BytesMut::with_capacity(message.len().saturating_add(5));
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Ok(framed.freeze())
}

fn unframe(mut body: Bytes) -> anyhow::Result<Vec<Option<Bytes>>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        ensure!(body.len() >= 5, "a frame that ends early");
        let head = body.split_to(5);
        let length = head.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let length = length.context("four bytes of length")? as usize;
        ensure!(body.len() >= length, "a message that ends early");
        let message = body.split_to(length);
        messages.push((head.first() == Some(&0)).then_some(message));
    }
    Ok(messages)
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_and_shown_as_json() {
        let method = method("KV/Put").expect("it exists");
        assert_eq!(path_of(&method), "/etcdserverpb.KV/Put");
        let bytes = encode(method.input(), r#"{"key": "Zm9v", "prevKv": true}"#).expect("well-formed");
        assert_eq!(bytes, b"\x0a\x03foo\x20\x01");
        assert_eq!(decode(method.input(), &bytes).expect("valid"), r#"{"key":"Zm9v","prev_kv":true}"#);
        let framed = frame(&bytes).expect("small");
        assert_eq!(unframe(framed).expect("whole"), [Some(Bytes::from(bytes))]);
        assert!(unframe(Bytes::from_static(b"\0\0\0\0\x02x")).is_err());
    }
}
