//! Why a member does not know how to begin: etcd's sentences where it has them, and what to do about it.

use members::InitialClusterError;
use types::{ClusterId, MemberId};

use crate::discovery::DiscoveryError;
use crate::srv::SrvError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The list of the first members is wrong by itself, or for this member.
    #[error("{error}{hint}")]
    List {
        /// What is wrong.
        error: InitialClusterError,
        /// What to do; begins with a semicolon, or is empty.
        hint: String,
    },
    /// The list of the first members gives no ids.
    #[error(transparent)]
    Ids(#[from] InitialClusterError),
    /// The first members were found, and this one is not among them.
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    NotFounder(String),
    /// It was a member before, and its folder is not the one it had then.
    #[error(
        "member {0} has already been bootstrapped; its data folder is not the one it had: bring that one back, or \
         remove the member from the cluster, add it again, and start it with an empty folder and \
         --initial-cluster-state existing"
    )]
    AlreadyBootstrapped(MemberId),
    /// The folder and the list speak of different clusters.
    #[error(
        "the data folder belongs to another cluster ({own}) than the members in --initial-cluster ({theirs}, says \
         {url}): give the folder that this member had, or correct --initial-cluster"
    )]
    OtherCluster {
        /// The folder's.
        own: ClusterId,
        /// Theirs.
        theirs: ClusterId,
        /// Where it was told.
        url: String,
    },
    /// Nobody says who is in the cluster.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs; \
         {reasons}"
    )]
    NobodyAnswers {
        /// What happened at each URL.
        reasons: String,
    },
    /// The list and the cluster differ.
    #[error("error validating peerURLs {cluster}: {difference}")]
    Differs {
        /// The members as the cluster has them.
        cluster: String,
        /// In etcd's words, and what to do.
        difference: String,
    },
    /// Two ways to begin at once.
    #[error(
        "discovery URL should not be set when joining existing initial cluster; give --initial-cluster instead of \
         --discovery"
    )]
    DiscoveryJoins,
    /// The meeting place of the founders.
    #[error("failed to join discovery cluster ({0}){hint}", hint = .0.hint())]
    Discovery(#[from] DiscoveryError),
    /// The domain that names the founders.
    #[error("error setting up initial cluster: {0}")]
    Srv(#[from] SrvError),
}

impl BootstrapError {
    /// A list that is wrong; some mistakes are made often enough to be named.
    pub(crate) fn list(error: InitialClusterError, name: &str, list: &str) -> Self {
        let twice = list.split(',').filter(|pair| pair.split('=').next() == Some(name)).count();
        let hint = match &error {
            InitialClusterError::LocalName(_) => {
                "; --name and the names in --initial-cluster have to be the same".to_owned()
            }
            InitialClusterError::NotAdvertised { .. } if twice > 1 => format!(
                "; the name {name:?} is there {twice} times, which means one member with {twice} URLs: give every \
                 member a name of its own"
            ),
            InitialClusterError::Id(..) => "; two members have the same URLs".to_owned(),
            InitialClusterError::NotAdvertised { .. } | InitialClusterError::NotInCluster { .. } => {
                "; both have to give this member the same URLs, to the letter".to_owned()
            }
            InitialClusterError::Url(_) | InitialClusterError::DuplicateUrl(_) => String::new(),
        };
        Self::List { error, hint }
    }
}
