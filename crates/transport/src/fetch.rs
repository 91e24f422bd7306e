//! Questions to other members: plain GET, or POST where the question is long, over HTTP/1.1 on a connection of its own, so that a long answer is in
//! nobody's way.
//!
//! INVARIANT: no answer is waited for, and no body is collected, without a named limit.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tls::Client;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use types::{ClusterId, MemberId, MemberRecord};

use crate::answer::MemberJson;
use crate::contact::Contact;
use crate::frame::{Corrupt, Unpacker};
use crate::papers;
use crate::transport::Shared;
use crate::wire::{Address, AddressError, Wire};

/// An answer that makes no progress for this long is given up.
const PAUSE_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection is there within this time.
const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// An answer to [`ask`], in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What is read of a refusal, in bytes.
const REFUSAL_BYTES_MAX: usize = 1024;

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody has told where that member is.
    #[error("member {0} is no peer")]
    Unknown(MemberId),
    /// The URL.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection.
    #[error("cannot reach {url}")]
    Dial {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("the answer broke off")]
    Broken(#[from] hyper::Error),
    /// The path is none.
    #[error("not a request")]
    Malformed(#[from] http::Error),
    /// Nothing came for too long.
    #[error("no answer within {0:?}")]
    Silence(Duration),
    /// Another answer than 200.
    #[error("refused ({status}): {reason}")]
    Refused {
        /// The number.
        status: u16,
        /// The words.
        reason: String,
    },
    /// More than was asked for.
    #[error("the answer is longer than {0} bytes")]
    Long(usize),
    /// Frames that are not what was sent.
    #[error("the answer is damaged")]
    Corrupt(#[from] Corrupt),
    /// The end came too early.
    #[error("the answer ends amid a frame")]
    Unfinished,
    /// JSON that is none.
    #[error("the answer is not the list of members that was asked for")]
    Members(#[from] serde_json::Error),
}

/// An answer to [`ask`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 if all is well.
    pub status: u16,
    /// The cluster that the other end says it belongs to.
    pub cluster: Option<ClusterId>,
    /// All of it.
    pub body: Bytes,
}

/// Who is in a cluster, as one of its members tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Which cluster, if it says so.
    pub cluster: Option<ClusterId>,
    /// All members.
    pub members: Vec<MemberRecord>,
}

/// Asks for `path` at `url` (its scheme, host and port count), before there is a transport and without saying who
/// asks; with `tls` where it is https. All of it takes `time_max` at most.
pub async fn ask(
    url: &str,
    path: &str,
    tls: Option<&Client>,
    time_max: Duration,
) -> Result<Answer, FetchError> {
    let asked = async {
        let caller = Caller { tls, dial_time_max: DIAL_TIME_MAX.min(time_max) };
        let mut response = Response::request(url, path, None, HeaderMap::new(), caller).await?;
        let (status, cluster) = (response.status.as_u16(), response.cluster);
        let body = response.collect(ANSWER_BYTES_MAX).await?;
        Ok(Answer { status, cluster, body })
    };
    timeout(time_max, asked).await.unwrap_or(Err(FetchError::Silence(time_max)))
}

/// Asks the member at `url` who is in its cluster, with `tls` where it is https.
pub async fn census(url: &str, tls: Option<&Client>, time_max: Duration) -> Result<Census, FetchError> {
    let Answer { status, cluster, body } = ask(url, "/members", tls, time_max).await?;
    if status != StatusCode::OK {
        let reason = String::from_utf8_lossy(&body).trim().chars().take(REFUSAL_BYTES_MAX).collect();
        return Err(FetchError::Refused { status, reason });
    }
    let members: Vec<MemberJson> = serde_json::from_slice(&body)?;
    let record = |member: MemberJson| MemberRecord {
        id: MemberId(member.id),
        name: member.name,
        peer_urls: member.peer_urls.unwrap_or_default(),
        client_urls: member.client_urls,
        learner: member.learner,
    };
    Ok(Census { cluster, members: members.into_iter().map(record).collect() })
}

/// Asks a peer at its URLs in turn, with a body if there is one.
pub(crate) async fn from_peer(
    shared: &Shared,
    contact: &Contact,
    path: &str,
    question: Option<Bytes>,
) -> Result<Response, FetchError> {
    let mut last = FetchError::Unknown(contact.id);
    for url in contact.urls().iter() {
        let headers = papers::issue(&shared.config, contact.id);
        let caller =
            Caller { tls: shared.config.tls.as_deref(), dial_time_max: shared.config.dial_time_max() };
        match Response::request(url, path, question.clone(), headers, caller).await {
            Ok(response) => return response.accepted().await,
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How somebody is called.
struct Caller<'a> {
    tls: Option<&'a Client>,
    dial_time_max: Duration,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    cluster: Option<ClusterId>,
    body: Incoming,
    unpacker: Unpacker,
    ready: VecDeque<Bytes>,
    /// It does the reading and writing.
    _connection: AbortOnDropHandle<()>,
}

impl Response {
    async fn request(
        url: &str,
        path: &str,
        question: Option<Bytes>,
        mut headers: HeaderMap,
        caller: Caller<'_>,
    ) -> Result<Self, FetchError> {
        let address = Address::parse(url)?;
        let wire = Wire::dial(&address, caller.tls, caller.dial_time_max, PAUSE_TIME_MAX).await;
        let wire = wire.map_err(|source| FetchError::Dial { url: url.to_owned(), source })?;
        let asked = async {
            let (mut requests, connection) = http1::handshake(TokioIo::new(wire)).await?;
            let connection = AbortOnDropHandle::new(tokio::spawn(async move {
                // Whoever waits for the answer hears of it.
                let _ = connection.await;
            }));
            let host = HeaderValue::from_str(&address.authority).map_err(http::Error::from)?;
            headers.insert(HOST, host);
            let request = if question.is_some() { Request::post(path) } else { Request::get(path) };
            let mut request = request.body(Full::new(question.unwrap_or_default()))?;
            *request.headers_mut() = headers;
            let (parts, body) = requests.send_request(request).await?.into_parts();
            Ok(Self {
                status: parts.status,
                cluster: papers::cluster(&parts.headers),
                body,
                unpacker: Unpacker::default(),
                ready: VecDeque::new(),
                _connection: connection,
            })
        };
        timeout(PAUSE_TIME_MAX, asked).await.unwrap_or(Err(FetchError::Silence(PAUSE_TIME_MAX)))
    }

    /// The answer if it is one.
    async fn accepted(mut self) -> Result<Self, FetchError> {
        if self.status == StatusCode::OK {
            return Ok(self);
        }
        let body = self.collect(REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let reason = String::from_utf8_lossy(&body).trim().to_owned();
        Err(FetchError::Refused { status: self.status.as_u16(), reason })
    }

    /// The next frame of a body that is made of frames, as those of a snapshot's files are; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            match self.data().await? {
                Some(data) => {
                    let mut ready = Vec::new();
                    self.unpacker.push(data, &mut ready)?;
                    self.ready.extend(ready);
                }
                None if self.unpacker.is_amid_frame() => return Err(FetchError::Unfinished),
                None => return Ok(None),
            }
        }
    }

    /// The whole body as it is, if it has no more than `bytes_max` bytes.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, FetchError> {
        self.collect(bytes_max).await
    }

    async fn collect(&mut self, bytes_max: usize) -> Result<Bytes, FetchError> {
        let mut whole = Vec::new();
        while let Some(data) = self.data().await? {
            if whole.len() + data.len() > bytes_max {
                return Err(FetchError::Long(bytes_max));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.into())
    }

    async fn data(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = timeout(PAUSE_TIME_MAX, self.body.frame()).await;
            match frame.map_err(|_| FetchError::Silence(PAUSE_TIME_MAX))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
