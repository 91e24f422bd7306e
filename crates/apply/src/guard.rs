//! May who a command is from do what it does? Asked when it is applied, so that what changed before it counts.
//!
//! The order of the questions is etcd's where two would be answered with no.

use auth::{Auth, Pass};
use command::Command;
use lease::Leases;
use types::{AuthChange, AuthRefusal, Author, DeleteRange, KeyRange, LeaseId, Put, Txn, TxnOp};

/// Whether `author` may do this now.
pub(crate) fn admit(
    auth: &Auth,
    leases: &Leases,
    author: &Author,
    command: &Command,
) -> Result<(), AuthRefusal> {
    if !auth.is_enabled() {
        return Ok(());
    }
    match command {
        Command::Put(put) => may_put(&auth.admit(author)?, leases, put),
        Command::DeleteRange(delete) => may_delete(&auth.admit(author)?, delete),
        Command::Txn(txn) => may_txn(&auth.admit(author)?, leases, txn),
        Command::GrantLease { .. } => auth.admit_user(author),
        Command::RevokeLeases(revoked) => {
            auth.admit_user(author)?;
            revoked.iter().try_for_each(|lease| may_write_all_of(auth, leases, author, lease.id))
        }
        // Who asks for a token has shown a password, and is nobody yet. The others are chores that clients cannot
        // ask for, and v2, which has users of its own.
        Command::Auth(AuthChange::Authenticate { .. })
        | Command::SetMember(_)
        | Command::CheckpointLeases(_)
        | Command::V2 { .. }
        | Command::V2Auth(_)
        | Command::BridgedV2 { .. }
        | Command::ExpireBridged { .. } => Ok(()),
        Command::Compact(_)
        | Command::Auth(_)
        | Command::Alarm { .. }
        | Command::AddMember(_)
        | Command::PromoteMember(_)
        | Command::RemoveMember(_)
        | Command::UpdateMember { .. } => auth.admit_root(author),
    }
}

/// Whether a transaction may be run: all of it, whichever branch will be.
// As deep as transactions may nest.
pub fn may_txn(pass: &Pass, leases: &Leases, txn: &Txn) -> Result<(), AuthRefusal> {
    txn.compare.iter().try_for_each(|compare| pass.read(&compare.range))?;
    txn.success.iter().chain(&txn.failure).try_for_each(|op| match op {
        TxnOp::Range(query) => pass.read(&query.range),
        TxnOp::Put(put) => may_put(pass, leases, put),
        TxnOp::Delete(delete) => may_delete(pass, delete),
        TxnOp::Txn(inner) => may_txn(pass, leases, inner),
    })
}

fn may_put(pass: &Pass, leases: &Leases, put: &Put) -> Result<(), AuthRefusal> {
    let range = || KeyRange::single(put.key.clone());
    pass.write(&range())?;
    // Its end would remove keys that are not this user's to remove, and he could not end it.
    if put.lease != LeaseId::NONE && !leases.all_keys(put.lease, |key| pass.writes(key)) {
        return Err(AuthRefusal::Denied);
    }
    if put.prev_kv { pass.read(&range()) } else { Ok(()) }
}

fn may_delete(pass: &Pass, delete: &DeleteRange) -> Result<(), AuthRefusal> {
    pass.write(&delete.range)?;
    if delete.prev_kv { pass.read(&delete.range) } else { Ok(()) }
}

fn may_write_all_of(auth: &Auth, leases: &Leases, author: &Author, id: LeaseId) -> Result<(), AuthRefusal> {
    if leases.key_count(id) == 0 || auth.admit_root(author).is_ok() {
        return Ok(());
    }
    let pass = auth.admit(author)?;
    if leases.all_keys(id, |key| pass.writes(key)) { Ok(()) } else { Err(AuthRefusal::Denied) }
}
