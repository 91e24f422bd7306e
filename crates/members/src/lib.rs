//! Who is in the cluster: the members, their names and URLs, and the ids that follow from them.
//!
//! It knows how a first cluster is written down (`--initial-cluster`) and how URLs must look, since names and
//! URLs are its nouns. It never resolves a name, opens a socket or decides who may vote.
//!
//! INVARIANT: an id is derived exactly as etcd derives it, from peer URLs and token, on every machine alike.
//! INVARIANT: rows and the list in memory name the same members.

mod id;
mod initial;
mod roster;
mod row;
mod url;

pub use id::{cluster_id, member_id};
pub use initial::{InitialCluster, InitialClusterError};
pub use roster::{Members, OpenError};
pub use row::Damage;
pub use url::{MemberUrl, Scheme, UrlError, parse_urls};
