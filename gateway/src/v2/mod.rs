//! The v2 interface over HTTP: the keyspace at `/v2/keys`, and who is in the cluster.

pub(crate) mod form;
pub(crate) mod members;
pub(crate) mod stats;
pub(crate) mod users;

pub(crate) mod answer;
mod guard;
mod params;
mod people;
pub(crate) mod wait;

use std::time::Instant;

use api::{Consistency, Fault, V2Auth, V2Reply};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use types::v2::{Refusal, Watch};
use types::v2auth::Access;

use crate::body::{Body, BodyError, Upload};
use crate::gateway::{Connection, Shared};
use crate::leave::Leave;
use crate::mux;

use form::{Form, MediaType};
use params::{Operation, Wrong};

/// Answers a request for `key`, which is the path below `/v2/keys`.
pub(crate) async fn answer(
    shared: &Shared,
    key: &str,
    request: Request<()>,
    upload: &mut Upload,
    connection: &Connection,
    leave: &Leave,
) -> Response<Body> {
    if !shared.member.v2_enabled() {
        return mux::not_found();
    }
    let method = request.method().clone();
    if !matches!(method.as_str(), "HEAD" | "GET" | "PUT" | "POST" | "DELETE") {
        return mux::method_not_allowed("HEAD,GET,PUT,POST,DELETE");
    }
    // A request is understood before it is judged, and refused for what is wrong with it first.
    let headers = judged(shared).then(|| request.headers().clone());
    let parsed = match read(shared, request, upload).await {
        Ok(form) => params::parse(&method, key, &form).map(|operation| (operation, form)),
        Err(wrong) => Err(wrong),
    };
    let (operation, form) = match parsed {
        Ok(parsed) => parsed,
        Err(wrong) => return refuse(shared, wrong),
    };
    if let Some(headers) = headers {
        let access = || Access::Key {
            path: key.to_owned(),
            write: !matches!(method, Method::GET | Method::HEAD),
            recursive: params::is_recursive(&form),
        };
        match guard::permits(shared, &headers, connection, access).await {
            Ok(true) => {}
            Ok(false) => return refuse(shared, Wrong::new(110, "Insufficient credentials")),
            Err(fault) => return refuse(shared, Wrong::new(300, fault.text())),
        }
    }
    run(shared, &method, operation, leave).await
}

fn judged(shared: &Shared) -> bool {
    shared.member.v2_auth().is_some_and(V2Auth::is_enabled)
}

/// Answers for a path that is not UTF-8. v2 keys are text here; etcd takes any bytes, and shows them wrong.
pub(crate) fn or_not_found(shared: &Shared, path: &[u8]) -> Response<Body> {
    if path.starts_with(b"/v2/keys/") && shared.member.v2_enabled() {
        refuse(shared, Wrong::new(209, "the key is not UTF-8"))
    } else {
        mux::not_found()
    }
}

/// The parameters: those of the body, where the method has one, before those of the query.
async fn read(shared: &Shared, request: Request<()>, upload: &mut Upload) -> Result<Form, Wrong> {
    let (head, ()) = request.into_parts();
    let (mut form, mut wrong) = (Form::default(), None);
    if matches!(head.method, Method::PUT | Method::POST) {
        let header = head.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        let (media_type, bad_type) = MediaType::parse(header);
        wrong = bad_type.map(str::to_owned);
        if media_type == MediaType::Form {
            let (of_body, bad_body) = read_body(shared, upload).await;
            form = of_body;
            wrong = wrong.or(bad_body);
        }
    }
    let (of_query, bad_query) = Form::parse(head.uri.query().unwrap_or_default().as_bytes());
    form.append(of_query);
    match wrong.or(bad_query) {
        Some(cause) => Err(Wrong::new(210, cause)),
        None => Ok(form),
    }
}

async fn read_body(shared: &Shared, upload: &mut Upload) -> (Form, Option<String>) {
    let cause = match upload.collect(shared.limits.body_bytes_max, shared).await {
        Ok(body) => return Form::parse(&body),
        Err(BodyError::TooLarge) => "http: POST too large",
        Err(BodyError::TooSlow) => "the body did not arrive in time",
        Err(BodyError::NoRoom(_)) => Fault::TooManyRequests.text(),
        Err(BodyError::Broken) => "unexpected EOF",
    };
    (Form::default(), Some(cause.to_owned()))
}

async fn run(shared: &Shared, method: &Method, operation: Operation, leave: &Leave) -> Response<Body> {
    let name = operation.name(method);
    shared.meters.v2.received(name);
    let begun = Instant::now();
    let (result, quiet) = match operation {
        Operation::Watch(watch) => return begin_wait(shared, watch, leave).await,
        Operation::Get { get, quorum } => {
            let consistency = if quorum { Consistency::Linearizable } else { Consistency::Serializable };
            (shared.member.v2_get(get, consistency).await, false)
        }
        Operation::Write { write, ttl, quiet } => (shared.member.v2_write(write, ttl).await, quiet),
    };
    let response = respond(shared, result, quiet);
    let took = begun.elapsed();
    shared.look(name, took);
    if response.status().is_success() {
        shared.meters.v2.succeeded(name, took.as_secs_f64());
    } else {
        shared.meters.v2.failed(name, response.status());
    }
    response
}

fn respond(shared: &Shared, result: Result<V2Reply, Fault>, quiet: bool) -> Response<Body> {
    match result {
        Ok(reply) => answer::reply(shared.member.header().cluster, reply, quiet),
        // What fails beside the keyspace is told in one way, whatever it is.
        Err(fault) => refuse(shared, Wrong::new(300, fault.text())),
    }
}

fn refuse(shared: &Shared, Wrong { code, cause }: Wrong) -> Response<Body> {
    answer::refusal(shared.member.header().cluster, &Refusal { code, cause, index: 0 })
}

async fn begin_wait(shared: &Shared, watch: Watch, leave: &Leave) -> Response<Body> {
    let cluster = shared.member.header().cluster;
    match shared.member.v2_watch(watch).await {
        Ok(Ok(watching)) => wait::respond(cluster, watching, leave),
        Ok(Err(refusal)) => answer::refusal(cluster, &refusal),
        Err(fault) => refuse(shared, Wrong::new(300, fault.text())),
    }
}
