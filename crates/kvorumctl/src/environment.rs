//! Variables that stand for flags.
//!
//! `KVORUMCTL_X` and `ETCDCTL_X` both set `--x`; the first is stronger. A variable and its flag together are refused,
//! as etcdctl does.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::failure::Failure;

/// What variables begin with, the stronger first.
pub(crate) const PREFIXES: [&str; 2] = ["KVORUMCTL_", "ETCDCTL_"];

/// The words that the variables add to the command line, right behind the program's name.
pub(crate) fn words(
    command: &Command,
    matches: &ArgMatches,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<String>, Failure> {
    check_version(environment)?;
    let mut words = Vec::new();
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long().filter(|_| arg.is_global_set()) else { continue };
        let name = flag.to_ascii_uppercase().replace('-', "_");
        let set = PREFIXES.iter().find_map(|prefix| environment.get_key_value(&format!("{prefix}{name}")));
        let Some((variable, value)) = set else { continue };
        if innermost_source(matches, arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
            return Err(Failure::error(format!(
                "conflicting environment variable {variable:?} is shadowed by corresponding command-line flag (either \
                 unset environment variable or disable flag)"
            )));
        }
        if !value.is_empty() {
            words.push(format!("--{flag}={value}"));
        }
    }
    Ok(words)
}

/// The version of the interface that etcdctl can be told; the tool of v2 is another one.
fn check_version(environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    match environment.get("ETCDCTL_API").map(String::as_str) {
        None | Some("" | "3") => Ok(()),
        Some(other) => Err(Failure::error(format!("unsupported API version: {other}"))),
    }
}

/// Where a global flag was set: clap hands it down to the verb.
fn innermost_source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    let mut matches = matches;
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches.value_source(id)
}
