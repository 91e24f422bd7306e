//! A running member: what it is made of, when it serves, and how it ends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use command::Command;
use consensus::{Driver, Kind, Mailbox, Nudge, Refused};
use parking_lot::Mutex;
use stdx::{Clock, chain};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use transport::Transport;
use types::{Author, ClusterId, Limits, MemberId};

use crate::admission::Admission;
use crate::applier::Applier;
use crate::bridging::Bridging;
use crate::courier::Courier;
use crate::defragment::Defragmenter;
use crate::depot::Depot;
use crate::doorkeeper::Doorkeeper;
use crate::errand::Errand;
use crate::export::Exports;
use crate::lessor::Keeper;
use crate::measures::Measures;
use crate::passwords::Passwords;
use crate::rooms::Wing;
use crate::shared::{End, Shared};
use crate::ticket::{Led, ReadTicket, WriteTicket};
use crate::waits::Waits;
use crate::window::Window;

/// How often somebody looks who waits for what is rare.
const LOOK: Duration = Duration::from_millis(5);

/// The rooms and the way into the log, shared by requests and chores.
pub(crate) struct House {
    pub(crate) driver: Driver<WriteTicket, ReadTicket>,
    pub(crate) wing: Arc<Wing>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) bridging: Arc<Bridging>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) courier: Arc<Courier>,
    pub(crate) doorkeeper: Arc<Doorkeeper>,
}

impl House {
    /// Waits until this member has applied everything that was committed when it was asked; tells who was confirmed
    /// to lead meanwhile, or nothing when nobody did for too long.
    pub(crate) async fn confirm(&self) -> Result<Option<Led>, Refused> {
        let (release, released) = oneshot::channel();
        let nudge = self.driver.read(ReadTicket(release))?;
        let_others_in(nudge).await;
        Ok(released.await.ok())
    }

    /// Proposes a chore of the member's own.
    pub(crate) fn propose_chore(&self, command: &Command, kind: Kind, ticket: WriteTicket) {
        // Nobody else is about to enter from here: the nudge is dropped at once.
        if self.driver.propose(command.encode_by(&Author::Member), kind, ticket).is_err() {
            tracing::debug!("a chore was not proposed: the member is busy or stopping");
        }
    }
}

/// Tasks that this thread has yet to run may be about to enter too: one waking serves all of them.
pub(crate) async fn let_others_in(nudge: Option<Nudge>) {
    if nudge.is_some() {
        tokio::task::yield_now().await;
    }
}

/// A running member of a cluster.
pub struct Member {
    pub(crate) house: Arc<House>,
    pub(crate) window: Arc<Window>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) large_reads: Arc<Semaphore>,
    pub(crate) cluster: ClusterId,
    pub(crate) id: MemberId,
    pub(crate) limits: Limits,
    pub(crate) quota_bytes: u64,
    pub(crate) v2_enabled: bool,
    pub(crate) strict_reconfiguration: bool,
    pub(crate) learners_max: usize,
    pub(crate) election: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) compare_first: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) measures: Measures,
    pub(crate) applier: Arc<Applier>,
    pub(crate) depot: Arc<Depot>,
    pub(crate) exports: Exports,
    pub(crate) defragmenter: Defragmenter,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) bcrypt_cost: u32,
    pub(crate) errands: Arc<Mailbox<Errand>>,
    pub(crate) chores: Arc<Mailbox<()>>,
    pub(crate) peers: tokio::runtime::Handle,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Member {
    /// This member's id.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where passwords are hashed and compared.
    pub fn passwords(&self) -> &Arc<Passwords> {
        &self.passwords
    }

    /// Answers other members on a listener, with TLS if that is given, until the member stops.
    pub fn serve_peers(
        &self,
        listener: std::net::TcpListener,
        tls: Option<Arc<tls::Server>>,
    ) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let _on_their_runtime = self.peers.enter();
        let listener = TcpListener::from_std(listener)?;
        self.peers.spawn(Arc::clone(&self.house.transport).serve(listener, tls));
        Ok(())
    }

    /// Waits until this member takes no more part, and tells why. The process should end then.
    pub async fn ended(&self) -> End {
        self.house.shared.ended().await
    }

    /// Waits until the cluster knows this member by its name and URLs, and there is a leader: then it serves.
    pub async fn ready(&self) {
        // Told by the timekeeper, which looks a hundred times a second before; a start is not a hot path.
        let is_known = || {
            let known = self.house.wing.look().members.get(self.id);
            known.is_some_and(|member| !member.client_urls.is_empty())
        };
        let mut look = tokio::time::interval(LOOK);
        let shared = &self.house.shared;
        while !is_known() || shared.leader() == MemberId(0) || self.compare_first && !shared.was_compared() {
            look.tick().await;
        }
    }

    /// Hands the lead over, if this member has it and there is somebody to take it: the cluster goes on at once
    /// instead of missing its leader first. To be awaited before clients are turned away; it takes no longer than
    /// an election and a half.
    pub async fn retire(&self) {
        let deadline = Instant::now() + self.election * 3 / 2;
        let shared = &self.house.shared;
        while shared.leads() && !shared.has_ended() && Instant::now() < deadline {
            let survey = self.house.driver.survey();
            if survey.transferee == MemberId(0) {
                let heirs = survey.peers.iter().filter(|peer| peer.active && !peer.learner);
                let Some(heir) = heirs.max_by_key(|peer| peer.matched) else { return };
                tracing::info!(
                    { "local-member-id" } = %self.id, { "transferee-member-id" } = %heir.id,
                    "leadership transfer starting"
                );
                self.house.driver.transfer(heir.id);
            }
            tokio::time::sleep(LOOK).await;
        }
        // What waits here is forwarded as soon as it is known to whom.
        while shared.leader() == MemberId(0) && !shared.has_ended() && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops every thread and puts everything into files, so that the next start has nothing to replay.
    /// Blocks for as long as that takes.
    pub fn stop(&self) {
        self.chores.close();
        self.errands.close();
        self.window.stop();
        self.house.shared.set_stopping();
        self.house.driver.stop();
        self.house.transport.stop();
        self.applier.close();
        for thread in self.threads.lock().drain(..) {
            // A panic was reported by its thread; what it did not do, the next start replays.
            let _ = thread.join();
        }
        self.defragmenter.join();
        if !self.house.shared.has_failed()
            && let Err(error) = self.house.wing.look().store.flush()
        {
            tracing::error!(
                error = chain(&error),
                "the database was not flushed; the next start replays the log"
            );
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}
