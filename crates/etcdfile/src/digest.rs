//! What `snapshot status` shows of a file, by etcdctl's own count.

use bolt::{BoltError, Reader, Row, Seek};

use crate::{buckets, revision};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// CRC-32C over the names of the buckets and all rows in them.
    pub hash: u32,
    /// The revision of the last change of a key.
    pub revision: u64,
    /// Rows, in all buckets.
    pub rows: u64,
    /// The length that the file says it has, in bytes.
    pub bytes: u64,
}

/// Reads everything in `file`.
pub fn digest(file: &Reader<impl Seek>) -> Result<Digest, BoltError> {
    let mut digest = Digest { bytes: file.bytes(), ..Digest::default() };
    for name in file.names()? {
        digest.hash = crc32c::crc32c_append(digest.hash, &name);
        let Some(mut rows) = file.bucket(&name)? else { continue };
        while let Some(Row { key, value, is_bucket }) = rows.next_row()? {
            digest.hash = crc32c::crc32c_append(digest.hash, key);
            if !is_bucket {
                digest.hash = crc32c::crc32c_append(digest.hash, value);
            }
            digest.rows += 1;
            if name == buckets::KEY
                && let Some((stamp, _)) = revision::decode(key)
            {
                digest.revision = stamp.main.unsigned_abs();
            }
        }
    }
    Ok(digest)
}
