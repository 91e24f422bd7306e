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

    /// The node `name` directly below this one. `name` is one component: not empty, without a slash.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        debug_assert!(!name.is_empty() && !name.contains('/'), "a name is one component");
        let parent = if self.is_root() { "" } else { self.as_str() };
        Self(format!("{parent}/{name}"))
    }

    /// The components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

/// Levels below the root that a path may name when a node is made. It bounds every walk over a tree, an answer
/// and its JSON too. etcd has no such limit; deeper paths are refused with [`code::INVALID_FIELD`].
pub const PATH_DEPTH_MAX: usize = 256;

/// What a write says about the time to live. Every write replaces what was said before, `refresh` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// The node stays until somebody removes it.
    #[default]
    Never,
    /// The node goes at this time.
    At(Timestamp),
}

impl Expiry {
    /// `ttl_s` seconds from `now`, in etcd's arithmetic: 64 bits that wrap around. A span of more than some
    /// 238 years so ends up in the far past, which [`Expiry::or_never`] takes for "never".
    pub fn after(now: Timestamp, ttl_s: u64) -> Self {
        let span_ns = (ttl_s as i64).wrapping_mul(1_000_000_000);
        match now.0.wrapping_add(span_ns) {
            // Zero is how etcd's log entry says that there is no expiration.
            0 => Self::Never,
            at => Self::At(Timestamp(at)),
        }
    }

    /// What making or setting a node does with it: a time before the year 2000 is no time. Updates take
    /// it as it is, and the node goes at the next expiry.
    #[must_use]
    pub fn or_never(self) -> Self {
        const YEAR_2000: Timestamp = Timestamp(946_684_800_000_000_000);
        match self {
            Self::At(at) if at < YEAR_2000 => Self::Never,
            expiry => expiry,
        }
    }

    /// The time, if there is one.
    pub fn time(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::At(at) => Some(at),
        }
    }
}

/// What a conditional write compares with. At least one is `Some`: the door turns an absent value and the
/// index 0, which compare with nothing, into `None`.
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

/// A wait for what happens to a node, or to all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Which node. It need not be there.
    pub path: Path,
    /// What happens below it counts too, except below hidden nodes.
    pub recursive: bool,
    /// All that happens; otherwise the first event ends it.
    pub stream: bool,
    /// The first index that counts, which may be past; `None` is whatever comes next.
    pub since: Option<u64>,
}

/// A write, as it enters the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create or replace. With `refresh` the node must be there.
    Set {
        /// Which node.
        path: Path,
        /// The value of a file; ignored for a directory.
        value: Bytes,
        /// Make a directory.
        dir: bool,
        /// When it goes.
        expiry: Expiry,
        /// Keep the value, tell no watcher.
        refresh: bool,
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
    /// Remove the nodes whose time has come at `now` (the leader's clock, carried in the entry), those first that
    /// were due first.
    Expire {
        /// The leader's clock.
        now: Timestamp,
        /// No more nodes than this: what else is due goes with the next.
        nodes_max: u64,
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
    /// No watcher is told; the event still takes its index and its place in the history.
    pub refresh: bool,
}

/// etcd's v2 error codes, as far as a keyspace or its door gives them.
pub mod code {
    /// No such node.
    pub const KEY_NOT_FOUND: u16 = 100;
    /// A condition does not hold.
    pub const COMPARE_FAILED: u16 = 101;
    /// A directory where a file is needed.
    pub const NOT_A_FILE: u16 = 102;
    /// A file where a directory is needed.
    pub const NOT_A_DIRECTORY: u16 = 104;
    /// A node that must not be there is there.
    pub const KEY_EXISTS: u16 = 105;
    /// The root cannot be changed.
    pub const ROOT_IS_READ_ONLY: u16 = 107;
    /// A directory that is to go has content.
    pub const DIRECTORY_NOT_EMPTY: u16 = 108;
    /// A field says nothing that can be understood; here also: the path is deeper than
    /// [`PATH_DEPTH_MAX`](super::PATH_DEPTH_MAX).
    pub const INVALID_FIELD: u16 = 209;
    /// What a wait asks for is past, and not remembered any more.
    pub const HISTORY_CLEARED: u16 = 401;
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
