//! Who may see what on a stream of watches, asked when a watch begins, and again when users or roles change.
//!
//! While nobody has to prove who he is, nothing is remembered of a watch here. If that changes, a stream on which such
//! watches are ends.
//!
//! INVARIANT: after a change of rights is applied, nothing that it forbids leaves the stream.

use std::collections::{HashMap, HashSet, VecDeque};

use api::{Caller, Fault};
use types::{Author, KeyRange, WatchId};
use watch::{Body, Reply};

use crate::doorkeeper::refused;
use crate::member::House;

/// See the module.
pub(crate) struct Guard {
    caller: Caller,
    /// As of when it was asked last.
    stamp: Option<u64>,
    /// Watches began while nobody had to prove anything.
    untracked: bool,
    /// Creations of such that are not answered yet.
    untracked_pending: usize,
    tracked: Option<Box<Tracked>>,
}

#[derive(Default)]
struct Tracked {
    /// Who, when a watch began last.
    user: String,
    /// Creations that are not answered yet, in order; `None` for one that is not remembered.
    pending: VecDeque<Option<KeyRange>>,
    ranges: HashMap<WatchId, KeyRange>,
    /// Those that end because they may not be any more.
    denied: HashSet<WatchId>,
    refused: VecDeque<&'static str>,
}

impl Guard {
    pub(crate) fn new(caller: Caller, house: &House) -> Self {
        let stamp = house.wing.look().auth.stamp();
        Self { caller, stamp, untracked: false, untracked_pending: 0, tracked: None }
    }

    /// Whether a watch may begin. A refusal is kept for [`Guard::take_refused`].
    pub(crate) fn admit(&mut self, house: &House, range: &KeyRange) -> bool {
        if !house.wing.look().auth.is_enabled() {
            self.untracked = true;
            match &mut self.tracked {
                Some(tracked) if !tracked.pending.is_empty() => tracked.pending.push_back(None),
                _ => self.untracked_pending += 1,
            }
            return true;
        }
        let entry = house.enter(&self.caller);
        let entered = entry.and_then(|entry| entry.pass.read(range).map_err(refused).map(|()| entry));
        let tracked = self.tracked.get_or_insert_default();
        match entered {
            Ok(entry) => {
                if let Author::User(identity) = entry.author {
                    tracked.user = identity.user;
                }
                tracked.pending.push_back(Some(range.clone()));
                true
            }
            Err(fault) => {
                tracked.refused.push_back(reason(&fault));
                false
            }
        }
    }

    /// The next refusal that was not told yet.
    pub(crate) fn take_refused(&mut self) -> Option<&'static str> {
        self.tracked.as_mut()?.refused.pop_front()
    }

    /// Looks whether anything changed, and which watches may not go on. A fault ends the stream.
    pub(crate) fn look(&mut self, house: &House) -> Result<Vec<WatchId>, Fault> {
        let rooms = house.wing.look();
        let stamp = rooms.auth.stamp();
        if stamp == self.stamp {
            return Ok(Vec::new());
        }
        self.stamp = stamp;
        if stamp.is_none() {
            return Ok(Vec::new());
        }
        if self.untracked {
            return Err(Fault::UserEmpty);
        }
        let Some(tracked) = &mut self.tracked else { return Ok(Vec::new()) };
        let rights = rooms.auth.rights(&tracked.user);
        let may = |range: &KeyRange| {
            rights.as_ref().is_some_and(|rights| rights.is_root || rights.read.cover(range))
        };
        // One that is under way is caught when it is there.
        if tracked.pending.iter().flatten().any(|range| !may(range)) {
            return Err(Fault::PermissionDenied);
        }
        let denied = tracked.ranges.iter().filter(|(_, range)| !may(range)).map(|(id, _)| *id);
        let denied: Vec<WatchId> = denied.filter(|id| !tracked.denied.contains(id)).collect();
        tracked.denied.extend(&denied);
        Ok(denied)
    }

    /// Takes note of a reply; false if it may not be seen any more.
    pub(crate) fn lets_out(&mut self, reply: &Reply) -> bool {
        match &reply.body {
            Body::Created | Body::Refused(_) if self.untracked_pending > 0 => {
                self.untracked_pending -= 1;
                true
            }
            Body::Created | Body::Refused(_) => {
                let Some(tracked) = &mut self.tracked else { return true };
                if let Some(Some(range)) = tracked.pending.pop_front()
                    && matches!(reply.body, Body::Created)
                {
                    tracked.ranges.insert(reply.id, range);
                }
                true
            }
            Body::Events { .. } => {
                self.tracked.as_ref().is_none_or(|tracked| !tracked.denied.contains(&reply.id))
            }
            Body::Canceled { .. } | Body::Progress => true,
        }
    }

    /// A watch has ended; true if that was because it may not be any more.
    pub(crate) fn forget(&mut self, id: WatchId) -> bool {
        let Some(tracked) = &mut self.tracked else { return false };
        tracked.ranges.remove(&id);
        tracked.denied.remove(&id)
    }
}

/// Why a watch is not, as etcd tells it: in the words of a gRPC error.
pub(crate) fn reason(fault: &Fault) -> &'static str {
    match fault {
        Fault::UserEmpty => "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
        Fault::InvalidAuthToken => "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
        Fault::AuthOldRevision => {
            "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old"
        }
        _ => "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    }
}
