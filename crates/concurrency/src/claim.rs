//! A key on its way into a queue, which goes with whoever wanted it.
//!
//! INVARIANT: a claim that is dropped without [`Claim::keep`] leaves no key behind, even if its transaction was
//! under way, as long as the runtime lives; the lease does the rest.

use std::sync::Arc;

use api::{Fault, Member, Reply};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, Key, KeyRange, Revision, Txn, TxnOp, TxnReply,
};

/// See the module.
pub(crate) struct Claim {
    member: Arc<dyn Member>,
    key: Key,
    stage: Stage,
}

enum Stage {
    /// The transaction is under way.
    Entering(JoinHandle<Result<Reply<TxnReply>, Fault>>),
    /// The key is there since this revision.
    Waiting(Revision),
    /// There is nothing to take back.
    Over,
}

impl Claim {
    /// Begins the transaction that makes `key` if it is not there. It goes on even if the claim is dropped, so that
    /// the key is not made after it was taken back.
    pub(crate) fn begin(member: &Arc<dyn Member>, key: Key, txn: Txn) -> Self {
        let theirs = Arc::clone(member);
        let entering = tokio::spawn(async move { theirs.txn(txn, false).await });
        Self { member: Arc::clone(member), key, stage: Stage::Entering(entering) }
    }

    /// The answer of the transaction, and since when the key is there.
    pub(crate) async fn entered(&mut self) -> Result<(Reply<TxnReply>, Revision), Fault> {
        let Stage::Entering(entering) = &mut self.stage else { return Err(Fault::Stopped) };
        let reply = entering.await.unwrap_or(Err(Fault::Stopped));
        self.stage = Stage::Over;
        let reply = reply?;
        let created = created(&reply).ok_or_else(odd)?;
        self.stage = Stage::Waiting(created);
        Ok((reply, created))
    }

    /// The key.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The key stays, whatever becomes of this.
    pub(crate) fn keep(mut self) {
        self.stage = Stage::Over;
    }

    /// Takes the key back and waits for that.
    pub(crate) async fn give_back(mut self) {
        if let Stage::Waiting(created) = std::mem::replace(&mut self.stage, Stage::Over) {
            // Whoever gave up does not care why it failed; the lease removes the key then.
            let _ = self.member.txn(removal(&self.key, created), false).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(stage, Stage::Over) {
            return;
        }
        // Without a runtime the process ends, and the lease with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (member, key) = (Arc::clone(&self.member), self.key.clone());
        runtime.spawn(async move {
            let created = match stage {
                Stage::Entering(entering) => match entering.await {
                    Ok(Ok(reply)) if reply.body.succeeded => created(&reply),
                    // It was there before, or is not there.
                    _ => None,
                },
                Stage::Waiting(created) => Some(created),
                Stage::Over => None,
            };
            if let Some(created) = created {
                let _ = member.txn(removal(&key, created), false).await;
            }
        });
    }
}

/// Makes `key` with what `then` does unless it is there; reads it if it is.
pub(crate) fn entry(key: &Key, then: Vec<TxnOp>, otherwise: Vec<TxnOp>) -> Txn {
    Txn { compare: vec![created_at(key, 0)], success: then, failure: otherwise }
}

/// Removes a key that was made at a revision, if it still is that one.
pub(crate) fn removal(key: &Key, created: Revision) -> Txn {
    let range = KeyRange::single(key.clone());
    Txn {
        compare: vec![created_at(key, created.to_wire())],
        success: vec![TxnOp::Delete(DeleteRange { range, prev_kv: false })],
        failure: Vec::new(),
    }
}

/// Holds if a key was made at a revision; at 0, if it is not there.
pub(crate) fn created_at(key: &Key, revision: i64) -> Compare {
    Compare {
        range: KeyRange::single(key.clone()),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
    }
}

/// Since when the key is there, by the answer of [`entry`], whose first operation puts or reads it.
fn created(reply: &Reply<TxnReply>) -> Option<Revision> {
    let first = reply.body.responses.first()?;
    match &first.reply {
        types::OpReply::Put(_) => Some(reply.header.revision),
        types::OpReply::Range(range) => Some(range.kvs.first()?.create_revision),
        _ => None,
    }
}

pub(crate) fn odd() -> Fault {
    Fault::Broken("kvorum: a transaction answered something else than was asked".to_owned())
}
