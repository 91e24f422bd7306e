//! Founders that a domain names in its SRV records: `_etcd-server-ssl._tcp` and `_etcd-server._tcp`, with a suffix
//! before the dot where one was given.
//!
//! A record is this member's if it leads to an address that this member advertises; the others get the names 0, 1, 2
//! and so on, since names count for nobody else.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use members::{InitialCluster, InitialClusterError, MemberUrl, Scheme};

use crate::{BootstrapError, Plan};

/// Why a domain names no founders.
#[derive(Debug, thiserror::Error)]
pub enum SrvError {
    /// `/etc/resolv.conf`.
    #[error("cannot read whom to ask for names: {0}")]
    Configuration(NetError),
    /// No records, or nobody who knows.
    #[error(
        "error querying DNS SRV records for _{service}: {reason}; `dig +short SRV _{service}._tcp.{domain}` shows what \
         --discovery-srv sees"
    )]
    Lookup {
        /// Without the underscore.
        service: String,
        /// Where.
        domain: String,
        /// Why.
        reason: String,
    },
    /// An advertised URL leads nowhere.
    #[error("cannot resolve {url} (--initial-advertise-peer-urls): {reason}")]
    Own {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// A record leads to this member with another scheme.
    #[error("bootstrap at {found} from DNS for {service} has scheme mismatch with expected peer {own}")]
    Scheme {
        /// What the record makes.
        found: String,
        /// Without the underscore.
        service: String,
        /// What this member advertises.
        own: String,
    },
    /// This member is not among them.
    #[error(
        "cannot find local etcd member {name:?} in SRV records; no record leads to an address of \
         --initial-advertise-peer-urls: {found}"
    )]
    NotNamed {
        /// Its name.
        name: String,
        /// What the records make.
        found: String,
    },
    /// The records make no cluster.
    #[error("{0}")]
    Cluster(#[from] InitialClusterError),
}

/// The founders that `domain` names.
pub(crate) async fn look_up(
    plan: &Plan,
    domain: &str,
    suffix: &str,
) -> Result<InitialCluster, BootstrapError> {
    Ok(Lookup::new(plan, domain, suffix).await?.founders().await?)
}

struct Lookup<'a> {
    plan: &'a Plan,
    domain: &'a str,
    suffix: String,
    resolver: TokioResolver,
    own: BTreeMap<SocketAddr, &'a MemberUrl>,
    names: usize,
}

impl<'a> Lookup<'a> {
    async fn new(plan: &'a Plan, domain: &'a str, suffix: &str) -> Result<Self, SrvError> {
        let resolver = resolver(plan.name_server).map_err(SrvError::Configuration)?;
        let mut own = BTreeMap::new();
        for url in &plan.peer_urls {
            let port =
                url.address().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
            let resolved = addresses(&resolver, url.host(), port).await;
            let resolved = resolved.map_err(|reason| SrvError::Own { url: url.to_string(), reason })?;
            own.extend(resolved.into_iter().map(|address| (address, url)));
        }
        let suffix = if suffix.is_empty() { String::new() } else { format!("-{suffix}") };
        Ok(Self { plan, domain, suffix, resolver, own, names: 0 })
    }

    async fn founders(mut self) -> Result<InitialCluster, SrvError> {
        let secure = self.pairs("etcd-server-ssl", Scheme::Https).await;
        let plain = self.pairs("etcd-server", Scheme::Http).await;
        // As in etcd: what both services name, or the one that there is.
        let pairs = match (secure, plain) {
            (Ok(secure), plain) => secure.into_iter().chain(plain.unwrap_or_default()).collect(),
            (Err(_), plain) => plain?,
        };
        for node in &pairs {
            tracing::info!(node, "got bootstrap from DNS");
        }
        let found = pairs.join(",");
        let cluster = InitialCluster::parse(&found)?;
        if cluster.peer_urls(&self.plan.name).is_none() {
            return Err(SrvError::NotNamed { name: self.plan.name.clone(), found });
        }
        cluster.check_duplicates()?;
        Ok(cluster)
    }

    /// `name=url` for each record of `service`.
    async fn pairs(&mut self, service: &str, scheme: Scheme) -> Result<Vec<String>, SrvError> {
        let service = format!("{service}{}", self.suffix);
        let refused = |reason: String| SrvError::Lookup {
            service: service.clone(),
            domain: self.domain.to_owned(),
            reason,
        };
        let query = format!("_{service}._tcp.{}.", self.domain.trim_end_matches('.'));
        let answer = self.resolver.srv_lookup(query).await.map_err(|error| refused(reason(&error)))?;
        let mut records: Vec<(String, u16)> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.target.to_ascii(), srv.port)),
                _ => None,
            })
            .collect();
        // A service may turn them round from one answer to the next; the names 0, 1, 2 should not.
        records.sort();
        let mut pairs = Vec::new();
        let mut unresolved = Vec::new();
        for (target, port) in records {
            let host = target.trim_end_matches('.');
            match addresses(&self.resolver, host, port).await {
                Ok(addresses) => pairs.push(self.pair(&service, scheme, host, port, &addresses)?),
                Err(reason) => {
                    tracing::warn!(host, reason, "the target of an SRV record cannot be resolved");
                    unresolved.push(format!("{host}: {reason}"));
                }
            }
        }
        if pairs.is_empty() { Err(refused(unresolved.join(", "))) } else { Ok(pairs) }
    }

    fn pair(
        &mut self,
        service: &str,
        scheme: Scheme,
        host: &str,
        port: u16,
        addresses: &[SocketAddr],
    ) -> Result<String, SrvError> {
        let url = format!("{}://{host}:{port}", if scheme == Scheme::Https { "https" } else { "http" });
        let Some(own) = addresses.iter().find_map(|address| self.own.get(address)) else {
            let name = self.names;
            self.names += 1;
            return Ok(format!("{name}={url}"));
        };
        if own.scheme() != scheme {
            let (found, service, own) = (url, service.to_owned(), own.to_string());
            return Err(SrvError::Scheme { found, service, own });
        }
        Ok(format!("{}={url}", self.plan.name))
    }
}

fn resolver(name_server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let Some(address) = name_server else { return TokioResolver::builder_tokio()?.build() };
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
}

async fn addresses(resolver: &TokioResolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let found = resolver.lookup_ip(host).await.map_err(|error| reason(&error))?;
    Ok(found.iter().map(|ip| (ip, port).into()).collect())
}

fn reason(error: &NetError) -> String {
    if error.is_no_records_found() { "no such host".to_owned() } else { error.to_string() }
}
