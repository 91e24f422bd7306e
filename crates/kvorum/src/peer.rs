//! What other members hear while this one finds out how to begin: that it is about to start, and which version it is.
//!
//! INVARIANT: a stranger on the peer port costs a connection for a few seconds, and there are few of those.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tls::Server;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::listen::Door;

/// Connections at once; more are closed.
const CONNECTIONS_MAX: usize = 64;
/// A connection with its one request takes no longer.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// After a failed accept (usually too few file descriptors) nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers on `listeners` until it is dropped.
pub async fn serve(doors: &[Door]) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = accept_any(doors).await;
        // Those that ended make room.
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, tls)) if tasks.len() < CONNECTIONS_MAX => {
                tasks.spawn(timeout(CONNECTION_TIME_MAX, connection(stream, tls)));
            }
            Ok((stream, _)) => drop(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_any(doors: &[Door]) -> io::Result<(TcpStream, Option<Arc<Server>>)> {
    poll_fn(|context| {
        let mut polled = doors.iter().map(|door| (door.listener.poll_accept(context), door));
        match polled.find(|(polled, _)| polled.is_ready()) {
            Some((accepted, door)) => {
                accepted.map(|accepted| accepted.map(|(stream, _)| (stream, door.tls.clone())))
            }
            None => Poll::Pending,
        }
    })
    .await
}

async fn connection(stream: TcpStream, tls: Option<Arc<Server>>) {
    match tls {
        None => speak(stream).await,
        Some(tls) => {
            if let Some(session) = tls.accept(stream).await {
                speak(session.stream).await;
            }
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request: Request<Incoming>| ready(Ok::<_, Infallible>(answer(&request))));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(CONNECTION_TIME_MAX).keep_alive(false);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a peer's connection ended early");
    }
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.uri().path(), request.method()) {
        ("/version", &Method::GET) => (StatusCode::OK, "application/json", version()),
        ("/version", _) => {
            (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n".into())
        }
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            "this member is about to start\n".into(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

fn version() -> String {
    let (server, cluster, storage) = (api::level::SERVER, api::level::CLUSTER, api::level::STORAGE);
    format!("{{\"etcdserver\":\"{server}\",\"etcdcluster\":\"{cluster}\",\"storage\":\"{storage}\"}}")
}
