//! The index against the standard library's map, and what a key costs in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::row::Position;

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, Meta),
    Remove(Vec<u8>),
    /// Removes so many keys from the first at this key on.
    Clear(Vec<u8>, usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..4000_u16).prop_map(|number| number.to_be_bytes().to_vec()),
        2 => prop::collection::vec(0..3_u8, 1..12),
        1 => (0..40_u8).prop_map(|byte| vec![byte; 700]),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<i64>(), 0..64_u32).prop_map(
        |(main, sub, create, version, lease, shift)| Meta {
            modified: Position::new(main >> shift, sub),
            create: create >> shift,
            version: version >> shift,
            lease: lease >> shift,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(), meta()).prop_map(|(key, meta)| Step::Insert(key, meta)),
        4 => key().prop_map(Step::Remove),
        1 => (key(), 0..200_usize).prop_map(|(key, count)| Step::Clear(key, count)),
    ]
}

fn compare(index: &Index, model: &BTreeMap<Vec<u8>, Meta>, probe: &[u8], end: &[u8]) {
    assert_eq!(index.root.check(), index.len());
    assert_eq!(index.len(), model.len() as u64);
    assert_eq!(index.get(probe), model.get(probe).copied());
    assert_eq!(index.rank(probe), model.range(..probe.to_vec()).count() as u64);
    let expect: Vec<_> =
        model.range(probe.to_vec()..).take(150).map(|(key, meta)| (key.clone(), *meta)).collect();
    let mut seen = Vec::new();
    index.ascend(probe, &mut |key, meta| {
        seen.push((key.to_vec(), meta));
        if seen.len() < 150 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(seen, expect);
    let expect: Vec<_> = model.range(..probe.to_vec()).rev().take(150).map(|(key, _)| key.clone()).collect();
    let mut seen = Vec::new();
    index.descend(Some(probe), &mut |key, _| {
        seen.push(key.to_vec());
        if seen.len() < 150 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(seen, expect);
    let range =
        KeyRange { start: Bytes::copy_from_slice(probe), end: RangeEnd::Before(Bytes::copy_from_slice(end)) };
    let expect = if probe < end { model.range(probe.to_vec()..end.to_vec()).count() } else { 0 };
    assert_eq!(index.count(&range), expect as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_agrees_with_the_standard_map(
        appended in 0..3000_u16,
        steps in prop::collection::vec(step(), 1..2500),
        probes in prop::collection::vec((key(), key()), 24),
    ) {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        for number in 0..appended {
            let (key, meta) = (number.to_be_bytes(), Meta { version: u64::from(number), ..Meta::default() });
            prop_assert!(index.insert(&key, &meta));
            model.insert(key.to_vec(), meta);
        }
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Insert(key, meta) => {
                    prop_assert_eq!(index.insert(key, meta), model.insert(key.clone(), *meta).is_none());
                }
                Step::Remove(key) => prop_assert_eq!(index.remove(key), model.remove(key).is_some()),
                Step::Clear(from, count) => {
                    let doomed: Vec<_> = model.range(from.clone()..).take(*count).map(|(key, _)| key.clone()).collect();
                    for key in doomed {
                        model.remove(&key);
                        prop_assert!(index.remove(&key));
                    }
                }
            }
            if number % 500 == 0 {
                compare(&index, &model, &probes[0].0, &probes[0].1);
            }
        }
        for (probe, end) in &probes {
            compare(&index, &model, probe, end);
        }
        while let Some((key, _)) = model.pop_last() {
            prop_assert!(index.remove(&key));
        }
        prop_assert_eq!(index.len(), 0);
        prop_assert_eq!(index.root.check(), 0);
    }
}

/// A million keys of eight bytes must stay far below 120 MB; a tenth of them says so too.
#[test]
fn a_key_costs_few_bytes() {
    const KEYS: u64 = 100_000;
    for (order, bytes_max) in [("in order", 32), ("scattered", 48)] {
        let mut index = Index::new();
        for number in 0..KEYS {
            // An odd factor walks through all numbers in another order.
            let key = if order == "in order" { number } else { number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
            let meta = Meta {
                modified: Position::new(900_000 + number, 0),
                create: 800_000,
                version: 300,
                lease: 0,
            };
            index.insert(&key.to_be_bytes(), &meta);
        }
        let bytes = index.memory_bytes() as u64 / KEYS;
        assert!(bytes <= bytes_max, "{order}: {bytes} bytes a key");
    }
}

proptest! {
    #[test]
    fn parts_that_follow_one_another_become_one(
        rows in prop::collection::btree_map(key(), meta(), 0..6000),
        cuts in prop::collection::vec(0..6000_usize, 0..4),
        probe in key(),
        end in key(),
    ) {
        let mut parts: Vec<Index> = (0..=cuts.len()).map(|_| Index::new()).collect();
        for (at, (key, meta)) in rows.iter().enumerate() {
            let part = cuts.iter().filter(|cut| **cut <= at).count();
            parts[part].insert(key, meta);
        }
        let mut joined = Index::join(parts);
        let mut model = rows;
        compare(&joined, &model, &probe, &end);
        // It goes on as any other.
        for key in [&probe, &end] {
            joined.insert(key, &Meta { modified: Position::new(1, 0), create: 1, version: 1, lease: 0 });
            model.insert(key.clone(), Meta { modified: Position::new(1, 0), create: 1, version: 1, lease: 0 });
        }
        compare(&joined, &model, &probe, &end);
        joined.remove(&probe);
        model.remove(&probe);
        compare(&joined, &model, &probe, &end);
    }
}
