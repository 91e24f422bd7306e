//! `elect`: stands for an election, or watches who leads.

use std::time::Duration;

use clap::Args;
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use proto::v3electionpb::{CampaignRequest, LeaderRequest, ResignRequest};
use tokio::time::sleep;

use super::lock::Tenure;
use super::signal::Stop;
use crate::failure::{Done, Failure};
use crate::session::Session;

/// How long a leadership outlives a program that died, in seconds.
const TTL: i64 = 60;

/// How long giving back may take, when a member does not answer.
const FAREWELL: Duration = Duration::from_secs(5);

/// The wait before a stream is opened again that ended.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kvorumctl elect master node-1\n  kvorumctl elect master --listen")]
pub(crate) struct Elect {
    /// The election, and what its leader wants to be known by.
    #[arg(value_name = "ELECTION [PROPOSAL]")]
    args: Vec<String>,
    /// Watches without standing for it.
    #[arg(short, long)]
    listen: bool,
}

impl Elect {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let mut args = self.args.into_iter();
        let (Some(election), proposal, None) = (args.next(), args.next(), args.next()) else {
            let text = "elect takes one election name argument and an optional proposal argument";
            return Err(Failure::arguments(text));
        };
        match (proposal, self.listen) {
            (None, true) => observe(session, election).await,
            (None, false) => Err(Failure::arguments("no proposal argument but -l not set")),
            (Some(_), true) => Err(Failure::arguments("proposal given but -l is set")),
            (Some(proposal), false) => campaign(session, election, proposal).await,
        }
    }
}

async fn campaign(session: &Session, election: String, proposal: String) -> Done {
    let mut stop = Stop::listen()?;
    let mut tenure = Tenure::begin(session, TTL).await?;
    let name = election.into_bytes().into();
    let request = CampaignRequest { name, lease: tenure.lease, value: proposal.into_bytes().into() };
    let elected = tokio::select! {
        elected = session.client.call(request, None) => elected.map_err(Failure::from),
        () = tenure.over() => Err(Failure::error("elect: session expired")),
        () = stop.heard() => Err(Failure::error("context canceled")),
    };
    let done = match elected {
        Ok(elected) => {
            let leader = elected.leader.unwrap_or_default();
            let key = leader.key.clone();
            let shown = session.call(RangeRequest { key, ..Default::default() }).await;
            let shown = shown.and_then(|answer| session.show(&answer));
            if shown.is_err() {
                shown
            } else {
                tokio::select! {
                    () = stop.heard() => {
                        let resign = ResignRequest { leader: Some(leader) };
                        session.client.call(resign, Some(FAREWELL)).await.map(drop).map_err(Failure::from)
                    }
                    () = tenure.over() => Err(Failure::error("elect: session expired")),
                }
            }
        }
        Err(failure) => Err(failure),
    };
    tenure.end(session).await;
    done
}

/// Shows each leader, until somebody says stop.
async fn observe(session: &Session, election: String) -> Done {
    let mut stop = Stop::listen()?;
    let question = LeaderRequest { name: election.into_bytes().into() };
    let mut last = 0;
    loop {
        let mut leaders = tokio::select! {
            leaders = session.client.ask(question.clone(), None) => leaders?,
            () = stop.heard() => return Ok(()),
        };
        loop {
            let leader = tokio::select! {
                leader = leaders.next() => leader,
                () = stop.heard() => return Ok(()),
            };
            let Some(Ok(leader)) = leader else { break };
            let revision = leader.kv.as_ref().map_or(0, |pair| pair.mod_revision);
            // A stream that was opened again begins with the leader that was shown last.
            if revision > last {
                last = revision;
                let kvs = leader.kv.into_iter().collect();
                session.show(&RangeResponse { header: leader.header, kvs, ..Default::default() })?;
            }
        }
        sleep(PAUSE).await;
    }
}
