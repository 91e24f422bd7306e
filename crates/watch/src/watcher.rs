//! One watch, as small as can be: there may be a million.

use types::{Revision, WatchId, WatchSpec};

/// No cohort, no stream.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// See the module. Its range is with its group in the index.
pub(crate) struct Watcher {
    pub(crate) id: WatchId,
    /// Events before this one are not for it: it has them, or never wanted them.
    pub(crate) from: Revision,
    /// Its stream.
    pub(crate) stream: u32,
    /// Where it is in the index of the synced or of the lagging ones.
    pub(crate) group: u32,
    pub(crate) place: u32,
    /// The cohort of one that lags and is not blocked, and its seat there; or its seat among the blocked of its stream.
    pub(crate) cohort: u32,
    pub(crate) seat: u32,
    flags: u8,
    // A flag of its own: the values that it cannot have are where the shelf notes an empty place, for nothing.
    blocked: bool,
}

const WITHOUT_PUTS: u8 = 1;
const WITHOUT_DELETES: u8 = 2;
const PREVIOUS: u8 = 4;
const FRAGMENT: u8 = 8;
const NOTIFY: u8 = 16;
const TOLD: u8 = 32;
const LAGGING: u8 = 64;

/// What of a batch a watch wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taste(u8);

impl Taste {
    /// So many different ones there are.
    pub(crate) const COUNT: usize = 8;

    pub(crate) fn number(self) -> usize {
        self.0.into()
    }

    pub(crate) fn wants_puts(self) -> bool {
        self.0 & WITHOUT_PUTS == 0
    }

    pub(crate) fn wants_deletes(self) -> bool {
        self.0 & WITHOUT_DELETES == 0
    }

    pub(crate) fn wants_previous(self) -> bool {
        self.0 & PREVIOUS != 0
    }
}

macro_rules! flags {
    ($($get:ident $set:ident $bit:ident)*) => {$(
        pub(crate) fn $get(&self) -> bool {
            self.flags & $bit != 0
        }

        pub(crate) fn $set(&mut self, on: bool) {
            if on { self.flags |= $bit } else { self.flags &= !$bit }
        }
    )*};
}

impl Watcher {
    pub(crate) fn new(id: WatchId, stream: u32, from: Revision, spec: &WatchSpec) -> Self {
        let mut flags = 0;
        for (is_set, bit) in [
            (spec.without_puts, WITHOUT_PUTS),
            (spec.without_deletes, WITHOUT_DELETES),
            (spec.prev_kv, PREVIOUS),
            (spec.fragment, FRAGMENT),
            (spec.progress_notify, NOTIFY),
        ] {
            if is_set {
                flags |= bit;
            }
        }
        Self { id, from, stream, group: NOWHERE, place: 0, cohort: NOWHERE, seat: 0, flags, blocked: false }
    }

    pub(crate) fn taste(&self) -> Taste {
        Taste(self.flags & (WITHOUT_PUTS | WITHOUT_DELETES | PREVIOUS))
    }

    pub(crate) fn fragments(&self) -> bool {
        self.flags & FRAGMENT != 0
    }

    pub(crate) fn is_notified(&self) -> bool {
        self.flags & NOTIFY != 0
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(crate) fn set_blocked(&mut self, on: bool) {
        self.blocked = on;
    }

    flags! {
        was_told set_told TOLD
        is_lagging set_lagging LAGGING
    }
}
