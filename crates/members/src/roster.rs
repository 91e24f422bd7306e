//! The members of the cluster: a list in memory, a row each on disk.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use store::{Batch, Direction, Family, Span, Store, StoreError};
use types::{MemberId, MemberRecord};

use crate::row::{self, Damage};

/// Who is in the cluster. Any thread may read; one applies changes.
///
/// A reader may see a change before its batch is written: it is committed in the log by then, and a write that
/// fails ends the process.
pub struct Members {
    records: RwLock<BTreeMap<MemberId, MemberRecord>>,
}

/// Why the members cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rows cannot be read.
    #[error("cannot read the members")]
    Store(#[from] StoreError),
    /// A row is not as it was written.
    #[error("the row {key} of the members is damaged")]
    Damaged {
        /// The key of the row, its bytes as text.
        key: String,
        /// In what way.
        #[source]
        damage: Damage,
    },
}

impl Members {
    /// Reads all rows into memory and checks them.
    pub fn open(store: &Store) -> Result<Self, OpenError> {
        let mut records = BTreeMap::new();
        let mut cursor = store.scan(Family::Members, &Span::default(), Direction::Forward);
        while let Some((key, value)) = cursor.row() {
            let record = row::decode(key, value)
                .map_err(|damage| OpenError::Damaged { key: key.escape_ascii().to_string(), damage })?;
            records.insert(record.id, record);
            cursor.step();
        }
        cursor.finish()?;
        Ok(Self { records: RwLock::new(records) })
    }

    /// All of them, in the order of their ids, as etcd lists them.
    pub fn list(&self) -> Vec<MemberRecord> {
        self.records.read().values().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, id: MemberId) -> Option<MemberRecord> {
        self.records.read().get(&id).cloned()
    }

    /// Adds a member, or replaces what is known of it, and stages its row.
    pub fn apply_set(&self, record: MemberRecord, batch: &mut Batch<'_>) {
        batch.put(Family::Members, &row::key(record.id), &row::encode(&record));
        self.records.write().insert(record.id, record);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use store::Options;

    use super::*;

    fn record(id: u64, name: &str) -> MemberRecord {
        let peer_urls = vec![format!("http://{name}:2380"), "http://127.0.0.1:1".to_owned()];
        MemberRecord {
            id: MemberId(id),
            name: name.to_owned(),
            peer_urls,
            client_urls: Vec::new(),
            learner: false,
        }
    }

    #[test]
    fn members_are_there_after_a_restart_in_the_order_of_their_ids() {
        let options = Options::in_memory();
        let path = Path::new("/members");
        let store = Store::open(path, &options).expect("open");
        let members = Members::open(&store).expect("open");
        let mut batch = store.batch();
        // The highest bit set and not: order is that of unsigned numbers.
        for (id, name) in [(0x8e9e_05c5_2164_694d, "z"), (3, "ä"), (0x20f3_05d4_9625_2906, "")] {
            members.apply_set(record(id, name), &mut batch);
        }
        let changed =
            MemberRecord { client_urls: vec!["http://c:2379".to_owned()], learner: true, ..record(3, "new") };
        members.apply_set(changed.clone(), &mut batch);
        store.write(batch).expect("write");
        let before = members.list();
        assert_eq!(before.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["new", "", "z"]);
        store.flush().expect("flush");
        store.close();
        let store = Store::open(path, &options).expect("open");
        let members = Members::open(&store).expect("open");
        assert_eq!(members.list(), before);
        assert_eq!(members.get(MemberId(3)), Some(changed));
        assert_eq!(members.get(MemberId(4)), None);
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_found() {
        let member = record(7, "seven");
        let (key, good) = (row::key(member.id), row::encode(&member));
        assert_eq!(row::decode(&key, &good).as_ref(), Ok(&member));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(row::decode(&key, &bad), Err(Damage::Checksum), "bit {bit}");
        }
        assert_eq!(row::decode(&row::key(MemberId(8)), &good), Err(Damage::Checksum));
        for length in 0..good.len() {
            assert!(row::decode(&key, &good[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_damaged_row_stops_the_start_and_is_named() {
        let store = Store::open(Path::new("/damaged"), &Options::in_memory()).expect("open");
        let mut batch = store.batch();
        batch.put(Family::Members, &row::key(MemberId(0xab)), b"nonsense");
        store.write(batch).expect("write");
        let error = Members::open(&store).err().expect("damage is refused");
        assert_eq!(error.to_string(), r"the row \x00\x00\x00\x00\x00\x00\x00\xab of the members is damaged");
    }
}
