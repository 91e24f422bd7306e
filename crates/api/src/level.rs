//! The level of etcd's interface that is offered. Clients look at it to choose modern paths, so it follows
//! etcd's numbers and not ours.

/// What `/version` and Status call the server's version.
pub const SERVER: &str = "3.7.1";

/// The version that all members of the cluster speak.
pub const CLUSTER: &str = "3.7.0";

/// The version of what is stored.
pub const STORAGE: &str = "3.7.0";
