//! The nodes of a quicklist in two levels: branches of up to 256 nodes, and a directory of branches.
//!
//! Invariant: no branch is empty, a removal leaves no two small neighbours, and
//! the counts beside nodes and branches are theirs. So a push or pop at an end is O(1), everything
//! else O(nodes / 256), a clone shares all branches, and a change copies one branch and one node.

use std::collections::VecDeque;
use std::ops::Range;

use super::End;
use super::node::Node;
use crate::encoding::shared::Shared;

/// The nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    directory: VecDeque<Branch>,
    nodes: usize,
    elements: u64,
}

#[derive(Clone, Debug)]
struct Branch {
    elements: u64,
    nodes: usize,
    slots: Shared<Vec<Slot>>,
}

#[derive(Clone, Debug)]
struct Slot {
    elements: u32,
    node: Shared<Node>,
}

/// Where a node is: its branch, and the slot in there.
#[derive(Clone, Copy)]
struct At {
    branch: usize,
    slot: usize,
}

impl Sequence {
    /// Nodes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    /// Elements of all nodes.
    #[inline]
    pub(super) fn elements(&self) -> u64 {
        self.elements
    }

    /// Node number `index`.
    pub(super) fn node(&self, index: usize) -> &Node {
        let at = self.locate(index);
        &self.directory[at.branch].slots[at.slot].node
    }

    /// The node at an end.
    #[inline]
    pub(super) fn at_end(&self, end: End) -> Option<&Node> {
        let slot = match end {
            End::Head => self.directory.front()?.slots.first()?,
            End::Tail => self.directory.back()?.slots.last()?,
        };
        Some(&slot.node)
    }

    /// The number of the node that holds element `index`, and how many elements in it are before.
    pub(super) fn find(&self, mut index: u64) -> Option<(usize, u32)> {
        let mut nodes = 0;
        for branch in &self.directory {
            if index >= branch.elements {
                index -= branch.elements;
                nodes += branch.nodes;
                continue;
            }
            for (number, slot) in branch.slots.iter().enumerate() {
                if index < u64::from(slot.elements) {
                    return Some((nodes + number, index as u32));
                }
                index -= u64::from(slot.elements);
            }
        }
        None
    }

