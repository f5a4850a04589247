//! An inner node: children in order, how many elements each holds, and what separates them.
//!
//! Invariant: there is one separator fewer than children. A separator is greater than every element
//! of the child before it and not greater than any of the child behind it, and as short as that
//! allows. Members may have long common beginnings: a separator of `SEPARATOR_MAX` bytes is cut off
//! there, is only not greater than the child behind it, and where scores agree the first element of
//! that child decides in its place.

use std::cmp::Ordering;

use super::leaf::{Element, Leaf, Probe};
use super::leaves::{LeafId, Leaves};
use crate::encoding::shared::Shared;

/// A part of the tree. All leaves have the same depth.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(LeafId),
    Inner(Shared<Inner>),
}

impl Node {
    /// The place of its first element; the tree below is not empty.
    pub(super) fn first<'a>(&'a self, leaves: &'a Leaves) -> Probe<'a> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(id) => return leaves.get(*id).probe(0),
                Node::Inner(inner) => node = &inner.children[0],
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Inner {
    separators: Leaf,
    pub(super) counts: Vec<u64>,
    pub(super) children: Vec<Node>,
}

/// The right half of a node that has become two.
pub(super) struct Split {
    pub(super) separator: Separator,
    pub(super) right: Node,
    /// Elements in it.
    pub(super) count: u64,
}

/// What stands between two children.
pub(super) struct Separator {
    score: f64,
    prefix: Vec<u8>,
}

impl Separator {
    /// The shortest between two neighbours.
    pub(super) fn between(left: &Element<'_>, right: &Element<'_>) -> Self {
        let len = if left.score < right.score {
            0
        } else {
            let pairs = left.member.iter().zip(right.member);
            (pairs.take_while(|(a, b)| a == b).count() + 1).min(SEPARATOR_MAX)
        };
        Separator { score: right.score, prefix: right.member[..len].to_vec() }
    }

    fn element(&self) -> Element<'_> {
        Element { score: self.score, member: &self.prefix }
    }
}

impl Inner {
    /// The root of two nodes.
    pub(super) fn root(left: Node, left_count: u64, split: Split) -> Self {
        let mut inner =
            Inner { separators: Leaf::new(), counts: vec![left_count], children: vec![left] };
        inner.separators.insert(0, &split.separator.element(), 0);
        inner.counts.push(split.count);
        inner.children.push(split.right);
        inner
    }

    /// Elements below.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The child to go to: the last one that begins with an element that is `reached`, as all before
    /// it are.
    #[inline(always)]
    pub(super) fn child_for(&self, leaves: &Leaves, reached: impl Fn(Probe<'_>) -> bool) -> usize {
        self.separators.partition_point(|at, separator| {
            reached(separator)
                && (separator.member_len() < SEPARATOR_MAX
                    || reached(self.children[at + 1].first(leaves)))
        })
    }

    /// `child_for` of an element: the last child that does not begin behind it. Separators with
    /// another score are told apart by that alone.
    #[inline]
    pub(super) fn child_of(&self, leaves: &Leaves, element: &Element<'_>) -> usize {
        let (mut low, mut high) = self.separators.with_score(element.score);
        while low < high {
            let middle = low + (high - low) / 2;
            let separator = self.separators.member(middle);
            let reached = separator <= element.member
                && (separator.len() < SEPARATOR_MAX
                    || self.children[middle + 1].first(leaves).order(element) != Ordering::Greater);
            if reached {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The child that holds element number `rank`, and its number in there. The last child if there
    /// are not so many.
    #[inline]
    pub(super) fn child_at(&self, mut rank: u64) -> (usize, u64) {
        let last = self.counts.len() - 1;
        for (at, count) in self.counts[..last].iter().enumerate() {
            if rank < *count {
                return (at, rank);
            }
            rank -= count;
        }
        (last, rank)
    }

    /// Takes in what split off from child `at`, whose elements are counted with it so far.
    pub(super) fn adopt(&mut self, at: usize, split: Split) {
        self.separators.insert(at, &split.separator.element(), 0);
        self.counts[at] -= split.count;
        self.counts.insert(at + 1, split.count);
        self.children.insert(at + 1, split.right);
    }

    /// Splits in two if there are too many children; at the growing edge the left half stays full.
    pub(super) fn split(&mut self, edge: bool) -> Option<Split> {
        let len = self.children.len();
        if len <= FANOUT_MAX {
            return None;
        }
        let at = if edge { len - 2 } else { len / 2 };
        let children = self.children.split_off(at);
        let counts = self.counts.split_off(at);
        let separators = self.separators.split_off(at);
        let last = self.separators.get(at - 1);
        let separator = Separator { score: last.score, prefix: last.member.to_vec() };
        self.separators.remove(at - 1, at);
        let right = Inner { separators, counts, children };
        let count = right.count();
        Some(Split { separator, right: Node::Inner(Shared::new(right)), count })
    }

    /// Takes child `at` out, and the separator before it, or behind it if it is the first or what it
    /// held went to the child behind it.
    pub(super) fn drop_child(&mut self, at: usize, into_next: bool) {
        self.children.remove(at);
        self.counts.remove(at);
        let separator = if at == 0 || into_next { at } else { at - 1 };
        if separator < self.separators.count() {
            self.separators.remove(separator, separator + 1);
        }
    }

    /// Joins child `at` with the one behind it if both are inner nodes and together small enough.
    pub(super) fn join_inner(&mut self, at: usize) -> bool {
        let Some([Node::Inner(left), Node::Inner(right)]) = self.children.get(at..at + 2) else {
            return false;
        };
        if left.children.len() + right.children.len() > JOINED_MAX {
            return false;
        }
        let right = Shared::clone(right);
        let separator = self.separators.get(at);
        let Node::Inner(left) = &mut self.children[at] else { return false };
        let left = left.change();
        left.separators.insert(left.separators.count(), &separator, 0);
        left.separators.append(&right.separators);
        left.counts.extend_from_slice(&right.counts);
        left.children.extend(right.children.iter().cloned());
        self.counts[at] += self.counts[at + 1];
        self.drop_child(at + 1, false);
        true
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        self.separators.bytes()
            + self.counts.capacity() * size_of::<u64>()
            + self.children.capacity() * size_of::<Node>()
            + size_of::<Inner>()
    }
}

/// Children of a node; beyond them it splits.
const FANOUT_MAX: usize = 64;
/// A node with fewer children looks for a neighbour to join.
pub(super) const FANOUT_MIN: usize = 16;
/// Children of a joined node: room is left, so that it does not split again soon.
const JOINED_MAX: usize = 48;
/// Bytes of a separator's member. Keeps a node below 10 KiB.
const SEPARATOR_MAX: usize = 128;
