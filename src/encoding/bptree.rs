//! An order-statistic B+ tree of (score, member): big sorted sets.
//!
//! Invariant: elements ascend by score, then by the member's bytes, and no element is there twice;
//! every inner node knows how many elements each child holds, so rank, range and pop are
//! O(log n). All nodes are shared by the clones of a tree and copied on the way to a change: a clone
//! costs one count for every few thousand elements and never changes.
//!
//! Departures from the textbook: leaves are sized by bytes and grow in the steps of the allocator;
//! they have numbers that hold while an element stays in its leaf, and whoever keeps such numbers
//! (the map of a sorted set does) is told when elements move; a member above `LARGE` bytes has a
//! leaf of its own; an insert that finds its leaf full splits it and descends again; a node is joined
//! with a neighbour only when it has become small.
//!
//! Source: Comer, "The Ubiquitous B-Tree"; order statistics as in Redis' skiplist spans.

mod inner;
mod leaf;
mod leaves;
#[cfg(test)]
mod tests;

use inner::{FANOUT_MIN, Inner, Node, Separator, Split};
use leaf::OVERHEAD;
pub use leaf::{Element, Leaf, Probe};
pub use leaves::LeafId;
use leaves::Leaves;

use super::shared::Shared;

/// Told of each member that leaves a leaf, and of the one that it goes to; none if it is removed.
pub type Moved<'a> = &'a mut dyn FnMut(&[u8], LeafId, Option<LeafId>);

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Node,
    leaves: Leaves,
    len: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// No elements.
    pub fn new() -> Self {
        let mut leaves = Leaves::new();
        let root = Node::Leaf(leaves.add(Leaf::new()));
        Tree { root, leaves, len: 0 }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The leaf with this number.
    #[inline]
    pub fn leaf(&self, id: LeafId) -> &Leaf {
        self.leaves.get(id)
    }

    /// Fetches what `leaf` reads.
    #[inline]
    pub fn prefetch_place(&self, id: LeafId) {
        self.leaves.prefetch(id);
    }

    /// Inserts an element that is not there, with the mark of its member; returns its leaf.
    pub fn insert(&mut self, element: &Element<'_>, mark: u8, moved: Moved<'_>) -> LeafId {
        assert!(!element.score.is_nan(), "a score is a number");
        loop {
            let mut insertion = Insertion { leaves: &mut self.leaves, element, mark, moved };
            let outcome = insertion.below(&mut self.root, true);
            if let Some(split) = outcome.split {
                let total = self.len + u64::from(outcome.placed.is_some());
                let left_count = total - split.count;
                let left = std::mem::replace(&mut self.root, Node::Leaf(LeafId(0)));
                self.root = Node::Inner(Shared::new(Inner::root(left, left_count, split)));
            }
            if let Some(id) = outcome.placed {
                self.len += 1;
                return id;
            }
        }
    }

    /// Removes an element; false if it is not there. `moved` is told of others only.
    pub fn remove(&mut self, element: &Element<'_>, moved: Moved<'_>) -> bool {
        self.remove_at(element, None, moved)
    }

    /// `remove` of an element whose place in its leaf is known.
    pub fn remove_at(
        &mut self,
        element: &Element<'_>,
        at: Option<usize>,
        moved: Moved<'_>,
    ) -> bool {
        let mut removal = Removal { leaves: &mut self.leaves, moved };
        let removed = removal.element(&mut self.root, element, at);
        self.finish(u64::from(removed));
        removed
    }

    /// Removes the elements from number `from` to before number `to`. O(log n + elements removed).
    pub fn remove_range(&mut self, from: u64, to: u64, moved: Moved<'_>) {
        let mut left = to.min(self.len).saturating_sub(from);
        while left > 0 {
            let mut removal = Removal { leaves: &mut self.leaves, moved };
            let removed = removal.span(&mut self.root, from, left);
            self.finish(removed);
            left -= removed;
        }
    }

    /// Gives the element at place `at` of a leaf another score if that leaves it in this leaf; false
    /// if it might not. `element` is the member there and the new score.
    pub fn set_score(&mut self, id: LeafId, at: usize, element: &Element<'_>) -> bool {
        let leaf = self.leaves.get(id);
        let (Ok(place) | Err(place)) = leaf.search(element);
        // Before the first and behind the last one begin other leaves.
        let within = 0 < place && place < leaf.count();
        if !within && !matches!(self.root, Node::Leaf(_)) {
            return false;
        }
        let to = if place > at { place - 1 } else { place };
        let leaf = self.leaves.get_mut(id);
        if to == at {
            leaf.set_score(at, element.score);
        } else {
            leaf.relocate(at, to, element);
        }
        true
    }

    /// The number of an element, 0-based. None if it is not there.
    pub fn rank(&self, element: &Element<'_>) -> Option<u64> {
        let (before, leaf) = self.descend(|inner| inner.child_of(&self.leaves, element));
        leaf.search(element).ok().map(|at| before + at as u64)
    }

    /// How many elements satisfy `before`, which no element does behind one that does not.
    pub fn count_before(&self, before: impl Fn(Probe<'_>) -> bool) -> u64 {
        let (passed, leaf) = self.descend(|inner| inner.child_for(&self.leaves, &before));
        passed + leaf.partition_point(|_, probe| before(probe)) as u64
    }

    /// Element number `rank`.
    pub fn nth(&self, rank: u64) -> Option<Element<'_>> {
        (rank < self.len).then(|| {
            let (leaf, at) = self.leaf_of(rank);
            leaf.get(at)
        })
    }

    /// The elements from number `from` to before number `to`, from both ends.
    pub fn range(&self, from: u64, to: u64) -> Range<'_> {
        let back = to.min(self.len);
        Range { tree: self, front: from.min(back), back, first: None, last: None }
    }

    /// Shows the elements from number `from` to before number `to`, which lie within the tree, in
    /// order. One descent in all.
    #[inline]
    pub fn visit<'a>(&'a self, from: u64, to: u64, mut show: impl FnMut(Element<'a>)) {
        self.visit_below(&self.root, from, to, &mut show);
    }

    /// All elements.
    pub fn elements(&self) -> Range<'_> {
        self.range(0, self.len)
    }

    /// Bytes allocated, where nothing is shared; estimated where there are many leaves.
    pub fn bytes(&self) -> usize {
        let inner = match &self.root {
            Node::Leaf(_) => 0,
            // The nodes above the lowest ones are few; the root stands for all.
            Node::Inner(root) => root.bytes() / root.children.len().max(1) * self.leaves.len(),
        };
        self.leaves.bytes() + inner
    }

    /// Frees up to `units` nodes; returns the units left. When any is left, all is freed. A tree that
    /// is being freed is good for nothing else.
    pub fn free_slice(&mut self, units: usize) -> usize {
        self.len = 0;
        let mut units = self.leaves.free_slice(units);
        while units > 0
            && let Node::Inner(root) = &mut self.root
        {
            // A node that is shared is the other's to free.
            let child = root.unshared_mut().and_then(|root| {
                let child = root.children.pop()?;
                Some((root, child))
            });
            let Some((root, child)) = child else {
                self.root = Node::Leaf(LeafId(0));
                continue;
            };
            if let Node::Inner(mut inner) = child {
                units -= 1;
                if let Some(inner) = inner.unshared_mut() {
                    root.children.append(&mut inner.children);
                }
            }
        }
        units
    }

    /// Keeps the number of elements, and the root worth its while, after a removal.
    fn finish(&mut self, removed: u64) {
        self.len -= removed;
        while let Node::Inner(root) = &self.root {
            match root.children.as_slice() {
                [] => self.root = Node::Leaf(self.leaves.add(Leaf::new())),
                [only] => self.root = only.clone(),
                _ => break,
            }
        }
    }

    /// The leaf that a search ends in, and the number of elements before it.
    #[inline(always)]
    fn descend(&self, choose: impl Fn(&Inner) -> usize) -> (u64, &Leaf) {
        let (mut node, mut passed) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(id) => return (passed, self.leaves.get(*id)),
                Node::Inner(inner) => {
                    let at = choose(inner);
                    passed += inner.counts[..at].iter().sum::<u64>();
                    node = &inner.children[at];
                }
            }
        }
    }

    /// `visit` of the elements below a node. Recursion ends at the tree's depth.
    fn visit_below<'a>(
        &'a self,
        node: &'a Node,
        from: u64,
        to: u64,
        show: &mut impl FnMut(Element<'a>),
    ) {
        let inner = match node {
            Node::Leaf(id) => {
                let leaf = self.leaves.get(*id);
                return leaf.elements(from as usize, to as usize).for_each(show);
            }
            Node::Inner(inner) => inner,
        };
        let (first, mut within) = inner.child_at(from);
        let mut left = to.saturating_sub(from);
        for (child, count) in inner.children.iter().zip(&inner.counts).skip(first) {
            if left == 0 {
                break;
            }
            let shown = left.min(count - within);
            self.visit_below(child, within, within + shown, show);
            left -= shown;
            within = 0;
        }
    }

    /// The leaf of element number `rank`, which is there, and its place.
    fn leaf_of(&self, mut rank: u64) -> (&Leaf, usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(id) => return (self.leaves.get(*id), rank as usize),
                Node::Inner(inner) => {
                    let (at, within) = inner.child_at(rank);
                    (node, rank) = (&inner.children[at], within);
                }
            }
        }
    }
}

