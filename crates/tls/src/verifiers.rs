//! What rustls asks during a handshake: whether the other end's certificate is good. The answer is [`crate::trust`]'s;
//! the sentence of a refusal goes to [`crate::reason`].

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::certificate::Certificate;
use crate::reason::tell;
use crate::settings::Allowed;
use crate::trust::{Refusal, Revoked, Roots, Usage};

/// Asks clients for a certificate.
pub(crate) struct Clients {
    pub(crate) roots: Arc<Roots>,
    pub(crate) revoked: Option<Arc<Revoked>>,
    pub(crate) allowed: Allowed,
    pub(crate) hints: Vec<DistinguishedName>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

/// Looks at a server's certificate.
pub(crate) struct Servers {
    /// Nobody if `None`: everybody is believed.
    pub(crate) roots: Option<Arc<Roots>>,
    pub(crate) allowed: Allowed,
    /// The host that has to be in the certificate instead of the one that is called.
    pub(crate) host: Option<String>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let certificate =
            self.roots.verify(leaf, intermediates, now, Usage::Client).map_err(|refusal| Refusal {
                sentence: format!("tls: failed to verify client certificate: {}", refusal.sentence),
                ..refusal
            })?;
        if let Some(revoked) = &self.revoked {
            revoked.check(&certificate, intermediates)?;
        }
        check_allowed(&self.allowed, &certificate, "client")
    }
}

impl Servers {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        called: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let Some(roots) = &self.roots else { return Ok(()) };
        let failed = |sentence: String| format!("tls: failed to verify certificate: {sentence}");
        let certificate = roots
            .verify(leaf, intermediates, now, Usage::Server)
            .map_err(|refusal| Refusal { sentence: failed(refusal.sentence), ..refusal })?;
        let called = self.host.clone().unwrap_or_else(|| called.to_str().into_owned());
        certificate.check_host(&called).map_err(|why| Refusal {
            kind: CertificateError::NotValidForName,
            sentence: failed(format!("{why} ({certificate})")),
        })?;
        check_allowed(&self.allowed, &certificate, "server")
    }
}

fn check_allowed(allowed: &Allowed, certificate: &Certificate, whose: &str) -> Result<(), Refusal> {
    let wanted = match allowed {
        Allowed::All => return Ok(()),
        Allowed::CommonNames(names) => {
            if names.iter().any(|name| certificate.common_name.as_ref() == Some(name)) {
                return Ok(());
            }
            format!("the common name has to be {}", names.join(" or "))
        }
        Allowed::Hosts(hosts) => {
            if hosts.iter().any(|host| certificate.check_host(host).is_ok()) {
                return Ok(());
            }
            format!("it has to be valid for {}", hosts.join(" or "))
        }
    };
    Err(Refusal {
        kind: CertificateError::ApplicationVerificationFailure,
        sentence: format!("{whose} certificate authentication failed: {wanted} ({certificate})"),
    })
}

fn told(refusal: Refusal) -> Error {
    tell(refusal.sentence);
    Error::InvalidCertificate(refusal.kind)
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map_err(told)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, server_name, now).map_err(told)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}
