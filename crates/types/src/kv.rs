//! Requests on the v3 keyspace and their replies, as the rooms understand them.

use bytes::Bytes;

use crate::{Key, KeyRange, LeaseId, Revision};

/// A key with its value and its history in four numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty also when only keys were asked for.
    pub value: Bytes,
    /// The revision at which the key was last created.
    pub create_revision: Revision,
    /// The revision of this version.
    pub mod_revision: Revision,
    /// How many times it was written since it was created; the first write makes 1.
    pub version: u64,
    /// The lease attached, or none.
    pub lease: LeaseId,
}

/// Which way a range answer is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// As stored, which is by key ascending; with a target other than the key: ascending.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// By what a range answer is sorted. Equal values keep the order of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

/// Inclusive bounds on a revision; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionBounds {
    /// At least this.
    pub min: Option<Revision>,
    /// At most this.
    pub max: Option<Revision>,
}

impl RevisionBounds {
    /// Whether a revision lies within.
    pub fn admit(&self, revision: Revision) -> bool {
        self.min.is_none_or(|min| revision >= min) && self.max.is_none_or(|max| revision <= max)
    }

    /// Whether there is any bound.
    pub fn is_bounded(&self) -> bool {
        self.min.is_some() || self.max.is_some()
    }
}

/// A read of a range of keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// At most this many pairs; 0 is no limit. Applied after sorting and filtering.
    pub limit: u64,
    /// At which revision; `None` is the current one.
    pub at: Option<Revision>,
    /// Which way to sort.
    pub order: SortOrder,
    /// By what to sort.
    pub target: SortTarget,
    /// Leave values out.
    pub keys_only: bool,
    /// Answer the count alone.
    pub count_only: bool,
    /// Filter on the mod revision. The count ignores it, as etcd's does.
    pub mod_bounds: RevisionBounds,
    /// Filter on the create revision. The count ignores it, as etcd's does.
    pub create_bounds: RevisionBounds,
}

impl RangeQuery {
    /// Everything in `range` at the current revision.
    pub fn of(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            at: None,
            order: SortOrder::None,
            target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            mod_bounds: RevisionBounds::default(),
            create_bounds: RevisionBounds::default(),
        }
    }
}

/// What a range read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// The pairs, sorted as asked.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left pairs out.
    pub more: bool,
    /// Keys in the range at that revision, whatever limit and filters say.
    pub count: u64,
}

/// A write of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: Key,
    /// The value; an empty value is a value.
    pub value: Bytes,
    /// The lease to attach; none detaches.
    pub lease: LeaseId,
    /// Answer the pair as it was before.
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist.
    pub ignore_lease: bool,
}

/// What a put answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutReply {
    /// The pair before, where it was asked for and existed.
    pub prev_kv: Option<KeyValue>,
}

/// A removal of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// Which keys.
    pub range: KeyRange,
    /// Answer the pairs as they were before.
    pub prev_kv: bool,
}

/// What a removal answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// How many keys were removed.
    pub deleted: u64,
    /// The pairs before, where asked for, by key.
    pub prev_kvs: Vec<KeyValue>,
}

/// How a compare relates what is stored (left) to what was given (right).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompareResult {
    /// Equal.
    #[default]
    Equal,
    /// Stored is greater.
    Greater,
    /// Stored is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// What a compare looks at, with the value given. Numbers are the wire's, since a client may compare with
/// a negative one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The version; 0 for a key that does not exist.
    Version(i64),
    /// The create revision; 0 for a key that does not exist.
    Create(i64),
    /// The mod revision; 0 for a key that does not exist.
    Mod(i64),
    /// The value. A key that does not exist fails every compare of its value, "not equal" too.
    Value(Bytes),
    /// The lease; 0 for a key that does not exist or has none.
    Lease(i64),
}

/// A condition: it holds when it holds for every key in the range; an empty range is one missing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// The relation.
    pub result: CompareResult,
    /// What is compared with what.
    pub target: CompareTarget,
}

/// Transactions inside one another, the outermost counted. It bounds every walk over one, and stays well below
/// the depth to which protobuf is decoded: what enters the log must come out of it. etcd has no such limit.
pub const TXN_DEPTH_MAX: usize = 32;

/// Conditions, and what to do when all of them hold or when one does not. All compares of a transaction,
/// those of nested ones too, look at the state before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions; none at all hold.
    pub compare: Vec<Compare>,
    /// Done in order when all conditions hold.
    pub success: Vec<TxnOp>,
    /// Done in order when one does not.
    pub failure: Vec<TxnOp>,
}

impl Txn {
    /// Whether it can be answered without the log: only ranges, and no nested transaction (etcd's rule).
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, TxnOp::Range(_)))
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// A read; it sees the operations before it.
    Range(RangeQuery),
    /// A write.
    Put(Put),
    /// A removal.
    Delete(DeleteRange),
    /// A transaction.
    Txn(Txn),
}

/// What a transaction answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// The answers of the operations done, in order.
    pub responses: Vec<TxnResponse>,
}

/// The answer of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResponse {
    /// The revision that the operation saw or made; it is what etcd puts in the header of the nested answer.
    pub revision: Revision,
    /// The answer itself.
    pub reply: OpReply,
}

/// The answer of an operation, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// Of a range.
    Range(RangeReply),
    /// Of a put.
    Put(PutReply),
    /// Of a delete.
    Delete(DeleteReply),
    /// Of a transaction.
    Txn(TxnReply),
}
