//! The one place that prints results.

#![expect(clippy::print_stdout, reason = "results on standard output are what this program is for")]

/// Prints one line of a result.
pub(crate) fn line(text: &str) {
    println!("{text}");
}
