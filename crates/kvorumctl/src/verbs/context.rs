//! `context`: names for clusters, with the flags that reach them, in a file of the user's own.
//!
//! The file is `contexts.json` in `$XDG_CONFIG_HOME/kvorumctl` or `~/.config/kvorumctl`, or where
//! `KVORUMCTL_CONTEXTS` says. A flag or a variable is stronger than what a context says. The context in use counts only
//! where neither says which endpoints are meant, so that its password goes to no other cluster.
//!
//! INVARIANT: nobody else can read the file; a password in it is never shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, print_line};
use crate::session::Session;

/// Flags with names of files, which are kept so that they are good from every folder.
const FILES: [&str; 3] = ["cacert", "cert", "key"];
/// What a context does not keep.
const NOT_KEPT: [&str; 4] = ["context", "debug", "write-out", "hex"];

/// Names for clusters.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "The context in use stands for the flags that are not given, unless flags or variables name endpoints. \
                  --context NAME takes another one once.\n\nExamples:\n  kvorumctl context add prod \
                  --endpoints=https://a:2379,https://b:2379 --cacert=ca.crt --user=ana\n  kvorumctl context use prod\n  \
                  kvorumctl --context=test get foo"
)]
pub(crate) enum ContextVerb {
    /// Keeps the flags that are given with it under a name.
    Add(Name),
    /// Uses it from now on.
    Use(Name),
    /// Uses none from now on.
    Unuse,
    /// Lists all of them.
    List,
    /// Forgets it.
    Remove(Name),
    /// Shows the flags of one, or of the one in use; no password.
    Show {
        /// Which one.
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Its name.
    name: String,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contexts {
    current: Option<String>,
    all: BTreeMap<String, BTreeMap<String, String>>,
}

struct Listed(Contexts);

/// Where the file is.
pub(crate) fn path(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("KVORUMCTL_CONTEXTS").or_else(|| {
        let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
        Some(folder.join("kvorumctl/contexts.json"))
    })
}

impl Contexts {
    /// Reads the file; none is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::io(format!("{}: {reason}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error.to_string())),
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let flags = |flags: &Value| -> BTreeMap<String, String> {
            let flags = flags.as_object().into_iter().flatten();
            flags.filter_map(|(flag, value)| Some((flag.clone(), value.as_str()?.to_owned()))).collect()
        };
        let all = value["contexts"].as_object().into_iter().flatten();
        Ok(Self {
            current: value["current"].as_str().map(str::to_owned),
            all: all.map(|(name, kept)| (name.clone(), flags(kept))).collect(),
        })
    }

    /// Writes the file anew; a reader sees the old one or the new one.
    fn write(&self, path: &Path) -> Done {
        let failed = |error: std::io::Error| Failure::io(format!("{}: {error}", path.display()));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let value = json!({"current": self.current, "contexts": self.all});
        // It is made for its owner alone, 0600.
        let mut file = NamedTempFile::with_prefix_in(".contexts-", folder).map_err(failed)?;
        writeln!(file, "{value:#}").map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The flags of a context.
    pub(crate) fn flags(&self, name: &str) -> Result<&BTreeMap<String, String>, Failure> {
        self.all.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.all.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there is none yet".to_owned() } else { known.join(", ") };
            let details =
                vec![format!("hint: known are: {known}; `context add NAME --endpoints=...` makes one")];
            Failure { details, ..Failure::arguments(format!("there is no context {name:?}")) }
        })
    }

    /// The one in use.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }
}

