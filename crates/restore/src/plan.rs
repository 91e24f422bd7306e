//! Which member of which cluster a folder is made for: the ids follow as they do at a start.

use std::path::PathBuf;

use members::{InitialCluster, InitialClusterError, MemberUrl, UrlError, parse_urls};
use types::{ClusterId, MemberId, MemberRecord};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the data goes.
    pub data_dir: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
    /// All members, this one too, in the order of their ids.
    pub members: Vec<MemberRecord>,
    /// How many revisions the v3 keyspace leaps, if it does; all history before that is forgotten.
    pub leap: Option<u64>,
    /// Takes a file of etcd's whose checksum is missing or wrong.
    pub skip_hash_check: bool,
}

/// Why there is no such member, in etcd's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Its own URLs.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The list of members.
    #[error(transparent)]
    List(#[from] InitialClusterError),
}

impl Plan {
    /// The member `name` of the cluster `list` (`name=url,name=url`), which says `advertised` of itself.
    pub fn new(
        data_dir: PathBuf,
        name: &str,
        list: &str,
        advertised: &str,
        token: &str,
    ) -> Result<Self, PlanError> {
        let cluster = InitialCluster::parse(list)?;
        let advertised: Vec<MemberUrl> = parse_urls(advertised.split(','))?;
        cluster.check_founder(name, &advertised)?;
        let members = cluster.members(token)?;
        let own = members.iter().find(|member| member.name == name);
        let member = own.ok_or_else(|| InitialClusterError::LocalName(name.to_owned()))?.id;
        Ok(Self {
            data_dir,
            cluster: cluster.cluster_id(token)?,
            member,
            members,
            leap: None,
            skip_hash_check: false,
        })
    }
}
