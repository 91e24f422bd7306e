//! What the peer port answers to questions: `/version` and `/members` as etcd does, and to members of this cluster
//! fingerprints and snapshots.
//!
//! | path | answer |
//! |---|---|
//! | `/kvorum/fingerprint?index=N` | the fingerprint at N as a decimal number |
//! | `POST /kvorum/leases` | what the leader answers to the question in the body |
//! | `/kvorum/snapshot/ID` | the manifest |
//! | `/kvorum/snapshot/ID/FILE?offset=N` | the file from N on, in frames |

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use types::{Index, MemberId, MemberRecord};

use crate::frame::Packer;
use crate::papers::{self, Refusal};
use crate::port::Visit;
use crate::reply::{Reply, TAKE_TIME_MAX};
use crate::transport::Shared;

/// A file is read and sent in pieces of this size, in bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that were read and not sent yet.
const PIECES_MAX: usize = 2;

/// A question, and an answer to one, in bytes.
pub const INQUIRY_BYTES_MAX: usize = 256 << 10;
/// Where questions go.
pub(crate) const INQUIRIES: &str = "/kvorum/leases";

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A member in etcd's JSON of the peer port.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MemberJson {
    pub(crate) id: u64,
    #[serde(rename = "peerURLs", default)]
    pub(crate) peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_urls: Vec<String>,
}

impl From<MemberRecord> for MemberJson {
    fn from(member: MemberRecord) -> Self {
        Self {
            id: member.id.0,
            peer_urls: Some(member.peer_urls),
            learner: member.learner,
            name: member.name,
            client_urls: member.client_urls,
        }
    }
}

/// Answers a request.
pub(crate) async fn answer(shared: &Arc<Shared>, visit: &Visit, request: &request::Parts) -> Response<Reply> {
    let path = request.uri.path();
    let is_get = request.method == Method::GET;
    match path {
        "/version" | "/members" if !is_get => not_allowed("GET"),
        "/version" => text(StatusCode::OK, JSON, shared.office.version()),
        "/members" => with_cluster(shared, members(shared)),
        "/raft" if request.method != Method::POST => not_allowed("POST"),
        _ if path == "/raft" || path.starts_with("/raft/") => etcd(shared, request),
        _ => match path.strip_prefix("/kvorum/") {
            None => not_found("404 page not found"),
            Some(_) if !is_get => fault(StatusCode::BAD_REQUEST, "a stream needs HTTP/2 and a lane"),
            Some(path) => {
                let visitor = match shared.check(request) {
                    Ok(visitor) => visitor.member,
                    Err(refusal) => return refused(shared, &refusal),
                };
                visit.is_member();
                to_member(shared, visitor, path, request.uri.query().unwrap_or_default()).await
            }
        },
    }
}

/// Answers a question that came with a body.
pub(crate) async fn inquiry(
    shared: &Arc<Shared>,
    visit: &Visit,
    request: &request::Parts,
    body: Incoming,
) -> Response<Reply> {
    if let Err(refusal) = shared.check(request) {
        return refused(shared, &refusal);
    }
    visit.is_member();
    let Ok(question) = Limited::new(body, INQUIRY_BYTES_MAX).collect().await else {
        return fault(StatusCode::BAD_REQUEST, "not a question, or too long");
    };
    match shared.office.inquire(question.to_bytes()).await {
        Some(answer) => text(StatusCode::OK, "application/octet-stream", answer),
        None => fault(StatusCode::SERVICE_UNAVAILABLE, "not answered here, now"),
    }
}

/// A refusal, with the cluster's id, as etcd gives it.
pub(crate) fn refused(shared: &Shared, refusal: &Refusal) -> Response<Reply> {
    with_cluster(shared, fault(refusal.status(), &refusal.to_string()))
}

fn members(shared: &Shared) -> Response<Reply> {
    let members: Vec<MemberJson> = shared.office.members().into_iter().map(MemberJson::from).collect();
    let json = serde_json::to_string(&members).expect("numbers and texts");
    text(StatusCode::OK, JSON, json + "\n")
}

/// A member of etcd's own make: it understands two sentences, and these are they.
fn etcd(shared: &Shared, request: &request::Parts) -> Response<Reply> {
    let is_foreign =
        papers::cluster(&request.headers).is_some_and(|cluster| cluster != shared.config.cluster);
    // For the log.
    let _ = shared.check(request);
    let sentence = if is_foreign { "cluster ID mismatch" } else { "incompatible version" };
    with_cluster(shared, fault(StatusCode::PRECONDITION_FAILED, sentence))
}

