//! From a member to the leaf that holds it: the other half of a big sorted set. The member itself
//! is not stored again: a record is 32 bits of its hash, the tag, and the number of its leaf.
//!
//! Invariant: for every element of the tree there is one record with its tag and its leaf. Records
//! of members that share tag and leaf are equal, so it does not matter which is changed or removed.
//! Whoever looks a member up finds candidates and verifies them in their leaves.
//!
//! Linear hashing: the low bits of the tag choose a segment; segments split and join one at a time
//! and in turn, so no step is longer than a segment. A segment is a run of buckets of a cache line
//! each, sized in the steps of the allocator; the high bits of the tag choose the home bucket, so
//! that a segment is rebuilt from its tags alone. A record whose home is full goes on to the next
//! bucket, and each full bucket counts the records that passed it. Segments are shared by all
//! clones until one of them changes.
//!
//! Source: Litwin, "Linear Hashing".

use super::bptree::LeafId;
use super::shared::Shared;
use crate::base::alloc::class_size;
use crate::base::sys::prefetch;

/// What is kept of a member's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(u32);

impl Tag {
    /// The tag of a member with this hash.
    #[inline]
    pub fn of_hash(hash: u64) -> Self {
        // Zero is an empty place.
        Tag((hash as u32).max(1))
    }

    /// The eight bits that a leaf keeps.
    #[inline]
    pub fn mark(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Its place in the order of `scan`, in which every segment is one interval.
    fn turned(self) -> u32 {
        self.0.reverse_bits()
    }
}

/// The map.
#[derive(Clone, Debug)]
pub struct MemberMap {
    blocks: Vec<Shared<Vec<Segment>>>,
    segments: usize,
    records: u64,
}

impl Default for MemberMap {
    fn default() -> Self {
        Self::new()
    }
}

impl MemberMap {
    /// No records.
    pub fn new() -> Self {
        MemberMap { blocks: vec![Shared::new(vec![Segment::with(1)])], segments: 1, records: 0 }
    }

    /// Records.
    pub fn len(&self) -> u64 {
        self.records
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The leaves that hold a member with this tag.
    #[inline]
    pub fn lookup(&self, tag: Tag) -> impl Iterator<Item = LeafId> + '_ {
        self.segment(self.index(tag)).lookup(tag)
    }

    /// Fetches what `prefetch_bucket` reads.
    #[inline]
    pub fn prefetch_segment(&self, tag: Tag) {
        prefetch(std::ptr::from_ref(self.segment(self.index(tag))).cast());
    }

    /// Fetches what `lookup` reads first.
    #[inline]
    pub fn prefetch_bucket(&self, tag: Tag) {
        let segment = self.segment(self.index(tag));
        if let Some(bucket) = segment.buckets.get(segment.home(tag)) {
            // It lies in two lines, since the count of its owners stands before the first.
            let bucket = std::ptr::from_ref(bucket).cast::<u8>();
            prefetch(bucket);
            prefetch(bucket.wrapping_add(size_of::<Bucket>() - 1));
        }
    }

    /// Adds a record.
    #[inline]
    pub fn insert(&mut self, tag: Tag, leaf: LeafId) {
        self.segment_mut(self.index(tag)).insert(tag, leaf);
        self.records += 1;
        if self.records > self.segments as u64 * SEGMENT_MEAN {
            self.split();
        }
    }

    /// Removes a record, which must be there.
    #[inline]
    pub fn remove(&mut self, tag: Tag, leaf: LeafId) {
        self.segment_mut(self.index(tag)).remove(tag, leaf);
        self.records -= 1;
        if self.segments > 1 && self.records < (self.segments as u64 - 1) * (SEGMENT_MEAN / 2) {
            self.join();
        }
    }

    /// Gives a record, which must be there, another leaf.
    #[inline]
    pub fn replace(&mut self, tag: Tag, from: LeafId, to: LeafId) {
        self.segment_mut(self.index(tag)).replace(tag, from, to);
    }

    /// One step through all records: gives about `count` of them, and returns the next cursor; 0
    /// begins and ends. A record that is there from the first step to the last is given exactly
    /// once, whatever is inserted, removed or replaced meanwhile. Cursors have 32 bits; any is valid.
    pub fn scan(&self, cursor: u32, count: u64, mut emit: impl FnMut(Tag, LeafId)) -> u32 {
        let index = self.index(Tag(cursor.reverse_bits()));
        let segment = self.segment(index);
        // The interval of the segment: all that share as many leading bits as its depth says.
        let width = (1u64 << 32) >> self.depth(index);
        let end = (u64::from(cursor) / width + 1) * width;
        let wanted = u128::from(width) * u128::from(count) / u128::from(segment.records.max(1));
        let step = wanted.clamp(1, u128::from(width)) as u64;
        let end = end.min(u64::from(cursor) + step);
        for (tag, leaf) in segment.iter() {
            if (u64::from(cursor)..end).contains(&u64::from(tag.turned())) {
                emit(tag, leaf);
            }
        }
        end as u32
    }

