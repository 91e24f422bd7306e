//! Variables that stand for flags.
//!
//! `KVORUMCTL_X` and `ETCDCTL_X` both set `--x`; the first is stronger. A variable and its flag together are refused,
//! as etcdctl does.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::failure::Failure;
use crate::verbs::context::{self, Contexts};

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

/// The global flags that stand on the command line.
pub(crate) fn given(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    for arg in command.get_arguments() {
        let Some(flag) = arg.get_long().filter(|_| arg.is_global_set()) else { continue };
        let mut inner = matches;
        while let Some((_, deeper)) = inner.subcommand() {
            inner = deeper;
        }
        let id = arg.get_id().as_str();
        if inner.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values =
            inner.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned());
        given.insert(flag.to_owned(), values.collect::<Vec<_>>().join(","));
    }
    given
}

/// The words that a context adds: of the one that is named, or of the one in use where nobody says which endpoints are
/// meant. What is given or set by a variable (`set`) is stronger.
pub(crate) fn of_context(
    command: &Command,
    given: &BTreeMap<String, String>,
    set: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Vec<String>, Failure> {
    let is_set = |flag: &str| {
        given.contains_key(flag) || set.iter().any(|word| word.starts_with(&format!("--{flag}=")))
    };
    let named = given
        .get("context")
        .cloned()
        .or_else(|| set.iter().find_map(|word| word.strip_prefix("--context=")).map(str::to_owned));
    let places = ["endpoints", "discovery-srv"];
    if named.as_ref().is_some_and(String::is_empty)
        || named.is_none() && places.iter().any(|flag| is_set(flag))
    {
        return Ok(Vec::new());
    }
    let Some(path) = context::path(environment) else { return Ok(Vec::new()) };
    let contexts = Contexts::read(&path)?;
    let Some(name) = named.as_deref().or(contexts.current()) else { return Ok(Vec::new()) };
    let known = |flag: &str| command.get_arguments().any(|arg| arg.get_long() == Some(flag));
    // Those that belong together come from one side.
    let together: [&[&str]; 3] = [&places, &["user", "password", "auth-jwt-token"], &["cert", "key"]];
    let is_weaker = |flag: &str| {
        is_set(flag)
            || together.iter().any(|all| all.contains(&flag) && all.iter().any(|other| is_set(other)))
    };
    let flags = contexts.flags(name)?.iter().filter(|(flag, _)| known(flag) && !is_weaker(flag));
    Ok(flags.map(|(flag, value)| format!("--{flag}={value}")).collect())
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
