//! Answers in a box.

/// A box: its first line, and the others.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|title| title.to_ascii_uppercase()).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Titles in the middle, cells to the right.
    pub(crate) fn into_text(self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width =
            |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|column| width(column).unwrap_or(0)).collect();
        let rules: Vec<String> = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
        let rule = rules.concat() + "+\n";
        let head = self.head.iter().zip(&widths).map(|(title, width)| format!("| {title:^width$} "));
        let mut text = rule.clone() + &head.collect::<String>() + "|\n" + &rule;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("| {cell:>width$} "));
            text.push_str(&cells.collect::<String>());
            text.push_str("|\n");
        }
        text + &rule
    }
}
