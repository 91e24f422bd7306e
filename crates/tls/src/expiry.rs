//! Until when certificates are good: in a metric, and in the log from thirty days before their end on.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use telemetry::Registry;

use crate::certificate::{Certificate, moment};
use crate::files;
use crate::{Side, TlsError};

const NAME: &str = "kvorum_tls_certificate_not_after_seconds";
const HELP: &str = "When the first certificate of a file expires, in seconds since 1970; of CAs the first one that has \
                    not expired yet.";
const DAY_SECONDS: i64 = 24 * 3600;
/// From so long before the end on, it is warned.
const WARNING_SECONDS: i64 = 30 * DAY_SECONDS;

/// A certificate's end.
#[derive(Clone, Debug)]
pub(crate) struct Expiry {
    /// `cert` or `trusted-ca`.
    what: &'static str,
    path: PathBuf,
    subject: String,
    not_after: i64,
}

impl Expiry {
    /// The first of those that a member shows itself.
    pub(crate) fn of_chain<'a>(
        path: &Path,
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Option<Self> {
        let first = certificates.into_iter().min_by_key(|certificate| certificate.not_after)?;
        Some(Self::new("cert", path, first))
    }

    /// The first of CAs; a bundle may hold some that nobody uses any more.
    pub(crate) fn of_roots<'a>(
        path: &Path,
        certificates: impl IntoIterator<Item = &'a Certificate>,
    ) -> Option<Self> {
        let now = now();
        let rank = |certificate: &&Certificate| (certificate.not_after <= now, certificate.not_after);
        let first = certificates.into_iter().min_by_key(rank)?;
        Some(Self::new("trusted-ca", path, first))
    }

    fn new(what: &'static str, path: &Path, certificate: &Certificate) -> Self {
        let (subject, not_after) = (certificate.subject.clone(), certificate.not_after);
        Self { what, path: path.to_owned(), subject, not_after }
    }

    /// Into the metric.
    pub(crate) fn show(&self, registry: &Registry, side: Side) {
        let gauge = registry.gauge(NAME, HELP, &[("listener", side.label()), ("file", self.what)]);
        gauge.set(self.not_after as f64);
    }

    /// Into the log, if it is near.
    pub(crate) fn warn(&self) {
        let left = self.not_after - now();
        let (path, subject) = (self.path.display(), &self.subject);
        if left < 0 {
            tracing::error!(%path, subject, not_after = moment(self.not_after), "a certificate has expired");
        } else if left < WARNING_SECONDS {
            let days = left / DAY_SECONDS;
            tracing::warn!(
                %path, subject, not_after = moment(self.not_after), { "days-left" } = days,
                "a certificate expires soon; put a new one in its place, which is taken up without a restart"
            );
        }
    }
}

/// Until when each certificate in a file is good: its subject, and seconds since 1970.
pub fn not_after(path: &Path) -> Result<Vec<(String, i64)>, TlsError> {
    let certificates = files::certificates(path)?;
    let parsed = certificates.iter().filter_map(|der| Certificate::parse(der).ok());
    Ok(parsed.map(|certificate| (certificate.subject, certificate.not_after)).collect())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
