//! Hashing and comparing passwords: on threads of their own, so that no request waits for another's password.
//!
//! bcrypt takes tens of milliseconds of a core by design. What was found to match is remembered under a keyed
//! digest of the stored hash and the password, so that a client which shows the same password with each request
//! pays once. A user's new password has another hash, under which nothing is remembered.
//!
//! INVARIANT: no password is kept after its job, nor anything from which it could be found out without the key,
//! which is drawn at each start.
//! INVARIANT: what waits is bounded; who finds no room is told so at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use bcrypt::Version;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use tokio::sync::oneshot;
use types::Secret;

/// The work that etcd's hashes cost unless told otherwise: two to this power.
pub const COST: u32 = 10;

/// Threads of one member that hash and compare.
pub const THREADS_MAX: usize = 2;

/// Passwords of one member that may wait for a thread.
pub const QUEUE_MAX: usize = 256;

/// Verified credentials that are remembered, 32 bytes each. The older half goes when there are more.
pub const VERIFIED_MAX: usize = 8_192;

/// Requests that may wait for answers of the same comparison or others.
pub const WAITING_MAX: usize = 4_096;

/// How much these threads stand back behind all others. Where those take everything there is, this leaves a third of
/// a core, so that a password is compared within some hundred milliseconds: clients wait for a second or two.
const NICENESS: i32 = 3;

/// A keyed digest of a stored hash and a password.
type Tag = [u8; 32];

/// There are too many passwords under way already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being hashed or compared")]
pub struct Busy;

/// The desk where passwords are hashed and compared.
pub struct Passwords {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    threads: AtomicUsize,
    threads_max: usize,
    key: Tag,
    desk: Arc<Mutex<Desk>>,
}

enum Job {
    Hash { password: Secret, cost: u32, reply: oneshot::Sender<String> },
    Verify { password: Secret, hash: Arc<str>, tag: Tag },
}

/// What is known, and who waits to know it.
#[derive(Default)]
struct Desk {
    verified: Verified,
    waiting: HashMap<Tag, Vec<oneshot::Sender<bool>>>,
    waiting_count: usize,
}

/// Digests of credentials that matched, in two halves by age.
#[derive(Default)]
struct Verified {
    young: HashSet<Tag>,
    old: HashSet<Tag>,
}

impl Passwords {
    /// A desk with up to `threads_max` threads, begun when there is work, before which `queue_max` jobs may wait.
    pub fn new(threads_max: usize, queue_max: usize) -> Self {
        let (jobs, queue) = bounded(queue_max);
        Self {
            jobs,
            queue,
            threads: AtomicUsize::new(0),
            threads_max,
            key: rand::random(),
            desk: Arc::default(),
        }
    }

    /// The hash under which a password is stored. `cost` is the power of two of rounds.
    pub async fn hash(&self, password: Secret, cost: u32) -> Result<String, Busy> {
        let (reply, hash) = oneshot::channel();
        self.submit(Job::Hash { password, cost, reply })?;
        hash.await.map_err(|_| Busy)
    }

    /// Whether `password` is the one of `stored_hash`. Nothing matches what is no hash.
    pub async fn verify(&self, password: Secret, stored_hash: Arc<str>) -> Result<bool, Busy> {
        let tag = self.tag(&password, &stored_hash);
        let answer = {
            let mut desk = self.desk.lock();
            if desk.verified.contains(&tag) {
                return Ok(true);
            }
            if desk.waiting_count >= WAITING_MAX {
                return Err(Busy);
            }
            let (reply, answer) = oneshot::channel();
            // Who comes while the same is being compared waits for that.
            if let Some(others) = desk.waiting.get_mut(&tag) {
                others.push(reply);
            } else {
                self.submit(Job::Verify { password, hash: stored_hash, tag })?;
                desk.waiting.insert(tag, vec![reply]);
            }
            desk.waiting_count += 1;
            answer
        };
        answer.await.map_err(|_| Busy)
    }

    fn submit(&self, job: Job) -> Result<(), Busy> {
        self.staff();
        match self.jobs.try_send(job) {
            Ok(()) if self.threads.load(Ordering::Relaxed) > 0 => Ok(()),
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }

    /// Begins another thread while there may be more.
    fn staff(&self) {
        let more = |count| (count < self.threads_max).then_some(count + 1);
        if self.threads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            return;
        }
        let (queue, desk) = (self.queue.clone(), Arc::clone(&self.desk));
        let begun = Builder::new().name("passwords".to_owned()).spawn(move || work(&queue, &desk));
        if let Err(error) = begun {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "cannot begin a thread for passwords");
        }
    }

    fn tag(&self, password: &Secret, hash: &str) -> Tag {
        let mut digest = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        digest.update(&(hash.len() as u64).to_be_bytes());
        digest.update(hash.as_bytes());
        digest.update(password.expose());
        digest.finalize().into_bytes().into()
    }
}

