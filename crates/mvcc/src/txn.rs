//! Transactions: first which branches, then whether all of them may run, then running them.
//!
//! Every compare, of nested transactions too, looks at the state before the transaction, and so does every check;
//! operations see those before them. So a transaction that is refused has changed nothing.

use types::{
    Compare, CompareResult, CompareTarget, KeyRange, LeaseId, OpReply, RangeQuery, Revision, Txn, TxnOp,
    TxnReply, TxnResponse,
};

use crate::row::Meta;
use crate::select::{self, Source};
use crate::view::{View, admit};
use crate::writer::{Request, Writer};
use crate::{ReadError, Refusal, WriteError};

/// Which branch a transaction takes, and each transaction in that branch.
pub(crate) struct Plan {
    succeeded: bool,
    /// Of the nested transactions of the branch, in order.
    nested: Vec<Plan>,
}

impl Plan {
    fn branch<'t>(&self, txn: &'t Txn) -> &'t [TxnOp] {
        if self.succeeded { &txn.success } else { &txn.failure }
    }
}

/// Answers a transaction that only reads, at the revision of the view.
pub(crate) fn read(view: &View<'_>, txn: &Txn) -> Result<TxnReply, ReadError> {
    let succeeded = hold(&view.at(view.revision), &txn.compare)?;
    let plan = Plan { succeeded, nested: Vec::new() };
    let queries = plan.branch(txn).iter().filter_map(|op| match op {
        TxnOp::Range(query) => Some(query),
        _ => None,
    });
    let queries: Vec<&RangeQuery> = queries.collect();
    for query in &queries {
        admit(query.at, view.revision, view.compacted)?;
    }
    let answer = |query: &&RangeQuery| {
        Ok(TxnResponse { revision: view.revision, reply: OpReply::Range(view.range(query)?) })
    };
    let responses = queries.iter().map(answer).collect::<Result<_, ReadError>>()?;
    Ok(TxnReply { succeeded, responses })
}

/// Evaluates the compares.
pub(crate) fn plan(writer: &Writer<'_>, txn: &Txn) -> Result<Plan, WriteError> {
    let mut plan = Plan { succeeded: hold(&writer.now(), &txn.compare)?, nested: Vec::new() };
    for op in plan.branch(txn) {
        if let TxnOp::Txn(nested) = op {
            plan.nested.push(self::plan(writer, nested)?);
        }
    }
    Ok(plan)
}

/// Checks all puts that would run, then all ranges: the order in which etcd finds fault.
pub(crate) fn check(
    writer: &Writer<'_>,
    txn: &Txn,
    plan: &Plan,
    lease_exists: &dyn Fn(LeaseId) -> bool,
) -> Result<(), WriteError> {
    each(txn, plan, &mut |op| match op {
        TxnOp::Put(put) if (put.ignore_value || put.ignore_lease) && !writer.exists(put.key.as_bytes()) => {
            Err(Refusal::KeyNotFound.into())
        }
        TxnOp::Put(put) if put.lease.is_some() && !lease_exists(put.lease) => {
            Err(Refusal::LeaseNotFound.into())
        }
        _ => Ok(()),
    })?;
    each(txn, plan, &mut |op| match op {
        TxnOp::Range(query) => Ok(writer.admit(query.at).map(|_| ())?),
        _ => Ok(()),
    })
}

/// Runs the branches of a transaction that was checked.
pub(crate) fn run(
    writer: &mut Writer<'_>,
    request: &mut Request,
    txn: &Txn,
    plan: &Plan,
) -> Result<TxnReply, WriteError> {
    let branch = plan.branch(txn);
    let mut nested = plan.nested.iter();
    let mut responses = Vec::with_capacity(branch.len());
    for op in branch {
        let reply = match op {
            TxnOp::Range(query) => OpReply::Range(writer.read(query)?),
            TxnOp::Put(put) => OpReply::Put(writer.put_in(request, put)?),
            TxnOp::Delete(delete) => OpReply::Delete(writer.delete_in(request, delete)?),
            TxnOp::Txn(inner) => {
                let plan = nested.next().expect("a plan has one entry for each transaction of its branch");
                OpReply::Txn(run(writer, request, inner, plan)?)
            }
        };
        // The header of a nested transaction's answer is empty in etcd.
        let revision = if matches!(op, TxnOp::Txn(_)) { Revision::default() } else { request.revision() };
        responses.push(TxnResponse { revision, reply });
    }
    Ok(TxnReply { succeeded: plan.succeeded, responses })
}

/// Looks at every operation that would run, in order.
fn each(
    txn: &Txn,
    plan: &Plan,
    look: &mut dyn FnMut(&TxnOp) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut nested = plan.nested.iter();
    for op in plan.branch(txn) {
        match op {
            TxnOp::Txn(inner) => {
                let plan = nested.next().expect("a plan has one entry for each transaction of its branch");
                each(inner, plan, look)?;
            }
            op => look(op)?,
        }
    }
    Ok(())
}

fn hold(source: &dyn Source, compares: &[Compare]) -> Result<bool, ReadError> {
    for compare in compares {
        if !holds(source, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(source: &dyn Source, compare: &Compare) -> Result<bool, ReadError> {
    let by_value = matches!(compare.target, CompareTarget::Value(_));
    let entries = if compare.range.is_empty() { Vec::new() } else { list(source, &compare.range, by_value)? };
    if entries.is_empty() {
        return Ok(!by_value && relates(compare, &Meta::default(), b""));
    }
    Ok(entries.iter().all(|entry| relates(compare, &entry.meta, entry.value.as_deref().unwrap_or_default())))
}

fn list(source: &dyn Source, range: &KeyRange, values: bool) -> Result<Vec<select::Entry>, ReadError> {
    select::entries(source, range, values)
}

fn relates(compare: &Compare, meta: &Meta, value: &[u8]) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(given) => (meta.version as i64).cmp(given),
        CompareTarget::Create(given) => (meta.create as i64).cmp(given),
        CompareTarget::Mod(given) => (meta.modified.main as i64).cmp(given),
        CompareTarget::Lease(given) => meta.lease.cmp(given),
        CompareTarget::Value(given) => value.cmp(given.as_ref()),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
