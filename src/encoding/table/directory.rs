//! The table's directory: which segment holds a prefix.
//! Invariant: the entries below one prefix of `depth` bits are all that segment's index; a node
//! below the root exists only where some segment is deeper than the node's first bit.
//! Source: Fagin, Nievergelt, Pippenger, Strong, "Extendible hashing" (1979).
//!
//! ```text
//! prefix: | root bits | up to 8 bits of a node | up to 8 more | ... |          32 bits in all
//! entry:  | 1 bit: a node, not a segment | 31 bits: its index |
//! ```
//! The root grows only while it stays small beside the segments, so that one hot hash slot, whose
//! keys share 14 bits, costs a few small nodes and not a root of a million entries.

/// Marks an entry that leads to a node.
const NODE: u32 = 1 << 31;
/// Prefix bits of one node below the root.
const NODE_BITS_MAX: u32 = 8;
/// Prefix bits of the root: 2^18 entries of 4 bytes, enough for 200 million keys without nodes.
const ROOT_BITS_MAX: u32 = 18;
/// The root may have this many entries for each segment.
const ROOT_ENTRIES_PER_SEGMENT: usize = 8;
/// All bits of a prefix.
pub(super) const PREFIX_BITS: u32 = 32;

/// A complete level of the directory: `entries.len() == 1 << bits`.
#[derive(Default)]
struct Node {
    bits: u32,
    entries: Vec<u32>,
}

/// Maps prefixes to segment indexes.
pub(super) struct Directory {
    root: Vec<u32>,
    /// 32 less the bits of the root.
    root_shift: u32,
    nodes: Vec<Node>,
    free: Vec<u32>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { root: Vec::new(), root_shift: PREFIX_BITS, nodes: Vec::new(), free: Vec::new() }
    }
}

impl Directory {
    /// The segment that holds `prefix`; None while the table is empty.
    #[inline(always)]
    pub(super) fn lookup(&self, prefix: u32) -> Option<usize> {
        let index = (u64::from(prefix) >> self.root_shift) as usize;
        let entry = *self.root.get(index)?;
        if entry & NODE != 0 {
            return Some(self.descend(entry, prefix));
        }
        Some(entry as usize)
    }

    #[cold]
    fn descend(&self, mut entry: u32, prefix: u32) -> usize {
        let mut shift = self.root_shift;
        while entry & NODE != 0 {
            let node = &self.nodes[(entry & !NODE) as usize];
            shift -= node.bits;
            entry = node.entries[(prefix >> shift) as usize & (node.entries.len() - 1)];
        }
        entry as usize
    }

    /// Gives all prefixes that share the first `depth` bits of `prefix` to a segment. They must have
    /// belonged to one segment of `depth - 1` bits, or to two of `depth + 1` bits. `segments` is the
    /// number of segments, which bounds the root.
    pub(super) fn assign(&mut self, prefix: u32, depth: u32, segment: usize, segments: usize) {
        let entry = segment as u32;
        assert!(entry & NODE == 0, "segments are counted in 31 bits");
        if self.root.is_empty() {
            self.root.push(entry);
            return;
        }
        while depth > PREFIX_BITS - self.root_shift && self.may_double_root(segments) {
            self.double_root();
        }
        let shift = self.root_shift;
        if depth <= PREFIX_BITS - shift {
            return self.fill(None, shift, prefix, depth, entry);
        }
        let at = (u64::from(prefix) >> shift) as usize;
        let mut child = self.root[at];
        if child & NODE == 0 {
            child = self.add_node(Node { bits: 1, entries: vec![child; 2] });
            self.root[at] = child;
        }
        self.assign_below(child, shift, prefix, depth, entry);
    }

    /// `assign` in the node `at`, whose parent ends at bit `shift`.
    fn assign_below(&mut self, mut at: u32, mut shift: u32, prefix: u32, depth: u32, entry: u32) {
        loop {
            let node = (at & !NODE) as usize;
            while depth > PREFIX_BITS - shift + self.nodes[node].bits
                && self.nodes[node].bits < NODE_BITS_MAX
            {
                self.double_node(node);
            }
            shift -= self.nodes[node].bits;
            if depth <= PREFIX_BITS - shift {
                return self.fill(Some(node), shift, prefix, depth, entry);
            }
            let index = (prefix >> shift) as usize & (self.nodes[node].entries.len() - 1);
            at = self.nodes[node].entries[index];
            if at & NODE == 0 {
                at = self.add_node(Node { bits: 1, entries: vec![at; 2] });
                self.nodes[node].entries[index] = at;
            }
        }
    }

    /// Sets the entries of one node (or the root) for a prefix of `depth` bits; a node that was
    /// there has nothing left to tell apart, and goes.
    fn fill(&mut self, node: Option<usize>, shift: u32, prefix: u32, depth: u32, entry: u32) {
        let run = 1usize << (PREFIX_BITS - shift - depth);
        let entries = match node {
            None => &mut self.root,
            Some(node) => &mut self.nodes[node].entries,
        };
        let first = (u64::from(prefix) >> shift) as usize & (entries.len() - 1) & !(run - 1);
        let old = entries[first];
        entries[first..first + run].fill(entry);
        if old & NODE != 0 {
            assert!(run == 1, "a node tells segments apart that are deeper than itself");
            let index = old & !NODE;
            self.nodes[index as usize] = Node::default();
            self.free.push(index);
        }
    }

    fn may_double_root(&self, segments: usize) -> bool {
        self.root_shift > PREFIX_BITS - ROOT_BITS_MAX
            && self.root.len() * 2 <= segments * ROOT_ENTRIES_PER_SEGMENT
    }

    fn double_root(&mut self) {
        let old = std::mem::take(&mut self.root);
        self.root = self.doubled(&old);
        self.root_shift -= 1;
    }

    fn double_node(&mut self, node: usize) {
        let old = std::mem::take(&mut self.nodes[node].entries);
        self.nodes[node].entries = self.doubled(&old);
        self.nodes[node].bits += 1;
    }

    fn doubled(&mut self, entries: &[u32]) -> Vec<u32> {
        let mut doubled = Vec::with_capacity(entries.len() * 2);
        for &entry in entries {
            if entry & NODE == 0 {
                doubled.extend([entry; 2]);
            } else {
                doubled.extend(self.halve((entry & !NODE) as usize));
            }
        }
        doubled
    }

    /// Takes a node apart at its first bit, which its parent now looks at.
    fn halve(&mut self, node: usize) -> [u32; 2] {
        let Node { bits, entries: mut low } = std::mem::take(&mut self.nodes[node]);
        self.free.push(node as u32);
        let high = low.split_off(low.len() / 2);
        [low, high].map(|entries| {
            let first = entries[0];
            // Also where a half is a single entry: then it needs no node.
            if entries.len() == 1 || (first & NODE == 0 && entries.iter().all(|&e| e == first)) {
                return first;
            }
            self.add_node(Node { bits: bits - 1, entries })
        })
    }

    fn add_node(&mut self, node: Node) -> u32 {
        if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = node;
            return NODE | index;
        }
        self.nodes.push(node);
        NODE | (self.nodes.len() - 1) as u32
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.nodes.iter().map(|node| node.entries.capacity()).sum();
        (self.root.capacity() + entries + self.free.capacity()) * size_of::<u32>()
            + self.nodes.capacity() * size_of::<Node>()
    }
}
