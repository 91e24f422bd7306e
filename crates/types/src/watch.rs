//! What is asked of a watch, and the events that many watches share.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::{Event, KeyRange, Revision};

/// The number of a watch on its stream; the client chooses it, or lets the member do so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub i64);

impl WatchId {
    /// Stands on answers that belong to no watch: progress of a whole stream, and creations that failed.
    pub const NONE: Self = Self(-1);
}

/// A watch to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a client's wishes, each independent of the others")]
pub struct WatchSpec {
    /// The keys it is about.
    pub range: KeyRange,
    /// The first revision whose events it wants; `None` is from now on. Zero is before all, and always forgotten.
    pub start: Option<Revision>,
    /// Whether it is told from time to time that nothing happened.
    pub progress_notify: bool,
    /// It does not want to know of writes.
    pub without_puts: bool,
    /// It does not want to know of removals.
    pub without_deletes: bool,
    /// It wants to know what was there before.
    pub prev_kv: bool,
    /// Answers that are larger than one message may come in pieces.
    pub fragment: bool,
    /// The number that the client chose; `None` leaves it to the member.
    pub id: Option<WatchId>,
}

/// An event on its way to any number of watchers, and what the door has made of it, once for all of them.
#[derive(Debug)]
pub struct SharedEvent {
    /// What happened.
    pub event: Event,
    /// The event as it goes over the wire; whoever needs it first puts it there.
    pub wire: OnceLock<Bytes>,
}
