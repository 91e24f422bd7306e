//! What a member shows when it knocks at another's peer port, and who is let in.
//!
//! The headers and their meaning are etcd's, so that its members and ours understand each other's refusals. The
//! streams are our own, and one more header says which form they have.
//!
//! INVARIANT: nobody of another cluster, and nobody who was removed from this one, gets further than here.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, request};
use types::{ClusterId, MemberId};

use crate::Config;

pub(crate) const CLUSTER: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
const SENDER: HeaderName = HeaderName::from_static("x-server-from");
const VERSION: HeaderName = HeaderName::from_static("x-server-version");
const VERSION_MIN: HeaderName = HeaderName::from_static("x-min-cluster-version");
const RECEIVER: HeaderName = HeaderName::from_static("x-raft-to");
const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
const FORM: HeaderName = HeaderName::from_static("x-kvorum-form");

/// The form of streams and frames that this version speaks.
const FORM_SPOKEN: &str = "1";
/// The oldest server that this one works with, by etcd's count.
const VERSION_OLDEST: &str = "3.0.0";
/// URLs that a sender may say it listens on.
const PEER_URLS_MAX: usize = 16;

/// Who knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) member: MemberId,
    /// Where it says that it can be reached.
    pub(crate) peer_urls: Vec<String>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another cluster.
    #[error("request cluster ID mismatch (got {got} want {want})")]
    Cluster {
        /// The visitor's.
        got: String,
        /// This member's.
        want: ClusterId,
    },
    /// It was a member once.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// It looks for somebody else.
    #[error("request member ID mismatch (got {got} want {want}): the URL of another member leads here")]
    Receiver {
        /// Whom it looks for.
        got: String,
        /// This member.
        want: MemberId,
    },
    /// It says that it is this member.
    #[error("the request comes from member {0}, which is the one that it reached: a member that runs twice?")]
    Mirror(MemberId),
    /// It says not, or not clearly, who it is.
    #[error("the request does not say which member sends it")]
    Nameless,
    /// Older than this member can work with, or newer than it knows.
    #[error(
        "request version incompatible (server {server}, at least {least}; form {form}, here {FORM_SPOKEN})"
    )]
    Version {
        /// The visitor's version.
        server: String,
        /// The oldest that it works with.
        least: String,
        /// The form of its streams.
        form: String,
    },
}

impl Refusal {
    /// How HTTP says it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Removed => StatusCode::GONE,
            Self::Nameless => StatusCode::BAD_REQUEST,
            _ => StatusCode::PRECONDITION_FAILED,
        }
    }
}

/// What `config`'s member shows when it wants to speak with `receiver`.
pub(crate) fn issue(config: &Config, receiver: MemberId) -> HeaderMap {
    let text = |text: &str| HeaderValue::from_str(text).expect("ids, versions and URLs are printable");
    HeaderMap::from_iter([
        (CLUSTER, text(&config.cluster.to_string())),
        (SENDER, text(&config.member.to_string())),
        (VERSION, text(&config.version)),
        (VERSION_MIN, HeaderValue::from_static(VERSION_OLDEST)),
        (RECEIVER, text(&receiver.to_string())),
        (
            PEER_URLS,
            HeaderValue::from_str(&config.peer_urls.join(",")).unwrap_or(HeaderValue::from_static("")),
        ),
        (FORM, HeaderValue::from_static(FORM_SPOKEN)),
    ])
}

/// Lets a visitor in, or says why not. `is_removed` knows who was a member once.
pub(crate) fn check(
    request: &request::Parts,
    config: &Config,
    is_removed: impl Fn(MemberId) -> bool,
) -> Result<Visitor, Refusal> {
    let shown = |name: &HeaderName| {
        request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
    };
    // As in etcd the version comes first: whoever speaks otherwise may say "cluster" otherwise too.
    let (server, least, form) = (shown(&VERSION), shown(&VERSION_MIN), shown(&FORM));
    let fits = server_level(server) >= server_level(VERSION_OLDEST)
        && server_level(least) <= server_level(&config.version)
        && form == FORM_SPOKEN;
    if !fits {
        let (server, least, form) = (server.to_owned(), least.to_owned(), form.to_owned());
        return Err(Refusal::Version { server, least, form });
    }
    if shown(&CLUSTER) != config.cluster.to_string() {
        return Err(Refusal::Cluster { got: shown(&CLUSTER).to_owned(), want: config.cluster });
    }
    let member = u64::from_str_radix(shown(&SENDER), 16).map_err(|_| Refusal::Nameless)?;
    let member = MemberId(member);
    if is_removed(member) {
        return Err(Refusal::Removed);
    }
    if shown(&RECEIVER) != config.member.to_string() {
        return Err(Refusal::Receiver { got: shown(&RECEIVER).to_owned(), want: config.member });
    }
    if member == config.member {
        return Err(Refusal::Mirror(member));
    }
    let urls = shown(&PEER_URLS).split(',').map(str::trim).filter(|url| !url.is_empty());
    Ok(Visitor { member, peer_urls: urls.take(PEER_URLS_MAX).map(str::to_owned).collect() })
}

/// Who a visitor says it is, for the log.
pub(crate) fn claimed(headers: &HeaderMap) -> String {
    headers.get(&SENDER).and_then(|id| id.to_str().ok()).unwrap_or("unknown").chars().take(16).collect()
}

/// The cluster of whoever answered.
pub(crate) fn cluster(headers: &HeaderMap) -> Option<ClusterId> {
    let text = headers.get(&CLUSTER)?.to_str().ok()?;
    u64::from_str_radix(text, 16).ok().map(ClusterId)
}

/// Major and minor number; what cannot be read is older than everything.
fn server_level(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::tests::config;

    fn knock(change: impl Fn(&mut HeaderMap)) -> String {
        let (sender, receiver) = (config(1), config(2));
        let mut headers = issue(&sender, receiver.member);
        change(&mut headers);
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = headers;
        match check(&parts, &receiver, |member| member == MemberId(9)) {
            Ok(visitor) => format!("welcome {} {:?}", visitor.member, visitor.peer_urls),
            Err(refusal) => format!("{} {refusal}", refusal.status().as_u16()),
        }
    }

    #[test]
    fn visitors_are_let_in_or_told_why_not() {
        let set = |name: &HeaderName, value: &'static str| {
            knock(|headers| drop(headers.insert(name, HeaderValue::from_static(value))))
        };
        assert_eq!(set(&PEER_URLS, "http://a:1,http://b:2"), r#"welcome 1 ["http://a:1", "http://b:2"]"#);
        assert_eq!(set(&CLUSTER, "cd"), "412 request cluster ID mismatch (got cd want abc)");
        assert_eq!(set(&SENDER, "9"), "410 the member has been permanently removed from the cluster");
        assert!(set(&SENDER, "x").starts_with("400 "));
        assert!(set(&SENDER, "2").starts_with("412 the request comes from member 2"));
        assert!(set(&RECEIVER, "3").starts_with("412 request member ID mismatch (got 3 want 2)"));
        for (name, value) in [(&VERSION, "2.3.8"), (&VERSION, ""), (&VERSION_MIN, "3.9.0"), (&FORM, "2")] {
            assert!(set(name, value).starts_with("412 request version incompatible"), "{name} {value}");
        }
        assert_eq!(set(&VERSION_MIN, "3.4.0"), "welcome 1 []");
    }
}
