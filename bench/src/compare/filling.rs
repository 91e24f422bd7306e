//! A server or a cluster is filled with keys, before something is measured of it.

use anyhow::{Result, ensure};

use crate::load::{self, CONNECTIONS, Plan, Report, Until};
use crate::workload::{Kind, Shape};

/// Values of this size, under keys of eight bytes.
const VALUE_BYTES: usize = 256;

/// What to write, and where.
pub(super) struct Filling {
    /// How the keys are written.
    pub(super) kind: Kind,
    /// How many keys.
    pub(super) keys: u64,
    /// Concurrent callers.
    pub(super) clients: usize,
    /// Where they call.
    pub(super) endpoints: Vec<String>,
    /// The servers whose processor time is counted.
    pub(super) server_pids: Vec<u32>,
    /// Whether a line on stderr says each second how it goes.
    pub(super) live: bool,
}

impl Filling {
    /// Writes all keys.
    pub(super) async fn run(self) -> Result<Report> {
        let shape = Shape {
            kind: self.kind,
            keys: self.keys,
            key_bytes: 8,
            value_bytes: VALUE_BYTES,
            clients: self.clients,
            seed: 1,
            endpoints: self.endpoints,
        };
        let plan = Plan {
            shape,
            connections: CONNECTIONS,
            rate: None,
            until: Until::Calls(u64::MAX),
            live: self.live,
            token: None,
            server_pids: self.server_pids,
        };
        let report = load::run(&plan).await?;
        ensure!(report.failures == 0, "the keys could not be written: {:?}", report.failure_texts);
        Ok(report)
    }
}
