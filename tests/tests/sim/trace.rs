//! The story of a run, line by line; kept only where somebody wants to read it.

use crate::network::Micros;

/// See the module.
#[derive(Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that is kept, or one that is not.
    pub(crate) fn new(kept: bool) -> Self {
        Self { lines: kept.then(Vec::new) }
    }

    /// Notes what happened; `words` is asked only if the trace is kept.
    pub(crate) fn say(&mut self, now: Micros, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} ms  {}", now as f64 / 1000.0, words()));
        }
    }

    /// What was noted.
    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
