//! The log: one line for each event, in the shape that etcd's lines have.
//!
//! `{"level":"info","ts":"2026-01-02T15:04:05.000000Z","caller":"wal/segment.rs:12","msg":"...", fields}`.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

use crate::lines::LogFormat;
use crate::rotation::Rotation;
use crate::sinks::Tee;

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
    /// systemd's journal, or standard error where there is none.
    Journal,
    /// Appended to a file, which is made if it is not there.
    File(PathBuf),
}

/// What the log is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What it leaves out.
    pub level: LogLevel,
    /// Where it goes.
    pub outputs: Vec<LogOutput>,
    /// How its lines look.
    pub format: LogFormat,
    /// When its files are full.
    pub rotation: Option<Rotation>,
}

impl Default for LogSettings {
    fn default() -> Self {
        let (level, format) = (LogLevel::Info, LogFormat::Json);
        Self { level, outputs: vec![LogOutput::Stderr], format, rotation: None }
    }
}

/// The log of this process while it runs.
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    outputs: Tee,
}

impl Log {
    /// Leaves out something else from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails when the log is gone, and then nobody would hear of it.
        drop(self.filter.reload(targets(level)));
    }

    /// Opens its files again under their names, which somebody has moved away.
    pub fn reopen(&self) -> io::Result<()> {
        self.outputs.reopen()
    }
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
pub fn init_log(settings: &LogSettings) -> Result<Log, LogError> {
    let (log, subscriber) = set_up(settings)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::SetUpAlready)?;
    Ok(log)
}

fn set_up(settings: &LogSettings) -> Result<(Log, impl Subscriber + Send + Sync + use<>), LogError> {
    let outputs = Tee::open(&settings.outputs, settings.rotation.as_ref())?;
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let lines = tracing_subscriber::fmt::layer().event_format(settings.format).with_writer(outputs.clone());
    Ok((Log { filter: handle, outputs }, tracing_subscriber::registry().with(filter).with(lines)))
}

fn targets(level: LogLevel) -> Targets {
    let guests = QUIET.map(|guest| (guest, level.filter().min(LevelFilter::WARN)));
    Targets::new().with_default(level.filter()).with_targets(guests).with_target(FATAL, LevelFilter::ERROR)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use tracing::{debug, error, info, warn};

    use super::*;

    fn logged(level: LogLevel, write: impl FnOnce()) -> Vec<Value> {
        let lines = written(level, LogFormat::Json, |_| write());
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    fn written(level: LogLevel, format: LogFormat, write: impl FnOnce(&Log)) -> String {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let outputs =
            [LogOutput::File(folder.path().join("a.log")), LogOutput::File(folder.path().join("b.log"))];
        let settings = LogSettings { level, outputs: outputs.to_vec(), format, rotation: None };
        let (log, subscriber) = set_up(&settings).expect("the files open");
        tracing::subscriber::with_default(subscriber, || write(&log));
        let [a, b] =
            ["a.log", "b.log"].map(|name| fs::read_to_string(folder.path().join(name)).expect("written"));
        assert_eq!(a, b, "every output gets every line");
        a
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
        let outputs = vec![LogOutput::File("/nowhere/at/all.log".into())];
        let settings = LogSettings { outputs, ..LogSettings::default() };
        let message = set_up(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.starts_with("cannot write the log to /nowhere/at/all.log: "), "{message}");
    }

    #[test]
    fn a_line_for_people_has_columns() {
        let text = written(LogLevel::Info, LogFormat::Console, |_| {
            warn!(took_ms = 3_u64, name = "a", "two\nlines");
            info!("alone");
        });
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(
            (lines[0][1], &lines[0][3..]),
            ("warn", &["two lines", "{\"took_ms\": 3, \"name\": \"a\"}"][..])
        );
        assert!(lines[0][2].starts_with("telemetry/log.rs:"), "{text}");
        assert_eq!((lines[1][1], &lines[1][3..]), ("info", &["alone"][..]));
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let text = written(LogLevel::Info, LogFormat::Console, |log| {
            let say = || {
                debug!("quiet");
                info!("loud");
            };
            say();
            log.set_level(LogLevel::Debug);
            say();
            log.set_level(LogLevel::Warn);
            say();
        });
        let said: Vec<&str> = text.lines().filter_map(|line| line.rsplit('\t').next()).collect();
        assert_eq!(said, ["loud", "quiet", "loud"]);
    }
}
