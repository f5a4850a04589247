//! A leaf: elements in order, in one shared allocation that grows in small steps.
//!
//! Invariant: elements ascend by (score, member); a leaf that several trees share is copied before
//! it changes. A leaf of several elements stays below 64 KiB, so that 16 bits hold the ends of its
//! members; the one element of a leaf may be of any size.
//!
//! ```text
//! | count u16 | - 2 | heap u32 | score f64 ... | end u16 ... | mark u8 ... | free | members, last first |
//! ```
//! `end` counts bytes of members from the back of the allocation, so that element `i` lies from
//! `len - end(i)` to `len - end(i - 1)`; the last one's end is `heap`. Scores and members grow
//! towards each other. A mark is eight bits of the member's hash: a member that is not in a leaf is
//! nearly always told by its marks alone.

use std::cmp::Ordering;

use crate::base::alloc::class_size;
use crate::base::sys::{CACHE_LINE, prefetch};
use crate::encoding::shared::Shared;

/// What the allocation of an `Arc` holds before its value.
pub(in crate::encoding) const ARC_HEADER: usize = 16;
const HEADER: usize = 8;
const SCORE: usize = 8;
const END: usize = 2;
const MARK: usize = 1;
/// Bytes of an element beside its member.
pub(super) const OVERHEAD: usize = SCORE + END + MARK;

/// A score and a member: an element, or what is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The score, never NaN.
    pub score: f64,
    /// The member.
    pub member: &'a [u8],
}

impl Element<'_> {
    /// The order of elements: by score, then by bytes; 0 and -0 are the same score.
    #[inline]
    pub fn order(&self, other: &Element<'_>) -> Ordering {
        let scores = self.score.partial_cmp(&other.score).expect("a score is a number");
        scores.then_with(|| self.member.cmp(other.member))
    }
}

/// One place in a leaf; reads only what it is asked for.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    leaf: &'a Leaf,
    at: usize,
}

impl<'a> Probe<'a> {
    /// The score there.
    #[inline(always)]
    pub fn score(&self) -> f64 {
        self.leaf.score(self.at)
    }

    /// The member there.
    #[inline(always)]
    pub fn member(&self) -> &'a [u8] {
        self.leaf.member(self.at)
    }

    /// Bytes of the member there.
    #[inline(always)]
    pub(super) fn member_len(&self) -> usize {
        let count = self.leaf.count();
        self.leaf.end(count, self.at) - self.leaf.start(count, self.at)
    }

    /// How it is ordered to an element.
    #[inline(always)]
    pub fn order(&self, other: &Element<'_>) -> Ordering {
        let score = self.score();
        if score < other.score {
            Ordering::Less
        } else if score > other.score {
            Ordering::Greater
        } else {
            self.member().cmp(other.member)
        }
    }
}

/// Elements in order, shared by all clones until one of them changes.
#[derive(Clone, Debug)]
pub struct Leaf(Shared<[u8]>);

impl Leaf {
    /// No elements.
    pub(super) fn new() -> Self {
        Self::with_room(0, 0)
    }

    /// Room for so many elements with so many bytes of members, and what the allocator adds.
    fn with_room(count: usize, heap: usize) -> Self {
        let size = class_size(ARC_HEADER + HEADER + count * OVERHEAD + heap) - ARC_HEADER;
        Leaf(std::iter::repeat_n(0, size).collect())
    }

    /// One element.
    pub(super) fn of(element: &Element<'_>, mark: u8) -> Self {
        let mut leaf = Self::with_room(1, element.member.len());
        leaf.insert(0, element, mark);
        leaf
    }

    /// Elements.
    #[inline(always)]
    pub fn count(&self) -> usize {
        usize::from(u16::from_le_bytes(self.array(0)))
    }

    /// Bytes of all members.
    #[inline(always)]
    fn heap(&self) -> usize {
        u32::from_le_bytes(self.array(4)) as usize
    }

    /// Bytes in use.
    #[inline]
    pub(super) fn used(&self) -> usize {
        HEADER + self.count() * OVERHEAD + self.heap()
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        class_size(ARC_HEADER + self.0.len())
    }

