//! Founders that meet under a URL: each writes itself there and waits until enough have come. The protocol is that of
//! etcd's discovery service, which is etcd's v2 keys with a size beside them:
//!
//! ```text
//! URL/_config/size      how many members the cluster begins with
//! URL/<member id>       name=url,name=url of one of them
//! ```
//!
//! Who comes first by the created index is in; who comes when all places are taken is told so.
//!
//! INVARIANT: a place that was taken by a lost start is not taken again: its member may have voted.

use std::time::Duration;

use hyper::{Method, Uri};
use members::{InitialCluster, InitialClusterError, member_id};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::time::sleep;
use types::MemberId;

use crate::http::{Answer, Service, believing_the_system, exchange};
use crate::{Beginning, BootstrapError, Plan};

/// After a failure of the service the next question waits for this long, then for twice as long, and so on.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// No longer than this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(32);
/// How often is looked who has come.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A cluster with more founders than this is a mistake.
const SIZE_MAX: usize = 1000;
/// v2's error of a key that is there already.
const CODE_EXISTS: u64 = 105;
/// v2's errors from here on are the service's own troubles, which pass.
const CODE_TROUBLE: u64 = 300;

/// Why there is no cluster under the URL, in etcd's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The URL cannot be used.
    #[error("discovery: invalid URL {0:?}: {1}")]
    Url(String, &'static str),
    /// There is nobody to believe.
    #[error("discovery: {0}")]
    Tls(String),
    /// What answers is no keys API.
    #[error("discovery: bad discovery endpoint")]
    BadEndpoint,
    /// The service refused; its error as v2 writes it.
    #[error("{0}")]
    Refused(String),
    /// The size is no number from 1.
    #[error("discovery: size key is bad")]
    BadSize,
    /// All places are taken.
    #[error("discovery: cluster is full")]
    Full,
    /// This member's place is taken, by this member.
    #[error("discovery: found duplicate id")]
    DuplicateId,
    /// Two have one name.
    #[error("discovery: found duplicate name")]
    DuplicateName,
    /// What a member wrote is no list of URLs.
    #[error("discovery: invalid URL ({0})")]
    BadValue(InitialClusterError),
    /// Two have one URL.
    #[error("discovery cluster {0} has duplicate url")]
    DuplicateUrl(String),
}

impl DiscoveryError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Url(..) | Self::Tls(_) => "",
            Self::BadEndpoint => {
                "; --discovery has to be a URL that a discovery service gave, or a v2 key of an etcd or Kvorum"
            }
            Self::Refused(_) | Self::BadSize => {
                "; set how many members the cluster begins with first: \
                 curl -X PUT URL/_config/size -d value=3, URL being that of --discovery"
            }
            Self::Full => {
                "; as many members as the cluster begins with have come: add this one to the running cluster \
                 (etcdctl member add) and start it with --initial-cluster and --initial-cluster-state existing, or \
                 use a new URL for a new cluster"
            }
            Self::DuplicateId => {
                "; this member was here before, and its data folder is not the one it had then: bring that one back, \
                 or use a new URL if the cluster never came up"
            }
            Self::DuplicateName => "; give every member a --name of its own, and use a new URL",
            Self::BadValue(_) | Self::DuplicateUrl(_) => "; look at the URL with curl, and use a new one",
        }
    }
}

/// Meets the other founders under `url`. Waits for them, and for the service.
pub(crate) async fn meet(plan: &Plan, url: &str) -> Result<Beginning, BootstrapError> {
    let place = Place::parse(url)?;
    let own_urls: Vec<String> = plan.peer_urls.iter().map(ToString::to_string).collect();
    let own = member_id(&own_urls, url);
    let pairs: Vec<String> = own_urls.iter().map(|url| format!("{}={url}", plan.name)).collect();
    let size = place.size().await?;
    check_room(&place.founders().await?, size, own)?;
    place.take(own, &pairs.join(",")).await?;
    tracing::info!(member = %own, size, "this member is registered with the discovery service and waits for the others");
    let mut told = 0;
    let founders = loop {
        let founders = place.founders().await?;
        check_room(&founders, size, own)?;
        if founders.len() >= size {
            break founders;
        }
        if founders.len() != told {
            told = founders.len();
            tracing::info!(
                found = told,
                needed = size - told,
                "found peers from discovery server; waiting for more"
            );
        }
        sleep(LOOK_PAUSE).await;
    };
    let cluster = gather(&founders[..size], size)?;
    tracing::info!(%cluster, "found all needed peers from discovery server");
    // The names are checked: this member's stands there, or two have it.
    crate::beginning(plan, &cluster, url)
}

/// Whether a place is left for `own`, or is its own already.
fn check_room(founders: &[Founder], size: usize, own: MemberId) -> Result<(), DiscoveryError> {
    let has_own = founders.iter().take(size).any(|founder| founder.id() == own.to_string());
    if has_own || founders.len() < size { Ok(()) } else { Err(DiscoveryError::Full) }
}

