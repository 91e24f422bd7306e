//! What comes with a call beside its messages: gRPC's headers, or what a JSON request has of them.
//!
//! Who calls is read here and believed nowhere: that is the member's to judge.

use std::sync::Arc;
use std::time::Duration;

use api::{Caller, Code, Fault, Member, Secret};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use types::MemberId;

use crate::grpc::Encoding;
use crate::refusal::Refusal;

/// How JSON clients name what shall go on as metadata.
const FORWARDED: &str = "grpc-metadata-";

/// How long the caller waits.
const TIMEOUT: &str = "grpc-timeout";

/// Who waits for less has given up before anything can be answered.
const TIME_MIN: Duration = Duration::from_micros(50);

/// The metadata of one call.
#[derive(Debug, Default)]
pub(crate) struct Metadata(HeaderMap);

impl Metadata {
    /// Of a gRPC call.
    pub(crate) fn of_grpc(headers: HeaderMap) -> Self {
        Self(headers)
    }

    /// Of a JSON request: its authorization, its time, and what it says is metadata.
    pub(crate) fn of_json(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut metadata = HeaderMap::new();
        for (name, value) in headers {
            let forwarded = match name.as_str().strip_prefix(FORWARDED) {
                Some(rest) => HeaderName::from_bytes(rest.as_bytes()).ok(),
                None if name == AUTHORIZATION || name == TIMEOUT => Some(name.clone()),
                None => None,
            };
            if let Some(name) = forwarded {
                metadata.append(name, value.clone());
            }
        }
        let metadata = Self(metadata);
        match metadata.0.get(TIMEOUT) {
            Some(text) if metadata.time_left().is_none() => {
                let text = String::from_utf8_lossy(text.as_bytes());
                Err(Refusal::new(Code::InvalidArgument, format!("invalid grpc-timeout: {text}")))
            }
            _ => Ok(metadata),
        }
    }

    /// What the call says of its caller; `peer_name` is what his certificate says, where that counts.
    pub(crate) fn caller(&self, peer_name: Option<&Arc<str>>) -> Caller {
        let token = self.0.get("token").or_else(|| self.0.get(AUTHORIZATION));
        let token = token.map(http::HeaderValue::as_bytes);
        let token = token.map(|token| Secret::new(token.strip_prefix(b"Bearer ").unwrap_or(token)));
        // A gateway of etcd before this member shows its own certificate (CVE-2018-16886).
        let is_passed_on = self.0.contains_key("grpcgateway-accept");
        Caller { token, peer_name: peer_name.filter(|_| !is_passed_on).cloned() }
    }

    /// The version of the interface that the client says it speaks.
    pub(crate) fn version(&self) -> Option<&HeaderValue> {
        self.0.get("client-api-version")
    }

    /// Whether the call is to end when there is no leader.
    pub(crate) fn requires_leader(&self) -> bool {
        self.0.get("hasleader").is_some_and(|value| value == "true")
    }

    /// How the client compresses, and wants its answers.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding::of(self.0.get("grpc-encoding"))
    }

    /// The time that the caller gives: up to eight digits and a unit. A time that cannot be read is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let text = self.0.get(TIMEOUT)?.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
        Some(match unit {
            "H" => Duration::from_secs(amount * 3600),
            "M" => Duration::from_secs(amount * 60),
            "S" => Duration::from_secs(amount),
            "m" => Duration::from_millis(amount),
            "u" => Duration::from_micros(amount),
            "n" => Duration::from_nanos(amount),
            _ => return None,
        })
    }

    /// What comes of a call in the time that the caller gives.
    pub(crate) async fn in_time<T>(
        time_left: Option<Duration>,
        acting: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        match time_left {
            None => acting.await,
            Some(left) if left < TIME_MIN => Err(Refusal::out_of_time()),
            Some(left) => {
                tokio::time::timeout(left, acting).await.unwrap_or_else(|_| Err(Refusal::out_of_time()))
            }
        }
    }

    /// What etcd asks of every call, whatever it does.
    pub(crate) async fn check(&self, member: &dyn Member) -> Result<(), Refusal> {
        if let Some(version) = self.version()
            && std::str::from_utf8(version.as_bytes()).is_err()
        {
            return Err(Refusal::new(Code::InvalidArgument, "etcdserver: invalid client api version"));
        }
        if self.requires_leader() && member.status().await?.body.leader == MemberId::default() {
            return Err(Fault::NoLeader.into());
        }
        Ok(())
    }
}
