//! From words and variables to checked strings, by the rules that Go programs and etcd have.
//!
//! It knows syntax and precedence; what a setting means is `config`'s. It reads neither the real arguments
//! nor the real environment: both are handed in.

use std::collections::BTreeMap;

use members::{MemberUrl, UrlError};

pub(crate) use stdx::parse_duration;

use crate::flags::{Effect, FLAGS, Flag, Kind};
use crate::gates::Gates;

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

/// Something to say as soon as there is a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// A variable set a flag.
    VariableUsed {
        /// Its name.
        name: String,
        /// What it said.
        value: String,
    },
    /// A variable looks as if it should, and does not.
    VariableUnknown {
        /// Its name.
        name: String,
        /// What it said.
        value: String,
    },
    /// A flag was set that does nothing here.
    FlagIgnored {
        /// The flag.
        name: &'static str,
        /// Why that is harmless.
        reason: &'static str,
    },
}

/// What was set, by flag; each value passed the check of its kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    given: BTreeMap<&'static str, String>,
    /// What to say about them.
    pub notices: Vec<Notice>,
}

impl Settings {
    /// What was set, or the default.
    pub fn value(&self, name: &str) -> &str {
        let default = || Flag::named(name).map_or("", |flag| flag.default);
        self.given.get(name).map_or_else(default, String::as_str)
    }

    /// Whether somebody set it.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn set(&mut self, flag: &'static Flag, value: String) {
        if let Effect::Ignored(reason) = flag.effect
            && !self.is_given(flag.name)
        {
            self.notices.push(Notice::FlagIgnored { name: flag.name, reason });
        }
        self.given.insert(flag.name, value);
    }
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
                settings.set(flag, value);
            }
            ("h" | "help", None) => return Ok(Wish::Help),
            (name, None) => return Err(usage(format!("flag provided but not defined: -{name}"))),
        }
    }
    if version {
        return Ok(Wish::Version);
    }
    read_environment(&mut settings, environment.into_iter().collect())?;
    Ok(Wish::Run(settings))
}

/// etcd's `true` and `false`, which are Go's.
pub(crate) fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number as Go writes them: decimal, or with `0x`, `0o`, `0b` or a leading zero before it.
pub(crate) fn parse_unsigned(word: &str) -> Option<u64> {
    let (digits, radix) = match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => (word.get(2..)?, 16),
        [b'0', b'o' | b'O', ..] => (word.get(2..)?, 8),
        [b'0', b'b' | b'B', ..] => (word.get(2..)?, 2),
        [b'0', _, ..] => (word.get(1..)?, 8),
        _ => (word, 10),
    };
    // `from_str_radix` takes a plus sign, which Go does not.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// The same with a sign before it.
pub(crate) fn parse_signed(word: &str) -> Option<i64> {
    match word.strip_prefix('-') {
        Some(digits) => 0_i64.checked_sub_unsigned(parse_unsigned(digits)?),
        None => i64::try_from(parse_unsigned(word.strip_prefix('+').unwrap_or(word))?).ok(),
    }
}

/// URLs with commas between them, sorted, each once. Nothing at all is an empty list.
pub(crate) fn parse_urls(list: &str) -> Result<Vec<MemberUrl>, UrlError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut urls = members::parse_urls(list.split(','))?;
    urls.dedup();
    Ok(urls)
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

fn check(flag: &Flag, value: &str) -> Result<(), String> {
    let number = |parsed: bool| if parsed { Ok(()) } else { Err("parse error".to_owned()) };
    match flag.kind {
        Kind::Text => Ok(()),
        Kind::Bool => number(parse_bool(value).is_some()),
        Kind::Unsigned => number(parse_unsigned(value).is_some()),
        Kind::Signed => number(parse_signed(value).is_some()),
        Kind::Duration => number(parse_duration(value).is_some()),
        Kind::Gates => Gates::read(value).map(drop),
        // Where none is a choice.
        Kind::Urls if value.is_empty() && flag.default.is_empty() => Ok(()),
        Kind::Urls => parse_urls(value).map(drop).map_err(|error| error.to_string()),
        Kind::Choice(words) if words.contains(&value) => Ok(()),
        Kind::Choice(_) => Err("invalid value".to_owned()),
    }
}

fn read_environment(
    settings: &mut Settings,
    mut variables: BTreeMap<String, String>,
) -> Result<(), CommandLineError> {
    for flag in FLAGS {
        let name = flag.variable();
        let Some(value) = variables.remove(&name) else { continue };
        if settings.is_given(flag.name) {
            return Err(CommandLineError::Verify(format!(
                "conflicting environment variable {name:?} is shadowed by corresponding command-line flag \
                 (either unset environment variable or disable flag))"
            )));
        }
        if value.is_empty() {
            continue;
        }
        check(flag, &value).map_err(|reason| {
            CommandLineError::Verify(format!("invalid value {value:?} for {name}: {reason}"))
        })?;
        settings.notices.push(Notice::VariableUsed { name, value: value.clone() });
        settings.set(flag, value);
    }
    let unknown = variables.into_iter().filter(|(name, _)| name.starts_with("ETCD_"));
    settings.notices.extend(unknown.map(|(name, value)| Notice::VariableUnknown { name, value }));
    Ok(())
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
