//! Which watches a key has, with thousands of ranges; and that looking for them does not look at all of them.

use types::{KeyRange, RangeEnd};

use crate::index::Index;

/// Numbers that look random and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn key(&mut self) -> Vec<u8> {
        (0..=self.below(3)).map(|_| b'a' + self.below(6) as u8).collect()
    }

    fn range(&mut self) -> KeyRange {
        let start = self.key();
        let end = match self.below(8) {
            0 => RangeEnd::Unbounded,
            1 | 2 => RangeEnd::Single,
            _ => RangeEnd::Before(self.key().into()),
        };
        KeyRange { start: start.into(), end }
    }
}

/// The index, and beside it a list.
#[derive(Default)]
struct Pair {
    index: Index,
    // Range, group and place of each.
    list: Vec<Option<(KeyRange, u32, u32)>>,
}

impl Pair {
    fn insert(&mut self, range: KeyRange) {
        let (group, place) = self.index.insert(&range, self.list.len() as u32);
        assert_eq!(self.index.range_of(group), range);
        self.list.push(Some((range, group, place)));
    }

    fn remove(&mut self, slot: usize) {
        let Some((_, group, place)) = self.list[slot].take() else { return };
        if let Some(moved) = self.index.remove(group, place) {
            let moved = self.list[moved as usize].as_mut().expect("it is there");
            assert_eq!(moved.1, group);
            moved.2 = place;
        }
    }

    fn check(&self, key: &[u8]) {
        let mut found = Vec::new();
        self.index.find(key, &mut |group| found.extend_from_slice(self.index.members(group)));
        found.sort_unstable();
        let holds =
            |entry: &Option<(KeyRange, u32, u32)>| entry.as_ref().is_some_and(|entry| entry.0.contains(key));
        let expect: Vec<u32> =
            (0..).zip(&self.list).filter(|(_, entry)| holds(entry)).map(|(slot, _)| slot).collect();
        assert_eq!(found, expect, "{key:?}");
    }
}

#[test]
fn the_index_finds_what_a_list_finds() {
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut pair = Pair::default();
        for step in 0..1_000 {
            match chance.below(5) {
                0 | 1 => {
                    let range = chance.range();
                    if !range.is_empty() {
                        pair.insert(range);
                    }
                }
                2 if !pair.list.is_empty() => pair.remove(chance.below(pair.list.len() as u64) as usize),
                _ => pair.check(&chance.key()),
            }
            // Now and then it becomes small again.
            if step % 400 == 399 {
                (0..pair.list.len()).filter(|slot| slot % 16 > 0).for_each(|slot| pair.remove(slot));
            }
        }
        (0..pair.list.len()).for_each(|slot| pair.remove(slot));
        assert_eq!(pair.index.len(), 0);
        pair.check(b"a");
    }
}

#[test]
fn one_among_a_hundred_thousand_prefixes_is_found_at_once() {
    let mut index = Index::default();
    for number in 0..100_000_u32 {
        let start = format!("/registry/{number:06}/");
        let end = format!("/registry/{number:06}0");
        let range = KeyRange { start: start.into(), end: RangeEnd::Before(end.into()) };
        index.insert(&range, number);
    }
    let began = std::time::Instant::now();
    for number in 0..10_000_u32 {
        let mut found = Vec::new();
        let key = format!("/registry/{:06}/name", number * 10);
        index.find(key.as_bytes(), &mut |group| found.extend_from_slice(index.members(group)));
        assert_eq!(found, [number * 10]);
    }
    let each = began.elapsed() / 10_000;
    eprintln!("{each:?} to find a prefix among 100,000");
    // A walk over all of them takes a millisecond.
    assert!(each.as_micros() < 300, "{each:?}");
}
