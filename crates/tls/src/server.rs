//! The side that is called: a socket becomes a stream with a known other end, or a line in the log.
//!
//! INVARIANT: a certificate that would not be let in now is not let in by what was agreed before: where certificates
//! are asked for, sessions are not resumed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{AlertDescription, InconsistentKeys, ServerConfig};
use telemetry::Registry;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use crate::certificate::Certificate;
use crate::crowd::Crowd;
use crate::expiry::Expiry;
use crate::loaded::{Loaded, Source};
use crate::meters::Meters;
use crate::refusals::Refusals;
use crate::settings::{Pair, ServerSettings, Trust};
use crate::trust::{Revoked, Roots};
use crate::verifiers::Clients;
use crate::{TlsError, addresses, files, reason};

/// A connection that came in.
pub type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// What the first byte of a handshake is.
const HANDSHAKE: u8 = 0x16;
/// So much is taken from whoever speaks no TLS, before the connection is closed.
const HEARD_BYTES_MAX: usize = 4096;

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Session {
    /// What is said inside.
    pub stream: ServerStream,
    /// The common name of the client's certificate, if one was asked for and verified, and its name counts.
    pub peer_name: Option<Arc<str>>,
}

/// One kind of door with its certificates; it may stand behind any number of listeners.
pub struct Server {
    loaded: Loaded<Files>,
    crowd: Crowd,
    refusals: Refusals,
    meters: Meters,
    registry: Registry,
}

struct Files(ServerSettings);

/// What is made from files.
struct Ready {
    config: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
}

/// How a handshake ended that is not done.
enum End {
    /// The other end is gone.
    Gone,
    /// It was refused, or refused us.
    Refused { server_name: String, error: String },
    /// It took too long.
    Late,
    /// Others wanted the place.
    Crowded,
}

impl Server {
    /// Reads the files; what is wrong with them is told here.
    pub fn new(settings: ServerSettings, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        files::check_privacy(&settings.pair.key);
        let side = settings.side;
        let server = Self {
            crowd: Crowd::new(settings.handshakes_max),
            refusals: Refusals::new(side),
            meters: Meters::register(registry, side),
            registry: registry.clone(),
            loaded: Loaded::new(Files(settings))?,
        };
        server.inspect();
        Ok(Arc::new(server))
    }

    /// Shows until when certificates are good, and warns of those that end soon. To be called once a day.
    pub fn inspect(&self) {
        let current = self.loaded.current();
        for expiry in &current.expiries {
            expiry.show(&self.registry, self.settings().side);
            expiry.warn();
        }
    }

    /// Takes `socket`, from which nothing was read, through its handshake. Whoever is refused gets an alert, and the
    /// log a line.
    pub async fn accept(&self, socket: TcpStream) -> Option<Session> {
        let Ok(remote) = socket.peer_addr() else {
            self.meters.gone.increment(1);
            return None;
        };
        let place = self.crowd.enter();
        let handshake = async {
            let timed = timeout(self.settings().handshake_time_max, self.shake(socket, remote)).await;
            timed.unwrap_or(Err(End::Late))
        };
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = place.lost() => Err(End::Crowded),
        };
        drop(place);
        match outcome {
            Ok(session) => {
                self.meters.done.increment(1);
                return Some(session);
            }
            Err(End::Gone) => self.meters.gone.increment(1),
            Err(End::Refused { server_name, error }) => {
                self.meters.refused.increment(1);
                self.refusals.tell(remote, &server_name, &error);
            }
            Err(End::Late) => {
                self.meters.late.increment(1);
                let time_max = self.settings().handshake_time_max;
                self.refusals.tell(
                    remote,
                    "",
                    &format!("tls: the handshake was not done within {time_max:?}"),
                );
            }
            Err(End::Crowded) => {
                self.meters.crowded.increment(1);
                let places_max = self.settings().handshakes_max;
                self.refusals.tell(
                    remote,
                    "",
                    &format!(
                        "tls: {places_max} newer handshakes are under way, and this one gave way to them"
                    ),
                );
            }
        }
        None
    }

    fn settings(&self) -> &ServerSettings {
        &self.loaded.source().0
    }

    async fn shake(&self, socket: TcpStream, remote: SocketAddr) -> Result<Session, End> {
        let refused =
            |server_name: &str, error: String| End::Refused { server_name: server_name.to_owned(), error };
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(1..) if first[0] == HANDSHAKE => {}
            Ok(1..) => {
                // As etcd, which hangs up: what is spoken here is no HTTP, whatever one might answer in. What was not
                // read would make a reset of the end.
                let _ = socket.try_read(&mut [0; HEARD_BYTES_MAX]);
                return Err(refused("", "tls: first record does not look like a TLS handshake".to_owned()));
            }
            Ok(0) | Err(_) => return Err(End::Gone),
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await;
        let start =
            start.map_err(|error| explain(&error, None).map_or(End::Gone, |text| refused("", text)))?;
        let server_name = start.client_hello().server_name().unwrap_or_default().to_owned();
        let ready = self.fresh();
        let (done, told) = reason::listen(start.into_stream(Arc::clone(&ready.config))).await;
        let stream = done
            .map_err(|error| explain(&error, told).map_or(End::Gone, |text| refused(&server_name, text)))?;
        let Some(rules) = &self.settings().rules else { return Ok(Session { stream, peer_name: None }) };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let Some(shown) = shown.map(|leaf| Certificate::parse(leaf)) else {
            return Err(refused(&server_name, "tls: client didn't provide a certificate".to_owned()));
        };
        let shown = shown.map_err(|error| refused(&server_name, error))?;
        if rules.from_own_address {
            let checked = addresses::check(&shown, remote.ip()).await;
            checked.map_err(|error| refused(&server_name, format!("{error} ({shown})")))?;
        }
        let peer_name = shown.common_name.filter(|_| rules.names_callers).map(Arc::from);
        Ok(Session { stream, peer_name })
    }

    fn fresh(&self) -> Arc<Ready> {
        let (ready, is_new) = self.loaded.look();
        if is_new {
            for expiry in &ready.expiries {
                expiry.show(&self.registry, self.settings().side);
            }
        }
        ready
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", self.settings()).finish_non_exhaustive()
    }
}

