//! `--force-new-cluster`: a member goes on alone with what it has, when most of the others are lost for ever.
//!
//! Everything in its log is applied, also what the others may never have heard of: nothing that was acknowledged is
//! missing then, as far as this member has it. Then it is the only member.
//!
//! INVARIANT: doing it again, after a crash in between too, does no harm.

use apply::{ApplyError, Entry, ForsakeError, Machine};
use consensus::commands_in;
use types::{Index, MemberId, Term};
use wal::{AppendError, Batch, Durability, HardState, ReadError, Wal};

/// Entries are applied in runs of up to this many bytes of log.
const RUN_BYTES_MAX: u64 = 4 << 20;

/// Why a member cannot go on alone.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// The log.
    #[error("cannot read the log")]
    Read(#[from] ReadError),
    /// An entry.
    #[error("cannot apply what is in the log")]
    Apply(#[from] ApplyError),
    /// The list of members.
    #[error(transparent)]
    Forsake(#[from] ForsakeError),
    /// The log again.
    #[error("cannot write the log")]
    Append(#[from] AppendError),
}

/// Applies the whole log and forgets the others. Returns what the log says of term, vote and commit afterwards.
pub(crate) fn go_on_alone(
    machine: &mut Machine,
    wal: &mut Wal,
    member: MemberId,
) -> Result<HardState, AloneError> {
    let (reader, last) = (wal.reader(), wal.last_index());
    while machine.position().index.0 < last {
        let next = machine.position().index.0 + 1;
        let run = reader.entries(next, last + 1, RUN_BYTES_MAX)?;
        let entries: Vec<Entry> = run
            .into_iter()
            .map(|entry| Entry {
                index: Index(entry.index),
                term: Term(entry.term),
                data: commands_in(entry),
            })
            .collect();
        machine.apply(&entries)?;
    }
    machine.forsake_others(member)?;
    let hard_state = HardState { commit: last, ..wal.hard_state() };
    let mut batch = Batch::new();
    batch.hard_state(hard_state);
    wal.append(&mut batch, Durability::Synced)?;
    tracing::warn!(
        { "local-member-id" } = %member, applied = last,
        "forced a new cluster: this member goes on alone, and all others must never be started with their data again"
    );
    Ok(hard_state)
}
