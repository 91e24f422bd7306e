//! The v2 keyspace as its users live with it, on clusters of real processes.

mod bridge;
mod expiry;
mod migrate;
mod queue;
mod subnets;
mod tree;
mod users;
mod variables;
