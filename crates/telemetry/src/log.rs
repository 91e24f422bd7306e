//! The log: one JSON object per line, in the shape that etcd's lines have.
//!
//! `{"level":"info","ts":"2026-01-02T15:04:05.000000Z","caller":"wal/segment.rs:12","msg":"...", fields}`.
//! Times are UTC.
//!
//! INVARIANT: a line is written to each output with one call, so lines never mix.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// The target of an error that ends the process: `error!(target: telemetry::FATAL, ...)`. Its line says
/// `"level":"fatal"`, and no level hides it.
pub const FATAL: &str = "fatal";

/// Guests that would drown the member's own words below this level.
const QUIET: [&str; 6] = ["h2", "hyper", "hyper_util", "tower", "tonic", "mio"];

/// What is too unimportant to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Write everything.
    Debug,
    /// What happens in the life of a member.
    #[default]
    Info,
    /// What somebody should look at one day.
    Warn,
    /// What somebody should look at now.
    Error,
    /// The last words alone, as `Fatal`: there is no line between the two.
    Panic,
    /// The last words alone.
    Fatal,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// Appended to a file, which is made if it is not there.
    File(PathBuf),
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file could not be opened.
    #[error("cannot write the log to {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The process has a log already.
    #[error("the log is set up already")]
    SetUpAlready,
}

impl FromStr for LogLevel {
    type Err = ();

    /// etcd's words, lower case.
    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "panic" => Self::Panic,
            "fatal" => Self::Fatal,
            _ => return Err(()),
        })
    }
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::Panic | Self::Fatal => LevelFilter::OFF,
        }
    }
}

/// Sets up the log of this process. Only a program calls it, once, before the first thread.
pub fn init_log(level: LogLevel, outputs: &[LogOutput]) -> Result<(), LogError> {
    tracing::subscriber::set_global_default(subscriber(level, outputs)?).map_err(|_| LogError::SetUpAlready)
}

fn subscriber(level: LogLevel, outputs: &[LogOutput]) -> Result<impl Subscriber + Send + Sync, LogError> {
    let sinks = outputs.iter().map(Sink::open).collect::<Result<Vec<_>, _>>()?;
    let guests = QUIET.map(|guest| (guest, level.filter().min(LevelFilter::WARN)));
    let filter = Targets::new()
        .with_default(level.filter())
        .with_targets(guests)
        .with_target(FATAL, LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(Tee(sinks.into()));
    Ok(tracing_subscriber::registry().with(filter).with(lines))
}

enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sink {
    fn open(output: &LogOutput) -> Result<Self, LogError> {
        Ok(match output {
            LogOutput::Stderr => Self::Stderr,
            LogOutput::Stdout => Self::Stdout,
            LogOutput::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Self::File(file.map_err(|source| LogError::Open { path: path.clone(), source })?)
            }
        })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(line),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            // Appending writes do not mix, so the file needs no lock.
            Self::File(file) => (&mut &*file).write_all(line),
        }
    }
}

/// Every output at once.
#[derive(Clone)]
struct Tee(Arc<[Sink]>);

impl<'a> MakeWriter<'a> for Tee {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0.iter() {
            // A full disk or a closed pipe takes the log away, and the member goes on: there is nowhere left
            // to say so.
            drop(sink.write_line(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct JsonLines;

const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let now = OffsetDateTime::now_utc().format(TIMESTAMP).map_err(|_| fmt::Error)?;
        write!(out, "{{\"level\":\"{}\",\"ts\":\"{now}\"", level_word(metadata))?;
        if let Some(file) = metadata.file() {
            write!(out, ",\"caller\":{}", quoted(&caller(file, metadata.line().unwrap_or(0))))?;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        write!(out, ",\"msg\":{}", quoted(&fields.message))?;
        for (name, value) in fields.rest {
            write!(out, ",{}:{value}", quoted(name))?;
        }
        out.write_str("}\n")
    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing::{debug, error, info, warn};

    use super::*;

    fn logged(level: LogLevel, write: impl FnOnce()) -> Vec<Value> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let outputs =
            [LogOutput::File(folder.path().join("a.log")), LogOutput::File(folder.path().join("b.log"))];
        tracing::subscriber::with_default(subscriber(level, &outputs).expect("the files open"), write);
        let [a, b] =
            ["a.log", "b.log"].map(|name| fs::read_to_string(folder.path().join(name)).expect("written"));
        assert_eq!(a, b, "every output gets every line");
        a.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    #[test]
    fn a_line_has_etcds_shape() {
        let lines = logged(LogLevel::Info, || {
            info!(took_ms = 3_u64, ok = true, { "member-id" } = %"8e9e", why = ?Some(1), "a \"quoted\"\nword {}", 7);
        });
        let line = &lines[0];
        assert_eq!(line["level"], "info");
        assert_eq!(line["msg"], "a \"quoted\"\nword 7");
        assert_eq!((&line["took_ms"], &line["ok"]), (&3.into(), &true.into()));
        assert_eq!((&line["member-id"], &line["why"]), (&"8e9e".into(), &"Some(1)".into()));
        let ts = line["ts"].as_str().expect("a string");
        assert!(ts.len() == "2006-01-02T15:04:05.000000Z".len() && ts.ends_with('Z'), "{ts}");
        let caller = line["caller"].as_str().expect("a string");
        assert!(caller.starts_with("telemetry/log.rs:"), "{caller}");
        let keys: Vec<_> = line.as_object().expect("an object").keys().take(4).collect();
        assert_eq!(keys, ["level", "ts", "caller", "msg"]);
    }

    #[test]
    fn levels_hide_what_is_below_and_never_the_last_words() {
        let write = || {
            debug!("debug");
            info!("info");
            debug!(target: "h2", "guest");
            warn!(target: "h2", "guest");
            warn!("warn");
            error!("error");
            error!(target: FATAL, "fatal");
        };
        let shown = |level| -> Vec<String> {
            logged(level, write)
                .iter()
                .map(|line| line["level"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(shown(LogLevel::Debug), ["debug", "info", "warn", "warn", "error", "fatal"]);
        assert_eq!(shown(LogLevel::Info), ["info", "warn", "warn", "error", "fatal"]);
        assert_eq!(shown(LogLevel::Error), ["error", "fatal"]);
        assert_eq!(shown(LogLevel::Panic), ["fatal"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let outputs = [LogOutput::File("/nowhere/at/all.log".into())];
        let message =
            subscriber(LogLevel::Info, &outputs).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with("cannot write the log to /nowhere/at/all.log: "), "{message}");
    }
}