impl Source for Files {
    type Product = Ready;

    fn files(&self) -> Vec<PathBuf> {
        let Pair { cert, key } = self.0.pair.clone();
        let mut files = vec![cert, key];
        if let Some(rules) = &self.0.rules {
            files.extend(rules.crl.clone());
            if let Trust::File(path) = &rules.trust {
                files.push(path.clone());
            }
        }
        files
    }

    fn load(&self) -> Result<Ready, TlsError> {
        let settings = &self.0;
        let provider = settings.protocol.provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&settings.protocol.versions())?;
        let mut expiries = Vec::new();
        let builder = match &settings.rules {
            None => builder.with_no_client_auth(),
            Some(rules) => {
                let roots = roots(&rules.trust)?;
                if let Trust::File(path) = &rules.trust {
                    expiries.extend(Expiry::of_roots(path, roots.certificates()));
                }
                builder.with_client_cert_verifier(Arc::new(Clients {
                    hints: roots.subjects(),
                    roots,
                    revoked: rules.crl.as_deref().map(Revoked::read).transpose()?,
                    allowed: rules.allowed.clone(),
                    algorithms,
                }))
            }
        };
        let (chain, shown) = chain(&settings.pair)?;
        expiries.extend(Expiry::of_chain(&settings.pair.cert, &shown));
        let built = builder.with_single_cert(chain, files::key(&settings.pair.key)?);
        let mut config = built.map_err(|error| misfit(&settings.pair, error))?;
        config.alpn_protocols = settings.inside.iter().map(|name| name.as_bytes().to_vec()).collect();
        if settings.rules.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Ready { config: Arc::new(config), expiries })
    }
}

/// The CAs; there are none where everybody is believed.
pub(crate) fn roots(trust: &Trust) -> Result<Arc<Roots>, TlsError> {
    match trust {
        Trust::File(path) => Roots::read(path).map(Arc::new),
        Trust::System | Trust::Blindly => Roots::of_system().map(Arc::new),
    }
}

/// The certificates of a pair, and what they say.
pub(crate) fn chain(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, Vec<Certificate>), TlsError> {
    let chain = files::certificates(&pair.cert)?;
    let refused = |reason| TlsError::Certificate { path: pair.cert.clone(), reason };
    let shown = chain.iter().map(|der| Certificate::parse(der).map_err(refused)).collect::<Result<_, _>>()?;
    Ok((chain, shown))
}

/// Why rustls takes no certificate with its key.
pub(crate) fn misfit(pair: &Pair, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { cert: pair.cert.clone(), key: pair.key.clone() }
        }
        rustls::Error::InvalidCertificate(reason) => {
            TlsError::Certificate { path: pair.cert.clone(), reason: format!("{reason:?}") }
        }
        other => TlsError::Key { path: pair.key.clone(), reason: other.to_string() },
    }
}

/// Why a handshake failed, in a sentence; `None` if the other end just went away. `told` is what a verifier said.
pub(crate) fn explain(error: &io::Error, told: Option<String>) -> Option<String> {
    if told.is_some() {
        return told;
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented) => {
            Some("tls: client didn't provide a certificate".to_owned())
        }
        Some(rustls::Error::AlertReceived(alert)) => Some(format!("remote error: tls: {}", spoken(*alert))),
        Some(rustls::Error::PeerIncompatible(reason)) => {
            Some(format!("tls: both ends have no version, cipher suite or signature in common: {reason:?}"))
        }
        Some(other) => Some(format!("tls: {other}")),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => None,
            _ => Some(error.to_string()),
        },
    }
}

/// An alert as Go says it.
fn spoken(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::BadCertificate => "bad certificate".to_owned(),
        AlertDescription::UnknownCA => "unknown certificate authority".to_owned(),
        AlertDescription::CertificateExpired => "expired certificate".to_owned(),
        AlertDescription::CertificateRevoked => "revoked certificate".to_owned(),
        AlertDescription::CertificateUnknown => "unknown certificate".to_owned(),
        AlertDescription::CertificateRequired => "certificate required".to_owned(),
        AlertDescription::UnsupportedCertificate => "unsupported certificate".to_owned(),
        AlertDescription::AccessDenied => "access denied".to_owned(),
        AlertDescription::HandshakeFailure => "handshake failure".to_owned(),
        AlertDescription::ProtocolVersion => "protocol version not supported".to_owned(),
        other => format!("{other:?}"),
    }
}
