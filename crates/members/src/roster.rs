//! The members of the cluster: a list in memory, a row each on disk.

use parking_lot::RwLock;
use store::{Batch, Direction, Family, Span, Store, StoreError};
use types::{MemberId, MemberRecord, MemberRefusal};

use crate::row::{self, Damage, Row};
use crate::rules::{Change, Roster};

/// Who is in the cluster. Any thread may read; one applies changes.
///
/// A reader may see a change before its batch is written: it is committed in the log by then, and a write that
/// fails ends the process.
pub struct Members {
    roster: RwLock<Roster>,
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
        let mut roster = Roster::default();
        let mut cursor = store.scan(Family::Members, &Span::default(), Direction::Forward);
        while let Some((key, value)) = cursor.row() {
            let row = row::decode(key, value)
                .map_err(|damage| OpenError::Damaged { key: key.escape_ascii().to_string(), damage })?;
            match row {
                Row::Member(record) => drop(roster.records.insert(record.id, record)),
                Row::Removed(id) => drop(roster.removed.insert(id)),
            }
            cursor.step();
        }
        cursor.finish()?;
        Ok(Self { roster: RwLock::new(roster) })
    }

    /// All of them, in the order of their ids, as etcd lists them.
    pub fn list(&self) -> Vec<MemberRecord> {
        self.roster.read().records.values().cloned().collect()
    }

    /// One of them.
    pub fn get(&self, id: MemberId) -> Option<MemberRecord> {
        self.roster.read().records.get(&id).cloned()
    }

    /// Whether `id` is one of them.
    pub fn contains(&self, id: MemberId) -> bool {
        self.roster.read().records.contains_key(&id)
    }

    /// Whether `id` is one of them and a learner.
    pub fn is_learner(&self, id: MemberId) -> bool {
        self.roster.read().records.get(&id).is_some_and(|member| member.learner)
    }

    /// Whether a member with this id was removed. It never returns.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.roster.read().removed.contains(&id)
    }

    /// Who was removed, in the order of their ids.
    pub fn removed(&self) -> Vec<MemberId> {
        self.roster.read().removed.iter().copied().collect()
    }

    /// Who votes, in the order of their ids.
    pub fn voters(&self) -> Vec<MemberId> {
        self.ids(|member| !member.learner)
    }

    /// Who does not vote yet, in the order of their ids.
    pub fn learners(&self) -> Vec<MemberId> {
        self.ids(|member| member.learner)
    }

    fn ids(&self, wanted: impl Fn(&MemberRecord) -> bool) -> Vec<MemberId> {
        self.roster.read().records.values().filter(|member| wanted(member)).map(|member| member.id).collect()
    }

    /// Whether a change would be legal now. [`Members::apply_change`] judges again, and its word is final.
    pub fn judge(&self, change: &Change) -> Result<(), MemberRefusal> {
        self.roster.read().judge(change)
    }

    /// Makes a change, if it is legal, and stages its row.
    pub fn apply_change(&self, change: &Change, batch: &mut Batch<'_>) -> Result<(), MemberRefusal> {
        let mut roster = self.roster.write();
        roster.judge(change)?;
        match change {
            Change::Add(record) => put(&mut roster, record.clone(), batch),
            Change::Promote(id) => change_record(&mut roster, *id, batch, |record| record.learner = false),
            Change::Update { id, peer_urls } => {
                change_record(&mut roster, *id, batch, |record| record.peer_urls.clone_from(peer_urls));
            }
            Change::Remove(id) => remove(&mut roster, *id, batch),
        }
        Ok(())
    }

    /// Takes what a member says of itself, its name and client URLs, and stages its row. What it says of its peer
    /// URLs and of its vote is not taken: it may be older than what the cluster decided.
    pub fn apply_self_description(
        &self,
        said: &MemberRecord,
        batch: &mut Batch<'_>,
    ) -> Result<(), MemberRefusal> {
        let mut roster = self.roster.write();
        roster.known(said.id)?;
        change_record(&mut roster, said.id, batch, |record| {
            record.name.clone_from(&said.name);
            record.client_urls.clone_from(&said.client_urls);
        });
        Ok(())
    }

    /// Goes on with one member alone, which votes; all others are as if they had been removed. An operator's way out,
    /// when most are lost for ever: it is outside of the log, and no other member may go on with the old list.
    pub fn apply_solitude(&self, id: MemberId, batch: &mut Batch<'_>) -> Result<(), MemberRefusal> {
        let mut roster = self.roster.write();
        roster.known(id)?;
        let others: Vec<MemberId> = roster.records.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            remove(&mut roster, other, batch);
        }
        change_record(&mut roster, id, batch, |record| record.learner = false);
        Ok(())
    }

    /// Forgets everybody, also those that were removed, and begins with these: the data goes on in another cluster.
    pub fn apply_refounding(&self, founders: &[MemberRecord], batch: &mut Batch<'_>) {
        let mut roster = self.roster.write();
        let old = std::mem::take(&mut *roster);
        for id in old.records.into_keys().chain(old.removed) {
            batch.delete(Family::Members, &row::key(id));
        }
        for founder in founders {
            put(&mut roster, founder.clone(), batch);
        }
    }

    /// Adds a founding member and stages its row.
    pub fn apply_founder(&self, record: MemberRecord, batch: &mut Batch<'_>) {
        put(&mut self.roster.write(), record, batch);
    }
}

