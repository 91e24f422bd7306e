//! What was set, by whom, and what there is to say about it: flags count before variables, those before the file.
//!
//! INVARIANT: each value passed the check of its flag's kind.

use std::collections::BTreeMap;
use std::fmt;

use crate::flags::{Effect, Flag};

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A file, and the key in it.
    File {
        /// Where it is.
        path: String,
        /// With the name of its block before it.
        key: String,
    },
    /// A variable.
    Variable(String),
    /// A word on the command line.
    Flag,
}

impl Origin {
    /// Higher counts more.
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, key } => write!(out, "file {path}, {key}"),
            Self::Variable(name) => write!(out, "variable {name}"),
            Self::Flag => out.write_str("flag"),
        }
    }
}

/// Something to say as soon as there is a log.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    },
    /// A value has no effect, since somebody who counts more has set another one.
    Overruled {
        /// The flag.
        name: &'static str,
        /// Who was not heard.
        loser: Origin,
        /// Who was.
        winner: Origin,
    },
    /// A flag was set that does nothing here.
    FlagIgnored {
        /// The flag.
        name: &'static str,
        /// Why that is harmless.
        reason: &'static str,
    },
    /// A flag that etcd itself has forgotten.
    FlagForgotten {
        /// The flag.
        name: &'static str,
    },
    /// A flag was set by its older name.
    OlderName {
        /// What was said.
        name: &'static str,
        /// What says the same.
        newer: &'static str,
    },
}

/// What was set, by flag.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    given: BTreeMap<&'static str, (String, Origin)>,
    /// What to say about them.
    pub notices: Vec<Notice>,
}

impl Settings {
    /// What was set, or the default.
    pub fn value(&self, name: &str) -> &str {
        let default = || Flag::named(name).map_or("", |flag| flag.default);
        self.given(name).map_or_else(default, |(value, _)| value)
    }

    /// Whether somebody set it.
    pub fn is_given(&self, name: &str) -> bool {
        self.given(name).is_some()
    }

    /// Who set it.
    pub fn origin(&self, name: &str) -> &Origin {
        self.given(name).map_or(&Origin::Default, |(_, origin)| origin)
    }

    /// Flags that were set by more than one name, each older one with the newer.
    pub fn twice(&self) -> Option<(&'static str, &'static str)> {
        self.given.iter().find_map(|(older, (_, origin))| match Flag::named(older)?.effect {
            Effect::Older(newer) => {
                let (_, other) = self.given.get(newer)?;
                (origin.rank() == other.rank()).then_some((*older, newer))
            }
            _ => None,
        })
    }

    /// What was set under this name, or under an older one by somebody who counts more.
    fn given(&self, name: &str) -> Option<&(String, Origin)> {
        let older = Flag::all().filter(|flag| matches!(flag.effect, Effect::Older(newer) if newer == name));
        let names = older.map(|flag| flag.name).chain([name]);
        names.filter_map(|name| self.given.get(name)).max_by_key(|(_, origin)| origin.rank())
    }

    pub(crate) fn set(&mut self, flag: &'static Flag, value: String, origin: Origin) {
        if let Some((known, winner)) = self.given.get(flag.name)
            && winner.rank() > origin.rank()
        {
            if *known != value {
                let (loser, winner) = (origin, winner.clone());
                self.notices.push(Notice::Overruled { name: flag.name, loser, winner });
            }
            return;
        }
        if !self.given.contains_key(flag.name) {
            match flag.effect {
                // Who says what holds anyway relies on nothing.
                Effect::Ignored(reason) if value != flag.default => {
                    self.notices.push(Notice::FlagIgnored { name: flag.name, reason });
                }
                Effect::Older(newer) => self.notices.push(Notice::OlderName { name: flag.name, newer }),
                _ => {}
            }
        }
        self.given.insert(flag.name, (value, origin));
    }
}
