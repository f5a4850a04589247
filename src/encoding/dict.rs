//! Dict: a hash table of byte strings, each with a value and perhaps an expiry: the large form of
//! hashes and sets. Knows nothing of keys and types.
//! Invariant: elements lie in segments of at most about 128 elements or 4 KiB, ordered by position, a
//! part of the field's keyed hash; no change touches more than two segments and a page of their list;
//! a clone shares all of them and whoever changes one first copies it.
//! Source: a B+ tree of two levels over hashes, each of which is found by the top bits of
//! a position as hashes are evenly spread (`guide.rs`).
//!
//! ```text
//! hash:  | position 48 | 8 unused | tag 8 |
//! dict:  pages, by first position -> page: up to 256 segments, by first position -> segment
//! ```
//! A segment that is full splits at its median, so neither crafted positions nor large elements can
//! make one long; it finds an element by its tag. Layout of the bytes: `segment.rs`.
//!
//! # Scan order
//! By position, a whole segment at a time; a cursor is the first position that was not given. What
//! comes, goes, splits or merges meanwhile does not move what stays, so an element that is there
//! during a whole scan is given at least once; only one that left and came back is given twice.

mod guide;
mod outside;
mod page;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::sys::prefetch;
use crate::encoding::shared::Shared;
use guide::Guide;
use page::{Page, SEGMENTS_MAX, SEGMENTS_MIN};
use segment::{BYTES_MAX, COUNT_MAX, Segment};

/// One element, as it lies in the dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// What it is found by; of a set, the member.
    pub field: &'a [u8],
    /// What it has; empty in a set.
    pub value: &'a [u8],
    /// When it expires, in milliseconds. The dict does not look at the time: it is given, too.
    pub expiry: Option<i64>,
}

/// How a dict is built, for DEBUG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pages of segments.
    pub pages: usize,
    /// Segments.
    pub segments: usize,
    /// Elements in the fullest segment.
    pub fullest: usize,
    /// Bytes of the elements, without those that lie outside of the segments.
    pub live: usize,
    /// Bytes allocated.
    pub bytes: usize,
}

/// The table. Cheap to clone: a clone shares all elements until either changes them.
#[derive(Clone)]
pub struct Dict {
    key: HashKey,
    /// The first position of each page.
    starts: Vec<u64>,
    /// The guide to these starts.
    guide: Guide<u32>,
    pages: Vec<Shared<Page>>,
    len: usize,
    volatile: usize,
    /// No element expires before this.
    next_expiry: i64,
    /// Bytes of all segments.
    held: usize,
    /// No segment has more elements than this.
    fullest: usize,
}

/// Where a segment is: valid until the dict changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    page: usize,
    segment: usize,
}

/// Where an element is, likewise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    spot: Spot,
    at: usize,
}

/// A lookup under way: see `types/ahead.rs`.
pub struct Ahead<'a> {
    segment: &'a Segment,
    tag: u8,
    steps: u8,
}

impl Ahead<'_> {
    /// Fetches what the next step reads.
    #[inline]
    pub fn step(&mut self) {
        match self.steps {
            0 => self.segment.prefetch(),
            1 => self.segment.prefetch_element(self.tag),
            _ => {}
        }
        self.steps += 1;
    }
}

impl Dict {
    /// An empty dict, without any allocation, whose fields are hashed with `key`.
    pub fn new(key: HashKey) -> Self {
        Self {
            key,
            starts: Vec::new(),
            guide: Guide::default(),
            pages: Vec::new(),
            len: 0,
            volatile: 0,
            next_expiry: i64::MAX,
            held: 0,
            fullest: 0,
        }
    }

    /// Elements, whether expired or not.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements that have an expiry.
    #[inline]
    pub fn volatile_len(&self) -> usize {
        self.volatile
    }

    /// No element expires before this (milliseconds); None if none is volatile. It may be too early,
    /// until `expire_slice` has been through.
    pub fn next_expiry(&self) -> Option<i64> {
        (self.volatile > 0).then_some(self.next_expiry)
    }

