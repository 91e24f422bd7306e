//! Downgrades: there is no version of Kvorum that the data of this one would have to be changed for, so none begins,
//! and questions are answered in etcd's words.

use api::{Downgrade, Fault, Reply};

use crate::member::Member;

impl Member {
    /// Judges what is asked for.
    pub(crate) fn judge_downgrade(&self, action: &Downgrade) -> Result<Reply<String>, Fault> {
        match action {
            Downgrade::Validate(version) | Downgrade::Enable(version) => {
                if is_version(version) {
                    Err(Fault::BadDowngrade)
                } else {
                    Err(Fault::BadVersion)
                }
            }
            // Nothing is under way, so nothing is left of it afterwards.
            Downgrade::Cancel => Ok(self.reply(self.revision(), minor_of(api::level::CLUSTER).to_owned())),
        }
    }
}

/// Whether a text is a version: two numbers or three, the third perhaps with what a semantic version allows.
fn is_version(text: &str) -> bool {
    let (core, rest) = match text.find(['-', '+']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "0"),
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = core.split('.').collect();
    let is_core = parts.iter().all(|part| is_number(part));
    let is_rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    is_core && matches!(parts.len(), 2 | 3) && !rest.is_empty() && rest.bytes().all(is_rest)
}

fn minor_of(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in ["3.4", "3.4.0", "3.4.0-rc.1", "4.0", "3.4.7+build"] {
            assert!(is_version(text), "{text}");
        }
        for text in ["", "3", "x", "3.", "3.4.", "3.x", "v3.4", "3.4.0-", "1.2.3.4"] {
            assert!(!is_version(text), "{text}");
        }
        assert_eq!(minor_of("3.7.0"), "3.7");
    }
}
