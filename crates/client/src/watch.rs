//! A watch that goes on where it was when its connection breaks.
//!
//! INVARIANT: the next stream begins behind the last revision that was handed out whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::codec::Streaming;

use crate::client::Client;
use crate::fault::{Fault, Trouble};

const PATH: &str = "/etcdserverpb.Watch/Watch";

/// Answers that wait for a slow reader; then the member waits.
const ANSWERS_MAX: usize = 64;

/// Requests that wait for the connection; further ones are as good as those.
const REQUESTS_MAX: usize = 16;

/// The wait before a stream is opened again that broke at once.
const PAUSE: Duration = Duration::from_millis(200);

/// What came over one stream, in order; it ends with a fault or with an answer that says `canceled`.
#[derive(Debug)]
pub struct Watch {
    answers: mpsc::Receiver<Result<WatchResponse, Fault>>,
    requests: Requests,
    connected: Arc<AtomicBool>,
}

/// Where requests of the present stream go.
type Requests = Arc<Mutex<Option<mpsc::Sender<WatchRequest>>>>;

/// Asks how far a watch has come.
#[derive(Clone, Debug)]
pub struct WatchProgress(Requests);

impl Watch {
    /// Begins to watch.
    pub fn open(client: &Client, create: WatchCreateRequest) -> Self {
        Self::begin(client, create, Behind::All)
    }

    /// Begins to watch, and goes on behind events alone. Members of etcd before 3.5.8 may answer a question for progress
    /// before they send what happened until then.
    pub fn open_behind_events(client: &Client, create: WatchCreateRequest) -> Self {
        Self::begin(client, create, Behind::Events)
    }

    fn begin(client: &Client, create: WatchCreateRequest, behind: Behind) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let requests = Requests::default();
        let connected = Arc::new(AtomicBool::new(false));
        let shared = Shared { requests: Arc::clone(&requests), connected: Arc::clone(&connected) };
        let run = run(client.clone(), create, behind, shared, sender.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = run => {}
                () = sender.closed() => {}
            }
        });
        Self { answers, requests, connected }
    }

    /// What comes next; nothing behind the end.
    pub async fn next(&mut self) -> Option<Result<WatchResponse, Fault>> {
        self.answers.recv().await
    }

    /// Whether a member is being listened to; otherwise one is looked for.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Something that asks for progress while others wait for answers.
    pub fn progress(&self) -> WatchProgress {
        WatchProgress(Arc::clone(&self.requests))
    }
}

impl WatchProgress {
    /// Asks for an answer without events.
    pub fn ask(&self) {
        if let Some(requests) = self.0.lock().as_ref() {
            // With a full queue the questions before this one will be answered.
            let _full = requests.try_send(request(RequestUnion::ProgressRequest(WatchProgressRequest {})));
        }
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}

/// What the stream and who reads its answers have in common.
struct Shared {
    requests: Requests,
    connected: Arc<AtomicBool>,
}

/// Behind what a new stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Behind progress too.
    All,
    Events,
}

async fn run(
    client: Client,
    mut create: WatchCreateRequest,
    behind: Behind,
    shared: Shared,
    answers: mpsc::Sender<Result<WatchResponse, Fault>>,
) {
    loop {
        let outgoing = || {
            let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
            let _first = sender.try_send(request(RequestUnion::CreateRequest(create.clone())));
            *shared.requests.lock() = Some(sender);
            ReceiverStream::new(receiver)
        };
        let opened = client.stream::<WatchRequest, WatchResponse, _>(PATH, outgoing, None).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(fault) => return drop(answers.send(Err(fault)).await),
        };
        shared.connected.store(true, Ordering::Relaxed);
        let followed = follow(&mut stream, &mut create, behind, &answers).await;
        shared.connected.store(false, Ordering::Relaxed);
        match followed {
            Followed::Over => return,
            Followed::Broken => sleep(PAUSE).await,
            Followed::Refused(fault) => return drop(answers.send(Err(fault)).await),
        }
    }
}

enum Followed {
    Over,
    Broken,
    Refused(Fault),
}

/// Hands out what one stream brings.
async fn follow(
    stream: &mut Streaming<WatchResponse>,
    create: &mut WatchCreateRequest,
    behind: Behind,
    answers: &mpsc::Sender<Result<WatchResponse, Fault>>,
) -> Followed {
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Followed::Broken,
            Err(status) => match Trouble::from(status) {
                Trouble::Refused(status) if status.code() != Code::Unavailable => {
                    return Followed::Refused(Fault::Refused(status));
                }
                _ => return Followed::Broken,
            },
        };
        let is_trusted = behind == Behind::All || answer.created || !answer.events.is_empty();
        if let Some(next) = next_revision(create, &answer).filter(|_| is_trusted) {
            create.start_revision = next;
        }
        let (is_news, is_over) = (!answer.created || answer.canceled, answer.canceled);
        if is_news && answers.send(Ok(answer)).await.is_err() || is_over {
            return Followed::Over;
        }
    }
}

/// Where a new stream would go on, if this answer changes that.
fn next_revision(create: &WatchCreateRequest, answer: &WatchResponse) -> Option<i64> {
    let now = answer.header.as_ref().map_or(0, |header| header.revision);
    let last = answer.events.last().and_then(|event| event.kv.as_ref()).map(|pair| pair.mod_revision);
    match last {
        Some(_) if answer.fragment => None,
        Some(last) => Some(last + 1),
        // A stream that begins now begins behind this revision, also when it is opened again.
        None if answer.created => (create.start_revision == 0).then_some(now + 1),
        // Progress: everything up to this revision was sent.
        None => (now >= create.start_revision).then_some(now + 1),
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::ResponseHeader;
    use proto::mvccpb::{Event, KeyValue};

    use super::*;

    #[test]
    fn a_new_stream_goes_on_behind_what_was_handed_out() {
        let header = |revision| Some(ResponseHeader { revision, ..Default::default() });
        let create = |start_revision| WatchCreateRequest { start_revision, ..Default::default() };
        let kv = Some(KeyValue { mod_revision: 7, ..Default::default() });
        let events = vec![Event { kv, ..Default::default() }];
        let news = WatchResponse { header: header(9), events, ..Default::default() };
        assert_eq!(next_revision(&create(3), &news), Some(8));
        let part = WatchResponse { fragment: true, ..news };
        assert_eq!(next_revision(&create(3), &part), None);
        let created = WatchResponse { header: header(9), created: true, ..Default::default() };
        assert_eq!(
            [next_revision(&create(0), &created), next_revision(&create(3), &created)],
            [Some(10), None]
        );
        let progress = WatchResponse { header: header(9), ..Default::default() };
        assert_eq!(
            [next_revision(&create(3), &progress), next_revision(&create(20), &progress)],
            [Some(10), None]
        );
    }
}
