//! The newest snapshot that is whole: JSON of the v2 tree, and the entry up to which that goes.

use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;

use crate::messages::{Sealed, Snapshot, SnapshotMetadata};

/// See the module. Without any, all zero and empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) json: Bytes,
}

/// Looks at the newest first, as etcd does; one that was cut off is passed over.
pub(crate) fn newest(paths: &[PathBuf]) -> Result<Found, (PathBuf, io::Error)> {
    for path in paths {
        let bytes = fs::read(path).map_err(|error| (path.clone(), error))?;
        if let Some(found) = open(bytes.into()) {
            return Ok(found);
        }
    }
    Ok(Found::default())
}

fn open(bytes: Bytes) -> Option<Found> {
    let Sealed { crc, data } = Sealed::decode(bytes).ok()?;
    if crc32c::crc32c(&data) != crc {
        return None;
    }
    let Snapshot { data, metadata } = Snapshot::decode(data).ok()?;
    let SnapshotMetadata { index, term } = metadata?;
    (index > 0).then_some(Found { index, term, json: data })
}
