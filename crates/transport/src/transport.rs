//! The transport as others see it: start, peers, send, serve, stop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::MemberId;

use crate::answer::{INQUIRIES, INQUIRY_BYTES_MAX};
use crate::contact::Contact;
use crate::fetch::{self, FetchError, Response};
use crate::papers::{self, Refusal, Visitor};
use crate::{Config, Inbox, Lane, Office, Peer, PeerHealth, port, sender};

/// Peers that nobody listed but that came by themselves: a member may hear of a new one by its stream first.
const UNLISTED_MAX: usize = 8;
/// Visitors of whose refusal the log tells.
const REFUSED_MAX: usize = 64;
/// Snapshots and other long answers at once.
const FETCHES_MAX: usize = 8;

/// Streams to and from the other members.
pub struct Transport {
    shared: Arc<Shared>,
}

impl Transport {
    /// A transport without peers. Its tasks run on `handle`.
    pub fn start(
        config: Config,
        inbox: Arc<dyn Inbox>,
        office: Arc<dyn Office>,
        handle: &Handle,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            config,
            inbox,
            office,
            handle: handle.clone(),
            contacts: RwLock::default(),
            arrivals: Mutex::default(),
            arrival_serial: AtomicU64::new(0),
            refused: Mutex::default(),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        Arc::new(Self { shared })
    }

    /// From now on these are the peers, without this member itself, which may be in the list. Streams to others end;
    /// what is known of those that stay is kept.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let peers = peers.into_iter().map(|peer| (peer.id, peer.urls)).collect();
        self.shared.set_peers(&peers);
    }

    /// Puts a frame into the queue to `to`. It never waits: without a stream, or without room, the frame is dropped
    /// and the answer is `false`.
    pub fn send(&self, to: MemberId, lane: Lane, frame: Bytes) -> bool {
        self.shared.contacts.read().get(&to).is_some_and(|contact| contact.queue(lane).push(frame))
    }

    /// How it stands with each peer.
    pub fn peers(&self) -> Vec<PeerHealth> {
        let contacts = self.shared.contacts.read();
        contacts.values().filter(|contact| contact.is_invited()).map(|contact| contact.health()).collect()
    }

    /// Answers whoever connects to `listener`, with TLS if that is given, until [`Self::stop`].
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<tls::Server>>) {
        let shared = Arc::clone(&self.shared);
        shared.stop.run_until_cancelled(port::serve(&shared, listener, tls)).await;
    }

    /// Asks `peer`, at its URLs in turn, for `path` with its query. It takes no longer than named limits while
    /// nothing moves.
    pub async fn get(&self, peer: MemberId, path: &str) -> Result<Response, FetchError> {
        let contact = self.shared.contacts.read().get(&peer).cloned();
        let contact = contact.ok_or(FetchError::Unknown(peer))?;
        fetch::from_peer(&self.shared, &contact, path, None).await
    }

    /// Asks `peer` a question of at most [`INQUIRY_BYTES_MAX`] bytes, which its office answers.
    pub async fn inquire(&self, peer: MemberId, question: Bytes) -> Result<Bytes, FetchError> {
        let contact = self.shared.contacts.read().get(&peer).cloned();
        let contact = contact.ok_or(FetchError::Unknown(peer))?;
        let answer = fetch::from_peer(&self.shared, &contact, INQUIRIES, Some(question)).await?;
        answer.whole(INQUIRY_BYTES_MAX).await
    }

    /// Ends every stream, connection and task. Frames that wait are dropped.
    pub fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
    }

    /// After [`Self::stop`]: when all of it is gone.
    pub async fn stopped(&self) {
        self.shared.tasks.wait().await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What all tasks of a transport share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) office: Arc<dyn Office>,
    pub(crate) handle: Handle,
    contacts: RwLock<Contacts>,
    /// The streams that come in, one for each member and lane: a newer one takes the older one's place.
    arrivals: Mutex<BTreeMap<(MemberId, Lane), Arrival>>,
    arrival_serial: AtomicU64,
    /// Who was refused, and with which words: they are logged when they change.
    refused: Mutex<BTreeMap<String, String>>,
    pub(crate) fetches: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

type Contacts = BTreeMap<MemberId, Arc<Contact>>;

struct Arrival {
    serial: u64,
    stop: CancellationToken,
}

