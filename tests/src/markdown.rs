//! Tables of our own documents, read by the tests that keep the documents honest.

/// A table: the rows below the line of dashes, cell by cell, trimmed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Cells, one list per row, without the header.
    pub rows: Vec<Vec<String>>,
}

/// The first table after the heading that reads `heading` (`##` and all). `None` when either is missing.
///
/// A pipe inside a cell is written `\|`.
pub fn table_after(document: &str, heading: &str) -> Option<Table> {
    let mut lines = document.lines().skip_while(|line| line.trim() != heading).skip(1);
    let header = lines.by_ref().find(|line| line.starts_with('|') || line.starts_with("## "))?;
    if !header.starts_with('|') {
        return None;
    }
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    Some(Table { rows })
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|');
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let hidden = inner.replace("\\|", "\u{1}");
    hidden.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_cell_by_cell() {
        let text = "# A\n\n| x | y |\n|---|---|\n\n## B\nwords\n\n| a | b |\n|---|---|\n| 1 | `p\\|q` |\n| 2 |  |\n\nend\n";
        let table = table_after(text, "## B").expect("it is there");
        assert_eq!(table.rows, [["1", "`p|q`"], ["2", ""]]);
        assert_eq!(table_after(text, "## C"), None);
    }
}
