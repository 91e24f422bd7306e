//! How a call ends badly: the exit status that etcdctl would give, its words, and what may help.

use std::fmt::Write as _;

use client::Fault;

/// Exit statuses, as etcdctl's.
pub(crate) mod exit {
    /// A member refused, or nobody answered.
    pub(crate) const ERROR: u8 = 1;
    /// There was no connection, or who speaks was not believed.
    pub(crate) const BAD_CONNECTION: u8 = 2;
    /// What was typed cannot be read.
    pub(crate) const INVALID_INPUT: u8 = 3;
    /// A form or an option that is not offered.
    pub(crate) const BAD_FEATURE: u8 = 4;
    /// It was cut off.
    pub(crate) const INTERRUPTED: u8 = 5;
    /// A file or a stream.
    pub(crate) const IO: u8 = 6;
    /// The arguments.
    pub(crate) const BAD_ARGUMENTS: u8 = 128;
}

/// What is said at the end, and the exit status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    /// What stands behind `Error: `; nothing is said when there is none.
    pub(crate) text: Option<String>,
    /// Lines under it.
    pub(crate) details: Vec<String>,
}

/// What verbs answer.
pub(crate) type Done = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, text: Some(text.into()), details: Vec::new() }
    }

    /// Everything was said already.
    pub(crate) fn silent(status: u8) -> Self {
        Self { status, text: None, details: Vec::new() }
    }

    pub(crate) fn arguments(text: impl Into<String>) -> Self {
        Self::new(exit::BAD_ARGUMENTS, text)
    }

    pub(crate) fn error(text: impl Into<String>) -> Self {
        Self::new(exit::ERROR, text)
    }

    pub(crate) fn io(text: impl Into<String>) -> Self {
        Self::new(exit::IO, text)
    }

    /// The same failure with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// The same failure within a sentence, `{}` standing for its text.
    pub(crate) fn within(self, sentence: &str) -> Self {
        let text = self.text.map(|text| sentence.replacen("{}", &text, 1));
        Self { text, ..self }
    }

    /// What goes to stderr.
    pub(crate) fn lines(&self) -> String {
        let mut lines = String::new();
        if let Some(text) = &self.text {
            let _ = writeln!(lines, "Error: {text}");
        }
        for detail in &self.details {
            let _ = writeln!(lines, "{detail}");
        }
        lines
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let status = if matches!(fault, Fault::Credentials(_)) { exit::BAD_CONNECTION } else { exit::ERROR };
        let text = text_of(&fault);
        let mut details: Vec<String> = fault
            .failures()
            .iter()
            .map(|failure| format!("endpoint {}: {}", failure.place, failure.reason))
            .collect();
        if matches!(fault, Fault::Deadline { may_have_happened: true, .. }) {
            details.push("the request may have been carried out".to_owned());
        }
        details.extend(hint(&fault, &text).map(|hint| format!("hint: {hint}")));
        Self { status, text: Some(text), details }
    }
}

/// What etcdctl would say: refusals that it does not know it shows as they came.
fn text_of(fault: &Fault) -> String {
    match fault {
        Fault::Refused(status) if !status.message().starts_with("etcdserver: ") => {
            format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
        }
        Fault::Credentials(fault) => text_of(fault),
        fault => fault.to_string(),
    }
}

/// What may help.
fn hint(fault: &Fault, text: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 9] = [
        (
            "database space exceeded",
            "the database is full: compact old revisions (compaction REVISION), give the room back (defrag), then \
             alarm disarm",
        ),
        (
            "required revision has been compacted",
            "older revisions were compacted: ask for a newer one, or without --rev",
        ),
        (
            "required revision is a future revision",
            "the cluster is not there yet: `endpoint status -w fields` shows its revision",
        ),
        ("user name is empty", "the cluster asks who speaks: --user NAME[:PASSWORD]"),
        ("permission denied", "`user get NAME --detail` shows what the user may do"),
        ("authentication failed", "check --user and --password"),
        ("no leader", "more than half of the members must run: `endpoint health --cluster`"),
        ("too many requests", "the members are busy: try again, or with fewer requests at a time"),
        (
            "requested lease not found",
            "the lease is over or was never granted: `lease list` shows those that are",
        ),
    ];
    if matches!(fault, Fault::Deadline { failures, .. } if !failures.is_empty()) {
        return Some(
            "is a member running there? --endpoints says where to look, --command-timeout how long to wait",
        );
    }
    HINTS.iter().find(|(part, _)| text.contains(part)).map(|(_, hint)| *hint)
}
