//! The network: bytes go from one member to another, late, twice, in another order, or never.
//!
//! What raft says may be doubled; what members forward to one another may not, since a stream never delivers twice.

use bytes::Bytes;

use crate::chance::Chance;
use crate::plan::Weather;

/// Microseconds since the run began, by nobody's clock.
pub(crate) type Micros = u64;

/// A message under way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// The sender's place among the members.
    pub(crate) from: usize,
    /// The receiver's.
    pub(crate) to: usize,
    /// The connection that it travels on ends with either life.
    pub(crate) lives: (u64, u64),
    /// raft's own: it may arrive twice, and survive the lives.
    pub(crate) raft: bool,
    /// The message.
    pub(crate) bytes: Bytes,
}

/// Who hears whom, and how well.
pub(crate) struct Network {
    members: usize,
    // From, to.
    cut: Vec<bool>,
    chance: Chance,
    /// How bad it is.
    pub(crate) weather: Weather,
}

impl Network {
    /// Everybody hears everybody.
    pub(crate) fn new(members: usize, chance: Chance) -> Self {
        let cut = vec![false; members * members];
        Self { members, cut, chance, weather: Weather::CALM }
    }

    /// Whether `to` hears `from`.
    pub(crate) fn hears(&self, from: usize, to: usize) -> bool {
        !self.cut[from * self.members + to]
    }

    /// Cuts or mends one direction.
    pub(crate) fn set(&mut self, from: usize, to: usize, heard: bool) {
        self.cut[from * self.members + to] = !heard;
    }

    /// Mends everything.
    pub(crate) fn mend(&mut self) {
        self.cut.fill(false);
    }

    /// When a parcel arrives, from now on: never, once or twice.
    pub(crate) fn delays(&mut self, parcel: &Parcel) -> Vec<Micros> {
        if !self.hears(parcel.from, parcel.to) || self.chance.happens(self.weather.lost) {
            return Vec::new();
        }
        let mut delays = vec![self.delay()];
        if parcel.raft && self.chance.happens(self.weather.doubled) {
            delays.push(self.delay());
        }
        delays
    }

    /// A time under way.
    pub(crate) fn delay(&mut self) -> Micros {
        let weather = self.weather;
        if self.chance.happens(weather.late) {
            return self.chance.between(weather.delay_max, weather.late_max);
        }
        self.chance.between(100, weather.delay_max)
    }
}
