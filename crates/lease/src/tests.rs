//! The table survives a start, finds damage, and refuses in etcd's order; the lessor ends nothing too early.

use std::path::Path;

use store::{Options, Store};
use types::v2::Timestamp;
use types::{Index, LeaseId, Term};

use super::*;

const PORTION: Portion = Portion { leases_max: 100, keys_max: 100 };

fn terms(ttl: i64, born: u64) -> Terms {
    Terms { ttl, remaining: 0, born: Index(born), deadline: None }
}

fn store(path: &str, options: &Options) -> Store {
    Store::open(Path::new(path), options).expect("open")
}

#[test]
fn what_was_granted_is_there_after_a_start() {
    let options = Options::in_memory();
    let store = self::store("/leases", &options);
    let leases = Leases::open(&store).expect("open");
    let mut batch = store.batch();
    for (id, ttl) in [(7, 10), (-7, 20), (i64::MAX, TTL_MAX_SECONDS), (i64::MIN, 2)] {
        leases.apply_grant(LeaseId(id), terms(ttl, 3), &mut batch).expect("granted");
    }
    leases.apply_checkpoint(LeaseId(-7), Index(3), 12, &mut batch).expect("there");
    assert_eq!(leases.apply_checkpoint(LeaseId(7), Index(4), 5, &mut batch), Err(Refusal::NotFound));
    leases.apply_move(b"b", LeaseId::NONE, LeaseId(7));
    leases.apply_move(b"a", LeaseId::NONE, LeaseId(7));
    leases.apply_move(b"c", LeaseId::NONE, LeaseId(7));
    leases.apply_move(b"c", LeaseId(7), LeaseId(-7));
    assert_eq!((leases.keys(LeaseId(7)), leases.key_count(LeaseId(-7))), (vec!["a".into(), "b".into()], 1));
    assert_eq!(leases.apply_revoke(LeaseId(i64::MIN), Some(Index(4)), &mut batch), Err(Refusal::NotFound));
    assert_eq!(
        leases.apply_revoke(LeaseId(i64::MIN), Some(Index(3)), &mut batch),
        Ok((Index(3), Vec::new()))
    );
    store.write(batch).expect("write");
    let expect = [
        (LeaseId(-7), Terms { remaining: 12, ..terms(20, 3) }),
        (LeaseId(7), terms(10, 3)),
        (LeaseId(i64::MAX), terms(TTL_MAX_SECONDS, 3)),
    ];
    assert_eq!(leases.list(), expect);
    store.flush().expect("flush");
    store.close();
    let leases = Leases::open(&self::store("/leases", &options)).expect("open");
    assert_eq!(leases.list(), expect);
    leases.adopt(LeaseId(7), b"a").expect("it is there");
    let error = leases.adopt(LeaseId(8), b"a\0").expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        r"the key a\x00 names the lease 0000000000000008, which does not exist: the database is damaged"
    );
}

#[test]
fn a_grant_is_refused_in_the_order_of_etcd() {
    let store = self::store("/refused", &Options::in_memory());
    let leases = Leases::open(&store).expect("open");
    let mut batch = store.batch();
    let mut grant = |id, ttl| leases.apply_grant(LeaseId(id), terms(ttl, 1), &mut batch);
    assert_eq!(grant(1, 5), Ok(()));
    assert_eq!(grant(0, TTL_MAX_SECONDS + 1), Err(Refusal::NotFound));
    assert_eq!(grant(1, TTL_MAX_SECONDS + 1), Err(Refusal::TtlTooLarge));
    assert_eq!(grant(1, 5), Err(Refusal::Exists));
}

#[test]
fn any_flipped_bit_is_seen() {
    let key = row::key(LeaseId(5));
    let row = row::encode(&key, &terms(9, 2));
    assert_eq!(row::decode(&key, &row), Some((LeaseId(5), terms(9, 2))));
    for bit in 0..row.len() * 8 {
        let mut bad = row.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(row::decode(&key, &bad), None, "bit {bit}");
    }
    assert_eq!(row::decode(&row::key(LeaseId(6)), &row), None);
    assert!(row::key(LeaseId(-1)) < row::key(LeaseId(0)) && row::key(LeaseId(0)) < row::key(LeaseId(1)));
}

