//! What the model holds of a user: grants, and each key there could be.

use serde_json::{Value, json};

use crate::caller::bytes;

/// A range as requests have it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) key: String,
    pub(crate) end: String,
}

impl Span {
    pub(crate) fn contains(&self, key: &str) -> bool {
        match self.end.as_str() {
            "" => self.key == key,
            "\0" => self.key.as_str() <= key,
            end => self.key.as_str() <= key && key < end,
        }
    }

    pub(crate) fn wire(&self) -> Value {
        json!({"key": bytes(&self.key), "range_end": bytes(&self.end)})
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) span: Span,
}

/// What the test knows of one user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) grants: Vec<Grant>,
}

/// Of each stretch between two ends that the names above can make, at least one key.
pub(crate) fn all_keys() -> Vec<String> {
    let letters = ["a", "b", "c", "d"];
    let mut keys = vec!["\0".to_owned()];
    for first in letters {
        keys.extend([first.to_owned(), format!("{first}\0")]);
        keys.extend(
            letters.iter().flat_map(|second| [format!("{first}{second}"), format!("{first}{second}\0")]),
        );
    }
    keys
}

impl Known {
    pub(crate) fn may(&self, write: bool, key: &str) -> bool {
        let fits = |grant: &&Grant| if write { grant.writes } else { grant.reads };
        self.grants.iter().filter(fits).any(|grant| grant.span.contains(key))
    }

    pub(crate) fn may_span(&self, write: bool, span: &Span) -> bool {
        let inside = all_keys().into_iter().filter(|key| !span.end.is_empty() && span.contains(key));
        self.may(write, &span.key) && inside.into_iter().all(|key| self.may(write, &key))
    }
}
