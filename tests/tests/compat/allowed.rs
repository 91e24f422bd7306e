//! The differences that are allowed, read from the table in docs/COMPATIBILITY.md.
//!
//! INVARIANT: a difference is allowed only where a row names its request, its part, and both values.

use ::tests::{Table, table_after, text};
use anyhow::{Context, bail, ensure};

/// The heading above the table.
const HEADING: &str = "## Allowed differences";

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Its name in reports.
    pub(crate) id: String,
    request: String,
    part: String,
    etcd: String,
    ours: String,
}

/// What was asked, and where the answers differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Difference<'a> {
    /// The scenario, a colon, a space, and the first line of the request.
    pub(crate) request: &'a str,
    /// The part of the answer.
    pub(crate) part: &'a str,
    /// What etcd says.
    pub(crate) etcd: &'a str,
    /// What we say.
    pub(crate) ours: &'a str,
}

impl Allowed {
    fn covers(&self, difference: Difference<'_>) -> bool {
        text::pattern_matches(&self.part, difference.part)
            && text::pattern_matches(&self.request, difference.request)
            && text::pair_matches((&self.etcd, &self.ours), (difference.etcd, difference.ours))
    }
}

/// The rows of the document.
pub(crate) fn read(document: &str) -> anyhow::Result<Vec<Allowed>> {
    let Table { rows } =
        table_after(document, HEADING).with_context(|| format!("no table below `{HEADING}`"))?;
    let rows: Vec<Allowed> = rows.iter().map(|row| allowed(row)).collect::<anyhow::Result<_>>()?;
    for (at, row) in (1..).zip(&rows) {
        ensure!(rows.iter().skip(at).all(|other| other.id != row.id), "{} stands there twice", row.id);
    }
    Ok(rows)
}

/// The first row that covers a difference.
pub(crate) fn find(rows: &[Allowed], difference: Difference<'_>) -> Option<usize> {
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
        let rows = read(document).expect("well-formed");
        let difference = |request, part, etcd, ours| Difference { request, part, etcd, ours };
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "status", "412", "400")), Some(0));
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "status", "412", "500")), None);
        assert_eq!(find(&rows, difference("s: POST /v3/kv/put", "body", "412", "400")), None);
        assert_eq!(find(&rows, difference("s: GET /v2/keys", "status", "412", "400")), None);
        assert!(read("# nothing").is_err());
        assert!(read(&document.replace(" newer ", " ")).is_err(), "a reason is needed");
    }
}
