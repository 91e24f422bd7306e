//! Answers with a name and a value on each line.

use std::fmt::{Display, Write as _};

use proto::etcdserverpb::ResponseHeader;
use proto::mvccpb::KeyValue;

use crate::go;

/// Lines that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Fields(String);

impl Fields {
    /// Begins with what every answer begins with.
    pub(crate) fn of(header: Option<&ResponseHeader>) -> Self {
        let mut fields = Self::default();
        fields.header(header);
        fields
    }

    pub(crate) fn header(&mut self, header: Option<&ResponseHeader>) {
        let header = header.copied().unwrap_or_default();
        self.value("ClusterID", header.cluster_id);
        self.value("MemberID", header.member_id);
        self.value("Revision", header.revision);
        self.value("RaftTerm", header.raft_term);
    }

    /// A number, a yes or no, or words that stand without quotes.
    pub(crate) fn value(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "\"{name}\" : {value}");
    }

    /// Bytes between quotes.
    pub(crate) fn quoted(&mut self, name: &str, bytes: &[u8]) {
        self.value(name, go::quoted(bytes));
    }

    /// A key and all that is known of it; each name begins with the prefix.
    pub(crate) fn key_value(&mut self, prefix: &str, pair: &KeyValue) {
        self.quoted(&format!("{prefix}Key"), &pair.key);
        self.value(&format!("{prefix}CreateRevision"), pair.create_revision);
        self.value(&format!("{prefix}ModRevision"), pair.mod_revision);
        self.value(&format!("{prefix}Version"), pair.version);
        self.quoted(&format!("{prefix}Value"), &pair.value);
        self.value(&format!("{prefix}Lease"), pair.lease);
    }

    /// An empty line.
    pub(crate) fn gap(&mut self) {
        self.0.push('\n');
    }

    /// Other lines behind these.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}
