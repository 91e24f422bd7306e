//! Random histories of leases and the keys that name them, against a model that is as naive as it gets.

use std::collections::BTreeMap;

use command::{Checkpoint, Command, Effect, Outcome, Refused, Revocation};
use proptest::prelude::*;
use store::Options;
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, Index, Key, KeyRange, LeaseId, Put, RangeQuery, Txn,
    TxnOp,
};

use super::{entries, founded, open};
use crate::*;

#[derive(Clone, Debug)]
enum Step {
    Grant {
        id: i64,
        ttl: i64,
    },
    /// `current`: by the index at which the lease of now was granted; otherwise by another one.
    Revoke {
        ids: Vec<(i64, Option<bool>)>,
    },
    Checkpoint {
        id: i64,
        current: bool,
        remaining: i64,
    },
    Put {
        key: u8,
        lease: i64,
        ignore_lease: bool,
    },
    Delete {
        from: u8,
        to: u8,
    },
    /// Puts the one or the other, depending on whether the key is there; deletes a third.
    Txn {
        key: u8,
        lease: i64,
        delete: u8,
        there: bool,
    },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..5i64;
    let key = 0..6u8;
    let step = prop_oneof![
        3 => (id.clone(), 1..20i64).prop_map(|(id, ttl)| Step::Grant { id, ttl }),
        2 => prop::collection::vec((id.clone(), prop::option::of(any::<bool>())), 1..3)
            .prop_map(|ids| Step::Revoke { ids }),
        1 => (id.clone(), any::<bool>(), 0..20i64)
            .prop_map(|(id, current, remaining)| Step::Checkpoint { id, current, remaining }),
        8 => (key.clone(), id.clone(), prop::bool::weighted(0.2))
            .prop_map(|(key, lease, ignore_lease)| Step::Put { key, lease, ignore_lease }),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Delete { from, to }),
        3 => (key.clone(), id, key, any::<bool>())
            .prop_map(|(key, lease, delete, there)| Step::Txn { key, lease, delete, there }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    revision: u64,
    /// Time, what is left of it, and when it was granted.
    leases: BTreeMap<i64, Terms>,
    keys: BTreeMap<u8, i64>,
}

impl Model {
    fn apply(&mut self, command: &Step, index: Index) -> Result<Effect, Refused> {
        match command {
            Step::Grant { id: 0, .. } => Err(Refused::LeaseNotFound),
            Step::Grant { id, .. } if self.leases.contains_key(id) => Err(Refused::LeaseExists),
            Step::Grant { id, ttl } => {
                self.leases.insert(*id, Terms { ttl: *ttl, remaining: 0, born: index, deadline: None });
                Ok(Effect::Granted { id: LeaseId(*id), ttl: *ttl, born: index })
            }
            Step::Revoke { ids } => {
                let mut revoked = Vec::new();
                for (id, current) in ids {
                    if *current == Some(false) {
                        continue;
                    }
                    let Some(terms) = self.leases.remove(id) else { continue };
                    revoked.push((LeaseId(*id), terms.born));
                    let before = self.keys.len();
                    self.keys.retain(|_, lease| lease != id);
                    self.revision += u64::from(self.keys.len() < before);
                }
                if revoked.is_empty() { Err(Refused::LeaseNotFound) } else { Ok(Effect::Revoked(revoked)) }
            }
            Step::Checkpoint { id, current, remaining } => {
                let mut told = Vec::new();
                if let Some(terms) = self.leases.get_mut(id).filter(|_| *current) {
                    terms.remaining = *remaining;
                    told.push(Checkpoint { id: LeaseId(*id), born: terms.born, remaining: *remaining });
                }
                Ok(Effect::Checkpointed(told))
            }
            Step::Put { key, lease, ignore_lease } => {
                self.put(*key, *lease, *ignore_lease)?;
                self.revision += 1;
                Ok(Effect::Put(types::PutReply::default()))
            }
            Step::Delete { from, to } => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !(from..to).contains(&key));
                self.revision += u64::from(self.keys.len() < before);
                let deleted = (before - self.keys.len()) as u64;
                Ok(Effect::DeleteRange(types::DeleteReply { deleted, prev_kvs: vec![] }))
            }
            Step::Txn { key, lease, delete, there } => {
                let succeeded = self.keys.contains_key(key) == *there;
                if succeeded {
                    self.put(*key, *lease, false)?;
                    self.revision += 1;
                }
                if succeeded && delete != key {
                    self.keys.remove(delete);
                }
                Ok(Effect::Txn(types::TxnReply { succeeded, responses: vec![] }))
            }
            Step::Restart => unreachable!("no command"),
        }
    }

    fn put(&mut self, key: u8, lease: i64, ignore_lease: bool) -> Result<(), Refused> {
        let kept = self.keys.get(&key).copied();
        if ignore_lease {
            return kept.map(|_| ()).ok_or(Refused::KeyNotFound);
        }
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(Refused::LeaseNotFound);
        }
        self.keys.insert(key, lease);
        Ok(())
    }

    fn command(&self, step: &Step) -> Command {
        let born = |id: &i64, current: bool| {
            let born = self.leases.get(id).map_or(Index(1), |terms| terms.born);
            if current { born } else { Index(born.0 + 1) }
        };
        match step {
            Step::Grant { id, ttl } => Command::GrantLease { id: LeaseId(*id), ttl: *ttl },
            Step::Revoke { ids } => Command::RevokeLeases(
                ids.iter()
                    .map(|(id, current)| Revocation {
                        id: LeaseId(*id),
                        born: current.map(|current| born(id, current)),
                    })
                    .collect(),
            ),
            Step::Checkpoint { id, current, remaining } => Command::CheckpointLeases(vec![Checkpoint {
                id: LeaseId(*id),
                born: born(id, *current),
                remaining: *remaining,
            }]),
            Step::Put { key, lease, ignore_lease } => Command::Put(put(*key, *lease, *ignore_lease)),
            Step::Delete { from, to } => Command::DeleteRange(delete(*from, *to)),
            Step::Txn { key, lease, delete, there } => Command::Txn(txn(*key, *lease, *delete, *there)),
            Step::Restart => unreachable!("no command"),
        }
    }
}