/// What became of an insert below a node.
struct Outcome {
    /// The node has become two.
    split: Option<Split>,
    /// The leaf that the element went to. None if there was no room: descend again.
    placed: Option<LeafId>,
}

/// An insert on its way.
struct Insertion<'a> {
    leaves: &'a mut Leaves,
    element: &'a Element<'a>,
    mark: u8,
    moved: Moved<'a>,
}

impl Insertion<'_> {
    /// Recursion ends at the tree's depth. `edge`: nothing is behind this node.
    fn below(&mut self, node: &mut Node, edge: bool) -> Outcome {
        let inner = match node {
            Node::Leaf(id) => return self.in_leaf(*id, edge),
            Node::Inner(inner) => inner.change(),
        };
        let at = inner.child_of(self.leaves, self.element);
        let edge = edge && at + 1 == inner.children.len();
        let Outcome { split, placed } = self.below(&mut inner.children[at], edge);
        inner.counts[at] += u64::from(placed.is_some());
        let Some(split) = split else { return Outcome { split: None, placed } };
        inner.adopt(at, split);
        Outcome { split: inner.split(edge), placed }
    }

    fn in_leaf(&mut self, id: LeafId, edge: bool) -> Outcome {
        let (element, mark) = (self.element, self.mark);
        let leaf = self.leaves.get_mut(id);
        let Err(at) = leaf.search(element) else {
            unreachable!("what is inserted is not there");
        };
        let large = element.member.len() > LARGE;
        let count = leaf.count();
        let fits = !large
            && count < LEAF_ELEMENTS_MAX
            && leaf.used() + OVERHEAD + element.member.len() <= LEAF_BYTES_MAX;
        if fits || count == 0 {
            leaf.insert(at, element, mark);
            return Outcome { split: None, placed: Some(id) };
        }
        if at == count && (edge || large || count == 1) {
            let separator = Separator::between(&leaf.get(count - 1), element);
            let right = self.leaves.add(Leaf::of(element, mark));
            let split = Split { separator, right: Node::Leaf(right), count: 1 };
            return Outcome { split: Some(split), placed: Some(right) };
        }
        let at = match at {
            // Before all the others: they go on to the right, and the next descent finds room.
            0 if large || count == 1 => return self.before_leaf(id),
            at if large => at,
            _ => leaf.middle(),
        };
        let right = leaf.split_off(at);
        let separator = Separator::between(&leaf.get(at - 1), &right.get(0));
        let count = right.count() as u64;
        let right = self.add_moved(right, id);
        Outcome { split: Some(Split { separator, right: Node::Leaf(right), count }), placed: None }
    }

    /// The element takes the leaf over; what was in it goes to a leaf behind.
    fn before_leaf(&mut self, id: LeafId) -> Outcome {
        let own = Leaf::of(self.element, self.mark);
        let right = std::mem::replace(self.leaves.get_mut(id), own);
        let separator = Separator::between(self.element, &right.get(0));
        let count = right.count() as u64;
        let right = self.add_moved(right, id);
        let split = Split { separator, right: Node::Leaf(right), count };
        Outcome { split: Some(split), placed: Some(id) }
    }

    /// Takes a leaf in whose elements come from leaf `from`.
    fn add_moved(&mut self, leaf: Leaf, from: LeafId) -> LeafId {
        let to = self.leaves.add(leaf);
        tell_moved(self.leaves.get(to), from, to, self.moved);
        to
    }
}

