//! What clients ask about leases.

use std::time::Duration;

use api::{Caller, Consistency, Fault, Grant, LeaseStatus, Reply};
use auth::Pass;
use command::{Command, Effect, Revocation};
use consensus::Kind;
use lease::Leases;
use tokio::time::Instant;
use types::{LeaseId, MemberId};

use crate::asking::{done, odd};
use crate::courier::QUESTION_IDS_MAX;
use crate::lessor::{AGAIN, MISSING, Question, taking_back};
use crate::member::Member;
use crate::ticket::WriteTicket;

/// Between two questions to a leader that had no answer yet.
const PAUSE: Duration = Duration::from_millis(20);

impl Member {
    /// Grants a lease.
    pub(crate) async fn grant(&self, caller: &Caller, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        let id = if id.is_some() { id } else { some_id() };
        let ttl = ttl.max(self.ttl_min());
        let outcome = self.write_for(caller, Command::GrantLease { id, ttl }).await?;
        match done(outcome.result)? {
            Effect::Granted { id, ttl, .. } => Ok(self.reply(outcome.revision, Grant { id, ttl })),
            _ => Err(odd()),
        }
    }

    /// Ends a lease, whatever time it has left.
    pub(crate) async fn revoke(&self, caller: &Caller, id: LeaseId) -> Result<Reply<()>, Fault> {
        let command = Command::RevokeLeases(vec![Revocation { id, born: None }]);
        let outcome = self.write_for(caller, command).await?;
        match done(outcome.result)? {
            Effect::Revoked(_) => Ok(self.reply(outcome.revision, ())),
            _ => Err(odd()),
        }
    }

    /// All leases.
    pub(crate) async fn list_leases(&self, caller: &Caller) -> Result<Reply<Vec<LeaseId>>, Fault> {
        self.house.admit_user(caller)?;
        self.linearize(Consistency::Linearizable).await?;
        // What ends with a lease that others have is theirs to know of.
        self.look_over(caller, |pass, leases| leases.all_attached(|key| pass.reads(key)))?;
        let mut ids = self.house.wing.look().leases.ids();
        self.house.keeper.sort_by_time_left(&mut ids);
        Ok(self.reply(self.revision(), ids))
    }

    /// Gives leases their whole time again.
    pub(crate) async fn keep_alive(
        &self,
        caller: &Caller,
        ids: &[LeaseId],
    ) -> Result<Reply<Vec<i64>>, Fault> {
        self.house.admit_user(caller)?;
        self.look_over(caller, |pass, leases| {
            ids.iter().all(|id| leases.all_keys(*id, |key| pass.writes(key)))
        })?;
        let mut times = self.ask_leader(Question::KeepAlive, ids).await?;
        // What etcd tells of a lease that is not there.
        times.iter_mut().filter(|time| **time == MISSING).for_each(|time| *time = 0);
        Ok(self.reply(self.revision(), times))
    }

    /// How a lease stands: its keys as this member knows them, its time as the leader does.
    pub(crate) async fn time_to_live(
        &self,
        caller: &Caller,
        id: LeaseId,
        keys: bool,
    ) -> Result<Reply<LeaseStatus>, Fault> {
        self.house.admit_user(caller)?;
        let leaderless = |fault| {
            // As etcd tells them apart.
            let nobody = self.house.shared.leader() == MemberId(0);
            if nobody && fault == Fault::TimedOut { Fault::NoLeader } else { fault }
        };
        self.linearize(Consistency::Linearizable).await.map_err(leaderless)?;
        let mut status = LeaseStatus { id, ttl: -1, granted_ttl: 0, keys: Vec::new() };
        let terms = self.house.wing.look().leases.get(id);
        let left = match terms {
            Some(_) => self.ask_leader(Question::TimeLeft, &[id]).await?.first().copied(),
            None => None,
        };
        if let (Some(terms), Some(left)) = (terms, left.filter(|left| *left != MISSING)) {
            (status.ttl, status.granted_ttl) = (left, terms.ttl);
            if keys {
                status.keys = self.house.wing.look().leases.keys(id);
            }
        }
        if keys {
            // Of what is told, after it was looked up: what is attached may have changed.
            self.look_over(caller, |pass, leases| {
                leases.all_keys(id, |key| pass.reads(key)) && status.keys.iter().all(|key| pass.reads(key))
            })?;
        }
        Ok(self.reply(self.revision(), status))
    }

