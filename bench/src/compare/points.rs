//! What is measured: groups of points, each group on a fresh data folder, for servers alone and for clusters.

use crate::workload::Kind;

/// Where the clients of a cluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All at the leader; of a server alone: there.
    Leader,
    /// Spread over all members in turn, as etcd's own client does; a single one is at a follower.
    Spread,
}

/// One workload with so many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The workload.
    pub(super) kind: Kind,
    /// Concurrent callers.
    pub(super) clients: usize,
    /// Different keys; of a range: all in one answer.
    pub(super) keys: u64,
    /// Where the clients are; nothing of servers alone.
    pub(super) place: Option<Place>,
    /// One follower is slow, and no client is there.
    pub(super) slow: bool,
}

impl Point {
    const fn new(kind: Kind, clients: usize) -> Self {
        Self { kind, clients, keys: 10_000, place: None, slow: false }
    }

    const fn at(kind: Kind, clients: usize, place: Place) -> Self {
        Self { place: Some(place), ..Self::new(kind, clients) }
    }

    const fn slow(kind: Kind, clients: usize, place: Place) -> Self {
        Self { slow: true, ..Self::at(kind, clients, place) }
    }

    /// Its name in tables.
    pub(super) fn label(&self) -> String {
        let place = match (self.place, self.clients) {
            (None, _) => "",
            (Some(Place::Leader), _) => " at the leader",
            (Some(Place::Spread), 1) => " at a follower",
            (Some(Place::Spread), _) => " spread",
        };
        let slow = if self.slow { ", one follower slow" } else { "" };
        let plural = if self.clients == 1 { "" } else { "s" };
        format!("{}, {} client{plural}{place}{slow}", self.kind.name(), self.clients)
    }
}

/// Points that share a data folder.
pub(super) struct Group {
    /// The name on the command line.
    pub(super) name: &'static str,
    /// Reads of prepared keys come before writes.
    pub(super) points: &'static [Point],
}

/// The group of the case with many keys, which is no list of points.
pub(super) const MILLION: &str = "million";

/// Every group but the one with many keys.
pub(super) const GROUPS: [Group; 5] = [
    Group {
        name: "put",
        points: &[
            Point::new(Kind::Put, 1),
            Point::new(Kind::Put, 16),
            Point::new(Kind::Put, 64),
            Point::new(Kind::Put, 256),
            Point::new(Kind::Put, 1000),
        ],
    },
    Group {
        name: "read",
        points: &[
            Point::new(Kind::Get, 64),
            Point::new(Kind::Get, 256),
            Point::new(Kind::GetSerializable, 64),
            Point::new(Kind::GetSerializable, 256),
            Point::new(Kind::Range, 4),
        ],
    },
    Group { name: "txn", points: &[Point::new(Kind::Cas, 64)] },
    Group { name: "json", points: &[Point::new(Kind::JsonRange, 64), Point::new(Kind::JsonPut, 64)] },
    // v2 keeps everything in memory, and etcd copies it all into each snapshot: a thousand keys as users have.
    Group {
        name: "v2",
        points: &[
            Point { keys: 1000, ..Point::new(Kind::V2Get, 64) },
            Point { keys: 1000, ..Point::new(Kind::V2Put, 64) },
            Point::new(Kind::V2Cas, 64),
            Point::new(Kind::V2Post, 64),
        ],
    },
];

/// The group of a cluster in which a new member comes to many keys, which is no list of points.
pub(super) const JOIN: &str = "join";

/// Every group of clusters but the one in which a member joins.
pub(super) const CLUSTER_GROUPS: [Group; 3] = [
    Group {
        name: "put",
        points: &[
            Point::at(Kind::Put, 1, Place::Leader),
            Point::at(Kind::Put, 1, Place::Spread),
            Point::at(Kind::Put, 64, Place::Leader),
            Point::at(Kind::Put, 64, Place::Spread),
            Point::at(Kind::Put, 1000, Place::Leader),
            Point::at(Kind::Put, 1000, Place::Spread),
        ],
    },
    Group {
        name: "read",
        points: &[Point::at(Kind::Get, 64, Place::Leader), Point::at(Kind::Get, 64, Place::Spread)],
    },
    Group {
        name: "slow",
        points: &[
            Point::slow(Kind::Get, 64, Place::Spread),
            Point::slow(Kind::Put, 64, Place::Spread),
            Point::slow(Kind::Put, 1000, Place::Leader),
        ],
    },
];

/// The order of `count` systems in `turn`: each goes first equally often.
pub(super) fn order(count: usize, turn: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| (at + turn) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_goes_first_equally_often() {
        let orders: Vec<Vec<usize>> = (0..3).map(|turn| order(3, turn).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        assert_eq!(order(0, 5).count(), 0);
    }

    #[test]
    fn labels_name_a_point_uniquely() {
        let mut labels: Vec<String> =
            GROUPS.iter().chain(&CLUSTER_GROUPS).flat_map(|group| group.points).map(Point::label).collect();
        let count = labels.len();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), count);
    }
}
