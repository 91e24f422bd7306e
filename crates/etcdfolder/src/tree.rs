//! The v2 tree as etcd's snapshot has it: clients' keys below `/1`, users and roles below `/2`, etcd's own below `/0`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use store::Batch;
use types::v2::Path;

use crate::clock;
use crate::users::Users;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tree {
    root: Node,
    current_index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    created_index: u64,
    modified_index: u64,
    expire_time: String,
    value: String,
    /// A file has none.
    children: Option<BTreeMap<String, Node>>,
}

/// Why it is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is not what etcd writes.
    #[error("the v2 tree cannot be read")]
    Json(#[from] serde_json::Error),
    /// A node is not.
    #[error("the v2 node {0:?} cannot be kept")]
    Node(String),
}

/// Stages the keys of `json`, and remembers the users. Tells the index of the last change.
pub(crate) fn stage(json: &[u8], users: &mut Users, batch: &mut Batch<'_>) -> Result<u64, TreeError> {
    if json.is_empty() {
        v2store::stage_index(0, batch);
        return Ok(0);
    }
    let Tree { root, current_index } = serde_json::from_slice(json)?;
    let mut places = root.children.unwrap_or_default();
    if let Some(keys) = places.remove("1") {
        stage_children("", keys, batch)?;
    }
    if let Some(node) = places.remove("2") {
        remember("", node, users);
    }
    v2store::stage_index(current_index, batch);
    Ok(current_index)
}

fn stage_children(path: &str, node: Node, batch: &mut Batch<'_>) -> Result<(), TreeError> {
    for (name, child) in node.children.unwrap_or_default() {
        let path = format!("{path}/{name}");
        let bad = || TreeError::Node(path.clone());
        let clean = Path::clean(&path);
        let expiration = clock::parse(&child.expire_time).ok_or_else(bad)?;
        if clean.as_str() != path || child.created_index > child.modified_index {
            return Err(bad());
        }
        let value = child.children.is_none().then(|| Bytes::copy_from_slice(child.value.as_bytes()));
        v2store::stage_node(&clean, (child.created_index, child.modified_index), expiration, value, batch);
        stage_children(&path, child, batch)?;
    }
    Ok(())
}

fn remember(path: &str, node: Node, users: &mut Users) {
    users.put(path, node.value);
    for (name, child) in node.children.unwrap_or_default() {
        remember(&format!("{path}/{name}"), child, users);
    }
}
