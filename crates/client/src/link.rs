//! One connection to one endpoint, and how it comes up.
//!
//! INVARIANT: a request that a broken connection hands back was not sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tonic::body::Body;

use crate::Config;
use crate::endpoint::{Endpoint, Place};
use crate::fault::{Lost, innermost};

/// What lies under a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Bytes that may wait on the way to us, for a stream and for all of them. Large answers arrive in one go.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// A member ends connections that ask it more often whether it lives; Go's client keeps to the same.
const ASK_EVERY_MIN: Duration = Duration::from_secs(10);

/// A connection that is up, or was.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    sender: http2::SendRequest<Body>,
}

impl Link {
    /// Connects.
    pub(crate) async fn open(endpoint: &Endpoint, config: &Config) -> Result<Self, String> {
        let shake = async {
            let stream =
                connect(endpoint, config, Inside::Grpc).await.map_err(|error| format!("connect: {error}"))?;
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES);
            if !config.keepalive_time.is_zero() {
                builder
                    .keep_alive_interval(config.keepalive_time.max(ASK_EVERY_MIN))
                    .keep_alive_timeout(config.keepalive_timeout)
                    .keep_alive_while_idle(false);
            }
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| innermost(&error))
        };
        let within = config.dial_timeout;
        let shaken = if within.is_zero() { Ok(shake.await) } else { timeout(within, shake).await };
        let (sender, connection) = shaken.map_err(|_| format!("connect: no answer within {within:?}"))??;
        // Why a connection ended is told to the requests on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    /// Whether a request can be put on it.
    pub(crate) fn is_up(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// What is spoken on the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// gRPC.
    Grpc,
    /// A page over HTTP/1.
    Page,
}

/// The bytes to an endpoint and back.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    config: &Config,
    inside: Inside,
) -> io::Result<Box<dyn Stream>> {
    let socket = match endpoint.place() {
        Place::Tcp(host) => TcpStream::connect(host).await?,
        Place::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
    };
    socket.set_nodelay(true)?;
    if !endpoint.is_secure(config.prefers_tls) {
        return Ok(Box::new(socket));
    }
    let Some(tls) = &config.tls else { return Err(io::Error::other("nothing to speak TLS with")) };
    let tls = if inside == Inside::Grpc { &tls.grpc } else { &tls.pages };
    Ok(Box::new(tls.connect(endpoint.host(), socket).await?))
}

impl tower::Service<http::Request<Body>> for Link {
    type Response = http::Response<Incoming>;
    type Error = Lost;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Lost>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.sender.poll_ready(context).map_err(|cause| Lost { sent: false, cause: Arc::new(cause) })
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sending = self.sender.try_send_request(request);
        Box::pin(async move {
            sending.await.map_err(|mut error| {
                let sent = error.take_message().is_none();
                Lost { sent, cause: Arc::new(error.into_error()) }
            })
        })
    }
}
