//! Random histories, each told to the keyspace and to the model: every answer, every refusal and everything that
//! can be read must be the same, across restarts at random points. A failure names the seed of its history.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use types::v2::{Condition, Expiry, Get, Path, Timestamp, Write};

use super::model::Model;
use super::{Bench, after_ms};

const HISTORIES: u64 = 6_000;
/// One history in so many closes its database at a random point, and opens the files again.
const RESTARTS_EVERY: u64 = 100;

struct Chance {
    rng: SmallRng,
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut bench = Bench::new();
    let mut counts = [0_usize; 2];
    for seed in 0..HISTORIES {
        bench.clear();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut bench)));
        match outcome {
            Ok([done, refused]) => counts = [counts[0] + done, counts[1] + refused],
            Err(cause) => {
                eprintln!("this is the history with the seed {seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    // Chance must not drift to where everything is refused, or nothing.
    let [done, refused] = counts;
    assert!(done > refused / 4 && refused > done / 20, "done {done}, refused {refused}");
}

/// One history; how many writes were done and how many refused.
fn run(seed: u64, bench: &mut Bench) -> [usize; 2] {
    let mut chance = Chance { rng: SmallRng::seed_from_u64(seed) };
    let mut model = Model::new();
    let (mut now_ms, mut counts) = (0, [0; 2]);
    let length = chance.below(40) + 5;
    let mut past = Vec::new();
    let restart_at = chance.below(length);
    for step in 0..length {
        now_ms += chance.below(900) as i64;
        let now = after_ms(now_ms);
        let size = chance.of(&[1, 1, 2, 5]);
        let writes: Vec<Write> = (0..size).map(|_| chance.write(now, model.index)).collect();
        let outcomes = bench.apply_all(&writes, now);
        for (write, outcome) in writes.iter().zip(outcomes) {
            let expect = model.apply(write, now);
            assert_eq!(outcome, expect, "step {step}: {write:?}");
            counts[usize::from(expect.is_err())] += 1;
            past.extend(expect.unwrap_or_default());
        }
        if step == restart_at && seed.is_multiple_of(RESTARTS_EVERY) {
            bench.restart();
            compare(bench, &model, now);
        } else if chance.below(12) == 0 {
            bench.reload();
            compare(bench, &model, now);
            assert_eq!(bench.past(), (1, past.clone()), "step {step}");
        }
        let get = Get { path: chance.path(), recursive: chance.coin(), sorted: chance.coin() };
        assert_eq!(bench.v2.get(&get, now), model.get(&get, now), "step {step}: {get:?}");
        assert_eq!((bench.v2.index(), bench.v2.next_expiry()), (model.index, model.next_expiry()));
    }
    compare(bench, &model, after_ms(now_ms));
    bench.reload();
    compare(bench, &model, after_ms(now_ms));
    assert_eq!(bench.past(), (1, past));
    counts
}

/// Everything that can be read, hidden nodes by their own paths.
fn compare(bench: &Bench, model: &Model, now: Timestamp) {
    let root = Get { path: Path::clean("/"), recursive: true, sorted: true };
    assert_eq!(bench.v2.get(&root, now), model.get(&root, now));
    for path in model.paths() {
        let get = Get { path: Path::clean(path), recursive: false, sorted: true };
        assert_eq!(bench.v2.get(&get, now), model.get(&get, now));
    }
    assert_eq!((bench.v2.index(), bench.v2.next_expiry()), (model.index, model.next_expiry()));
}

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.random_range(0..bound)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn rarely(&mut self) -> bool {
        self.below(8) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn path(&mut self) -> Path {
        if self.below(40) == 0 {
            return Path::clean("/");
        }
        let depth = self.of(&[1, 1, 2, 2, 3, 4]);
        let names: Vec<&str> = (0..depth).map(|_| self.of(&["a", "a", "b", "a-", "a0", "_h", "ä"])).collect();
        Path::clean(&names.join("/"))
    }

    fn expiry(&mut self, now: Timestamp) -> Expiry {
        match self.below(8) {
            0..5 => Expiry::Never,
            // The year 1970: never for a new node, overdue for an old one.
            5 if self.rarely() => Expiry::At(Timestamp(1)),
            _ => Expiry::after(now, self.below(6)),
        }
    }

    fn condition(&mut self, index: u64) -> Condition {
        let value = self.of(&["1", "2"]);
        let index = (index + 1).saturating_sub(self.below(8));
        match self.below(3) {
            0 => Condition { prev_value: Some(value.into()), prev_index: None },
            1 => Condition { prev_value: None, prev_index: Some(index) },
            _ => Condition { prev_value: Some(value.into()), prev_index: Some(index) },
        }
    }

    fn write(&mut self, now: Timestamp, index: u64) -> Write {
        let path = self.path();
        let value = bytes::Bytes::from_static(self.of(&["", "1", "1", "2"]).as_bytes());
        let expiry = self.expiry(now);
        let (dir, refresh) = (self.rarely(), self.rarely());
        match self.below(16) {
            0..5 => Write::Set { path, value, dir, expiry, refresh },
            5..7 => Write::Create { path, value, dir, expiry, in_order: false },
            7 => Write::Create { path, value, dir, expiry, in_order: true },
            8..10 => Write::Update { path, value, expiry, refresh },
            10..12 => {
                Write::CompareAndSwap { path, condition: self.condition(index), value, expiry, refresh }
            }
            12 => Write::CompareAndDelete { path, condition: self.condition(index) },
            13..15 => Write::Delete { path, dir: self.coin(), recursive: self.coin() },
            _ => Write::Expire { now, nodes_max: u64::MAX },
        }
    }
}
