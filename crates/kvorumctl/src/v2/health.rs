//! `cluster-health`: asks every member at the places where it says that it listens.

use std::time::Duration;

use clap::Args;
use client::{Endpoint, PageRequest};
use serde_json::Value;

use super::failure::{HEALTH, SERVER};
use super::shown::text;
use super::wire::{Wire, texts};
use crate::failure::{Done, Failure};
use crate::output::{print_line, say};

/// How long one member may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between one look and the next.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ClusterHealth {
    /// Looks again every 10 seconds until it is interrupted.
    #[arg(short, long)]
    forever: bool,
}

impl ClusterHealth {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let members = match wire.members().await {
            Ok(members) if !members.is_empty() => members,
            _ => {
                say("cluster may be unhealthy: failed to list members");
                return Err(Failure::silent(SERVER));
            }
        };
        loop {
            let mut healthy = 0;
            for member in &members {
                healthy += usize::from(look(wire, member).await?);
            }
            match healthy {
                0 => print_line("cluster is unavailable")?,
                all if all == members.len() => print_line("cluster is healthy")?,
                _ => print_line("cluster is degraded")?,
            }
            if !self.forever {
                return if healthy == members.len() { Ok(()) } else { Err(Failure::silent(HEALTH)) };
            }
            print_line("\nnext check after 10 second...\n")?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Asks one member; says what it found.
async fn look(wire: &Wire, member: &Value) -> Result<bool, Failure> {
    let (id, urls) = (text(member, "id"), texts(&member["clientURLs"]));
    if urls.is_empty() {
        print_line(&format!("member {id} is unreachable: no available published client urls"))?;
        return Ok(false);
    }
    for url in &urls {
        let failed = |reason: String| {
            print_line(&format!("failed to check the health of member {id} on {url}: {reason}"))
        };
        let endpoint = match Endpoint::parse(url) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                failed(error.to_string())?;
                continue;
            }
        };
        let only = wire.client.only(&endpoint);
        match only.exchange(&PageRequest::get("/health"), Some(PATIENCE)).await {
            Ok(page) => {
                let health: Value = serde_json::from_slice(&page.body).unwrap_or_default();
                let is_healthy = text(&health, "health") == "true";
                let word = if is_healthy { "healthy" } else { "unhealthy" };
                print_line(&format!("member {id} is {word}: got {word} result from {url}"))?;
                return Ok(is_healthy);
            }
            Err(fault) => {
                let reason =
                    fault.failures().first().map_or_else(|| fault.to_string(), |known| known.reason.clone());
                failed(reason)?;
            }
        }
    }
    print_line(&format!("member {id} is unreachable: [{}] are all unreachable", urls.join(" ")))?;
    Ok(false)
}
