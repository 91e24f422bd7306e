//! TLS with certificates as people make them (cfssl, its CA and its profiles), and with clients that they use: curl and
//! etcdctl of two versions.
//!
//! docs/OPERATIONS.md tells an operator the same steps.

mod changes;
mod disaster;
mod floods;
mod house;
mod init;
mod names;
mod people;
mod refusals;
mod refused_bodies;
mod serving;
mod shop;
mod starts;
mod users;
