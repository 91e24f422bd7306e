//! What must hold, a file for each property. Each sees only what it is told and says whether that can be.
//!
//! Two kinds: what is checked while the run goes on ([`leaders`], [`promises`], [`logs`], [`committed`], [`state`],
//! [`expiry`], [`leases`], [`membership`]) and what is checked of the recorded history afterwards ([`linearizable`],
//! [`reads`], [`events`], [`watches`], [`attachments`]).

pub(crate) mod attachments;
pub(crate) mod committed;
pub(crate) mod events;
pub(crate) mod expiry;
pub(crate) mod leaders;
pub(crate) mod leases;
pub(crate) mod linearizable;
pub(crate) mod logs;
pub(crate) mod membership;
pub(crate) mod model;
pub(crate) mod promises;
pub(crate) mod reads;
pub(crate) mod state;
pub(crate) mod watches;

use std::fmt;

/// Something happened that must not.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// The property: the name of its file, or `start`, `heal`, `panic`.
    pub(crate) property: &'static str,
    /// What exactly.
    pub(crate) what: String,
}

impl Violation {
    /// A violation of `property`.
    pub(crate) fn new(property: &'static str, what: impl Into<String>) -> Self {
        Self { property, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

/// What every check answers.
pub(crate) type Verdict = Result<(), Violation>;

/// A violation of `property` unless `holds`.
pub(crate) fn require(property: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation::new(property, what())) }
}

/// Everything that is checked while the run goes on.
#[derive(Default)]
pub(crate) struct Checks {
    /// One leader per term.
    pub(crate) leaders: leaders::Leaders,
    /// Logs match.
    pub(crate) logs: logs::Logs,
    /// Nothing committed is lost.
    pub(crate) committed: committed::Committed,
    /// State equal at equal index.
    pub(crate) state: state::States,
    /// Leases live for their time, and end by a leader.
    pub(crate) leases: leases::Leases,
    /// v2 nodes expire in time, by a leader.
    pub(crate) expiry: expiry::Expiries,
    /// One change at a time; who was removed stays away.
    pub(crate) membership: membership::Membership,
}
