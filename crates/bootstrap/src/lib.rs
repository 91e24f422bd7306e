//! How a member with an empty folder finds out who it is and who the others are.
//!
//! There are three ways to be told: a list in a flag, a URL where the founders meet, the SRV records of a domain. And
//! there are two things to do then: found the cluster with the others, or join one that runs. What comes out is a
//! [`Beginning`] in either case. It reads nothing from disk and writes nothing; a member with data does not come here.
//!
//! INVARIANT: every refusal is one sentence that says what is wrong and, where there is one, what to do about it.
//! INVARIANT: no question to another member or to a service waits without a named limit.

mod error;

mod discovery;
mod joining;
mod srv;

mod http;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use members::{InitialCluster, MemberUrl};
use tokio::task::JoinSet;
use transport::{Census, census};
use types::{ClusterId, MemberId, MemberRecord};

pub use discovery::DiscoveryError;
pub use error::BootstrapError;
pub use srv::SrvError;

/// How long others that may know this member are waited for at a start. Who is not there refuses at once; who is busy
/// may need a while.
const MEETING_TIME_MAX: Duration = Duration::from_secs(3);

/// What this member was told about itself and about where to look.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What people call it.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<MemberUrl>,
    /// Goes into ids.
    pub token: String,
    /// Where the first members are written down.
    pub source: Source,
    /// Whether it joins a cluster that runs instead of founding one.
    pub joins: bool,
    /// Asked for names instead of those in `/etc/resolv.conf`; for tests.
    pub name_server: Option<SocketAddr>,
    /// How members with https are called; `None` calls none of them.
    pub tls: Option<Arc<tls::Client>>,
}

/// Where the first members are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is alone.
    Alone,
    /// In a flag, as `name=url,name=url`.
    List(String),
    /// Under a URL where the first members meet.
    Discovery(String),
    /// In the SRV records of a domain.
    Srv {
        /// The domain.
        domain: String,
        /// What follows the name of the service; may be empty.
        suffix: String,
    },
}

/// What a new folder begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Whether the cluster runs already.
    pub joins: bool,
    /// Its id.
    pub cluster: ClusterId,
    /// This member's id.
    pub member: MemberId,
    /// All members, this one too, in order of their ids.
    pub members: Vec<MemberRecord>,
}

/// Refuses what is wrong already as it is written, before anybody is asked.
pub fn check(plan: &Plan) -> Result<(), BootstrapError> {
    match &plan.source {
        Source::Alone => alone(plan).map(drop),
        Source::List(list) => listed(plan, list).map(drop),
        Source::Discovery(_) if plan.joins => Err(BootstrapError::DiscoveryJoins),
        Source::Discovery(_) | Source::Srv { .. } => Ok(()),
    }
}

/// Finds it out. It may take as long as the others need to come.
pub async fn begin(plan: &Plan) -> Result<Beginning, BootstrapError> {
    check(plan)?;
    let cluster = match &plan.source {
        Source::Discovery(url) => return discovery::meet(plan, url).await,
        Source::Alone => alone(plan)?,
        Source::List(list) => listed(plan, list)?,
        Source::Srv { domain, suffix } => srv::look_up(plan, domain, suffix).await?,
    };
    if plan.joins { joining::join(plan, &cluster).await } else { found(plan, &cluster).await }
}

/// What a member with data may have begun with, as far as the flags tell. Its folder knows better.
pub fn guess(plan: &Plan) -> Beginning {
    let listed = match &plan.source {
        Source::List(list) => listed(plan, list).or_else(|_| alone(plan)),
        _ => alone(plan),
    };
    let guessed = listed.and_then(|cluster| beginning(plan, &cluster, &plan.token));
    let nobody =
        |_| Beginning { joins: false, cluster: ClusterId(0), member: MemberId(0), members: Vec::new() };
    guessed.unwrap_or_else(nobody)
}

/// The members of a list, checked against what this member says of itself.
pub fn listed(plan: &Plan, list: &str) -> Result<InitialCluster, BootstrapError> {
    let refused = |error| BootstrapError::list(error, &plan.name, list);
    let cluster = InitialCluster::parse(list).map_err(refused)?;
    cluster.check_founder(&plan.name, &plan.peer_urls).map_err(refused)?;
    Ok(cluster)
}

/// A cluster of this member.
fn alone(plan: &Plan) -> Result<InitialCluster, BootstrapError> {
    let pairs: Vec<String> = plan.peer_urls.iter().map(|url| format!("{}={url}", plan.name)).collect();
    listed(plan, &pairs.join(","))
}

async fn found(plan: &Plan, cluster: &InitialCluster) -> Result<Beginning, BootstrapError> {
    let beginning = beginning(plan, cluster, &plan.token)?;
    // A founder whose folder was lost must not come back as if it had never voted.
    for (_, answer) in ask_others(plan, &beginning.members).await {
        let knows = |member: &MemberRecord| member.id == beginning.member && !member.client_urls.is_empty();
        if answer.members.iter().any(knows) {
            return Err(BootstrapError::AlreadyBootstrapped(beginning.member));
        }
    }
    Ok(beginning)
}

/// Which clusters the others in the list belong to, as far as they answer soon; for a member with data.
pub async fn neighbours(plan: &Plan) -> Vec<(String, ClusterId)> {
    let Source::List(list) = &plan.source else { return Vec::new() };
    let members =
        InitialCluster::parse(list).and_then(|cluster| cluster.members(&plan.token)).unwrap_or_default();
    let answers = ask_others(plan, &members).await;
    answers.into_iter().filter_map(|(url, answer)| Some((url, answer.cluster?))).collect()
}

/// Refuses the data of another cluster: somebody in the list answers, and nobody who does is of this one.
pub fn check_neighbours(neighbours: &[(String, ClusterId)], own: ClusterId) -> Result<(), BootstrapError> {
    match neighbours.first() {
        Some((url, theirs)) if neighbours.iter().all(|(_, cluster)| *cluster != own) => {
            Err(BootstrapError::OtherCluster { own, theirs: *theirs, url: url.clone() })
        }
        _ => Ok(()),
    }
}

/// What everybody else says who answers soon.
async fn ask_others(plan: &Plan, members: &[MemberRecord]) -> Vec<(String, Census)> {
    let others = members.iter().filter(|member| member.name != plan.name);
    let mut questions = JoinSet::new();
    for url in others.flat_map(|member| member.peer_urls.clone()) {
        let tls = plan.tls.clone();
        questions.spawn(async move { (census(&url, tls.as_deref(), MEETING_TIME_MAX).await, url) });
    }
    let mut answers = Vec::new();
    while let Some(question) = questions.join_next().await {
        if let Ok((Ok(answer), url)) = question {
            answers.push((url, answer));
        }
    }
    answers
}

/// What founders begin with.
fn beginning(plan: &Plan, cluster: &InitialCluster, token: &str) -> Result<Beginning, BootstrapError> {
    let members = cluster.members(token)?;
    let own = members.iter().find(|member| member.name == plan.name);
    let member = own.ok_or_else(|| BootstrapError::NotFounder(plan.name.clone()))?.id;
    Ok(Beginning { joins: false, cluster: cluster.cluster_id(token)?, member, members })
}
