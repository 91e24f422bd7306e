//! Joining a cluster that runs: its members are asked who they are, and what they say must fit the list.

use std::collections::BTreeSet;
use std::time::Duration;

use members::InitialCluster;
use stdx::chain;
use tokio::time::sleep;
use transport::{Census, census};
use types::{ClusterId, MemberRecord};

use crate::{Beginning, BootstrapError, Plan};

/// A member that does not answer within this time is not waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// So often everybody is asked: a member that was added just now is not known to all of them at once.
const ROUNDS_MAX: u32 = 4;
/// Between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// Asks everybody else in `listed`, in turn, until one knows this member.
pub(crate) async fn join(plan: &Plan, listed: &InitialCluster) -> Result<Beginning, BootstrapError> {
    let mut round = 1;
    loop {
        let refused = match ask_all(plan, listed).await {
            Ok(beginning) => return Ok(beginning),
            Err(error) => error,
        };
        if round == ROUNDS_MAX {
            return Err(refused);
        }
        tracing::warn!(error = %refused, round, "this member cannot join yet; trying again");
        sleep(ROUND_PAUSE).await;
        round += 1;
    }
}

/// One round with a list that is not checked.
#[cfg(test)]
pub(crate) async fn ask_once(plan: &Plan, list: &str) -> Result<Beginning, BootstrapError> {
    ask_all(plan, &InitialCluster::parse(list)?).await
}

async fn ask_all(plan: &Plan, listed: &InitialCluster) -> Result<Beginning, BootstrapError> {
    let records = listed.members(&plan.token)?;
    let others = records.iter().filter(|member| member.name != plan.name);
    let mut reasons = Vec::new();
    let mut differs = None;
    for url in others.flat_map(|member| &member.peer_urls) {
        let answer = census(url, plan.tls.as_deref(), ANSWER_TIME_MAX).await;
        let Census { cluster: Some(cluster), members } = (match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(address = %url, error = chain(&error), "failed to get cluster response");
                reasons.push(format!("{url}: {}", chain(&error)));
                continue;
            }
        }) else {
            reasons.push(format!("{url} does not say which cluster it belongs to"));
            continue;
        };
        match compare(plan, &records, cluster, members) {
            Ok(beginning) => return Ok(beginning),
            Err(error) => differs = Some(error),
        }
    }
    if reasons.is_empty() {
        reasons.push("--initial-cluster names nobody but this member: name the others too".to_owned());
    }
    Err(differs.unwrap_or_else(|| BootstrapError::NobodyAnswers { reasons: reasons.join("; ") }))
}

/// Whether what the cluster says of its members is what the list says, and who this member is then.
pub(crate) fn compare(
    plan: &Plan,
    listed: &[MemberRecord],
    cluster: ClusterId,
    mut members: Vec<MemberRecord>,
) -> Result<Beginning, BootstrapError> {
    let told = tell(cluster, &members);
    let differs = |difference: String| BootstrapError::Differs { cluster: told.clone(), difference };
    let own_urls: Vec<String> = plan.peer_urls.iter().map(ToString::to_string).collect();
    let own = members.iter().find(|member| same(&member.peer_urls, &own_urls)).map(|member| member.id);
    if listed.len() != members.len() {
        let mut difference = format!(
            "member count is unequal; --initial-cluster names {} members and the cluster has {}",
            listed.len(),
            members.len()
        );
        if own.is_none() {
            difference.push_str(&added_first(plan, &own_urls));
        }
        return Err(differs(difference));
    }
    for member in &members {
        if !listed.iter().any(|listed| same(&listed.peer_urls, &member.peer_urls)) {
            let urls = member.peer_urls.join(" ");
            let mut difference =
                format!("PeerURLs: no match found for existing member ({}, [{urls}])", member.id);
            if own.is_none() {
                difference.push_str(&added_first(plan, &own_urls));
            }
            return Err(differs(difference));
        }
    }
    let Some(own) = own else {
        return Err(differs(format!(
            "unmatched member while checking PeerURLs{}",
            added_first(plan, &own_urls)
        )));
    };
    if let Some(other) = members.iter().find(|member| member.id != own && member.name == plan.name) {
        tracing::warn!(
            name = plan.name, other = %other.id,
            "another member has this name already; people and --initial-cluster cannot tell them apart: give every \
             member a --name of its own"
        );
    }
    for member in members.iter_mut().filter(|member| member.id == own) {
        plan.name.clone_into(&mut member.name);
    }
    members.sort_unstable_by_key(|member| member.id);
    Ok(Beginning { joins: true, cluster, member: own, members })
}

fn added_first(plan: &Plan, own_urls: &[String]) -> String {
    let urls = own_urls.join(",");
    format!(
        "; the cluster does not know this member: `etcdctl member add {} --peer-urls={urls}` comes before its first start",
        plan.name
    )
}

fn same(these: &[String], those: &[String]) -> bool {
    let set = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
    set(these) == set(those)
}

fn tell(cluster: ClusterId, members: &[MemberRecord]) -> String {
    let member =
        |member: &MemberRecord| format!("{} {:?} [{}]", member.id, member.name, member.peer_urls.join(" "));
    format!("{cluster}: {}", members.iter().map(member).collect::<Vec<_>>().join(", "))
}
