//! Thousands of random histories against a naive model: watches with random ranges, filters and starts, readers that
//! are slow, limits that are tiny, compactions, changes that the hub is never told of, restarts, and snapshots that
//! take the place of the keyspace.

mod chance;
mod check;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

const SEEDS: u64 = 2_000;
const STEPS: u64 = 150;

#[test]
fn everybody_gets_everything_once_and_in_order() {
    // One seed again: WATCH_SEED=17.
    let seeds = match std::env::var("WATCH_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    let (mut events, mut lagged, mut canceled, mut progress) = (0, 0, 0, 0);
    for seed in seeds {
        let told = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.rest();
            (world.seen.events, world.lagged, world.seen.compacted, world.seen.progress)
        }));
        let told = told.unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            resume_unwind(panic)
        });
        events += told.0;
        lagged += told.1;
        canceled += told.2;
        progress += told.3;
    }
    eprintln!(
        "{events} events, {lagged} steps with somebody lagging, {canceled} compacted, {progress} progress"
    );
}
