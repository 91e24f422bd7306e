//! Checks of requests, and their order.

use super::*;
use CompareResult::{Equal, Greater, Less};

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn put_of(key: &'static str) -> pb::RequestOp {
    let put = pb::PutRequest { key: text(key), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
}

fn delete_of(key: &'static str, range_end: &'static str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: text(key), range_end: text(range_end), prev_kv: false };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestDeleteRange(delete)) }
}

fn range_of(key: &'static str, serializable: bool) -> pb::RequestOp {
    let range = pb::RangeRequest { key: text(key), serializable, ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
}

fn txn_of(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    let txn = pb::TxnRequest { compare: Vec::new(), success, failure };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestTxn(txn)) }
}

#[allow(clippy::needless_pass_by_value, reason = "tests read better so")]
fn check(success: Vec<pb::RequestOp>, expected: Result<(), Fault>) {
    let request = pb::TxnRequest { success, ..Default::default() };
    assert_eq!(txn(request.clone(), 128).map(|_| ()), expected, "{request:?}");
}

#[test]
fn a_branch_writes_a_key_once() {
    let duplicate = || Err(Fault::DuplicateKey);
    check(vec![put_of("a"), put_of("b")], Ok(()));
    check(vec![put_of("a"), put_of("a")], duplicate());
    check(vec![delete_of("a", ""), put_of("a")], duplicate());
    check(vec![put_of("b"), delete_of("a", "c")], duplicate());
    check(vec![put_of("c"), delete_of("a", "c")], Ok(()));
    check(vec![delete_of("a", ""), delete_of("a", "z")], Ok(()));
    // Observed in 3.4.23 and 3.5.1: ends that are not above their starts hide no put.
    check(vec![delete_of("a", "\0"), put_of("b"), put_of("a")], Ok(()));
    check(vec![delete_of("c", "a"), put_of("c")], Ok(()));
}

#[test]
fn nested_branches_count_for_the_branch_that_holds_them() {
    let duplicate = || Err(Fault::DuplicateKey);
    check(vec![txn_of(vec![put_of("a")], vec![put_of("a")])], Ok(()));
    check(vec![txn_of(vec![put_of("a")], vec![]), put_of("a")], duplicate());
    check(vec![put_of("a"), txn_of(vec![], vec![put_of("a")])], duplicate());
    check(vec![delete_of("a", "c"), txn_of(vec![], vec![put_of("b")])], duplicate());
    check(vec![txn_of(vec![delete_of("a", "c")], vec![]), put_of("b")], duplicate());
    check(vec![txn_of(vec![put_of("a")], vec![]), txn_of(vec![], vec![put_of("a")])], duplicate());
    // A delete of a later nested transaction does not meet the put of an earlier one.
    check(vec![txn_of(vec![put_of("b")], vec![]), txn_of(vec![delete_of("a", "c")], vec![])], Ok(()));
    check(vec![txn_of(vec![delete_of("a", "c")], vec![]), txn_of(vec![put_of("b")], vec![])], duplicate());
}

#[test]
fn merged_deletes_hide_what_each_of_them_hid() {
    let deletes = || vec![delete_of("c", "e"), delete_of("a", "c"), delete_of("x", "y"), delete_of("b", "d")];
    for (key, hidden) in
        [("a", true), ("c", true), ("d", true), ("e", false), ("w", false), ("x", true), ("y", false)]
    {
        let mut ops = deletes();
        ops.push(put_of(key));
        check(ops, if hidden { Err(Fault::DuplicateKey) } else { Ok(()) });
    }
}

#[test]
fn a_nested_transaction_has_the_room_that_its_parent_leaves() {
    let of = |outer: usize, inner: usize| {
        let inner = vec![range_of("k", false); inner];
        let mut success = vec![range_of("k", false); outer - 1];
        success.push(txn_of(vec![], inner));
        txn(pb::TxnRequest { success, ..Default::default() }, 128).map(|_| ())
    };
    assert_eq!(of(64, 64), Ok(()));
    assert_eq!(of(64, 65), Err(Fault::TooManyOps));
    assert_eq!(of(128, 0), Ok(()));
    assert_eq!(of(129, 0), Err(Fault::TooManyOps));
}

#[test]
fn transactions_nest_up_to_a_limit() {
    let of = |depth: usize| {
        let innermost = pb::TxnRequest { success: vec![put_of("k")], ..Default::default() };
        let request = (1..depth).fold(innermost, |inner, _| pb::TxnRequest {
            success: vec![txn_of(inner.success, vec![])],
            ..Default::default()
        });
        txn(request, 128).map(|_| ())
    };
    assert_eq!(of(types::TXN_DEPTH_MAX), Ok(()));
    assert_eq!(of(types::TXN_DEPTH_MAX + 1), Err(Fault::TooManyOps));
}

