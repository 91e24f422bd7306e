//! Power lost at every point, in every subset of what was not synced; and at random in long lives.
//!
//! Replay one random life with `WAL_SEED=<seed>`.

mod model;

use std::io;
use std::sync::Arc;

use model::{Op, Run, config, random, random_op};
use rand::RngExt;
use wal::double::{DoubleDisk, Loss};
use wal::{Disk, Durability, File};

fn append(sizes: &[usize], back: u64, hard: bool) -> Op {
    let term_up = u64::from(back > 0);
    Op::Append { back, term_up, sizes: sizes.to_vec(), hard, durability: Durability::Synced }
}

fn later(sizes: &[usize]) -> Op {
    Op::Append { back: 0, term_up: 0, sizes: sizes.to_vec(), hard: true, durability: Durability::Later }
}

fn histories() -> Vec<(&'static str, Vec<Op>)> {
    vec![
        ("appends", vec![append(&[10], 0, true), append(&[500, 700], 0, false), append(&[5, 5, 5], 0, true)]),
        ("unsynced", vec![append(&[10], 0, true), later(&[600]), later(&[]), append(&[900], 0, false)]),
        ("suffix", vec![append(&[9, 9, 9, 9], 0, true), append(&[700], 3, true), append(&[1], 1, true)]),
        (
            "roll",
            vec![
                append(&[1500, 1500], 0, true),
                append(&[800], 0, true),
                later(&[100]),
                append(&[3], 2, false),
            ],
        ),
        (
            "too long for a segment",
            vec![append(&[100], 0, true), append(&[6000], 0, true), append(&[9], 0, true)],
        ),
        (
            "recycled",
            vec![
                append(&[2000, 1500], 0, true),
                append(&[2000, 1500], 0, true),
                Op::Release { keep: 0 },
                append(&[2000, 1500], 0, true),
                append(&[700], 0, false),
                Op::Release { keep: 1 },
                append(&[3000], 0, true),
                append(&[900], 1, true),
            ],
        ),
        (
            "reopened",
            vec![append(&[10, 600], 0, true), Op::Reopen, later(&[700]), Op::Reopen, append(&[600], 0, true)],
        ),
        (
            "snapshot",
            vec![append(&[10, 600], 0, true), later(&[10]), Op::Reset { ahead: 3 }, append(&[600], 0, true)],
        ),
        (
            "snapshot after rolls",
            vec![
                append(&[3000], 0, true),
                append(&[3000], 0, true),
                Op::Reset { ahead: 0 },
                append(&[3000], 0, true),
            ],
        ),
    ]
}

/// A disk as the log sees it: the double itself, or something worse in front of it.
type Front = fn(DoubleDisk) -> Arc<dyn Disk>;

fn honest(disk: DoubleDisk) -> Arc<dyn Disk> {
    Arc::new(disk)
}

/// Runs `ops` until power goes off at change `cut`; says whether it did.
fn run_until(disk: &DoubleDisk, front: Front, ops: &[Op], cut: Option<u64>) -> (Run, bool) {
    if let Some(cut) = cut {
        disk.cut_power_at(cut);
    }
    let (shared, config) = (front(disk.clone()), config(false));
    let mut run = Run::default();
    if let Err(why) = run.open(Arc::clone(&shared), &config) {
        assert!(why.contains("as asked"), "{why}");
        return (run, true);
    }
    let died = ops.iter().any(|op| run.apply(op, &shared, &config).is_err());
    (run, died)
}

/// Opens what a loss left, appends, loses everything unsynced again, and opens again.
fn survive(run: &Run, disk: DoubleDisk, front: Front) -> Result<(), String> {
    let config = config(false);
    let mut next =
        Run { acked: run.acked.clone(), steps: run.steps.clone(), unique: run.unique, ..Run::default() };
    let mut disk = disk;
    for (op, loss) in [(append(&[40, 3], 0, true), Loss::All), (append(&[700], 1, false), Loss::Nothing)] {
        let shared = front(disk.clone());
        next.open(Arc::clone(&shared), &config)?;
        next.apply(&op, &shared, &config).map_err(|error| error.to_string())?;
        disk = disk.power_loss(loss);
    }
    next.open(front(disk), &config)
}

/// Every point, every subset. Returns how many losses were survived, or the first that was not.
fn exhaust(name: &str, ops: &[Op], front: Front) -> Result<u64, String> {
    let whole = DoubleDisk::default();
    let (_, died) = run_until(&whole, front, ops, None);
    assert!(!died, "{name}: the history itself must work");
    let mut losses = 0;
    for cut in 0..=whole.changes() {
        let disk = DoubleDisk::default();
        let (run, _) = run_until(&disk, front, ops, Some(cut));
        let pending = disk.pending();
        let subsets: Vec<Loss> = if pending <= 11 {
            (0..1 << pending).map(Loss::Keep).collect()
        } else {
            (0..2000).map(Loss::Seed).chain([Loss::All, Loss::Nothing]).collect()
        };
        for loss in subsets {
            losses += 1;
            survive(&run, disk.power_loss(loss), front)
                .map_err(|why| format!("{name}: power off at change {cut}, {loss:?}: {why}"))?;
        }
        survive(&run, disk.restart(), front)
            .map_err(|why| format!("{name}: killed at change {cut}: {why}"))?;
    }
    Ok(losses)
}

#[test]
fn nothing_acknowledged_is_lost_in_any_subset() {
    for (name, ops) in histories() {
        let losses = exhaust(name, &ops, honest).unwrap_or_else(|why| panic!("{why}"));
        eprintln!("{name}: {losses} losses survived");
    }
}

#[test]
fn long_lives_with_many_losses() {
    let only = std::env::var("WAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..4000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        live(seed).unwrap_or_else(|why| panic!("WAL_SEED={seed}: {why}"));
    }
}

/// Six lives, each ended by a loss of power or a kill at a random point.
fn live(seed: u64) -> Result<(), String> {
    let mut random = random(seed);
    let config = config(seed % 50 == 7);
    let mut disk = DoubleDisk::default();
    let mut run = Run::default();
    for _ in 0..6 {
        disk.cut_power_at(random.random_range(0..120));
        let shared = honest(disk.clone());
        match run.open(Arc::clone(&shared), &config) {
            Ok(()) => while run.apply(&random_op(&mut random), &shared, &config).is_ok() {},
            Err(why) if why.contains("as asked") => {}
            Err(why) => return Err(why),
        }
        run.wal = None;
        let killed = random.random_bool(0.2);
        disk = if killed { disk.restart() } else { disk.power_loss(Loss::Seed(random.random())) };
    }
    run.open(honest(disk), &config)
}

/// A disk that answers every sync without doing it. The checks above must see the difference.
struct Liar(DoubleDisk);

struct LyingFile(Arc<dyn File>);

impl Disk for Liar {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(LyingFile(self.0.create(name)?)))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(LyingFile(self.0.open(name)?)))
    }
    fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        self.0.rename(source, target)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

impl File for LyingFile {
    fn pwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.pwrite(offset, bytes)
    }
    fn pread(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.pread(offset, into)
    }
    fn fdatasync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let lying: Front = |disk| Arc::new(Liar(disk));
    let found = exhaust("a lie", &[append(&[10], 0, true), append(&[500], 0, true)], lying);
    assert!(found.is_err(), "the checks see nothing");
}
