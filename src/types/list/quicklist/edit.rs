//! Changes in the middle of a quicklist: which node takes an element, which nodes are split or
//! joined. Nodes are known by their numbers.
//! Source: behaviour of Redis 8.0.6, as seen in DUMP.

use super::*;
use crate::types::list::{Side, equal_in_pack};

/// An element in the list: its node, and where in there.
#[derive(Clone, Copy)]
struct Spot {
    node: usize,
    /// Position in the listpack; 0 in a node of one element.
    pos: usize,
    is_first: bool,
    is_last: bool,
}

/// Equal elements of one node.
struct Matches {
    node: usize,
    /// All elements of the node.
    elements: u32,
    /// Where the equal ones are, ascending.
    positions: Vec<usize>,
}

impl QuickList {
    /// Inserts an item beside the first element that equals `pivot`; false if there is none.
    pub(in crate::types::list) fn insert(
        &mut self,
        pivot: &[u8],
        side: Side,
        item: Item<'_>,
        limits: Limits,
    ) -> bool {
        let Some(spot) = self.spot_of(pivot) else { return false };
        self.insert_at(spot, side, item, self.own(limits));
        true
    }

    /// Puts an item in the place of element `index`; false if there is none.
    pub(in crate::types::list) fn set(
        &mut self,
        index: u64,
        item: Item<'_>,
        limits: Limits,
    ) -> bool {
        let limits = self.own(limits);
        let Some((number, offset)) = self.nodes.find(index) else { return false };
        let is_large = limits.is_large(item.len());
        let node = self.nodes.node(number);
        if node.is_plain() {
            if is_large {
                let new = Node::of(item, limits);
                self.change_node(number, |node| *node = new);
            } else {
                let spot = Spot { node: number, pos: 0, is_first: true, is_last: true };
                self.insert_at(spot, Side::After, item, limits);
                self.remove_nodes(number..number + 1);
            }
        } else if is_large || node.size() + item.len() > NODE_BYTES_MAX {
            self.set_apart(number, offset, item, limits);
        } else {
            self.change_node(number, |node| {
                let pos = node.seek(offset);
                node.replace(pos, item);
            });
        }
        true
    }

    /// Removes up to `limit` elements that equal `wanted`, going towards `end`.
    pub(in crate::types::list) fn remove_equal(
        &mut self,
        wanted: &[u8],
        limit: u64,
        end: End,
    ) -> u64 {
        let mut removed = 0;
        let mut next = match end {
            End::Tail => Some(0),
            End::Head => self.nodes.len().checked_sub(1),
        };
        while removed < limit
            && let Some(from) = next
            && let Some(found) = self.matches_from(from, end, wanted, limit - removed)
        {
            removed += found.positions.len() as u64;
            let is_gone = found.positions.len() as u64 == u64::from(found.elements);
            if is_gone {
                self.remove_nodes(found.node..found.node + 1);
            } else {
                self.change_node(found.node, |node| node.remove_all(&found.positions));
            }
            next = match end {
                End::Tail => Some(found.node + usize::from(!is_gone)),
                End::Head => found.node.checked_sub(1),
            };
        }
        removed
    }

    /// The first node from number `from` on in the direction of `end` with elements that equal
    /// `wanted`, of which up to `limit` are listed.
    fn matches_from(&self, from: usize, end: End, wanted: &[u8], limit: u64) -> Option<Matches> {
        let mut buffer = Vec::new();
        for (passed, node) in self.nodes.walk(from, end).enumerate() {
            let positions = match node.contents(&mut buffer) {
                Contents::Plain(item) if item.eq_bytes(wanted) => vec![0],
                Contents::Plain(_) => Vec::new(),
                Contents::Packed(pack) => equal_in_pack(pack, wanted, limit, end),
            };
            if !positions.is_empty() {
                let number = if end == End::Tail { from + passed } else { from - passed };
                return Some(Matches { node: number, elements: node.elements(), positions });
            }
        }
        None
    }

    /// The first element that equals `wanted`.
    fn spot_of(&self, wanted: &[u8]) -> Option<Spot> {
        let mut buffer = Vec::new();
        for (node, held) in self.nodes.walk(0, End::Tail).enumerate() {
            match held.contents(&mut buffer) {
                Contents::Plain(item) if item.eq_bytes(wanted) => {
                    return Some(Spot { node, pos: 0, is_first: true, is_last: true });
                }
                Contents::Plain(_) => {}
                Contents::Packed(pack) => {
                    if let Some(pos) = pack.find(wanted, listpack::HEADER, 0) {
                        let (is_first, is_last) =
                            (pos == listpack::HEADER, pack.next(pos).is_none());
                        return Some(Spot { node, pos, is_first, is_last });
                    }
                }
            }
        }
        None
    }

