//! What goes wrong in a round: chosen by chance, done to a running cluster, and undone.

use std::thread;
use std::time::Duration;

use ::tests::cluster::Link;
use ::tests::{Cluster, operator};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of some member.
    Kill,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of a member, and again while it starts.
    KillTwice,
    /// kill -9 of all at once.
    KillAll,
    /// SIGTERM of some member.
    Terminate,
    /// SIGTERM of the leader.
    TerminateLeader,
    /// SIGSTOP of some member.
    Pause,
    /// SIGSTOP of the leader.
    PauseLeader,
    /// One member alone, in silence.
    Part,
    /// The leader alone, in silence.
    PartLeader,
    /// One member alone, its connections broken.
    Cut,
    /// The leader hears nobody.
    DeafLeader,
    /// The leader is heard by nobody.
    MuteLeader,
    /// Nothing passes from one to another, the other way it does.
    OneWay,
    /// All lines are slow.
    Slow,
    /// A member loses its disk and is replaced by a new one.
    Replace,
}

/// All of them, in an order that does not matter.
const ALL: [Fault; 16] = [
    Fault::Kill,
    Fault::KillLeader,
    Fault::KillTwice,
    Fault::KillAll,
    Fault::Terminate,
    Fault::TerminateLeader,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::Part,
    Fault::PartLeader,
    Fault::Cut,
    Fault::DeafLeader,
    Fault::MuteLeader,
    Fault::OneWay,
    Fault::Slow,
    Fault::Replace,
];

impl Fault {
    /// A fault by chance.
    pub(crate) fn any(chance: &mut StdRng) -> Self {
        ALL.get(chance.random_range(0..ALL.len())).copied().unwrap_or(Fault::Kill)
    }

    /// Does it, lets it last for one to three election time-outs, and undoes what does not end by itself.
    /// Processes that ended stay ended.
    pub(crate) fn happen(self, cluster: &mut Cluster, chance: &mut StdRng) -> anyhow::Result<()> {
        let some = chance.random_range(0..cluster.len());
        let leader = cluster.leader().unwrap_or(some);
        let one = match self {
            Self::KillLeader
            | Self::TerminateLeader
            | Self::PauseLeader
            | Self::PartLeader
            | Self::DeafLeader
            | Self::MuteLeader => leader,
            _ => some,
        };
        let others = cluster.others(one);
        match self {
            Self::Kill | Self::KillLeader => cluster.member_mut(one).kill()?,
            Self::KillTwice => {
                cluster.member_mut(one).kill()?;
                cluster.spawn(one)?;
                // Reason to sleep: the kill has to hit any moment of the start.
                thread::sleep(Duration::from_millis(chance.random_range(0..200)));
                cluster.member_mut(one).kill()?;
            }
            Self::KillAll => (0..cluster.len()).try_for_each(|number| cluster.member_mut(number).kill())?,
            Self::Terminate | Self::TerminateLeader => {
                cluster.member_mut(one).terminate()?;
            }
            Self::Replace => {
                cluster.member_mut(one).kill()?;
                operator::replace(cluster, one)?;
                cluster.member_mut(one).wait_ready()?;
            }
            Self::Pause | Self::PauseLeader => cluster.member(one).pause()?,
            Self::Part | Self::PartLeader => cluster.links().part(&[one], &others, Link::Silent),
            Self::Cut => cluster.links().part(&[one], &others, Link::Cut),
            Self::DeafLeader => {
                for other in &others {
                    cluster.links().set(*other, one, Link::Silent);
                }
            }
            Self::MuteLeader => {
                for other in &others {
                    cluster.links().set(one, *other, Link::Silent);
                }
            }
            Self::OneWay => {
                cluster.links().set(one, others[chance.random_range(0..others.len())], Link::Silent);
            }
            Self::Slow => {
                let delay = Duration::from_millis(chance.random_range(5..40));
                for other in &others {
                    cluster.links().set_both(one, *other, Link::Slow(delay));
                }
            }
        }
        let election = Duration::from_millis(cluster.settings().election_ms);
        // Reason to sleep: the fault has to last for a while; how long is part of what is tried.
        thread::sleep(election.mul_f64(chance.random_range(1.0..3.0)));
        if matches!(self, Self::Pause | Self::PauseLeader) {
            cluster.member(one).resume()?;
        }
        cluster.links().heal();
        Ok(())
    }
}
