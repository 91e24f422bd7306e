//! Writing the log: what waited while the last sync ran goes down in one write and one sync.
//!
//! There is a thread for it. Where the disk is quick and there is little to write, the thread that brought it writes
//! instead ([`crate::floor`]): waking another one would cost more.
//!
//! INVARIANT: jobs are taken out only by who holds the pen, so they are written in order.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use types::Index;
use wal::{AppendError, Batch, Durability, HardState, Wal};

use crate::driver::Failure;
use crate::floor::{Floor, Wrote};
use crate::mailbox::Mailbox;
use crate::replica::Append;
use crate::snapshot::SnapshotMark;

/// Work for the log.
pub(crate) enum Job {
    /// To be durable.
    Append(Append),
    /// Entries up to this index are no longer needed.
    Release(u64),
}

/// A look-out for more to write lasts no longer than this: a client that waits for each of its writes sends the next
/// within that time. With other voters an answer of theirs comes first, which takes longer, and where several members
/// share a machine the look would take the time that they need for it.
const LOOK_OUT: Duration = Duration::from_micros(100);
/// Finding something is worth so much time of looking: a sleeper would have to be woken.
const FIND: Duration = Duration::from_micros(150);
/// So much may be lost or won in advance.
const CREDIT_MAX: Duration = Duration::from_millis(1);
/// Where looking does not pay, every so many writes see whether it does again.
const WRITES_BETWEEN_TRIES: u32 = 64;
/// A write with its sync that takes no longer is done where it came up: waking another thread would cost as much.
const QUICK: Duration = Duration::from_micros(40);
/// So many quick writes are remembered; one that is not takes half of them away.
const QUICK_MAX: u32 = 64;
/// With so many quick writes the next is expected to be one.
const QUICK_MIN: u32 = 16;

/// The log's files, in the hand of whoever writes.
pub(crate) struct Pen {
    wal: Wal,
    batch: Batch,
    taken: Vec<Job>,
}

impl Pen {
    pub(crate) fn new(wal: Wal) -> Self {
        Self { wal, batch: Batch::new(), taken: Vec::new() }
    }

    /// Does all that waits and says up to which piece of work the log is durable. An error is final: what is on disk is
    /// unknown from then on, so nothing more may be acknowledged.
    pub(crate) fn write(
        &mut self,
        jobs: &Mailbox<Job>,
        install: impl FnMut(&SnapshotMark) -> Result<(), String>,
    ) -> Result<Option<u64>, Failure> {
        jobs.take_now(&mut self.taken);
        work(&mut self.wal, &mut self.batch, self.taken.drain(..), install)
    }

    /// Ends the log with a record after the last acknowledged one, so that the next start can tell damage in that
    /// from a torn write.
    fn seal(&mut self) {
        self.batch.clear();
        self.batch.hard_state(self.wal.hard_state());
        if let Err(error) = self.wal.append(&mut self.batch, Durability::Synced) {
            tracing::warn!(%error, "the log was not sealed; nothing acknowledged is lost");
        }
    }
}

/// How quick the disk is, told by the last writes.
#[derive(Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    /// A write took so long, sync included. Told by who holds the pen.
    pub(crate) fn note(&self, took: Duration) {
        let quick = self.0.load(Ordering::Relaxed);
        let quick = if took <= QUICK { (quick + 1).min(QUICK_MAX) } else { quick / 2 };
        self.0.store(quick, Ordering::Relaxed);
    }

    /// Whether the next write is likely to be quick.
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= QUICK_MIN
    }
}

/// Runs until the box is closed, or the log has failed.
pub(crate) fn run<W: Send + 'static, R: Send + 'static>(jobs: &Mailbox<Job>, floor: &Floor<W, R>) {
    let mut watchman = Watchman::default();
    while jobs.wait(None) {
        match floor.write(floor.pen()) {
            // This thread steps the replica with the news: what waited for it comes back as the next job.
            Wrote::Something => {
                floor.tell_written();
                // Where writes are quick nobody leaves them to this thread.
                if floor.is_alone() && !floor.is_quick() {
                    watchman.look_out(jobs);
                }
            }
            Wrote::Nothing => {}
            Wrote::Failed => return,
        }
    }
    floor.pen().seal();
}

/// Looks out for as long as that pays.
struct Watchman {
    // What was won by looking, in nanoseconds: what finds are worth less the time that looking took.
    credit_ns: i64,
    skipped: u32,
}

impl Default for Watchman {
    fn default() -> Self {
        Self { credit_ns: nanoseconds(CREDIT_MAX), skipped: 0 }
    }
}