    /// Bytes allocated. Clones that share memory count it each.
    pub fn bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.bytes()).sum();
        self.held
            + pages
            + self.guide.bytes()
            + self.pages.capacity() * (size_of::<u64>() + size_of::<usize>())
    }

    /// The element with this field. O(1).
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        let hash = self.key.hash(field);
        let segment = self.segment_of(hash)?;
        segment.find(tag(hash), field).map(|at| segment.element(at))
    }

    /// True if there is an element with this field. O(1).
    #[inline]
    pub fn contains(&self, field: &[u8]) -> bool {
        let hash = self.key.hash(field);
        self.segment_of(hash).is_some_and(|segment| segment.find(tag(hash), field).is_some())
    }

    /// Sets value and expiry of an element, which is made if it is not there; true if it was not. O(1).
    pub fn insert(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) -> bool {
        let hash = self.key.hash(field);
        let spot = self.spot(hash);
        let Some(at) = self.segment(spot).find(tag(hash), field) else {
            self.add(spot, hash, field, value, expiry);
            return true;
        };
        let place = Place { spot, at };
        let was_volatile = self.element(place).expiry.is_some();
        if self.change(spot, |segment| segment.overwrite(place.at, value, expiry)) {
            self.note_expiry(spot, expiry);
            return false;
        }
        self.change(spot, |segment| segment.remove(place.at));
        self.len -= 1;
        self.volatile -= usize::from(was_volatile);
        self.add(spot, hash, field, value, expiry);
        self.tidy(hash);
        false
    }

    /// Adds an element unless one with this field is there; true if it was not. O(1).
    pub fn insert_if_absent(&mut self, field: &[u8], value: &[u8]) -> bool {
        let hash = self.key.hash(field);
        let spot = self.spot(hash);
        let absent = self.segment(spot).find(tag(hash), field).is_none();
        if absent {
            self.add(spot, hash, field, value, None);
        }
        absent
    }

    /// The value of an element, to be changed in place. O(1), but for a copy of what a clone shares.
    pub fn value_mut(&mut self, field: &[u8]) -> Option<&mut [u8]> {
        let place = self.find(self.key.hash(field), field)?;
        Some(self.segment_mut(place.spot).value_mut(place.at))
    }

    /// Lets an element expire at a time (milliseconds), or never; false if it is not there. O(1).
    pub fn set_expiry(&mut self, field: &[u8], expiry: Option<i64>) -> bool {
        let hash = self.key.hash(field);
        let Some(place) = self.find(hash, field) else { return false };
        let was_volatile = self.element(place).expiry.is_some();
        self.change(place.spot, |segment| segment.set_expiry(place.at, expiry));
        self.volatile = self.volatile + usize::from(expiry.is_some()) - usize::from(was_volatile);
        let spot = self.within_bounds(place.spot, position(hash));
        self.note_expiry(spot, expiry);
        self.tidy(hash);
        true
    }

    /// Takes an element out; false if it is not there. O(1).
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let place = self.find(self.key.hash(field), field);
        place.inspect(|&place| self.remove_at(place)).is_some()
    }

    /// Takes an element out and returns its value. O(1).
    pub fn take(&mut self, field: &[u8]) -> Option<Vec<u8>> {
        let place = self.find(self.key.hash(field), field)?;
        let value = self.element(place).value.to_vec();
        self.remove_at(place);
        Some(value)
    }

    /// All elements, in the order of `scan`.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        let segments = self.pages.iter().flat_map(|page| page.segments());
        segments.flat_map(Segment::elements)
    }

    /// Calls `emit` with the elements from `cursor` on, a segment at a time, until at least `count` have
    /// been given. Returns the next cursor, below 2^48; 0 begins and ends. Any number is a valid cursor.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(Element<'_>)) -> u64 {
        if cursor >= POSITIONS {
            return 0;
        }
        let Some(Spot { mut page, segment: mut at }) = self.locate(cursor) else { return 0 };
        let mut given = 0;
        // A merge may have put what was given before into the segment of the cursor.
        let mut not_before = cursor;
        loop {
            let start = self.pages[page].start(at).expect("a segment of the page");
            for element in self.pages[page].segment(at).elements() {
                if start >= not_before || position(self.key.hash(element.field)) >= not_before {
                    emit(element);
                    given += 1;
                }
            }
            not_before = 0;
            at += 1;
            if at == self.pages[page].len() {
                (page, at) = (page + 1, 0);
            }
            match self.pages.get(page) {
                None => return 0,
                Some(page) if given >= count => return page.start(at).expect("a segment"),
                Some(_) => {}
            }
        }
    }

    /// An element, each with the same probability. O(1).
    pub fn random(&self, rng: &mut Rng) -> Option<Element<'_>> {
        (self.len > 0).then(|| self.element(self.random_place(rng)))
    }

    /// Takes a random element out and returns its field. O(1).
    pub fn pop_random(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.len == 0 {
            return None;
        }
        let place = self.random_place(rng);
        let field = self.element(place).field.to_vec();
        self.remove_at(place);
        Some(field)
    }

    /// `count` different elements in random order, all if there are fewer. O(count).
    pub fn sample(&self, count: usize, rng: &mut Rng) -> Vec<Element<'_>> {
        let count = count.min(self.len);
        if count < self.len / 4 {
            let mut seen = BTreeSet::new();
            let mut draw = || {
                let place = self.random_place(rng);
                seen.insert(place).then(|| self.element(place))
            };
            return std::iter::from_fn(|| Some(draw())).flatten().take(count).collect();
        }
        let mut elements: Vec<_> = self.iter().collect();
        for at in 0..count {
            let other = at + rng.below((elements.len() - at) as u64) as usize;
            elements.swap(at, other);
        }
        elements.truncate(count);
        elements
    }

    /// Takes out elements that expire at or before `now` and gives each to `removed` first, beginning
    /// at `cursor` and until `budget` segments have been read. Returns the next cursor; 0 begins and
    /// ends. Segments without such elements are passed over.
    pub fn expire_slice(
        &mut self,
        now: i64,
        cursor: u64,
        budget: usize,
        mut removed: impl FnMut(Element<'_>),
    ) -> u64 {
        let mut cursor = cursor;
        let mut budget = budget;
        while let Some(spot) = self.next_due(now, cursor) {
            let start = self.segment(spot).start();
            if budget == 0 {
                return start.max(1);
            }
            budget -= 1;
            let end = self.end_of(spot);
            self.expire_segment(spot, now, &mut removed);
            match end {
                Some(end) => cursor = end,
                None => break,
            }
        }
        self.renew_next_expiry(now);
        0
    }

    /// Frees up to `units` segments; returns how many of the units are left. The way to free a large
    /// dict in slices: nothing else makes sense after the first call but `len` and `drop`.
    pub fn free_slice(&mut self, mut units: usize) -> usize {
        while units > 0 {
            let Some(page) = self.pages.last_mut() else { break };
            units -= 1;
            // A page that a clone shares stays; the clone frees it.
            let freed = page.unshared_mut().and_then(Page::pop);
            if let Some(segment) = freed {
                self.held = self.held.saturating_sub(segment.bytes());
                self.len = self.len.saturating_sub(segment.count());
            } else {
                self.pages.pop();
                self.starts.pop();
            }
        }
        if self.pages.is_empty() {
            *self = Self::new(self.key);
        }
        units
    }

    /// How it is built. O(number of segments).
    pub fn shape(&self) -> Shape {
        let segments = || self.pages.iter().flat_map(|page| page.segments());
        Shape {
            pages: self.pages.len(),
            segments: segments().count(),
            fullest: segments().map(Segment::count).max().unwrap_or_default(),
            live: segments().map(Segment::live).sum(),
            bytes: self.bytes(),
        }
    }

    /// Elements of each segment, in order; for DEBUG.
    pub fn segment_lens(&self) -> impl Iterator<Item = usize> {
        self.pages.iter().flat_map(|page| page.segments()).map(Segment::count)
    }

    /// Page and segment of a position; None if the dict is empty.
    #[inline]
    fn locate(&self, position: u64) -> Option<Spot> {
        let page = self.guide.find(position, |page| self.starts[page]);
        let segment = self.pages.get(page)?.locate(position);
        Some(Spot { page, segment })
    }

    /// Begins to look a field up; None if the dict is empty.
    #[inline]
    pub fn ahead(&self, field: &[u8]) -> Option<Ahead<'_>> {
        let hash = self.key.hash(field);
        let segment = self.segment(self.locate(position(hash))?);
        prefetch(std::ptr::from_ref(segment).cast());
        Some(Ahead { segment, tag: tag(hash), steps: 0 })
    }

    /// The segment where an element with this hash would be, on its way into the cache.
    #[inline]
    fn segment_of(&self, hash: u64) -> Option<&Segment> {
        let segment = self.segment(self.locate(position(hash))?);
        segment.prefetch();
        Some(segment)
    }

    /// The same, to add an element to: there is one, though the dict may be empty.
    #[inline]
    fn spot(&mut self, hash: u64) -> Spot {
        if self.pages.is_empty() {
            self.starts.push(0);
            self.pages.push(Shared::new(Page::new(POSITIONS)));
        }
        let spot = self.locate(position(hash)).expect("a dict with a page");
        self.segment(spot).prefetch();
        spot
    }

    /// Makes the guide anew, after a page came or went.
    fn renew_guide(&mut self) {
        let starts = &self.starts;
        self.guide = Guide::new(0, POSITIONS, starts.len(), |at| starts[at]);
    }

    /// Where the segment after this one begins.
    fn end_of(&self, Spot { page, segment }: Spot) -> Option<u64> {
        self.pages[page].start(segment + 1).or(self.starts.get(page + 1).copied())
    }

    #[inline]
    fn find(&self, hash: u64, field: &[u8]) -> Option<Place> {
        let spot = self.locate(position(hash))?;
        let segment = self.segment(spot);
        segment.prefetch();
        segment.find(tag(hash), field).map(|at| Place { spot, at })
    }

    fn element(&self, place: Place) -> Element<'_> {
        self.segment(place.spot).element(place.at)
    }

    #[inline]
    fn segment(&self, spot: Spot) -> &Segment {
        self.pages[spot.page].segment(spot.segment)
    }

    /// A segment, which is copied first if a clone shares it.
    #[inline]
    fn segment_mut(&mut self, spot: Spot) -> &mut Segment {
        self.pages[spot.page].change().segment_mut(spot.segment)
    }

    /// Changes a segment and counts its bytes.
    #[inline]
    fn change<R>(&mut self, spot: Spot, change: impl FnOnce(&mut Segment) -> R) -> R {
        let segment = self.pages[spot.page].change().segment_mut(spot.segment);
        let held = segment.bytes();
        let result = change(segment);
        self.held = self.held - held + segment.bytes();
        result
    }

    fn note_expiry(&mut self, spot: Spot, expiry: Option<i64>) {
        if let Some(expiry) = expiry {
            self.pages[spot.page].change().note_expiry(expiry);
            self.next_expiry = self.next_expiry.min(expiry);
        }
    }

    /// Adds an element that is not there; its segment is at `spot`.
    fn add(&mut self, spot: Spot, hash: u64, field: &[u8], value: &[u8], expiry: Option<i64>) {
        let size = Segment::size_of(field, value, expiry);
        let spot = self.with_room(spot, position(hash), size);
        let count = self.change(spot, |segment| {
            segment.append(tag(hash), field, value, expiry);
            segment.count()
        });
        self.fullest = self.fullest.max(count);
        self.len += 1;
        self.volatile += usize::from(expiry.is_some());
        self.note_expiry(spot, expiry);
    }

    /// The segment of a position, which is at `spot`, split until it has room for `size` bytes.
    fn with_room(&mut self, mut spot: Spot, position: u64, size: usize) -> Spot {
        loop {
            let segment = self.segment(spot);
            let full = segment.count() >= COUNT_MAX || segment.live() + size > BYTES_MAX;
            if !full || segment.count() < 2 || !self.split_segment(spot) {
                return spot;
            }
            spot = self.locate(position).expect("a dict with a page");
        }
    }

    /// The segment of a position, which is at `spot` and may have outgrown its bound in place: split
    /// until it is within it again.
    fn within_bounds(&mut self, mut spot: Spot, position: u64) -> Spot {
        while self.segment(spot).live() > BYTES_MAX && self.split_segment(spot) {
            spot = self.locate(position).expect("a dict with a page");
        }
        spot
    }

    fn split_segment(&mut self, Spot { page: at_page, segment: at }: Spot) -> bool {
        let key = self.key;
        let page = self.pages[at_page].change();
        let held = page.segment(at).bytes();
        if !page.split_segment(at, |field| position(key.hash(field))) {
            return false;
        }
        let bytes = page.segment(at).bytes() + page.segment(at + 1).bytes();
        self.held = self.held - held + bytes;
        if page.len() >= SEGMENTS_MAX {
            let (start, high) = page.split();
            self.starts.insert(at_page + 1, start);
            self.pages.insert(at_page + 1, Shared::new(high));
            self.renew_guide();
        }
        true
    }

    fn remove_at(&mut self, place: Place) {
        let was_volatile = self.element(place).expiry.is_some();
        self.change(place.spot, |segment| segment.remove(place.at));
        self.len -= 1;
        self.volatile -= usize::from(was_volatile);
        self.shrink(place.spot);
    }

    /// `shrink` for the segment of a hash.
    fn tidy(&mut self, hash: u64) {
        if let Some(spot) = self.locate(position(hash)) {
            self.shrink(spot);
        }
    }

    /// Gives memory back after a segment lost something.
    fn shrink(&mut self, Spot { page: at_page, segment: at }: Spot) {
        if self.len == 0 {
            *self = Self::new(self.key);
            return;
        }
        let page = self.pages[at_page].change();
        let around = at.saturating_sub(1)..(at + 2).min(page.len());
        let segments = page.len();
        let held: usize = page.segments()[around.clone()].iter().map(Segment::bytes).sum();
        page.segment_mut(at).give_back();
        page.shrink_segment(at);
        let left = around.start..around.end - (segments - page.len());
        let left = &page.segments()[left];
        self.held = self.held - held + left.iter().map(Segment::bytes).sum::<usize>();
        let fullest = left.iter().map(Segment::count).max().unwrap_or_default();
        self.fullest = self.fullest.max(fullest);
        if page.len() < SEGMENTS_MIN && self.pages.len() > 1 {
            self.shrink_page(at_page);
        }
    }

    /// Merges a page that became small with a neighbour.
    fn shrink_page(&mut self, at: usize) {
        let low = if at + 1 < self.pages.len() { at } else { at - 1 };
        if self.pages[low].len() + self.pages[low + 1].len() > SEGMENTS_MAX / 4 * 3 {
            return;
        }
        let high = self.pages.remove(low + 1);
        self.starts.remove(low + 1);
        self.pages[low].change().merge(&high);
        self.renew_guide();
    }

    /// The first segment from `cursor` on that may have an element that expires at or before `now`.
    fn next_due(&self, now: i64, cursor: u64) -> Option<Spot> {
        if cursor >= POSITIONS {
            return None;
        }
        let Spot { page: first, segment: mut from } = self.locate(cursor)?;
        for (page, it) in self.pages.iter().enumerate().skip(first) {
            if it.next_expiry() <= now {
                let due = |segment: &Segment| segment.next_expiry() <= now;
                if let Some(found) = it.segments()[from..].iter().position(due) {
                    return Some(Spot { page, segment: from + found });
                }
            }
            from = 0;
        }
        None
    }

    /// Corrects what is known of the next expiry, of pages whose elements are said to be due.
    fn renew_next_expiry(&mut self, now: i64) {
        for page in self.pages.iter_mut().filter(|page| page.next_expiry() <= now) {
            page.change().renew_next_expiry();
        }
        let next = self.pages.iter().map(|page| page.next_expiry()).min();
        self.next_expiry = next.unwrap_or(i64::MAX);
    }

    /// Takes the elements of one segment out that expire at or before `now`.
    fn expire_segment(&mut self, spot: Spot, now: i64, removed: &mut impl FnMut(Element<'_>)) {
        let page = self.pages[spot.page].change();
        let segment = page.segment_mut(spot.segment);
        let held = segment.bytes();
        let mut next_expiry = i64::MAX;
        let mut index = 0;
        while index < segment.count() {
            let element = segment.element(index);
            match element.expiry {
                Some(expiry) if expiry <= now => {
                    removed(element);
                    segment.remove(index);
                    self.len -= 1;
                    self.volatile -= 1;
                }
                expiry => {
                    next_expiry = next_expiry.min(expiry.unwrap_or(i64::MAX));
                    index += 1;
                }
            }
        }
        segment.set_next_expiry(next_expiry);
        self.held = self.held - held + segment.bytes();
        page.renew_next_expiry();
        self.shrink(spot);
    }

    /// Places are drawn as if all pages and segments were as full as they can be, until one is met.
    fn random_place(&self, rng: &mut Rng) -> Place {
        let segments = if let [page] = &self.pages[..] { page.len() } else { SEGMENTS_MAX };
        let all = self.pages.len() * segments * self.fullest;
        loop {
            let drawn = rng.below(all as u64) as usize;
            let (drawn, at) = (drawn / self.fullest, drawn % self.fullest);
            let (page, segment) = (drawn / segments, drawn % segments);
            let there = self.pages[page].segments().get(segment);
            if there.is_some_and(|segment| at < segment.count()) {
                return Place { spot: Spot { page, segment }, at };
            }
        }
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dict").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Positions are below this.
const POSITIONS: u64 = 1 << 48;

#[inline(always)]
fn position(hash: u64) -> u64 {
    hash >> 16
}

#[inline(always)]
fn tag(hash: u64) -> u8 {
    hash as u8
}
