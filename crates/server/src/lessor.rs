//! The leader's part in leases: it renews them in memory, and ends those that are over through the log.
//!
//! Everybody has one; it does something only while this member is confirmed as the leader of a term and has applied
//! everything from before it. See `lease::Lessor` for what is due, and docs/decisions/0011 for why this is safe.
//!
//! INVARIANT: one command at a time ends leases; what it may hold is bounded, and a pause follows. A client's write waits
//! for the command that is being applied, so where the log is quick the commands are small ([`Pace`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use command::{Checkpoint, Command, Effect, Granted, Outcome, Revocation};
use consensus::{Kind, Mailbox, NotTaken};
use lease::{Ending, Lessor, Portion, Renewal, STALL_MS, Terms};
use parking_lot::Mutex;
use stdx::Clock;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use types::v2::Timestamp;
use types::{Index, LeaseId, Term};

use crate::measures::LeaseMeasures;
use crate::member::House;
use crate::ticket::WriteTicket;

/// How often it looks.
const ROUND: Duration = Duration::from_millis(100);
/// How often it looks while something is under way.
const LOOK: Duration = Duration::from_millis(1);
/// Checkpoints in one command.
const CHECKPOINTS_MAX: usize = 1000;

/// How leases are ended: how many by one command, and how much time there is at least from one command to the next.
/// Clients' requests go between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    portion: Portion,
    pause: Duration,
}

/// Leases that may end for each millisecond: 50,000 that end together are gone within two seconds where the log is
/// quick, and applying them takes a third of that time.
const LEASES_PER_MS: usize = 32;
/// Keys that may end with them, for each lease.
const KEYS_PER_LEASE: usize = 8;
/// The longest time that one command makes up for, in milliseconds.
const MADE_UP_MS_MAX: u64 = 16;

impl Pace {
    /// After a command that took this long from its proposal until it was applied. A client's write waits for the
    /// command that is being applied: for a third of a millisecond where a command takes one, and longer only where
    /// every write takes long. A lease with more keys than the portion says goes alone: it ends at one revision.
    fn after(took: Duration) -> Self {
        let ms = (took.as_millis() as u64).clamp(1, MADE_UP_MS_MAX);
        let leases_max = LEASES_PER_MS * ms as usize;
        let portion = Portion { leases_max, keys_max: leases_max * KEYS_PER_LEASE };
        Self { portion, pause: Duration::from_millis(ms) }
    }
}

/// What is asked of a leader about a lease. The answer to either is a number for each lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// To give it its whole time again; the answer is that time, in seconds.
    KeepAlive,
    /// How many seconds it has left.
    TimeLeft,
}

/// The answer where there is no such lease.
pub(crate) const MISSING: i64 = -1;
/// The answer where there is none yet.
pub(crate) const AGAIN: i64 = -2;

/// What a leader knows of leases and time, shared by those who renew, apply and look at the clock.
pub(crate) struct Keeper {
    lessor: Mutex<Lessor>,
    clock: Arc<dyn Clock>,
    born: Instant,
    measures: LeaseMeasures,
}

