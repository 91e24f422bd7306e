//! A client of the v2 keyspace that keeps its connection, and goes to the next member when one does not answer.
//!
//! It never sends a request twice: what became of a request without an answer is the test's question.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::http1::{self, Connection, Reply};

/// An answer of the keyspace.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status of HTTP.
    pub status: u16,
    /// `X-Etcd-Index`.
    pub index: u64,
    /// The event or the error; null when there was no body.
    pub body: Value,
}

/// See the module.
#[derive(Debug)]
pub struct V2 {
    addresses: Vec<SocketAddr>,
    at: usize,
    patience: Duration,
    connection: Option<Connection>,
}

impl V2 {
    /// A client of these members, at least one; it begins with the first.
    pub fn new(addresses: &[SocketAddr], patience: Duration) -> Self {
        Self { addresses: addresses.to_vec(), at: 0, patience, connection: None }
    }

    /// The same, with another member to begin with.
    #[must_use]
    pub fn from(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Goes to the next member.
    pub fn turn(&mut self) {
        self.connection = None;
        self.at = self.at.wrapping_add(1);
    }

    /// Sends one request; `path` is below `/v2/keys` and may have a query. Without an answer it turns to the next
    /// member.
    pub fn ask(&mut self, method: &str, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Told> {
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let body = (method == "PUT" || method == "POST").then_some(body.as_bytes());
        let request = http1::request(method, &format!("/v2/keys{path}"), &[], body);
        let reply = self.exchange(&request);
        if reply.is_err() {
            self.turn();
        }
        told(&reply.with_context(|| format!("{method} {path}"))?)
    }

    /// [`V2::ask`] until there is an answer that says nothing of a missing leader. For what may be sent twice.
    pub fn insist(&mut self, method: &str, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Told> {
        const TRIES_MAX: usize = 200;
        let mut last = None;
        for _ in 0..TRIES_MAX {
            match self.ask(method, path, form) {
                Ok(told) if told.status < 500 => return Ok(told),
                Ok(told) => {
                    self.turn();
                    last = Some(anyhow::anyhow!("{told:?}"));
                }
                Err(error) => last = Some(error),
            }
            // Reason to sleep: a cluster without a leader is asked again, and needs the processor to find one.
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(last.context("it was never asked")?)
    }

    fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let reply = connection.ask(request)?;
        self.connection = Some(connection);
        Ok(reply)
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let at = self.at.checked_rem(self.addresses.len()).context("an address")?;
        let address = self.addresses.get(at).context("an address")?;
        Ok(Connection::new(*address, self.patience))
    }
}

impl Told {
    /// A field of the event's node.
    pub fn node(&self, field: &str) -> &Value {
        &self.body["node"][field]
    }

    /// The nodes of a directory that was listed: key, value and modified index, in the order of the answer.
    pub fn nodes(&self) -> Vec<(String, String, u64)> {
        let nodes = self.body["node"]["nodes"].as_array().into_iter().flatten();
        let text = |node: &Value, field: &str| node[field].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(node, "key"), text(node, "value"), number(&node["modifiedIndex"]))).collect()
    }

    /// The modified index of the event's node.
    pub fn modified(&self) -> u64 {
        number(self.node("modifiedIndex"))
    }

    /// The code of the error; 0 when it is none.
    pub fn code(&self) -> u64 {
        number(&self.body["errorCode"])
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn told(reply: &Reply) -> anyhow::Result<Told> {
    let index = reply.header("x-etcd-index").and_then(|index| index.parse().ok()).unwrap_or_default();
    let body = match reply.body.as_slice() {
        [] => Value::Null,
        body => serde_json::from_slice(body).context("an answer in JSON")?,
    };
    Ok(Told { status: reply.status, index, body })
}
