//! How a lease lies in the database. docs/FORMATS.md draws it.

use types::{Index, LeaseId};

use crate::table::Terms;

/// Before the id in the key of a row.
pub(crate) const PREFIX: &[u8] = b"lease/grant/";
/// The first key after all of those.
pub(crate) const END: &[u8] = b"lease/grant0";

const BODY_BYTES: usize = 24;
/// Turns the order of signed numbers into that of their bytes.
const SIGN: u64 = 1 << 63;

pub(crate) fn key(id: LeaseId) -> Vec<u8> {
    [PREFIX, &(id.0 as u64 ^ SIGN).to_be_bytes()].concat()
}

pub(crate) fn encode(key: &[u8], terms: &Terms) -> [u8; BODY_BYTES + 4] {
    let mut row = [0; BODY_BYTES + 4];
    row[..8].copy_from_slice(&terms.ttl.to_be_bytes());
    row[8..16].copy_from_slice(&terms.remaining.to_be_bytes());
    row[16..24].copy_from_slice(&terms.born.0.to_be_bytes());
    let sum = checksum(key, &row[..BODY_BYTES]);
    row[BODY_BYTES..].copy_from_slice(&sum.to_be_bytes());
    row
}

/// `None` if it is not what was written.
pub(crate) fn decode(key: &[u8], row: &[u8]) -> Option<(LeaseId, Terms)> {
    let id = key.strip_prefix(PREFIX)?.try_into().ok()?;
    let (body, sum) = row.split_last_chunk::<4>()?;
    if u32::from_be_bytes(*sum) != checksum(key, body) {
        return None;
    }
    let ([ttl, remaining, born], []) = body.as_chunks::<8>() else { return None };
    let terms = Terms {
        ttl: i64::from_be_bytes(*ttl),
        remaining: i64::from_be_bytes(*remaining),
        born: Index(u64::from_be_bytes(*born)),
    };
    Some((LeaseId((u64::from_be_bytes(id) ^ SIGN) as i64), terms))
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}