#[test]
fn the_first_check_that_fails_is_told() {
    let empty = pb::RequestOp { request: None };
    // Too many operations goes before anything inside them.
    let many = pb::TxnRequest { success: vec![empty.clone(); 129], ..Default::default() };
    assert_eq!(txn(many, 128).map(|_| ()), Err(Fault::TooManyOps));
    // Compares go before operations, success before failure, shape before duplicates.
    let compares = pb::TxnRequest {
        compare: vec![pb::Compare::default()],
        success: vec![empty.clone()],
        ..Default::default()
    };
    assert_eq!(txn(compares, 128).map(|_| ()), Err(Fault::EmptyKey));
    check(vec![put_of("a"), put_of("a"), empty], Err(Fault::KeyNotFound));
    let branches = pb::TxnRequest {
        success: vec![put_of("a"), put_of("a")],
        failure: vec![put_of("")],
        ..Default::default()
    };
    assert_eq!(txn(branches, 128).map(|_| ()), Err(Fault::EmptyKey));
}

#[test]
fn puts_that_ignore_what_they_bring_are_refused() {
    let check = |request: pb::PutRequest, expected| assert_eq!(put(request).map(|_| ()), expected);
    let bad = pb::PutRequest {
        value: text("v"),
        lease: 1,
        ignore_value: true,
        ignore_lease: true,
        ..Default::default()
    };
    check(bad.clone(), Err(Fault::EmptyKey));
    check(pb::PutRequest { key: text("k"), ..bad.clone() }, Err(Fault::ValueProvided));
    check(pb::PutRequest { key: text("k"), value: text(""), ..bad.clone() }, Err(Fault::LeaseProvided));
    check(pb::PutRequest { key: text("k"), value: text(""), lease: 0, ..bad }, Ok(()));
}

#[test]
fn numbers_that_name_nothing_are_left_out() {
    let request = pb::RangeRequest {
        key: text("k"),
        limit: -1,
        revision: -7,
        min_mod_revision: -3,
        max_mod_revision: -3,
        max_create_revision: 9,
        ..Default::default()
    };
    let query = range(request.clone()).expect("all of this is allowed");
    assert_eq!((query.limit, query.at), (0, None));
    assert_eq!(query.mod_bounds, RevisionBounds { min: None, max: Some(Revision(0)) });
    assert_eq!(query.create_bounds, RevisionBounds { min: None, max: Some(Revision(9)) });
    for (sort_order, sort_target) in [(3, 0), (0, 5), (-1, 0)] {
        let request = pb::RangeRequest { sort_order, sort_target, ..request.clone() };
        assert_eq!(range(request), Err(Fault::InvalidSortOption));
    }
}

#[test]
fn a_transaction_is_serializable_when_all_its_ranges_are() {
    let of = |ops: Vec<pb::RequestOp>| {
        let request = pb::TxnRequest { success: ops, ..Default::default() };
        txn(request, 128).expect("nothing is wrong with it").1
    };
    assert!(of(vec![range_of("a", true), txn_of(vec![], vec![range_of("b", true)])]));
    assert!(!of(vec![range_of("a", true), txn_of(vec![], vec![range_of("b", false)])]));
}

#[test]
fn compares_with_what_is_not_known_hold_or_not_as_in_etcd() {
    let of = |result: i32, target: i32| {
        let request = pb::Compare { result, target, key: text("k"), ..Default::default() };
        let compare = compare(request).expect("it has a key");
        (compare.result, compare.target)
    };
    // Above -1 is every version, below it none.
    assert_eq!(of(9, 0), (Greater, CompareTarget::Version(-1)));
    assert_eq!(of(9, 3), (Greater, CompareTarget::Version(0)));
    assert_eq!(of(0, 9), (Greater, CompareTarget::Version(-1)));
    assert_eq!(of(1, 9), (Less, CompareTarget::Version(-1)));
    // A union that speaks of something else counts as zero.
    let request = pb::Compare {
        target: 2,
        key: text("k"),
        target_union: Some(pb::compare::TargetUnion::Version(7)),
        ..Default::default()
    };
    let compare = compare(request).expect("it has a key");
    assert_eq!((compare.result, compare.target), (Equal, CompareTarget::Mod(0)));
}