fn gather(founders: &[Founder], size: usize) -> Result<InitialCluster, DiscoveryError> {
    let pairs: Vec<&str> = founders.iter().map(|founder| founder.value.as_str()).collect();
    let cluster = InitialCluster::parse(&pairs.join(",")).map_err(DiscoveryError::BadValue)?;
    if cluster.names().count() != size {
        return Err(DiscoveryError::DuplicateName);
    }
    cluster.check_duplicates().map_err(|_| DiscoveryError::DuplicateUrl(cluster.to_string()))?;
    Ok(cluster)
}

/// The URL, taken apart.
struct Place {
    service: Service,
    path: String,
}

/// A key of a founder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Founder {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    created_index: u64,
}

impl Founder {
    fn id(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

/// As much of v2's answers as is looked at.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Event { node: Node },
    Refusal(Refusal),
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    value: String,
    #[serde(default)]
    nodes: Vec<Founder>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    error_code: u64,
    message: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    index: u64,
}

/// What an answer means for the one who asked.
enum Reply {
    Node(Node),
    Exists,
    /// It may pass.
    Trouble(String),
}

impl Place {
    fn parse(url: &str) -> Result<Self, DiscoveryError> {
        let refused = |reason| DiscoveryError::Url(url.to_owned(), reason);
        let service: Uri = url.parse().map_err(|_| refused("it cannot be read"))?;
        let tls = match service.scheme_str() {
            Some("http") => None,
            Some("https") => {
                Some(believing_the_system().map_err(|error| DiscoveryError::Tls(error.to_string()))?)
            }
            _ => return Err(refused("it has to begin with http:// or https://")),
        };
        let path = service.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            return Err(refused("it has no path, which is what tells clusters apart"));
        }
        Ok(Self { service: Service { url: service, tls }, path })
    }

    async fn size(&self) -> Result<usize, DiscoveryError> {
        let node = self.get("/_config/size").await?;
        let size = node.value.parse().ok().filter(|size| (1..=SIZE_MAX).contains(size));
        size.ok_or(DiscoveryError::BadSize)
    }

    /// Who has come, in the order of coming.
    async fn founders(&self) -> Result<Vec<Founder>, DiscoveryError> {
        let mut founders = self.get("").await?.nodes;
        founders.retain(|founder| founder.id() != "_config");
        founders.sort_by_key(|founder| founder.created_index);
        Ok(founders)
    }

    /// Writes this member there, unless it is there.
    async fn take(&self, own: MemberId, value: &str) -> Result<(), DiscoveryError> {
        let path = format!("{}/{own}?prevExist=false", self.path);
        let form = format!("value={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let mut retry = Retry::default();
        loop {
            match self.ask(Method::PUT, &path, Some(form.clone())).await? {
                Reply::Node(_) => return Ok(()),
                // An earlier try was not answered and has happened.
                Reply::Exists if retry.count > 0 && self.is_there(own, value).await? => return Ok(()),
                Reply::Exists => return Err(DiscoveryError::DuplicateId),
                Reply::Trouble(trouble) => retry.wait(&self.path, &trouble).await,
            }
        }
    }

    async fn is_there(&self, own: MemberId, value: &str) -> Result<bool, DiscoveryError> {
        Ok(self.get(&format!("/{own}")).await?.value == value)
    }

    async fn get(&self, below: &str) -> Result<Node, DiscoveryError> {
        let path = format!("{}{below}?quorum=true", self.path);
        let mut retry = Retry::default();
        loop {
            match self.ask(Method::GET, &path, None).await? {
                Reply::Node(node) => return Ok(node),
                Reply::Exists => return Err(DiscoveryError::BadEndpoint),
                Reply::Trouble(trouble) => retry.wait(&path, &trouble).await,
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, form: Option<String>) -> Result<Reply, DiscoveryError> {
        match exchange(method, &self.service, path, form).await {
            Ok(answer) => understand(&answer),
            Err(trouble) => Ok(Reply::Trouble(trouble)),
        }
    }
}

fn understand(answer: &Answer) -> Result<Reply, DiscoveryError> {
    match serde_json::from_slice(&answer.body) {
        Ok(Told::Event { node }) => Ok(Reply::Node(node)),
        Ok(Told::Refusal(Refusal { error_code: CODE_EXISTS, .. })) => Ok(Reply::Exists),
        Ok(Told::Refusal(Refusal { error_code: code, message, cause, index })) => {
            let text = format!("{code}: {message} ({cause}) [{index}]");
            if code < CODE_TROUBLE { Err(DiscoveryError::Refused(text)) } else { Ok(Reply::Trouble(text)) }
        }
        Err(_) if answer.status >= 500 => Ok(Reply::Trouble(format!("status {}", answer.status))),
        Err(_) => Err(DiscoveryError::BadEndpoint),
    }
}

/// Patience with a service that does not answer.
#[derive(Default)]
struct Retry {
    count: u32,
}

impl Retry {
    async fn wait(&mut self, path: &str, trouble: &str) {
        let pause = RETRY_PAUSE_MIN.saturating_mul(1 << self.count.min(5)).min(RETRY_PAUSE_MAX);
        self.count += 1;
        tracing::warn!(path, error = trouble, again_after = ?pause, "failed to get from discovery server");
        sleep(pause).await;
    }
}
