//! What the cluster knows to be wrong: alarms, which stay until somebody lowers them.
//!
//! It keeps them and tells which are raised. It never decides that something is wrong, and never refuses
//! anything: whoever asks does.
//!
//! INVARIANT: rows and the set in memory name the same alarms.

use std::collections::BTreeSet;

use parking_lot::RwLock;
use store::{Batch, Direction, Family, Span, Store, StoreError};
use types::{Alarm, AlarmKind, MemberId};

/// Before the id and the kind in the key of a row.
const PREFIX: &[u8] = b"quota/alarm/";
/// The first key after all of those.
const END: &[u8] = b"quota/alarm0";

/// The alarms of all members. Any thread may read; one applies changes.
///
/// A reader may see a change before its batch is written, as with the members.
pub struct Alarms {
    raised: RwLock<BTreeSet<Alarm>>,
}

/// Why the alarms cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read the alarms")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key} of the alarms is damaged")]
    Damaged {
        /// The key of the row, its bytes as text.
        key: String,
    },
}

impl Alarms {
    /// Reads all rows into memory and checks them.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let mut raised = BTreeSet::new();
        let span = Span { lower: Some(PREFIX.to_vec()), upper: Some(END.to_vec()) };
        let mut cursor = store.scan(Family::Meta, &span, Direction::Forward);
        while let Some((key, row)) = cursor.row() {
            let damaged = || OpenError::Damaged { key: key.escape_ascii().to_string() };
            raised.insert(decode(key, row).ok_or_else(damaged)?);
            cursor.step();
        }
        cursor.finish()?;
        Ok(Self { raised: RwLock::new(raised) })
    }

    /// All alarms, by member and then kind.
    pub fn list(&self) -> Vec<Alarm> {
        self.raised.read().iter().copied().collect()
    }

    /// Whether anybody has raised an alarm of this kind.
    pub fn is_raised(&self, kind: AlarmKind) -> bool {
        self.raised.read().iter().any(|alarm| alarm.kind == kind)
    }

    /// Whether this one is raised.
    pub fn contains(&self, alarm: Alarm) -> bool {
        self.raised.read().contains(&alarm)
    }

    /// Raises or lowers an alarm and stages its row. The alarm, or `None` when there was nothing to lower.
    pub fn apply_alarm(&self, raise: bool, alarm: Alarm, batch: &mut Batch<'_>) -> Option<Alarm> {
        let mut raised = self.raised.write();
        if raise {
            if raised.insert(alarm) {
                let key = key(alarm);
                batch.put(Family::Meta, &key, &crc32c::crc32c(&key).to_be_bytes());
            }
            return Some(alarm);
        }
        let was_raised = raised.remove(&alarm);
        if was_raised {
            batch.delete(Family::Meta, &key(alarm));
        }
        was_raised.then_some(alarm)
    }

    /// Lowers all alarms of a member that is no more.
    pub fn apply_departure(&self, member: MemberId, batch: &mut Batch<'_>) {
        for alarm in self.list().into_iter().filter(|alarm| alarm.member == member) {
            self.apply_alarm(false, alarm, batch);
        }
    }
}

fn key(alarm: Alarm) -> Vec<u8> {
    let kind: u8 = match alarm.kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    };
    [PREFIX, &alarm.member.0.to_be_bytes(), &[kind]].concat()
}

fn decode(key: &[u8], row: &[u8]) -> Option<Alarm> {
    let (member, kind) = key.strip_prefix(PREFIX)?.split_first_chunk::<8>()?;
    let kind = match kind {
        [1] => AlarmKind::NoSpace,
        [2] => AlarmKind::Corrupt,
        _ => return None,
    };
    let is_whole = row == crc32c::crc32c(key).to_be_bytes();
    is_whole.then_some(Alarm { member: MemberId(u64::from_be_bytes(*member)), kind })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use store::Options;

    use super::*;

    fn alarm(member: u64, kind: AlarmKind) -> Alarm {
        Alarm { member: MemberId(member), kind }
    }

    #[test]
    fn what_is_raised_stays_until_it_is_lowered() {
        use AlarmKind::{Corrupt, NoSpace};
        let options = Options::in_memory();
        let path = Path::new("/alarms");
        let store = Store::open(path, &options).expect("open");
        let alarms = Alarms::open(&store).expect("open");
        let mut batch = store.batch();
        let mut apply = |raise, alarm| alarms.apply_alarm(raise, alarm, &mut batch);
        for raised in [alarm(u64::MAX, NoSpace), alarm(0, Corrupt), alarm(7, NoSpace), alarm(7, Corrupt)] {
            assert_eq!(apply(true, raised), Some(raised));
        }
        assert_eq!(apply(true, alarm(7, NoSpace)), Some(alarm(7, NoSpace)), "once more");
        assert_eq!(apply(false, alarm(7, NoSpace)), Some(alarm(7, NoSpace)));
        assert_eq!(apply(false, alarm(7, NoSpace)), None, "it is gone");
        store.write(batch).expect("write");
        let expect = [alarm(0, Corrupt), alarm(7, Corrupt), alarm(u64::MAX, NoSpace)];
        assert_eq!(alarms.list(), expect);
        store.flush().expect("flush");
        store.close();
        let store = Store::open(path, &options).expect("open");
        let alarms = Alarms::open(&store).expect("open");
        assert_eq!(alarms.list(), expect);
        let mut batch = store.batch();
        alarms.apply_departure(MemberId(u64::MAX), &mut batch);
        assert!(alarms.is_raised(Corrupt) && !alarms.is_raised(NoSpace));
        assert!(alarms.contains(alarm(7, Corrupt)) && !alarms.contains(alarm(8, Corrupt)));
    }

    #[test]
    fn a_damaged_row_stops_the_start_and_is_named() {
        let good = key(alarm(1, AlarmKind::NoSpace));
        let sum = crc32c::crc32c(&good).to_be_bytes();
        assert_eq!(decode(&good, &sum), Some(alarm(1, AlarmKind::NoSpace)));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad, &sum), None, "bit {bit}");
        }
        let store = Store::open(Path::new("/damaged"), &Options::in_memory()).expect("open");
        let mut batch = store.batch();
        batch.put(Family::Meta, &good, b"nonsense");
        store.write(batch).expect("write");
        let error = Alarms::open(&store).err().expect("damage is refused");
        assert_eq!(
            error.to_string(),
            r"the row quota/alarm/\x00\x00\x00\x00\x00\x00\x00\x01\x01 of the alarms is damaged"
        );
    }
}
