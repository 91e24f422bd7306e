//! The Rust client of the v3 interface: many endpoints that look like one.
//!
//! A [`Client`] takes turns among its endpoints, goes on with the next one when one fails, and knows what may be
//! said twice: a question always, a command only when it surely was not sent. Watches are resumed behind the last
//! event that was handed out; leases are kept at whichever endpoint answers.
//!
//! It reads no environment, no files and no arguments, and prints nothing.
//!
//! INVARIANT: a command that may have reached a member is never sent again.

mod answers;
mod call;
mod client;
mod config;
mod discovery;
mod endpoint;
mod fault;
mod lease;
mod link;
mod plain;
mod range;
mod token;
mod watch;

pub use answers::{Answers, Question};
pub use call::Call;
pub use client::Client;
pub use config::{Config, Credentials, Tls, TlsFiles};
pub use discovery::{DiscoveryError, discover};
pub use endpoint::{Endpoint, EndpointError};
pub use fault::{Failure, Fault};
pub use http::Method;
pub use lease::{Beat, KeepAlive, keep_once};
pub use plain::{Page, PageRequest};
pub use range::prefix_end;
pub use tonic::Code;
pub use watch::{Watch, WatchProgress};
