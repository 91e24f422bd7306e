//! What happened to a key: what watchers are told.

use crate::KeyValue;

/// Whether a key was written or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written, whether or not it was there before.
    Put,
    /// It was removed, by a delete or with its lease.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind of change.
    pub kind: EventKind,
    /// The key after the change. Of a removed key only the key and the revision of the removal are told.
    pub kv: KeyValue,
    /// The key before the change, for those who asked for it; `None` also if it was not there, or its history was
    /// forgotten meanwhile.
    pub prev: Option<KeyValue>,
}
