//! The chores that depend on the time: v2 nodes whose time has come, which a leader removes; telling the cluster
//! who this member is; having the members compared; and leaving when the cluster wants to do without this one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use command::{Command, Outcome};
use consensus::{Kind, Mailbox, NotTaken};
use stdx::Clock;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use types::v2::{Timestamp, Write};
use types::{MemberId, MemberRecord};

use crate::errand::Errand;
use crate::member::House;
use crate::shared::End;
use crate::ticket::WriteTicket;

/// How often it looks, unless it knows that a v2 node is due before. etcd looks at v2's times twice a second.
const ROUND: Duration = Duration::from_millis(250);
/// How often it looks while nodes go.
const ROUND_EXPIRING: Duration = Duration::from_millis(2);
/// v2 nodes that go with one entry of the log, so that what else waits gets its turn between.
const EXPIRED_NODES_MAX: usize = 4096;
/// Such entries under way at once: while one is applied, the next is on its way to the others and their disks.
const EXPIRING_MAX: usize = 3;
/// How often it looks while this member is not known, so that a start waits for no more than that.
const ROUND_BEFORE: Duration = Duration::from_millis(10);
/// A proposal of which nothing was heard for so long is made again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(2);
/// A member that was removed stays for so long, as in etcd: the others hear from it that its removal is decided.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the timekeeper is told.
pub(crate) struct Duties {
    pub(crate) clock: Arc<dyn Clock>,
    /// Who this member is.
    pub(crate) this_member: MemberRecord,
    pub(crate) errands: Arc<Mailbox<Errand>>,
    /// How often a leader compares the members.
    pub(crate) compare_every: Duration,
}

/// Runs until the box is closed; nothing is ever put into it.
pub(crate) fn run(house: &House, duties: &Duties, stop: &Mailbox<()>) {
    let mut keeper = Keeper {
        house,
        duties,
        this_member: &duties.this_member,
        publishing: None,
        expiring: Vec::new(),
        departed: None,
        compared: None,
    };
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        let is_known = keeper.publish();
        let due_in = keeper.expire();
        keeper.leave();
        if is_known {
            keeper.compare();
        }
        next = Instant::now() + due_in.min(if is_known { ROUND } else { ROUND_BEFORE });
    }
}

/// When something was proposed, and where its outcome will be.
type Proposed = (Instant, oneshot::Receiver<Result<Outcome, NotTaken>>);

struct Keeper<'a> {
    house: &'a House,
    duties: &'a Duties,
    this_member: &'a MemberRecord,
    publishing: Option<Proposed>,
    expiring: Vec<Proposed>,
    departed: Option<Instant>,
    compared: Option<Instant>,
}

impl Keeper<'_> {
    /// Tells the cluster this member's name and client URLs, through whoever leads. Returns whether it knows them.
    fn publish(&mut self) -> bool {
        let is_told = |known: &MemberRecord| {
            known.name == self.this_member.name && known.client_urls == self.this_member.client_urls
        };
        // Of a member that was removed, or is not there yet, nothing is told.
        let known = self.house.wing.look().members.get(self.this_member.id);
        if known.as_ref().is_none_or(is_told) {
            self.publishing = None;
            return known.is_some();
        }
        // A joiner speaks when it has heard from the cluster; before, it knows of itself from the flags.
        if self.house.shared.leader() == MemberId(0) || is_under_way(&mut self.publishing) {
            return false;
        }
        let (reply, outcome) = oneshot::channel();
        let command = Command::SetMember(self.this_member.clone());
        self.house.propose_chore(&command, Kind::Normal, WriteTicket::watched(reply));
        self.publishing = Some((Instant::now(), outcome));
        false
    }

    /// Has the members compared: this one with the others once there is a leader, all of them while it leads.
    fn compare(&mut self) {
        if self.house.shared.leader() == MemberId(0) {
            return;
        }
        let errand = match self.compared {
            None => Errand::CompareSelf,
            Some(last) if self.house.shared.confirmed() && last.elapsed() > self.duties.compare_every => {
                Errand::Compare
            }
            Some(_) => return,
        };
        self.compared = Some(Instant::now());
        // One is enough: what is already to be done may take long.
        if self.duties.errands.is_empty() {
            // It is closed only when the member stops.
            let _ = self.duties.errands.put(errand);
        } else if matches!(errand, Errand::CompareSelf) {
            self.compared = None;
        }
    }

    /// While it leads, removes what is due, a part after the other. How soon it wants to look again.
    fn expire(&mut self) -> Duration {
        let shared = &self.house.shared;
        if !shared.confirmed() {
            self.expiring.clear();
            return Duration::MAX;
        }
        self.expiring.retain_mut(is_waited_for);
        let now = Timestamp(self.duties.clock.wall_ns());
        let rooms = self.house.wing.look();
        // What is under way takes the first of what is counted here.
        let due = rooms.v2.count_due(now, EXPIRED_NODES_MAX * EXPIRING_MAX);
        let wanted = due.div_ceil(EXPIRED_NODES_MAX);
        let term = shared.term();
        for _ in self.expiring.len()..wanted {
            // Dropped if this member leads no more when it comes to the log: the next leader has a clock too.
            let (reply, outcome) = oneshot::channel();
            let write = Write::Expire { now, nodes_max: EXPIRED_NODES_MAX as u64 };
            let command = Command::V2 { write, now };
            self.house.propose_chore(&command, Kind::Chore(term), WriteTicket::watched(reply));
            self.expiring.push((Instant::now(), outcome));
        }
        if !self.expiring.is_empty() {
            return ROUND_EXPIRING;
        }
        let Some(next) = rooms.v2.next_expiry() else { return Duration::MAX };
        let left_ns = u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0);
        Duration::from_nanos(left_ns).max(ROUND_EXPIRING)
    }

    fn leave(&mut self) {
        if self.house.shared.has_departed()
            && self.departed.get_or_insert_with(Instant::now).elapsed() > FAREWELL
        {
            self.house.shared.end(End::Removed);
        }
    }
}

fn is_under_way(proposed: &mut Option<Proposed>) -> bool {
    proposed.as_mut().is_some_and(is_waited_for)
}

fn is_waited_for((since, outcome): &mut Proposed) -> bool {
    matches!(outcome.try_recv(), Err(TryRecvError::Empty)) && since.elapsed() < PROPOSE_AGAIN
}
