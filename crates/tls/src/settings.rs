//! What is to be known before a handshake.

use std::path::PathBuf;
use std::time::Duration;

use crate::Protocol;

/// Which door a server has, or who a client calls; for metrics and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients of the member.
    Client,
    /// Other members.
    Peer,
}

impl Side {
    /// As a label of metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
        }
    }
}

/// A certificate, with those between it and its CA behind it, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// PEM.
    pub cert: PathBuf,
    /// PEM: PKCS#1, SEC1 or PKCS#8.
    pub key: PathBuf,
}

/// Whom one believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The CAs in a file.
    File(PathBuf),
    /// The CAs of the system.
    System,
    /// Everybody: names and chains are not looked at. For certificates that members made for themselves.
    Blindly,
}

/// Which certificates are let in, of those that a trusted CA has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// All.
    All,
    /// Those with one of these common names.
    CommonNames(Vec<String>),
    /// Those that are valid for one of these hosts.
    Hosts(Vec<String>),
}

/// What a server asks of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who may have signed it.
    pub trust: Trust,
    /// What was revoked.
    pub crl: Option<PathBuf>,
    /// Who is let in.
    pub allowed: Allowed,
    /// Whether the address that it comes from has to be one of its own, if it has names at all.
    pub from_own_address: bool,
    /// Whether its common name says who calls.
    pub names_callers: bool,
}

/// A server's side.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Which door.
    pub side: Side,
    /// Who this is.
    pub pair: Pair,
    /// What clients have to show; nothing if `None`.
    pub rules: Option<Rules>,
    /// Versions and cipher suites.
    pub protocol: Protocol,
    /// What is spoken inside, by the names of ALPN, best first. Empty: whatever.
    pub inside: Vec<&'static str>,
    /// Handshakes under way at once. Beyond it the oldest gives way, so that whoever is quick gets through.
    pub handshakes_max: usize,
    /// A handshake takes no longer.
    pub handshake_time_max: Duration,
}

/// A client's side.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Who is called.
    pub side: Side,
    /// Who this is, if anybody asks.
    pub pair: Option<Pair>,
    /// Who may have signed the other end's certificate.
    pub trust: Trust,
    /// Which of them are spoken with.
    pub allowed: Allowed,
    /// Another name than the one that is called has to be in the certificate.
    pub server_name: Option<String>,
    /// Versions and cipher suites.
    pub protocol: Protocol,
    /// What is spoken inside, by the names of ALPN, best first. Empty: not said.
    pub inside: Vec<&'static str>,
}
