//! What a migration says of itself.

use serde_json::{Value, json};

use super::copy::Standing;
use super::source::Tree;
use crate::output::{Fields, Output, Shown};

/// See the module.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) dry_run: bool,
    pub(crate) files: usize,
    pub(crate) directories: usize,
    pub(crate) times: usize,
    /// The source's index when it was read, and when the copy was done.
    pub(crate) index: u64,
    pub(crate) index_after: u64,
    pub(crate) prefix: String,
    pub(crate) created: usize,
    pub(crate) overwritten: usize,
    pub(crate) same: usize,
    /// Of the last that was written; 0 if nothing was.
    pub(crate) revision: i64,
    pub(crate) verified: usize,
    /// Values that were no text: v2's JSON cannot carry them.
    pub(crate) damaged: Vec<String>,
}

impl Report {
    pub(crate) fn new(tree: &Tree, prefix: &str, standing: &Standing<'_>) -> Self {
        let (files, directories, times) = tree.count();
        Self {
            dry_run: false,
            files,
            directories,
            times,
            index: tree.index,
            index_after: tree.index,
            prefix: prefix.to_owned(),
            created: standing.missing.len(),
            overwritten: standing.others.len(),
            same: standing.same,
            revision: 0,
            verified: 0,
            damaged: tree.damaged(),
        }
    }
}

impl Shown for Report {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let Self { files, directories, times, index, prefix, created, overwritten, same, .. } = self;
        let mut lines = vec![format!(
            "read {files} files and {directories} directories, {times} with a time to live, at index {index}"
        )];
        if self.dry_run {
            lines.push(format!(
                "would create {created} keys below {prefix}; {overwritten} are there with something else, {same} \
                 are there already"
            ));
        } else {
            lines.push(format!(
                "created {created} keys below {prefix}, overwrote {overwritten}, {same} were there already"
            ));
            lines.push(format!("verified {} keys", self.verified));
        }
        if self.index_after != self.index {
            lines.push(format!(
                "the source has gone on to index {} meanwhile: run it again for what is new",
                self.index_after
            ));
        }
        for path in &self.damaged {
            lines.push(format!("not text, and so not copied as it was: {path}"));
        }
        lines.join("\n").into_bytes().into_iter().chain([b'\n']).collect()
    }

    fn json(&self, _output: Output) -> Value {
        json!({
            "dry_run": self.dry_run,
            "files": self.files,
            "directories": self.directories,
            "with_ttl": self.times,
            "index": self.index,
            "index_after": self.index_after,
            "prefix": self.prefix,
            "created": self.created,
            "overwritten": self.overwritten,
            "same": self.same,
            "revision": self.revision,
            "verified": self.verified,
            "not_text": self.damaged,
        })
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("DryRun", self.dry_run);
        fields.value("Files", self.files);
        fields.value("Directories", self.directories);
        fields.value("WithTTL", self.times);
        fields.value("Index", self.index);
        fields.value("IndexAfter", self.index_after);
        fields.quoted("Prefix", self.prefix.as_bytes());
        fields.value("Created", self.created);
        fields.value("Overwritten", self.overwritten);
        fields.value("Same", self.same);
        fields.value("Revision", self.revision);
        fields.value("Verified", self.verified);
        fields.value("NotText", self.damaged.len());
        fields
    }
}