async fn to_member(shared: &Arc<Shared>, visitor: MemberId, path: &str, query: &str) -> Response<Reply> {
    let mut steps = path.splitn(3, '/');
    match (steps.next(), steps.next(), steps.next()) {
        (Some("fingerprint"), None, None) => {
            let fingerprint =
                number(query, "index").and_then(|index| shared.office.fingerprint(Index(index)));
            match fingerprint {
                Some(fingerprint) => text(StatusCode::OK, PLAIN, format!("{fingerprint}\n")),
                None => not_found("no fingerprint at this index"),
            }
        }
        (Some("snapshot"), Some(id), file) => {
            let Ok(place) = Arc::clone(&shared.fetches).try_acquire_owned() else {
                return fault(StatusCode::SERVICE_UNAVAILABLE, "too many fetch at once");
            };
            match file {
                None => manifest(shared, visitor, id.to_owned()).await,
                Some(file) => {
                    let offset = number(query, "offset").unwrap_or(0);
                    let (shared, id, file) = (Arc::clone(shared), id.to_owned(), file.to_owned());
                    let source = Source { shared, visitor, id, file };
                    self::file(source, offset, place).await
                }
            }
        }
        _ => not_found("404 page not found"),
    }
}

async fn manifest(shared: &Arc<Shared>, visitor: MemberId, id: String) -> Response<Reply> {
    let office = Arc::clone(&shared.office);
    match settled(shared.handle.spawn_blocking(move || office.snapshot(visitor, &id)).await) {
        Ok(Some(manifest)) => text(StatusCode::OK, "application/octet-stream", manifest),
        Ok(None) => not_found("no such snapshot"),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

struct Source {
    shared: Arc<Shared>,
    visitor: MemberId,
    id: String,
    file: String,
}

impl Source {
    async fn read(self, offset: u64) -> (Self, io::Result<Option<Bytes>>) {
        let handle = self.shared.handle.clone();
        let (office, id, file) = (Arc::clone(&self.shared.office), self.id.clone(), self.file.clone());
        let visitor = self.visitor;
        let read = move || office.snapshot_piece(visitor, &id, &file, offset, PIECE_BYTES);
        (self, settled(handle.spawn_blocking(read).await))
    }
}

async fn file(source: Source, offset: u64, place: OwnedSemaphorePermit) -> Response<Reply> {
    let (source, first) = source.read(offset).await;
    match first {
        Ok(Some(first)) => {
            let (pieces, receiver) = mpsc::channel(PIECES_MAX);
            let shared = Arc::clone(&source.shared);
            let stop = shared.stop.child_token();
            let task = async move {
                stop.run_until_cancelled(send_file(source, offset, first, pieces)).await;
                drop(place);
            };
            shared.tasks.spawn_on(task, &shared.handle);
            answer_with("application/octet-stream", Reply::Pieces(receiver))
        }
        Ok(None) => not_found("no such file"),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Sends pieces, each in a frame of its own, up to the file's end or until nobody takes them any more.
async fn send_file(
    mut source: Source,
    mut offset: u64,
    mut piece: Bytes,
    pieces: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut packer = Packer::default();
    while !piece.is_empty() {
        offset += piece.len() as u64;
        packer.push(piece);
        for packed in packer.pieces() {
            if !matches!(timeout(TAKE_TIME_MAX, pieces.send(Ok(packed))).await, Ok(Ok(()))) {
                return;
            }
        }
        let (back, next) = source.read(offset).await;
        source = back;
        piece = match next {
            Ok(next) => next.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, snapshot = source.id, file = source.file, "a snapshot cannot be read");
                // Nobody listens any more if it fails.
                let _ = pieces.try_send(Err(error));
                return;
            }
        };
    }
}

/// The value of a number in a query.
fn number(query: &str, name: &str) -> Option<u64> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    value.and_then(|(_, value)| value.parse().ok())
}

fn settled<T>(outcome: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    outcome.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn not_allowed(allowed: &'static str) -> Response<Reply> {
    let mut response = fault(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn not_found(what: &str) -> Response<Reply> {
    fault(StatusCode::NOT_FOUND, what)
}

/// As Go's server puts it.
fn fault(status: StatusCode, sentence: &str) -> Response<Reply> {
    let mut response = text(status, PLAIN, format!("{sentence}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Reply> {
    let mut response = answer_with(kind, Reply::text(text));
    *response.status_mut() = status;
    response
}

fn answer_with(kind: &'static str, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn with_cluster(shared: &Shared, mut response: Response<Reply>) -> Response<Reply> {
    let cluster = HeaderValue::from_str(&shared.config.cluster.to_string()).expect("hexadecimal");
    response.headers_mut().insert(papers::CLUSTER, cluster);
    response
}
