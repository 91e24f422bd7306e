//! Moving in and out: what real etcd of either version saved starts here, and what we saved starts there, with the same
//! answers at every revision, the same leases and the same users.

mod data;
mod folders;
mod place;
mod snapshots;
