//! A big sorted set: a tree of its elements and a map from each member to its leaf.
//!
//! Invariant: the map holds exactly one record for each element of the tree, with the tag of its
//! member and the leaf that it is in.

use crate::base::siphash::HashKey;
use crate::encoding::bptree::{Element, LeafId, Tree};
use crate::encoding::member_map::{MemberMap, Tag};

/// Members with scores; clones share all that neither has changed.
#[derive(Clone, Debug)]
pub struct SortedSet {
    tree: Tree,
    map: MemberMap,
    hash_key: HashKey,
}

/// Where a member is.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    tag: Tag,
    leaf: LeafId,
    at: usize,
    /// Its score.
    pub score: f64,
}

/// A lookup under way: see `types/ahead.rs`.
pub struct Ahead<'a> {
    set: &'a SortedSet,
    tag: Tag,
    leaf: Option<LeafId>,
    steps: u8,
}

impl Ahead<'_> {
    /// Fetches what the next step reads.
    #[inline]
    pub fn step(&mut self) {
        let SortedSet { tree, map, .. } = self.set;
        if self.steps == 1 {
            self.leaf = map.lookup(self.tag).next();
        }
        match (self.steps, self.leaf) {
            (0, _) => map.prefetch_bucket(self.tag),
            (1, Some(leaf)) => tree.prefetch_place(leaf),
            (2, Some(leaf)) => tree.leaf(leaf).prefetch(),
            (3, Some(leaf)) => tree.leaf(leaf).prefetch_marks(),
            (4, Some(leaf)) => tree.leaf(leaf).prefetch_marked(self.tag.mark()),
            (5, Some(leaf)) => tree.leaf(leaf).prefetch_member(self.tag.mark()),
            _ => {}
        }
        self.steps += 1;
    }
}

