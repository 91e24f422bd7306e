//! Who asks over v2, and whether they may: basic authentication, as Go reads it.
//!
//! INVARIANT: where nobody is judged, nothing of this costs more than one look.

use api::{Fault, V2Caller};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use types::Secret;
use types::v2auth::Access;

use crate::gateway::{Connection, Shared};

/// Whether a request with these headers, on this connection, may do this. `access` is asked for only where requests are judged.
pub(crate) async fn permits(
    shared: &Shared,
    headers: &HeaderMap,
    connection: &Connection,
    access: impl FnOnce() -> Access,
) -> Result<bool, Fault> {
    match shared.member.v2_auth() {
        Some(auth) if auth.is_enabled() => {
            auth.permits(caller(headers, connection.peer_name.as_deref()), access()).await
        }
        _ => Ok(true),
    }
}

/// `certified` is the common name of a client certificate that was verified.
fn caller(headers: &HeaderMap, certified: Option<&str>) -> V2Caller {
    let header = headers.get(AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
    match header.filter(|header| !header.is_empty()) {
        Some(header) => basic(header).unwrap_or(V2Caller::Unreadable),
        None => certified.map_or(V2Caller::Guest, |name| V2Caller::Certificate(name.to_owned())),
    }
}

fn basic(header: &[u8]) -> Option<V2Caller> {
    let (scheme, encoded) = header.split_at_checked(b"Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = Secret::new(STANDARD.decode(encoded).ok()?);
    let colon = decoded.expose().iter().position(|byte| *byte == b':')?;
    let (name, password) = decoded.expose().split_at(colon);
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some(V2Caller::Password { name, password: Secret::new(password.get(1..)?) })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn credentials_are_read_as_go_reads_them() {
        let check = |header: &[u8], expect: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).expect("a header"));
            let shown = match caller(&headers, Some("cn")) {
                V2Caller::Guest => "guest".to_owned(),
                V2Caller::Password { name, password } => {
                    format!("{name} {}", password.expose().escape_ascii())
                }
                V2Caller::Certificate(name) => format!("certificate of {name}"),
                V2Caller::Unreadable => "unreadable".to_owned(),
            };
            assert_eq!(shown, expect, "{}", header.escape_ascii());
        };
        check(b"Basic cm9vdDpwdw==", "root pw");
        check(b"bAsIc cm9vdDpwdw==", "root pw");
        check(b"Basic cm9vdDpwOnc=", "root p:w");
        check(b"Basic OnB3", " pw");
        check(b"Basic cm9vdDo=", "root ");
        check(b"Basic cm9vdA==", "unreadable");
        check(b"Basic cm9vdDpwdw", "unreadable");
        check(b"Basic  cm9vdDpwdw==", "unreadable");
        check(b"Basic", "unreadable");
        check(b"Bearer cm9vdDpwdw==", "unreadable");
        check(b"\xe4", "unreadable");
        check(b"", "certificate of cn");
    }
}
