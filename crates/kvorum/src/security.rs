//! What the flags say about TLS, on the side of clients and on that of members, and what is made of it.
//!
//! INVARIANT: an https URL is never served without TLS, and never by certificates that were not asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use members::{MemberUrl, Scheme};
use telemetry::Registry;
use tls::{
    Allowed, Client, ClientSettings, Pair, Protocol, ProtocolError, Rules, Server, ServerSettings, Side,
    TlsError, Trust, Version,
};
use tracing::{info, warn};

use crate::config::{number, yes};
use crate::settings::Settings;

/// Handshakes of clients under way at once; beyond it the oldest gives way.
const CLIENT_HANDSHAKES_MAX: usize = 2048;
/// The same for members, who are few.
const PEER_HANDSHAKES_MAX: usize = 256;
/// A handshake takes no longer.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// The same between members, who are near.
const PEER_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// As etcd counts years.
const YEAR: Duration = Duration::from_hours(365 * 24);

/// Why there is no TLS. The sentences are etcd's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// An https URL for clients, and nothing to show.
    #[error("TLS key/cert (--cert-file, --key-file) must be provided for client url {0} with HTTPS scheme")]
    NothingForClients(MemberUrl),
    /// An https URL for members, and nothing to show.
    #[error(
        "cannot listen on TLS for {0}: KeyFile and CertFile are not presented; give --peer-cert-file and \
         --peer-key-file, or --peer-auto-tls"
    )]
    NothingForPeers(MemberUrl),
    /// One without the other.
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    Half {
        /// What was given, or nothing.
        key: String,
        /// What was given, or nothing.
        cert: String,
    },
    /// What is in the files.
    #[error("{flags}: {source}")]
    Files {
        /// Where they were named.
        flags: &'static str,
        /// What is wrong.
        source: TlsError,
    },
}

/// Flags that contradict themselves.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFlags {
    /// Versions and suites.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Two rules of which one may be chosen.
    #[error("AllowedCN and AllowedHostname are mutually exclusive (cn={cn:?}, hostname={hostname:?})")]
    TwoRules {
        /// Common names.
        cn: String,
        /// Hosts.
        hostname: String,
    },
    /// A certificate that would never be good.
    #[error("selfSignedCertValidity is invalid,it should be greater than 0")]
    NoValidity,
}

/// What the flags say of one side.
#[derive(Clone, Debug)]
pub struct Security {
    side: Side,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    calling: (Option<PathBuf>, Option<PathBuf>),
    trusted_ca: Option<PathBuf>,
    crl: Option<PathBuf>,
    client_cert_auth: bool,
    allowed: Allowed,
    auto: bool,
    from_own_address: bool,
    validity: Duration,
    protocol: Protocol,
}

impl Security {
    /// Of clients.
    pub(crate) fn of_clients(settings: &Settings) -> Result<Self, BadFlags> {
        let hosts = list(settings, "client-cert-allowed-hostname");
        let allowed = if hosts.is_empty() { Allowed::All } else { Allowed::Hosts(hosts) };
        Ok(Self {
            side: Side::Client,
            cert: path(settings, "cert-file"),
            key: path(settings, "key-file"),
            calling: (None, None),
            trusted_ca: path(settings, "trusted-ca-file"),
            crl: path(settings, "client-crl-file"),
            client_cert_auth: yes(settings, "client-cert-auth"),
            allowed,
            auto: yes(settings, "auto-tls"),
            from_own_address: false,
            validity: validity(settings)?,
            protocol: protocol(settings)?,
        })
    }

    /// Of members.
    pub(crate) fn of_peers(settings: &Settings) -> Result<Self, BadFlags> {
        let (names, hosts) =
            (list(settings, "peer-cert-allowed-cn"), list(settings, "peer-cert-allowed-hostname"));
        let allowed = match (names.is_empty(), hosts.is_empty()) {
            (true, true) => Allowed::All,
            (false, true) => Allowed::CommonNames(names),
            (true, false) => Allowed::Hosts(hosts),
            (false, false) => {
                return Err(BadFlags::TwoRules { cn: names.join(","), hostname: hosts.join(",") });
            }
        };
        Ok(Self {
            side: Side::Peer,
            cert: path(settings, "peer-cert-file"),
            key: path(settings, "peer-key-file"),
            calling: (path(settings, "peer-client-cert-file"), path(settings, "peer-client-key-file")),
            trusted_ca: path(settings, "peer-trusted-ca-file"),
            crl: path(settings, "peer-crl-file"),
            client_cert_auth: yes(settings, "peer-client-cert-auth"),
            allowed,
            auto: yes(settings, "peer-auto-tls"),
            from_own_address: !yes(settings, "peer-skip-client-san-verification"),
            validity: validity(settings)?,
            protocol: protocol(settings)?,
        })
    }

    /// Whether a certificate has to be made in the data folder.
    pub(crate) fn makes_its_own(&self) -> bool {
        self.auto && self.is_empty()
    }

