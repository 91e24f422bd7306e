//! Nodes on their way into a store in which nobody has opened the v2 keyspace.

use bytes::Bytes;
use store::Batch;
use types::v2::{Path, Timestamp};

use crate::node::{Content, Node};
use crate::row::Rows;

/// Stages a node, a directory if it has no value. Its indexes are those of its creation and of its last change.
pub fn stage_node(
    path: &Path,
    (created_index, modified_index): (u64, u64),
    expiration: Option<Timestamp>,
    value: Option<Bytes>,
    batch: &mut Batch<'_>,
) {
    let content = value.map_or_else(Content::empty_directory, Content::File);
    Rows::new(batch).put(path.as_str(), &Node { created_index, modified_index, expiration, content });
}

/// Stages the index of the last change.
pub fn stage_index(index: u64, batch: &mut Batch<'_>) {
    Rows::new(batch).put_index(index);
}