impl Keeper {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        checkpoint_every: Option<Duration>,
        measures: LeaseMeasures,
    ) -> Self {
        let born = clock.now();
        let lessor = Lessor::new(checkpoint_every.map(|every| every.as_millis() as u64));
        Self { lessor: Mutex::new(lessor), clock, born, measures }
    }

    /// Told by the applier what was done, before anybody else hears of it.
    pub(crate) fn applied(&self, outcomes: &[Vec<Outcome>]) {
        let effects = || outcomes.iter().flatten().filter_map(|outcome| outcome.result.as_ref().ok());
        let concerns = |effect: &Effect| match effect {
            Effect::Granted { .. } | Effect::Revoked(_) | Effect::Checkpointed(_) => true,
            Effect::Bridged(bridged) => bridged.granted.is_some() || !bridged.ended.is_empty(),
            _ => false,
        };
        if !effects().any(concerns) {
            return;
        }
        let now_ms = self.now_ms();
        let mut lessor = self.lessor.lock();
        lessor.set_wall(now_ms, Timestamp(self.clock.wall_ns()));
        for effect in effects() {
            match effect {
                Effect::Granted { id, ttl, born } => {
                    self.measures.granted(*ttl);
                    lessor.granted(
                        *id,
                        &Terms { ttl: *ttl, remaining: 0, born: *born, deadline: None },
                        now_ms,
                    );
                }
                Effect::Revoked(leases) => {
                    self.measures.revoked.increment(leases.len() as u64);
                    for (id, born) in leases {
                        lessor.ended(Ending { id: *id, born: *born });
                    }
                }
                Effect::Bridged(bridged) => {
                    if let Some(Granted { id, ttl, born, deadline }) = bridged.granted {
                        self.measures.granted(ttl);
                        let terms = Terms { ttl, remaining: 0, born, deadline: Some(deadline) };
                        lessor.granted(id, &terms, now_ms);
                    }
                    self.measures.revoked.increment(bridged.ended.len() as u64);
                    for (id, born) in &bridged.ended {
                        lessor.ended(Ending { id: *id, born: *born });
                    }
                }
                Effect::Checkpointed(leases) => {
                    for told in leases {
                        let lease = Ending { id: told.id, born: told.born };
                        lessor.checkpointed(&lease::Checkpoint { lease, remaining: told.remaining });
                    }
                }
                _ => {}
            }
        }
    }

    /// Answers as the leader of `term`, in which this member was confirmed after the question came. `None` if it
    /// does not lead in it, or not yet. What it puts into `checkpointed` has to be taken back in the log.
    pub(crate) fn answer(
        &self,
        question: Question,
        term: Term,
        ids: &[LeaseId],
        checkpointed: &mut Vec<Ending>,
    ) -> Option<Vec<i64>> {
        let now_ms = self.now_ms();
        let mut lessor = self.lessor.lock();
        if lessor.term() != Some(term) {
            return None;
        }
        let mut answer = |id: &LeaseId| match question {
            Question::TimeLeft => lessor.remaining_ms(*id, now_ms).map_or(MISSING, |ms| (ms / 1000) as i64),
            Question::KeepAlive => match lessor.renew(*id, now_ms) {
                Renewal::Renewed(seconds) => seconds,
                Renewal::Missing => MISSING,
                Renewal::Ending => AGAIN,
                Renewal::Checkpointed(lease) => {
                    checkpointed.push(lease);
                    AGAIN
                }
            },
        };
        let answers: Vec<i64> = ids.iter().map(&mut answer).collect();
        drop(lessor);
        if question == Question::KeepAlive {
            self.measures.renewed.increment(answers.iter().filter(|seconds| **seconds >= 0).count() as u64);
        }
        Some(answers)
    }

    /// Sorts leases by how long they live, where this member knows it.
    pub(crate) fn sort_by_time_left(&self, ids: &mut [LeaseId]) {
        let lessor = self.lessor.lock();
        if lessor.term().is_some() {
            ids.sort_by_key(|id| lessor.remaining_ms(*id, 0).unwrap_or(u64::MAX));
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().saturating_duration_since(self.born).as_millis() as u64
    }
}

/// Runs until the box is closed; nothing is ever put into it.
pub(crate) fn run(house: &House, stop: &Mailbox<()>) {
    let now_ms = house.keeper.now_ms();
    let mut rounds = Rounds {
        house,
        candidate: None,
        target: Index(0),
        target_since_ms: now_ms,
        under_way: None,
        pace: Pace::after(Duration::ZERO),
        not_before: Instant::now(),
    };
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        let is_busy = rounds.turn();
        next = Instant::now() + if is_busy { LOOK } else { ROUND };
    }
}

struct Rounds<'a> {
    house: &'a House,
    /// The term in which this member was confirmed, and what was committed then.
    candidate: Option<(Term, Index)>,
    /// What was committed at some time and is to be applied soon.
    target: Index,
    target_since_ms: u64,
    under_way: Option<UnderWay>,
    pace: Pace,
    /// When the next command may be proposed.
    not_before: Instant,
}

/// A command whose end is waited for.
struct UnderWay {
    term: Term,
    command: Command,
    endings: Vec<Ending>,
    outcome: oneshot::Receiver<Result<Outcome, NotTaken>>,
    since: Instant,
}

