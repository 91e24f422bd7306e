//! kill -9 under load, a hundred times in a row on one data folder.
//!
//! After each restart everything that was acknowledged is there with its value and its revision, a
//! transaction is there whole or not at all, and revisions and v2 indexes go on and are never used twice.
//!
//! The order of kills follows from a seed, printed on failure; `TORTURE_SEED` sets it. What the machine does
//! between two kills does not follow from it.

mod cluster;
mod ledger;
mod load;

use std::env;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use ::tests::{Node, Program};
use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::ledger::Ledger;

/// How often the process is killed.
const ROUNDS: usize = 100;

/// Every so many rounds it is killed while it starts, too.
const STARTS_KILLED_EVERY: usize = 7;

/// Every so many rounds history is compacted just before the load.
const COMPACTED_EVERY: usize = 5;

/// Acknowledgements before a kill.
const ACKNOWLEDGED_MIN: u64 = 50;
const ACKNOWLEDGED_MAX: u64 = 600;

#[test]
fn what_was_acknowledged_survives_a_hundred_kills() {
    let seed = env::var("TORTURE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let mut story = String::new();
    if let Err(error) = torture(seed, &mut story) {
        panic!("TORTURE_SEED={seed}: {error:#}\nthe last rounds:\n{}", last_lines(&story));
    }
    eprint!("{}", last_lines(&story));
}

fn torture(seed: u64, story: &mut String) -> anyhow::Result<()> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut node = Node::start(&Program::kvorum()?, &[])?;
    let mut ledger = Ledger::default();
    for round in 1..=ROUNDS {
        if round % COMPACTED_EVERY == 0 {
            load::compact(node.address(), ledger.revision_max())?;
        }
        let goal = chance.random_range(ACKNOWLEDGED_MIN..ACKNOWLEDGED_MAX);
        let acknowledged = load::until_killed(&mut node, &mut ledger, chance.random(), goal)
            .with_context(|| format!("round {round}, under load"))?;
        if round % STARTS_KILLED_EVERY == 0 {
            kill_while_starting(&mut node, chance.random_range(0..120))?;
        }
        node.restart().with_context(|| format!("round {round}, restart"))?;
        let found = load::read_all(node.address()).with_context(|| format!("round {round}, reading all"))?;
        writeln!(
            story,
            "  round {round}: {acknowledged} acknowledged, revision {} (v2 index {}), {} keys",
            found.revision,
            found.v2_index,
            found.keys.len()
        )?;
        ledger.settle(&found).with_context(|| format!("round {round}, after the restart"))?;
    }
    ensure!(ledger.revision_max() > 0, "nothing was ever written");
    Ok(())
}

fn kill_while_starting(node: &mut Node, milliseconds: u64) -> anyhow::Result<()> {
    node.spawn().context("start, to be killed at once")?;
    // Reason to sleep: the kill has to hit any moment of the start, and no condition names "any moment".
    thread::sleep(Duration::from_millis(milliseconds));
    ensure!(node.is_running(), "it ended by itself while it started; its log:\n{}", node.log_tail());
    node.kill()
}

fn last_lines(story: &str) -> String {
    const LINES_MAX: usize = 5;
    let lines: Vec<&str> = story.lines().collect();
    let mut last =
        lines.iter().skip(lines.len().saturating_sub(LINES_MAX)).copied().collect::<Vec<_>>().join("\n");
    last.push('\n');
    last
}
