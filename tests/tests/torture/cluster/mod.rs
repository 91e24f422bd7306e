//! Three processes under load while members die, pause and lose their lines; every answer is written down and
//! checked, and after each round all members hold the same.
//!
//! `TORTURE_ROUNDS` and `TORTURE_OPERATIONS` make it longer (`make torture`), `TORTURE_SEED` repeats the
//! choices of a run (not what the machine does between them), `CLUSTER_OF=etcd` tortures real etcd.

mod check;
#[cfg(test)]
mod check_tests;
mod clients;
mod events;
#[cfg(test)]
mod events_tests;
mod faults;
mod history;
mod v2;
mod watchers;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, until};
use anyhow::{Context, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::check::check;
use self::clients::Clients;
use self::faults::Fault;
use self::history::History;
use self::watchers::Watchers;

/// Rounds, and answered operations in all of them together, when nothing else is asked for.
const ROUNDS: u64 = 6;
const OPERATIONS: u64 = 6_000;

/// How long one round may take to reach its share of answered operations.
const ROUND_WITHIN: Duration = Duration::from_mins(2);

/// What goes through all rounds.
struct Torture {
    cluster: Cluster,
    chance: StdRng,
    history: Arc<History>,
    values: Arc<AtomicU64>,
    v2_numbers: Arc<AtomicU64>,
    v2_acknowledged: BTreeMap<String, u64>,
    /// They watch through all rounds. Some tests have none.
    watchers: Option<Watchers>,
    story: String,
}

#[test]
fn three_members_survive_random_faults() {
    let asked = |name: &str| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = asked("TORTURE_SEED").unwrap_or_else(rand::random);
    let rounds = asked("TORTURE_ROUNDS").unwrap_or(ROUNDS);
    let operations = asked("TORTURE_OPERATIONS").unwrap_or(OPERATIONS);
    let result = Torture::begin(seed).and_then(|mut torture| {
        torture.watch()?;
        let ran = (1..=rounds).try_for_each(|round| {
            torture.round(operations / rounds).with_context(|| format!("round {round} of {rounds}"))
        });
        if ran.is_err() {
            eprintln!("{}", torture.story);
        }
        torture.watchers.map_or(Ok(()), Watchers::finish)?;
        ran.and_then(|()| torture.cluster.done()).map(|()| torture.story)
    });
    match result {
        Ok(story) => eprint!("{story}"),
        Err(error) => panic!("TORTURE_SEED={seed}: {error:#}"),
    }
}

/// How often a member is parted from the others until somebody reads something stale there.
const PARTINGS_MAX: usize = 5;

#[test]
fn the_check_sees_reads_that_ask_no_majority() {
    let caught = serializable_reads_are_caught().unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        caught,
        "serializable reads went for linearizable ones, with a member parted {PARTINGS_MAX} times"
    );
}

fn serializable_reads_are_caught() -> anyhow::Result<bool> {
    let mut torture = Torture::begin(1)?;
    let members: Vec<SocketAddr> = (0..3).map(|number| torture.cluster.member(number).address()).collect();
    let mut caught = false;
    for parting in 0..PARTINGS_MAX {
        let seed = torture.chance.random();
        let clients = Clients::start(&members, &torture.history, &torture.values, seed, true)?;
        torture.answered(torture.history.acknowledged() + 100)?;
        Fault::Part.happen(&mut torture.cluster, &mut torture.chance)?;
        torture.cluster.wait_ready()?;
        clients.finish()?;
        if let Err(error) = check(&torture.history.operations()) {
            eprintln!("seen after {} partings: {error:#}", parting + 1);
            caught = true;
            break;
        }
    }
    torture.cluster.done()?;
    Ok(caught)
}

impl Torture {
    fn begin(seed: u64) -> anyhow::Result<Self> {
        let cluster = Cluster::start(&Settings::new(&program()?, 3).linked().pace(50, 500))?;
        Ok(Self {
            cluster,
            chance: StdRng::seed_from_u64(seed),
            history: Arc::new(History::new()),
            values: Arc::default(),
            v2_numbers: Arc::default(),
            v2_acknowledged: BTreeMap::new(),
            watchers: None,
            story: String::new(),
        })
    }

    /// Watchers from now on; nothing was written yet.
    fn watch(&mut self) -> anyhow::Result<()> {
        let members: Vec<SocketAddr> =
            (0..self.cluster.len()).map(|number| self.cluster.member(number).address()).collect();
        self.watchers = Some(Watchers::start(&members)?);
        Ok(())
    }

    /// Faults under load until this many more operations were answered; then all must be whole and equal.
    fn round(&mut self, operations: u64) -> anyhow::Result<()> {
        let members: Vec<SocketAddr> =
            (0..self.cluster.len()).map(|number| self.cluster.member(number).address()).collect();
        let before = self.history.acknowledged();
        let clients = Clients::start(&members, &self.history, &self.values, self.chance.random(), false)?;
        let v2_client = v2::Writer::start(members, &self.v2_numbers);
        self.answered(before + operations / 4)?;
        let faults: Vec<Fault> =
            (0..self.chance.random_range(1..4)).map(|_| Fault::any(&mut self.chance)).collect();
        write!(self.story, "  {faults:?}: ")?;
        for fault in faults {
            fault.happen(&mut self.cluster, &mut self.chance).with_context(|| format!("{fault:?}"))?;
            if self.chance.random_bool(0.7) {
                self.start_what_ended()?;
            }
            // The next fault may strike while the members still mend the last one, but not the last member.
            let running = (0..3).filter(|number| self.cluster.member_mut(*number).is_running()).count();
            if running < 3 {
                self.start_what_ended()?;
            }
        }
        self.answered(before + operations)?;
        clients.finish()?;
        self.v2_acknowledged.append(&mut v2_client.finish()?);
        self.whole_and_equal()
    }

    fn answered(&self, goal: u64) -> anyhow::Result<()> {
        let reached = until(ROUND_WITHIN, || (self.history.acknowledged() >= goal).then_some(()));
        reached.with_context(|| {
            format!(
                "{} operations were answered within {ROUND_WITHIN:?}, not {goal}",
                self.history.acknowledged()
            )
        })
    }

    fn start_what_ended(&mut self) -> anyhow::Result<()> {
        for number in 0..self.cluster.len() {
            if self.cluster.member(number).pid().is_none() {
                self.cluster.spawn(number)?;
            }
            let member = self.cluster.member_mut(number);
            ensure!(member.is_running(), "{} ended by itself:\n{}", member.setup.name, member.log_tail());
        }
        Ok(())
    }

    fn whole_and_equal(&mut self) -> anyhow::Result<()> {
        self.start_what_ended()?;
        self.cluster.links().heal();
        self.cluster.wait_ready()?;
        let (revision, hash) = self.cluster.wait_equal(&[0, 1, 2])?;
        let v2_keys = v2::equal(&self.cluster, &self.v2_acknowledged)?;
        let operations = self.history.operations();
        let tally = check(&operations).context("the history is not linearizable")?;
        let watched =
            self.watchers.as_ref().map(|watchers| watchers.check(revision, &operations)).transpose();
        let resumed = watched.context("a watcher saw something else")?.unwrap_or_default();
        writeln!(
            self.story,
            "{} writes, {} reads, {} unknown ({} turned up); revision {revision}, hash {hash:08x}, {v2_keys} v2 keys; watchers \
             resumed {resumed} times",
            tally.writes, tally.reads, tally.unknown, tally.turned_up
        )?;
        Ok(())
    }
}
