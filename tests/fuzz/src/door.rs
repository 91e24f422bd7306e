//! What clients send: whole connections, and requests whose frame is right and whose content is the input.
//!
//! Inputs are text where that is possible: a first line that says where the request goes, and behind it the body.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use gateway::{Browsers, Connection, Gateway, Limits};
use http::{Method, Request};
use telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use crate::member::Deaf;

/// What is on its way in one direction, in bytes: enough for all that an input says, or is told.
const UNDER_WAY_BYTES_MAX: usize = 1 << 20;
/// Nothing is waited for but turns of one thread, so after this time a connection hangs.
const TIME_MAX: Duration = Duration::from_secs(30);
/// After so many turns without a byte the other end has said all that it will say.
const SILENT_TURNS: usize = 32;

/// How connections of HTTP/2 begin.
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

thread_local! {
    static DOOR: Door = Door::open();
}

struct Door {
    runtime: Runtime,
    gateway: Gateway,
}

/// A connection as it comes, of HTTP/1 or HTTP/2.
pub(crate) fn http(input: &[u8]) {
    DOOR.with(|door| door.exchange(input));
}

/// A request of HTTP/1: method and path with query in the first line, the form or JSON behind it.
pub(crate) fn v2(input: &[u8]) {
    let (line, body) = halves(input);
    let kind =
        if body.first() == Some(&b'{') { "application/json" } else { "application/x-www-form-urlencoded" };
    let mut request = line.to_vec();
    let head = format!(
        " HTTP/1.1\r\nHost: a\r\nAuthorization: Basic cm9vdDpwdw==\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(body);
    DOOR.with(|door| door.request(&request));
}

/// A v3 call in JSON: the path behind `/v3/` in the first line, the request behind it.
pub(crate) fn json(input: &[u8]) {
    let (line, body) = halves(input);
    let mut request = b"POST /v3/".to_vec();
    request.extend_from_slice(line);
    let head = format!(
        " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a.b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    request.extend_from_slice(head.as_bytes());
    request.extend_from_slice(body);
    // Streams and those who wait for others may have nothing to say for as long as the client stays.
    let may_wait =
        [&b"lock/"[..], b"election/", b"watch", b"lease/keepalive"].iter().any(|path| line.starts_with(path));
    DOOR.with(|door| if may_wait { drop(door.exchange(&request)) } else { door.request(&request) });
}

/// A call in gRPC: its path in the first line, the frames behind it. In front of the path may stand `=`, with which all
/// that follows is one message, and `z`, with which messages may be compressed.
pub(crate) fn grpc(input: &[u8]) {
    let (line, body) = halves(input);
    let (framed, line) = line.strip_prefix(b"=").map_or((false, line), |line| (true, line));
    let (gzip, line) = line.strip_prefix(b"z").map_or((false, line), |line| (true, line));
    let Ok(path) = str::from_utf8(line) else { return };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://a{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if gzip {
        request = request.header("grpc-encoding", "gzip");
    }
    let Ok(request) = request.body(()) else { return };
    let mut bytes = Vec::new();
    if framed {
        bytes.push(u8::from(gzip));
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    }
    bytes.extend_from_slice(body);
    DOOR.with(|door| door.call(request, bytes.into()));
}

fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

impl Door {
    fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let member: Arc<dyn api::Member> = Arc::new(Deaf);
        let gateway = Gateway::new(member, &Registry::new(), Limits::default(), Browsers::default(), &[]);
        Self { runtime, gateway }
    }

    /// Says `bytes`, waits until the other end is silent, hangs up, and gives back all that was said.
    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        self.serve(async |mut near| {
            let mut answer = Vec::new();
            // The other end may have hung up by then.
            drop(near.write_all(bytes).await);
            let mut silent = 0;
            while silent < SILENT_TURNS {
                let before = answer.len();
                let ended = poll_fn(|context| {
                    let reading = std::pin::pin!(near.read_buf(&mut answer));
                    Poll::Ready(matches!(reading.poll(context), Poll::Ready(Ok(0) | Err(_))))
                });
                if ended.await {
                    return answer;
                }
                silent = if answer.len() > before { 0 } else { silent + 1 };
                yield_now().await;
            }
            drop(near.shutdown().await);
            drop(near.read_to_end(&mut answer).await);
            answer
        })
    }

    /// The same of a request whose frame is right: it has an answer. hyper gives none to what cannot be read and
    /// has a beginning of HTTP/2 in it.
    fn request(&self, bytes: &[u8]) {
        let answer = self.exchange(bytes);
        let is_answered = answer.starts_with(b"HTTP/1.1 ");
        let is_mixed = || bytes.windows(HTTP2.len()).any(|window| window == HTTP2);
        assert!(is_answered || is_mixed(), "a request is answered, and not by {answer:?}");
    }

    fn call(&self, request: Request<()>, body: Bytes) {
        self.serve(async |near| {
            let (sender, connection) = h2::client::handshake(near).await.expect("the gateway speaks HTTP/2");
            let calling = async {
                let mut sender = sender.ready().await.ok()?;
                let (answer, mut stream) = sender.send_request(request, false).ok()?;
                stream.send_data(body, true).ok()?;
                let mut answer = answer.await.ok()?.into_body();
                while let Some(Ok(data)) = answer.data().await {
                    answer.flow_control().release_capacity(data.len()).ok()?;
                }
                Some(())
            };
            let silence = async {
                // What has no end is over when nothing happens any more.
                for _ in 0..SILENT_TURNS {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                _ = connection => {}
                _ = calling => {}
                () = silence => {}
            }
        });
    }

    fn serve<T>(&self, speak: impl AsyncFnOnce(DuplexStream) -> T) -> T {
        let (near, far) = duplex(UNDER_WAY_BYTES_MAX);
        let talk = async {
            let serving = self.gateway.converse(far, Connection::default());
            let ((), said) = tokio::join!(serving, speak(near));
            said
        };
        self.runtime.block_on(async {
            tokio::time::timeout(TIME_MAX, talk).await.expect("a connection comes to its end")
        })
    }
}
