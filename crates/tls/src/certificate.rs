//! What a certificate says of itself: names, dates, number, who signed it. It decides nothing about chains.
//!
//! INVARIANT: a host is compared with the alternative names alone, as in Go; a common name makes nobody a host.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::der::{Der, INTEGER, OCTETS, OID, SEQUENCE};

/// Where a certificate has its version, and its extensions.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;
/// What a name among the alternatives is: of a host, or an address.
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;
/// 2.5.29.17.
const ALTERNATIVES: &[u8] = &[0x55, 0x1d, 0x11];

/// The names and dates of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) common_name: Option<String>,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Without zeros before it.
    pub(crate) serial: Vec<u8>,
    /// In seconds since 1970.
    pub(crate) not_before: i64,
    /// In seconds since 1970.
    pub(crate) not_after: i64,
}

impl Certificate {
    /// Reads one from DER.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        Self::read(der).ok_or_else(|| "it cannot be taken apart".to_owned())
    }

    fn read(der: &[u8]) -> Option<Self> {
        let mut body = Der::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        // The version, which the oldest ones leave out.
        body.one(CONTEXT_0);
        let serial = significant(body.one(INTEGER)?).to_vec();
        body.one(SEQUENCE)?;
        let issuer = body.name()?;
        let mut validity = body.enter(SEQUENCE)?;
        let (not_before, not_after) = (validity.moment()?, validity.moment()?);
        let subject = body.name()?;
        body.one(SEQUENCE)?;
        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        while let Some((tag, content)) = body.any() {
            if tag == CONTEXT_3 {
                read_alternatives(content, &mut dns_names, &mut addresses)?;
            }
        }
        // As Go reads it: the last one counts.
        let common_name = subject.iter().rev().find(|(kind, _)| kind == "CN").map(|(_, name)| name.clone());
        Some(Self {
            common_name,
            subject: line(&subject),
            issuer: line(&issuer),
            dns_names,
            addresses,
            serial,
            not_before,
            not_after,
        })
    }

    /// Whether it has names to be reached by.
    pub(crate) fn has_names(&self) -> bool {
        !(self.dns_names.is_empty() && self.addresses.is_empty())
    }

    /// Whether it is valid for this host, a name or an address; if not, why, as Go puts it.
    pub(crate) fn check_host(&self, host: &str) -> Result<(), String> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(wanted) = bare.parse::<IpAddr>() {
            if self.addresses.contains(&wanted) {
                return Ok(());
            }
            if self.addresses.is_empty() {
                return Err(format!(
                    "x509: cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
                ));
            }
        } else if self.dns_names.iter().any(|name| name_matches(name, bare)) {
            return Ok(());
        }
        Err(self.not_valid_for(bare))
    }

    fn not_valid_for(&self, host: &str) -> String {
        if !self.has_names() && self.common_name.is_some() {
            return "x509: certificate relies on legacy Common Name field, use SANs instead".to_owned();
        }
        if host.parse::<IpAddr>().is_err() && self.dns_names.is_empty() && self.addresses.is_empty() {
            return format!("x509: certificate is not valid for any names, but wanted to match {host}");
        }
        let addresses = self.addresses.iter().map(ToString::to_string);
        let names: Vec<String> = addresses.chain(self.dns_names.iter().cloned()).collect();
        format!("x509: certificate is valid for {}, not {host}", names.join(", "))
    }
}

/// Which one, for a log: its subject, number and issuer.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {:?}, serial {}, issuer {:?}", self.subject, hex(&self.serial), self.issuer)
    }
}

/// Without zeros before it, so that numbers can be compared however they were written.
pub(crate) fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// As Go's `%x`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        // Writing into memory does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits.trim_start_matches('0').to_owned()
}

/// A moment as RFC 3339 writes it.
pub(crate) fn moment(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// The alternative names among extensions.
fn read_alternatives(
    extensions: &[u8],
    dns_names: &mut Vec<String>,
    addresses: &mut Vec<IpAddr>,
) -> Option<()> {
    let mut extensions = Der::new(extensions).enter(SEQUENCE)?;
    while extensions.peek().is_some() {
        let mut extension = extensions.enter(SEQUENCE)?;
        if extension.one(OID)? != ALTERNATIVES {
            continue;
        }
        if extension.peek() != Some(OCTETS) {
            // Whether it is critical.
            extension.any()?;
        }
        let mut names = Der::new(extension.one(OCTETS)?).enter(SEQUENCE)?;
        while let Some((tag, content)) = names.any() {
            match tag {
                DNS_NAME => dns_names.push(String::from_utf8_lossy(content).into_owned()),
                ADDRESS => addresses.extend(address(content)),
                _ => {}
            }
        }
    }
    Some(())
}

fn line(name: &[(String, String)]) -> String {
    name.iter().map(|(kind, text)| format!("{kind}={text}")).collect::<Vec<_>>().join(", ")
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether a name in a certificate covers a host: a star is the whole first label or nothing.
fn name_matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let well_formed = |name: &str| !name.is_empty() && name.split('.').all(|label| !label.is_empty());
    if !well_formed(pattern) || !well_formed(host) {
        return false;
    }
    if let Some(parent) = pattern.strip_prefix("*.") {
        return host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent));
    }
    !pattern.contains('*') && pattern.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, host, expect) in [
            ("a.b", "a.b", true),
            ("A.b", "a.B.", true),
            ("*.b", "a.b", true),
            ("*.b", "c.a.b", false),
            ("*.b", "b", false),
            ("a*.b", "aa.b", false),
            ("*", "a", false),
            ("", "", false),
            ("", "a", false),
            ("a..b", "a..b", false),
            (".b", ".b", false),
        ] {
            assert_eq!(name_matches(pattern, host), expect, "{pattern} {host}");
        }
    }

    #[test]
    fn numbers_are_written_as_in_go() {
        assert_eq!(
            (hex(&[0x0a, 0xff]), significant(&[0, 0, 1]), hex(&[])),
            ("aff".to_owned(), &[1][..], String::new())
        );
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
    }
}