    /// The nodes from number `index` on in the direction of `end`.
    pub(super) fn walk(&self, index: usize, end: End) -> NodeWalk<'_> {
        let at = self.locate(index);
        NodeWalk { sequence: self, at: Some(at), end }
    }

    /// Changes a node; its counts follow.
    pub(super) fn change<T>(&mut self, index: usize, change: impl FnOnce(&mut Node) -> T) -> T {
        let at = self.locate(index);
        let branch = &mut self.directory[at.branch];
        let slot = &mut branch.slots.change()[at.slot];
        let result = change(slot.node.change());
        recount(&mut self.elements, &mut branch.elements, slot);
        result
    }

    /// Changes the node at an end; its counts follow.
    #[inline]
    pub(super) fn change_end<T>(
        &mut self,
        end: End,
        change: impl FnOnce(&mut Node) -> T,
    ) -> Option<T> {
        let branch = match end {
            End::Head => self.directory.front_mut()?,
            End::Tail => self.directory.back_mut()?,
        };
        let slots = branch.slots.change();
        let slot = match end {
            End::Head => slots.first_mut()?,
            End::Tail => slots.last_mut()?,
        };
        let result = change(slot.node.change());
        recount(&mut self.elements, &mut branch.elements, slot);
        Some(result)
    }

    /// Inserts a node, which gets number `index`.
    pub(super) fn insert(&mut self, index: usize, node: Node) {
        let slot = Slot { elements: node.elements(), node: Shared::new(node) };
        let mut at = self.locate_gap(index);
        self.nodes += 1;
        self.elements += u64::from(slot.elements);
        if index == 0 && self.directory.front().is_none_or(Branch::is_full) {
            return self.directory.push_front(Branch::of(vec![slot]));
        }
        if index + 1 == self.nodes && self.directory.back().is_none_or(Branch::is_full) {
            return self.directory.push_back(Branch::of(vec![slot]));
        }
        if self.directory[at.branch].is_full() {
            let upper = self.directory[at.branch].split_off(BRANCH_NODES_MAX / 2);
            self.directory.insert(at.branch + 1, upper);
            if at.slot > BRANCH_NODES_MAX / 2 {
                at = At { branch: at.branch + 1, slot: at.slot - BRANCH_NODES_MAX / 2 };
            }
        }
        self.directory[at.branch].insert(at.slot, slot);
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, index: usize) -> Shared<Node> {
        let at = self.locate(index);
        let branch = &mut self.directory[at.branch];
        let slot = branch.slots.change().remove(at.slot);
        branch.nodes -= 1;
        branch.elements -= u64::from(slot.elements);
        self.nodes -= 1;
        self.elements -= u64::from(slot.elements);
        if branch.nodes == 0 {
            self.directory.remove(at.branch);
        }
        self.join_around(at.branch);
        slot.node
    }

    /// Takes nodes out: O(branches); whole branches go as they are.
    pub(super) fn remove_range(&mut self, range: Range<usize>) -> Sequence {
        let first = self.split_at(range.start);
        let end = self.split_at(range.end);
        let mut removed = Sequence::default();
        removed.directory.extend(self.directory.drain(first..end));
        removed.nodes = range.len();
        removed.elements = removed.directory.iter().map(|branch| branch.elements).sum();
        self.nodes -= removed.nodes;
        self.elements -= removed.elements;
        self.join_around(first);
        removed
    }

    /// Frees up to `units` nodes or chunks from the end; returns the units left. When any is left,
    /// the sequence is empty.
    pub(super) fn free_slice(&mut self, mut units: usize) -> usize {
        while units > 0 {
            let Some(branch) = self.directory.back_mut() else { return units };
            // Of what somebody else has, too, nothing is freed here.
            if let Some(slots) = branch.slots.unshared_mut()
                && let Some(last) = slots.last_mut()
            {
                if let Some(node) = last.node.unshared_mut() {
                    units = node.free_slice(units);
                }
                if units > 0 {
                    units -= 1;
                    branch.nodes -= 1;
                    branch.elements -= u64::from(last.elements);
                    self.nodes -= 1;
                    self.elements -= u64::from(last.elements);
                    slots.pop();
                }
            } else {
                units -= 1;
                self.nodes -= branch.nodes;
                self.elements -= branch.elements;
                self.directory.pop_back();
            }
        }
        0
    }

    /// Bytes of branches and directory.
    pub(super) fn bytes(&self) -> usize {
        self.directory.capacity() * size_of::<Branch>()
            + self.nodes * size_of::<Slot>()
            + self.directory.len() * BRANCH_OVERHEAD
    }

    /// The number of the branch that begins with node number `index`, once there is such a branch.
    fn split_at(&mut self, index: usize) -> usize {
        let at = self.locate_gap(index);
        match self.directory.get_mut(at.branch) {
            Some(branch) if at.slot == branch.nodes => at.branch + 1,
            Some(branch) if at.slot > 0 => {
                let upper = branch.split_off(at.slot);
                self.directory.insert(at.branch + 1, upper);
                at.branch + 1
            }
            _ => at.branch,
        }
    }

    /// Joins what a removal left before and behind branch number `seam` with small neighbours.
    fn join_around(&mut self, seam: usize) {
        for right in [seam + 1, seam, seam.wrapping_sub(1)] {
            if right == 0 || right >= self.directory.len() {
                continue;
            }
            let together = self.directory[right - 1].nodes + self.directory[right].nodes;
            if together <= BRANCH_NODES_MAX / 2
                && let Some(right_branch) = self.directory.remove(right)
            {
                self.directory[right - 1].append(right_branch);
            }
        }
    }

    /// Where node number `index` is.
    fn locate(&self, index: usize) -> At {
        let at = self.locate_gap(index);
        match self.directory.get(at.branch) {
            Some(branch) if at.slot == branch.nodes => At { branch: at.branch + 1, slot: 0 },
            _ => at,
        }
    }

    /// Where a node would be inserted to get number `index`: at the end of a branch rather than at
    /// the beginning of the next.
    fn locate_gap(&self, index: usize) -> At {
        if index > self.nodes / 2 {
            let mut end = self.nodes;
            for (branch, one) in self.directory.iter().enumerate().rev() {
                end -= one.nodes;
                if index > end {
                    return At { branch, slot: index - end };
                }
            }
        }
        let mut begin = 0;
        for (branch, one) in self.directory.iter().enumerate() {
            if index <= begin + one.nodes {
                return At { branch, slot: index - begin };
            }
            begin += one.nodes;
        }
        At { branch: self.directory.len(), slot: 0 }
    }
}

