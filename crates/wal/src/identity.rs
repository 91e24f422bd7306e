//! Whose log this is: the file `meta`, written once, last of all when a log is created.
//!
//! INVARIANT: if `meta` exists, a first segment exists too.
//! INVARIANT: the first 16 and the 48 bytes as a whole keep their form in every later version.

use bytes::Buf;

use crate::disk::{Disk, OnDisk};
use crate::recover::OpenError;

pub(crate) const META: &str = "meta";
pub(crate) const META_NEW: &str = "meta.new";
const MAGIC: &[u8; 8] = b"KVORUMWL";
/// The format that this code writes and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;
const META_BYTES: usize = 48;

/// Whose log this is. Compared by the member at start: a log of another member or cluster is not ours to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u64,
    /// The member's id.
    pub member: u64,
    /// Chosen at random when the log is created. It goes into every checksum, so that nobody can make a value
    /// whose bytes would pass as a record.
    pub salt: u64,
}

impl Identity {
    pub(crate) fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.member.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.salt.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let damaged = || OpenError::Damaged { file: META.to_owned(), offset: 0, why: "not a valid identity" };
        let whole = bytes.first_chunk::<META_BYTES>().ok_or_else(damaged)?;
        let (content, mut rest) = whole.split_at(40);
        if !content.starts_with(MAGIC) || rest.get_u32_le() != crc32c::crc32c(content) {
            return Err(damaged());
        }
        let mut fields = &content[MAGIC.len()..];
        let found = fields.get_u32_le();
        if found > FORMAT {
            return Err(OpenError::NewerFormat { found, supported: FORMAT });
        }
        fields.advance(4);
        Ok(Self { cluster: fields.get_u64_le(), member: fields.get_u64_le(), salt: fields.get_u64_le() })
    }

    pub(crate) fn read(disk: &dyn Disk) -> Result<Self, OpenError> {
        let file = disk.open(META).on("open", META)?;
        let mut bytes = vec![0; META_BYTES.min(file.len().on("read", META)? as usize)];
        file.pread(0, &mut bytes).on("read", META)?;
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let identity = Identity { cluster: 1, member: 2, salt: 3 };
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes).expect("just written"), identity);
        for at in 0..44 {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(Identity::decode(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let mut bytes = Identity::default().encode();
        bytes[8] = 2;
        let sum = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&sum.to_le_bytes());
        let error = Identity::decode(&bytes).expect_err("newer than ours");
        assert_eq!(
            error.to_string(),
            "the log has format 2, this program reads up to 1: start a newer version of it"
        );
    }
}