/// A removal on its way.
struct Removal<'a> {
    leaves: &'a mut Leaves,
    moved: Moved<'a>,
}

impl Removal<'_> {
    /// Removes an element below a node; `place`: where it is in its leaf, if that is known.
    /// Recursion ends at the tree's depth.
    fn element(&mut self, node: &mut Node, element: &Element<'_>, place: Option<usize>) -> bool {
        let inner = match node {
            Node::Leaf(id) => {
                let leaf = self.leaves.get_mut(*id);
                let Some(at) = place.or_else(|| leaf.search(element).ok()) else { return false };
                leaf.remove(at, at + 1);
                return true;
            }
            Node::Inner(inner) => inner.change(),
        };
        let at = inner.child_of(self.leaves, element);
        let removed = self.element(&mut inner.children[at], element, place);
        if removed {
            inner.counts[at] -= 1;
            self.settle(inner, at);
        }
        removed
    }

    /// Removes up to `max` elements of the leaf that holds element number `rank`, from it on.
    fn span(&mut self, node: &mut Node, rank: u64, max: u64) -> u64 {
        let inner = match node {
            Node::Leaf(id) => {
                let leaf = self.leaves.get(*id);
                let (from, to) = (rank, rank.saturating_add(max).min(leaf.count() as u64));
                (from..to).for_each(|at| (self.moved)(leaf.member(at as usize), *id, None));
                self.leaves.get_mut(*id).remove(from as usize, to as usize);
                return to - from;
            }
            Node::Inner(inner) => inner.change(),
        };
        let (at, rank) = inner.child_at(rank);
        let removed = self.span(&mut inner.children[at], rank, max);
        inner.counts[at] -= removed;
        self.settle(inner, at);
        removed
    }

    /// Drops child `at` if it is empty, joins it with a neighbour if it is small.
    fn settle(&mut self, inner: &mut Inner, at: usize) {
        match &inner.children[at] {
            Node::Leaf(id) => {
                let id = *id;
                let leaf = self.leaves.get(id);
                if leaf.count() == 0 {
                    self.leaves.free(id);
                    inner.drop_child(at, false);
                } else if leaf.used() < LEAF_BYTES_MIN {
                    self.join_leaf(inner, at, id);
                }
            }
            Node::Inner(child) => {
                if child.children.is_empty() {
                    inner.drop_child(at, false);
                } else if child.children.len() < FANOUT_MIN && !inner.join_inner(at) && at > 0 {
                    inner.join_inner(at - 1);
                }
            }
        }
    }

    /// Moves the elements of a small leaf to a neighbour that has room.
    fn join_leaf(&mut self, inner: &mut Inner, at: usize, id: LeafId) {
        let small = self.leaves.get(id);
        let has_room = |neighbour: &Leaf| {
            small.used() + neighbour.used() <= LEAF_BYTES_JOINED
                && small.count() + neighbour.count() <= LEAF_ELEMENTS_MAX
        };
        for (at_neighbour, behind) in [(at.wrapping_sub(1), false), (at + 1, true)] {
            let Some(&Node::Leaf(neighbour)) = inner.children.get(at_neighbour) else { continue };
            if !has_room(self.leaves.get(neighbour)) {
                continue;
            }
            let mut small = self.leaves.free(id);
            tell_moved(&small, id, neighbour, self.moved);
            let target = self.leaves.get_mut(neighbour);
            if behind {
                small.append(target);
                *target = small;
            } else {
                target.append(&small);
            }
            inner.counts[at_neighbour] += inner.counts[at];
            inner.drop_child(at, behind);
            return;
        }
    }
}

