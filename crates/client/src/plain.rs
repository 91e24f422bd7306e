//! A page over plain HTTP, as v2's interface answers it: one request on a connection of its own.
//!
//! INVARIANT: an answer that is longer than the configuration allows is refused.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::fault::{Failure, Fault, innermost};
use crate::{Client, Config, link};

/// An answer.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// `GET`, or what changes something.
    pub method: Method,
    /// With its query.
    pub path: String,
    /// What the header of this name says.
    pub authorization: Option<String>,
    /// The type of the body, where there is one.
    pub content_type: Option<&'static str>,
    /// Empty where there is none.
    pub body: Bytes,
}

impl PageRequest {
    /// Reads.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            authorization: None,
            content_type: None,
            body: Bytes::new(),
        }
    }
}

/// Why an endpoint gave no answer.
struct Silence {
    reason: String,
    /// Whether it may have got the request.
    sent: bool,
}

impl Client {
    /// Asks each endpoint in turn, once, for `path` (with its query), until one answers. `authorization` is what the
    /// header of this name says.
    pub async fn page(
        &self,
        path: &str,
        authorization: Option<&str>,
        patience: Option<Duration>,
    ) -> Result<Page, Fault> {
        let request =
            PageRequest { authorization: authorization.map(str::to_owned), ..PageRequest::get(path) };
        self.exchange(&request, patience).await
    }

    /// Asks each endpoint in turn, once, until one answers. What changes something goes to no other endpoint once it may
    /// have been received.
    pub async fn exchange(&self, request: &PageRequest, patience: Option<Duration>) -> Result<Page, Fault> {
        let mut failures = Vec::new();
        for endpoint in self.endpoints() {
            let asked = ask(endpoint, self.config(), request);
            let asked = match patience {
                Some(patience) => {
                    let late =
                        |_| Err(Silence { reason: format!("no answer within {patience:?}"), sent: true });
                    timeout(patience, asked).await.unwrap_or_else(late)
                }
                None => asked.await,
            };
            match asked {
                Ok(page) => return Ok(page),
                Err(silence) => {
                    let failure = Failure { place: endpoint.to_string(), reason: silence.reason };
                    if silence.sent && request.method != Method::GET {
                        return Err(Fault::Broken { failure });
                    }
                    failures.push(failure);
                }
            }
        }
        Err(Fault::Deadline { failures, may_have_happened: false })
    }
}

async fn ask(endpoint: &Endpoint, config: &Config, wanted: &PageRequest) -> Result<Page, Silence> {
    let unsent = |reason| Silence { reason, sent: false };
    let lost = |reason| Silence { reason, sent: true };
    let dial = link::connect(endpoint, config, link::Inside::Page);
    let within = config.dial_timeout;
    let dialed = if within.is_zero() { Ok(dial.await) } else { timeout(within, dial).await };
    let stream = dialed
        .map_err(|_| unsent(format!("connect: no answer within {within:?}")))?
        .map_err(|error| unsent(format!("connect: {error}")))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut requests, connection) = shaken.map_err(|error| unsent(innermost(&error)))?;
    let mut request = Request::builder()
        .method(wanted.method.clone())
        .uri(wanted.path.as_str())
        .header(HOST, endpoint.authority());
    if let Some(authorization) = &wanted.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if let Some(kind) = wanted.content_type {
        request = request.header(CONTENT_TYPE, kind);
    }
    let request = request.body(Full::new(wanted.body.clone())).map_err(|error| unsent(error.to_string()))?;
    // It ends with this function, also where that is cut off.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let response = requests.send_request(request).await.map_err(|error| lost(innermost(&error)))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, config.reply_bytes_max).collect().await;
    let body = body.map_err(|error| lost(error.to_string()))?.to_bytes();
    Ok(Page { status: head.status.as_u16(), headers: head.headers, body })
}
