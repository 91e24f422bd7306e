//! Versions and cipher suites, by the names that Go gives them.
//!
//! Suites can be chosen for TLS 1.2 alone, as in Go: those of TLS 1.3 are all good and always there.

use std::str::FromStr;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// Why versions and suites do not go together. The first three are etcd's sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Another word.
    #[error("unexpected TLS version {0:?}")]
    Version(String),
    /// Nothing lies between them.
    #[error("min version ({0}) is greater than max version ({1})")]
    Order(&'static str, &'static str),
    /// They would say nothing.
    #[error("cipher suites cannot be configured when only TLS1.3 is enabled")]
    Only13,
    /// A name that nobody knows.
    #[error("unexpected TLS cipher suite {name:?}; known are {known}")]
    Suite {
        /// As given.
        name: String,
        /// All that are offered.
        known: String,
    },
    /// Names that Go knows, none of which is offered.
    #[error("none of the TLS cipher suites {given} is offered; offered are {known}")]
    NoSuite {
        /// As given.
        given: String,
        /// All that are offered.
        known: String,
    },
}

impl FromStr for Version {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        match text {
            "TLS1.2" => Ok(Self::Tls12),
            "TLS1.3" => Ok(Self::Tls13),
            other => Err(ProtocolError::Version(other.to_owned())),
        }
    }
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLS1.2",
            Self::Tls13 => "TLS1.3",
        }
    }
}

/// What is offered, by Go's names.
const OFFERED: [(&str, CipherSuite); 8] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// What Go knows and what is not offered, since it has been broken or is easy to get wrong; and those of TLS 1.3.
const KNOWN: [&str; 18] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_FALLBACK_SCSV",
    "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
];

/// What is spoken: versions and suites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    min: Version,
    max: Version,
    /// Of TLS 1.2; all if `None`.
    suites: Option<Vec<CipherSuite>>,
    /// Names that were given and are not offered.
    dropped: Vec<String>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { min: Version::Tls12, max: Version::Tls13, suites: None, dropped: Vec::new() }
    }
}

impl Protocol {
    /// From what flags say. An empty list of suites is all of them.
    pub fn new(min: Version, max: Version, suites: &[&str]) -> Result<Self, ProtocolError> {
        if min > max {
            return Err(ProtocolError::Order(min.name(), max.name()));
        }
        if suites.is_empty() {
            return Ok(Self { min, max, ..Self::default() });
        }
        if min == Version::Tls13 {
            return Err(ProtocolError::Only13);
        }
        let (mut chosen, mut dropped) = (Vec::new(), Vec::new());
        for name in suites {
            let of_13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
            match OFFERED.iter().find(|(known, _)| known == name) {
                Some((_, suite)) => chosen.push(*suite),
                None if of_13.contains(name) => {}
                None if KNOWN.contains(name) => dropped.push((*name).to_owned()),
                None => return Err(ProtocolError::Suite { name: (*name).to_owned(), known: known() }),
            }
        }
        if chosen.is_empty() && max == Version::Tls12 || chosen.is_empty() && !dropped.is_empty() {
            return Err(ProtocolError::NoSuite { given: suites.join(", "), known: known() });
        }
        Ok(Self { min, max, suites: Some(chosen), dropped })
    }

    /// Suites that were asked for by names that Go knows, and that are not offered here.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// The cryptography with these suites.
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(suites) = &self.suites {
            provider.cipher_suites.retain(|suite| suite.tls13().is_some() || suites.contains(&suite.suite()));
        }
        Arc::new(provider)
    }

    pub(crate) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let of_12 = self.suites.as_ref().is_none_or(|suites| !suites.is_empty());
        let mut versions = Vec::new();
        if self.max >= Version::Tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if self.min <= Version::Tls12 && of_12 {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }
}

fn known() -> String {
    OFFERED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Version::{Tls12, Tls13};

    #[test]
    fn suites_have_the_names_that_go_gives_them() {
        let check = |min, max, suites: &[&str]| {
            Protocol::new(min, max, suites)
                .map(|protocol| protocol.versions().len())
                .map_err(|error| error.to_string().chars().take(60).collect::<String>())
        };
        assert_eq!(check(Tls12, Tls13, &[]), Ok(2));
        assert_eq!(check(Tls13, Tls13, &[]), Ok(1));
        assert_eq!(check(Tls12, Tls12, &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]), Ok(1));
        assert_eq!(check(Tls12, Tls13, &["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), Ok(2));
        assert_eq!(check(Tls12, Tls13, &["TLS_AES_128_GCM_SHA256"]), Ok(1));
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(
            check(Tls13, Tls12, &[]),
            refused("min version (TLS1.3) is greater than max version (TLS1.2)")
        );
        assert_eq!(
            check(Tls13, Tls13, &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
            refused("cipher suites cannot be configured when only TLS1.3 is enabl")
        );
        assert_eq!(
            check(Tls12, Tls13, &["XX"]),
            refused("unexpected TLS cipher suite \"XX\"; known are TLS_ECDHE_ECDSA_")
        );
        assert_eq!(
            check(Tls12, Tls13, &["TLS_RSA_WITH_RC4_128_SHA"]),
            refused("none of the TLS cipher suites TLS_RSA_WITH_RC4_128_SHA is of")
        );
        assert_eq!(
            "TLS1.1".parse::<Version>().map_err(|e| e.to_string()),
            Err("unexpected TLS version \"TLS1.1\"".to_owned())
        );
    }

    #[test]
    fn suites_that_are_not_offered_are_told() {
        let both = ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
        let protocol = Protocol::new(Version::Tls12, Version::Tls13, &both).expect("one is offered");
        assert_eq!(protocol.dropped(), ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"]);
    }
}
