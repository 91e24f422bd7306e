//! Leases as clients see them. Times are in seconds.

use bytes::Bytes;
use types::LeaseId;

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id, chosen by the client or by the member.
    pub id: LeaseId,
    /// How long it lives without being kept alive; at least what the election time-out makes sensible.
    pub ttl: i64,
}

/// How a lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Which lease.
    pub id: LeaseId,
    /// How long it still lives; -1 when there is no such lease.
    pub ttl: i64,
    /// What was granted; 0 when there is no such lease.
    pub granted_ttl: i64,
    /// The keys attached, in order, if they were asked for.
    pub keys: Vec<Bytes>,
}
