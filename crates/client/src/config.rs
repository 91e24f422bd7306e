//! What a client is made from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Registry;
use tls::{Allowed, ClientSettings, Pair, Protocol, Side, TlsError, Trust};

use crate::Endpoint;

/// Who speaks.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub name: String,
    /// The password, which nothing here ever prints.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What TLS is spoken with: once for gRPC and once for plain pages.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) grpc: Arc<tls::Client>,
    pub(crate) pages: Arc<tls::Client>,
}

/// Who is believed, and who this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CAs that are believed; those of the system if `None`.
    pub cacert: Option<PathBuf>,
    /// What is shown of oneself: a certificate and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Believes everybody.
    pub blindly: bool,
}

impl Tls {
    /// Reads the files; what is wrong with them is told here.
    pub fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let trust = match &files.cacert {
            _ if files.blindly => Trust::Blindly,
            Some(file) => Trust::File(file.clone()),
            None => Trust::System,
        };
        let pair = files.pair.clone().map(|(cert, key)| Pair { cert, key });
        let client = |inside: &'static str| {
            let settings = ClientSettings {
                side: Side::Client,
                pair: pair.clone(),
                trust: trust.clone(),
                allowed: Allowed::All,
                server_name: None,
                protocol: Protocol::default(),
                inside: vec![inside],
            };
            tls::Client::new(settings, &Registry::new())
        };
        Ok(Self { grpc: client("h2")?, pages: client("http/1.1")? })
    }
}

/// How to reach the members.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where they listen; at least one.
    pub endpoints: Vec<Endpoint>,
    /// How long one connection may take to come up.
    pub dial_timeout: Duration,
    /// How often a connection that says nothing is asked whether it lives. Zero never asks.
    pub keepalive_time: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
    /// What TLS is spoken with; without it `https` cannot be reached.
    pub tls: Option<Tls>,
    /// Whether an endpoint without a scheme is reached with TLS.
    pub prefers_tls: bool,
    /// Who speaks, if anybody.
    pub credentials: Option<Credentials>,
    /// A token that was signed elsewhere, instead of credentials.
    pub token: Option<String>,
    /// The largest request, in bytes; larger ones are refused here.
    pub request_bytes_max: usize,
    /// The largest answer, in bytes.
    pub reply_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            dial_timeout: Duration::from_secs(2),
            keepalive_time: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(6),
            tls: None,
            prefers_tls: false,
            credentials: None,
            token: None,
            request_bytes_max: 2 * 1024 * 1024,
            reply_bytes_max: i32::MAX as usize,
        }
    }
}
