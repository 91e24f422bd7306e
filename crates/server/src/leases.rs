//! What clients ask about leases.

use std::time::Duration;

use api::{Consistency, Fault, Grant, Reply};
use command::{Command, Effect, Revocation};
use types::LeaseId;

use crate::asking::{done, odd};
use crate::member::Member;

impl Member {
    /// Grants a lease.
    pub(crate) async fn grant(&self, id: LeaseId, ttl: i64) -> Result<Reply<Grant>, Fault> {
        let id = if id.is_some() { id } else { some_id() };
        let ttl = ttl.max(self.ttl_min());
        let outcome = self.write(Command::GrantLease { id, ttl }).await?;
        match done(outcome.result)? {
            Effect::Granted { id, ttl, .. } => Ok(self.reply(outcome.revision, Grant { id, ttl })),
            _ => Err(odd()),
        }
    }

    /// Ends a lease, whatever time it has left.
    pub(crate) async fn revoke(&self, id: LeaseId) -> Result<Reply<()>, Fault> {
        let command = Command::RevokeLeases(vec![Revocation { id, born: None }]);
        let outcome = self.write(command).await?;
        match done(outcome.result)? {
            Effect::Revoked(_) => Ok(self.reply(outcome.revision, ())),
            _ => Err(odd()),
        }
    }

    /// All leases.
    pub(crate) async fn list_leases(&self) -> Result<Reply<Vec<LeaseId>>, Fault> {
        self.linearize(Consistency::Linearizable).await?;
        Ok(self.reply(self.revision(), self.house.wing.look().leases.ids()))
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
fn some_id() -> LeaseId {
    LeaseId((rand::random::<u64>() >> 1).max(1) as i64)
}