    /// Bytes allocated, where nothing is shared; estimated where there are many segments.
    pub fn bytes(&self) -> usize {
        let step = self.blocks.len().div_ceil(SAMPLED_BLOCKS).max(1);
        let (mut sampled, mut bytes) = (0, 0);
        for block in self.blocks.iter().step_by(step) {
            sampled += block.len();
            bytes += block.capacity() * size_of::<Segment>() + 40;
            bytes += block.iter().map(Segment::bytes).sum::<usize>();
        }
        let all = bytes as u128 * self.segments as u128 / sampled.max(1) as u128;
        all as usize + self.blocks.capacity() * size_of::<usize>()
    }

    /// Frees up to `units` segments; returns the units left. When any is left, all is freed. A map
    /// that is being freed is good for nothing else.
    pub fn free_slice(&mut self, mut units: usize) -> usize {
        while units > 0
            && let Some(block) = self.blocks.last_mut()
        {
            // A block that is shared is the other's to free.
            let Some(segments) = block.unshared_mut().filter(|block| !block.is_empty()) else {
                self.blocks.pop();
                units -= 1;
                continue;
            };
            let keep = segments.len().saturating_sub(units);
            units -= segments.len() - keep;
            segments.truncate(keep);
        }
        units
    }

    /// The segment of a tag: as many low bits as number all segments, one less where the segment so
    /// named has not split off yet.
    #[inline(always)]
    fn index(&self, tag: Tag) -> usize {
        let bits = self.segments.next_power_of_two();
        let index = tag.0 as usize & (bits - 1);
        if index < self.segments { index } else { index - bits / 2 }
    }

    /// How many low bits of its tags a segment is chosen by.
    fn depth(&self, index: usize) -> u32 {
        let bits = self.segments.next_power_of_two();
        let whole = bits.trailing_zeros();
        let has_split = index + bits / 2 < self.segments || index >= bits / 2;
        if has_split { whole } else { whole.saturating_sub(1) }
    }

    /// Splits the segment whose turn it is.
    fn split(&mut self) {
        let new = self.segments;
        // Tags have 32 bits; below them nothing tells records apart.
        if new == SEGMENTS_MAX {
            return;
        }
        let bits = (new + 1).next_power_of_two();
        let old = self.segment_mut(new - bits / 2);
        let split = old.split_off(|tag| tag.0 as usize & (bits - 1) == new);
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => {
                let block = block.change();
                if block.len() == block.capacity() {
                    block.reserve_exact((block.len() / 4).max(2));
                }
                block.push(split);
            }
            _ => self.blocks.push(Shared::new(vec![split])),
        }
        self.segments += 1;
    }

    /// Joins the last segment with the one that it had split off from.
    fn join(&mut self) {
        let Some(block) = self.blocks.last_mut() else { return };
        let Some(last) = block.change().pop() else { return };
        if block.is_empty() {
            self.blocks.pop();
        }
        let bits = self.segments.next_power_of_two();
        self.segments -= 1;
        let target = self.segments - bits / 2;
        self.segment_mut(target).absorb(&last);
    }

    #[inline(always)]
    fn segment(&self, index: usize) -> &Segment {
        &self.blocks[index / BLOCK][index % BLOCK]
    }

    #[inline(always)]
    fn segment_mut(&mut self, index: usize) -> &mut Segment {
        &mut self.blocks[index / BLOCK].change()[index % BLOCK]
    }
}

/// A cache line of records; zero in `tags` is an empty place.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tags: [u32; PLACES],
    /// Records that found this bucket full and went on.
    passed: u32,
    leaves: [u32; PLACES],
}

const _: () = assert!(size_of::<Bucket>() <= 64, "a bucket is a cache line");

impl Bucket {
    const EMPTY: Bucket = Bucket { tags: [0; PLACES], passed: 0, leaves: [0; PLACES] };

    /// The place of a record.
    #[inline(always)]
    fn find(&self, tag: Tag, leaf: LeafId) -> Option<usize> {
        (0..PLACES).find(|&at| self.tags[at] == tag.0 && self.leaves[at] == leaf.0)
    }
}

/// The records of some low bits of the tag.
#[derive(Clone, Debug)]
struct Segment {
    buckets: Shared<[Bucket]>,
    records: u32,
}

impl Segment {
    /// Room for so many records.
    fn with(records: usize) -> Self {
        let needed = (records * LOAD_DIVISOR).div_ceil(PLACES * LOAD_FACTOR).max(1);
        let bytes = class_size(ARC_HEADER + needed * size_of::<Bucket>());
        let buckets = (bytes - ARC_HEADER) / size_of::<Bucket>();
        Segment { buckets: std::iter::repeat_n(Bucket::EMPTY, buckets).collect(), records: 0 }
    }

