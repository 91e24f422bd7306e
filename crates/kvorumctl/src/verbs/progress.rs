//! Bars for long work: on stderr, and only where somebody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// A count whose end nobody knows.
pub(super) fn counting(what: &'static str) -> ProgressBar {
    let template = format!("{{spinner}} {{pos}} {what} {{per_sec}} {{elapsed}}");
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    ProgressBar::no_length().with_style(style)
}
