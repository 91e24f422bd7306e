//! Requests of v2: whom they are asked, who asks, and what comes back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Config, Endpoint, Fault, Method, Page, PageRequest, Tls, TlsFiles};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Globals;
use super::failure::{self, arguments};
use super::shown::Form;
use crate::failure::{Failure, exit};
use crate::output::say;

/// Where members are looked for when nobody says where.
const ENDPOINTS: [&str; 2] = ["http://127.0.0.1:2379", "http://127.0.0.1:4001"];

/// What stands in a path as it is.
const OPEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What stands in a form as it is.
const FORM: &AsciiSet = &OPEN.add(b'/');

/// One call of the program.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) form: Form,
    authorization: Option<String>,
    patience: Duration,
    debug: bool,
}

/// What a request carries.
pub(super) enum Body {
    Nothing,
    Form(Vec<(&'static str, String)>),
    Json(Value),
}

/// An answer, read as far as it is JSON.
pub(super) struct Reply {
    pub(super) status: u16,
    /// Where the keyspace stands.
    pub(super) index: u64,
    pub(super) body: Value,
}

impl Wire {
    /// Finds the members.
    pub(super) async fn open(
        globals: &Globals,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let variable = |name: &str| {
            let named = |prefix: &str| environment.get(&format!("{prefix}{name}"));
            crate::environment::PREFIXES.iter().find_map(|prefix| named(prefix)).cloned()
        };
        let given = |flag: &Option<String>, name: &str| flag.clone().or_else(|| variable(name));
        let mut endpoints = globals.endpoints.clone();
        if endpoints.is_empty() {
            let listed = variable("ENDPOINTS").or_else(|| variable("ENDPOINT")).or_else(|| variable("PEERS"));
            endpoints =
                listed.map(|listed| listed.split(',').map(str::to_owned).collect()).unwrap_or_default();
        }
        if let Some(domain) =
            given(&globals.discovery_srv, "DISCOVERY_SRV").filter(|domain| !domain.is_empty())
        {
            endpoints = client::discover(&domain, "").await.map_err(|error| arguments(&error.to_string()))?;
            if !globals.insecure_discovery {
                endpoints.retain(|endpoint| endpoint.starts_with("https"));
            }
        }
        if endpoints.is_empty() {
            endpoints = ENDPOINTS.map(str::to_owned).to_vec();
        }
        let file = |flag: &Option<String>, name| {
            given(flag, name).filter(|file| !file.is_empty()).map(PathBuf::from)
        };
        let pair = file(&globals.cert_file, "CERT_FILE").zip(file(&globals.key_file, "KEY_FILE"));
        let files = TlsFiles { cacert: file(&globals.ca_file, "CA_FILE"), pair, blindly: false };
        let mut wire = Self {
            client: Client::new(config(&endpoints, &files, globals)?),
            form: Form::named(&globals.output),
            authorization: None,
            patience: globals.timeout,
            debug: globals.debug,
        };
        if !globals.no_sync {
            let members =
                wire.members().await.map_err(|fault| failure::silence(&fault, failure::CONNECTION))?;
            let urls: Vec<String> = members.iter().flat_map(|member| texts(&member["clientURLs"])).collect();
            if !urls.is_empty() {
                wire.client = Client::new(config(&urls, &files, globals)?);
            }
        }
        if wire.debug {
            let urls: Vec<String> = wire.client.endpoints().map(ToString::to_string).collect();
            say(&format!("Cluster-Endpoints: {}", urls.join(", ")));
        }
        let user = given(&globals.username, "USERNAME").filter(|user| !user.is_empty());
        wire.authorization =
            user.map(|user| basic(&user, given(&globals.password, "PASSWORD"))).transpose()?;
        Ok(wire)
    }

    /// Those that the cluster knows; empty where somebody answers who is none of them.
    pub(super) async fn members(&self) -> Result<Vec<Value>, Fault> {
        let page = self.client.exchange(&PageRequest::get("/v2/members"), Some(self.patience)).await?;
        let body: Value = serde_json::from_slice(&page.body).unwrap_or_default();
        Ok(body["members"].as_array().cloned().unwrap_or_default())
    }

    /// Asks, and waits as long as one request may take.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Reply, Failure> {
        self.ask_within(method, path, body, Some(self.patience)).await
    }

    /// Asks and waits as long as that; without a limit where there is none.
    pub(super) async fn ask_within(
        &self,
        method: Method,
        path: &str,
        body: Body,
        patience: Option<Duration>,
    ) -> Result<Reply, Failure> {
        let (content_type, bytes) = match body {
            Body::Nothing => (None, Vec::new()),
            Body::Form(fields) => (Some("application/x-www-form-urlencoded"), form(&fields).into_bytes()),
            Body::Json(value) => (Some("application/json"), value.to_string().into_bytes()),
        };
        self.tell(&method, path);
        let request = PageRequest {
            method,
            path: path.to_owned(),
            authorization: self.authorization.clone(),
            content_type,
            body: bytes.into(),
        };
        let asked = self.client.exchange(&request, patience).await;
        Ok(read(&asked.map_err(|fault| failure::silence(&fault, failure::SERVER))?))
    }

    /// What another tool would say to ask the same; never what it carries, since that may be a password.
    fn tell(&self, method: &Method, path: &str) {
        if self.debug {
            let at = self.client.endpoints().next().map(ToString::to_string).unwrap_or_default();
            say(&format!("cURL Command: curl -X {method} {at}{path}"));
        }
    }
}

fn read(page: &Page) -> Reply {
    let index = page.headers.get("x-etcd-index").and_then(|index| index.to_str().ok()?.parse().ok());
    Reply {
        status: page.status,
        index: index.unwrap_or_default(),
        body: serde_json::from_slice(&page.body).unwrap_or_default(),
    }
}

fn config(endpoints: &[String], files: &TlsFiles, globals: &Globals) -> Result<Config, Failure> {
    let endpoints: Vec<Endpoint> = endpoints
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| Endpoint::parse(text))
        .collect::<Result<_, _>>()
        .map_err(|error| arguments(&error.to_string()))?;
    if endpoints.is_empty() {
        return Err(arguments("no endpoint is given"));
    }
    let prefers_tls = *files != TlsFiles::default();
    let needs_tls = endpoints.iter().any(|endpoint| endpoint.is_secure(prefers_tls));
    let refused =
        |error: &dyn std::error::Error| Failure::new(exit::ERROR, format!(" {}", stdx::chain(error)));
    let tls = if needs_tls { Some(Tls::new(files).map_err(|error| refused(&error))?) } else { None };
    Ok(Config { tls, prefers_tls, endpoints, dial_timeout: globals.timeout, ..Config::default() })
}

fn basic(user: &str, password: Option<String>) -> Result<String, Failure> {
    let told = match (user.split_once(':'), password) {
        (Some(_), _) => user.to_owned(),
        (None, Some(password)) => format!("{user}:{password}"),
        (None, None) => format!("{user}:{}", crate::verbs::password::ask("Password: ")?),
    };
    Ok(format!("Basic {}", STANDARD.encode(told)))
}

fn form(fields: &[(&'static str, String)]) -> String {
    let field = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, FORM));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

/// The path of a key with a query.
pub(super) fn key_path(key: &str, query: &[(&'static str, String)]) -> String {
    let path = utf8_percent_encode(key.trim_start_matches('/'), OPEN);
    let query = form(query);
    if query.is_empty() { format!("/v2/keys/{path}") } else { format!("/v2/keys/{path}?{query}") }
}

/// The path of something with a name.
pub(super) fn named_path(folder: &str, name: &str) -> String {
    format!("{folder}/{}", utf8_percent_encode(name, FORM))
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