    /// The door of those of `urls` that are https; `None` if none is.
    pub(crate) fn server(
        &self,
        urls: &[MemberUrl],
        data_dir: &Path,
        registry: &Registry,
    ) -> Result<Option<Arc<Server>>, SecurityError> {
        self.tell_of_what_is_ignored(urls);
        let Some(url) = urls.iter().find(|url| url.scheme() == Scheme::Https) else { return Ok(None) };
        let missing = || match self.side {
            Side::Client => SecurityError::NothingForClients(url.clone()),
            Side::Peer => SecurityError::NothingForPeers(url.clone()),
        };
        let pair = self.pair(urls, data_dir)?.ok_or_else(missing)?;
        let asks = self.client_cert_auth || self.trusted_ca.is_some();
        if !asks && (self.allowed != Allowed::All || self.crl.is_some()) {
            warn!(
                listener = ?self.side,
                "nobody has to show a certificate, so that neither allowed names nor a CRL keep anybody out; give the \
                 CAs of certificates by --trusted-ca-file or --peer-trusted-ca-file"
            );
        }
        let (handshakes_max, handshake_time_max, inside) = match self.side {
            Side::Client => (CLIENT_HANDSHAKES_MAX, HANDSHAKE_TIME_MAX, vec!["h2", "http/1.1"]),
            Side::Peer => (PEER_HANDSHAKES_MAX, PEER_HANDSHAKE_TIME_MAX, Vec::new()),
        };
        let settings = ServerSettings {
            side: self.side,
            pair,
            rules: asks.then(|| self.rules()),
            protocol: self.protocol.clone(),
            inside,
            handshakes_max,
            handshake_time_max,
        };
        let server = Server::new(settings, registry).map_err(|source| self.in_files(source))?;
        info!(
            listener = ?self.side, { "cert-file" } = ?self.cert, { "trusted-ca-file" } = ?self.trusted_ca,
            { "client-cert-auth" } = asks, { "crl-file" } = ?self.crl, "TLS is set up"
        );
        Ok(Some(server))
    }

    /// How other members are called. `server_name` is what has to be in their certificates instead of the host that is
    /// called.
    pub(crate) fn client(
        &self,
        urls: &[MemberUrl],
        data_dir: &Path,
        server_name: Option<String>,
        registry: &Registry,
    ) -> Result<Option<Arc<Client>>, SecurityError> {
        let own = match &self.calling {
            (None, None) => self.pair(urls, data_dir)?,
            (cert, key) => both(cert.as_ref(), key.as_ref())?,
        };
        let trust = match &self.trusted_ca {
            _ if self.makes_its_own() => Trust::Blindly,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        let believes_system = trust == Trust::System;
        let settings = ClientSettings {
            side: self.side,
            pair: own,
            trust,
            allowed: self.allowed.clone(),
            server_name: server_name.filter(|_| believes_system),
            protocol: self.protocol.clone(),
            inside: Vec::new(),
        };
        match Client::new(settings, registry) {
            Ok(client) => Ok(Some(client)),
            // It may be that no member has https; where one has, its URL says then what is missing.
            Err(TlsError::SystemRoots(_)) if self.is_empty() => Ok(None),
            Err(source) => Err(self.in_files(source)),
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            trust: self.trusted_ca.clone().map_or(Trust::System, Trust::File),
            crl: self.crl.clone(),
            allowed: self.allowed.clone(),
            from_own_address: self.from_own_address,
            names_callers: self.side == Side::Client && self.client_cert_auth,
        }
    }

    fn is_empty(&self) -> bool {
        self.cert.is_none() && self.key.is_none()
    }

    fn pair(&self, urls: &[MemberUrl], data_dir: &Path) -> Result<Option<Pair>, SecurityError> {
        if !self.makes_its_own() {
            return both(self.cert.as_ref(), self.key.as_ref());
        }
        let hosts: Vec<String> = urls.iter().map(|url| url.host().to_owned()).collect();
        let folder = match self.side {
            Side::Client => "client",
            Side::Peer => "peer",
        };
        let folder = data_dir.join("fixtures").join(folder);
        let made = tls::self_signed(&folder, &hosts, self.validity);
        made.map(Some).map_err(|source| self.in_files(source))
    }

    fn in_files(&self, source: TlsError) -> SecurityError {
        let flags = match self.side {
            Side::Client => "TLS for clients",
            Side::Peer => "TLS between members",
        };
        SecurityError::Files { flags, source }
    }

    fn tell_of_what_is_ignored(&self, urls: &[MemberUrl]) {
        if self.auto && !self.is_empty() {
            warn!(listener = ?self.side, "ignoring auto TLS since certs given");
        }
        for url in urls.iter().filter(|url| url.scheme() == Scheme::Http) {
            if !self.is_empty() {
                warn!(%url, "scheme is HTTP while key and cert files are present; ignoring key and cert files");
            }
            if self.client_cert_auth {
                let flag = match self.side {
                    Side::Client => "--client-cert-auth",
                    Side::Peer => "--peer-client-cert-auth",
                };
                warn!(%url, "scheme is HTTP while {flag} is enabled; ignoring client cert auth for this URL");
            }
        }
    }
}

fn both(cert: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Option<Pair>, SecurityError> {
    let text = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Pair { cert: cert.clone(), key: key.clone() })),
        (cert, key) => Err(SecurityError::Half { key: text(key), cert: text(cert) }),
    }
}

fn path(settings: &Settings, flag: &str) -> Option<PathBuf> {
    Some(settings.value(flag)).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn list(settings: &Settings, flag: &str) -> Vec<String> {
    let words = settings.value(flag).split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn validity(settings: &Settings) -> Result<Duration, BadFlags> {
    // A certificate's dates have four digits for the year.
    const YEARS_MAX: u64 = 1000;
    match number(settings, "self-signed-cert-validity") {
        0 => Err(BadFlags::NoValidity),
        years => Ok(YEAR * years.min(YEARS_MAX) as u32),
    }
}

fn protocol(settings: &Settings) -> Result<Protocol, BadFlags> {
    let version = |flag, default| match settings.value(flag) {
        "" => Ok(default),
        word => word.parse::<Version>(),
    };
    let (min, max) =
        (version("tls-min-version", Version::Tls12)?, version("tls-max-version", Version::Tls13)?);
    let suites = list(settings, "cipher-suites");
    let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
    Ok(Protocol::new(min, max, &suites)?)
}
