//! The plain HTTP endpoints: version, health, metrics, and what describes the JSON interface.

use std::sync::LazyLock;

use api::{Consistency, Member};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::body::Body;
use crate::gateway::Shared;
use crate::mux::{self, TEXT};
use crate::openapi;
use crate::v2::form::Form;
use crate::variables;

/// Answers a request for a path that is none of a keyspace's.
pub(crate) async fn answer(shared: &Shared, path: &str, request: &Request<()>) -> Response<Body> {
    let Some(endpoint) = Endpoint::find(path) else { return mux::not_found() };
    if request.method() != Method::GET && !matches!(endpoint, Endpoint::Metrics) {
        return mux::method_not_allowed("GET");
    }
    let query = Form::of_query(request.uri());
    match endpoint {
        Endpoint::Metrics => metrics(shared.member.as_ref()),
        Endpoint::Version => version(),
        Endpoint::Variables => variables::answer(shared.member.as_ref()),
        Endpoint::Health => health(shared, &query).await,
        Endpoint::Description(text) => description(text),
        Endpoint::Checks(checks) => run(shared.member.as_ref(), checks, &query).await,
    }
}

#[derive(Clone, Copy)]
enum Endpoint {
    Metrics,
    Version,
    Variables,
    Health,
    Description(&'static LazyLock<Bytes>),
    Checks(&'static [Check]),
}

impl Endpoint {
    fn find(path: &str) -> Option<Self> {
        Some(match path {
            "/metrics" => Self::Metrics,
            "/version" => Self::Version,
            "/debug/vars" => Self::Variables,
            "/health" => Self::Health,
            "/openapi.json" => Self::Description(&openapi::OPENAPI),
            "/swagger.json" => Self::Description(&openapi::SWAGGER),
            "/livez" | "/livez/serializable_read" | "/readyz/serializable_read" => {
                Self::Checks(&[Check::SerializableRead])
            }
            "/readyz" => Self::Checks(&[
                Check::DataCorruption,
                Check::SerializableRead,
                Check::LinearizableRead,
                Check::NonLearner,
            ]),
            "/readyz/data_corruption" => Self::Checks(&[Check::DataCorruption]),
            "/readyz/linearizable_read" => Self::Checks(&[Check::LinearizableRead]),
            "/readyz/non_learner" => Self::Checks(&[Check::NonLearner]),
            _ => return None,
        })
    }
}

fn metrics(member: &dyn Member) -> Response<Body> {
    let mut response = Response::new(Body::of(member.metrics()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

fn version() -> Response<Body> {
    let (server, cluster, storage) = (api::level::SERVER, api::level::CLUSTER, api::level::STORAGE);
    let body = format!(r#"{{"etcdserver":"{server}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
    let mut response = Response::new(Body::of(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn description(text: &Bytes) -> Response<Body> {
    let mut response = Response::new(Body::of(text.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `/health`: alarms that the query does not exclude, then the member's own word.
async fn health(shared: &Shared, query: &Form) -> Response<Body> {
    let serializable = query.first("serializable").is_some_and(|value| value == "true");
    let consistency = if serializable { Consistency::Serializable } else { Consistency::Linearizable };
    let result = match alarm(shared.member.as_ref(), query).await {
        Some(reason) => Err(reason),
        None => shared.member.health(consistency).await,
    };
    match result {
        Ok(()) => {
            shared.meters.health_success.increment(1);
            let mut response = Response::new(Body::of(r#"{"health":"true","reason":""}"#));
            response.headers_mut().insert(CONTENT_TYPE, TEXT);
            response
        }
        Err(reason) => {
            shared.meters.health_failures.increment(1);
            let reason = serde_json::Value::from(reason);
            let body = format!(r#"{{"health":"false","reason":{reason}}}"#);
            mux::error(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

/// The first alarm that is raised and not excluded, as `/health` tells it. Alarms are among the errors of the
/// member's status, in the form `memberID:1 alarm:NOSPACE `.
async fn alarm(member: &dyn Member, query: &Form) -> Option<String> {
    let errors = member.status().await.ok()?.body.errors;
    let alarms = errors.iter().filter_map(|error| error.split("alarm:").nth(1)).map(str::trim);
    let mut raised = alarms.filter(|alarm| !query.all("exclude").any(|excluded| excluded == *alarm));
    raised.next().map(|alarm| match alarm {
        "NOSPACE" | "CORRUPT" => format!("ALARM {alarm}"),
        _ => "ALARM UNKNOWN".to_owned(),
    })
}

/// One of the checks behind `/livez` and `/readyz`.
#[derive(Clone, Copy)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, member: &dyn Member) -> Result<(), String> {
        match self {
            Self::SerializableRead => member.health(Consistency::Serializable).await,
            Self::LinearizableRead => member.health(Consistency::Linearizable).await,
            Self::DataCorruption => {
                let errors = member.status().await.map_err(|fault| fault.to_string())?.body.errors;
                let corrupt = errors.iter().any(|error| error.contains("alarm:CORRUPT"));
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Self::NonLearner => {
                let status = member.status().await.map_err(|fault| fault.to_string())?.body;
                if status.learner { Err("not supported for learner".to_owned()) } else { Ok(()) }
            }
        }
    }
}

/// Runs checks; `exclude` leaves some out, `verbose` shows each.
async fn run(member: &dyn Member, checks: &[Check], query: &Form) -> Response<Body> {
    let mut lines = String::new();
    let mut failed = false;
    for check in checks {
        let name = check.name();
        if query.all("exclude").any(|excluded| excluded == name) {
            lines += &line("[+]", name, " excluded: ok");
            continue;
        }
        match check.run(member).await {
            Ok(()) => lines += &line("[+]", name, " ok"),
            Err(reason) => {
                failed = true;
                lines += &line("[-]", name, &format!(" failed: {reason}"));
            }
        }
    }
    if failed {
        return mux::error(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    let shown = if query.first("verbose").is_some() { lines } else { String::new() };
    let mut response = Response::new(Body::of(shown + "ok\n"));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

fn line(sign: &str, check: &str, verdict: &str) -> String {
    format!("{sign}{check}{verdict}\n")
}
