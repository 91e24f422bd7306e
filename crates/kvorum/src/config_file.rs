//! `--config-file`: etcd's YAML, with its blocks and its numbers, or TOML with the same keys.
//!
//! A key is the name of a flag. A name that is none is refused together with the nearest one, where etcd would run without
//! what its owner has asked for.
//!
//! INVARIANT: a file sets what the same flags would set, or nothing.

use serde_norway::Value;

use crate::flags::{Flag, Kind};
use crate::settings::{Origin, Settings};
use crate::values::check;

/// Names that are nearer than this to one that is meant are proposed, from 0 to 1.
const LIKENESS: f64 = 0.75;
/// A file that is larger is no configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Keys in blocks, and the flags that they are; what is not here is the flag of that name.
const BLOCKS: [(&str, &[(&str, &str)]); 4] = [
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("ca-file", "trusted-ca-file"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("crl-file", "client-crl-file"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("allowed-hostnames", "client-cert-allowed-hostname"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("ca-file", "peer-trusted-ca-file"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("crl-file", "peer-crl-file"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-cns", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("allowed-hostnames", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
        ],
    ),
    ("socket-options", &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")]),
    ("discovery-config", &[("discovery-endpoints", "discovery-endpoints"), ("token", "discovery-token")]),
];

/// Why a file was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read; Go's words.
    #[error("open {path}: {reason}")]
    Open {
        /// Where it should be.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It is too large.
    #[error("{0} is larger than 1 MiB: is it a configuration?")]
    TooLarge(String),
    /// It is neither.
    #[error("cannot read {path} as {form}: {reason}")]
    Form {
        /// Where it is.
        path: String,
        /// YAML or TOML.
        form: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// A key that is no flag.
    #[error("unknown key {key:?} in {path}{hint}")]
    Unknown {
        /// Where it is.
        path: String,
        /// The key.
        key: String,
        /// `: did you mean ...?`, or nothing.
        hint: String,
    },
    /// A value that its flag would not take.
    #[error("invalid value {value:?} for {key} in {path}: {reason}")]
    Value {
        /// Where it is.
        path: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },
}

impl Settings {
    /// Puts what the file of `--config-file` says below what was set already. Nothing without one.
    pub fn read_file(&mut self) -> Result<(), FileError> {
        let path = self.value("config-file").to_owned();
        if path.is_empty() {
            return Ok(());
        }
        let refused = |error: std::io::Error| FileError::Open { path: path.clone(), reason: said(&error) };
        let length = std::fs::metadata(&path).map_err(refused)?.len();
        if length > FILE_BYTES_MAX {
            return Err(FileError::TooLarge(path));
        }
        let text = std::fs::read_to_string(&path).map_err(refused)?;
        self.take_file(&path, &text)
    }

    /// The same with the text of a file.
    pub fn take_file(&mut self, path: &str, text: &str) -> Result<(), FileError> {
        let Some(map) = tree(path, text)? else { return Ok(()) };
        for (key, value) in &map {
            let key = plain(key).unwrap_or_default();
            let block = BLOCKS.iter().find(|(name, _)| *name == key);
            match (block, value) {
                (Some((name, keys)), Value::Mapping(inner)) => {
                    for (key, value) in inner {
                        let key = plain(key).unwrap_or_default();
                        let known = keys.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag);
                        let flag = known.or_else(|| {
                            (*name == "discovery-config")
                                .then(|| Flag::named(&key))
                                .flatten()
                                .map(|flag| flag.name)
                        });
                        let full = format!("{name}.{key}");
                        let flag = flag.and_then(Flag::named).ok_or_else(|| {
                            let near = nearest(&key, keys.iter().map(|(known, _)| *known));
                            unknown(path, &full, near)
                        })?;
                        self.take(path, &full, flag, value)?;
                    }
                }
                (Some(_), Value::Null) => {}
                _ => {
                    let flag = Flag::named(&key).ok_or_else(|| {
                        let blocks = BLOCKS.iter().map(|(name, _)| *name);
                        unknown(path, &key, nearest(&key, Flag::all().map(|flag| flag.name).chain(blocks)))
                    })?;
                    self.take(path, &key, flag, value)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &str, key: &str, flag: &'static Flag, value: &Value) -> Result<(), FileError> {
        let refused = |value: String, reason: String| {
            let value = if flag.is_secret() { "(not shown)".to_owned() } else { value };
            FileError::Value { path: path.to_owned(), key: key.to_owned(), value, reason }
        };
        let text = match (value, flag.kind) {
            // As in etcd a key without a value says nothing.
            (Value::Null, _) => return Ok(()),
            // Go's numbers for times are nanoseconds.
            (Value::Number(number), Kind::Duration) => format!("{number}ns"),
            (Value::Sequence(list), _) => {
                let words: Option<Vec<String>> = list.iter().map(plain).collect();
                words
                    .ok_or_else(|| refused(format!("{value:?}"), "not a list of words".to_owned()))?
                    .join(",")
            }
            _ => {
                plain(value).ok_or_else(|| refused(format!("{value:?}"), "not a single value".to_owned()))?
            }
        };
        if text.is_empty() {
            return Ok(());
        }
        check(flag, &text).map_err(|reason| refused(text.clone(), reason))?;
        let origin = Origin::File { path: path.to_owned(), key: key.to_owned() };
        self.set(flag, text, origin);
        Ok(())
    }
}

/// What a file holds, or nothing where it is empty.
fn tree(path: &str, text: &str) -> Result<Option<serde_norway::Mapping>, FileError> {
    let refused = |form, reason: String| {
        Err(FileError::Form { path: path.to_owned(), form, reason: reason.trim_end().replace('\n', " ") })
    };
    let is_named = |ending: &str| path.to_ascii_lowercase().ends_with(ending);
    let toml = || toml::from_str::<Value>(text);
    let yaml = serde_norway::from_str::<Value>(text);
    match yaml {
        _ if is_named(".toml") => match toml() {
            Ok(Value::Mapping(map)) => Ok(Some(map)),
            Ok(_) => Ok(None),
            Err(error) => refused("TOML", error.to_string()),
        },
        Ok(Value::Mapping(map)) => Ok(Some(map)),
        Ok(Value::Null) => Ok(None),
        // By its name it could be both.
        yaml => match (toml(), yaml) {
            (Ok(Value::Mapping(map)), _) => Ok(Some(map)),
            (_, Ok(_)) => refused("YAML", "it is not a list of keys with values".to_owned()),
            (_, Err(error)) => refused("YAML", error.to_string()),
        },
    }
}

/// A value that is no block and no list.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn unknown(path: &str, key: &str, near: Option<&str>) -> FileError {
    let hint = near.map(|near| format!(": did you mean {near:?}?")).unwrap_or_default();
    FileError::Unknown { path: path.to_owned(), key: key.to_owned(), hint }
}

/// The known name that is most like this one.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    let likeness = |name: &'a str| (strsim::jaro_winkler(&word, name), name);
    let best = known.map(likeness).max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= LIKENESS).then_some(best.1)
}

/// As Go says it.
fn said(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
