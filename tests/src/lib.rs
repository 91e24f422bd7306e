//! The harness: real processes, real sockets, and answers shown exactly as they came.
//!
//! Nothing here knows how Kvorum works inside. Whatever a test wants to know it asks over the network, from
//! the command line, or from a file that an operator could read too.

#![allow(clippy::missing_panics_doc, reason = "a test that asks for what is not there panics, and should")]

mod markdown;
mod port;
mod process;
mod wait;

pub mod allowed;
pub mod answer;
pub mod client;
pub mod cluster;
pub mod etcdctl;
pub mod grpc;
pub mod http1;
pub mod node;
pub mod operator;
pub mod text;
pub mod v2;

pub use client::Client;
pub use cluster::Cluster;
pub use markdown::{Table, table_after};
pub use node::{Node, Program, Release};
pub use wait::until;

use std::path::PathBuf;

/// The root of the work tree.
pub fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}
