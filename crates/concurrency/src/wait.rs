//! Waiting for keys to go.

use std::sync::Arc;

use api::{Consistency, Fault, Member, WatchBody, WatchId, WatchReply, WatchSpec};
use bytes::Bytes;
use types::{EventKind, KeyRange, RangeQuery, Revision, RevisionBounds, SortOrder, SortTarget};

use crate::session;

/// The watch of the key that is waited for, and the one of the key that waits.
const OLDER: WatchId = WatchId(1);
const OWN: WatchId = WatchId(2);

/// Waits until no key under `name` is older than `own`, which was made at `created`. False if `own` itself has gone
/// first: its lease has ended, or somebody removed it.
pub(crate) async fn for_turn(
    member: &Arc<dyn Member>,
    name: &[u8],
    own: &Bytes,
    created: Revision,
) -> Result<bool, Fault> {
    let older = RangeQuery {
        order: SortOrder::Descend,
        target: SortTarget::Create,
        limit: 1,
        keys_only: true,
        create_bounds: RevisionBounds { min: None, max: Some(Revision(created.0.saturating_sub(1))) },
        ..RangeQuery::of(session::keys(name))
    };
    loop {
        let found = member.range(older.clone(), Consistency::Linearizable).await?;
        let Some(last) = found.body.kvs.first() else { return Ok(true) };
        match gone(member, &last.key, own, found.header.revision.next()).await? {
            Gone::Older | Gone::Unknown => {}
            Gone::Own => return Ok(false),
        }
        if !exists(member, own, created).await? {
            return Ok(false);
        }
    }
}

/// Whether a key is there that was made at `created`.
pub(crate) async fn exists(member: &Arc<dyn Member>, key: &Bytes, created: Revision) -> Result<bool, Fault> {
    let query = RangeQuery { keys_only: true, ..RangeQuery::of(single(key)) };
    let found = member.range(query, Consistency::Linearizable).await?;
    Ok(found.body.kvs.first().is_some_and(|kv| kv.create_revision == created))
}

/// Which of two keys went first.
enum Gone {
    Older,
    Own,
    /// What happened was forgotten.
    Unknown,
}

async fn gone(member: &Arc<dyn Member>, older: &Bytes, own: &Bytes, start: Revision) -> Result<Gone, Fault> {
    let mut stream = member.watch(false)?;
    for (key, id) in [(older, OLDER), (own, OWN)] {
        stream.create(WatchSpec { without_puts: true, id: Some(id), ..spec(single(key), start) });
    }
    loop {
        let reply = stream.next().await?;
        match look(&reply)? {
            News::Forgotten => return Ok(Gone::Unknown),
            News::Events if is_deleted(&reply) => {
                return Ok(if reply.id == OWN { Gone::Own } else { Gone::Older });
            }
            News::Nothing | News::Events => {}
        }
    }
}

/// What an answer of a watch is to those who wait.
pub(crate) enum News {
    /// Nothing happened to the key.
    Nothing,
    /// Something did.
    Events,
    /// It did, and was forgotten.
    Forgotten,
}

/// Tells what an answer says.
pub(crate) fn look(reply: &WatchReply) -> Result<News, Fault> {
    match &reply.body {
        WatchBody::Created | WatchBody::Progress => Ok(News::Nothing),
        WatchBody::Events { .. } => Ok(News::Events),
        WatchBody::Canceled { compacted: Some(_), .. } => Ok(News::Forgotten),
        WatchBody::Canceled { reason, .. } | WatchBody::Refused { reason } => {
            Err(Fault::Broken(reason.clone()))
        }
    }
}

fn is_deleted(reply: &WatchReply) -> bool {
    let WatchBody::Events { events, .. } = &reply.body else { return false };
    events.iter().any(|shared| shared.event.kind == EventKind::Delete)
}

/// A plain watch from a revision on.
pub(crate) fn spec(range: KeyRange, start: Revision) -> WatchSpec {
    WatchSpec {
        range,
        start: Some(start),
        progress_notify: false,
        without_puts: false,
        without_deletes: false,
        prev_kv: false,
        fragment: false,
        id: None,
    }
}

/// The range of one key that is known to be one.
pub(crate) fn single(key: &Bytes) -> KeyRange {
    KeyRange { start: key.clone(), end: types::RangeEnd::Single }
}