    /// Whether somebody may know or do something with the keys of leases. Root may, and then no key is looked at.
    fn look_over(&self, caller: &Caller, may: impl FnOnce(&Pass, &Leases) -> bool) -> Result<(), Fault> {
        let rooms = self.house.wing.look();
        if !rooms.auth.is_enabled() || self.house.admit_root(caller).is_ok() {
            return Ok(());
        }
        let entry = self.house.enter(caller)?;
        if may(&entry.pass, &rooms.leases) { Ok(()) } else { Err(Fault::PermissionDenied) }
    }

    /// What the leader answers about leases: a number for each.
    async fn ask_leader(&self, question: Question, ids: &[LeaseId]) -> Result<Vec<i64>, Fault> {
        if self.house.shared.is_corrupt() {
            return Err(Fault::Corrupt);
        }
        let deadline = Instant::now() + self.request_timeout;
        let mut answers = Vec::with_capacity(ids.len());
        for ids in ids.chunks(QUESTION_IDS_MAX) {
            let mut some = self.ask_until(question, ids, deadline).await?;
            while some.contains(&AGAIN) {
                // Rare: the lease is about to end, or its time was written down. The others have their answers.
                tokio::time::sleep(PAUSE).await;
                let open: Vec<usize> = (0..ids.len()).filter(|at| some[*at] == AGAIN).collect();
                let again: Vec<LeaseId> = open.iter().map(|at| ids[*at]).collect();
                let news = self.ask_until(question, &again, deadline).await?;
                open.into_iter().zip(news).for_each(|(at, answer)| some[at] = answer);
            }
            answers.append(&mut some);
        }
        Ok(answers)
    }

    /// Asks whoever leads until there is an answer.
    async fn ask_until(
        &self,
        question: Question,
        ids: &[LeaseId],
        deadline: Instant,
    ) -> Result<Vec<i64>, Fault> {
        loop {
            if self.house.shared.has_ended() {
                return Err(Fault::Stopped);
            }
            // As etcd tells them apart.
            let leader = self.house.shared.leader();
            if Instant::now() > deadline {
                return Err(if leader == MemberId(0) { Fault::NoLeader } else { Fault::TimedOut });
            }
            let answers = match question {
                _ if leader == self.id => self.answer_myself(question, ids).await?,
                Question::KeepAlive if leader != MemberId(0) => self.house.courier.keep_alive(ids).await?,
                _ => self.house.courier.ask(question, ids).await,
            };
            if let Some(answers) = answers {
                return Ok(answers);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Answers as the leader, confirmed after the question came. `None` if it is not, or not yet.
    async fn answer_myself(&self, question: Question, ids: &[LeaseId]) -> Result<Option<Vec<i64>>, Fault> {
        let (term, leader) = self.confirm().await?;
        if leader != self.id {
            return Ok(None);
        }
        let mut checkpointed = Vec::new();
        let answers = self.house.keeper.answer(question, term, ids, &mut checkpointed);
        if !checkpointed.is_empty() {
            let command = taking_back(&checkpointed);
            self.house.propose_chore(&command, Kind::Chore(term), WriteTicket::silent());
        }
        Ok(answers)
    }

    /// The shortest time that is granted, in seconds: one and a half elections, as etcd rounds them.
    fn ttl_min(&self) -> i64 {
        let heartbeat = self.heartbeat.max(Duration::from_millis(1));
        let ticks = self.election.as_millis() / heartbeat.as_millis();
        let least_ms = 3 * ticks / 2 * heartbeat.as_millis();
        i64::try_from(least_ms.div_ceil(1000)).unwrap_or(i64::MAX)
    }
}

/// An id that nobody has, most likely: positive, as etcd's are.
pub(crate) fn some_id() -> LeaseId {
    LeaseId((rand::random::<u64>() >> 1).max(1) as i64)
}
