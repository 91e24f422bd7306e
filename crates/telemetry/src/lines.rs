//! How an event becomes a line: JSON in the shape of etcd's lines, or text for people in the shape of zap's console.
//!
//! Times are UTC.

use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::log::FATAL;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object: for programs.
    #[default]
    Json,
    /// Columns with tabs between: for people.
    Console,
}

const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let now = OffsetDateTime::now_utc().format(TIMESTAMP).map_err(|_| fmt::Error)?;
        let level = level_word(metadata);
        let caller = metadata.file().map(|file| caller(file, metadata.line().unwrap_or(0)));
        let mut fields = Fields::default();
        event.record(&mut fields);
        match self {
            Self::Json => json(&mut out, level, &now, caller.as_deref(), &fields),
            Self::Console => console(&mut out, level, &now, caller.as_deref(), &fields),
        }
    }
}

fn json(out: &mut Writer<'_>, level: &str, now: &str, caller: Option<&str>, fields: &Fields) -> fmt::Result {
    write!(out, "{{\"level\":\"{level}\",\"ts\":\"{now}\"")?;
    if let Some(caller) = caller {
        write!(out, ",\"caller\":{}", quoted(caller))?;
    }
    write!(out, ",\"msg\":{}", quoted(&fields.message))?;
    for (name, value) in &fields.rest {
        write!(out, ",{}:{value}", quoted(name))?;
    }
    out.write_str("}\n")
}

fn console(
    out: &mut Writer<'_>,
    level: &str,
    now: &str,
    caller: Option<&str>,
    fields: &Fields,
) -> fmt::Result {
    write!(out, "{now}\t{level}\t")?;
    if let Some(caller) = caller {
        write!(out, "{caller}\t")?;
    }
    // A message of several lines would be several lines of the log.
    out.write_str(&fields.message.replace('\n', " "))?;
    for (position, (name, value)) in fields.rest.iter().enumerate() {
        out.write_str(if position == 0 { "\t{" } else { ", " })?;
        write!(out, "{}: {value}", quoted(name))?;
    }
    out.write_str(if fields.rest.is_empty() { "\n" } else { "}\n" })
}

fn level_word(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        Level::ERROR if metadata.target() == FATAL => "fatal",
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// The file with the folder that says most about it: `crates/wal/src/segment.rs` is `wal/segment.rs`.
fn caller(file: &str, line: u32) -> String {
    let mut parts = file.rsplit('/').filter(|part| *part != "src");
    let name = parts.next().unwrap_or_default();
    match parts.next() {
        Some(folder) => format!("{folder}/{name}:{line}"),
        None => format!("{name}:{line}"),
    }
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

/// The fields of a line, of which one is the message.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.rest.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string().into());
    }
}
