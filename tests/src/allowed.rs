//! The differences that are allowed, read from a table in docs/COMPATIBILITY.md.
//!
//! INVARIANT: a difference is allowed only where a row names its request, its part, and both values.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, bail, ensure};

use crate::markdown::{Table, table_after};
use crate::text;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its name in reports.
    pub id: String,
    request: String,
    part: String,
    etcd: String,
    ours: String,
}

/// What was asked, and where the answers differ.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'a> {
    /// The scenario, a colon, a space, and the first line of the request.
    pub request: &'a str,
    /// The part of the answer.
    pub part: &'a str,
    /// What etcd says.
    pub etcd: &'a str,
    /// What we say.
    pub ours: &'a str,
}

impl Allowed {
    fn covers(&self, difference: Difference<'_>) -> bool {
        text::pattern_matches(&self.part, difference.part)
            && text::pattern_matches(&self.request, difference.request)
            && text::pair_matches((&self.etcd, &self.ours), (difference.etcd, difference.ours))
    }
}

/// The rows of the table of docs/COMPATIBILITY.md that is below this heading (`##` and all).
pub fn rows(heading: &str) -> anyhow::Result<Vec<Allowed>> {
    let document = crate::root().join("docs/COMPATIBILITY.md");
    let document = fs::read_to_string(&document).with_context(|| format!("read {}", document.display()))?;
    read(&document, heading)
}

/// The ids of rows that covered nothing, where `used` says how often each row did.
pub fn unused<'a>(rows: &'a [Allowed], used: &BTreeMap<usize, usize>) -> Vec<&'a str> {
    let seen_nowhere = rows.iter().enumerate().filter(|(at, _)| !used.contains_key(at));
    seen_nowhere.map(|(_, row)| row.id.as_str()).collect()
}

fn read(document: &str, heading: &str) -> anyhow::Result<Vec<Allowed>> {
    let Table { rows } =
        table_after(document, heading).with_context(|| format!("no table below `{heading}`"))?;
    let rows: Vec<Allowed> = rows.iter().map(|row| allowed(row)).collect::<anyhow::Result<_>>()?;
    for (at, row) in (1..).zip(&rows) {
        ensure!(rows.iter().skip(at).all(|other| other.id != row.id), "{} stands there twice", row.id);
    }
    Ok(rows)
}

/// The first row that covers a difference.
pub fn find(rows: &[Allowed], difference: Difference<'_>) -> Option<usize> {
    rows.iter().position(|row| row.covers(difference))
}

fn allowed(row: &[String]) -> anyhow::Result<Allowed> {
    let [id, request, part, etcd, ours, reason] = row else {
        bail!("a row has six cells: id, request, part, etcd, Kvorum, reason; this one not: {row:?}")
    };
    ensure!(!reason.is_empty(), "{id} has no reason");
    let code = |cell: &str| -> anyhow::Result<String> {
        let inner = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
        // The notation of a cell has to say a line feed somehow.
        Ok(inner.with_context(|| format!("`{cell}` of {id} is not in back-ticks"))?.replace("\\n", "\n"))
    };
    Ok(Allowed {
        id: id.clone(),
        request: code(request)?,
        part: code(part)?,
        etcd: code(etcd)?,
        ours: code(ours)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_row_names_is_allowed() {
        let document = "## Allowed differences\n\n| id | request | part | etcd | Kvorum | reason |\n|---|---|---|---|---|---|\n\
            | a | `*: POST /v3/*` | `status` | `412` | `400` | newer |\n";
        let rows = read(document, "## Allowed differences").expect("well-formed");
        let difference = |request, part, etcd, ours| Difference { request, part, etcd, ours };
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "status", "412", "400")), Some(0));
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "status", "412", "500")), None);
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "body", "412", "400")), None);
        assert_eq!(find(&rows, difference("s: GET /v2/keys", "status", "412", "400")), None);
        let heading = "## Allowed differences";
        assert!(read("# nothing", heading).is_err());
        assert!(read(&document.replace(" newer ", " "), heading).is_err(), "a reason is needed");
    }
}
