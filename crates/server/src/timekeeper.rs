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

/// How often it looks. etcd looks at v2's times twice a second.
const ROUND: Duration = Duration::from_millis(250);
/// How often it looks while this member is not known, so that a start waits for no more than that.
const ROUND_BEFORE: Duration = Duration::from_millis(10);
/// A proposal of which nothing was heard for so long is made again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(2);
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
        departed: None,
        compared: None,
    };
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        let is_known = keeper.publish();
        keeper.expire();
        keeper.leave();
        if is_known {
            keeper.compare();
        }
        next = Instant::now() + if is_known { ROUND } else { ROUND_BEFORE };
    }
}

struct Keeper<'a> {
    house: &'a House,
    duties: &'a Duties,
    this_member: &'a MemberRecord,
    // What was proposed and when.
    publishing: Option<(Instant, oneshot::Receiver<Result<Outcome, NotTaken>>)>,
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
        if self.house.shared.leader() == MemberId(0) || self.is_under_way() {
            return false;
        }
        let (reply, outcome) = oneshot::channel();
        let command = Command::SetMember(self.this_member.clone());
        self.house.propose_chore(&command, Kind::Normal, WriteTicket::watched(reply));
        self.publishing = Some((Instant::now(), outcome));
        false
    }

    fn is_under_way(&mut self) -> bool {
        self.publishing.as_mut().is_some_and(|(since, outcome)| {
            matches!(outcome.try_recv(), Err(TryRecvError::Empty)) && since.elapsed() < PUBLISH_AGAIN
        })
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

    fn expire(&self) {
        let shared = &self.house.shared;
        if !shared.confirmed() {
            return;
        }
        let now = Timestamp(self.duties.clock.wall_ns());
        if self.house.wing.look().v2.next_expiry().is_some_and(|due| due <= now) {
            // Dropped if this member leads no more when it comes to the log: the next leader has a clock too.
            let command = Command::V2 { write: Write::Expire { now, nodes_max: u64::MAX }, now };
            self.house.propose_chore(&command, Kind::Chore(shared.term()), WriteTicket::silent());
        }
    }

    fn leave(&mut self) {
        if self.house.shared.has_departed()
            && self.departed.get_or_insert_with(Instant::now).elapsed() > FAREWELL
        {
            self.house.shared.end(End::Removed);
        }
    }
}
