//! `--initial-cluster`: the first members of a cluster, as names and peer URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use types::{MemberId, MemberRecord, MemberUrl, UrlError, parse_urls};

use crate::{cluster_id, member_id};

/// Who founds a cluster: for each name, its peer URLs in order of their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster {
    urls: BTreeMap<String, Vec<MemberUrl>>,
}

/// Why a cluster cannot be founded like this, in etcd's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitialClusterError {
    /// A URL is not one.
    #[error("error setting up initial cluster: {0}")]
    Url(#[from] UrlError),
    /// The member that starts is not in it.
    #[error("couldn't find local name {0:?} in the initial cluster configuration")]
    LocalName(String),
    /// It gives this member URLs that it does not advertise.
    #[error("--initial-cluster has {missing} but missing from --initial-advertise-peer-urls={advertised}")]
    NotAdvertised {
        /// `name=url` of each that is missing.
        missing: String,
        /// What is advertised.
        advertised: String,
    },
    /// This member advertises URLs that it does not give.
    #[error("--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={expected}")]
    NotInCluster {
        /// Each URL that is missing.
        missing: String,
        /// What the flag would have to say of this member.
        expected: String,
    },
    /// A URL is there twice.
    #[error("initial cluster {0} has duplicate url")]
    DuplicateUrl(String),
    /// Two members would have one id, or one the id 0 that stands for "nobody".
    #[error("cannot use {0} as member id of {1:?}")]
    Id(MemberId, String),
}

impl InitialCluster {
    /// Parses `a=http://h1:2380,b=http://h2:2380`. A name that comes again adds a URL; nothing between two commas
    /// is nothing.
    pub fn parse(text: &str) -> Result<Self, InitialClusterError> {
        let mut texts = BTreeMap::<&str, Vec<&str>>::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
            texts.entry(name).or_default().push(url);
        }
        let mut urls = BTreeMap::new();
        for (name, texts) in texts {
            urls.insert(name.to_owned(), parse_urls(texts)?);
        }
        Ok(Self { urls })
    }

    /// The peer URLs of a member, in order of their text.
    pub fn peer_urls(&self, name: &str) -> Option<&[MemberUrl]> {
        self.urls.get(name).map(Vec::as_slice)
    }

    /// Whether the member `name`, which advertises these peer URLs, may found this cluster. URLs are compared by
    /// their text; etcd takes two for equal as well when their names resolve to the same addresses.
    pub fn check_founder(&self, name: &str, advertised: &[MemberUrl]) -> Result<(), InitialClusterError> {
        let own = self.peer_urls(name).ok_or_else(|| InitialClusterError::LocalName(name.to_owned()))?;
        let (own, advertised): (BTreeSet<_>, BTreeSet<_>) =
            (own.iter().collect(), advertised.iter().collect());
        let pair = |url: &&MemberUrl| format!("{name}={url}");
        let missing: Vec<String> = own.difference(&advertised).map(pair).collect();
        if !missing.is_empty() {
            let advertised: Vec<&str> = advertised.iter().map(|url| url.as_str()).collect();
            let (missing, advertised) = (missing.join(","), advertised.join(","));
            return Err(InitialClusterError::NotAdvertised { missing, advertised });
        }
        let missing: Vec<&str> = advertised.difference(&own).map(|url| url.as_str()).collect();
        if !missing.is_empty() {
            let expected: Vec<String> = advertised.iter().map(pair).collect();
            let (missing, expected) = (missing.join(","), expected.join(","));
            return Err(InitialClusterError::NotInCluster { missing, expected });
        }
        self.check_duplicates()
    }

    /// The members as they are before any has started, with their ids, in order of these. Their names are not
    /// known to the cluster until they start and say them, yet etcd lists the founders' from the beginning.
    pub fn members(&self, token: &str) -> Result<Vec<MemberRecord>, InitialClusterError> {
        let mut members = BTreeMap::new();
        for (name, urls) in &self.urls {
            let peer_urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
            let id = member_id(&peer_urls, token);
            let record =
                MemberRecord { id, name: name.clone(), peer_urls, client_urls: Vec::new(), learner: false };
            if id.0 == 0 || members.insert(id, record).is_some() {
                return Err(InitialClusterError::Id(id, name.clone()));
            }
        }
        Ok(members.into_values().collect())
    }

    /// The id of the cluster that these members found.
    pub fn cluster_id(&self, token: &str) -> Result<types::ClusterId, InitialClusterError> {
        let ids: Vec<MemberId> = self.members(token)?.iter().map(|member| member.id).collect();
        Ok(cluster_id(&ids))
    }

    /// Everybody's names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.urls.keys().map(String::as_str)
    }

    /// Whether no URL is there twice.
    pub fn check_duplicates(&self) -> Result<(), InitialClusterError> {
        let mut seen = BTreeSet::new();
        if self.urls.values().flatten().all(|url| seen.insert(url)) {
            Ok(())
        } else {
            Err(InitialClusterError::DuplicateUrl(self.to_string()))
        }
    }
}

impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs =
            self.urls.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")));
        let mut pairs: Vec<String> = pairs.collect();
        // etcd sorts the pairs, not the names: `a-b=…` comes before `a=…`.
        pairs.sort_unstable();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what a member `default` says that advertises `advertised`.
    fn check(cluster: &str, advertised: &str, expect: &str) {
        let advertised = parse_urls(advertised.split(',')).expect("well-formed");
        let founded = InitialCluster::parse(cluster).and_then(|parsed| {
            parsed.check_founder("default", &advertised)?;
            Ok(parsed.to_string())
        });
        assert_eq!(founded.unwrap_or_else(|error| error.to_string()), expect, "{cluster}");
    }

    const SCHEME: &str = "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ";
    const NO_NAME: &str = "couldn't find local name \"default\" in the initial cluster configuration";

    #[test]
    fn founders_are_judged_in_the_sentences_of_etcd() {
        check("default=http://a:1", "http://a:1", "default=http://a:1");
        check(",,default= http://a:1,,", "http://a:1", "default=http://a:1");
        check(
            "default=http://b:1,c=http://c:1,default=http://a:1",
            "http://a:1,http://b:1",
            "c=http://c:1,default=http://a:1,default=http://b:1",
        );
        check("default", "http://a:1", SCHEME);
        check("default=", "http://a:1", SCHEME);
        check("a=http://a:1,b=ftp://x:1", "http://a:1", &format!("{SCHEME}ftp://x:1"));
        check("", "http://a:1", NO_NAME);
        check("=http://a:1", "http://a:1", NO_NAME);
        check(" default=http://a:1", "http://a:1", NO_NAME);
        check(
            "default=http://a:1,b=http://a:1",
            "http://a:1",
            "initial cluster b=http://a:1,default=http://a:1 has duplicate url",
        );
        check(
            "default=http://a:1,default=http://b:1",
            "http://a:1",
            "--initial-cluster has default=http://b:1 but missing from --initial-advertise-peer-urls=http://a:1",
        );
        check(
            "default=http://a:1",
            "http://a:1,http://b:1",
            "--initial-advertise-peer-urls has http://b:1 but missing from \
             --initial-cluster=default=http://a:1,default=http://b:1",
        );
    }

    /// What etcd 3.4.23 logged when it started as `default` of this cluster.
    #[test]
    fn a_cluster_of_three_has_the_ids_that_etcd_gave_it() {
        let text =
            "b=http://127.0.0.1:7,default=http://127.0.0.1:32580,c=http://127.0.0.1:9,b=http://127.0.0.1:8";
        let cluster = InitialCluster::parse(text).expect("well-formed");
        let members = cluster.members("tok").expect("different ids");
        assert!(members.is_sorted_by_key(|member| member.id));
        let local = members.iter().find(|member| member.name == "default").expect("it is one of them");
        assert_eq!(local.id.to_string(), "81aa092991119423");
        assert_eq!(cluster.cluster_id("tok").expect("different ids").to_string(), "1fd196d7df3d7b44");
    }

    #[test]
    fn two_names_with_the_same_urls_have_one_id() {
        let cluster = InitialCluster::parse("a=http://a:1,b=http://a:1").expect("well-formed");
        assert!(matches!(cluster.members("t"), Err(InitialClusterError::Id(_, name)) if name == "b"));
    }
}
