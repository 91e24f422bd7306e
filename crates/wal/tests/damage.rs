//! Damage, failed calls and old lives: what the log must refuse, and what it must not mistake for its own.

mod model;

use std::sync::Arc;

use model::{IDENTITY, Op, Run, config};
use wal::double::{DoubleDisk, Loss};
use wal::{AppendError, Batch, Disk, Durability, Identity, OpenError, Wal};

fn filled(sizes: &[&[usize]]) -> (DoubleDisk, Run) {
    let disk = DoubleDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut run = Run::default();
    run.open(Arc::clone(&shared), &config(false)).expect("a new log opens");
    for sizes in sizes {
        let durability = Durability::Synced;
        let op = Op::Append { back: 0, term_up: 0, sizes: sizes.to_vec(), hard: true, durability };
        run.apply(&op, &shared, &config(false)).expect("the double works");
    }
    run.wal = None;
    (disk, run)
}

fn open(disk: &DoubleDisk) -> Result<(Wal, wal::Recovered), OpenError> {
    Wal::open(Arc::new(disk.clone()), &config(false))
}

#[test]
fn every_changed_byte_before_the_last_batch_is_refused_with_its_place() {
    let batches: [&[usize]; 6] = [&[30], &[3, 700], &[11], &[3000], &[5], &[9, 9]];
    // All before the last batch is vouched for by a later record.
    let protected_end = end_of(&filled(&batches[..5]).0, "00000002.seg");
    let (disk, _) = filled(&batches);
    for (name, protected) in
        [("00000001.seg", end_of(&disk, "00000001.seg")), ("00000002.seg", protected_end)]
    {
        for offset in 0..protected {
            let changed = disk.power_loss(Loss::Nothing);
            changed.damage(name, offset, 0x10);
            match open(&changed).err() {
                Some(OpenError::Damaged { file, offset: at, .. }) => {
                    assert_eq!(file, name, "byte {offset}");
                    assert!(
                        at as usize <= offset && offset - (at as usize) < 3100,
                        "byte {offset}, told {at}"
                    );
                }
                other => panic!("byte {offset} of {name}: {other:?}"),
            }
        }
    }
}

/// Where the zeros at the end of a segment begin, rounded up as records are.
fn end_of(disk: &DoubleDisk, name: &str) -> usize {
    let bytes = disk.read(name);
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8))
}

#[test]
fn damage_in_the_last_batch_is_cut_and_never_invents() {
    let (disk, run) = filled(&[&[30], &[10, 20]]);
    let state = run.state();
    let end = end_of(&disk, "00000001.seg");
    for offset in end - 200..end {
        let changed = disk.power_loss(Loss::Nothing);
        changed.damage("00000001.seg", offset, 0x01);
        match open(&changed) {
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("byte {offset}: {other}"),
            Ok((wal, found)) => {
                assert!(found.last_index >= 1);
                let mut shorter = state.clone();
                shorter.entries.truncate(found.last_index as usize);
                shorter.check_entries(&wal, 1).unwrap_or_else(|why| panic!("byte {offset}: {why}"));
            }
        }
    }
}

#[test]
fn a_missing_or_destroyed_segment_is_refused() {
    let (disk, _) = filled(&[&[3000], &[3000], &[3000], &[30], &[30]]);
    for (name, from) in [("00000002.seg", "missing"), ("00000003.seg", "00000003.seg")] {
        let changed = disk.power_loss(Loss::Nothing);
        if from == "missing" {
            changed.remove(name).expect("it is there");
        } else {
            (0..64).for_each(|offset| changed.damage(name, offset, 0xff));
        }
        let error = open(&changed).err().expect("refused").to_string();
        assert!(error.contains(name) && error.contains("damaged"), "{error}");
    }
}

#[test]
fn segments_without_identity_and_a_damaged_identity_are_refused() {
    let (disk, _) = filled(&[&[30]]);
    let changed = disk.power_loss(Loss::Nothing);
    changed.damage("meta", 20, 1);
    assert!(matches!(open(&changed).err(), Some(OpenError::Damaged { file, .. }) if file == "meta"));
    let changed = disk.power_loss(Loss::Nothing);
    changed.remove("meta").expect("it is there");
    assert!(matches!(open(&changed).err(), Some(OpenError::NoIdentity)));
}

#[test]
fn an_existing_log_keeps_its_identity() {
    let (disk, _) = filled(&[&[30]]);
    let other = wal::Config { identity: Identity { cluster: 1, member: 1, salt: 1 }, ..config(false) };
    let (_, found) = Wal::open(Arc::new(disk), &other).expect("the log is whole");
    assert_eq!(found.identity, IDENTITY);
    assert!(!found.created);
}

