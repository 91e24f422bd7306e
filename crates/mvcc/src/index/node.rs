//! A node of the index and what happens when it gets too large or too small.

use std::ops::ControlFlow;

use super::leaf::Leaf;
use crate::row::Meta;

/// More children than this make an inner node split.
const CHILDREN_MAX: usize = 64;
/// Below this an inner node looks for a neighbour to merge with.
const CHILDREN_MIN: usize = 16;

pub(super) enum Node {
    Leaf(Leaf),
    Inner(Box<Inner>),
}

/// Children in key order.
#[derive(Default)]
pub(super) struct Inner {
    children: Vec<Node>,
    /// How many keys are below each child.
    counts: Vec<u64>,
    /// What divides each child from the one before it; one less than the children.
    separators: Vec<Box<[u8]>>,
}

/// What a node hands its parent when it became too large.
pub(super) struct Split {
    separator: Box<[u8]>,
    right: Node,
}

impl Node {
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.memory_bytes(),
            Self::Inner(inner) => inner.memory_bytes(),
        }
    }

    /// Its leaves that hold something, behind those that are there.
    pub(super) fn into_leaves(self, leaves: &mut Vec<Leaf>) {
        match self {
            Self::Leaf(leaf) if leaf.len() == 0 => {}
            Self::Leaf(leaf) => leaves.push(leaf),
            Self::Inner(inner) => inner.children.into_iter().for_each(|child| child.into_leaves(leaves)),
        }
    }

    /// A tree over leaves, none of them empty, whose keys ascend.
    pub(super) fn over(leaves: Vec<Leaf>) -> Self {
        let mut dividers = Vec::with_capacity(leaves.len());
        dividers.push(Box::default());
        for pair in leaves.windows(2) {
            dividers.push(separate(pair[0].key(pair[0].len() - 1), pair[1].key(0)));
        }
        let mut level: Vec<(Box<[u8]>, Self)> =
            dividers.into_iter().zip(leaves.into_iter().map(Self::Leaf)).collect();
        while level.len() > 1 {
            // As even as can be: no node is left with a single child.
            let nodes = level.len().div_ceil(CHILDREN_MAX);
            let mut rest = level.into_iter();
            level = (0..nodes)
                .map(|at| {
                    let share = rest.len().div_ceil(nodes - at);
                    inner_over(rest.by_ref().take(share))
                })
                .collect();
        }
        level.pop().map_or_else(|| Self::Leaf(Leaf::default()), |(_, node)| node)
    }

    pub(super) fn leaf_of(&self, key: &[u8]) -> &Leaf {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return leaf,
                Self::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    /// Answers whether the key is new. `last` says that no key above this node exists: keys that are appended in
    /// order then leave full nodes behind them instead of half full ones.
    pub(super) fn insert(&mut self, key: &[u8], meta: &Meta, last: bool) -> (bool, Option<Split>) {
        match self {
            Self::Leaf(leaf) => match if last { leaf.find_from_end(key) } else { leaf.find(key) } {
                Ok(at) => {
                    leaf.replace(at, key, meta);
                    (false, None)
                }
                Err(at) => {
                    leaf.insert(at, key, meta);
                    let append = last && at + 1 == leaf.len();
                    (true, leaf.is_too_large().then(|| split_leaf(leaf, append)))
                }
            },
            Self::Inner(inner) => inner.insert(key, meta, last),
        }
    }

    /// Answers whether the key was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        match self {
            Self::Leaf(leaf) => {
                let found = leaf.find(key);
                if let Ok(at) = found {
                    leaf.remove(at);
                }
                found.is_ok()
            }
            Self::Inner(inner) => inner.remove(key),
        }
    }

    /// Puts a level on top of a root that has split.
    pub(super) fn grow(&mut self, split: Split) {
        let left = std::mem::replace(self, Self::Leaf(Leaf::default()));
        let counts = vec![left.count(), split.right.count()];
        let inner = Inner { children: vec![left, split.right], counts, separators: vec![split.separator] };
        *self = Self::Inner(Box::new(inner));
    }

    /// Takes away levels that divide nothing.
    pub(super) fn shrink(&mut self, count: u64) {
        if count == 0 {
            *self = Self::Leaf(Leaf::default());
        }
        while let Self::Inner(inner) = self
            && inner.children.len() == 1
            && let Some(child) = inner.children.pop()
        {
            *self = child;
        }
    }

    pub(super) fn rank(&self, key: &[u8]) -> u64 {
        let mut below = 0;
        let mut node = self;
        loop {
            match node {
                Self::Leaf(leaf) => return below + leaf.lower_bound(key) as u64,
                Self::Inner(inner) => {
                    let at = inner.child_of(key);
                    below += inner.counts[..at].iter().sum::<u64>();
                    node = &inner.children[at];
                }
            }
        }
    }

    pub(super) fn ascend(
        &self,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Meta) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Leaf(leaf) => {
                for at in from.map_or(0, |from| leaf.lower_bound(from))..leaf.len() {
                    let (key, meta) = leaf.entry(at);
                    visit(key, meta)?;
                }
            }
            Self::Inner(inner) => {
                let first = from.map_or(0, |from| inner.child_of(from));
                let mut from = from;
                for child in &inner.children[first..] {
                    child.ascend(from.take(), visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn descend(
        &self,
        before: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Meta) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Leaf(leaf) => {
                for at in (0..before.map_or(leaf.len(), |before| leaf.lower_bound(before))).rev() {
                    let (key, meta) = leaf.entry(at);
                    visit(key, meta)?;
                }
            }
            Self::Inner(inner) => {
                let last = before.map_or(inner.children.len() - 1, |before| inner.child_of(before));
                let mut before = before;
                for child in inner.children[..=last].iter().rev() {
                    child.descend(before.take(), visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn count(&self) -> u64 {
        match self {
            Self::Leaf(leaf) => leaf.len() as u64,
            Self::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.is_small(),
            Self::Inner(inner) => inner.children.len() < CHILDREN_MIN,
        }
    }

    fn can_merge(&self, right: &Self) -> bool {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => left.can_merge(right),
            (Self::Inner(left), Self::Inner(right)) => {
                left.children.len() + right.children.len() <= CHILDREN_MAX * 3 / 4
            }
            // All leaves are equally deep.
            _ => false,
        }
    }

    /// Takes in the right neighbour, which `separator` divided from this one.
    fn merge(&mut self, separator: Box<[u8]>, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => left.append(&right),
            (Self::Inner(left), Self::Inner(right)) => {
                left.separators.push(separator);
                left.separators.extend(right.separators);
                left.counts.extend(right.counts);
                left.children.extend(right.children);
            }
            _ => debug_assert!(false, "all leaves are equally deep"),
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) -> u64 {
        let Self::Inner(inner) = self else { return self.count() };
        assert_eq!(inner.children.len(), inner.counts.len());
        assert_eq!(inner.children.len(), inner.separators.len() + 1);
        assert!(inner.children.len() <= CHILDREN_MAX);
        for (child, count) in inner.children.iter().zip(&inner.counts) {
            assert_eq!(child.check(), *count);
            assert!(*count > 0, "an empty child stayed");
        }
        self.count()
    }
}

impl Inner {
    fn child_of(&self, key: &[u8]) -> usize {
        self.separators.partition_point(|separator| separator.as_ref() <= key)
    }

    fn insert(&mut self, key: &[u8], meta: &Meta, last: bool) -> (bool, Option<Split>) {
        // Keys that come in order, as at a start, spare the search.
        let append = last && self.separators.last().is_some_and(|separator| **separator <= *key);
        let at = if append { self.children.len() - 1 } else { self.child_of(key) };
        let last = last && at + 1 == self.children.len();
        let (new, split) = self.children[at].insert(key, meta, last);
        self.counts[at] += u64::from(new);
        let Some(Split { separator, right }) = split else { return (new, None) };
        let moved = right.count();
        self.counts[at] -= moved;
        self.children.insert(at + 1, right);
        self.counts.insert(at + 1, moved);
        self.separators.insert(at, separator);
        (new, (self.children.len() > CHILDREN_MAX).then(|| self.split(last)))
    }

    fn split(&mut self, append: bool) -> Split {
        let at = if append { CHILDREN_MAX - 1 } else { self.children.len() / 2 };
        let right = Self {
            children: self.children.split_off(at),
            counts: self.counts.split_off(at),
            separators: self.separators.split_off(at),
        };
        let separator =
            self.separators.pop().expect("one divides each child from the one before, and two are here");
        Split { separator, right: Node::Inner(Box::new(right)) }
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let at = self.child_of(key);
        if !self.children[at].remove(key) {
            return false;
        }
        self.counts[at] -= 1;
        if self.counts[at] == 0 {
            self.drop_child(at);
        } else if self.children[at].is_small() && !self.merge_with_next(at) && at > 0 {
            self.merge_with_next(at - 1);
        }
        true
    }

    fn drop_child(&mut self, at: usize) {
        self.children.remove(at);
        self.counts.remove(at);
        if !self.separators.is_empty() {
            self.separators.remove(at.saturating_sub(1));
        }
    }

    fn merge_with_next(&mut self, at: usize) -> bool {
        let fits = match self.children.get(at..) {
            Some([left, right, ..]) => left.can_merge(right),
            _ => false,
        };
        if fits {
            let right = self.children.remove(at + 1);
            let separator = self.separators.remove(at);
            self.counts[at] += self.counts.remove(at + 1);
            self.children[at].merge(separator, right);
        }
        fits
    }

    fn memory_bytes(&self) -> usize {
        let own = self.children.capacity() * size_of::<Node>()
            + self.counts.capacity() * size_of::<u64>()
            + self.separators.capacity() * size_of::<Box<[u8]>>();
        let separators: usize = self.separators.iter().map(|separator| separator.len()).sum();
        let children: usize = self.children.iter().map(Node::memory_bytes).sum();
        size_of::<Self>() + own + separators + children
    }
}

/// A node over children, each with what divides it from the one before it; the first one's divides the node itself.
fn inner_over(children: impl Iterator<Item = (Box<[u8]>, Node)>) -> (Box<[u8]>, Node) {
    let (mut divider, mut inner) = (None, Inner::default());
    for (separator, child) in children {
        match divider {
            None => divider = Some(separator),
            Some(_) => inner.separators.push(separator),
        }
        inner.counts.push(child.count());
        inner.children.push(child);
    }
    (divider.unwrap_or_default(), Node::Inner(Box::new(inner)))
}

fn split_leaf(leaf: &mut Leaf, append: bool) -> Split {
    let at = if append { leaf.len() - 1 } else { leaf.len() / 2 };
    let right = leaf.split_off(at);
    let separator = separate(leaf.key(at - 1), right.key(0));
    Split { separator, right: Node::Leaf(right) }
}

/// The shortest bytes above `left` and not above `right`.
fn separate(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    right.get(..=common).unwrap_or(right).into()
}
