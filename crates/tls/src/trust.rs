//! Whether a certificate is to be believed: its chain, its dates, its use, and whether it was revoked, judged as Go
//! judges it.
//!
//! Three things are other than in rustls: a certificate that is itself among the trusted ones is believed, also where
//! it may sign others (what `openssl req -x509` makes); CAs that have expired sign nothing; and a certificate for any
//! use may be used.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DistinguishedName};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};

use crate::certificate::{Certificate, hex, moment};
use crate::{TlsError, files};

/// So many CAs are named in a refusal.
const NAMED_MAX: usize = 8;

/// 1.3.6.1.5.5.7.3.1 and .2, and 2.5.29.37.0: what certificates say that they are for.
const FOR_SERVERS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const FOR_CLIENTS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const FOR_ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// By a server, to a client.
    Server,
    /// By a client, to a server.
    Client,
}

/// Why a certificate is not believed.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For the other end.
    pub(crate) kind: CertificateError,
    /// For us.
    pub(crate) sentence: String,
}

/// CAs.
#[derive(Debug)]
pub(crate) struct Roots {
    all: Vec<Root>,
    /// Where they are from.
    source: String,
    /// Whether clients are told which they are.
    are_told: bool,
}

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    certificate: Certificate,
}

impl Roots {
    /// Those in a file.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let refused = |reason: String| TlsError::Certificate { path: path.to_owned(), reason };
        let mut roots = Vec::new();
        for der in files::certificates(path)? {
            roots.push(Root::new(der).map_err(refused)?);
        }
        Ok(Self { all: roots, source: path.display().to_string(), are_told: true })
    }

    /// Those of the system.
    pub(crate) fn of_system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        // Odd ones are left out, as everywhere.
        let roots: Vec<Root> = found.certs.into_iter().filter_map(|der| Root::new(der).ok()).collect();
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::SystemRoots(reasons.join("; ")));
        }
        Ok(Self { all: roots, source: "the system".to_owned(), are_told: false })
    }

    /// Their names, for clients that choose a certificate by them.
    pub(crate) fn subjects(&self) -> Vec<DistinguishedName> {
        let told = self.all.iter().filter(|_| self.are_told);
        told.map(|root| DistinguishedName::in_sequence(root.anchor.subject.as_ref())).collect()
    }

    /// What they say of themselves.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.all.iter().map(|root| &root.certificate)
    }

    /// Believes a certificate, or says why not.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<Certificate, Refusal> {
        let certificate = Certificate::parse(leaf).map_err(|reason| Refusal {
            kind: CertificateError::BadEncoding,
            sentence: format!("x509: malformed certificate: {reason}"),
        })?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Some(sentence) = out_of_date(&certificate, seconds) {
            return Err(Refusal {
                kind: CertificateError::Expired,
                sentence: format!("{sentence} ({certificate})"),
            });
        }
        let parsed = EndEntityCert::try_from(leaf).map_err(|error| self.refusal(&certificate, &error))?;
        let is_root = self.all.iter().any(|root| root.der == *leaf);
        if is_root {
            return Ok(certificate);
        }
        let valid = self.all.iter().filter(|root| out_of_date(&root.certificate, seconds).is_none());
        let anchors: Vec<TrustAnchor<'_>> = valid.map(|root| root.anchor.clone()).collect();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let verified = parsed.verify_for_usage(algorithms, &anchors, intermediates, now, usage, None, None);
        match verified {
            Ok(_) => Ok(certificate),
            Err(error) => Err(self.refusal(&certificate, &error)),
        }
    }

    fn refusal(&self, certificate: &Certificate, error: &webpki::Error) -> Refusal {
        use webpki::Error as E;
        let (kind, why) = match error {
            E::UnknownIssuer => (CertificateError::UnknownIssuer, self.unknown_authority()),
            E::CertExpired { .. } | E::CertNotValidYet { .. } => (
                CertificateError::Expired,
                "x509: certificate has expired or is not yet valid: one between it and its CA".to_owned(),
            ),
            E::RequiredEkuNotFoundContext(_) => (
                CertificateError::InvalidPurpose,
                "x509: certificate specifies an incompatible key usage".to_owned(),
            ),
            E::CaUsedAsEndEntity => (
                CertificateError::InvalidPurpose,
                "x509: the certificate is a CA's own (CA:TRUE), which is taken only where it is itself among the \
                 trusted ones"
                    .to_owned(),
            ),
            other => (CertificateError::BadSignature, format!("x509: {other:?}")),
        };
        Refusal { kind, sentence: format!("{why} ({certificate})") }
    }

    fn unknown_authority(&self) -> String {
        let mut names: Vec<String> =
            self.certificates().take(NAMED_MAX).map(|root| format!("{:?}", root.subject)).collect();
        if self.all.len() > NAMED_MAX {
            names.push(format!("and {} more", self.all.len() - NAMED_MAX));
        }
        let source = &self.source;
        format!(
            "x509: certificate signed by unknown authority; trusted are those of {source}: {}",
            names.join(", ")
        )
    }
}

impl Root {
    fn new(der: CertificateDer<'static>) -> Result<Self, String> {
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| error.to_string())?.to_owned();
        let certificate = Certificate::parse(&der)?;
        Ok(Self { der, anchor, certificate })
    }
}

fn out_of_date(certificate: &Certificate, now: i64) -> Option<String> {
    let (relation, bound) = if now > certificate.not_after {
        ("after", certificate.not_after)
    } else if now < certificate.not_before {
        ("before", certificate.not_before)
    } else {
        return None;
    };
    Some(format!(
        "x509: certificate has expired or is not yet valid: current time {} is {relation} {}",
        moment(now),
        moment(bound)
    ))
}

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let wanted = KeyPurposeId::new(match self {
            Self::Server => FOR_SERVERS,
            Self::Client => FOR_CLIENTS,
        });
        let mut is_restricted = false;
        for purpose in purposes {
            let purpose = purpose?;
            if purpose == wanted || purpose == KeyPurposeId::new(FOR_ANY) {
                return Ok(());
            }
            is_restricted = true;
        }
        if !is_restricted {
            return Ok(());
        }
        let required = match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        };
        let context = RequiredEkuNotFoundContext { required, present: Vec::new() };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// What was revoked, by number alone, as in etcd: whoever signed the list, the operator gave it.
#[derive(Debug)]
pub(crate) struct Revoked {
    serials: Vec<Vec<u8>>,
    source: String,
}

impl Revoked {
    /// A list, or several in one file.
    pub(crate) fn read(path: &Path) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { serials: files::revoked(path)?, source: path.display().to_string() }))
    }

    /// Refuses what is on it, of all that was shown.
    pub(crate) fn check(
        &self,
        leaf: &Certificate,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Refusal> {
        let others: Vec<Certificate> =
            intermediates.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
        let shown = std::iter::once(leaf).chain(&others);
        for certificate in shown {
            if self.serials.binary_search(&certificate.serial).is_ok() {
                let (serial, source) = (hex(&certificate.serial), &self.source);
                return Err(Refusal {
                    kind: CertificateError::Revoked,
                    sentence: format!(
                        "transport: certificate serial {serial} revoked by {source} ({certificate})"
                    ),
                });
            }
        }
        Ok(())
    }
}
