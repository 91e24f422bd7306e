//! Verbs about keys and directories.

use std::fmt::Write as _;
use std::io::{self, Read as _};

use clap::Args;
use client::Method;
use serde_json::Value;

use super::failure::{arguments, refusal};
use super::shown::{Form, text};
use super::wire::{Body, Reply, Wire, key_path};
use crate::failure::{Done, Failure, exit};
use crate::output::print;

/// A value that is read from stdin is no longer than this, in bytes.
const VALUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What stands in a query or a form.
pub(super) type Fields = Vec<(&'static str, String)>;

#[derive(Debug, Args)]
pub(super) struct Get {
    #[arg(value_name = "KEY")]
    args: Vec<String>,
    /// In order of their names.
    #[arg(long)]
    sort: bool,
    /// Through more than half of the members.
    #[arg(short, long)]
    quorum: bool,
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Ls {
    #[arg(value_name = "KEY")]
    args: Vec<String>,
    /// In order of their names.
    #[arg(long)]
    sort: bool,
    /// Everything below it.
    #[arg(short, long)]
    recursive: bool,
    /// Directories end with a slash.
    #[arg(short = 'p')]
    slash: bool,
    /// Through more than half of the members.
    #[arg(short, long)]
    quorum: bool,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    #[arg(value_name = "KEY VALUE")]
    args: Vec<String>,
    /// How many seconds it stays; 0 is for ever.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "SECONDS")]
    ttl: i64,
    /// Only if it is this now.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        value_name = "VALUE"
    )]
    swap_with_value: String,
    /// Only if it was changed at this index.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    swap_with_index: u64,
}

#[derive(Debug, Args)]
pub(super) struct Mk {
    #[arg(value_name = "KEY VALUE")]
    args: Vec<String>,
    /// Below it, under a name that comes behind all others.
    #[arg(long)]
    in_order: bool,
    /// How many seconds it stays; 0 is for ever.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "SECONDS")]
    ttl: i64,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    #[arg(value_name = "KEY VALUE")]
    args: Vec<String>,
    /// How many seconds it stays; 0 is for ever.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "SECONDS")]
    ttl: i64,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    #[arg(value_name = "KEY")]
    args: Vec<String>,
    /// A directory that is empty, too.
    #[arg(long)]
    dir: bool,
    /// With everything below it.
    #[arg(short, long)]
    recursive: bool,
    /// Only if it is this now.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        value_name = "VALUE"
    )]
    with_value: String,
    /// Only if it was changed at this index.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    with_index: u64,
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    #[arg(value_name = "KEY")]
    args: Vec<String>,
    /// How many seconds it stays; 0 is for ever.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "SECONDS")]
    ttl: i64,
}

impl Wire {
    /// Asks about a key; a refusal is a failure.
    pub(super) async fn key(
        &self,
        method: Method,
        key: &str,
        query: Fields,
        body: Body,
    ) -> Result<Reply, Failure> {
        judged(self.ask(method, &key_path(key, &query), body).await?)
    }

    async fn put(&self, key: &str, query: Fields, body: Fields) -> Result<Reply, Failure> {
        self.key(Method::PUT, key, query, Body::Form(body)).await
    }

    /// Shows what became of a key; of a directory only where more than a value is shown.
    fn show_unless_folder(&self, reply: &Reply) -> Done {
        let is_folder = reply.body["node"]["dir"].as_bool().unwrap_or(false);
        if is_folder && self.form == Form::Simple { Ok(()) } else { self.form.show(reply) }
    }
}

/// An answer that is no refusal.
pub(super) fn judged(reply: Reply) -> Result<Reply, Failure> {
    if reply.body["errorCode"].is_number() {
        return Err(refusal(&reply.body));
    }
    if reply.status >= 300 || reply.body["node"].is_null() {
        return Err(Failure::new(
            super::failure::SERVER,
            format!(" unexpected status code {}", reply.status),
        ));
    }
    Ok(reply)
}

fn key_of(args: &[String]) -> Result<&str, Failure> {
    args.first().map(String::as_str).ok_or_else(|| arguments("key required"))
}

/// The second word, or all of stdin.
fn value_of(args: &[String]) -> Result<String, Failure> {
    if let Some(value) = args.get(1) {
        return Ok(value.clone());
    }
    let mut bytes = Vec::new();
    let read = io::stdin().take(VALUE_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| arguments(&format!("stdin: {error}")))?;
    if bytes.is_empty() {
        return Err(arguments("value required"));
    }
    String::from_utf8(bytes).map_err(|_| arguments("stdin is no text, and v2's values are"))
}

