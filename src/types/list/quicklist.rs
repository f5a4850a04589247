//! A large list: nodes of one listpack each, or of one large element.
//!
//! Invariant: no node is empty; the first and the last `depth` nodes are not compressed, the others
//! are where that saves enough; which elements share a node is what a stock server would have.
//! Source: quicklists of Redis 8.0.6, as seen in DUMP.

mod edit;

use std::ops::Range;

use super::limits::Limits;
use super::node::{Contents, Node};
use super::sequence::Sequence;
use super::{BigString, End, Item, ListRef, Walk, position_at, visit_pack};
use crate::encoding::listpack::{self, Listpack};
use crate::types::place::Collection;
use crate::types::value::{Packing, Value};

/// The list.
#[derive(Clone, Debug)]
pub struct QuickList {
    nodes: Sequence,
    /// `list-max-listpack-size` when the list became large.
    fill: i16,
    /// `list-compress-depth` at that time.
    depth: u16,
}

impl QuickList {
    /// A list without elements.
    pub fn new(limits: Limits) -> Self {
        let limits = limits.clamped();
        Self { nodes: Sequence::default(), fill: limits.fill as i16, depth: limits.depth as u16 }
    }

    /// A list whose first node is this listpack, if it has elements.
    pub(super) fn from_pack(pack: Listpack<'_>, limits: Limits) -> Self {
        let mut list = Self::new(limits);
        if !pack.is_empty() {
            let node = Node::packed(pack.bytes().into(), pack.len() as u32);
            list.nodes.insert(0, node);
        }
        list
    }

    /// Adds a node at the end, as a file has it: a listpack, validated and not empty.
    pub fn append_pack(&mut self, pack: Vec<u8>) {
        let elements = Listpack::new(&pack).len() as u32;
        self.insert_node(self.nodes.len(), Node::packed(pack.into(), elements));
    }

    /// Adds a node at the end, as a file has it: one large element.
    pub fn append_plain(&mut self, string: BigString) {
        self.insert_node(self.nodes.len(), Node::plain(string));
    }

    /// The form that a stock server gives a complete list.
    pub fn into_collection(mut self, limits: Limits) -> Collection {
        match self.take_pack(|bytes, elements| limits.holds(bytes, elements)) {
            Some(pack) => Collection::Packed(Packing::List, pack),
            None if self.nodes.len() == 0 => Collection::empty(Packing::List),
            None => Collection::Boxed(Box::new(Value::List(self))),
        }
    }

