//! How commands of v2 end badly: other exit statuses than those of v3, and other words.

use client::Fault;
use serde_json::Value;

use crate::failure::{Failure, exit};

/// A member refused, or none answered.
pub(super) const SERVER: u8 = 4;
/// None answered when the members were to be listed.
pub(super) const CONNECTION: u8 = 2;
/// Not every member is healthy.
pub(super) const HEALTH: u8 = 5;

/// What is wrong with the arguments.
pub(super) fn arguments(text: &str) -> Failure {
    Failure::error(format!(" {text}"))
}

/// A sentence alone.
pub(super) fn said(text: impl Into<String>) -> Failure {
    Failure { status: exit::ERROR, text: None, details: vec![text.into()] }
}

/// A refusal of a request about keys.
pub(super) fn refusal(body: &Value) -> Failure {
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let number = |field: &str| body[field].as_u64().unwrap_or_default();
    let sentence =
        format!(" {}: {} ({}) [{}]", number("errorCode"), text("message"), text("cause"), number("index"));
    Failure::new(SERVER, sentence)
}

/// Nobody answered; each endpoint with its reason.
pub(super) fn silence(fault: &Fault, status: u8) -> Failure {
    if fault.failures().is_empty() || matches!(fault, Fault::Broken { .. }) {
        let details =
            fault.failures().iter().map(|failure| format!("endpoint {}: {}", failure.place, failure.reason));
        return Failure { status, text: Some(format!(" {fault}")), details: details.collect() };
    }
    let reasons = fault.failures().iter().enumerate().map(|(at, failure)| {
        let host = failure.place.rsplit('/').next().unwrap_or_default();
        let reason = if failure.reason.contains("onnection refused") {
            format!("dial tcp {host}: connect: connection refused")
        } else {
            format!("{host}: {}", failure.reason)
        };
        format!("error #{at}: {reason}")
    });
    let reasons: Vec<String> = reasons.collect();
    let text = format!(" client: etcd cluster is unavailable or misconfigured; {}", reasons.join("; "));
    let details = std::iter::once(String::new()).chain(reasons).collect();
    Failure { status, text: Some(text), details }
}
