//! What a v2 request means: its parameters, checked in etcd's order, and the operation that they select.

use api::V2Ttl;
use bytes::Bytes;
use http::Method;
use types::v2::{Condition, Expiry, Get, Path, Watch, Write};

use crate::v2::form::Form;

/// What is wrong with a request: a code of v2 and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: u16,
    pub(crate) cause: String,
}

impl Wrong {
    pub(crate) fn new(code: u16, cause: impl Into<String>) -> Self {
        Self { code, cause: cause.into() }
    }
}

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A read; through the log when `quorum` was asked for.
    Get { get: Get, quorum: bool },
    /// A wait.
    Watch(Watch),
    /// A write.
    Write { write: Write, ttl: V2Ttl, quiet: bool },
}

impl Operation {
    /// The method, as metrics call it.
    pub(crate) fn name(&self, method: &Method) -> &'static str {
        match (self, method.as_str()) {
            (Self::Get { quorum: true, .. }, _) => "QGET",
            (_, "PUT") => "PUT",
            (_, "POST") => "POST",
            (_, "DELETE") => "DELETE",
            (_, "HEAD") => "HEAD",
            _ => "GET",
        }
    }
}

/// The parameters, after all checks.
#[allow(clippy::struct_excessive_bools, reason = "each is a parameter of the interface")]
struct Params {
    prev_index: u64,
    wait_index: Option<u64>,
    prev_value: Bytes,
    prev_exist: Option<bool>,
    value: Bytes,
    ttl: V2Ttl,
    recursive: bool,
    sorted: bool,
    wait: bool,
    dir: bool,
    quorum: bool,
    stream: bool,
    refresh: bool,
    quiet: bool,
}

/// Understands a request on `key`.
pub(crate) fn parse(method: &Method, key: &str, form: &Form) -> Result<Operation, Wrong> {
    let params = check(method, form)?;
    let path = Path::clean(key);
    Ok(match method.as_str() {
        "PUT" => write(&params, |params| put(path, params)),
        "POST" => write(&params, |params| create(path, params, true)),
        "DELETE" => write(&params, |params| delete(path, params)),
        method => {
            let quorum = params.quorum && method == "GET";
            if params.wait && !quorum {
                let (recursive, stream, since) = (params.recursive, params.stream, params.wait_index);
                return Ok(Operation::Watch(Watch { path, recursive, stream, since }));
            }
            let get = Get { path, recursive: params.recursive, sorted: params.sorted };
            Operation::Get { get, quorum }
        }
    })
}

/// The order of these checks is etcd's: the first that fails is the one that is told.
fn check(method: &Method, form: &Form) -> Result<Params, Wrong> {
    let value = form.first("value").cloned().unwrap_or_default();
    let prev_index = number(form, "prevIndex", 203)?.unwrap_or(0);
    // Zero is no index.
    let wait_index = number(form, "waitIndex", 203)?.filter(|index| *index > 0);
    let recursive = flag(form, "recursive")?;
    let sorted = flag(form, "sorted")?;
    let wait = flag(form, "wait")?;
    let dir = flag(form, "dir")?;
    let quorum = flag(form, "quorum")?;
    let stream = flag(form, "stream")?;
    if wait && method != Method::GET {
        return Err(Wrong::new(209, "\"wait\" can only be used with GET requests"));
    }
    let prev_value = form.first("prevValue").cloned();
    if prev_value.as_ref().is_some_and(Bytes::is_empty) {
        return Err(Wrong::new(201, "\"prevValue\" cannot be empty"));
    }
    let quiet = flag(form, "noValueOnSuccess")?;
    let seconds = match form.first("ttl") {
        Some(text) if !text.is_empty() => number(form, "ttl", 202)?,
        _ => None,
    };
    let invalid = |name: &str| Wrong::new(209, format!("invalid value for {name}"));
    let optional = |name: &str| match form.first(name) {
        None => Ok(None),
        Some(text) => boolean(text).map(Some).ok_or_else(|| invalid(name)),
    };
    let prev_exist = optional("prevExist")?;
    let refresh = optional("refresh")?.unwrap_or(false);
    if refresh && !value.is_empty() {
        return Err(Wrong::new(211, "A value was provided on a refresh"));
    }
    if refresh && seconds.is_none() {
        return Err(Wrong::new(212, "No TTL value set"));
    }
    let prev_value = prev_value.unwrap_or_default();
    let ttl = seconds.map_or(V2Ttl::Never, V2Ttl::Seconds);
    Ok(Params {
        prev_index,
        wait_index,
        prev_value,
        prev_exist,
        value,
        ttl,
        recursive,
        sorted,
        wait,
        dir,
        quorum,
        stream,
        refresh,
        quiet,
    })
}

/// Whether a request that was understood asks for all that is below its key too.
pub(crate) fn is_recursive(form: &Form) -> bool {
    flag(form, "recursive").unwrap_or(false)
}

fn number(form: &Form, name: &str, code: u16) -> Result<Option<u64>, Wrong> {
    let Some(text) = form.first(name) else { return Ok(None) };
    // Go takes no sign here, and Rust would take a plus.
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| Wrong::new(code, format!("invalid value for \"{name}\"")))
}

fn flag(form: &Form, name: &str) -> Result<bool, Wrong> {
    let Some(text) = form.first(name) else { return Ok(false) };
    boolean(text).ok_or_else(|| Wrong::new(209, format!("invalid value for \"{name}\"")))
}

/// The words that Go takes for truth values.
fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Some(false),
        _ => None,
    }
}

fn write(params: &Params, select: impl FnOnce(&Params) -> Write) -> Operation {
    Operation::Write { write: select(params), ttl: params.ttl, quiet: params.quiet }
}

fn condition(params: &Params) -> Condition {
    Condition {
        prev_value: (!params.prev_value.is_empty()).then(|| params.prev_value.clone()),
        prev_index: (params.prev_index > 0).then_some(params.prev_index),
    }
}

/// `prevExist=false` goes before every other condition.
fn put(path: Path, params: &Params) -> Write {
    let (condition, value, refresh) = (condition(params), params.value.clone(), params.refresh);
    // The member's clock decides about the time.
    let expiry = Expiry::Never;
    match params.prev_exist {
        Some(false) => create(path, params, false),
        _ if !condition.is_empty() => Write::CompareAndSwap { path, condition, value, expiry, refresh },
        Some(true) => Write::Update { path, value, expiry, refresh },
        None => Write::Set { path, value, dir: params.dir, expiry, refresh },
    }
}

fn create(path: Path, params: &Params, in_order: bool) -> Write {
    let (value, dir) = (params.value.clone(), params.dir);
    Write::Create { path, value, dir, expiry: Expiry::Never, in_order }
}

fn delete(path: Path, params: &Params) -> Write {
    let condition = condition(params);
    if condition.is_empty() {
        Write::Delete { path, dir: params.dir, recursive: params.recursive }
    } else {
        Write::CompareAndDelete { path, condition }
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
