//! The thread that owns the log files: what waited while the last sync ran goes down in one write and one sync.

use std::time::Duration;

use wal::{AppendError, Batch, Durability, Wal};

use crate::floor::{Floor, Input};
use crate::mailbox::Mailbox;
use crate::replica::Append;

/// Work for the log.
pub(crate) enum Job {
    /// To be durable.
    Append(Append),
    /// Entries up to this index are no longer needed.
    Release(u64),
}

/// How long the log's thread looks for more to write before it sleeps: a client that waits for each of its
/// writes sends the next within that time.
const LOOK_OUT: Duration = Duration::from_micros(100);

/// Runs until the box is closed. An error is final: what is on disk is unknown from then on, so nothing more
/// may be acknowledged.
pub(crate) fn run<W: Send + 'static, R: Send + 'static>(
    mut wal: Wal,
    jobs: &Mailbox<Job>,
    floor: &Floor<W, R>,
) {
    let mut taken = Vec::new();
    let mut batch = Batch::new();
    while jobs.take(&mut taken, None) {
        match write(&mut wal, &mut batch, taken.drain(..)) {
            // This thread steps the replica with the news: what waited for it comes back as the next job.
            Ok(Some(durable)) => {
                floor.report(Input::Persisted(durable), || jobs.is_empty());
                jobs.look_out(LOOK_OUT);
            }
            Ok(None) => {}
            Err(error) => {
                // First the news, then the end: a turn that finds the box closed asks no further.
                floor.report(Input::Failed(error), || false);
                return jobs.close();
            }
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

/// Writes all that waits and says up to which piece of work it is durable.
fn write(
    wal: &mut Wal,
    batch: &mut Batch,
    jobs: impl Iterator<Item = Job>,
) -> Result<Option<u64>, AppendError> {
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
    if durable.is_some() {
        wal.append(batch, Durability::Synced)?;
    }
    if let Some(index) = release {
        wal.release(index)?;
    }
    Ok(durable)
}
