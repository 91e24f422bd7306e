//! Handshakes in figures.

use telemetry::{Counter, Registry};

use crate::Side;

const NAME: &str = "kvorum_tls_handshakes_total";
const HELP: &str = "Handshakes of TLS that ended, by listener and outcome: done, refused (with a reason in the log), late \
                    (beyond the time limit), crowded (gave way to newer ones), gone (the other end hung up).";

/// How handshakes ended.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) done: Counter,
    pub(crate) refused: Counter,
    pub(crate) late: Counter,
    pub(crate) crowded: Counter,
    pub(crate) gone: Counter,
}

impl Meters {
    pub(crate) fn register(registry: &Registry, side: Side) -> Self {
        let counter =
            |outcome| registry.counter(NAME, HELP, &[("listener", side.label()), ("outcome", outcome)]);
        Self {
            done: counter("done"),
            refused: counter("refused"),
            late: counter("late"),
            crowded: counter("crowded"),
            gone: counter("gone"),
        }
    }
}
