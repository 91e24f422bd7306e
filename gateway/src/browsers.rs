//! What a page in somebody's browser may have it do here: the names by which this member may be called, and the origins
//! that may read its answers.
//!
//! A name is looked at only without TLS: there the certificate has said whose member it is (CVE-2018-1099, where a page
//! has its own name lead to this member). gRPC is no browser's language and is not looked at.

use std::collections::BTreeSet;

use http::Request;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap,
    HeaderValue, ORIGIN,
};

const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, authorization");
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Browsers {
    hosts: Names,
    origins: Names,
}

#[derive(Clone, Debug, Default)]
enum Names {
    #[default]
    All,
    These(BTreeSet<String>),
}

impl Browsers {
    /// Of lists in which nothing, and `*`, stand for everything.
    pub fn new(hosts: Vec<String>, origins: Vec<String>) -> Self {
        Self { hosts: Names::of(hosts), origins: Names::of(origins) }
    }

    /// The text for who calls this member by a name that it does not answer to.
    pub(crate) fn misdirected<B>(&self, request: &Request<B>) -> Option<String> {
        let Names::These(hosts) = &self.hosts else { return None };
        let host = without_port(host(request));
        (!hosts.contains(host)).then(|| unknown(host))
    }

    /// Whether a page has its browser ask whose origin is neither known nor this member's own (CVE-2018-1098).
    pub(crate) fn is_foreign<B>(&self, request: &Request<B>) -> bool {
        let (Names::These(origins), Some(origin)) = (&self.origins, request.headers().get(ORIGIN)) else {
            return false;
        };
        let Ok(origin) = origin.to_str() else { return true };
        let is_own = || origin.split_once("://").is_some_and(|(_, own)| own == host(request));
        !origin.is_empty() && !origins.contains(origin) && !is_own()
    }

    /// What lets a page read the answer, if its origin may.
    pub(crate) fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let origin = match &self.origins {
            Names::All => HeaderValue::from_static("*"),
            Names::These(origins) => {
                let is_known =
                    |origin: &&HeaderValue| origin.to_str().is_ok_and(|text| origins.contains(text));
                let Some(origin) = origin.filter(is_known) else { return };
                origin.clone()
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }

    /// The origin that a page says it is of, where that matters.
    pub(crate) fn origin<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        match self.origins {
            Names::All => None,
            Names::These(_) => request.headers().get(ORIGIN).cloned(),
        }
    }
}

impl Names {
    fn of(list: Vec<String>) -> Self {
        let is_all = list.is_empty() || list.iter().any(|name| name == "*");
        if is_all { Self::All } else { Self::These(list.into_iter().collect()) }
    }
}

/// What a request is addressed to, its port too.
fn host<B>(request: &Request<B>) -> &str {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let header = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
    authority.or_else(header).unwrap_or_default()
}

/// A host as Go has it: of an address in brackets what is in them, if there is a port.
fn without_port(host: &str) -> &str {
    let Some((name, port)) = host.rsplit_once(':') else { return host };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner {
        Some(inner) => inner,
        None if name.contains(':') || port.contains(']') => host,
        None => name,
    }
}

/// etcd's text.
fn unknown(host: &str) -> String {
    format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (host, name) in
            [("a", "a"), ("a:1", "a"), ("[::1]:22", "::1"), ("[::1]", "[::1]"), ("::1", "::1"), ("", "")]
        {
            assert_eq!(without_port(host), name, "{host}");
        }
    }
}