fn tell_moved(leaf: &Leaf, from: LeafId, to: LeafId, moved: Moved<'_>) {
    (0..leaf.count()).for_each(|at| moved(leaf.member(at), from, Some(to)));
}

/// The elements of a range, from both ends. One short descent for each leaf.
#[derive(Clone)]
pub struct Range<'a> {
    tree: &'a Tree,
    front: u64,
    back: u64,
    /// The leaf of the front and the place in it.
    first: Option<(&'a Leaf, usize)>,
    /// The leaf of the back and the place behind it.
    last: Option<(&'a Leaf, usize)>,
}

impl<'a> Iterator for Range<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (leaf, at) = match self.first {
            Some((leaf, at)) if at < leaf.count() => (leaf, at),
            _ => self.tree.leaf_of(self.front),
        };
        self.first = Some((leaf, at + 1));
        self.front += 1;
        Some(leaf.get(at))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.back - self.front).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Range<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= 1;
        let (leaf, behind) = match self.last {
            Some((leaf, behind)) if behind > 0 => (leaf, behind),
            _ => {
                let (leaf, at) = self.tree.leaf_of(self.back);
                (leaf, at + 1)
            }
        };
        self.last = Some((leaf, behind - 1));
        Some(leaf.get(behind - 1))
    }
}

impl ExactSizeIterator for Range<'_> {}

/// Members above this have a leaf of their own: no change of a neighbour moves them.
const LARGE: usize = 1024;
/// A leaf and the allocator's header in one class of 2 KiB.
const LEAF_BYTES_MAX: usize = 2048 - leaf::ARC_HEADER;
/// A leaf with less in use looks for a neighbour to join.
const LEAF_BYTES_MIN: usize = LEAF_BYTES_MAX / 4;
/// Bytes of joined leaves: room is left, so that they do not split again soon.
const LEAF_BYTES_JOINED: usize = LEAF_BYTES_MAX / 4 * 3;
/// Elements of a leaf: bounds what a split tells of.
const LEAF_ELEMENTS_MAX: usize = 128;
