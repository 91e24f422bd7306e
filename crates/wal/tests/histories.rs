//! Random histories against the model, on the real file system and on the double, without crashes.

mod model;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Run, config, random, random_op};
use wal::double::DoubleDisk;
use wal::{Batch, Disk, Durability, Folder, ReadError, Wal};

fn live(disk: &Arc<dyn Disk>, seed: u64, background: bool, ops: usize) {
    let config = config(background);
    let mut random = random(seed);
    let mut run = Run::default();
    run.open(Arc::clone(disk), &config).expect("a new log opens");
    for at in 0..ops {
        let op = random_op(&mut random);
        run.apply(&op, disk, &config).unwrap_or_else(|error| panic!("seed {seed} op {at} {op:?}: {error}"));
        let (state, wal) = (run.state(), run.wal.as_ref().expect("open"));
        assert_eq!(wal.last_index(), state.last(), "seed {seed} op {at} {op:?}");
        assert_eq!(wal.hard_state(), state.hard, "seed {seed} op {at} {op:?}");
        assert!(wal.first_index() <= state.released.max(state.base.0) + 1, "seed {seed} op {at} {op:?}");
        state
            .check_entries(wal, wal.first_index())
            .unwrap_or_else(|why| panic!("seed {seed} op {at} {op:?}: {why}"));
    }
    run.open(Arc::clone(disk), &config).unwrap_or_else(|why| panic!("seed {seed} at the end: {why}"));
}

#[test]
fn a_log_in_memory_is_its_model() {
    for seed in 0..1000 {
        let disk: Arc<dyn Disk> = Arc::new(DoubleDisk::default());
        live(&disk, seed, false, 60);
    }
}

#[test]
fn a_log_in_files_with_its_thread_is_its_model() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk: Arc<dyn Disk> = Arc::new(Folder::new(folder.path()));
        live(&disk, seed, true, 80);
    }
}

#[test]
fn released_segments_are_used_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk: Arc<dyn Disk> = Arc::new(Folder::new(folder.path()));
    let config = config(true);
    let mut run = Run::default();
    run.open(Arc::clone(&disk), &config).expect("a new log opens");
    for _ in 0..300 {
        let durability = Durability::Synced;
        let op = model::Op::Append { back: 0, term_up: 0, sizes: vec![900], hard: true, durability };
        run.apply(&op, &disk, &config).expect("the disk works");
        run.apply(&model::Op::Release { keep: 2 }, &disk, &config).expect("the disk works");
    }
    run.open(Arc::clone(&disk), &config).expect("it opens again");
    drop(run);
    // 75 segments were written; in use, ready, spare and one in the making are at most nine files.
    let files = disk.list().expect("the folder lists").len();
    assert!(files < 16, "{files} files are left");
}

/// Sets the flag when it goes, also by panic, so that nobody waits for a writer that is gone.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn readers_never_see_a_recycled_file() {
    let (mut wal, _) = Wal::open(Arc::new(DoubleDisk::default()), &config(true)).expect("a new log opens");
    let (reader, done) = (wal.reader(), AtomicBool::new(false));
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut read = 0;
            while !done.load(Ordering::Acquire) {
                let low = reader.first_index();
                match reader.entries(low, reader.last_index() + 1, 20_000) {
                    Ok(entries) => read += check(low, &entries),
                    // It went between the question and the answer.
                    Err(ReadError::Released { .. }) => {}
                    Err(error) => panic!("{error}: {error:?}"),
                }
            }
            read
        });
        let writing = Done(&done);
        let mut batch = Batch::new();
        for index in 1..6000_u64 {
            batch.clear();
            batch.entry(index, 1, 0, b"", &index.to_le_bytes().repeat(50));
            wal.append(&mut batch, Durability::Synced).expect("the double works");
            wal.release(index.saturating_sub(8)).expect("the double works");
        }
        drop(writing);
        reading.join().expect("the reader saw what was appended")
    });
    assert!(read > 0, "the reader read nothing");
}

fn check(low: u64, entries: &[wal::Entry]) -> usize {
    for (index, entry) in (low..).zip(entries) {
        assert_eq!((entry.index, &entry.data[..]), (index, &index.to_le_bytes().repeat(50)[..]));
    }
    entries.len()
}

#[test]
fn milestones_tell_how_many_bytes_lie_before_an_entry() {
    let disk: Arc<dyn Disk> = Arc::new(DoubleDisk::default());
    let (mut wal, _) = Wal::open(Arc::clone(&disk), &config(false)).expect("a new log opens");
    assert_eq!(wal.reader().milestones(1000), []);
    let mut batch = Batch::new();
    for index in 1..=100 {
        batch.clear();
        batch.entry(index, 1, 0, &[], &[7; 900]);
        wal.append(&mut batch, Durability::Synced).expect("the double works");
    }
    let all = wal.reader().milestones(10_000);
    assert_eq!((all.first(), all.last().map(|(index, _)| *index)), (Some(&(1, 0)), Some(100)));
    assert!(all.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1), "{all:?}");
    let bytes = all.last().map_or(0, |(_, bytes)| *bytes);
    assert!((99 * 900..99 * 1100).contains(&bytes), "{bytes}");
    assert!((8..=12).contains(&all.len()), "{all:?}");
    wal.release(50).expect("the double works");
    assert_eq!(wal.reader().milestones(10_000).first(), Some(&(51, 0)));
    drop(wal);
    let (wal, _) = Wal::open(disk, &config(false)).expect("it opens again");
    let again = wal.reader().milestones(10_000);
    assert_eq!(again.last().map(|(index, _)| *index), Some(100));
}
