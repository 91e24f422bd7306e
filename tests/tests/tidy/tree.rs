//! The files of the work tree, as text.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// Folders that hold no sources of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "results"];

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, from the root of the tree.
    pub(crate) file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong, and what to do instead.
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A file with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// From the root of the tree, with `/`.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
}

/// What the tests look at.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Every manifest of a package.
    pub(crate) packages: Vec<Source>,
    /// Every `.rs` file.
    pub(crate) sources: Vec<Source>,
}

impl Tree {
    /// Reads the tree below `root`.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        for folder in ["crates", "gateway", "tests", "bench"] {
            tree.walk(root, &root.join(folder))?;
        }
        tree.packages.sort_by(|left, right| left.path.cmp(&right.path));
        tree.sources.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, folder: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    self.walk(root, &path)?;
                }
                continue;
            }
            let files = match (name.as_str(), path.extension()) {
                ("Cargo.toml", _) => &mut self.packages,
                (_, Some(ending)) if ending == "rs" => &mut self.sources,
                _ => continue,
            };
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(Source { path, text });
        }
        Ok(())
    }
}
