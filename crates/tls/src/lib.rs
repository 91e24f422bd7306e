//! TLS by rustls: from files to connections whose other end is known.
//!
//! A [`Server`] takes a socket through its handshake, and a [`Client`] calls a host. Both read certificates, keys, CAs
//! and revocation lists from files, look at each handshake whether these have changed, and go on with what they had
//! when what is there now cannot be used. Chains are judged as Go judges them, since that is what people's
//! certificates were made for. This crate knows no flags and speaks no HTTP.
//!
//! INVARIANT: a handshake ends within a named time, and there are never more of them under way than a named limit.
//! INVARIANT: whoever is refused is refused with a reason, in our log, that names the certificate and the CAs; the log
//! cannot be flooded with it. No secret is in it.

mod error;
mod settings;

mod der;

mod certificate;
mod files;
mod protocol;
mod reason;
mod trust;
mod verifiers;

mod addresses;
mod crowd;
mod expiry;
mod loaded;
mod meters;
mod refusals;

mod client;
mod self_signed;
mod server;
mod workshop;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientStream, ConnectError};
pub use error::TlsError;
pub use expiry::not_after;
pub use protocol::{Protocol, ProtocolError, Version};
pub use self_signed::self_signed;
pub use server::{Server, ServerStream, Session};
pub use settings::{Allowed, ClientSettings, Pair, Rules, ServerSettings, Side, Trust};
pub use workshop::{Made, Order, Stock, workshop};
