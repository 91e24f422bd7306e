//! Changes of who is in the cluster and who leads it, as clients ask for them.
//!
//! A change is judged here first, on what was committed when it was asked for, so that a mistake costs no entry of
//! the log; what is applied is judged again, and that is final.

use std::time::{Duration, Instant};

use api::{Added, Caller, Consistency, Fault, Reply};
use command::{Command, Effect};
use consensus::Kind;
use members::{Change, HEALTH_INTERVAL, Reach, Risk, check_strictly, joining_id};
use types::{MemberId, MemberRecord, MemberUrl, Revision};

use crate::asking::{done, is_connected, odd, refusal};
use crate::member::Member;

/// How often somebody who waits for a new leader looks.
const LOOK: Duration = Duration::from_millis(2);

impl Member {
    /// Adds a member, with an id of its own.
    pub(crate) async fn add(
        &self,
        caller: &Caller,
        peer_urls: &[MemberUrl],
        learner: bool,
    ) -> Result<Reply<Added>, Fault> {
        if peer_urls.is_empty() {
            return Err(Fault::BadMemberUrls);
        }
        let peer_urls: Vec<String> = peer_urls.iter().map(ToString::to_string).collect();
        let id = joining_id(&peer_urls, self.clock.wall_ns() / 1_000_000_000);
        let member = MemberRecord { id, name: String::new(), peer_urls, client_urls: Vec::new(), learner };
        let reply = self.change(caller, Change::Add(member.clone())).await?;
        Ok(Reply { header: reply.header, body: Added { member, members: reply.body } })
    }

    /// Lets a learner vote. Whether it has enough of the log, the leader says.
    pub(crate) async fn promote(
        &self,
        caller: &Caller,
        id: MemberId,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        let reply = self.change(caller, Change::Promote(id)).await;
        match &reply {
            Ok(_) => self.measures.promoted.increment(1),
            Err(_) => self.measures.promotions_failed.increment(1),
        }
        reply
    }

    /// Makes a change if it is legal, and tells who is there then.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        change: Change,
    ) -> Result<Reply<Vec<MemberRecord>>, Fault> {
        self.house.admit_root(caller)?;
        // On what this member knows, as in etcd: a cluster that waits for a member to start says so at once, and
        // not that the request timed out.
        self.check_strictly(&change)?;
        self.catch_up(Consistency::Linearizable).await?;
        self.house.admit_root(caller)?;
        self.judge(&change)?;
        self.check_strictly(&change)?;
        let (command, kind) = match change {
            Change::Add(member) => {
                let id = member.id;
                let change = if member.learner {
                    consensus::Change::AddLearner(id)
                } else {
                    consensus::Change::AddVoter(id)
                };
                (Command::AddMember(member), Kind::Change(change))
            }
            Change::Promote(id) => (Command::PromoteMember(id), Kind::Change(consensus::Change::Promote(id))),
            Change::Remove(id) => (Command::RemoveMember(id), Kind::Change(consensus::Change::Remove(id))),
            Change::Update { id, peer_urls } => (Command::UpdateMember { id, peer_urls }, Kind::Normal),
        };
        if matches!(kind, Kind::Change(consensus::Change::Remove(id)) if id == self.id) {
            // The others need not find out that their leader is gone.
            self.retire().await;
        }
        let outcome = self.propose_for(caller, command, kind, false).await?;
        match done(outcome.result)? {
            // The header of the Cluster service carries no revision.
            Effect::Members(members) => Ok(self.reply(Revision::default(), members)),
            _ => Err(odd()),
        }
    }

    fn judge(&self, change: &Change) -> Result<(), Fault> {
        let rooms = self.house.wing.enter();
        rooms.members.judge(change).map_err(refusal)?;
        // A setting of this member: what is applied must not depend on it.
        let is_learner = matches!(change, Change::Add(member) if member.learner);
        if is_learner && rooms.members.learners().len() >= self.learners_max {
            return Err(Fault::TooManyLearners);
        }
        Ok(())
    }

    fn check_strictly(&self, change: &Change) -> Result<(), Fault> {
        if !self.strict_reconfiguration {
            return Ok(());
        }
        let members = self.house.wing.enter().members.list();
        check_strictly(&members, change, &self.reach()).map_err(|risk| match risk {
            Risk::NotEnoughStarted => Fault::NotEnoughStarted,
            Risk::Unhealthy => Fault::Unhealthy,
        })
    }

    fn reach(&self) -> Reach {
        let peers = self.house.transport.peers();
        let connected_for = |span: Duration| {
            peers.iter().filter(|peer| is_connected(peer, span)).map(|peer| peer.id).collect()
        };
        Reach {
            local: self.id,
            connected: connected_for(Duration::ZERO),
            healthy: connected_for(HEALTH_INTERVAL),
        }
    }

    /// Hands the lead over to another voter, and waits until that one has it.
    pub(crate) async fn hand_over(&self, target: MemberId) -> Result<(), Fault> {
        let shared = &self.house.shared;
        if !shared.leads() {
            return Err(Fault::NotLeader);
        }
        if !self.house.wing.look().members.voters().contains(&target) {
            return Err(Fault::BadTransferee);
        }
        let deadline = Instant::now() + self.request_timeout;
        tracing::info!(
            { "local-member-id" } = %self.id, { "transferee-member-id" } = %target,
            "leadership transfer starting"
        );
        self.house.driver.transfer(target);
        while shared.leader() != target {
            if shared.has_ended() {
                return Err(Fault::Stopped);
            }
            if Instant::now() > deadline {
                return Err(Fault::TransferTimedOut);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
