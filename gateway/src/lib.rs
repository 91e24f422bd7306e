//! The gateway: every public protocol on one port, told apart by what arrives.
//!
//! gRPC, its JSON form, the v2 keyspace, health and metrics come in over HTTP/1.1 and HTTP/2. Each request is
//! read within named limits, checked in etcd's order and turned into the typed requests of `api`; each answer
//! is told in the form that etcd's clients expect. It holds no state of the cluster and decides nothing about
//! it, so it runs against any [`api::Member`], in tests a fake one.
//!
//! INVARIANT: nothing unparsed passes to the member, and a refused request never reaches it.
//! INVARIANT: a slow or hostile connection costs what [`Limits`] says and delays nobody else.

mod gateway;
mod limits;

mod activity;
mod authority;
mod body;
mod browsers;
mod budget;
mod compress;
mod crowd;
mod descriptors;
mod leave;
mod metadata;
mod meters;
mod refusal;
mod rpc;
mod slow;
mod stream;
mod streams;

mod auth;
mod calls;
mod contests;
mod convert;
mod health;
mod intervals;
mod leases;
mod membership;
mod reflection;
mod upkeep;
mod watches;

mod grpc;
mod json;
mod mux;
mod openapi;
mod plain;
mod v2;
mod variables;

pub use browsers::Browsers;
pub use gateway::{Connection, Gateway};
pub use limits::Limits;
