//! Bars for long work: on stderr, and only where somebody looks.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How fast it goes, in whole numbers.
pub(super) fn rate(state: &ProgressState, text: &mut dyn Write) {
    // A line that cannot be put together is not drawn.
    let _undrawn = write!(text, "{:.0}/s", state.per_sec());
}

/// A count whose end nobody knows.
pub(super) fn counting(what: &'static str) -> ProgressBar {
    let template = format!("{{spinner}} {{pos}} {what} {{rate}} {{elapsed}}");
    let style =
        ProgressStyle::with_template(&template).expect("the template is well-formed").with_key("rate", rate);
    ProgressBar::no_length().with_style(style)
}
