//! Who is in the cluster: the members, their names and URLs, and the ids that follow from them.
//!
//! It knows how a first cluster is written down (`--initial-cluster`) and how URLs must look, since names and
//! URLs are its nouns, and which change of the members is legal. It never resolves a name or opens a socket.
//!
//! INVARIANT: an id is derived exactly as etcd derives it, from peer URLs and token, on every machine alike.
//! INVARIANT: an id that was removed never returns.
//! INVARIANT: rows and the list in memory name the same members.

mod id;
mod initial;
mod roster;
mod row;
mod rules;
mod strict;

pub use id::{cluster_id, joining_id, member_id};
pub use initial::{InitialCluster, InitialClusterError};
pub use roster::{Members, OpenError};
pub use row::Damage;
pub use rules::{Change, LEARNERS_MAX};
pub use strict::{HEALTH_INTERVAL, Reach, Risk, check_strictly};
pub use types::{MemberUrl, Scheme, UrlError, parse_urls};