impl Shared {
    fn set_peers(self: &Arc<Self>, peers: &BTreeMap<MemberId, Vec<String>>) {
        let mut contacts = self.contacts.write();
        for (id, urls) in peers.iter().filter(|(id, _)| **id != self.config.member) {
            match contacts.get(id) {
                Some(contact) => contact.invite(urls),
                None => self.meet(&mut contacts, *id, urls, true),
            }
        }
        drop(contacts);
        // The office is asked while nothing is locked: it may be it that calls.
        let removed = self.removed();
        let mut contacts = self.contacts.write();
        contacts.retain(|id, contact| {
            let stays = peers.contains_key(id) || !(contact.is_invited() || removed.contains(id));
            if !stays {
                contact.stop.cancel();
            }
            stays
        });
        drop(contacts);
        // They knock again, and are told.
        for ((member, _), arrival) in self.arrivals.lock().iter() {
            if removed.contains(member) {
                arrival.stop.cancel();
            }
        }
    }

    /// Of those that are spoken with, who was removed.
    fn removed(&self) -> BTreeSet<MemberId> {
        let mut members: BTreeSet<MemberId> = self.contacts.read().keys().copied().collect();
        members.extend(self.arrivals.lock().keys().map(|(member, _)| *member));
        members.retain(|member| self.office.is_removed(*member));
        members
    }

    fn meet(self: &Arc<Self>, contacts: &mut Contacts, id: MemberId, urls: &[String], invited: bool) {
        let stop = self.stop.child_token();
        let contact = Arc::new(Contact::new(id, urls, invited, &self.config, stop));
        for lane in [Lane::Vital, Lane::Bulk] {
            let task = sender::keep(Arc::clone(self), Arc::clone(&contact), lane);
            self.tasks.spawn_on(task, &self.handle);
        }
        contacts.insert(id, contact);
    }

    /// A stream from `visitor` begins. `stop` ends the connection that brings it. The number is for [`Self::depart`].
    pub(crate) fn arrive(
        self: &Arc<Self>,
        visitor: &Visitor,
        lane: Lane,
        stop: CancellationToken,
    ) -> (u64, Option<Arc<Contact>>) {
        let serial = self.arrival_serial.fetch_add(1, Ordering::Relaxed);
        let older = self.arrivals.lock().insert((visitor.member, lane), Arrival { serial, stop });
        if let Some(older) = older {
            older.stop.cancel();
        }
        self.refused.lock().remove(&visitor.member.to_string());
        let mut contacts = self.contacts.write();
        if !contacts.contains_key(&visitor.member) && !visitor.peer_urls.is_empty() {
            let unlisted = contacts.values().filter(|contact| !contact.is_invited()).count();
            if unlisted < UNLISTED_MAX {
                self.meet(&mut contacts, visitor.member, &visitor.peer_urls, false);
            }
        }
        let contact = contacts.get(&visitor.member).cloned();
        drop(contacts);
        if let Some(contact) = &contact {
            contact.hurry.notify_waiters();
        }
        (serial, contact)
    }

    /// The stream from `member` that got this number is over.
    pub(crate) fn depart(&self, member: MemberId, lane: Lane, serial: u64) {
        let mut arrivals = self.arrivals.lock();
        if arrivals.get(&(member, lane)).is_some_and(|arrival| arrival.serial == serial) {
            arrivals.remove(&(member, lane));
        }
        let is_gone = [Lane::Vital, Lane::Bulk].iter().all(|&lane| !arrivals.contains_key(&(member, lane)));
        drop(arrivals);
        if is_gone {
            let mut contacts = self.contacts.write();
            if let Some(contact) = contacts.get(&member).filter(|contact| !contact.is_invited()) {
                contact.stop.cancel();
                contacts.remove(&member);
            }
        }
    }

    /// Lets somebody in, or says why not, here and in the log.
    pub(crate) fn check(&self, request: &request::Parts) -> Result<Visitor, Refusal> {
        let checked = papers::check(request, &self.config, |member| self.office.is_removed(member));
        if let Err(refusal) = &checked {
            let (who, why) = (papers::claimed(&request.headers), refusal.to_string());
            let mut refused = self.refused.lock();
            // So many strangers are no mistake of an operator, and may not fill the log.
            let has_room = refused.len() < REFUSED_MAX || refused.contains_key(&who);
            if has_room && refused.insert(who.clone(), why.clone()).as_ref() != Some(&why) {
                drop(refused);
                tracing::warn!(
                    { "local-member-id" } = %self.config.member, { "remote-peer-id" } = who, error = why,
                    "rejected a peer's request"
                );
            }
        }
        checked
    }
}
