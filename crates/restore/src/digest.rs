//! What a snapshot holds, in the few numbers that `snapshot status` shows.
//!
//! The database is opened for the count of its rows, and for that its files have to lie somewhere for a moment.

use std::io;
use std::path::{Path, PathBuf};

use snap::{unpack, verify};
use store::{Direction, Family, Options, Span, Store, StoreError};
use types::Revision;

use crate::source::Form;
use crate::{Source, SourceError};

/// Memory for looking into the database, in bytes.
const LOOK_BYTES: usize = 16 << 20;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The revision of the v3 keyspace.
    pub revision: Revision,
    /// Rows: every version of every v3 key, every lease, user, role, member, v2 node and the like. Of a file of etcd's,
    /// as etcdctl counts.
    pub rows: u64,
    /// A checksum of all rows.
    pub hash: u32,
    /// The length of the file, in bytes.
    pub bytes: u64,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The file.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The disk.
    #[error("cannot write below {path}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error("cannot read the database of the snapshot")]
    Store(#[from] StoreError),
    /// The revision.
    #[error("cannot read the v3 keyspace of the snapshot")]
    Keyspace(#[from] mvcc::OpenError),
}

/// Checks `source`, and looks into it in the folder `place`, which is there and is this one's.
pub fn digest(source: &mut Source, place: &Path) -> Result<Digest, DigestError> {
    match source.form() {
        Form::Archive => digest_archive(source, place),
        Form::Bolt => Ok(source.digest_bolt()?),
    }
}

fn digest_archive(source: &mut Source, place: &Path) -> Result<Digest, DigestError> {
    source.pass(|archive| verify(archive))?;
    let database = place.join("database");
    source.pass(|archive| unpack(archive, &database)).map_err(|error| match error {
        // It was just read to its end, so that this is the other side.
        SourceError::Io { source, .. } => DigestError::Disk { path: place.to_owned(), source },
        other => other.into(),
    })?;
    let options = Options { memory_bytes: LOOK_BYTES, ..Options::default() };
    let store = Store::open_to_read(&database, &options)?;
    let (mut rows, mut hash) = (0, 0);
    for family in Family::ALL {
        let mut cursor = store.scan(family, &Span::default(), Direction::Forward);
        while let Some((key, value)) = cursor.row() {
            // A change of a key is a row in two families.
            rows += u64::from(family != Family::Revisions);
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
            cursor.step();
        }
        cursor.finish()?;
    }
    Ok(Digest { revision: mvcc::revision_in(&store)?, rows, hash, bytes: source.bytes() })
}
