//! Certificates for people who have no workshop of their own: a CA, and what it signs for members and clients.
//!
//! INVARIANT: a file that is there is never written over; what was made by an earlier run is kept and used.
//! INVARIANT: a key is never readable by others, not for a moment either.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::TlsError;
use crate::certificate::Certificate;
use crate::files;
use crate::settings::Pair;

/// What the CA is called. It is not known by this but by its key.
const AUTHORITY: &str = "Kvorum CA";
/// A clock of another machine may be so far behind.
const GRACE: time::Duration = time::Duration::minutes(5);

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where; made when it is not there.
    pub folder: PathBuf,
    /// Every name and address by which members are called.
    pub hosts: Vec<String>,
    /// The common name of the client's certificate.
    pub client: String,
    /// How long certificates are good.
    pub validity: Duration,
    /// How long the CA is good.
    pub authority_validity: Duration,
}

/// What lies in the folder now.
#[derive(Clone, Debug)]
pub struct Stock {
    /// The CA.
    pub authority: Made,
    /// For the port of clients.
    pub server: Made,
    /// For the port of members, and for calling it.
    pub peer: Made,
    /// For clients.
    pub client: Made,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Made {
    /// The files.
    pub pair: Pair,
    /// It was there already.
    pub is_old: bool,
}

/// Whom a certificate is for.
#[derive(Clone, Copy)]
enum Purpose {
    Server,
    Peer,
    Client,
}

/// Makes what is missing in the folder. Nothing is made when a part of a pair is missing, or the CA that is there is of
/// another workshop.
pub fn workshop(order: &Order) -> Result<Stock, TlsError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&order.folder);
    made.map_err(|source| TlsError::Write { path: order.folder.clone(), source })?;
    let place = |name: &str| place(&order.folder, name);
    let (authority, server, peer, client) =
        (place("ca")?, place("server")?, place("peer")?, place("client")?);
    let issuer =
        if authority.is_old { found(&authority.pair, order)? } else { begun(&authority.pair, order)? };
    let work = [(&server, Purpose::Server), (&peer, Purpose::Peer), (&client, Purpose::Client)];
    for (made, purpose) in work.into_iter().filter(|(made, _)| !made.is_old) {
        let refused = refusal(&made.pair);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused)?;
        let params = params(order, purpose).map_err(refused)?;
        let signed = params.signed_by(&key, &issuer).map_err(refused)?;
        store(&made.pair, &key, &signed.pem())?;
    }
    Ok(Stock { authority, server, peer, client })
}

/// Where a pair is or will be; one that is there in half is nobody's to complete.
fn place(folder: &Path, name: &str) -> Result<Made, TlsError> {
    let pair = Pair { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}-key.pem")) };
    match (pair.cert.exists(), pair.key.exists()) {
        (false, false) => Ok(Made { pair, is_old: false }),
        (true, true) => Ok(Made { pair, is_old: true }),
        (has_cert, _) => {
            let path = if has_cert { pair.key } else { pair.cert };
            let source = std::io::Error::other("the other half of the pair is there, and this is not");
            Err(TlsError::Read { path, source })
        }
    }
}

/// A new CA.
fn begun(pair: &Pair, order: &Order) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let refused = refusal(pair);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(refused)?;
    let params = authority(order);
    let certificate = params.self_signed(&key).map_err(refused)?;
    store(pair, &key, &certificate.pem())?;
    Ok(Issuer::new(params, key))
}

/// The CA that an earlier run made.
fn found(pair: &Pair, order: &Order) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let refused = refusal(pair);
    let unfit = |reason: String| TlsError::Certificate { path: pair.cert.clone(), reason };
    let der = files::certificates(&pair.cert)?.into_iter().next();
    let shown = der.as_ref().and_then(|der| Certificate::parse(der).ok());
    let shown = shown.ok_or_else(|| unfit("it cannot be taken apart".to_owned()))?;
    if shown.common_name.as_deref() != Some(AUTHORITY) || shown.subject != shown.issuer {
        return Err(unfit(format!(
            "it is of {} and was not made here; sign with its own tool",
            shown.subject
        )));
    }
    let text =
        fs::read_to_string(&pair.key).map_err(|source| TlsError::Read { path: pair.key.clone(), source })?;
    let key = KeyPair::from_pem(&text).map_err(refused)?;
    let fits = der.is_some_and(|der| {
        let public = key.public_key_raw();
        der.windows(public.len()).any(|window| window == public)
    });
    if !fits {
        return Err(TlsError::Mismatch { cert: pair.cert.clone(), key: pair.key.clone() });
    }
    Ok(Issuer::new(authority(order), key))
}

fn authority(order: &Order) -> CertificateParams {
    let mut params = lasting(order.authority_validity);
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(order: &Order, purpose: Purpose) -> Result<CertificateParams, rcgen::Error> {
    let mut params = lasting(order.validity);
    let (name, usages) = match purpose {
        Purpose::Server => ("server", vec![ExtendedKeyUsagePurpose::ServerAuth]),
        Purpose::Peer => {
            ("peer", vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
        }
        Purpose::Client => (order.client.as_str(), vec![ExtendedKeyUsagePurpose::ClientAuth]),
    };
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    params.use_authority_key_identifier_extension = true;
    let local = ["localhost", "127.0.0.1", "::1"];
    let hosts: Vec<&str> = match purpose {
        // Whoever is on the machine itself calls it so.
        Purpose::Server => order.hosts.iter().map(String::as_str).chain(local).collect(),
        Purpose::Peer => order.hosts.iter().map(String::as_str).collect(),
        Purpose::Client => Vec::new(),
    };
    for host in hosts {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    Ok(params)
}

/// From now on, for so long, of no name yet.
fn lasting(validity: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = now - GRACE;
    params.not_after = now.saturating_add(time::Duration::seconds(validity.as_secs() as i64));
    params
}

fn refusal(pair: &Pair) -> impl Fn(rcgen::Error) -> TlsError + Copy + '_ {
    |error| TlsError::Key { path: pair.key.clone(), reason: error.to_string() }
}

/// The key first: a certificate without its key would be of no use to anybody.
fn store(pair: &Pair, key: &KeyPair, certificate: &str) -> Result<(), TlsError> {
    write(&pair.key, 0o600, &key.serialize_pem())?;
    write(&pair.cert, 0o644, certificate)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| TlsError::Write { path: path.to_owned(), source })
}
