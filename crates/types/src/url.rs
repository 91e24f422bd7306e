//! URLs as flags and members' records hold them: a scheme and an address, nothing else.
//!
//! They are kept as written (the scheme in lower case), because ids are made of their text. A general URL parser
//! would drop `:80` from `http://a:80`, and the id would be another.

use std::fmt;
use std::net::IpAddr;

/// How a URL speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A socket in the file system.
    Unix,
    /// TLS over a socket in the file system.
    Unixs,
}

/// A URL that etcd's flags accept. Sorted by its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberUrl {
    text: String,
    scheme: Scheme,
    /// Where in `text` the address begins and ends.
    address: (usize, usize),
}

/// What is wrong with a URL, in etcd's sentences, since scripts look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is none at all.
    #[error("no valid URLs given")]
    None,
    /// It cannot be taken apart.
    #[error("parse {url:?}: {reason}")]
    Syntax {
        /// The URL as given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// Another scheme, or none.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// No port, or more colons than one.
    #[error("URL address does not have the form \"host:port\": {0}")]
    Address(String),
    /// There is a path, were it a single slash.
    #[error("URL must not contain a path: {0}")]
    Path(String),
    /// To listen there needs to be an address, not a name.
    #[error("expected IP in URL for binding ({0})")]
    NotBindable(String),
    /// Others cannot reach it without a host.
    #[error("unexpected empty host ({0})")]
    NoHost(String),
}

/// Parses and sorts URLs, as a flag with commas or a member's record lists them.
pub fn parse_urls<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<MemberUrl>, UrlError> {
    let mut urls = texts.into_iter().map(MemberUrl::parse).collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() {
        return Err(UrlError::None);
    }
    urls.sort_unstable();
    Ok(urls)
}

impl MemberUrl {
    /// Parses one URL; white space around it does not matter. Sockets in the file system may have a path.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let given = text.trim();
        let syntax = |reason: String| UrlError::Syntax { url: given.to_owned(), reason };
        if given.contains(|c: char| c.is_ascii_control()) {
            return Err(syntax("net/url: invalid control character in URL".to_owned()));
        }
        let (scheme, rest) = split_scheme(given).map_err(|reason| syntax(reason.to_owned()))?;
        let kind = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme(given.to_owned())),
        };
        let Some(rest) = rest.strip_prefix("//") else { return Err(UrlError::Address(given.to_owned())) };
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        check_host(address).map_err(syntax)?;
        let path = rest[authority.len()..].split(['?', '#']).next().unwrap_or_default();
        let start = scheme.len() + "://".len() + authority.len() - address.len();
        let mut end = start + address.len();
        if kind.is_file() {
            end += path.len();
        } else {
            split_address(address).ok_or_else(|| UrlError::Address(given.to_owned()))?;
            if !path.is_empty() {
                return Err(UrlError::Path(given.to_owned()));
            }
        }
        let text = format!("{}{}", scheme.to_ascii_lowercase(), &given[scheme.len()..]);
        Ok(Self { text, scheme: kind, address: (start, end) })
    }

    /// The URL as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it speaks.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host:port` as written, an IPv6 host in brackets; of a socket in the file system, its path.
    pub fn address(&self) -> &str {
        &self.text[self.address.0..self.address.1]
    }

    /// The host without brackets; of a socket in the file system, its path.
    pub fn host(&self) -> &str {
        if self.scheme.is_file() {
            return self.address();
        }
        split_address(self.address()).map_or("", |(host, _)| host)
    }

    /// Whether one can listen there: at an IP address, at `localhost`, or at a socket in the file system.
    pub fn check_bindable(&self) -> Result<(), UrlError> {
        let host = self.host();
        if self.scheme.is_file() || host == "localhost" || host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        Err(UrlError::NotBindable(self.text.clone()))
    }

    /// Whether others can be told of it: it names a host.
    pub fn check_advertisable(&self) -> Result<(), UrlError> {
        if self.host().is_empty() { Err(UrlError::NoHost(self.text.clone())) } else { Ok(()) }
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Scheme {
    /// Whether it speaks TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Unixs)
    }

    /// Whether its address is a file.
    pub fn is_file(self) -> bool {
        matches!(self, Self::Unix | Self::Unixs)
    }
}

