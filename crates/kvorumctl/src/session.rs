//! What a verb works with: the client, how long it may take, and where its answer goes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use client::{Call, Client, Config, Credentials, Endpoint, Tls, TlsFiles};

use crate::command_line::Globals;
use crate::environment;
use crate::failure::{Done, Failure, exit};
use crate::output::{Output, Shown, say};

/// How long a short command may take unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call of the program.
#[derive(Debug)]
pub(crate) struct Session {
    /// As whom it was called.
    pub(crate) name: &'static str,
    pub(crate) globals: Globals,
    environment: BTreeMap<String, String>,
    /// The flags that were given on the command line and that every verb knows.
    pub(crate) given: BTreeMap<String, String>,
    pub(crate) client: Client,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) async fn open(
        name: &'static str,
        globals: &Globals,
        environment: BTreeMap<String, String>,
        given: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let output = Output::new(&globals.write_out, globals.hex)?;
        let discovered = discovered(globals).await?;
        let endpoints = discovered.as_ref().unwrap_or(&globals.endpoints);
        let config = config(globals, endpoints.iter().map(String::as_str))?;
        if globals.debug {
            config.endpoints.iter().for_each(|endpoint| say(&format!("endpoint: {endpoint}")));
        }
        Ok(Self { name, globals: globals.clone(), environment, given, client: Client::new(config), output })
    }

    /// Asks whichever endpoint answers.
    pub(crate) async fn call<C: Call>(&self, request: C) -> Result<C::Reply, Failure> {
        Ok(self.client.call(request, self.patience()).await?)
    }

    /// How long a command may take that should be short; nothing when there is no limit.
    pub(crate) fn patience(&self) -> Option<Duration> {
        Some(self.globals.command_timeout.unwrap_or(PATIENCE)).filter(|patience| !patience.is_zero())
    }

    /// How long a command may take that may be long.
    pub(crate) fn long_patience(&self) -> Option<Duration> {
        self.globals.command_timeout.filter(|patience| !patience.is_zero())
    }

    /// A variable of this program; `KVORUMCTL_X` is stronger than `ETCDCTL_X`.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let named = |prefix: &str| self.environment.get(&format!("{prefix}{name}"));
        environment::PREFIXES.iter().find_map(|prefix| named(prefix)).map(String::as_str)
    }

    /// Where contexts are kept.
    pub(crate) fn contexts_path(&self) -> Option<PathBuf> {
        crate::verbs::context::path(&self.environment)
    }

    /// Shows an answer in the form that was asked for.
    pub(crate) fn show(&self, shown: &dyn Shown) -> Done {
        self.output.show(shown)
    }
}

/// What the flags say of connections.
pub(crate) fn config<'a>(
    globals: &Globals,
    endpoints: impl Iterator<Item = &'a str>,
) -> Result<Config, Failure> {
    let endpoints: Vec<Endpoint> = endpoints
        .filter(|text| !text.is_empty())
        .map(Endpoint::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::new(exit::BAD_ARGUMENTS, error.to_string()))?;
    if endpoints.is_empty() {
        return Err(Failure::new(exit::BAD_ARGUMENTS, "no endpoint is given"));
    }
    let files = tls_files(globals)?;
    let prefers_tls = files != TlsFiles::default() || !globals.insecure_transport;
    // The files are read only where somebody needs them.
    let needs_tls = endpoints.iter().any(|endpoint| endpoint.is_secure(prefers_tls));
    let tls = if needs_tls { Some(Tls::new(&files).map_err(|error| refused(&error))?) } else { None };
    Ok(Config {
        tls,
        prefers_tls,
        endpoints,
        dial_timeout: globals.dial_timeout,
        keepalive_time: globals.keepalive_time,
        keepalive_timeout: globals.keepalive_timeout,
        credentials: credentials(globals)?,
        request_bytes_max: globals.max_request_bytes,
        reply_bytes_max: globals.max_recv_bytes,
        token: globals.auth_jwt_token.clone().filter(|token| !token.is_empty()),
    })
}

/// The endpoints of a domain, where one is given. One that promises no TLS has to be allowed.
async fn discovered(globals: &Globals) -> Result<Option<Vec<String>>, Failure> {
    let Some(domain) = globals.discovery_srv.as_deref().filter(|domain| !domain.is_empty()) else {
        return Ok(None);
    };
    let suffix = globals.discovery_srv_name.as_deref().unwrap_or_default();
    let mut found = client::discover(domain, suffix)
        .await
        .map_err(|error| Failure::new(exit::BAD_CONNECTION, error.to_string()))?;
    if !globals.insecure_discovery {
        found.retain(|endpoint| endpoint.starts_with("https"));
    }
    Ok(Some(found))
}

/// Certificates by the flags, which may not be empty.
fn tls_files(globals: &Globals) -> Result<TlsFiles, Failure> {
    let file = |flag: &str, value: &Option<String>| match value.as_deref() {
        Some("") => Err(Failure::arguments(format!("empty string is passed to --{flag} option"))),
        value => Ok(value.map(PathBuf::from)),
    };
    let (cert, key) = (file("cert", &globals.cert)?, file("key", &globals.key)?);
    let cacert = file("cacert", &globals.cacert)?;
    let shown =
        |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let pair = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (cert, key) => {
            let (cert, key) = (shown(&cert), shown(&key));
            let text = format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]");
            return Err(Failure::new(exit::BAD_CONNECTION, text));
        }
    };
    Ok(TlsFiles { cacert, pair, blindly: globals.insecure_skip_tls_verify })
}

/// What is wrong with a certificate, and where.
fn refused(error: &dyn std::error::Error) -> Failure {
    Failure::new(exit::BAD_CONNECTION, stdx::chain(error))
}

/// Who speaks; a password that is missing is asked for.
fn credentials(globals: &Globals) -> Result<Option<Credentials>, Failure> {
    let Some(user) = globals.user.as_deref().filter(|user| !user.is_empty()) else { return Ok(None) };
    let (name, password) = match (&globals.password, user.split_once(':')) {
        (Some(password), _) => (user, password.clone()),
        (None, Some((name, password))) => (name, password.to_owned()),
        (None, None) => (user, crate::verbs::password::ask("Password: ")?),
    };
    Ok(Some(Credentials { name: name.to_owned(), password }))
}
