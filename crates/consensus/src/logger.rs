//! Passes raft's own log lines on to ours.

use std::fmt::{self, Write};

use slog::{Drain, KV, Key, Level, Never, OwnedKVList, Record, Serializer};

/// The logger for one member.
pub(crate) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut fields = Fields(String::new());
        // Writing into a string cannot fail; a value that cannot be shown is left out.
        let _ = record.kv().serialize(record, &mut fields);
        let _ = values.serialize(record, &mut fields);
        let (message, fields) = (record.msg(), fields.0.trim_end());
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", fields, "{message}"),
            Level::Warning => tracing::warn!(target: "raft", fields, "{message}"),
            Level::Info => tracing::info!(target: "raft", fields, "{message}"),
            Level::Debug | Level::Trace => tracing::debug!(target: "raft", fields, "{message}"),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        // raft's debug lines are many and cost formatting; nobody sees them unless debug is on.
        level.is_at_least(Level::Info) || tracing::enabled!(target: "raft", tracing::Level::DEBUG)
    }
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, "{key}={value} ")?;
        Ok(())
    }
}
