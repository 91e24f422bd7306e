//! Clusters of real processes, and everything that persons, machines and networks do to them.
//!
//! Each test follows what docs/OPERATIONS.md tells an operator to do. `CLUSTER_OF=etcd` runs the same tests
//! against real etcd 3.4.23, which shows that they ask for nothing that etcd does not do.

mod damage;
mod differing;
mod disk;
mod failures;
mod forged;
mod installing;
mod membership;
mod mistakes;
mod paused;
mod serving;
mod slow;
mod transfer;
