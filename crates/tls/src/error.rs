//! Why files make no TLS: each sentence names the file.

use std::io;
use std::path::PathBuf;

/// See the module. The beginnings are etcd's where it has a sentence.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("open {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate in it.
    #[error("{} holds no certificate in PEM (\"-----BEGIN CERTIFICATE-----\"){reason}", .path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
        /// More, or nothing.
        reason: String,
    },
    /// No key in it.
    #[error("{} holds no private key in PEM (PKCS#1, SEC1 or PKCS#8, not encrypted){reason}", .path.display())]
    NoKey {
        /// Which.
        path: PathBuf,
        /// More, or nothing.
        reason: String,
    },
    /// A key of a kind that is not known.
    #[error("the private key in {} cannot be used: {reason}", .path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not belong together.
    #[error(
        "tls: private key does not match public key: {} is not the key of the first certificate in {}", .key.display(),
        .cert.display()
    )]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate that cannot be understood.
    #[error("a certificate in {} cannot be used: {reason}", .path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A list of revoked certificates that cannot be understood.
    #[error("{} is no list of revoked certificates (CRL) in DER or PEM: {reason}", .path.display())]
    Crl {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system's own CAs.
    #[error("no CA was given, and those of the system cannot be read: {0}")]
    SystemRoots(String),
    /// What rustls says.
    #[error("tls: {0}")]
    Setup(#[from] rustls::Error),
}
