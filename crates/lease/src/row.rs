//! How a lease lies in the database. docs/FORMATS.md draws it.

use types::v2::Timestamp;
use types::{Index, LeaseId};

use crate::table::Terms;

/// Before the id in the key of a row.
pub(crate) const PREFIX: &[u8] = b"lease/grant/";
/// The first key after all of those.
pub(crate) const END: &[u8] = b"lease/grant0";

/// With a deadline.
const BYTES_MAX: usize = 32 + 4;
/// Turns the order of signed numbers into that of their bytes.
const SIGN: u64 = 1 << 63;

pub(crate) fn key(id: LeaseId) -> Vec<u8> {
    [PREFIX, &(id.0 as u64 ^ SIGN).to_be_bytes()].concat()
}

pub(crate) fn encode(key: &[u8], terms: &Terms) -> Vec<u8> {
    let mut into = Vec::with_capacity(BYTES_MAX);
    into.extend_from_slice(&terms.ttl.to_be_bytes());
    into.extend_from_slice(&terms.remaining.to_be_bytes());
    into.extend_from_slice(&terms.born.0.to_be_bytes());
    if let Some(deadline) = terms.deadline {
        into.extend_from_slice(&deadline.0.to_be_bytes());
    }
    let sum = checksum(key, &into);
    into.extend_from_slice(&sum.to_be_bytes());
    into
}

/// `None` if it is not what was written.
pub(crate) fn decode(key: &[u8], row: &[u8]) -> Option<(LeaseId, Terms)> {
    let id = key.strip_prefix(PREFIX)?.try_into().ok()?;
    let (body, sum) = row.split_last_chunk::<4>()?;
    if u32::from_be_bytes(*sum) != checksum(key, body) {
        return None;
    }
    let (ttl, remaining, born, deadline) = match body.as_chunks::<8>() {
        ([ttl, remaining, born], []) => (ttl, remaining, born, None),
        ([ttl, remaining, born, deadline], []) => (ttl, remaining, born, Some(deadline)),
        _ => return None,
    };
    let terms = Terms {
        ttl: i64::from_be_bytes(*ttl),
        remaining: i64::from_be_bytes(*remaining),
        born: Index(u64::from_be_bytes(*born)),
        deadline: deadline.map(|at| Timestamp(i64::from_be_bytes(*at))),
    };
    Some((LeaseId((u64::from_be_bytes(id) ^ SIGN) as i64), terms))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}
