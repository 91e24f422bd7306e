//! One request to a discovery service, on a connection of its own.
//!
//! INVARIANT: it ends within [`TIME_MAX`], and no answer is longer than [`ANSWER_BYTES_MAX`].

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request with its answer takes no longer.
const TIME_MAX: Duration = Duration::from_secs(5);
/// An answer has no more bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 200 and the like.
    pub(crate) status: u16,
    /// All of it.
    pub(crate) body: Bytes,
}

/// Whom to ask.
pub(crate) struct Service {
    /// Its scheme, host and port count.
    pub(crate) url: Uri,
    /// For https.
    pub(crate) tls: Option<Arc<tls::Client>>,
}

/// A caller that believes whom the system believes, and shows nothing of itself.
pub(crate) fn believing_the_system() -> Result<Arc<tls::Client>, tls::TlsError> {
    let settings = tls::ClientSettings {
        side: tls::Side::Peer,
        pair: None,
        trust: tls::Trust::System,
        allowed: tls::Allowed::All,
        server_name: None,
        protocol: tls::Protocol::default(),
        inside: Vec::new(),
    };
    tls::Client::new(settings, &telemetry::Registry::new())
}

/// Sends `form`, or nothing, to `path` (with its query) at the authority of `service`.
pub(crate) async fn exchange(
    method: Method,
    service: &Service,
    path: &str,
    form: Option<String>,
) -> Result<Answer, String> {
    let exchanged = timeout(TIME_MAX, unhurried(method, service, path, form)).await;
    exchanged.unwrap_or_else(|_| Err(format!("no answer within {TIME_MAX:?}")))
}

async fn unhurried(
    method: Method,
    service: &Service,
    path: &str,
    form: Option<String>,
) -> Result<Answer, String> {
    let authority = service.url.authority().map(ToString::to_string).unwrap_or_default();
    let address = match (service.url.port(), &service.tls) {
        (Some(_), _) => authority.clone(),
        (None, None) => format!("{authority}:80"),
        (None, Some(_)) => format!("{authority}:443"),
    };
    let stream =
        TcpStream::connect(&address).await.map_err(|error| format!("connect to {address}: {error}"))?;
    match &service.tls {
        None => speak(method, stream, authority, path, form).await,
        Some(tls) => {
            let connected = tls.connect(service.url.host().unwrap_or_default(), stream).await;
            let stream = connected.map_err(|error| format!("connect to {address}: {error}"))?;
            speak(method, stream, authority, path, form).await
        }
    }
}

async fn speak(
    method: Method,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: String,
    path: &str,
    form: Option<String>,
) -> Result<Answer, String> {
    let (mut requests, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.unwrap_or_default())))
        .map_err(|error| error.to_string())?;
    // It ends with this function, also where that is cut off.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let response = requests.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer { status, body })
}
