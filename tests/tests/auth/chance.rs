//! Chance with a seed, and the names and ranges that it makes.

use crate::rights::Span;

/// Random numbers that are the same for the same seed.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn happens(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One or two letters of four.
    pub(crate) fn name(&mut self) -> String {
        let letters = ["a", "b", "c", "d"];
        let first = *self.one(&letters);
        if self.happens(2) { first.to_owned() } else { first.to_owned() + *self.one(&letters) }
    }

    pub(crate) fn range(&mut self) -> Span {
        let end = match self.below(4) {
            0 | 1 => String::new(),
            2 if self.happens(3) => "\0".to_owned(),
            _ => self.name(),
        };
        Span { key: self.name(), end }
    }
}