    #[inline(always)]
    fn home(&self, tag: Tag) -> usize {
        ((u64::from(tag.0) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    #[inline]
    fn lookup(&self, tag: Tag) -> impl Iterator<Item = LeafId> + '_ {
        let mut at = self.home(tag);
        let mut place = 0;
        let mut left = self.buckets.len();
        std::iter::from_fn(move || {
            loop {
                let bucket = self.buckets.get(at)?;
                while place < PLACES {
                    place += 1;
                    if bucket.tags[place - 1] == tag.0 {
                        return Some(LeafId(bucket.leaves[place - 1]));
                    }
                }
                left -= 1;
                if bucket.passed == 0 || left == 0 {
                    // Nothing is there.
                    at = usize::MAX;
                    return None;
                }
                (at, place) = (self.next(at), 0);
            }
        })
    }

    fn iter(&self) -> impl Iterator<Item = (Tag, LeafId)> + '_ {
        self.buckets.iter().flat_map(|bucket| {
            let places = bucket.tags.iter().zip(&bucket.leaves);
            places.filter(|(tag, _)| **tag != 0).map(|(tag, leaf)| (Tag(*tag), LeafId(*leaf)))
        })
    }

    fn insert(&mut self, tag: Tag, leaf: LeafId) {
        let places = self.buckets.len() * PLACES;
        if (self.records as usize + 1) * LOAD_DIVISOR > places * LOAD_FACTOR {
            self.rebuild(self.records as usize + 1 + places / 16);
        }
        self.place(tag, leaf);
    }

    /// Puts a record into the first free place from its home on; there is one.
    fn place(&mut self, tag: Tag, leaf: LeafId) {
        let mut at = self.home(tag);
        let len = self.buckets.len();
        let buckets = self.buckets.change();
        loop {
            let bucket = &mut buckets[at];
            if let Some(place) = bucket.tags.iter().position(|tag| *tag == 0) {
                bucket.tags[place] = tag.0;
                bucket.leaves[place] = leaf.0;
                break;
            }
            bucket.passed += 1;
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        self.records += 1;
    }

    fn remove(&mut self, tag: Tag, leaf: LeafId) {
        let mut at = self.home(tag);
        let len = self.buckets.len();
        let buckets = self.buckets.change();
        let place = loop {
            if let Some(place) = buckets[at].find(tag, leaf) {
                break place;
            }
            assert!(buckets[at].passed > 0, "every element has its record");
            buckets[at].passed -= 1;
            at = if at + 1 == len { 0 } else { at + 1 };
        };
        buckets[at].tags[place] = 0;
        self.records -= 1;
        if len > 1 && (self.records as usize) < len * PLACES / 2 {
            self.rebuild(self.records as usize);
        }
    }

    fn replace(&mut self, tag: Tag, from: LeafId, to: LeafId) {
        let mut at = self.home(tag);
        let len = self.buckets.len();
        let buckets = self.buckets.change();
        loop {
            if let Some(place) = buckets[at].find(tag, from) {
                buckets[at].leaves[place] = to.0;
                return;
            }
            assert!(buckets[at].passed > 0, "every element has its record");
            at = if at + 1 == len { 0 } else { at + 1 };
        }
    }

    /// Takes the records out that `chosen` names, into a segment of their own.
    fn split_off(&mut self, chosen: impl Fn(Tag) -> bool) -> Segment {
        let count = self.iter().filter(|(tag, _)| chosen(*tag)).count();
        let mut split = Segment::with(count);
        let mut kept = Segment::with(self.records as usize - count);
        for (tag, leaf) in self.iter() {
            if chosen(tag) { &mut split } else { &mut kept }.place(tag, leaf);
        }
        *self = kept;
        split
    }

    /// Takes all records of another segment in.
    fn absorb(&mut self, other: &Segment) {
        let mut joined = Segment::with((self.records + other.records) as usize);
        self.iter().chain(other.iter()).for_each(|(tag, leaf)| joined.place(tag, leaf));
        *self = joined;
    }

    /// Room for so many records.
    fn rebuild(&mut self, records: usize) {
        let mut rebuilt = Segment::with(records);
        self.iter().for_each(|(tag, leaf)| rebuilt.place(tag, leaf));
        *self = rebuilt;
    }

    fn bytes(&self) -> usize {
        class_size(ARC_HEADER + size_of_val(&*self.buckets))
    }
}

/// Records of a bucket.
const PLACES: usize = 7;
/// The highest load of a segment, as a fraction: 6 of 7 records in each bucket.
const LOAD_FACTOR: usize = 6;
const LOAD_DIVISOR: usize = 7;
/// Records a segment in the mean: those that have not split yet hold up to twice as many, 4 KiB.
const SEGMENT_MEAN: u64 = 192;
/// Below this, tags would not tell the segments of their records.
const SEGMENTS_MAX: usize = 1 << 26;
/// Segments that are copied by reference when the first of them changes after a clone.
const BLOCK: usize = 64;
/// What the allocation of an `Arc` holds before its value.
const ARC_HEADER: usize = 16;
/// Enough for an estimate, few enough for a command.
const SAMPLED_BLOCKS: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(number: u32) -> Tag {
        Tag::of_hash(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
    }

    fn sorted(mut records: Vec<(Tag, LeafId)>) -> Vec<(Tag, LeafId)> {
        records.sort();
        records
    }

    fn all(map: &MemberMap) -> Vec<(Tag, LeafId)> {
        let mut records = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = map.scan(cursor, 10, |tag, leaf| records.push((tag, leaf)));
            if cursor == 0 {
                return sorted(records);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_vec(
            steps in prop::collection::vec((0u8..4, 0u32..4000, 0u32..4), 0..6000),
        ) {
            let mut map = MemberMap::new();
            let mut model: Vec<(Tag, LeafId)> = Vec::new();
            let mut clone = (map.clone(), model.clone());
            for (number, (kind, key, leaf)) in steps.into_iter().enumerate() {
                let record = (tag(key), LeafId(leaf));
                let at = model.iter().position(|it| *it == record);
                match (kind, at) {
                    (0, Some(at)) => {
                        map.remove(record.0, record.1);
                        model.swap_remove(at);
                    }
                    (1, Some(at)) => {
                        map.replace(record.0, record.1, LeafId(9));
                        model[at].1 = LeafId(9);
                    }
                    _ => {
                        map.insert(record.0, record.1);
                        model.push(record);
                    }
                }
                let found: Vec<LeafId> = map.lookup(record.0).collect();
                let mut expected: Vec<LeafId> =
                    model.iter().filter(|it| it.0 == record.0).map(|it| it.1).collect();
                expected.sort();
                prop_assert_eq!(sorted(found.into_iter().map(|leaf| (record.0, leaf)).collect()),
                    sorted(expected.into_iter().map(|leaf| (record.0, leaf)).collect()));
                if number % 1000 == 500 {
                    clone = (map.clone(), model.clone());
                }
            }
            prop_assert_eq!(map.len(), model.len() as u64);
            prop_assert_eq!(all(&map), sorted(model));
            prop_assert_eq!(all(&clone.0), sorted(clone.1), "a clone never changes");
        }
    }

    #[test]
    fn a_scan_gives_what_stays_exactly_once_while_the_map_grows_and_shrinks() {
        let mut map = MemberMap::new();
        (0..20_000).for_each(|number| map.insert(tag(number), LeafId(number)));
        let mut seen = vec![0; 20_000];
        let mut cursor = 0;
        for step in 0u32.. {
            cursor = map.scan(cursor, 50, |_, leaf| {
                if leaf.0 < 20_000 {
                    seen[leaf.0 as usize] += 1;
                }
            });
            if cursor == 0 {
                break;
            }
            let noise = 20_000 + step * 300;
            match step {
                0..200 => (noise..noise + 300).for_each(|n| map.insert(tag(n), LeafId(n))),
                200..400 => {
                    let noise = noise - 200 * 300;
                    (noise..noise + 300).for_each(|n| map.remove(tag(n), LeafId(n)));
                }
                _ => {}
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
    }

    #[test]
    fn a_scan_for_more_than_there_are_takes_a_step_for_each_segment() {
        let mut map = MemberMap::new();
        (0..1_000).for_each(|number| map.insert(tag(number), LeafId(number)));
        let (mut cursor, mut steps, mut seen) = (0, 0, 0);
        while steps == 0 || cursor != 0 {
            cursor = map.scan(cursor, u64::MAX, |_, _| seen += 1);
            steps += 1;
        }
        assert_eq!((seen, steps), (1_000, map.segments));
    }

    #[test]
    fn a_record_costs_at_most_14_bytes() {
        let mut map = MemberMap::new();
        for records in 0..300_000 {
            map.insert(tag(records), LeafId(records));
            if records > 20_000 && records % 10_000 == 0 {
                let each = map.bytes() as f64 / f64::from(records);
                assert!(each < 13.6, "{each} at {records}");
            }
        }
        (1000..300_000).for_each(|record| map.remove(tag(record), LeafId(record)));
        assert!(map.bytes() < 32 * 1000, "{}", map.bytes());
        assert_eq!(map.free_slice(3), 0);
        assert!(map.free_slice(1000) > 0);
    }
}