impl Rounds<'_> {
    /// Looks at the time, and proposes what is due. Returns whether something is under way.
    fn turn(&mut self) -> bool {
        let keeper = &self.house.keeper;
        let now_ms = keeper.now_ms();
        let (leads, behind) = (self.reign(), self.is_behind(now_ms));
        let mut lessor = keeper.lessor.lock();
        lessor.set_wall(now_ms, Timestamp(keeper.clock.wall_ns()));
        lessor.round(now_ms, leads, behind, || self.house.wing.look().leases.list());
        let Some(term) = leads else {
            self.under_way = None;
            return false;
        };
        if let Some(under_way) = self.under_way.take().filter(|under_way| under_way.term == term) {
            self.under_way = self.settle(under_way, &mut lessor);
        }
        if self.under_way.is_some() || Instant::now() < self.not_before {
            return true;
        }
        let rooms = self.house.wing.enter();
        let endings = lessor.due(now_ms, self.pace.portion, |id| rooms.leases.key_count(id));
        let checkpoints =
            if endings.is_empty() { lessor.checkpoints(now_ms, CHECKPOINTS_MAX) } else { Vec::new() };
        drop(lessor);
        if endings.is_empty() && checkpoints.is_empty() {
            return false;
        }
        let command = if endings.is_empty() {
            Command::CheckpointLeases(checkpoints.iter().map(written_down).collect())
        } else {
            let leases = endings.iter().map(revocation).collect();
            match self.house.bridging.layout() {
                Some(layout) => Command::ExpireBridged { prefix: layout.prefix().clone(), leases },
                None => Command::RevokeLeases(leases),
            }
        };
        self.under_way = Some(self.propose(term, command, endings));
        true
    }

    fn propose(&self, term: Term, command: Command, endings: Vec<Ending>) -> UnderWay {
        let (reply, outcome) = oneshot::channel();
        self.house.propose_chore(&command, Kind::Chore(term), WriteTicket::watched(reply));
        UnderWay { term, command, endings, outcome, since: Instant::now() }
    }

    /// What came of a command; itself if that is not known yet.
    fn settle(&mut self, mut under_way: UnderWay, lessor: &mut Lessor) -> Option<UnderWay> {
        match under_way.outcome.try_recv() {
            Err(TryRecvError::Empty) => Some(under_way),
            Ok(Ok(outcome)) => {
                if let Ok(Effect::Revoked(leases)) = outcome.result {
                    self.house.keeper.measures.expired.increment(leases.len() as u64);
                }
                self.pace = Pace::after(under_way.since.elapsed());
                self.not_before = under_way.since + self.pace.pause;
                None
            }
            Ok(Err(_)) => {
                lessor.take_back(&under_way.endings);
                None
            }
            // Nobody knows: it may be in the log. Once more does no harm, and renewals go on waiting.
            Err(TryRecvError::Closed) => {
                Some(self.propose(under_way.term, under_way.command, under_way.endings))
            }
        }
    }

    /// The term in which this member leads, is confirmed, and has applied what was committed before.
    fn reign(&mut self) -> Option<Term> {
        let shared = &self.house.shared;
        let term = shared.term();
        if !shared.confirmed() || shared.term() != term {
            self.candidate = None;
            return None;
        }
        let committed = match self.candidate {
            Some((candidate, committed)) if candidate == term => committed,
            _ => shared.commit(),
        };
        self.candidate = Some((term, committed));
        (shared.applied() >= committed).then_some(term)
    }

    /// Whether what was committed a while ago is still not applied.
    fn is_behind(&mut self, now_ms: u64) -> bool {
        let shared = &self.house.shared;
        if shared.applied() >= self.target {
            (self.target, self.target_since_ms) = (shared.commit(), now_ms);
        }
        now_ms.saturating_sub(self.target_since_ms) > STALL_MS
    }
}

fn revocation(lease: &Ending) -> Revocation {
    Revocation { id: lease.id, born: Some(lease.born) }
}

fn written_down(checkpoint: &lease::Checkpoint) -> Checkpoint {
    let lease::Checkpoint { lease, remaining } = *checkpoint;
    Checkpoint { id: lease.id, born: lease.born, remaining }
}

/// What takes checkpoints back.
pub(crate) fn taking_back(leases: &[Ending]) -> Command {
    let whole = |lease: &Ending| Checkpoint { id: lease.id, born: lease.born, remaining: 0 };
    Command::CheckpointLeases(leases.iter().map(whole).collect())
}