fn key(number: u8) -> Key {
    Key::new(Bytes::copy_from_slice(&[b'a' + number])).expect("not empty")
}

fn put(number: u8, lease: i64, ignore_lease: bool) -> Put {
    let lease = LeaseId(if ignore_lease { 0 } else { lease });
    Put { key: key(number), value: Bytes::new(), lease, prev_kv: false, ignore_value: false, ignore_lease }
}

fn delete(from: u8, to: u8) -> DeleteRange {
    DeleteRange { range: KeyRange::from_wire(key(from), key(to).into_bytes()), prev_kv: false }
}

fn txn(number: u8, lease: i64, doomed: u8, there: bool) -> Txn {
    let target = CompareTarget::Version(0);
    let result = if there { CompareResult::Greater } else { CompareResult::Equal };
    let mut success = vec![TxnOp::Put(put(number, lease, false))];
    if doomed != number {
        success.push(TxnOp::Delete(delete(doomed, doomed + 1)));
    }
    let range = KeyRange::single(key(number));
    Txn { compare: vec![Compare { range, result, target }], success, failure: vec![] }
}

/// Compares what is told of a command, and all that is stored.
fn check(machine: &Machine, outcome: &Outcome, model: &Model, expect: &Result<Effect, Refused>) {
    match (&outcome.result, expect) {
        (Ok(Effect::Txn(got)), Ok(Effect::Txn(expect))) => assert_eq!(got.succeeded, expect.succeeded),
        (got, expect) => assert_eq!(got, expect),
    }
    assert_eq!(outcome.revision.0, model.revision + 1);
    check_state(machine, model);
}