impl ContextVerb {
    pub(crate) fn run(self, session: &Session) -> Done {
        let path = session
            .contexts_path()
            .ok_or_else(|| Failure::error("there is no folder of the user: HOME is not set"))?;
        let mut contexts = Contexts::read(&path)?;
        let sentence = match self {
            Self::List => return session.show(&Listed(contexts)),
            Self::Show { name } => {
                let name = name.or_else(|| contexts.current.clone());
                let Some(name) = name else {
                    return Err(Failure::arguments("no context is in use: name one"));
                };
                let flags = contexts.flags(&name)?.clone();
                let all = BTreeMap::from([(name, flags)]);
                return session.show(&Listed(Contexts { all, current: contexts.current }));
            }
            Self::Add(Name { name }) => {
                let flags = kept(&session.given)?;
                if name.is_empty() || flags.is_empty() {
                    let text =
                        "context add NAME keeps the flags that are given with it, at least --endpoints";
                    return Err(Failure::arguments(text));
                }
                let done =
                    if contexts.all.insert(name.clone(), flags).is_some() { "replaced" } else { "added" };
                format!("Context {name} {done}")
            }
            Self::Use(Name { name }) => {
                contexts.flags(&name)?;
                contexts.current = Some(name.clone());
                format!("Context {name} is used from now on")
            }
            Self::Unuse => {
                contexts.current = None;
                "No context is used from now on".to_owned()
            }
            Self::Remove(Name { name }) => {
                contexts.flags(&name)?;
                contexts.all.remove(&name);
                contexts.current = contexts.current.filter(|current| *current != name);
                format!("Context {name} removed")
            }
        };
        contexts.write(&path)?;
        print_line(&sentence)
    }
}

/// The flags that a context keeps, files by their whole names.
fn kept(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let mut flags = BTreeMap::new();
    for (flag, value) in given.iter().filter(|(flag, _)| !NOT_KEPT.contains(&flag.as_str())) {
        let mut value = value.clone();
        if FILES.contains(&flag.as_str()) && !value.is_empty() {
            let whole = std::path::absolute(&value).map_err(|error| Failure::io(error.to_string()))?;
            value = whole.display().to_string();
        }
        flags.insert(flag.clone(), value);
    }
    Ok(flags)
}

/// What may be shown of a flag.
fn open<'a>(flag: &str, value: &'a str) -> &'a str {
    match flag {
        "password" | "auth-jwt-token" => "***",
        "user" => value.split(':').next().unwrap_or_default(),
        _ => value,
    }
}

impl Shown for Listed {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let mut text = String::new();
        for (name, flags) in &self.0.all {
            let sign = if self.0.current.as_ref() == Some(name) { "*" } else { " " };
            let flags = flags.iter().map(|(flag, value)| format!(" --{flag}={}", open(flag, value)));
            let _ = writeln!(text, "{sign} {name} {}", flags.collect::<Vec<_>>().concat());
        }
        text.into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let shown = |flags: &BTreeMap<String, String>| -> Map<String, Value> {
            flags.iter().map(|(flag, value)| (flag.clone(), open(flag, value).into())).collect()
        };
        let all: Map<String, Value> =
            self.0.all.iter().map(|(name, flags)| (name.clone(), shown(flags).into())).collect();
        json!({"current": self.0.current, "contexts": all})
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        for (name, flags) in &self.0.all {
            fields.quoted("Name", name.as_bytes());
            fields.value("Current", self.0.current.as_ref() == Some(name));
            for (flag, value) in flags {
                fields.quoted(flag, open(flag, value).as_bytes());
            }
            fields.gap();
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_went_and_shows_no_password() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/contexts.json");
        let mut contexts = Contexts::read(&path).expect("none is empty");
        assert_eq!(contexts, Contexts::default());
        let flags = [("endpoints", "a:1,b:2"), ("user", "ana:secret"), ("password", "secret")];
        let flags = flags.map(|(flag, value)| (flag.to_owned(), value.to_owned())).into();
        contexts.all.insert("prod".to_owned(), flags);
        contexts.current = Some("prod".to_owned());
        contexts.write(&path).expect("written");
        assert_eq!(Contexts::read(&path).expect("read"), contexts);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("it is there"));
        assert_eq!(mode & 0o777, 0o600);
        let listed = Listed(contexts);
        let output = Output::new("simple", false).expect("a form");
        let shown = String::from_utf8(listed.simple(output)).expect("text");
        assert_eq!(shown, "* prod  --endpoints=a:1,b:2 --password=*** --user=ana\n");
        assert!(!listed.json(output).to_string().contains("secret"));
    }

    #[test]
    fn the_file_is_where_the_user_is() {
        let at = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            path(&variables.collect()).map(|path| path.display().to_string())
        };
        assert_eq!(at(&[("HOME", "/h")]).as_deref(), Some("/h/.config/kvorumctl/contexts.json"));
        assert_eq!(
            at(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).as_deref(),
            Some("/x/kvorumctl/contexts.json")
        );
        assert_eq!(at(&[("KVORUMCTL_CONTEXTS", "/c")]).as_deref(), Some("/c"));
        assert_eq!(at(&[]), None);
    }
}