impl SortedSet {
    /// Begins to look a member up.
    #[inline]
    pub fn ahead(&self, member: &[u8]) -> Ahead<'_> {
        let tag = self.tag(member);
        self.map.prefetch_segment(tag);
        Ahead { set: self, tag, leaf: None, steps: 0 }
    }

    /// No members. They are hashed with `hash_key`.
    pub fn new(hash_key: HashKey) -> Self {
        SortedSet { tree: Tree::new(), map: MemberMap::new(), hash_key }
    }

    /// Members.
    #[inline]
    pub fn len(&self) -> u64 {
        self.tree.len()
    }

    /// True without members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// The elements in their order.
    #[inline]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Looks a member up. O(1).
    #[inline]
    pub fn find(&self, member: &[u8]) -> Option<Found> {
        self.find_tagged(self.tag(member), member)
    }

    /// Gives a member a score; one that is there is looked up by `find` and changed by `update`.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        self.insert_tagged(self.tag(member), member, score);
    }

    /// Looks a member up and lets `change` say its new score, none to leave everything as it is;
    /// `change` is told the score that the member has. Hashes the member once.
    #[inline]
    pub fn change(&mut self, member: &[u8], change: impl FnOnce(Option<f64>) -> Option<f64>) {
        let tag = self.tag(member);
        match self.find_tagged(tag, member) {
            Some(found) => {
                if let Some(score) = change(Some(found.score)) {
                    self.update(member, found, score);
                }
            }
            None => {
                if let Some(score) = change(None) {
                    self.insert_tagged(tag, member, score);
                }
            }
        }
    }

    /// Removes a member; false if it is not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let Some(found) = self.find(member) else { return false };
        let SortedSet { tree, map, hash_key } = self;
        map.remove(found.tag, found.leaf);
        let moved = &mut |member: &[u8], from, to| note(map, hash_key, member, from, to);
        let element = Element { score: found.score, member };
        let removed = tree.remove_at(&element, Some(found.at), moved);
        assert!(removed, "what a leaf holds is in the tree");
        true
    }

    /// Removes the members from rank `from` to before rank `to`.
    pub fn remove_range(&mut self, from: u64, to: u64) {
        let SortedSet { tree, map, hash_key } = self;
        tree.remove_range(from, to, &mut |member, from, to| note(map, hash_key, member, from, to));
    }

    /// The rank of a member, 0-based from the lowest score, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(u64, f64)> {
        let score = self.find(member)?.score;
        let rank = self.tree.rank(&Element { score, member })?;
        Some((rank, score))
    }

    /// One step of ZSCAN: gives about `count` members; returns the next cursor, 0 begins and ends.
    /// A member that stays, whatever its score, is given once, as `MemberMap::scan` promises.
    pub fn scan(&self, cursor: u64, count: u64, mut emit: impl FnMut(Element<'_>)) -> u64 {
        let mut cursor = cursor as u32;
        let mut given = 0;
        let mut near = Vec::new();
        for _ in 0..count {
            cursor = self.map.scan(cursor, count - given, |tag, leaf| near.push((leaf, tag)));
            // Records that agree name all members of their leaf with that tag.
            near.sort_unstable();
            near.dedup();
            for (leaf, tag) in near.drain(..) {
                let leaf = self.tree.leaf(leaf);
                for at in leaf.marked(tag.mark()) {
                    if self.tag(leaf.member(at)) == tag {
                        emit(leaf.get(at));
                        given += 1;
                    }
                }
            }
            if cursor == 0 || given >= count {
                break;
            }
        }
        u64::from(cursor)
    }

    /// Bytes allocated, where nothing is shared; an estimate.
    pub fn bytes(&self) -> usize {
        self.tree.bytes() + self.map.bytes()
    }

    /// Frees up to `units` parts; returns the units left. When any is left, dropping the rest is
    /// cheap.
    pub fn free_slice(&mut self, units: usize) -> usize {
        self.map.free_slice(self.tree.free_slice(units))
    }

    #[inline]
    fn tag(&self, member: &[u8]) -> Tag {
        Tag::of_hash(self.hash_key.hash(member))
    }

    #[inline]
    fn find_tagged(&self, tag: Tag, member: &[u8]) -> Option<Found> {
        for id in self.map.lookup(tag) {
            let leaf = self.tree.leaf(id);
            if let Some(at) = leaf.marked(tag.mark()).find(|at| leaf.member(*at) == member) {
                return Some(Found { tag, leaf: id, at, score: leaf.score(at) });
            }
        }
        None
    }

    fn insert_tagged(&mut self, tag: Tag, member: &[u8], score: f64) {
        let SortedSet { tree, map, hash_key } = self;
        let moved = &mut |member: &[u8], from, to| note(map, hash_key, member, from, to);
        let leaf = tree.insert(&Element { score, member }, tag.mark(), moved);
        map.insert(tag, leaf);
    }

    /// Gives a member that was found another score.
    fn update(&mut self, member: &[u8], found: Found, score: f64) {
        if self.tree.set_score(found.leaf, found.at, &Element { score, member }) {
            return;
        }
        let SortedSet { tree, map, hash_key } = self;
        let moved = &mut |member: &[u8], from, to| note(map, hash_key, member, from, to);
        let element = Element { score: found.score, member };
        let removed = tree.remove_at(&element, Some(found.at), moved);
        assert!(removed, "what a leaf holds is in the tree");
        let leaf = tree.insert(&Element { score, member }, found.tag.mark(), moved);
        if leaf != found.leaf {
            map.replace(found.tag, found.leaf, leaf);
        }
    }
}

/// Keeps the map in step with the tree.
fn note(map: &mut MemberMap, hash_key: &HashKey, member: &[u8], from: LeafId, to: Option<LeafId>) {
    let tag = Tag::of_hash(hash_key.hash(member));
    match to {
        Some(to) => map.replace(tag, from, to),
        None => map.remove(tag, from),
    }
}
