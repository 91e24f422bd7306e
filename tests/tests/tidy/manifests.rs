//! What every manifest has to say, and the reading of manifests.
//!
//! Manifests here are plain: one `key = value` per line. One that is not is refused rather than guessed at.

use crate::tree::{Finding, Source};

/// A line of a manifest inside a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) line: usize,
    pub(crate) section: &'a str,
    /// The key as it is written, `name.workspace` for instance.
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

impl<'a> Entry<'a> {
    /// The package that a line below `[dependencies]` names.
    pub(crate) fn dependency(&self) -> Option<&'a str> {
        let is_list = self.section.ends_with("dependencies") && !self.section.starts_with("workspace");
        is_list.then(|| self.key.split('.').next().unwrap_or(self.key))
    }

    fn is_inherited(&self) -> bool {
        (self.key.ends_with(".workspace") && self.value == "true") || self.value.contains("workspace = true")
    }
}

/// The lines of a manifest.
pub(crate) fn entries(manifest: &str) -> Vec<Entry<'_>> {
    let mut section = "";
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']);
        } else if !text.starts_with('#')
            && let Some((key, value)) = text.split_once('=')
        {
            entries.push(Entry { line, section, key: key.trim(), value: value.trim() });
        }
    }
    entries
}

/// The name of the package.
pub(crate) fn name(manifest: &str) -> Option<&str> {
    let entries = entries(manifest);
    let name = entries.iter().find(|entry| entry.section == "package" && entry.key == "name")?;
    Some(name.value.trim_matches('"'))
}

/// Everything that is wrong with manifests.
pub(crate) fn findings(packages: &[Source]) -> Vec<Finding> {
    packages.iter().flat_map(of_one).collect()
}

fn of_one(package: &Source) -> Vec<Finding> {
    let entries = entries(&package.text);
    let says = |section: &str, key: &str, value: &str| {
        entries.iter().any(|entry| (entry.section, entry.key, entry.value) == (section, key, value))
    };
    let mut findings = Vec::new();
    if !says("lints", "workspace", "true") {
        findings.push(Finding::new(
            &package.path,
            0,
            "takes no part in the workspace's lints: `[lints] workspace = true`",
        ));
    }
    if !says("package", "publish.workspace", "true") && !says("package", "publish", "false") {
        findings.push(Finding::new(&package.path, 0, "could be published: `publish.workspace = true`"));
    }
    for entry in &entries {
        if let Some(name) = entry.dependency()
            && !entry.is_inherited()
        {
            let what = format!(
                "`{name}` is not inherited: `{name}.workspace = true`, and its reason in the root manifest"
            );
            findings.push(Finding::new(&package.path, entry.line, what));
        }
        if entry.section.contains("dependencies.") {
            let what = format!("`[{}]` hides a dependency; write it on one line", entry.section);
            findings.push(Finding::new(&package.path, entry.line, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let package = Source { path: "x/Cargo.toml".to_owned(), text: text.to_owned() };
        findings(&[package]).iter().map(ToString::to_string).collect()
    }

    const GOOD: &str = "[package]\nname = \"x\"\npublish.workspace = true\n\n[lints]\nworkspace = true\n\n\
        [dependencies]\nbytes.workspace = true\ntokio = { workspace = true, features = [\"fs\"] }\n";

    #[test]
    fn a_good_manifest_passes() {
        assert_eq!(found(GOOD), Vec::<String>::new());
        assert_eq!(name(GOOD), Some("x"));
    }

    #[test]
    fn each_omission_is_seen() {
        for (good, bad, what) in [
            ("[lints]\nworkspace = true", "", "lints"),
            ("publish.workspace = true", "publish = true", "published"),
            ("bytes.workspace = true", "bytes = \"1\"", "`bytes` is not inherited"),
            ("bytes.workspace = true", "bytes = { version = \"1\" }", "`bytes` is not inherited"),
            ("[dependencies]", "[dev-dependencies]\nrand = \"1\"\n[dependencies]", "`rand` is not inherited"),
            ("[dependencies]", "[dependencies.rand]\nversion = \"1\"\n[dependencies]", "hides a dependency"),
        ] {
            let found = found(&GOOD.replace(good, bad));
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
    }
}
