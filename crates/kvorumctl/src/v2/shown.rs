//! How an answer about a key looks: the value, lines with names, or the JSON of Go's client.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::wire::Reply;
use crate::failure::Done;
use crate::output::{json_line, print, print_line, say};

/// A form of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Simple,
    Extended,
    Json,
    /// What nobody knows.
    Other(String),
}

impl Form {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "simple" => Self::Simple,
            "extended" => Self::Extended,
            "json" => Self::Json,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Shows an answer about a key.
    pub(super) fn show(&self, reply: &Reply) -> Done {
        let (action, node) = (reply.body["action"].as_str().unwrap_or_default(), &reply.body["node"]);
        let previous = &reply.body["prevNode"];
        match self {
            Self::Simple if action == "delete" => {
                print_line(&format!("PrevNode.Value: {}", text(previous, "value")))
            }
            Self::Simple => print_line(text(node, "value")),
            Self::Extended => {
                let number = |field: &str| node[field].as_i64().unwrap_or_default();
                let mut lines = format!(
                    "Key: {}\nCreated-Index: {}\nModified-Index: {}\n",
                    text(node, "key"),
                    number("createdIndex"),
                    number("modifiedIndex")
                );
                if !previous.is_null() {
                    let _ = writeln!(lines, "PrevNode.Value: {}", text(previous, "value"));
                }
                let _ = writeln!(lines, "TTL: {}\nIndex: {}", number("ttl"), reply.index);
                if action != "delete" {
                    let _ = writeln!(lines, "\n{}", text(node, "value"));
                }
                print(lines.as_bytes())
            }
            Self::Json => {
                let whole = json!({"action": action, "node": go_node(node), "prevNode": go_node(previous)});
                print(json_line(&whole).as_bytes())
            }
            Self::Other(name) => {
                say(&format!("Unsupported output format: {name}"));
                Ok(())
            }
        }
    }
}

/// A text of a node; empty where there is none.
pub(super) fn text<'a>(node: &'a Value, field: &str) -> &'a str {
    node[field].as_str().unwrap_or_default()
}

/// A node as Go's client writes it.
fn go_node(node: &Value) -> Value {
    let Some(told) = node.as_object() else { return Value::Null };
    let mut shown = Map::new();
    let mut keep = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
    keep("key", text(node, "key").into());
    if told.get("dir").and_then(Value::as_bool).unwrap_or(false) {
        keep("dir", true.into());
    }
    keep("value", text(node, "value").into());
    let nodes = told.get("nodes").and_then(Value::as_array);
    keep("nodes", nodes.map_or(Value::Null, |nodes| nodes.iter().map(go_node).collect()));
    for field in ["createdIndex", "modifiedIndex"] {
        keep(field, told.get(field).cloned().unwrap_or_else(|| 0.into()));
    }
    for field in ["expiration", "ttl"] {
        if let Some(value) = told.get(field).filter(|value| **value != json!(0)) {
            keep(field, value.clone());
        }
    }
    Value::Object(shown)
}
