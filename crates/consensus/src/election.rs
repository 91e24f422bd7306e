//! When a member that hears of no leader asks for votes. raft draws its time-outs from the thread's own chance; a
//! replica must do the same thing every time it is given the same things, so it has its own.

/// Ticks after which raft itself would ask: never. Far from where its counters overflow.
pub(crate) const NEVER_TICKS: usize = 1 << 40;

/// So few different time-outs would make two members ask at the same moment too often.
const SPREAD_TICKS_MIN: usize = 10;
/// Likewise for short ones.
const SOON_TICKS_MIN: usize = 4;
/// Short time-outs after the end of a leader's process: the others may hear of it a little later, and they do not
/// answer before.
const HURRIES: u32 = 8;

/// The time-out in force.
pub(crate) struct ElectionTimer {
    state: u64,
    ticks_min: usize,
    ticks_soon: usize,
    ticks: usize,
    // Term, leader and role for which the time-out was drawn.
    drawn_for: (u64, u64, u8),
    // So many of the next draws are short.
    hurries: u32,
}

impl ElectionTimer {
    /// Draws from [min, 1.5 min): half as wide as is usual, since ticks are finer than heartbeats. In a hurry from
    /// [1, soon].
    pub(crate) fn new(seed: u64, ticks_min: usize, ticks_soon: usize) -> Self {
        let mut timer =
            Self { state: seed, ticks_min, ticks_soon, ticks: ticks_min, drawn_for: (0, 0, 0), hurries: 0 };
        timer.draw();
        timer
    }

    /// The leader is known to be gone.
    pub(crate) fn hurry(&mut self) {
        self.hurries = HURRIES;
    }

    /// Whether so many ticks without a leader are enough. A new term, leader or role has a new time-out.
    pub(crate) fn is_over(&mut self, elapsed: usize, situation: (u64, u64, u8)) -> bool {
        if self.drawn_for != situation {
            self.drawn_for = situation;
            if situation.1 != raft::INVALID_ID {
                self.hurries = 0;
            }
            self.draw();
        }
        elapsed >= self.ticks
    }

    /// The next time-out is another.
    pub(crate) fn draw(&mut self) {
        // splitmix64: short, and good enough to keep members apart.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let (least, spread) = if self.hurries > 0 {
            self.hurries -= 1;
            (1, self.ticks_soon.max(SOON_TICKS_MIN))
        } else {
            (self.ticks_min, (self.ticks_min / 2).max(SPREAD_TICKS_MIN.min(self.ticks_min)))
        };
        self.ticks = least + (mixed % spread.max(1) as u64) as usize;
    }
}