    /// Elements.
    #[inline]
    pub fn len(&self) -> u64 {
        self.nodes.elements()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What DEBUG OBJECT says of it.
    pub fn shape(&self) -> Shape {
        Shape {
            nodes: self.nodes.len() as u64,
            fill: self.fill,
            is_compressed: self.depth != 0,
            bytes: self.nodes.walk(0, End::Tail).map(Node::size).sum(),
        }
    }

    /// Bytes allocated, where nothing is shared; from the first nodes on, the others are taken to be
    /// like them. Source: MEMORY USAGE samples as well.
    pub fn bytes(&self) -> usize {
        let samples = self.nodes.len().min(NODES_SAMPLED);
        let sampled: usize = self.nodes.walk(0, End::Tail).take(samples).map(Node::bytes).sum();
        self.nodes.bytes() + sampled * self.nodes.len() / samples.max(1)
    }

    /// Frees up to `units` nodes or chunks; returns the units left.
    pub fn free_slice(&mut self, units: usize) -> usize {
        self.nodes.free_slice(units)
    }

    /// Shows the nodes in order, as a file has them.
    pub fn visit_nodes(&self, mut visitor: impl FnMut(Contents<'_>)) {
        let mut buffer = Vec::new();
        self.nodes.walk(0, End::Tail).for_each(|node| visitor(node.contents(&mut buffer)));
    }

    /// Shows up to `count` nodes from number `index` on.
    pub fn visit_nodes_from(
        &self,
        index: usize,
        count: usize,
        mut visitor: impl FnMut(Contents<'_>),
    ) {
        let mut buffer = Vec::new();
        let nodes = self.nodes.walk(index, End::Tail).take(count);
        nodes.for_each(|node| visitor(node.contents(&mut buffer)));
    }

    /// Nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The element at an end.
    #[inline]
    pub(super) fn at_end(&self, end: End) -> Option<Item<'_>> {
        self.nodes.at_end(end)?.at_end(end)
    }

    /// Shows the elements from `index` on in the direction of `end`; false if there is none.
    pub(super) fn visit(
        &self,
        index: u64,
        end: End,
        mut visitor: impl FnMut(Item<'_>) -> Walk,
    ) -> bool {
        let Some((first, offset)) = self.nodes.find(index) else { return false };
        let mut offset = Some(offset);
        let mut buffer = Vec::new();
        for node in self.nodes.walk(first, end) {
            let walk = match (node.contents(&mut buffer), offset.take()) {
                (Contents::Plain(item), _) => visitor(item),
                (Contents::Packed(pack), offset) => {
                    let from = match offset {
                        Some(offset) => pack.seek(offset.into()),
                        None => position_at(pack, end.other()),
                    };
                    let from = from.expect("no node is empty");
                    visit_pack(pack, from, end, &mut visitor)
                }
            };
            if walk == Walk::Stop {
                break;
            }
        }
        true
    }

    /// Pushes an item at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, item: Item<'_>, limits: Limits) {
        let limits = self.own(limits);
        let len = item.len();
        if !limits.is_large(len) {
            let is_pushed = self.nodes.change_end(end, |node| {
                let allows = node.allows(len, limits);
                if allows {
                    node.push(end, item);
                } else {
                    node.shrink();
                }
                allows
            });
            if is_pushed == Some(true) {
                return;
            }
        }
        let index = match end {
            End::Head => 0,
            End::Tail => self.nodes.len(),
        };
        self.insert_node(index, Node::of(item, limits));
    }

    /// Removes the element at an end.
    #[inline]
    pub(super) fn drop_end(&mut self, end: End) {
        let left = self.nodes.change_end(end, |node| {
            node.drop_end(end);
            node.elements()
        });
        if left == Some(0) {
            let index = match end {
                End::Head => 0,
                End::Tail => self.nodes.len() - 1,
            };
            self.remove_nodes(index..index + 1);
        }
    }

    /// Removes `count` elements from `index` on; returns whole nodes that went, if they are many.
    pub(super) fn remove_range(&mut self, index: u64, count: u64) -> Option<QuickList> {
        let (first, offset) = self.nodes.find(index)?;
        let behind = index.saturating_add(count);
        let (last, kept_from) = self.nodes.find(behind).unwrap_or((self.nodes.len(), 0));
        if first == last {
            self.change_node(first, |node| node.remove_range(offset, kept_from - offset));
            return None;
        }
        if kept_from > 0 {
            self.change_node(last, |node| node.remove_range(0, kept_from));
        }
        let mut whole = first..last;
        if offset > 0 {
            self.change_node(first, |node| node.remove_range(offset, node.elements() - offset));
            whole.start += 1;
        }
        let nodes = self.remove_nodes(whole)?;
        Some(QuickList { nodes, ..*self })
    }

    /// Takes the listpack out of a list of one node, where `is_small` says so of its bytes and
    /// elements; the list is empty then.
    #[inline]
    pub(super) fn take_pack(&mut self, is_small: impl FnOnce(u64, u64) -> bool) -> Option<Vec<u8>> {
        if self.nodes.len() != 1 {
            return None;
        }
        let node = self.nodes.at_end(End::Head)?;
        if node.is_plain() || !is_small(node.size(), node.elements().into()) {
            return None;
        }
        let pack = self.nodes.change_end(End::Head, Node::take_pack);
        self.nodes = Sequence::default();
        pack
    }

    /// The limits that this list keeps.
    #[inline]
    fn own(&self, limits: Limits) -> Limits {
        Limits { fill: self.fill.into(), depth: self.depth.into(), ..limits }
    }

    /// Inserts a node, which gets number `index`; compresses what is no longer near an end.
    fn insert_node(&mut self, index: usize, node: Node) {
        self.nodes.insert(index, node);
        self.settle(0);
        self.compress(index);
    }

    /// Removes nodes; decompresses what has come near an end. Returns them if they are many.
    fn remove_nodes(&mut self, range: Range<usize>) -> Option<Sequence> {
        match range.len() {
            0 => return None,
            1 => drop(self.nodes.remove(range.start)),
            many => {
                let removed = self.nodes.remove_range(range);
                self.settle(many);
                return (many > NODES_FREED_AT_ONCE).then_some(removed);
            }
        }
        self.settle(1);
        None
    }

    /// Changes a node and leaves it as compressed as it should be.
    fn change_node(&mut self, index: usize, change: impl FnOnce(&mut Node)) {
        self.nodes.change(index, change);
        self.compress(index);
    }

    /// After an insertion, or the removal of so many nodes: what came near an end is decompressed,
    /// what is next to that is compressed.
    #[inline]
    fn settle(&mut self, removed: usize) {
        if self.depth == 0 {
            return;
        }
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        for near in depth.saturating_sub(removed.max(1))..depth.min(len) {
            for index in [near, len - 1 - near] {
                if self.nodes.node(index).is_compressed() {
                    self.nodes.change(index, Node::decompress);
                }
            }
        }
        if len > depth {
            self.compress(depth);
            self.compress(len - 1 - depth);
        }
    }

    /// Compresses a node, unless it is near an end.
    #[inline]
    fn compress(&mut self, index: usize) {
        if self.depth == 0 {
            return;
        }
        let depth = usize::from(self.depth);
        let is_inside = index >= depth && index + depth < self.nodes.len();
        if is_inside && self.nodes.node(index).is_compressible() {
            self.nodes.change(index, Node::compress);
        }
    }
}

#[cfg(test)]
impl QuickList {
    /// Checks the invariant, but for what shares a node.
    pub(super) fn check(&self) {
        self.nodes.check();
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        let mut buffer = Vec::new();
        for (index, node) in self.nodes.walk(0, End::Tail).enumerate() {
            let is_near = depth == 0 || index < depth || index + depth >= len;
            let mut copy = node.clone();
            copy.compress();
            assert_eq!(node.is_compressed(), !is_near && copy.is_compressed(), "node {index}");
            let elements = match node.contents(&mut buffer) {
                Contents::Plain(_) => 1,
                Contents::Packed(pack) => {
                    assert!(listpack::validate(pack.bytes(), true));
                    pack.len()
                }
            };
            assert!(elements > 0 && elements == node.elements() as usize);
        }
    }

    /// Nodes that are compressed.
    pub(super) fn compressed_nodes(&self) -> usize {
        self.nodes.walk(0, End::Tail).filter(|node| node.is_compressed()).count()
    }
}

/// What DEBUG OBJECT says of a quicklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Nodes.
    pub nodes: u64,
    /// `list-max-listpack-size` as the list has it.
    pub fill: i16,
    /// True if it compresses nodes.
    pub is_compressed: bool,
    /// Bytes of listpacks and large elements, before compression.
    pub bytes: u64,
}

impl<'a> From<&'a QuickList> for ListRef<'a> {
    fn from(list: &'a QuickList) -> Self {
        ListRef::Quick(list)
    }
}

/// Nodes that MEMORY USAGE looks at.
const NODES_SAMPLED: usize = 64;
/// So many nodes are freed where they are removed: waiting would cost more.
const NODES_FREED_AT_ONCE: usize = 16;