fn change_record(
    roster: &mut Roster,
    id: MemberId,
    batch: &mut Batch<'_>,
    change: impl FnOnce(&mut MemberRecord),
) {
    // The rules let only changes of known members pass.
    if let Some(mut record) = roster.records.get(&id).cloned() {
        change(&mut record);
        put(roster, record, batch);
    }
}

fn remove(roster: &mut Roster, id: MemberId, batch: &mut Batch<'_>) {
    roster.records.remove(&id);
    roster.removed.insert(id);
    batch.put(Family::Members, &row::key(id), &row::encode_removed(id));
}

fn put(roster: &mut Roster, record: MemberRecord, batch: &mut Batch<'_>) {
    batch.put(Family::Members, &row::key(record.id), &row::encode(&record));
    roster.records.insert(record.id, record);
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
            members.apply_founder(record(id, name), &mut batch);
        }
        let changed =
            MemberRecord { client_urls: vec!["http://c:2379".to_owned()], learner: true, ..record(3, "new") };
        members.apply_founder(changed.clone(), &mut batch);
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
    fn who_was_removed_is_remembered_for_ever() {
        let options = Options::in_memory();
        let path = Path::new("/removed");
        let store = Store::open(path, &options).expect("open");
        let members = Members::open(&store).expect("open");
        let mut batch = store.batch();
        for (id, name) in [(1, "a"), (2, "b")] {
            let peer_urls = vec![format!("http://{name}:2380")];
            members.apply_founder(MemberRecord { peer_urls, ..record(id, name) }, &mut batch);
        }
        let learner = MemberRecord { learner: true, peer_urls: vec!["http://c:1".into()], ..record(3, "") };
        let mut apply = |change: Change| members.apply_change(&change, &mut batch);
        assert_eq!(apply(Change::Add(learner.clone())), Ok(()));
        assert_eq!(apply(Change::Remove(MemberId(2))), Ok(()));
        assert_eq!(
            apply(Change::Add(MemberRecord { id: MemberId(2), ..learner })),
            Err(MemberRefusal::Removed)
        );
        assert_eq!(apply(Change::Remove(MemberId(2))), Err(MemberRefusal::Removed));
        assert_eq!((members.voters(), members.learners()), (vec![MemberId(1)], vec![MemberId(3)]));
        assert_eq!(members.apply_change(&Change::Promote(MemberId(3)), &mut batch), Ok(()));
        // What it says of itself is older than its promotion.
        let said = MemberRecord { learner: true, ..record(3, "c") };
        assert_eq!(members.apply_self_description(&said, &mut batch), Ok(()));
        assert_eq!(members.apply_self_description(&record(2, "b"), &mut batch), Err(MemberRefusal::Removed));
        store.write(batch).expect("write");
        let before = members.list();
        assert_eq!(before[1].peer_urls, ["http://c:1"]);
        assert_eq!(before[1].name, "c");
        store.flush().expect("flush");
        store.close();
        let members = Members::open(&Store::open(path, &options).expect("open")).expect("open");
        assert_eq!(members.list(), before);
        assert_eq!(members.voters(), [MemberId(1), MemberId(3)]);
        assert!(members.is_removed(MemberId(2)) && !members.is_removed(MemberId(4)));
    }

    #[test]
    fn every_flipped_bit_of_a_row_is_found() {
        let member = record(7, "seven");
        let (key, good) = (row::key(member.id), row::encode(&member));
        assert_eq!(row::decode(&key, &good), Ok(Row::Member(member)));
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