/// The scheme and what follows its colon. Without a scheme that is all of it, unless it looks like an address.
fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(text.len());
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
    match text[end..].strip_prefix(':') {
        Some(_) if end == 0 => Err("missing protocol scheme"),
        Some(rest) if starts_well => Ok((&text[..end], rest)),
        _ if text.split('/').next().is_some_and(|first| first.contains(':')) => {
            Err("first path segment in URL cannot contain colon")
        }
        _ => Ok(("", text)),
    }
}

/// Whether an authority is made of what one may be made of.
fn check_host(address: &str) -> Result<(), String> {
    let mut outside = address;
    if address.starts_with('[') {
        outside = match address.rsplit_once(']') {
            Some((_, after)) => after,
            None => return Err("missing ']' in host".to_owned()),
        };
    }
    if let Some(at) = outside.find('%') {
        let escape: String = outside[at..].chars().take(3).collect();
        return Err(format!("invalid URL escape {escape:?}"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(c);
    if let Some(c) = outside.chars().find(|c| !allowed(*c)) {
        return Err(format!("invalid character {:?} in host name", c.to_string()));
    }
    let port = if outside.len() < address.len() {
        outside
    } else {
        outside.rfind(':').map_or("", |at| &outside[at..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (digits.len() == port.len() && !port.is_empty()) || digits.contains(|c: char| !c.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    Ok(())
}

/// Host, without brackets, and port.
fn split_address(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) { None } else { Some((host, port)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line: a URL, and what etcd 3.4.23 said to it as `--initial-advertise-peer-urls` ("ok" if nothing).
    /// The `unix` lines follow 3.5, where 3.4 asked for a port too.
    const ANSWERS: &str = include_str!("../tests/golden/urls.txt");

    #[test]
    fn urls_are_judged_in_the_sentences_of_etcd() {
        for (number, line) in ANSWERS.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let (url, expect) = line.split_once(" => ").expect("a line has two sides");
            let url = url.trim_matches('`').replace("\\x01", "\x01");
            let answer = MemberUrl::parse(&url).map_or_else(|error| error.to_string(), |_| "ok".to_owned());
            // Go writes a control character in quotes in its own way.
            assert_eq!(answer.replace("\\u{1}", "\\x01"), expect, "line {}", number + 1);
        }
    }

    #[test]
    fn a_url_stays_as_written_but_for_the_case_of_its_scheme() {
        let url = MemberUrl::parse(" HTTP://Example.com:80 ").expect("well-formed");
        assert_eq!(
            (url.as_str(), url.address(), url.host()),
            ("http://Example.com:80", "Example.com:80", "Example.com")
        );
        let url = MemberUrl::parse("https://[fe80::1%25eth0]:2380").expect("well-formed");
        assert_eq!((url.address(), url.host()), ("[fe80::1%25eth0]:2380", "fe80::1%25eth0"));
        let url = MemberUrl::parse("unixs:///run/kvorum.sock").expect("well-formed");
        assert_eq!((url.address(), url.scheme().is_tls()), ("/run/kvorum.sock", true));
    }

    #[test]
    fn one_listens_at_addresses_and_tells_others_of_hosts() {
        let check = |text: &str| {
            let url = MemberUrl::parse(text).expect("well-formed");
            (
                url.check_bindable().map_err(|e| e.to_string()),
                url.check_advertisable().map_err(|e| e.to_string()),
            )
        };
        for fine in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "unix:///x"] {
            assert_eq!(check(fine), (Ok(()), Ok(())), "{fine}");
        }
        let name = "expected IP in URL for binding (http://example.com:1)".to_owned();
        assert_eq!(check("http://example.com:1"), (Err(name), Ok(())));
        let bind = "expected IP in URL for binding (http://:1)".to_owned();
        let tell = "unexpected empty host (http://:1)".to_owned();
        assert_eq!(check("http://:1"), (Err(bind), Err(tell)));
    }

    #[test]
    fn lists_are_sorted_and_not_empty() {
        assert_eq!(parse_urls([]), Err(UrlError::None));
        let urls = parse_urls(["http://b:1", " http://a:1"]).expect("well-formed");
        assert_eq!(urls.iter().map(MemberUrl::as_str).collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
    }
}
