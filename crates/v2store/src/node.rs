//! A node of the tree: a file or a directory. It does not know its own name.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::v2::{Expiry, Timestamp};

/// Nodes of a directory by name. Their order is the order of their full keys too, since they share a parent.
pub(crate) type Children = BTreeMap<Box<str>, Node>;

/// A file or a directory, with its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) created_index: u64,
    pub(crate) modified_index: u64,
    pub(crate) expiration: Option<Timestamp>,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    File(Bytes),
    Directory(Children),
}

impl Node {
    /// The root: always there, never written, never on disk.
    pub(crate) fn root() -> Self {
        Self { created_index: 0, modified_index: 0, expiration: None, content: Content::empty_directory() }
    }

    /// A node made at `index`.
    pub(crate) fn new(index: u64, expiry: Expiry, content: Content) -> Self {
        Self { created_index: index, modified_index: index, expiration: expiry.time(), content }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    pub(crate) fn children(&self) -> Option<&Children> {
        match &self.content {
            Content::File(_) => None,
            Content::Directory(children) => Some(children),
        }
    }

    pub(crate) fn children_mut(&mut self) -> Option<&mut Children> {
        match &mut self.content {
            Content::File(_) => None,
            Content::Directory(children) => Some(children),
        }
    }

    /// Whether it is a directory with something in it.
    pub(crate) fn has_children(&self) -> bool {
        self.children().is_some_and(|children| !children.is_empty())
    }
}

impl Content {
    pub(crate) fn empty_directory() -> Self {
        Self::Directory(Children::new())
    }

    /// A file with a copy of `value`: a slice of the log entry that brought it would keep the whole entry in
    /// memory for as long as the file lives.
    pub(crate) fn file(value: &Bytes) -> Self {
        Self::File(Bytes::copy_from_slice(value))
    }
}

/// Left out of listings of its parent, though it can be read by its own path.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('_')
}
