//! Requests on the v2 keyspace (a tree of directories and files) and their replies.

use bytes::Bytes;

/// Nanoseconds since 1970-01-01 UTC, as the proposer's clock told them. State never asks a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A clean absolute path: `/` or `/a/b`, without empty, `.` or `..` components and without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// Cleans as etcd's v2 store does: Go's `path.Clean` of `/` + raw.
    pub fn clean(raw: &str) -> Self {
        let mut parts: Vec<&str> = Vec::new();
        for part in raw.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let mut path = String::with_capacity(raw.len() + 1);
        for part in parts {
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() {
            path.push('/');
        }
        Self(path)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

/// What a write says about the time to live. `Keep` exists for `refresh` and friends of later; etcd's plain
/// writes replace it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// The node stays until somebody removes it.
    #[default]
    Never,
    /// The node goes at this time.
    At(Timestamp),
}

/// What a conditional write compares with. At least one is `Some`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The value now.
    pub prev_value: Option<Bytes>,
    /// The modified index now.
    pub prev_index: Option<u64>,
}

impl Condition {
    /// Whether there is nothing to compare.
    pub fn is_empty(&self) -> bool {
        self.prev_value.is_none() && self.prev_index.is_none()
    }
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Which node.
    pub path: Path,
    /// List all levels below, not one.
    pub recursive: bool,
    /// Sort each level by key.
    pub sorted: bool,
}

/// A write, as it enters the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create or replace.
    Set {
        /// Which node.
        path: Path,
        /// The value of a file; ignored for a directory.
        value: Bytes,
        /// Make a directory.
        dir: bool,
        /// When it goes.
        expiry: Expiry,
    },
    /// Make a node that must not be there; with `in_order`, a child of `path` named by the next index.
    Create {
        /// Which node, or with `in_order` its parent.
        path: Path,
        /// The value of a file; ignored for a directory.
        value: Bytes,
        /// Make a directory.
        dir: bool,
        /// When it goes.
        expiry: Expiry,
        /// Name the node by its index, twenty digits.
        in_order: bool,
    },
    /// Change a node that must be there. A file whose `refresh` is set keeps its value.
    Update {
        /// Which node.
        path: Path,
        /// The new value of a file; must be empty for a directory.
        value: Bytes,
        /// When it goes.
        expiry: Expiry,
        /// Keep the value, tell no watcher.
        refresh: bool,
    },
    /// Replace a file's value if it is as expected.
    CompareAndSwap {
        /// Which node.
        path: Path,
        /// What must hold.
        condition: Condition,
        /// The new value.
        value: Bytes,
        /// When it goes.
        expiry: Expiry,
        /// Keep the value, tell no watcher.
        refresh: bool,
    },
    /// Remove a node.
    Delete {
        /// Which node.
        path: Path,
        /// It may be a directory (empty, unless `recursive`).
        dir: bool,
        /// It may be a directory with content; implies `dir`.
        recursive: bool,
    },
    /// Remove a file if it is as expected.
    CompareAndDelete {
        /// Which node.
        path: Path,
        /// What must hold.
        condition: Condition,
    },
    /// Remove every node whose time has come at `now` (the leader's clock, carried in the entry).
    Expire {
        /// The leader's clock.
        now: Timestamp,
    },
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: a read.
    Get,
    /// Created or replaced.
    Set,
    /// Created.
    Create,
    /// Changed.
    Update,
    /// Removed.
    Delete,
    /// Its time had come.
    Expire,
    /// Replaced under a condition.
    CompareAndSwap,
    /// Removed under a condition.
    CompareAndDelete,
}

impl Action {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Expire => "expire",
            Self::CompareAndSwap => "compareAndSwap",
            Self::CompareAndDelete => "compareAndDelete",
        }
    }
}

/// A node as it is told to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The client's path; empty for the root.
    pub key: String,
    /// The value; `None` for a directory and for a node that was removed.
    pub value: Option<Bytes>,
    /// Whether it is a directory.
    pub dir: bool,
    /// When it goes.
    pub expiration: Option<Timestamp>,
    /// Whole seconds left, rounded up, as of the clock that came with the request; 0 is left out on the wire.
    pub ttl: i64,
    /// The children of a directory that was listed.
    pub nodes: Vec<Node>,
    /// The index of the last change.
    pub modified_index: u64,
    /// The index of the creation.
    pub created_index: u64,
}

/// The answer of a v2 request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// The node after.
    pub node: Node,
    /// The node before, where there was one and the action replaces or removes it.
    pub prev_node: Option<Node>,
    /// The index of the v2 keyspace after the operation (`X-Etcd-Index`).
    pub index: u64,
}

/// A refusal in v2's own form. `message` and HTTP status follow from the code; the gateway knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// etcd's v2 error code, 100 to 500.
    pub code: u16,
    /// What exactly; a path, or both sides of a compare.
    pub cause: String,
    /// The index of the v2 keyspace.
    pub index: u64,
}
