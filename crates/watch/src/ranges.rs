//! Ranges in a tree: in order of their first key, each node knowing the greatest end below it, so that those which
//! hold a key are found without a look at most of the others.
//!
//! A treap: balanced by numbers that look random and are the same in every run.

use std::cmp::Ordering;

use types::{KeyRange, RangeEnd};

use crate::index::Members;
use crate::shelf::Shelf;

const NONE: u32 = u32::MAX;

struct Node {
    start: Box<[u8]>,
    /// Exclusive; nothing for a range to the last key.
    end: Option<Box<[u8]>>,
    members: Members,
    left: u32,
    right: u32,
    /// The node with the greatest end at or below this one.
    furthest: u32,
    priority: u32,
}

/// See the module.
pub(crate) struct Ranges {
    nodes: Shelf<Node>,
    root: u32,
    made: u64,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { nodes: Shelf::default(), root: NONE, made: 0 }
    }
}

impl Ranges {
    /// Puts a watch in: its group, and its place there.
    pub(crate) fn insert(&mut self, range: &KeyRange, slot: u32) -> (u32, u32) {
        let end = match &range.end {
            RangeEnd::Before(end) => Some(end.as_ref()),
            RangeEnd::Unbounded | RangeEnd::Single => None,
        };
        if let Some(at) = self.exact(&range.start, end) {
            return (at, self.nodes[at as usize].members.push(slot));
        }
        self.made += 1;
        let node = Node {
            start: range.start.as_ref().into(),
            end: end.map(Into::into),
            members: Members::One(slot),
            left: NONE,
            right: NONE,
            furthest: NONE,
            priority: scramble(self.made),
        };
        let at = self.nodes.insert(node) as u32;
        self.refresh(at);
        self.root = self.hang(self.root, at);
        (at, 0)
    }

    /// Takes a watch out; who is at its place now.
    pub(crate) fn remove(&mut self, group: u32, place: u32) -> Option<u32> {
        let (is_empty, moved) = self.nodes[group as usize].members.remove(place);
        if is_empty {
            self.root = self.cut(self.root, group);
            self.nodes.remove(group as usize);
        }
        moved
    }

    pub(crate) fn range_of(&self, group: u32) -> KeyRange {
        let node = &self.nodes[group as usize];
        let end = node.end.as_ref().map_or(RangeEnd::Unbounded, |end| RangeEnd::Before(end.clone().into()));
        KeyRange { start: node.start.clone().into(), end }
    }

    pub(crate) fn members(&self, group: u32) -> &[u32] {
        self.nodes[group as usize].members.as_slice()
    }

    /// The groups whose ranges hold a key.
    pub(crate) fn find(&self, key: &[u8], visit: &mut dyn FnMut(u32)) {
        self.find_below(self.root, key, visit);
    }

    // As deep as the tree, which is as deep as the logarithm of its size, a few times over.
    fn find_below(&self, at: u32, key: &[u8], visit: &mut dyn FnMut(u32)) {
        let Some(node) = self.nodes.get(at as usize) else { return };
        if !self.reaches(node.furthest, key) {
            return;
        }
        self.find_below(node.left, key, visit);
        if *node.start <= *key {
            if self.reaches(at, key) {
                visit(at);
            }
            self.find_below(node.right, key, visit);
        }
    }

    /// Whether a node's range ends behind a key.
    fn reaches(&self, at: u32, key: &[u8]) -> bool {
        self.nodes[at as usize].end.as_ref().is_none_or(|end| **end > *key)
    }

    fn exact(&self, start: &[u8], end: Option<&[u8]>) -> Option<u32> {
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            match compare((start, end), (&node.start, node.end.as_deref())) {
                Ordering::Less => at = node.left,
                Ordering::Greater => at = node.right,
                Ordering::Equal => return Some(at),
            }
        }
        None
    }

    fn order(&self, one: u32, other: u32) -> Ordering {
        let (one, other) = (&self.nodes[one as usize], &self.nodes[other as usize]);
        compare((&one.start, one.end.as_deref()), (&other.start, other.end.as_deref()))
    }

    /// Hangs a node with nothing below it into a tree; its root.
    fn hang(&mut self, root: u32, at: u32) -> u32 {
        if root == NONE {
            return at;
        }
        if self.nodes[at as usize].priority > self.nodes[root as usize].priority {
            let (left, right) = self.split(root, at);
            let node = &mut self.nodes[at as usize];
            (node.left, node.right) = (left, right);
            self.refresh(at);
            return at;
        }
        if self.order(at, root) == Ordering::Less {
            let left = self.hang(self.nodes[root as usize].left, at);
            self.nodes[root as usize].left = left;
        } else {
            let right = self.hang(self.nodes[root as usize].right, at);
            self.nodes[root as usize].right = right;
        }
        self.refresh(root);
        root
    }

    /// Takes a node out of a tree; its root.
    fn cut(&mut self, root: u32, at: u32) -> u32 {
        if root == at {
            let Node { left, right, .. } = self.nodes[at as usize];
            return self.join(left, right);
        }
        if self.order(at, root) == Ordering::Less {
            let left = self.cut(self.nodes[root as usize].left, at);
            self.nodes[root as usize].left = left;
        } else {
            let right = self.cut(self.nodes[root as usize].right, at);
            self.nodes[root as usize].right = right;
        }
        self.refresh(root);
        root
    }

    /// A tree in two: what is before a node, and what is behind it.
    fn split(&mut self, root: u32, at: u32) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        if self.order(root, at) == Ordering::Less {
            let (middle, right) = self.split(self.nodes[root as usize].right, at);
            self.nodes[root as usize].right = middle;
            self.refresh(root);
            (root, right)
        } else {
            let (left, middle) = self.split(self.nodes[root as usize].left, at);
            self.nodes[root as usize].left = middle;
            self.refresh(root);
            (left, root)
        }
    }

    /// Two trees, the one before the other, in one.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return left.min(right);
        }
        if self.nodes[left as usize].priority > self.nodes[right as usize].priority {
            let joined = self.join(self.nodes[left as usize].right, right);
            self.nodes[left as usize].right = joined;
            self.refresh(left);
            left
        } else {
            let joined = self.join(left, self.nodes[right as usize].left);
            self.nodes[right as usize].left = joined;
            self.refresh(right);
            right
        }
    }

    /// Looks anew which end at or below a node is the greatest.
    fn refresh(&mut self, at: u32) {
        let Node { left, right, .. } = self.nodes[at as usize];
        let mut furthest = at;
        for child in [left, right] {
            if let Some(node) = self.nodes.get(child as usize) {
                let (best, other) =
                    (&self.nodes[furthest as usize].end, &self.nodes[node.furthest as usize].end);
                if compare_ends(other.as_deref(), best.as_deref()) == Ordering::Greater {
                    furthest = node.furthest;
                }
            }
        }
        self.nodes[at as usize].furthest = furthest;
    }
}

type Bounds<'a> = (&'a [u8], Option<&'a [u8]>);

fn compare(one: Bounds<'_>, other: Bounds<'_>) -> Ordering {
    one.0.cmp(other.0).then_with(|| compare_ends(one.1, other.1))
}

/// No end is the greatest.
fn compare_ends(one: Option<&[u8]>, other: Option<&[u8]>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => one.cmp(other),
        (one, other) => one.is_none().cmp(&other.is_none()),
    }
}

/// Numbers that look random.
fn scramble(number: u64) -> u32 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 32) as u32
}
