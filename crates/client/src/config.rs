//! What a client is made from.

use std::fmt;
use std::time::Duration;

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
    /// Who speaks, if anybody.
    pub credentials: Option<Credentials>,
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
            credentials: None,
            request_bytes_max: 2 * 1024 * 1024,
            reply_bytes_max: i32::MAX as usize,
        }
    }
}