/// A lessor that leads in term 1 since 0 ms with leases 1, 2, … of these times, granted at the index of their id.
fn lessor(every_ms: Option<u64>, leases: &[Terms]) -> Lessor {
    let mut lessor = Lessor::new(every_ms);
    let list = (1..).zip(leases).map(|(id, terms)| (LeaseId(id), *terms));
    lessor.round(0, Some(Term(1)), false, || list.collect());
    lessor
}

fn rounds(lessor: &mut Lessor, from_ms: u64, to_ms: u64) {
    for now_ms in (from_ms..=to_ms).step_by(100) {
        lessor.round(now_ms, lessor.term(), false, Vec::new);
    }
}

fn due(lessor: &mut Lessor, now_ms: u64) -> Vec<i64> {
    lessor.due(now_ms, PORTION, |_| 1).iter().map(|lease| lease.id.0).collect()
}

#[test]
fn a_lease_ends_when_its_time_is_over_and_not_before() {
    let mut lessor = self::lessor(None, &[terms(2, 1), terms(3, 2), terms(3, 3)]);
    rounds(&mut lessor, 0, 3000);
    assert_eq!(due(&mut lessor, 1999), [0; 0]);
    assert_eq!(due(&mut lessor, 2000), [1]);
    assert_eq!(due(&mut lessor, 2000), [0; 0], "once");
    assert_eq!(lessor.renew(LeaseId(1), 2000), Renewal::Ending);
    assert_eq!(lessor.renew(LeaseId(2), 2500), Renewal::Renewed(3));
    assert_eq!(lessor.remaining_ms(LeaseId(2), 2600), Some(2900));
    assert_eq!(due(&mut lessor, 3000), [3]);
    lessor.ended(Ending { id: LeaseId(1), born: Index(1) });
    assert_eq!(lessor.renew(LeaseId(1), 3000), Renewal::Missing);
    // Another one of the same id lives on when the end of the first is told late.
    lessor.granted(LeaseId(1), &terms(2, 9), 3000);
    lessor.ended(Ending { id: LeaseId(1), born: Index(1) });
    lessor.granted(LeaseId(1), &terms(2, 1), 3000);
    assert_eq!(lessor.renew(LeaseId(1), 3100), Renewal::Renewed(2));
    lessor.take_back(&[Ending { id: LeaseId(3), born: Index(3) }]);
    assert_eq!(due(&mut lessor, 3100), [3]);
}

#[test]
fn whoever_begins_to_lead_or_has_stalled_gives_the_whole_time_again() {
    let mut lessor = self::lessor(None, &[terms(2, 1)]);
    rounds(&mut lessor, 0, 1500);
    lessor.round(1600, None, false, Vec::new);
    assert_eq!((due(&mut lessor, 9000), lessor.renew(LeaseId(1), 1600)), (vec![], Renewal::Missing));
    lessor.round(1700, Some(Term(2)), false, || vec![(LeaseId(1), terms(2, 1))]);
    rounds(&mut lessor, 1800, 3600);
    assert_eq!(due(&mut lessor, 3699), [0; 0]);
    // The process was stopped for a minute.
    lessor.round(60_000, Some(Term(2)), false, Vec::new);
    assert_eq!(due(&mut lessor, 60_000), [0; 0]);
    // Applying lags for ten seconds.
    rounds(&mut lessor, 60_100, 61_000);
    for now_ms in (61_100..71_000).step_by(100) {
        lessor.round(now_ms, Some(Term(2)), true, Vec::new);
        assert_eq!(due(&mut lessor, now_ms), [0; 0]);
    }
    lessor.round(71_000, Some(Term(2)), false, Vec::new);
    rounds(&mut lessor, 71_100, 73_000);
    assert_eq!((due(&mut lessor, 72_999), due(&mut lessor, 73_000)), (vec![], vec![1]));
}

#[test]
fn work_comes_in_portions() {
    let mut lessor = self::lessor(None, &[terms(2, 1), terms(2, 2), terms(2, 3), terms(2, 4)]);
    rounds(&mut lessor, 0, 2000);
    let portion = Portion { leases_max: 3, keys_max: 10 };
    let mut take = || {
        let keys = |id: LeaseId| if id.0 == 2 { 11 } else { 1 };
        lessor.due(2000, portion, keys).iter().map(|lease| lease.id.0).collect::<Vec<_>>()
    };
    assert_eq!([take(), take(), take(), take()], [vec![1], vec![2], vec![3, 4], vec![]]);
}

