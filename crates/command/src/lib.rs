//! What may enter the log, its stable encoding, and what comes out when it is applied.
//!
//! A log entry carries a run of commands, one after the other, each with its length before it. So runs can be
//! joined by joining their bytes, and consensus need not know what it carries.
//!
//! INVARIANT: a command holds all that its effect depends on besides the state: clocks, ids and chance are
//! decided by the proposer and written down here.
//! INVARIANT: an encoding, once released, decodes to the same command for ever.

mod auth;
mod decode;
mod encode;
mod outcome;
mod record;
mod v2auth;

use bytes::Bytes;
use types::v2::{self, Timestamp};

use types::{AlarmKind, AuthChange, Author, DeleteRange, Index, LeaseId, MemberId, MemberRecord, Put, Txn};

pub use decode::{DecodeError, decode_run, decode_signed};
pub use outcome::{Bridged, Effect, Granted, Outcome, Refused};

/// Something that changes replicated state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes a v3 key.
    Put(Put),
    /// Removes v3 keys.
    DeleteRange(DeleteRange),
    /// Runs a v3 transaction.
    Txn(Txn),
    /// Forgets v3 history before a revision, as the client gave it.
    Compact(i64),
    /// Writes the v2 keyspace.
    V2 {
        /// What to write; its expiry is absolute.
        write: v2::Write,
        /// The proposer's clock: answers tell the time left as of then.
        now: Timestamp,
    },
    /// Writes the v3 keyspace as v2's tree of the keys below a prefix.
    BridgedV2 {
        /// Where the tree is.
        prefix: Bytes,
        /// What to write; its expiry is absolute. It is no expiry.
        write: v2::Write,
        /// The proposer's clock: times to live are counted from then.
        now: Timestamp,
        /// The id of the lease that it needs if the node is to go one day; if that is taken, the next that is free.
        lease: LeaseId,
    },
    /// Records what a member says of itself: its name and its client URLs. The rest of the record is as the
    /// member knew it, and is not taken from here.
    SetMember(MemberRecord),
    /// Adds a member, whose id the proposer decided.
    AddMember(MemberRecord),
    /// Lets a learner vote.
    PromoteMember(MemberId),
    /// Removes a member for ever.
    RemoveMember(MemberId),
    /// Gives a member other peer URLs.
    UpdateMember {
        /// Which member.
        id: MemberId,
        /// All of its peer URLs from now on.
        peer_urls: Vec<String>,
    },
    /// Raises or lowers an alarm.
    Alarm {
        /// Raise it; otherwise lower it.
        raise: bool,
        /// Whose alarm.
        member: MemberId,
        /// What it is about.
        kind: AlarmKind,
    },
    /// Grants a lease, whose id and time the proposer decided.
    GrantLease {
        /// Its id.
        id: LeaseId,
        /// How long it lives without being kept alive, in seconds.
        ttl: i64,
    },
    /// Ends leases and removes their keys, one revision for each lease that has any. Refused when none is there.
    RevokeLeases(Vec<Revocation>),
    /// The same for leases that are over; with a directory of v2's tree below a prefix goes what is in it.
    ExpireBridged {
        /// Where the tree is.
        prefix: Bytes,
        /// The leases.
        leases: Vec<Revocation>,
    },
    /// Writes down how long leases still live, for the leaders to come. Those that are not there are passed over.
    CheckpointLeases(Vec<Checkpoint>),
    /// Changes the users and roles of v2; passwords are hashes, made by the proposer.
    V2Auth(types::v2auth::Change),
    /// Changes the users and roles of v3; passwords are hashes, made by the proposer.
    Auth(AuthChange),
}

/// A command and who it is from, which decides what it may do when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who.
    pub author: Author,
    /// What.
    pub command: Command,
}

/// A lease that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub id: LeaseId,
    /// The index at which it was granted, if only that one is meant and no later one of the same id.
    pub born: Option<Index>,
}

/// What a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which.
    pub id: LeaseId,
    /// The index at which it was granted.
    pub born: Index,
    /// The time that it has left, in seconds; 0 is all that was granted.
    pub remaining: i64,
}

/// Bytes that one command may take in the log besides what the client sent: lengths, tags, flags.
pub const OVERHEAD_BYTES_MAX: usize = 64;

impl Command {
    /// The command as it stands in the log, with its length before it; from nobody.
    pub fn encode(&self) -> Bytes {
        self.encode_by(&Author::Nobody)
    }

    /// The same, from `author`.
    pub fn encode_by(&self, author: &Author) -> Bytes {
        encode::encode(self, author)
    }
}

#[cfg(test)]
mod tests;
