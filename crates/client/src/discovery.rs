//! Endpoints that a domain names in its SRV records: `_etcd-client-ssl._tcp` and `_etcd-client._tcp`, with a suffix
//! before the dot where one is given.

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

/// Why a domain names no endpoints.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// `/etc/resolv.conf`.
    #[error("cannot read whom to ask for names: {0}")]
    Configuration(String),
    /// No records, or nobody who knows.
    #[error("error querying DNS SRV records for _{service}._tcp.{domain}: {reason}")]
    Lookup {
        /// Without the underscore.
        service: String,
        /// Where.
        domain: String,
        /// Why.
        reason: String,
    },
}

/// The endpoints of a domain; those with TLS first.
pub async fn discover(domain: &str, suffix: &str) -> Result<Vec<String>, DiscoveryError> {
    let configuration =
        |error: hickory_resolver::net::NetError| DiscoveryError::Configuration(error.to_string());
    let resolver = TokioResolver::builder_tokio().map_err(configuration)?.build().map_err(configuration)?;
    let dash = if suffix.is_empty() { "" } else { "-" };
    let mut endpoints = Vec::new();
    let mut last = None;
    for (service, scheme) in [("etcd-client-ssl", "https"), ("etcd-client", "http")] {
        let service = format!("{service}{dash}{suffix}");
        match resolver.srv_lookup(format!("_{service}._tcp.{}.", domain.trim_end_matches('.'))).await {
            Ok(found) => {
                for record in found.answers() {
                    let RData::SRV(record) = &record.data else { continue };
                    let host = record.target.to_ascii();
                    endpoints.push(format!("{scheme}://{}:{}", host.trim_end_matches('.'), record.port));
                }
            }
            Err(error) => {
                let (domain, reason) = (domain.to_owned(), error.to_string());
                last = Some(DiscoveryError::Lookup { service, domain, reason });
            }
        }
    }
    match last {
        Some(error) if endpoints.is_empty() => Err(error),
        _ => Ok(endpoints),
    }
}