impl Branch {
    fn of(slots: Vec<Slot>) -> Branch {
        let elements = slots.iter().map(|slot| u64::from(slot.elements)).sum();
        Branch { elements, nodes: slots.len(), slots: Shared::new(slots) }
    }

    fn is_full(&self) -> bool {
        self.nodes >= BRANCH_NODES_MAX
    }

    fn insert(&mut self, index: usize, slot: Slot) {
        self.nodes += 1;
        self.elements += u64::from(slot.elements);
        self.slots.change().insert(index, slot);
    }

    /// Keeps the slots before `index`; returns the others.
    fn split_off(&mut self, index: usize) -> Branch {
        let upper = Branch::of(self.slots.change().split_off(index));
        self.nodes -= upper.nodes;
        self.elements -= upper.elements;
        upper
    }

    fn append(&mut self, other: Branch) {
        self.nodes += other.nodes;
        self.elements += other.elements;
        self.slots.change().extend_from_slice(&other.slots);
    }
}

/// Makes the counts agree with the slot's node after a change.
#[inline]
fn recount(elements: &mut u64, of_branch: &mut u64, slot: &mut Slot) {
    let (before, now) = (slot.elements, slot.node.elements());
    slot.elements = now;
    *elements = *elements + u64::from(now) - u64::from(before);
    *of_branch = *of_branch + u64::from(now) - u64::from(before);
}

#[cfg(test)]
impl Sequence {
    /// Checks the invariant.
    pub(super) fn check(&self) {
        let (mut nodes, mut elements) = (0, 0);
        for branch in &self.directory {
            assert!(branch.nodes > 0 && branch.nodes <= BRANCH_NODES_MAX);
            assert_eq!(branch.nodes, branch.slots.len());
            let sum: u64 = branch.slots.iter().map(|slot| u64::from(slot.elements)).sum();
            assert_eq!(branch.elements, sum);
            assert!(branch.slots.iter().all(|slot| slot.elements == slot.node.elements()));
            nodes += branch.nodes;
            elements += sum;
        }
        assert_eq!((self.nodes, self.elements), (nodes, elements));
        assert_eq!(self.walk(0, End::Tail).count(), nodes);
        assert_eq!(self.walk(nodes.saturating_sub(1), End::Head).count(), nodes);
    }
}

/// Nodes one after the other.
pub(super) struct NodeWalk<'a> {
    sequence: &'a Sequence,
    at: Option<At>,
    end: End,
}

impl<'a> Iterator for NodeWalk<'a> {
    type Item = &'a Node;

    fn next(&mut self) -> Option<&'a Node> {
        let at = self.at?;
        let directory = &self.sequence.directory;
        let branch = directory.get(at.branch)?;
        self.at = match self.end {
            End::Tail if at.slot + 1 < branch.nodes => Some(At { slot: at.slot + 1, ..at }),
            End::Tail => Some(At { branch: at.branch + 1, slot: 0 }),
            End::Head if at.slot > 0 => Some(At { slot: at.slot - 1, ..at }),
            End::Head => at
                .branch
                .checked_sub(1)
                .map(|before| At { branch: before, slot: directory[before].nodes - 1 }),
        };
        Some(&branch.slots[at.slot].node)
    }
}

/// Scanning or moving this many slots takes about as long as a cache miss or two.
const BRANCH_NODES_MAX: usize = 256;
/// Vector and counters of a branch.
const BRANCH_OVERHEAD: usize = 40;