#[test]
fn a_failed_sync_or_write_is_final() {
    for sync in [true, false] {
        let disk = DoubleDisk::default();
        let (mut wal, _) = open(&disk).expect("a new log opens");
        let mut batch = Batch::new();
        batch.entry(1, 1, 0, b"", b"first");
        wal.append(&mut batch, Durability::Synced).expect("the double works");
        let (writes, syncs) = disk.writes_and_syncs();
        if sync {
            disk.fail_sync(syncs);
        } else {
            disk.fail_write(writes);
        }
        batch.clear();
        batch.entry(2, 1, 0, b"", b"second");
        assert!(matches!(wal.append(&mut batch, Durability::Synced), Err(AppendError::Disk(_))));
        let changes = disk.changes();
        assert!(matches!(wal.append(&mut batch, Durability::Synced), Err(AppendError::Failed)));
        assert!(matches!(wal.sync(), Err(AppendError::Failed)));
        assert!(matches!(wal.release(1), Err(AppendError::Failed)));
        assert!(matches!(wal.reset_to(9, 9, None), Err(AppendError::Failed)));
        assert_eq!(disk.changes(), changes, "a dead log touches nothing");
        assert_eq!(wal.last_index(), 1);
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_only_is_made_durable_before_it_is_believed() {
    let disk = DoubleDisk::default();
    let (mut wal, _) = open(&disk).expect("a new log opens");
    let mut batch = Batch::new();
    batch.entry(1, 1, 0, b"", &[7; 900]);
    let (_, syncs) = disk.writes_and_syncs();
    disk.fail_sync(syncs);
    wal.append(&mut batch, Durability::Synced).expect_err("the sync fails as asked");
    // The process ends; the next one sees the pages, which the kernel holds for clean.
    let next = disk.restart();
    let (_, found) = open(&next).expect("nothing is damaged");
    let after = open(&next.power_loss(Loss::All)).expect("nothing is damaged").1;
    assert_eq!(found.last_index, after.last_index, "what was told at start must stay");
}

#[test]
fn records_of_a_lost_tail_never_come_back() {
    // Two entries in one batch; the sector that holds the first is lost, the second survives as an island.
    // The first is then appended again, byte for byte: the island would fit its chain.
    for loss in (0..1 << 6).map(Loss::Keep) {
        let disk = DoubleDisk::default();
        let (mut wal, _) = open(&disk).expect("a new log opens");
        let mut batch = Batch::new();
        batch.entry(1, 1, 0, b"", &[1; 600]);
        batch.entry(2, 1, 0, b"", &[2; 600]);
        disk.cut_power_at(disk.changes() + 1);
        wal.append(&mut batch, Durability::Synced).expect_err("power is off");
        let disk = disk.power_loss(loss);
        let (mut wal, found) = open(&disk).expect("nothing is damaged");
        if found.last_index > 0 {
            continue;
        }
        batch.clear();
        batch.entry(1, 1, 0, b"", &[1; 600]);
        wal.append(&mut batch, Durability::Synced).expect("the double works");
        assert_eq!(open(&disk.power_loss(Loss::Nothing)).expect("whole").1.last_index, 1, "{loss:?}");
    }
}

#[test]
fn a_client_cannot_write_a_record() {
    // The bytes of a whole segment as the value of an entry, then torn: they must not pass as records.
    let (disk, _) = filled(&[&[30], &[60], &[90]]);
    let copied = disk.read("00000001.seg")[..600].to_vec();
    let fresh = DoubleDisk::default();
    let other = wal::Config { identity: Identity { salt: 34, ..IDENTITY }, ..config(false) };
    let (mut wal, _) = Wal::open(Arc::new(fresh.clone()), &other).expect("a new log opens");
    let mut batch = Batch::new();
    batch.entry(1, 1, 0, b"", &copied);
    fresh.cut_power_at(fresh.changes() + 1);
    wal.append(&mut batch, Durability::Synced).expect_err("power is off");
    for loss in (0..8).map(Loss::Keep) {
        Wal::open(Arc::new(fresh.power_loss(loss)), &other)
            .unwrap_or_else(|error| panic!("{loss:?}: {error}"));
    }
}

#[test]
fn cve_2020_15112_misuse_and_gaps_are_refused_and_change_nothing() {
    let (disk, _) = filled(&[&[30, 30, 30]]);
    let (mut wal, _) = open(&disk).expect("whole");
    wal.release(2).expect("the double works");
    let mut batch = Batch::new();
    for (index, term) in [(5, 1), (2, 1), (0, 1), (4, 0)] {
        batch.clear();
        batch.entry(index, term, 0, b"", b"x");
        assert!(wal.append(&mut batch, Durability::Synced).is_err(), "entry {index} of term {term}");
    }
    batch.clear();
    batch.entry(4, 1, 0, b"", b"x");
    batch.entry(6, 1, 0, b"", b"x");
    assert!(matches!(
        wal.append(&mut batch, Durability::Synced),
        Err(AppendError::Gap { index: 6, last: 4 })
    ));
    assert_eq!((wal.first_index(), wal.last_index()), (3, 3));
    assert!(wal.reader().entries(2, 3, 100).is_err());
    assert!(wal.reader().entries(3, 5, 100).is_err());
    assert_eq!(wal.reader().entries(3, 4, 0).expect("at least one").len(), 1);
}

// Found by the target `log`: positions behind such a beginning were counted beyond the end of the numbers.
#[test]
fn an_index_that_no_log_reaches_is_refused() {
    let (disk, _) = filled(&[&[30]]);
    let (mut wal, _) = open(&disk).expect("whole");
    wal.reset_to(u64::MAX / 2, 7, None).expect("the double works");
    drop(wal);
    let (mut wal, found) = open(&disk).expect("as far as any");
    assert_eq!(found.last_index, u64::MAX / 2);
    wal.reset_to(u64::MAX / 2 + 1, 7, None).expect("the double works");
    drop(wal);
    let refused = open(&disk).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("an index that no log reaches in 00000001.seg at byte"), "{refused}");
}