fn work(queue: &Receiver<Job>, desk: &Mutex<Desk>) {
    // Of this thread alone, on Linux.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "passwords are hashed at the priority of everything else");
    }
    while let Ok(job) = queue.recv() {
        match job {
            // Whoever asked may have gone.
            Job::Hash { reply, .. } if reply.is_closed() => {}
            Job::Hash { password, cost, reply } => match bcrypt::hash_with_result(password.expose(), cost) {
                Ok(parts) => drop(reply.send(parts.format_for_version(Version::TwoA))),
                Err(error) => tracing::warn!(%error, "a password could not be hashed"),
            },
            Job::Verify { password, hash, tag } => {
                // It compares in constant time.
                let matches = bcrypt::verify(password.expose(), &hash).unwrap_or(false);
                desk.lock().settle(&tag, matches);
            }
        }
    }
}

impl Desk {
    fn settle(&mut self, tag: &Tag, matches: bool) {
        if matches {
            self.verified.insert(*tag);
        }
        let waiting = self.waiting.remove(tag).unwrap_or_default();
        self.waiting_count -= waiting.len();
        for reply in waiting {
            let _ = reply.send(matches);
        }
    }
}

impl Verified {
    fn contains(&self, tag: &Tag) -> bool {
        self.young.contains(tag) || self.old.contains(tag)
    }

    fn insert(&mut self, tag: Tag) {
        if self.young.len() >= VERIFIED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tag);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    // The cheapest that there is.
    const CHEAP: u32 = 4;

    #[tokio::test]
    async fn a_hash_is_of_its_password_alone() {
        let passwords = Passwords::new(1, 8);
        let hash = passwords.hash(Secret::new("open"), CHEAP).await.expect("there is room");
        assert!(hash.starts_with("$2a$04$"), "{hash}");
        let hash: Arc<str> = hash.into();
        for _ in 0..2 {
            assert_eq!(passwords.verify(Secret::new("open"), Arc::clone(&hash)).await, Ok(true));
            assert_eq!(passwords.verify(Secret::new("Open"), Arc::clone(&hash)).await, Ok(false));
        }
        let again = passwords.hash(Secret::new("open"), CHEAP).await.expect("there is room");
        assert_ne!(*again, *hash, "each hash has a salt of its own");
        assert_eq!(passwords.verify(Secret::new("open"), "no hash".into()).await, Ok(false));
        // Made by Go's bcrypt.
        let of_go = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        assert_eq!(passwords.verify(Secret::new("allmine"), of_go.into()).await, Ok(true));
    }

    #[tokio::test]
    async fn what_matched_once_is_not_computed_again() {
        let passwords = Passwords::new(1, 8);
        let hash: Arc<str> = passwords.hash(Secret::new("open"), COST).await.expect("there is room").into();
        assert_eq!(passwords.verify(Secret::new("open"), Arc::clone(&hash)).await, Ok(true));
        let began = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(passwords.verify(Secret::new("open"), Arc::clone(&hash)).await, Ok(true));
        }
        // A thousand of them would take a minute.
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn those_who_ask_the_same_at_once_share_one_answer() {
        let passwords = Arc::new(Passwords::new(1, 1));
        let hash: Arc<str> = bcrypt::hash("open", CHEAP).expect("a hash").into();
        let ask = |_| {
            let (passwords, hash) = (Arc::clone(&passwords), Arc::clone(&hash));
            tokio::spawn(async move { passwords.verify(Secret::new("open"), hash).await })
        };
        let asked: Vec<_> = (0..500).map(ask).collect();
        for answer in asked {
            assert_eq!(answer.await.expect("no panic"), Ok(true));
        }
        assert_eq!(passwords.desk.lock().waiting_count, 0);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let passwords = Arc::new(Passwords::new(1, 1));
        let hash = |number: usize| {
            let passwords = Arc::clone(&passwords);
            tokio::spawn(async move { passwords.hash(Secret::new(number.to_string()), COST).await })
        };
        let asked: Vec<_> = (0..50).map(hash).collect();
        let mut refused = 0;
        for answer in asked {
            refused += usize::from(answer.await.expect("no panic") == Err(Busy));
        }
        // One at work, one in the queue; more while the first come and go.
        assert!((40..50).contains(&refused), "{refused}");
        assert!(passwords.hash(Secret::new("later"), CHEAP).await.is_ok(), "it goes on afterwards");
    }

    #[test]
    fn the_oldest_credentials_are_forgotten() {
        let mut verified = Verified::default();
        let tag = |number: usize| -> Tag {
            let mut tag = Tag::default();
            tag[..8].copy_from_slice(&number.to_be_bytes());
            tag
        };
        for number in 0..VERIFIED_MAX * 3 {
            verified.insert(tag(number));
            assert!(verified.young.len() + verified.old.len() <= VERIFIED_MAX);
        }
        assert!(verified.contains(&tag(VERIFIED_MAX * 3 - 1)) && !verified.contains(&tag(0)));
    }
}