fn check_state(machine: &Machine, model: &Model) {
    let leases: Vec<_> = model.leases.iter().map(|(id, terms)| (LeaseId(*id), *terms)).collect();
    assert_eq!(machine.leases().list(), leases);
    for id in 0..5 {
        let keys = model.keys.iter().filter(|(_, lease)| **lease == id && id != 0);
        let keys: Vec<Bytes> = keys.map(|(number, _)| key(*number).into_bytes()).collect();
        assert_eq!(machine.leases().keys(LeaseId(id)), keys, "of lease {id}");
    }
    let (_, all) = machine.mvcc().range(&RangeQuery::of(KeyRange::all())).expect("readable");
    let got: Vec<_> = all.kvs.iter().map(|kv| (kv.key.clone(), kv.lease.0)).collect();
    let expect: Vec<_> =
        model.keys.iter().map(|(number, lease)| (key(*number).into_bytes(), *lease)).collect();
    assert_eq!(got, expect);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn leases_do_what_the_model_does(steps in steps(), run_length in 1..8usize) {
        let options = Options::in_memory();
        let mut machine = founded("/model", &options);
        let mut model = Model::default();
        let mut run: Vec<(Step, Command)> = Vec::new();
        for step in steps.into_iter().chain([Step::Restart]) {
            let restart = matches!(step, Step::Restart);
            if !restart {
                // What the model is asked of comes before what is under way, so these go alone.
                let alone = matches!(step, Step::Revoke { .. } | Step::Checkpoint { .. });
                if alone {
                    flush(&mut machine, &mut model, &mut run);
                }
                let command = model.command(&step);
                run.push((step, command));
            }
            if restart || run.len() >= run_length {
                flush(&mut machine, &mut model, &mut run);
            }
            if restart {
                machine.store().flush().expect("flush");
                drop(machine);
                machine = open("/model", &options);
                check_state(&machine, &model);
            }
        }
    }
}

/// Applies a run as one batch of as many entries, and compares.
fn flush(machine: &mut Machine, model: &mut Model, run: &mut Vec<(Step, Command)>) {
    let before = machine.position().index.0;
    let commands: Vec<Command> = run.iter().map(|(_, command)| command.clone()).collect();
    let outcomes = machine.apply(&entries(before, &commands)).expect("well-formed").outcomes;
    let last = run.len();
    for (at, ((step, _), outcome)) in run.drain(..).zip(outcomes.into_iter().flatten()).enumerate() {
        let expect = model.apply(&step, Index(before + 1 + at as u64));
        if at + 1 == last {
            check(machine, &outcome, model, &expect);
        } else if !matches!(expect, Ok(Effect::Txn(_))) {
            assert_eq!(outcome.result, expect);
        }
    }
}

#[test]
fn a_lease_with_very_many_keys_goes_in_one_revision() {
    const KEYS: u32 = 100_000;
    let options = Options::in_memory();
    let mut machine = founded("/many", &options);
    let put = |number: u32| {
        let key = Key::new(number.to_be_bytes().to_vec().into()).expect("not empty");
        Command::Put(Put { key, lease: LeaseId(7), ..put(0, 7, false) })
    };
    let grant = Command::GrantLease { id: LeaseId(7), ttl: 10 };
    let commands: Vec<Command> = std::iter::once(grant).chain((0..KEYS).map(put)).collect();
    machine.apply(&entries(1, &commands)).expect("well-formed");
    assert_eq!(machine.leases().key_count(LeaseId(7)), KEYS as usize);
    let revoke = Command::RevokeLeases(vec![Revocation { id: LeaseId(7), born: None }]);
    let position = machine.position().index.0;
    let outcomes = machine.apply(&entries(position, &[revoke])).expect("well-formed").outcomes;
    assert_eq!(outcomes[0][0].revision.0, u64::from(KEYS) + 2);
    assert_eq!((machine.mvcc().key_count(), machine.leases().len()), (0, 0));
}