    /// Inserts an item beside an element: into its node if there is room, else into a neighbour
    /// that it touches, else into a node of its own, else into a part of the node.
    fn insert_at(&mut self, spot: Spot, side: Side, item: Item<'_>, limits: Limits) {
        let len = item.len();
        let is_large = limits.is_large(len);
        let beside = match side {
            Side::Before => spot.node,
            Side::After => spot.node + 1,
        };
        let is_at_edge = match side {
            Side::Before => spot.is_first,
            Side::After => spot.is_last,
        };
        let neighbour = match side {
            Side::Before => spot.node.checked_sub(1),
            Side::After => Some(beside).filter(|next| *next < self.nodes.len()),
        };
        let takes = |node: usize| !is_large && self.nodes.node(node).allows(len, limits);
        if takes(spot.node) {
            self.change_node(spot.node, |node| {
                let pos = edge_of(node, spot.pos, side);
                node.insert(pos, item);
            });
        } else if !is_at_edge {
            self.insert_between(spot, side, item, limits);
        } else if let Some(neighbour) = neighbour.filter(|node| takes(*node)) {
            self.change_node(neighbour, |node| match side {
                Side::Before => node.push(End::Tail, item),
                Side::After => node.push(End::Head, item),
            });
        } else {
            self.insert_node(beside, Node::of(item, limits));
        }
    }

    /// Splits the node of an element beside it and puts the item there: alone if it is large, else
    /// into the part that the element is not in.
    fn insert_between(&mut self, spot: Spot, side: Side, item: Item<'_>, limits: Limits) {
        let upper = self.nodes.change(spot.node, |node| {
            let pos = edge_of(node, spot.pos, side);
            node.split_off(pos)
        });
        self.insert_node(spot.node + 1, upper);
        if limits.is_large(item.len()) {
            self.insert_node(spot.node + 1, Node::of(item, limits));
            return self.compress(spot.node);
        }
        let (taking, end, keeping) = match side {
            Side::Before => (spot.node, End::Tail, spot.node + 1),
            Side::After => (spot.node + 1, End::Head, spot.node),
        };
        self.nodes.change(taking, |node| node.push(end, item));
        self.merge_around(keeping, limits);
    }

    /// Replaces element `offset` of a node by an item that the node cannot take.
    fn set_apart(&mut self, number: usize, offset: u32, item: Item<'_>, limits: Limits) {
        let elements = self.nodes.node(number).elements();
        if offset + 1 < elements {
            let upper = self.nodes.change(number, |node| {
                let pos = node.seek(offset + 1);
                node.split_off(pos)
            });
            self.insert_node(number + 1, upper);
        }
        self.insert_node(number + 1, Node::of(item, limits));
        if offset == 0 {
            self.remove_nodes(number..number + 1);
        } else {
            self.nodes.change(number, |node| node.drop_end(End::Tail));
            self.merge_around(number + 1, limits);
        }
    }

    /// Joins the nodes around number `center` where two fit one node: those before it, those behind
    /// it, then it with its neighbours.
    fn merge_around(&mut self, mut center: usize, limits: Limits) {
        if center >= 2 && self.merge_with_next(center - 2, limits) {
            center -= 1;
        }
        self.merge_with_next(center + 1, limits);
        if center >= 1 && self.merge_with_next(center - 1, limits) {
            center -= 1;
        }
        self.merge_with_next(center, limits);
        for near in center.saturating_sub(1)..(center + 2).min(self.nodes.len()) {
            self.compress(near);
        }
    }

    fn merge_with_next(&mut self, number: usize, limits: Limits) -> bool {
        let fits = number + 1 < self.nodes.len()
            && self.nodes.node(number).allows_merge(self.nodes.node(number + 1), limits);
        if fits {
            let next = self.nodes.remove(number + 1);
            self.nodes.change(number, |node| node.append(&next));
            self.settle(1);
            self.compress(number);
        }
        fits
    }
}

/// The position before or behind the element at `pos`.
fn edge_of(node: &Node, pos: usize, side: Side) -> usize {
    match side {
        Side::Before => pos,
        Side::After => {
            let mut buffer = Vec::new();
            match node.contents(&mut buffer) {
                Contents::Packed(pack) => pack.get_and_skip(pos).1,
                Contents::Plain(_) => pos,
            }
        }
    }
}

/// Twice the largest limit. Redis lets LSET grow a node without end.
const NODE_BYTES_MAX: u64 = 2 * 65536;
