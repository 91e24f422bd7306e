//! The rooms: everything replicated, as readers see it. An installed snapshot replaces all of them at once.
//!
//! INVARIANT: who reads through one [`Rooms`] sees one database, whatever is installed meanwhile.

use std::sync::Arc;

use apply::{Fingerprints, Machine};
use arc_swap::{ArcSwap, Guard};
use auth::Auth;
use lease::Leases;
use members::Members;
use mvcc::Mvcc;
use quota::Alarms;
use store::Store;
use v2auth::V2Auth;
use v2store::V2Store;

/// What one machine writes.
pub(crate) struct Rooms {
    pub(crate) store: Arc<Store>,
    pub(crate) mvcc: Arc<Mvcc>,
    pub(crate) v2: Arc<V2Store>,
    pub(crate) v2_auth: Arc<V2Auth>,
    pub(crate) members: Arc<Members>,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) auth: Arc<Auth>,
    pub(crate) fingerprints: Arc<Fingerprints>,
}

/// The rooms of now.
pub(crate) struct Wing(ArcSwap<Rooms>);

impl Rooms {
    pub(crate) fn of(machine: &Machine) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(machine.store()),
            mvcc: Arc::clone(machine.mvcc()),
            v2: Arc::clone(machine.v2()),
            v2_auth: Arc::clone(machine.v2_auth()),
            members: Arc::clone(machine.members()),
            alarms: Arc::clone(machine.alarms()),
            leases: Arc::clone(machine.leases()),
            auth: Arc::clone(machine.auth()),
            fingerprints: Arc::clone(machine.fingerprints()),
        })
    }
}

impl Wing {
    pub(crate) fn new(rooms: Arc<Rooms>) -> Self {
        Self(ArcSwap::new(rooms))
    }

    /// For a look that is over soon.
    pub(crate) fn look(&self) -> Guard<Arc<Rooms>> {
        self.0.load()
    }

    /// For work that takes long, or goes elsewhere.
    pub(crate) fn enter(&self) -> Arc<Rooms> {
        self.0.load_full()
    }

    /// Readers enter these from now on; who is in the old ones may stay.
    pub(crate) fn replace(&self, rooms: Arc<Rooms>) -> Arc<Rooms> {
        self.0.swap(rooms)
    }
}
