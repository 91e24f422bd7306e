//! Names and files below a snapshot's folder.
//!
//! INVARIANT: a name that came from elsewhere never leads out of its folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

/// The longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Whether a file of a snapshot may be called that. Names go into paths and URLs as they are.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(plain)
}

/// At most `length_max` bytes of the file `name` in `folder`, from `offset` on; nothing behind its end, and `None` if
/// there is no such file.
pub fn read_piece(folder: &Path, name: &str, offset: u64, length_max: usize) -> io::Result<Option<Bytes>> {
    if !is_name(name) {
        return Ok(None);
    }
    let mut file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(offset))?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut piece = Vec::with_capacity(length_max.min(usize::try_from(left).unwrap_or(length_max)));
    file.take(length_max as u64).read_to_end(&mut piece)?;
    Ok(Some(piece.into()))
}

/// Removes the folders of snapshots in `folder`, those being sent and those being received, except those of which
/// `is_kept` says so by their name. What else is there stays. The removals are durable when it returns.
pub fn prune(folder: &Path, is_kept: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut has_removed = false;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_ours = name
            .strip_suffix(".send")
            .or_else(|| name.strip_suffix(".recv"))
            .is_some_and(|id| id.parse::<crate::SnapshotId>().is_ok());
        if is_ours && !is_kept(name) {
            fs::remove_dir_all(entry.path())?;
            has_removed = true;
        }
    }
    if has_removed {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
