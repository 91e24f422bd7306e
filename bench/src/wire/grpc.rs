//! gRPC's framing of messages, and the names of its status codes.

/// Bytes before each message: one flag, then the length, big-endian.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The prefix of an uncompressed message of `len` bytes.
pub(crate) fn prefix(len: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

/// The one message of a unary answer.
///
/// `None` when the body is not exactly one uncompressed message: a proxy's page, a cut or doubled answer.
pub(crate) fn unframe(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [0, a, b, c, d] = *head else { return None };
    (u32::from_be_bytes([a, b, c, d]) as usize == message.len()).then_some(message)
}

/// The name of a status code as gRPC's documents have it.
pub(crate) fn status_name(code: &str) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    code.parse::<usize>().ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("unknown status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_message_is_taken() {
        let mut body = prefix(3).to_vec();
        assert_eq!(unframe(&body), None, "the prefix alone is a cut answer");
        body.extend_from_slice(b"abc");
        assert_eq!(unframe(&body), Some(&b"abc"[..]));
        body.push(b'd');
        assert_eq!(unframe(&body), None, "bytes behind the message");
        assert_eq!(unframe(b"\x01\0\0\0\0"), None, "compressed");
        assert_eq!(unframe(b"\0\0\0\0\0"), Some(&b""[..]));
        assert_eq!(unframe(b"\0\0\0"), None);
    }

    #[test]
    fn statuses_have_names() {
        assert_eq!(status_name("14"), "UNAVAILABLE");
        assert_eq!(status_name("99"), "unknown status");
        assert_eq!(status_name("x"), "unknown status");
    }
}
