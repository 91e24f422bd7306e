//! Several servers that are one cluster; a cluster of one is a server alone.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use super::points::Place;
use super::server::{Founding, Seat, Server};
use super::systems::System;
use crate::call::{self, Status};
use crate::proc::Memory;

const AGREE_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A running cluster.
pub(super) struct Cluster {
    servers: Vec<Server>,
}

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Its place among the servers.
    pub(super) at: usize,
    /// The term in which it leads.
    pub(super) term: u64,
}

impl Cluster {
    /// Starts `count` members of `system` below `folder`, and waits until each of them answers.
    pub(super) async fn start(system: &System, folder: &Path, count: usize) -> Result<Self> {
        if count == 1 {
            return Ok(Self { servers: vec![Server::start(system, folder).await?] });
        }
        let seats = (1..=count)
            .map(|number| Seat::take(&format!("m{number}"), &folder.join(format!("m{number}"))))
            .collect::<Result<Vec<Seat>>>()?;
        let founding = Founding::new(&seats);
        let servers =
            seats.iter().map(|seat| Server::launch(system, seat, &founding)).collect::<Result<_>>()?;
        let mut cluster = Self { servers };
        cluster.ready(system).await?;
        Ok(cluster)
    }

    async fn ready(&mut self, system: &System) -> Result<()> {
        for server in &mut self.servers {
            server.ready(system).await?;
        }
        Ok(())
    }

    /// Asks all members to end, and waits for that.
    pub(super) async fn stop(&mut self) -> Result<()> {
        for server in &self.servers {
            server.ask_to_end()?;
        }
        for server in &mut self.servers {
            server.ended().await?;
        }
        Ok(())
    }

    /// Starts all members again after `stop`, and waits until each of them answers.
    pub(super) async fn restart(&mut self, system: &System) -> Result<()> {
        for server in &mut self.servers {
            server.relaunch(system)?;
        }
        self.ready(system).await
    }

    /// The leader, once all members agree on it. Of a server alone: itself.
    pub(super) async fn leader(&self) -> Result<Leader> {
        let begin = Instant::now();
        loop {
            let mut said = Vec::new();
            for server in &self.servers {
                said.push(call::status(&server.authority()).await?);
            }
            if let Some(leader) = agreed(&said) {
                return Ok(leader);
            }
            if begin.elapsed() > AGREE_MAX {
                bail!("the members name no common leader in {} s: {said:?}", AGREE_MAX.as_secs());
            }
            sleep(LOOK).await;
        }
    }

    /// Where clients connect, in turn. Spread clients begin with a follower, so that a single one is at a follower.
    pub(super) fn endpoints(&self, place: Place, leader: usize, without: Option<usize>) -> Vec<String> {
        let count = self.servers.len();
        let chosen = match place {
            Place::Leader => leader..leader + 1,
            Place::Spread => leader + 1..leader + 1 + count,
        };
        let places = chosen.map(|at| at % count).filter(|&at| Some(at) != without);
        places.map(|at| self.servers[at].authority()).collect()
    }

    /// The members.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Process ids of all members.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// The memory of all members together.
    pub(super) fn memory(&self) -> Result<Memory> {
        self.servers.iter().map(Server::memory).sum()
    }
}

/// The leader that every member names, in the same term.
fn agreed(said: &[Status]) -> Option<Leader> {
    let first = said.first()?;
    let same = said.iter().all(|status| (status.leader, status.term) == (first.leader, first.term));
    let at = said.iter().position(|status| status.member == first.leader)?;
    same.then_some(Leader { at, term: first.term })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_one_that_all_name_in_one_term() {
        let status = |member, leader, term| Status { member, leader, term };
        let all = [status(7, 8, 2), status(8, 8, 2), status(9, 8, 2)];
        assert_eq!(agreed(&all), Some(Leader { at: 1, term: 2 }));
        assert_eq!(agreed(&[all[0], all[1], status(9, 8, 3)]), None);
        assert_eq!(agreed(&[status(7, 0, 2)]), None);
        assert_eq!(agreed(&[]), None);
    }
}