fn lifetime(ttl: i64) -> Option<(&'static str, String)> {
    (ttl > 0).then(|| ("ttl", ttl.to_string()))
}

/// Conditions that are set.
fn conditions(value: &str, index: u64) -> Fields {
    let mut fields = Fields::new();
    if !value.is_empty() {
        fields.push(("prevValue", value.to_owned()));
    }
    if index > 0 {
        fields.push(("prevIndex", index.to_string()));
    }
    fields
}

fn reading(quorum: bool, recursive: bool, sorted: bool) -> Fields {
    vec![("quorum", quorum.to_string()), ("recursive", recursive.to_string()), ("sorted", sorted.to_string())]
}

impl Get {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let query = reading(self.quorum, false, self.sort);
        let reply = wire.key(Method::GET, key, query, Body::Nothing).await?;
        let node = &reply.body["node"];
        if node["dir"].as_bool().unwrap_or(false) {
            let sentence = format!("{}: is a directory", text(node, "key"));
            return Err(Failure { status: exit::ERROR, text: None, details: vec![sentence] });
        }
        wire.form.show(&reply)
    }
}

impl Ls {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = self.args.first().map_or("/", String::as_str);
        let query = reading(self.quorum, self.recursive, self.sort);
        let reply = wire.key(Method::GET, key, query, Body::Nothing).await?;
        if wire.form != Form::Simple {
            return wire.form.show(&reply);
        }
        let mut lines = String::new();
        let node = &reply.body["node"];
        if !node["dir"].as_bool().unwrap_or(false) {
            lines = format!("{}\n", text(node, "key"));
        }
        self.list(node, &mut lines);
        print(lines.as_bytes())
    }

    /// As deep as the answer.
    fn list(&self, node: &Value, lines: &mut String) {
        for node in node["nodes"].as_array().into_iter().flatten() {
            let slash = if self.slash && node["dir"].as_bool().unwrap_or(false) { "/" } else { "" };
            let _ = writeln!(lines, "{}{slash}", text(node, "key"));
            if self.recursive {
                self.list(node, lines);
            }
        }
    }
}

impl Set {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let mut body = vec![("value", value_of(&self.args)?)];
        body.extend(lifetime(self.ttl));
        let conditions = conditions(&self.swap_with_value, self.swap_with_index);
        wire.form.show(&wire.put(key, conditions, body).await?)
    }
}

impl Mk {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let mut body = vec![("value", value_of(&self.args)?)];
        body.extend(lifetime(self.ttl));
        let reply = if self.in_order {
            wire.key(Method::POST, key, Fields::new(), Body::Form(body)).await?
        } else {
            wire.put(key, vec![("prevExist", "false".to_owned())], body).await?
        };
        wire.form.show(&reply)
    }
}

impl Update {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let mut body = vec![("value", value_of(&self.args)?)];
        body.extend(lifetime(self.ttl));
        wire.form.show(&wire.put(key, vec![("prevExist", "true".to_owned())], body).await?)
    }
}

impl Rm {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let mut query = conditions(&self.with_value, self.with_index);
        for (name, is_set) in [("recursive", self.recursive), ("dir", self.dir)] {
            if is_set {
                query.push((name, "true".to_owned()));
            }
        }
        wire.show_unless_folder(&wire.key(Method::DELETE, key, query, Body::Nothing).await?)
    }
}

impl Folder {
    /// Makes or changes a directory; `exists` is whether it has to be there.
    pub(super) async fn write(self, wire: &Wire, exists: Option<bool>) -> Done {
        let key = key_of(&self.args)?;
        let mut query = vec![("dir", "true".to_owned())];
        query.extend(exists.map(|exists| ("prevExist", exists.to_string())));
        let body = lifetime(self.ttl).into_iter().collect();
        wire.show_unless_folder(&wire.put(key, query, body).await?)
    }

    pub(super) async fn remove(self, wire: &Wire) -> Done {
        let key = key_of(&self.args)?;
        let query = vec![("dir", "true".to_owned())];
        wire.show_unless_folder(&wire.key(Method::DELETE, key, query, Body::Nothing).await?)
    }
}
