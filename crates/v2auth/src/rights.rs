//! What rights cover, and how some are added to and taken from others.

use std::collections::BTreeSet;

use types::v2auth::{Refusal, Rights};

/// The rights of the root role, and those that guests have until somebody says otherwise.
pub(crate) fn all() -> Rights {
    let everything = || Some(vec!["/*".to_owned()]);
    Rights { read: everything(), write: everything() }
}

/// Whether a key is covered: by its name, or by a pattern with a `*` at its end.
pub(crate) fn cover(rights: &Rights, key: &str, write: bool) -> bool {
    list(rights, write).iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => !pattern.is_empty() && key == pattern,
    })
}

/// Whether a key and all that is below it are covered, which a pattern alone can do.
pub(crate) fn cover_below(rights: &Rights, key: &str, write: bool) -> bool {
    let begins = |pattern: &String| pattern.strip_suffix('*').is_some_and(|begin| key.starts_with(begin));
    list(rights, write).iter().any(begins)
}

/// With more. What is there already is refused.
pub(crate) fn grant(rights: Rights, more: Option<&Rights>) -> Result<Rights, Refusal> {
    let Some(more) = more else { return Ok(rights) };
    let add = |list: Option<Vec<String>>, more: &Option<Vec<String>>, twice: fn(String) -> Refusal| {
        let mut set: BTreeSet<String> = list.into_iter().flatten().collect();
        for pattern in more.iter().flatten() {
            if !set.insert(pattern.clone()) {
                return Err(twice(pattern.clone()));
            }
        }
        Ok(Some(set.into_iter().collect()))
    };
    Ok(Rights {
        read: add(rights.read, &more.read, Refusal::DuplicateRead)?,
        write: add(rights.write, &more.write, Refusal::DuplicateWrite)?,
    })
}

/// With less. What is not there is passed over.
pub(crate) fn revoke(rights: Rights, less: Option<&Rights>) -> Rights {
    let Some(less) = less else { return rights };
    let take = |list: Option<Vec<String>>, less: &Option<Vec<String>>| {
        let mut set: BTreeSet<String> = list.into_iter().flatten().collect();
        set.retain(|pattern| !less.iter().flatten().any(|less| less == pattern));
        Some(set.into_iter().collect())
    };
    Rights { read: take(rights.read, &less.read), write: take(rights.write, &less.write) }
}

fn list(rights: &Rights, write: bool) -> &[String] {
    let list = if write { &rights.write } else { &rights.read };
    list.as_deref().unwrap_or_default()
}
