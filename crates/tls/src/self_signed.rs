//! A certificate that a member makes for itself, for `--auto-tls`: what passes is encrypted, and nobody is known by it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::TlsError;
use crate::certificate::Certificate;
use crate::files;
use crate::settings::Pair;

/// The pair in `folder`, `cert.pem` and `key.pem` as etcd leaves them there; made for `hosts` if there is none, or
/// if the one that is there has expired.
pub fn self_signed(folder: &Path, hosts: &[String], validity: Duration) -> Result<Pair, TlsError> {
    let pair = Pair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    let now = OffsetDateTime::now_utc();
    if pair.cert.exists() && pair.key.exists() {
        let first = files::certificates(&pair.cert)?.into_iter().next();
        let not_after = first.and_then(|der| Certificate::parse(&der).ok()).map(|parsed| parsed.not_after);
        if not_after.is_some_and(|not_after| not_after > now.unix_timestamp()) {
            return Ok(pair);
        }
        tracing::warn!(path = %pair.cert.display(), "the self-signed certificate has expired; making a new one");
    }
    let refused = |error: rcgen::Error| TlsError::Key { path: pair.key.clone(), reason: error.to_string() };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).map_err(refused)?;
    let params = params(hosts, now, validity).map_err(refused)?;
    let certificate = params.self_signed(&key).map_err(refused)?;
    let failed = |path: &Path, source| TlsError::Write { path: path.to_owned(), source };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| failed(folder, source))?;
    write(&pair.key, 0o600, &key.serialize_pem()).map_err(|source| failed(&pair.key, source))?;
    write(&pair.cert, 0o644, &certificate.pem()).map_err(|source| failed(&pair.cert, source))?;
    Ok(pair)
}

fn params(
    hosts: &[String],
    now: OffsetDateTime,
    validity: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.not_before = now;
    params.not_after = now.saturating_add(time::Duration::seconds(validity.as_secs() as i64));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    Ok(params)
}

/// Writes a file that nobody ever sees half of, or with wider rights.
fn write(path: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let draft = path.with_extension("pem.new");
    // One that a crash left behind may have other rights.
    drop(fs::remove_file(&draft));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}
