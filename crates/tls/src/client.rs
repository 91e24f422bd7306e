//! The side that calls: a socket to a host becomes a stream to whom the host's name belongs.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use telemetry::Registry;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::expiry::Expiry;
use crate::loaded::{Loaded, Source};
use crate::server::{chain, explain, misfit, roots};
use crate::settings::{ClientSettings, Trust};
use crate::verifiers::Servers;
use crate::{TlsError, files, reason};

/// A connection that went out.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No name of a host.
    #[error("{0:?} is no name that a certificate could be for")]
    Host(String),
    /// Certificates do not fit, or there is nothing in common; or the other end says so.
    #[error("{0}")]
    Refused(String),
    /// The connection broke.
    #[error("the handshake was broken off")]
    Broken(#[source] io::Error),
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        Self::other(error)
    }
}

/// Who this is to others that are called, and whom of them it believes.
pub struct Client {
    loaded: Loaded<Files>,
    registry: Registry,
}

struct Files(ClientSettings);

struct Ready {
    config: Arc<ClientConfig>,
    expiries: Vec<Expiry>,
}

impl Client {
    /// Reads the files; what is wrong with them is told here.
    pub fn new(settings: ClientSettings, registry: &Registry) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { loaded: Loaded::new(Files(settings))?, registry: registry.clone() }))
    }

    /// Shows until when its own certificate is good, and warns if that is soon. To be called once a day, where the
    /// certificate is not a server's too.
    pub fn inspect(&self) {
        let side = self.loaded.source().0.side;
        for expiry in &self.loaded.current().expiries {
            expiry.show(&self.registry, side);
            expiry.warn();
        }
    }

    /// Takes a socket that is connected to `host` through the handshake. Whoever calls it sees to its time.
    pub async fn connect(&self, host: &str, socket: TcpStream) -> Result<ClientStream, ConnectError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| ConnectError::Host(host.to_owned()))?;
        let config = Arc::clone(&self.loaded.current().config);
        let (done, told) = reason::listen(TlsConnector::from(config).connect(name, socket)).await;
        done.map_err(|error| match explain(&error, told) {
            Some(text) => ConnectError::Refused(text),
            None => ConnectError::Broken(error),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.loaded.source().0).finish_non_exhaustive()
    }
}

impl Source for Files {
    type Product = Ready;

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            self.0.pair.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect();
        if let Trust::File(path) = &self.0.trust {
            files.push(path.clone());
        }
        files
    }

    fn load(&self) -> Result<Ready, TlsError> {
        let settings = &self.0;
        let provider = settings.protocol.provider();
        let algorithms = provider.signature_verification_algorithms;
        let roots = if settings.trust == Trust::Blindly { None } else { Some(roots(&settings.trust)?) };
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&settings.protocol.versions())?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Servers {
            roots,
            allowed: settings.allowed.clone(),
            host: settings.server_name.clone(),
            algorithms,
        }));
        let mut expiries = Vec::new();
        let mut config = match &settings.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let (chain, shown) = chain(pair)?;
                expiries.extend(Expiry::of_chain(&pair.cert, &shown));
                let built = builder.with_client_auth_cert(chain, files::key(&pair.key)?);
                built.map_err(|error| misfit(pair, error))?
            }
        };
        config.alpn_protocols = settings.inside.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Ready { config: Arc::new(config), expiries })
    }
}
