//! The thread that owns the log files: what waited while the last sync ran goes down in one write and one sync.

use std::sync::Arc;

use wal::{AppendError, Batch, Durability, Wal};

use crate::driver::{Inbox, Input};
use crate::mailbox::Mailbox;
use crate::replica::Append;

/// Work for the log.
pub(crate) enum Job {
    /// To be durable.
    Append(Append),
    /// Entries up to this index are no longer needed.
    Release(u64),
}

/// Runs until the box is closed. An error is final: what is on disk is unknown from then on, so nothing more
/// may be acknowledged.
pub(crate) fn run<W, R>(mut wal: Wal, jobs: &Arc<Mailbox<Job>>, inbox: &Arc<Inbox<W, R>>) {
    let mut taken = Vec::new();
    let mut batch = Batch::new();
    while jobs.take(&mut taken, None, false) {
        if let Err(error) = write(&mut wal, &mut batch, taken.drain(..), inbox) {
            let _ = inbox.deliver(Input::Failed(error));
            return;
        }
    }
    seal(&mut wal, &mut batch);
}

/// Ends the log with a record after the last acknowledged one, so that the next start can tell damage in that
/// from a torn write.
fn seal(wal: &mut Wal, batch: &mut Batch) {
    batch.clear();
    batch.hard_state(wal.hard_state());
    if let Err(error) = wal.append(batch, Durability::Synced) {
        tracing::warn!(%error, "the log was not sealed; nothing acknowledged is lost");
    }
}

fn write<W, R>(
    wal: &mut Wal,
    batch: &mut Batch,
    jobs: impl Iterator<Item = Job>,
    inbox: &Inbox<W, R>,
) -> Result<(), AppendError> {
    let mut durable = None;
    let mut release = None;
    batch.clear();
    for job in jobs {
        match job {
            Job::Append(append) => {
                append.write_into(batch);
                durable = Some(append.number);
            }
            Job::Release(index) => release = Some(index),
        }
    }
    if let Some(number) = durable {
        wal.append(batch, Durability::Synced)?;
        // The box is closed only when the member stops; then nobody needs to know.
        let _ = inbox.deliver(Input::Persisted(number));
    }
    if let Some(index) = release {
        wal.release(index)?;
    }
    Ok(())
}
