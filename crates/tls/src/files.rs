//! Certificates, keys and revocation lists as they lie in files, and whether a file is still the one that was read.
//!
//! The files are small, and are read where they are needed: a handshake costs more than all of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::TlsError;
use crate::certificate::significant;
use crate::der::{Der, INTEGER, SEQUENCE};

/// A file of this size is none of ours, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The files as they are now; another one when any of them was changed or exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<[i64; 6]>>);

impl Stamp {
    /// Looks at the files, not into them.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let stamp = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            let (inode, size) = (meta.ino() as i64, meta.size() as i64);
            Some([inode, size, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()])
        };
        Self(paths.iter().map(stamp).collect())
    }
}

/// Every certificate in a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let (certificates, reason) = match parsed {
        Ok(certificates) => (certificates, String::new()),
        Err(error) => (Vec::new(), format!(": {error}")),
    };
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned(), reason });
    }
    Ok(certificates)
}

/// The first private key in a file. Other things before it, such as the parameters of a curve, are passed over.
pub(crate) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let reason = match error {
            rustls::pki_types::pem::Error::NoItemsFound => String::new(),
            // It says where, and nothing of what is there.
            other => format!(": {other}"),
        };
        TlsError::NoKey { path: path.to_owned(), reason }
    })
}

/// The numbers of the certificates that a list, or several in one file, revokes.
pub(crate) fn revoked(path: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    let bytes = read(path)?;
    let refused = |reason: String| TlsError::Crl { path: path.to_owned(), reason };
    let lists: Vec<Vec<u8>> = if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        let parsed: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
        parsed.map_err(|error| refused(error.to_string()))?.iter().map(|list| list.to_vec()).collect()
    } else {
        vec![bytes]
    };
    if lists.is_empty() {
        return Err(refused("there is none in it".to_owned()));
    }
    let mut serials = Vec::new();
    for list in &lists {
        let numbers = numbers(list).ok_or_else(|| refused("it cannot be taken apart".to_owned()))?;
        serials.extend(numbers);
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials)
}

/// The numbers on a list.
fn numbers(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut body = Der::new(list).enter(SEQUENCE)?.enter(SEQUENCE)?;
    // The version, which the oldest ones leave out.
    body.one(INTEGER);
    body.one(SEQUENCE)?;
    body.name()?;
    body.moment()?;
    if body.peek().is_some_and(|tag| tag != SEQUENCE) {
        // When the next one comes; without it, and without entries, extensions are next.
        body.any()?;
    }
    let mut numbers = Vec::new();
    if let Some(mut entries) = body.enter(SEQUENCE) {
        while entries.peek().is_some() {
            numbers.push(significant(entries.enter(SEQUENCE)?.one(INTEGER)?).to_vec());
        }
    }
    Some(numbers)
}

/// Warns of a key that others than its owner can read.
pub(crate) fn check_privacy(path: &Path) {
    const OTHERS: u32 = 0o007;
    if let Ok(meta) = fs::metadata(path)
        && meta.mode() & OTHERS != 0
    {
        let mode = format!("{:04o}", meta.mode() & 0o7777);
        let path = path.display();
        tracing::warn!(%path, mode, "anybody on this machine may use this private key; try `chmod 600`");
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let refused = |source| TlsError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(refused)?.len();
    if size > FILE_BYTES_MAX {
        return Err(refused(std::io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes"))));
    }
    fs::read(path).map_err(refused)
}