    /// The score of element `at`.
    #[inline(always)]
    pub fn score(&self, at: usize) -> f64 {
        f64::from_le_bytes(self.array(HEADER + at * SCORE))
    }

    /// The member of element `at`.
    #[inline(always)]
    pub fn member(&self, at: usize) -> &[u8] {
        let count = self.count();
        let (start, end) = (self.start(count, at), self.end(count, at));
        &self.0[self.0.len() - end..self.0.len() - start]
    }

    /// Element `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Element<'_> {
        Element { score: self.score(at), member: self.member(at) }
    }

    /// The places of elements with this mark.
    #[inline]
    pub fn marked(&self, mark: u8) -> impl Iterator<Item = usize> + '_ {
        let count = self.count();
        let marks = HEADER + count * (SCORE + END);
        memchr::memchr_iter(mark, &self.0[marks..marks + count * MARK])
    }

    /// Fetches the number of elements, with the first of the rest.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(self.0.as_ptr());
    }

    /// Fetches the marks.
    #[inline]
    pub fn prefetch_marks(&self) {
        let count = self.count();
        let marks = self.0.as_ptr().wrapping_add(HEADER + count * (SCORE + END));
        (0..count + CACHE_LINE).step_by(CACHE_LINE).for_each(|at| prefetch(marks.wrapping_add(at)));
    }

    /// Fetches the score of the first element with this mark, and where its member is.
    #[inline]
    pub fn prefetch_marked(&self, mark: u8) {
        if let Some(at) = self.marked(mark).next() {
            let count = self.count();
            let ends = HEADER + count * SCORE;
            prefetch(self.0.as_ptr().wrapping_add(HEADER + at * SCORE));
            prefetch(self.0.as_ptr().wrapping_add(ends + at * END));
        }
    }

    /// Fetches the member of that one.
    #[inline]
    pub fn prefetch_member(&self, mark: u8) {
        if let Some(at) = self.marked(mark).next() {
            prefetch(self.member(at).as_ptr());
        }
    }

    /// How many elements from the first on satisfy `before`, which no element does behind one that
    /// does not.
    #[inline(always)]
    pub(super) fn partition_point(
        &self,
        mut before: impl FnMut(usize, Probe<'_>) -> bool,
    ) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(middle, Probe { leaf: self, at: middle }) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The place `at`, read lazily.
    #[inline]
    pub(super) fn probe(&self, at: usize) -> Probe<'_> {
        Probe { leaf: self, at }
    }

    /// The place of an element, or where it belongs.
    #[inline]
    pub(super) fn search(&self, element: &Element<'_>) -> Result<usize, usize> {
        let (mut low, mut high) = self.with_score(element.score);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.member(middle).cmp(element.member) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The places of the elements with a score, from the first to behind the last. Looks at the
    /// scores alone, which lie side by side.
    #[inline]
    pub(super) fn with_score(&self, score: f64) -> (usize, usize) {
        let scores = self.scores();
        let from = scores.partition_point(|own| f64::from_le_bytes(*own) < score);
        let equal = scores[from..].partition_point(|own| f64::from_le_bytes(*own) <= score);
        (from, from + equal)
    }

    /// The elements from `from` to before `to`, in order.
    #[inline]
    pub(super) fn elements(&self, from: usize, to: usize) -> impl Iterator<Item = Element<'_>> {
        let (count, size) = (self.count(), self.0.len());
        let mut start = self.start(count, from);
        self.scores()[from..to].iter().zip(from..).map(move |(score, at)| {
            let end = self.end(count, at);
            let member = &self.0[size - end..size - start];
            start = end;
            Element { score: f64::from_le_bytes(*score), member }
        })
    }

    #[inline(always)]
    fn scores(&self) -> &[[u8; SCORE]] {
        self.0[HEADER..HEADER + self.count() * SCORE].as_chunks().0
    }

    /// Puts an element at its place.
    pub(super) fn insert(&mut self, at: usize, element: &Element<'_>, mark: u8) {
        let len = element.member.len();
        if self.used() + OVERHEAD + len > self.0.len() {
            *self = self.copy(0, self.count(), 1, len);
        }
        let mut parts = Parts::of(self.0.change());
        parts.insert(at, element, mark);
    }

    /// Takes the elements from `from` to before `to` out.
    pub(super) fn remove(&mut self, from: usize, to: usize) {
        let mut parts = Parts::of(self.0.change());
        parts.remove(from, to);
        self.shrink();
    }

    /// Gives element `at` another score, which must not change its place.
    pub(super) fn set_score(&mut self, at: usize, score: f64) {
        let at = HEADER + at * SCORE;
        self.0.change()[at..at + SCORE].copy_from_slice(&score.to_le_bytes());
    }

    /// Moves element `at` to where it belongs with another score: place `to`, of those that are
    /// left when it is taken out.
    pub(super) fn relocate(&mut self, at: usize, to: usize, element: &Element<'_>) {
        let mark = self.mark(at);
        let mut parts = Parts::of(self.0.change());
        parts.remove(at, at + 1);
        parts.insert(to, element, mark);
    }

    /// Takes the elements from `at` on out, into a leaf of their own.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let right = self.copy(at, self.count(), 0, 0);
        *self = self.copy(0, at, 0, 0);
        right
    }

    /// Adds all elements of a leaf that belong behind those of this one.
    pub(super) fn append(&mut self, right: &Leaf) {
        let mut joined = self.copy(0, self.count(), right.count(), right.heap());
        let mut parts = Parts::of(joined.0.change());
        for at in 0..right.count() {
            parts.insert(parts.count, &right.get(at), right.mark(at));
        }
        *self = joined;
    }

    /// The mark of element `at`.
    pub(super) fn mark(&self, at: usize) -> u8 {
        self.0[HEADER + self.count() * (SCORE + END) + at]
    }

    /// The first place from which on lies at most half of the bytes; there is an element on both
    /// sides of it if there are two.
    pub(super) fn middle(&self) -> usize {
        let count = self.count();
        let half = (count * OVERHEAD + self.heap()).div_ceil(2);
        let (mut low, mut high) = (1, count.max(2) - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if middle * OVERHEAD + self.end(count, middle - 1) < half {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The elements from `from` to before `to` in an allocation with room for some more.
    fn copy(&self, from: usize, to: usize, more: usize, more_heap: usize) -> Leaf {
        let count = self.count();
        let start = self.start(count, from);
        let end = if to == 0 { 0 } else { self.end(count, to - 1) };
        let (kept, heap) = (to - from, end - start);
        let mut copy = Self::with_room(kept + more, heap + more_heap);
        let source = &self.0;
        let target = copy.0.change();
        let size = target.len();
        target[..2].copy_from_slice(&(kept as u16).to_le_bytes());
        target[4..8].copy_from_slice(&(heap as u32).to_le_bytes());
        target[size - heap..].copy_from_slice(&source[source.len() - end..source.len() - start]);
        target[HEADER..HEADER + kept * SCORE]
            .copy_from_slice(&source[HEADER + from * SCORE..HEADER + to * SCORE]);
        let ends = HEADER + kept * SCORE;
        for at in from..to {
            let end = (self.end(count, at) - start) as u16;
            let place = ends + (at - from) * END;
            target[place..place + END].copy_from_slice(&end.to_le_bytes());
        }
        let marks = HEADER + count * (SCORE + END);
        target[ends + kept * END..ends + kept * (END + MARK)]
            .copy_from_slice(&source[marks + from..marks + to]);
        copy
    }

    /// Gives memory back where more than a quarter lies idle.
    fn shrink(&mut self) {
        let needed = class_size(ARC_HEADER + self.used());
        if needed <= (ARC_HEADER + self.0.len()) / 4 * 3 {
            *self = self.copy(0, self.count(), 0, 0);
        }
    }

    /// Where the member of element `at` starts, counted from the back.
    #[inline(always)]
    fn start(&self, count: usize, at: usize) -> usize {
        if at == 0 { 0 } else { self.end(count, at - 1) }
    }

    /// Where the member of element `at` ends, counted from the back.
    #[inline(always)]
    fn end(&self, count: usize, at: usize) -> usize {
        if at + 1 == count {
            return self.heap();
        }
        usize::from(u16::from_le_bytes(self.array(HEADER + count * SCORE + at * END)))
    }

    #[inline(always)]
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.0[at..].first_chunk().expect("within the leaf")
    }
}

/// A leaf while it changes.
struct Parts<'a> {
    bytes: &'a mut [u8],
    count: usize,
    heap: usize,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a mut [u8]) -> Self {
        let count = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        let heap = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        Parts { bytes, count, heap }
    }

    fn end(&self, at: usize) -> usize {
        if at + 1 == self.count {
            return self.heap;
        }
        let place = HEADER + self.count * SCORE + at * END;
        usize::from(u16::from_le_bytes([self.bytes[place], self.bytes[place + 1]]))
    }

    /// Inserts where there is room.
    fn insert(&mut self, at: usize, element: &Element<'_>, mark: u8) {
        let (count, heap, size) = (self.count, self.heap, self.bytes.len());
        let len = element.member.len();
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        self.bytes.copy_within(size - heap..size - start, size - heap - len);
        self.bytes[size - start - len..size - start].copy_from_slice(element.member);
        // From the back on: each part moves into what the one behind it has left.
        let (ends, marks) = (HEADER + count * SCORE, HEADER + count * (SCORE + END));
        self.bytes.copy_within(marks + at..marks + count, marks + at + OVERHEAD);
        self.bytes.copy_within(marks..marks + at, marks + SCORE + END);
        self.bytes[marks + SCORE + END + at] = mark;
        self.bytes.copy_within(ends + at * END..marks, ends + at * END + SCORE + END);
        self.bytes.copy_within(ends..ends + at * END, ends + SCORE);
        self.bytes.copy_within(HEADER + at * SCORE..ends, HEADER + (at + 1) * SCORE);
        self.bytes[HEADER + at * SCORE..][..SCORE].copy_from_slice(&element.score.to_le_bytes());
        self.shift_ends(count + 1, at + 1, |end| end.wrapping_add(len as u16));
        self.put_end(count + 1, at, start + len);
        self.put_header(count + 1, heap + len);
    }

    /// Removes the elements from `from` to before `to`.
    fn remove(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let (count, heap, size) = (self.count, self.heap, self.bytes.len());
        let start = if from == 0 { 0 } else { self.end(from - 1) };
        let removed = self.end(to - 1) - start;
        self.shift_ends(count, to, |end| end.wrapping_sub(removed as u16));
        let kept = count - (to - from);
        let (ends, marks) = (HEADER + count * SCORE, HEADER + count * (SCORE + END));
        let (new_ends, new_marks) = (HEADER + kept * SCORE, HEADER + kept * (SCORE + END));
        self.bytes.copy_within(HEADER + to * SCORE..ends, HEADER + from * SCORE);
        self.bytes.copy_within(ends..ends + from * END, new_ends);
        self.bytes.copy_within(ends + to * END..marks, new_ends + from * END);
        self.bytes.copy_within(marks..marks + from, new_marks);
        self.bytes.copy_within(marks + to..marks + count, new_marks + from);
        self.bytes.copy_within(size - heap..size - start - removed, size - heap + removed);
        self.put_header(kept, heap - removed);
    }

    /// Changes the ends of the elements from `from` on, of `count`.
    fn shift_ends(&mut self, count: usize, from: usize, change: impl Fn(u16) -> u16) {
        let ends = HEADER + count * SCORE;
        let (pairs, _) =
            self.bytes[ends + from.min(count) * END..ends + count * END].as_chunks_mut::<2>();
        for pair in pairs {
            *pair = change(u16::from_le_bytes(*pair)).to_le_bytes();
        }
    }

    fn put_end(&mut self, count: usize, at: usize, end: usize) {
        let place = HEADER + count * SCORE + at * END;
        self.bytes[place..place + END].copy_from_slice(&(end as u16).to_le_bytes());
    }

    fn put_header(&mut self, count: usize, heap: usize) {
        let wide = u32::try_from(heap).expect("a request holds no member of 4 GiB");
        self.bytes[..2].copy_from_slice(&(count as u16).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&wide.to_le_bytes());
        (self.count, self.heap) = (count, heap);
    }
}