impl Watchman {
    fn look_out(&mut self, jobs: &Mailbox<Job>) {
        if self.credit_ns <= 0 && self.skipped < WRITES_BETWEEN_TRIES {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        let began = Instant::now();
        let value = if jobs.look_out(LOOK_OUT) { FIND } else { Duration::ZERO };
        let most = nanoseconds(CREDIT_MAX);
        let won = nanoseconds(value) - nanoseconds(began.elapsed());
        self.credit_ns = (self.credit_ns + won).clamp(-nanoseconds(LOOK_OUT), most);
    }
}

fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Does all that waits and says up to which piece of work the log is durable.
fn work(
    wal: &mut Wal,
    batch: &mut Batch,
    jobs: impl Iterator<Item = Job>,
    install: impl FnMut(&SnapshotMark) -> Result<(), String>,
) -> Result<Option<u64>, Failure> {
    let mut release = None;
    let appends = jobs.filter_map(|job| match job {
        Job::Append(append) => Some(append),
        Job::Release(index) => {
            release = Some(index);
            None
        }
    });
    let durable = write_down(wal, batch, appends, install)?;
    if let Some(index) = release {
        wal.release(index)?;
    }
    Ok(durable)
}

/// Writes appends in their order, with one sync, and says up to which number they are durable. `install` makes the
/// state of a snapshot live and durable; it is called before the log begins anew behind it.
///
/// The member's thread and the simulator both write by this.
pub fn write_down(
    wal: &mut Wal,
    batch: &mut Batch,
    appends: impl Iterator<Item = Append>,
    mut install: impl FnMut(&SnapshotMark) -> Result<(), String>,
) -> Result<Option<u64>, Failure> {
    let mut durable = None;
    let mut hard_state = None;
    // The last index in the batch.
    let mut last = None;
    batch.clear();
    for append in appends {
        durable = Some(append.number);
        hard_state = append.hard_state().or(hard_state);
        if let Some(mark) = &append.snapshot {
            // What was to be written before would be thrown away now: the snapshot holds all of it. But for term
            // and vote.
            batch.clear();
            last = None;
            install(mark).map_err(|reason| Failure::Install { index: mark.index, reason })?;
            begin_anew(wal, mark, hard_state)?;
        }
        let first = append.entries.first().map(|entry| entry.index);
        if first.zip(last).is_some_and(|(first, last)| first <= last) {
            // A batch holds one entry for an index: what is replaced already is written before.
            wal.append(batch, Durability::Later)?;
            batch.clear();
        }
        append.write_into(batch);
        last = append.entries.last().map(|entry| entry.index).or(last);
    }
    if durable.is_some() {
        wal.append(batch, Durability::Synced)?;
    }
    Ok(durable)
}

/// Empties the log: it begins behind a snapshot that is installed.
pub(crate) fn begin_anew(
    wal: &mut Wal,
    mark: &SnapshotMark,
    hard_state: Option<HardState>,
) -> Result<(), AppendError> {
    let Index(index) = mark.index;
    let hard_state = hard_state.unwrap_or(wal.hard_state());
    let commit = hard_state.commit.max(index);
    wal.reset_to(index, mark.term.0, Some(HardState { commit, ..hard_state }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use raft::eraftpb::{Entry, HardState};
    use types::Term;
    use wal::Identity;
    use wal::double::DoubleDisk;

    use super::*;

    fn log() -> Wal {
        let identity = Identity { cluster: 1, member: 7, salt: 3 };
        let config = wal::Config { background: false, ..wal::Config::new(identity) };
        Wal::open(Arc::new(DoubleDisk::default()), &config).expect("the log opens").0
    }

    fn append(number: u64, term: u64, indexes: std::ops::RangeInclusive<u64>) -> Append {
        let entries = indexes.map(|index| Entry { index, term, ..Entry::default() }).collect();
        Append { number, snapshot: None, entries, hard_state: None }
    }

    #[test]
    fn an_entry_and_its_replacement_may_wait_for_the_disk_together() {
        let mut wal = log();
        let appends = [append(1, 1, 1..=4), append(2, 1, 5..=5), append(3, 2, 3..=3)];
        let durable =
            write_down(&mut wal, &mut Batch::new(), appends.into_iter(), |_| Ok(())).expect("the disk works");
        assert_eq!(durable, Some(3));
        assert_eq!((wal.last_index(), wal.reader().term(2), wal.reader().term(3)), (3, Some(1), Some(2)));
    }

    #[test]
    fn a_vote_that_waits_before_a_snapshot_is_kept() {
        let mut wal = log();
        let vote = HardState { term: 5, vote: 2, ..HardState::default() };
        let mark = SnapshotMark {
            index: Index(9),
            term: Term(4),
            voters: Vec::new(),
            learners: Vec::new(),
            id: Bytes::new(),
        };
        let appends = [
            Append { hard_state: Some(vote), ..append(1, 1, 1..=2) },
            Append { snapshot: Some(mark), ..append(2, 5, 10..=10) },
        ];
        write_down(&mut wal, &mut Batch::new(), appends.into_iter(), |_| Ok(())).expect("the disk works");
        let kept = wal.hard_state();
        assert_eq!((kept.term, kept.vote, kept.commit), (5, 2, 9));
        assert_eq!((wal.first_index(), wal.last_index()), (10, 10));
    }
}