#[test]
fn a_checkpoint_is_taken_back_before_a_renewal_counts() {
    let mut lessor = self::lessor(Some(5000), &[terms(20, 1), terms(5, 2)]);
    rounds(&mut lessor, 0, 5000);
    assert_eq!(lessor.renew(LeaseId(1), 2000), Renewal::Renewed(20));
    assert_eq!(lessor.checkpoints(5000, 10), []);
    rounds(&mut lessor, 5100, 7000);
    let lease = Ending { id: LeaseId(1), born: Index(1) };
    let checkpoint = Checkpoint { lease, remaining: 15 };
    assert_eq!(lessor.checkpoints(7000, 10), [checkpoint]);
    assert_eq!(lessor.renew(LeaseId(1), 7000), Renewal::Checkpointed(lease));
    lessor.checkpointed(&Checkpoint { remaining: 0, ..checkpoint });
    assert_eq!(lessor.renew(LeaseId(1), 7100), Renewal::Renewed(20));
    // A later leader allows what the checkpoint left.
    let left = Terms { remaining: 15, ..terms(20, 1) };
    let mut lessor = self::lessor(None, &[left]);
    rounds(&mut lessor, 0, 15_000);
    assert_eq!((due(&mut lessor, 14_999), due(&mut lessor, 15_000)), (vec![], vec![1]));
}

#[test]
fn a_deadline_is_kept_across_a_start_and_goes_with_a_renewal() {
    let options = Options::in_memory();
    let store = self::store("/deadlines", &options);
    let leases = Leases::open(&store).expect("open");
    let mut batch = store.batch();
    let terms = Terms { deadline: Some(Timestamp(-5)), ..terms(20, 3) };
    for id in [1, 2] {
        leases.apply_grant(LeaseId(id), terms, &mut batch).expect("granted");
    }
    leases.apply_checkpoint(LeaseId(2), Index(3), 0, &mut batch).expect("there");
    store.write(batch).expect("write");
    store.flush().expect("flush");
    store.close();
    let leases = Leases::open(&self::store("/deadlines", &options)).expect("open");
    assert_eq!(leases.get(LeaseId(1)), Some(terms));
    assert_eq!(leases.get(LeaseId(2)), Some(self::terms(20, 3)));
}

#[test]
fn a_deadline_is_the_walls_whoever_leads_until_somebody_renews() {
    const WALL_MS: i64 = 1_700_000_000_000;
    let wall = |ms: i64| Timestamp((WALL_MS + ms) * 1_000_000);
    let mut lessor = Lessor::new(Some(1_000));
    let fixed = Terms { deadline: Some(wall(10_000)), ..terms(10, 1) };
    let all = || vec![(LeaseId(1), fixed), (LeaseId(2), terms(10, 2))];
    // A new leader at 4 s: what has a deadline does not begin again, whatever clock the leader has.
    lessor.set_wall(77_000, wall(4_000));
    lessor.round(77_000, Some(Term(1)), false, all);
    assert_eq!(lessor.remaining_ms(LeaseId(1), 77_000), Some(6_001));
    assert_eq!(lessor.remaining_ms(LeaseId(2), 77_000), Some(10_000));
    // A stall gives the others their time again.
    lessor.round(82_000, Some(Term(1)), false, Vec::new);
    let due = lessor.due(83_001, PORTION, |_| 1);
    assert_eq!(due, [Ending { id: LeaseId(1), born: Index(1) }]);
    lessor.take_back(&due);
    // A renewal asks for the deadline to be taken away first.
    assert_eq!(lessor.renew(LeaseId(1), 83_001), Renewal::Checkpointed(due[0]));
    lessor.checkpointed(&Checkpoint { lease: due[0], remaining: 0 });
    assert_eq!(lessor.renew(LeaseId(1), 83_001), Renewal::Renewed(10));
    assert!(lessor.due(83_002, PORTION, |_| 1).is_empty());
}
