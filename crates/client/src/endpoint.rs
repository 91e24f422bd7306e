//! Where a member listens, as people write it.

use std::fmt;
use std::path::PathBuf;

/// Why an endpoint was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a scheme that a member speaks.
    #[error("endpoint {0:?}: the scheme must be http, https, unix or unixs")]
    Scheme(String),
    /// No host.
    #[error("endpoint {0:?} names no host")]
    Host(String),
}

/// What is behind an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A host with its port.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// `host:port`, or a URL with `http`, `https`, `unix` or `unixs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    text: String,
    place: Place,
    secure: Option<bool>,
}

/// The port of an endpoint that names none.
const PORT: u16 = 2379;

impl Endpoint {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let secure = match scheme {
            "" => None,
            "http" | "unix" => Some(false),
            "https" | "unixs" => Some(true),
            _ => return Err(EndpointError::Scheme(text.to_owned())),
        };
        let place = if scheme.starts_with("unix") {
            Place::Unix(PathBuf::from(rest))
        } else {
            let host = rest.split('/').next().unwrap_or_default();
            let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
            Place::Tcp(if after.contains(':') { host.to_owned() } else { format!("{host}:{PORT}") })
        };
        if matches!(&place, Place::Tcp(host) if host.starts_with(':')) || rest.is_empty() {
            return Err(EndpointError::Host(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), place, secure })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is reached with TLS; without a scheme, when there is something to do it with.
    pub fn is_secure(&self, able: bool) -> bool {
        self.secure.unwrap_or(able)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What the requests say they are for.
    pub(crate) fn authority(&self) -> &str {
        match &self.place {
            Place::Tcp(host) => host,
            Place::Unix(_) => "localhost",
        }
    }

    /// The host that a certificate must be for.
    pub(crate) fn host(&self) -> &str {
        let host = self.authority().rsplit_once(':').map_or(self.authority(), |(host, _)| host);
        host.trim_matches(['[', ']'])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        let tcp = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.authority().to_owned());
        assert_eq!(tcp("127.0.0.1:1"), Ok("127.0.0.1:1".to_owned()));
        assert_eq!(tcp("http://a/"), Ok("a:2379".to_owned()));
        assert_eq!(tcp("https://[::1]"), Ok("[::1]:2379".to_owned()));
        assert_eq!(tcp("ftp://a"), Err(EndpointError::Scheme("ftp://a".to_owned())));
        assert_eq!(tcp("http://"), Err(EndpointError::Host("http://".to_owned())));
        let unix = Endpoint::parse("unix:///tmp/s").expect("well-formed");
        assert_eq!(unix.place(), &Place::Unix("/tmp/s".into()));
        assert_eq!(Endpoint::parse("https://[::1]:7").expect("well-formed").host(), "::1");
        assert!(Endpoint::parse("a:1").expect("well-formed").is_secure(true));
        assert!(!Endpoint::parse("http://a:1").expect("well-formed").is_secure(true));
    }
}
