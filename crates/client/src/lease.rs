//! A lease that is kept: renewed when a third of its time is over, at whichever endpoint answers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::client::Client;
use crate::fault::{Fault, Trouble};

const PATH: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Beats that wait for somebody to look; further ones are not kept.
const BEATS_MAX: usize = 16;

/// The wait before a stream is opened again that broke.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq)]
pub enum Beat {
    /// The lease has its full time again.
    Kept(LeaseKeepAliveResponse),
    /// It is over, or nobody said anything for as long as it lasts.
    Ended,
}

/// The beats of a lease that is kept until this is dropped.
#[derive(Debug)]
pub struct KeepAlive {
    beats: mpsc::Receiver<Result<Beat, Fault>>,
}

impl KeepAlive {
    /// Begins to keep it.
    pub fn start(client: &Client, lease: i64) -> Self {
        let (sender, beats) = mpsc::channel(BEATS_MAX);
        let client = client.clone();
        tokio::spawn(async move {
            tokio::select! {
                last = keep(client, lease, &sender) => drop(sender.send(last).await),
                () = sender.closed() => {}
            }
        });
        Self { beats }
    }

    /// The next beat; nothing behind the last one.
    pub async fn next(&mut self) -> Option<Result<Beat, Fault>> {
        self.beats.recv().await
    }
}

/// Renews it once.
pub async fn keep_once(
    client: &Client,
    lease: i64,
    patience: Option<Duration>,
) -> Result<LeaseKeepAliveResponse, Fault> {
    let outgoing = || tokio_stream::once(LeaseKeepAliveRequest { id: lease });
    let mut stream =
        client.stream::<LeaseKeepAliveRequest, LeaseKeepAliveResponse, _>(PATH, outgoing, patience).await?;
    match stream.message().await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Ok(LeaseKeepAliveResponse::default()),
        Err(status) => Err(Fault::Refused(status)),
    }
}

/// Keeps it until it is over; answers its last beat.
async fn keep(client: Client, lease: i64, beats: &mpsc::Sender<Result<Beat, Fault>>) -> Result<Beat, Fault> {
    let mut over_at: Option<Instant> = None;
    loop {
        let requests: Mutex<Option<mpsc::Sender<LeaseKeepAliveRequest>>> = Mutex::default();
        let requests = Arc::new(requests);
        let outgoing = || {
            let (sender, receiver) = mpsc::channel(1);
            let _first = sender.try_send(LeaseKeepAliveRequest { id: lease });
            *requests.lock() = Some(sender);
            ReceiverStream::new(receiver)
        };
        let left = over_at.map(|over_at| over_at.saturating_duration_since(Instant::now()));
        let opened =
            client.stream::<LeaseKeepAliveRequest, LeaseKeepAliveResponse, _>(PATH, outgoing, left).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(Fault::Deadline { .. }) => return Ok(Beat::Ended),
            Err(fault) => return Err(fault),
        };
        loop {
            let answer = match over_at {
                Some(over_at) => timeout_at(over_at, stream.message()).await,
                None => Ok(stream.message().await),
            };
            let answer = match answer {
                Err(_) => return Ok(Beat::Ended),
                Ok(Ok(Some(answer))) if answer.ttl <= 0 => return Ok(Beat::Ended),
                Ok(Ok(Some(answer))) => answer,
                Ok(Ok(None)) => break,
                Ok(Err(status)) => match Trouble::from(status) {
                    Trouble::Refused(status) if status.code() != Code::Unavailable => {
                        return Err(Fault::Refused(status));
                    }
                    _ => break,
                },
            };
            let lasts = Duration::from_secs(answer.ttl.unsigned_abs());
            over_at = Some(Instant::now() + lasts);
            // Whoever does not look does not mind.
            let _unseen = beats.try_send(Ok(Beat::Kept(answer)));
            sleep_until(Instant::now() + lasts / 3).await;
            let sender = requests.lock().clone();
            let Some(sender) = sender else { break };
            if sender.send(LeaseKeepAliveRequest { id: lease }).await.is_err() {
                break;
            }
        }
        sleep(PAUSE).await;
    }
}
