//! What kind of run a seed makes: how many members, how bad the weather, which troubles and how often.
//!
//! Every seed leaves some troubles out altogether: a bug that needs calm to show itself finds calm seeds.

use crate::chance::Chance;
use crate::network::Micros;

/// A tick of a clock that runs well.
pub(crate) const TICK: Micros = 10_000;
/// Ticks without a leader before an election, at least.
pub(crate) const ELECTION_TICKS: u64 = 10;

/// How well messages travel; chances are in a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Never arrive.
    pub(crate) lost: u64,
    /// Arrive twice.
    pub(crate) doubled: u64,
    /// Take longer than usual.
    pub(crate) late: u64,
    /// The longest time under way.
    pub(crate) delay_max: Micros,
    /// The longest time under way of a late one.
    pub(crate) late_max: Micros,
}

impl Weather {
    /// A network as in one room.
    pub(crate) const CALM: Self =
        Self { lost: 0, doubled: 0, late: 0, delay_max: TICK / 10, late_max: TICK / 10 };

    /// Some weather.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let often = |chance: &mut Chance, max: u64| if chance.happens(500) { chance.below(max) } else { 0 };
        let delay_max = *chance.pick(&[TICK / 10, TICK / 2, TICK, 3 * TICK]);
        Self {
            lost: often(chance, 150),
            doubled: often(chance, 200),
            late: often(chance, 100),
            delay_max,
            late_max: delay_max + chance.between(TICK, 40 * TICK),
        }
    }
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The weather changes.
    Weather,
    /// Some members no longer hear some others.
    Partition,
    /// One direction between two members is cut.
    OneWay,
    /// All links are mended.
    Mend,
    /// A member's power is cut.
    PowerLoss,
    /// A member's power is cut at one of its next changes on disk.
    PowerLossSoon,
    /// A member's process ends.
    Kill,
    /// Everybody's power is cut.
    Blackout,
    /// A member stands still for a while.
    Pause,
    /// A member's clock runs at another rate.
    Rate,
    /// A member's clock jumps.
    Jump,
    /// A member's disk becomes slow, or quick again.
    SlowDisk,
    /// A member's disk is full, until there is room again.
    FullDisk,
    /// A sync fails.
    FailedSync,
    /// A member applies late, or at once again.
    SlowApply,
    /// The leader hands over.
    Transfer,
    /// The membership changes.
    Membership,
    /// The history of the keyspace is compacted.
    Compaction,
    /// A member's database goes into files, and its log is released.
    Flush,
}

/// Troubles with how often they come, relative to each other.
const TROUBLES: [(Trouble, u64); 19] = [
    (Trouble::Weather, 10),
    (Trouble::Partition, 12),
    (Trouble::OneWay, 8),
    (Trouble::Mend, 16),
    (Trouble::PowerLoss, 10),
    (Trouble::PowerLossSoon, 10),
    (Trouble::Kill, 6),
    (Trouble::Blackout, 3),
    (Trouble::Pause, 8),
    (Trouble::Rate, 4),
    (Trouble::Jump, 5),
    (Trouble::SlowDisk, 6),
    (Trouble::FullDisk, 3),
    (Trouble::FailedSync, 3),
    (Trouble::SlowApply, 4),
    (Trouble::Transfer, 6),
    (Trouble::Membership, 10),
    (Trouble::Compaction, 6),
    (Trouble::Flush, 12),
];

/// What a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Members that found the cluster.
    pub(crate) founders: usize,
    /// Places for members that may join.
    pub(crate) places: usize,
    /// Clients.
    pub(crate) clients: usize,
    /// Keys that they share.
    pub(crate) keys: u64,
    /// How long troubles come.
    pub(crate) troubled: Micros,
    /// The time between two troubles, at most.
    pub(crate) trouble_gap: Micros,
    /// The time that a client thinks, at most.
    pub(crate) think: Micros,
    /// A member flushes its database on its own after so long, at most.
    pub(crate) flush_gap: Micros,
    /// The weights of the troubles; zero for those that stay away.
    weights: Vec<u64>,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let founders = *chance.pick(&[3, 3, 3, 4, 5]);
        let weights = TROUBLES
            .iter()
            .map(|(_, weight)| if chance.happens(300) { 0 } else { weight * chance.between(1, 3) })
            .collect();
        Self {
            founders,
            places: founders + 3,
            clients: chance.between(2, 5) as usize,
            keys: chance.between(2, 8),
            troubled: chance.between(250, 600) * TICK,
            trouble_gap: chance.between(8, 60) * TICK,
            think: chance.between(1, 8) * TICK,
            flush_gap: chance.between(20, 150) * TICK,
            weights,
        }
    }

    /// The next trouble.
    pub(crate) fn trouble(&self, chance: &mut Chance) -> Trouble {
        TROUBLES[chance.weighted(&self.weights)].0
    }
}
