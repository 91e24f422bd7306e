//! What is measured: groups of points, each group on a fresh data folder.

use crate::workload::Kind;

/// One workload with so many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The workload.
    pub(super) kind: Kind,
    /// Concurrent callers.
    pub(super) clients: usize,
    /// Different keys; of a range: all in one answer.
    pub(super) keys: u64,
}

impl Point {
    const fn new(kind: Kind, clients: usize) -> Self {
        Self { kind, clients, keys: 10_000 }
    }

    /// Its name in tables.
    pub(super) fn label(&self) -> String {
        format!("{}, {} client{}", self.kind.name(), self.clients, if self.clients == 1 { "" } else { "s" })
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
            Point { kind: Kind::V2Get, clients: 64, keys: 1000 },
            Point { kind: Kind::V2Put, clients: 64, keys: 1000 },
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
            GROUPS.iter().flat_map(|group| group.points).map(Point::label).collect();
        let count = labels.len();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), count);
    }
}
