//! URLs of members: a scheme, a host and a port, and nothing else.
//!
//! INVARIANT: a [`MemberUrl`] prints as it was written, since members are named after their URLs.

use std::fmt;

/// A URL under which a member listens or is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberUrl {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS.
    Https,
    /// Through a socket in the file system, with TLS or without.
    Unix,
}

/// Why a URL cannot be a member's; etcd's texts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// No port, or something that is none.
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    /// More than a host and a port.
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

/// Reads URLs with commas between them, sorts them, and drops what stands there twice. Nothing at all is an
/// empty list.
pub fn parse_list(list: &str) -> Result<Vec<MemberUrl>, UrlError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = list.split(',').map(|url| MemberUrl::parse(url.trim())).collect::<Result<Vec<_>, _>>()?;
    urls.sort();
    urls.dedup();
    Ok(urls)
}

impl MemberUrl {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" | "unixs" => Scheme::Unix,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let (host, port) = split_host_port(authority).ok_or_else(|| UrlError::HostPort(text.to_owned()))?;
        if !path.is_empty() {
            return Err(UrlError::Path(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), scheme, host: host.to_owned(), port })
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name or an address, without the brackets that IPv6 has in a URL.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether somebody could listen there: etcd wants an address, or `localhost`.
    pub fn can_bind(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok()
            || self.scheme == Scheme::Unix
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_host_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let accepted = [
            ("http://localhost:2379", Scheme::Http, "localhost", 2379),
            ("https://10.0.0.1:1", Scheme::Https, "10.0.0.1", 1),
            ("http://[::1]:2379", Scheme::Http, "::1", 2379),
            ("http://:2379", Scheme::Http, "", 2379),
        ];
        for (text, scheme, host, port) in accepted {
            let url = MemberUrl::parse(text).expect(text);
            assert_eq!(
                (url.scheme(), url.host(), url.port(), url.to_string()),
                (scheme, host, port, text.to_owned())
            );
        }
        let refused = [
            ("ftp://1.1.1.1:1", "URL scheme must be http, https, unix, or unixs: ftp://1.1.1.1:1"),
            ("localhost:2379", "URL scheme must be http, https, unix, or unixs: localhost:2379"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            ("http://127.0.0.1", "URL address does not have the form \"host:port\": http://127.0.0.1"),
            ("http://::1:2379", "URL address does not have the form \"host:port\": http://::1:2379"),
            ("http://a:99999", "URL address does not have the form \"host:port\": http://a:99999"),
            ("http://127.0.0.1:3/x", "URL must not contain a path: http://127.0.0.1:3/x"),
        ];
        for (text, message) in refused {
            assert_eq!(MemberUrl::parse(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn lists_are_sorted_and_have_nothing_twice() {
        let list =
            |text| parse_list(text).map(|urls| urls.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            list("http://b:2, http://a:1,http://b:2"),
            Ok(vec!["http://a:1".into(), "http://b:2".into()])
        );
        assert_eq!(list(""), Ok(vec![]));
        assert!(list("http://a:1,").is_err());
    }

    #[test]
    fn names_other_than_localhost_cannot_be_bound() {
        let can = |text: &str| MemberUrl::parse(text).expect(text).can_bind();
        assert!(can("http://localhost:1") && can("http://0.0.0.0:1") && can("http://[::]:1"));
        assert!(!can("http://example.com:1") && !can("http://:1"));
    }
}
