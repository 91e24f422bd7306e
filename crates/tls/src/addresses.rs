//! Whether a client's certificate belongs to the address that it comes from, as etcd asks it of members.
//!
//! A certificate without names says nothing about that, and passes. Otherwise the address has to be among its
//! addresses, or one of its names has to lead to it; for a name with a star, the address has to lead to a name under it.

use std::net::IpAddr;

use tokio::net::lookup_host;

use crate::certificate::Certificate;

/// See the module. The sentence of a refusal is etcd's.
pub(crate) async fn check(certificate: &Certificate, remote: IpAddr) -> Result<(), String> {
    let remote = remote.to_canonical();
    if !certificate.has_names() {
        return Ok(());
    }
    if certificate.addresses.contains(&remote) {
        return Ok(());
    }
    if certificate.dns_names.is_empty() {
        return certificate.check_host(&remote.to_string());
    }
    if leads_to(&certificate.dns_names, remote).await || lies_under(&certificate.dns_names, remote).await {
        return Ok(());
    }
    Err(format!("tls: {:?} does not match any of DNSNames {:?}", remote.to_string(), certificate.dns_names))
}

async fn leads_to(names: &[String], remote: IpAddr) -> bool {
    for name in names.iter().filter(|name| !name.is_empty() && !name.contains('*')) {
        if let Ok(mut found) = lookup_host((name.as_str(), 0)).await
            && found.any(|address| address.ip().to_canonical() == remote)
        {
            return true;
        }
    }
    false
}

async fn lies_under(names: &[String], remote: IpAddr) -> bool {
    let parents: Vec<String> =
        names.iter().filter_map(|name| name.strip_prefix('*')).map(str::to_ascii_lowercase).collect();
    if parents.is_empty() {
        return false;
    }
    // The system's resolver may take its time.
    let asked = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&remote)).await;
    let Ok(Ok(host)) = asked else { return false };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let below = |parent: &String| host.split_once('.').is_some_and(|(_, rest)| *parent == format!(".{rest}"));
    host.parse::<IpAddr>().is_err() && parents.iter().any(below)
}
