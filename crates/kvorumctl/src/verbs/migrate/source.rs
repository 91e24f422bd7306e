//! The v2 tree as it is read, and the keys that it becomes.

use base64::Engine as _;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::failure::{Failure, exit};
use crate::session::Session;

/// What stands in a URL as it is.
const OPEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Stands for bytes that are no text, which v2's JSON cannot carry.
const LOST: char = '\u{fffd}';

/// What was read.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Of the first path; the others were read right after.
    pub(crate) index: u64,
    pub(crate) nodes: Vec<Node>,
}

/// A node with its descendants.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) path: String,
    /// Nothing for a directory.
    value: Option<String>,
    /// Seconds left; nothing for a node that stays.
    ttl: Option<i64>,
    nodes: Vec<Node>,
}

/// A key to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// Seconds left when it was read: its own or those of a directory around it, whichever ends first.
    pub(crate) ttl: Option<i64>,
}

/// Reads everything at some paths and below, each through a majority.
pub(crate) async fn read(session: &Session, paths: &[String], user: Option<&str>) -> Result<Tree, Failure> {
    let mut tree = Tree { index: 0, nodes: Vec::new() };
    for path in paths {
        let (index, event) = ask(session, path, "?recursive=true&sorted=true&quorum=true", user).await?;
        tree.index = if tree.index == 0 { index } else { tree.index };
        let node = event.get("node").and_then(node).ok_or_else(|| odd(path))?;
        if node.path == "/" || node.path.is_empty() {
            tree.nodes.extend(node.nodes);
        } else {
            tree.nodes.push(node);
        }
    }
    Ok(tree)
}

/// Where the keyspace stands now.
pub(crate) async fn index(session: &Session, paths: &[String], user: Option<&str>) -> Result<u64, Failure> {
    let path = paths.first().map_or("/", String::as_str);
    Ok(ask(session, path, "?quorum=true", user).await?.0)
}

async fn ask(
    session: &Session,
    path: &str,
    query: &str,
    user: Option<&str>,
) -> Result<(u64, Value), Failure> {
    let path = path.trim_start_matches('/');
    let target = format!("/v2/keys/{}{query}", utf8_percent_encode(path, OPEN));
    let basic = user.map(|user| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user)));
    let page = session.client.page(&target, basic.as_deref(), session.patience()).await?;
    let index = page.headers.get("x-etcd-index").and_then(|index| index.to_str().ok()?.parse().ok());
    let body: Option<Value> = serde_json::from_slice(&page.body).ok();
    match (page.status, index, body) {
        (200, Some(index), Some(body)) => Ok((index, body)),
        (status, _, Some(body)) if body["errorCode"].is_number() => {
            let told = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
            Err(Failure::error(format!("/{path}: {} ({status}): {}", told("message"), told("cause"))))
        }
        (404, ..) => Err(Failure {
            status: exit::ERROR,
            text: Some("the source does not serve v2".to_owned()),
            details: vec!["hint: etcd wants --enable-v2".to_owned()],
        }),
        (status, ..) => Err(Failure::error(format!("/{path}: the source answers {status}"))),
    }
}

fn odd(path: &str) -> Failure {
    Failure::error(format!("{path}: the source's answer is no node of v2"))
}

/// As deep as v2's own answer.
fn node(told: &Value) -> Option<Node> {
    let nodes = told["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let value = told["value"].as_str().map(str::to_owned);
    Some(Node {
        path: told["key"].as_str().unwrap_or_default().to_owned(),
        value: if told["dir"].as_bool().unwrap_or(false) { None } else { Some(value?) },
        // Of what is about to go no seconds are told.
        ttl: told.get("expiration").map(|_| told["ttl"].as_i64().unwrap_or(0)),
        nodes: nodes.iter().map(node).collect::<Option<_>>()?,
    })
}

/// The keys that a tree becomes, in order.
pub(crate) fn entries(tree: &Tree, prefix: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for node in &tree.nodes {
        add(node, prefix, None, &mut entries);
    }
    entries.sort_by(|left, right| left.key.cmp(&right.key));
    entries.dedup_by(|left, right| left.key == right.key);
    entries
}

fn add(node: &Node, prefix: &[u8], around: Option<i64>, entries: &mut Vec<Entry>) {
    let ttl = match (node.ttl, around) {
        (Some(own), Some(around)) => Some(own.min(around)),
        (own, around) => own.or(around),
    };
    if ttl.is_some_and(|ttl| ttl <= 0) {
        return;
    }
    let key = |end: &[u8]| [prefix, node.path.trim_start_matches('/').as_bytes(), end].concat().into();
    if let Some(value) = &node.value {
        entries.push(Entry { key: key(b""), value: value.clone().into(), ttl });
        return;
    }
    if node.nodes.is_empty() || node.ttl.is_some() {
        entries.push(Entry { key: key(b"/"), value: Bytes::new(), ttl });
    }
    for child in &node.nodes {
        add(child, prefix, ttl, entries);
    }
}

impl Tree {
    /// How many files and directories there are, and how many of both go one day.
    pub(crate) fn count(&self) -> (usize, usize, usize) {
        let mut count = (0, 0, 0);
        self.each(&mut |node| {
            count.0 += usize::from(node.value.is_some());
            count.1 += usize::from(node.value.is_none());
            count.2 += usize::from(node.ttl.is_some());
        });
        count
    }

    /// Files whose values were no text, and came as something else.
    pub(crate) fn damaged(&self) -> Vec<String> {
        let mut damaged = Vec::new();
        self.each(&mut |node| {
            if node.value.as_ref().is_some_and(|value| value.contains(LOST)) {
                damaged.push(node.path.clone());
            }
        });
        damaged
    }

    fn each(&self, visit: &mut dyn FnMut(&Node)) {
        fn descend(node: &Node, visit: &mut dyn FnMut(&Node)) {
            visit(node);
            node.nodes.iter().for_each(|node| descend(node, visit));
        }
        self.nodes.iter().for_each(|node| descend(node, visit));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_becomes_keys() {
        let root = json!({"dir": true, "nodes": [
            {"key": "/a", "dir": true, "expiration": "x", "ttl": 9, "nodes": [
                {"key": "/a/b", "value": "1"},
                {"key": "/a/c", "value": "2", "expiration": "x", "ttl": 5},
                {"key": "/a/d", "value": "gone", "expiration": "x"},
            ]},
            {"key": "/e", "dir": true},
            {"key": "/f", "value": ""},
        ]});
        let tree = Tree { index: 7, nodes: node(&root).expect("a tree").nodes };
        let entries = entries(&tree, b"/p/");
        let told: Vec<_> = entries
            .iter()
            .map(|entry| (String::from_utf8_lossy(&entry.key).into_owned(), entry.ttl))
            .collect();
        let expect =
            [("/p/a/", Some(9)), ("/p/a/b", Some(9)), ("/p/a/c", Some(5)), ("/p/e/", None), ("/p/f", None)];
        assert_eq!(told, expect.map(|(key, ttl)| (key.to_owned(), ttl)));
        assert_eq!(tree.count(), (4, 2, 3));
        assert!(tree.damaged().is_empty());
    }
}
