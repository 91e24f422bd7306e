//! From words and variables to checked strings, by the rules that Go programs and etcd have.
//!
//! It knows syntax and precedence; what a setting means is `config`'s. It reads neither the real arguments
//! nor the real environment: both are handed in.

use std::collections::BTreeMap;

use crate::flags::{FORGOTTEN, Flag, Kind};
use crate::settings::{Notice, Origin, Settings};
use crate::values::{check, parse_bool};

/// What the caller wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// The help.
    Help,
    /// The version.
    Version,
    /// A member.
    Run(Settings),
}

/// Why a command line was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// A word is wrong; Go's text. Exit status 2, with the short help.
    #[error("{0}")]
    Usage(String),
    /// Each word is right and together they are wrong. Exit status 1.
    #[error("{0}")]
    Verify(String),
}

/// Reads the arguments (without the program's name), then the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Wish, CommandLineError> {
    let mut settings = Settings::default();
    let mut version = false;
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let (name, attached) = match split(&word)? {
            Word::Flag { name, attached } => (name, attached),
            Word::End => match words.next() {
                Some(word) => return Err(not_a_flag(&word)),
                None => break,
            },
            Word::Other => return Err(not_a_flag(&word)),
        };
        match (name, Flag::named(name)) {
            ("version", _) => {
                version =
                    parse_bool(attached.unwrap_or("true")).ok_or_else(|| bad_bool("version", attached))?;
            }
            (_, Some(flag)) => {
                let value = value(flag, attached, &mut words)?;
                settings.set(flag, value, Origin::Flag);
            }
            ("h" | "help", None) => return Ok(Wish::Help),
            (name, None) => match forgotten(name) {
                Some(name) => settings.notices.push(Notice::FlagForgotten { name }),
                None => return Err(usage(format!("flag provided but not defined: -{name}"))),
            },
        }
    }
    if version {
        return Ok(Wish::Version);
    }
    read_environment(&mut settings, environment.into_iter().collect())?;
    Ok(Wish::Run(settings))
}

enum Word<'a> {
    Flag { name: &'a str, attached: Option<&'a str> },
    End,
    Other,
}

fn split(word: &str) -> Result<Word<'_>, CommandLineError> {
    let body = match word {
        "--" => return Ok(Word::End),
        "-" => return Ok(Word::Other),
        _ => match word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            Some(body) => body,
            None => return Ok(Word::Other),
        },
    };
    if body.starts_with(['-', '=']) {
        return Err(usage(format!("bad flag syntax: {word}")));
    }
    let (name, attached) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
    Ok(Word::Flag { name, attached })
}

fn value(
    flag: &Flag,
    attached: Option<&str>,
    words: &mut impl Iterator<Item = String>,
) -> Result<String, CommandLineError> {
    let value = match (flag.kind, attached) {
        (_, Some(value)) => value.to_owned(),
        (Kind::Bool, None) => "true".to_owned(),
        (_, None) => words.next().ok_or_else(|| usage(format!("flag needs an argument: -{}", flag.name)))?,
    };
    match check(flag, &value) {
        Ok(()) => Ok(value),
        Err(_) if flag.kind == Kind::Bool => Err(bad_bool(flag.name, Some(&value))),
        Err(reason) => Err(usage(format!("invalid value {value:?} for flag -{}: {reason}", flag.name))),
    }
}

fn read_environment(
    settings: &mut Settings,
    mut variables: BTreeMap<String, String>,
) -> Result<(), CommandLineError> {
    for flag in Flag::all() {
        let name = flag.variable();
        let Some(value) = variables.remove(&name) else { continue };
        if value.is_empty() {
            continue;
        }
        check(flag, &value).map_err(|reason| {
            CommandLineError::Verify(format!("invalid value {value:?} for {name}: {reason}"))
        })?;
        if !settings.is_given(flag.name) {
            let value = if flag.is_secret() { "(not shown)".to_owned() } else { value.clone() };
            settings.notices.push(Notice::VariableUsed { name: name.clone(), value });
        }
        settings.set(flag, value, Origin::Variable(name));
    }
    for name in variables.into_keys().filter(|name| name.starts_with("ETCD_")) {
        let word = name["ETCD_".len()..].to_ascii_lowercase().replace('_', "-");
        settings.notices.push(match forgotten(&word) {
            Some(name) => Notice::FlagForgotten { name },
            None => Notice::VariableUnknown { name },
        });
    }
    Ok(())
}

fn forgotten(name: &str) -> Option<&'static str> {
    FORGOTTEN.into_iter().find(|forgotten| *forgotten == name)
}

fn usage(text: String) -> CommandLineError {
    CommandLineError::Usage(text)
}

fn not_a_flag(word: &str) -> CommandLineError {
    CommandLineError::Verify(format!("{word:?} is not a valid flag"))
}

fn bad_bool(name: &str, value: Option<&str>) -> CommandLineError {
    usage(format!("invalid boolean value {:?} for -{name}: parse error", value.unwrap_or_default()))
}
