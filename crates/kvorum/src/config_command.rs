//! `kvorum config show` and `kvorum config check`: what a member would be started with, and whether it would start.
//!
//! They take the words, the variables and the file that the member takes, and start nothing.

use std::fmt::Write as _;

use crate::command_line::{Wish, parse};
use crate::config::Config;
use crate::flags::{Effect, Flag};
use crate::settings::{Notice, Origin, Settings};

/// How to call it.
const USAGE: &str = "usage: kvorum config show [--origin] [flags of a member]\n       kvorum config check [flags of a member]\n";

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub complaint: String,
    /// The exit status.
    pub status: u8,
}

impl Answer {
    fn refused(status: u8, complaint: impl std::fmt::Display) -> Self {
        Self { text: String::new(), complaint: format!("{complaint}\n"), status }
    }
}

/// Runs it with the words behind `config`.
pub fn run(words: &[String], environment: &[(String, String)]) -> Answer {
    let (verb, words) = match words.split_first() {
        Some((verb, words)) if verb == "show" || verb == "check" => (verb.as_str(), words),
        _ => return Answer { text: String::new(), complaint: USAGE.to_owned(), status: 2 },
    };
    let is_origin = |word: &&String| verb == "show" && (*word == "--origin" || *word == "-origin");
    let with_origin = words.iter().any(|word| is_origin(&word));
    let words: Vec<String> = words.iter().filter(|word| !is_origin(word)).cloned().collect();
    let mut settings = match parse(words, environment.iter().cloned()) {
        Ok(Wish::Run(settings)) => settings,
        Ok(Wish::Help | Wish::Version) => {
            return Answer { text: USAGE.to_owned(), complaint: String::new(), status: 0 };
        }
        Err(refused) => return Answer::refused(2, refused),
    };
    if let Err(refused) = settings.read_file() {
        return Answer::refused(1, refused);
    }
    if verb == "show" {
        return Answer { text: show(&settings, with_origin), complaint: String::new(), status: 0 };
    }
    match Config::read(&settings) {
        Ok(config) => Answer { text: praise(&config, &settings), complaint: String::new(), status: 0 },
        Err(refused) => Answer::refused(1, refused),
    }
}

/// Every setting that counts, as a file that would say the same; behind each where it comes from.
fn show(settings: &Settings, with_origin: bool) -> String {
    let mut text = String::new();
    for flag in
        Flag::all().filter(|flag| matches!(flag.effect, Effect::Honoured) && flag.name != "config-file")
    {
        let value = settings.value(flag.name);
        let value = if flag.is_secret() && !value.is_empty() { "(not shown)" } else { value };
        // JSON's strings are strings of YAML.
        let value = serde_json::Value::from(value);
        let line = format!("{}: {value}", flag.name);
        let _ = if with_origin {
            writeln!(text, "{line:<60} # {}", settings.origin(flag.name))
        } else {
            writeln!(text, "{line}")
        };
    }
    text
}

fn praise(config: &Config, settings: &Settings) -> String {
    let mut text = String::new();
    for notice in &settings.notices {
        let _ = match notice {
            Notice::VariableUsed { .. } => Ok(()),
            Notice::VariableUnknown { name } => writeln!(text, "warning: the variable {name} is no setting"),
            Notice::Overruled { name, loser, winner } => {
                writeln!(text, "warning: --{name} is set by {loser} and by {winner}, which counts")
            }
            Notice::FlagIgnored { name, reason } => {
                writeln!(text, "warning: --{name} has no effect: {reason}")
            }
            Notice::FlagForgotten { name } => writeln!(text, "warning: --{name} is no longer supported"),
            Notice::OlderName { name, newer } => {
                writeln!(text, "note: --{name} is the older name of --{newer}")
            }
        };
    }
    let set = Flag::all().filter(|flag| *settings.origin(flag.name) != Origin::Default).count();
    let folder = config.data_dir.display();
    let _ =
        writeln!(text, "the configuration of {} is right: {set} settings, the data in {folder}", config.name);
    text
}
