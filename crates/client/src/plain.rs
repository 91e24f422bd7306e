//! A page over plain HTTP, as v2's interface answers it: one request on a connection of its own.
//!
//! INVARIANT: an answer that is longer than the configuration allows is refused.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
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

impl Client {
    /// Asks each endpoint in turn, once, for `path` (with its query), until one answers. `authorization` is what the
    /// header of this name says.
    pub async fn page(
        &self,
        path: &str,
        authorization: Option<&str>,
        patience: Option<Duration>,
    ) -> Result<Page, Fault> {
        let mut failures = Vec::new();
        for endpoint in self.endpoints() {
            let asked = ask(endpoint, self.config(), path, authorization);
            let asked = match patience {
                Some(patience) => {
                    let late = |_| Err(format!("no answer within {patience:?}"));
                    timeout(patience, asked).await.unwrap_or_else(late)
                }
                None => asked.await,
            };
            match asked {
                Ok(page) => return Ok(page),
                Err(reason) => failures.push(Failure { place: endpoint.to_string(), reason }),
            }
        }
        Err(Fault::Deadline { failures, may_have_happened: false })
    }
}

async fn ask(
    endpoint: &Endpoint,
    config: &Config,
    path: &str,
    authorization: Option<&str>,
) -> Result<Page, String> {
    let stream = link::connect(endpoint, config, link::Inside::Page)
        .await
        .map_err(|error| format!("connect: {error}"))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut requests, connection) = shaken.map_err(|error| innermost(&error))?;
    let mut request = Request::builder().method(Method::GET).uri(path).header(HOST, endpoint.authority());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    // It ends with this function, also where that is cut off.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let response = requests.send_request(request).await.map_err(|error| innermost(&error))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, config.reply_bytes_max).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Page { status: head.status.as_u16(), headers: head.headers, body })
}
