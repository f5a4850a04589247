//! Extendible hash table of words: a 16-bit fingerprint and a 45-bit payload each, about nine and
//! a half bytes a key. Knows nothing of keys: comparing and rehashing are arguments.
//! Invariant: no step is larger than one segment (about 950 words) plus, while a table is young,
//! one doubling of a small directory; an empty table has no allocation.
//! Source: extendible hashing (Fagin and others, 1979) over buckets of a cache line; see
//! `segment.rs` for the layout of words and `directory.rs` for the way to a segment.
//!
//! ```text
//! position: | hash slot 14 | hash's high 18 | hash's low 16 |
//!           |-- prefix: which segment ------|- fingerprint: home bucket and first comparison -|
//! ```

mod chunked;
mod directory;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use chunked::Chunked;
use directory::{Directory, PREFIX_BITS};
use segment::{
    BUCKETS_MAX, Bucket, FINGERPRINT_SHIFT, LANES, PAGE_WORDS, PAGES_MAX, PAYLOAD, Segment,
    VOLATILE, pages_for,
};

use crate::base::sys::prefetch;

/// Where a key belongs, from its hash slot and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    prefix: u32,
    fingerprint: u16,
}

impl Position {
    /// The position of a key with this hash in this hash slot (below 16384).
    #[inline(always)]
    pub fn new(slot: u16, hash: u64) -> Self {
        Self {
            prefix: u32::from(slot) << SLOT_SHIFT | (hash >> (64 - SLOT_SHIFT)) as u32,
            fingerprint: hash as u16,
        }
    }

    /// The hash slot.
    #[inline]
    pub fn slot(self) -> u16 {
        (self.prefix >> SLOT_SHIFT) as u16
    }

    /// Bits of the hash that do not decide where in the table the key is.
    #[inline]
    pub fn fingerprint(self) -> u16 {
        self.fingerprint
    }
}

/// A word's place in the table: valid until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u32,
    bucket: u32,
    lane: u8,
}

/// What a visitor decides about a volatile word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays and expires at this time.
    Keep(i64),
    /// It goes.
    Remove,
}

/// What `Table::range` tells of the segment that holds a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first prefix of the next segment; None at the end of the table.
    pub next: Option<u32>,
    /// No volatile word of the segment expires before this; `i64::MAX` if none is volatile.
    pub next_expiry: i64,
    /// Words in the segment.
    pub count: usize,
}

/// The table. Payloads are non-zero multiples of 8 below 2^48: addresses, which it prefetches.
#[derive(Default)]
pub struct Table {
    directory: Directory,
    segments: Chunked<Segment>,
    /// Indexes in `segments` that hold no segment.
    free: Vec<u32>,
    len: usize,
    /// Pages that a segment gets when its first is full, where it was told how many words come.
    expected_pages: usize,
}

impl Table {
    /// Words held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no word is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first word at `position` whose payload satisfies `equal`, and its payload.
    #[inline]
    pub fn find(
        &self,
        position: Position,
        mut equal: impl FnMut(u64) -> bool,
    ) -> Option<(Place, u64)> {
        let index = self.directory.lookup(position.prefix)?;
        let segment = &self.segments[index];
        let home = segment.home(position.fingerprint);
        let mut at = home;
        loop {
            let bucket = segment.bucket(at)?;
            let mut matches = bucket.matches(position.fingerprint);
            while matches != 0 {
                let lane = matches.trailing_zeros() as usize % LANES;
                matches &= matches - 1;
                if let Some(word) = bucket.word(lane)
                    && equal(word & PAYLOAD)
                {
                    let place =
                        Place { segment: index as u32, bucket: at as u32, lane: lane as u8 };
                    return Some((place, word & PAYLOAD));
                }
            }
            at = segment.next(at);
            if !bucket.overflowed() || at == home {
                return None;
            }
        }
    }

    /// Fetches what `prefetch_bucket` reads of the segment that holds `position`.
    #[inline]
    pub fn prefetch_segment(&self, position: Position) {
        if let Some(index) = self.directory.lookup(position.prefix) {
            let segment = std::ptr::from_ref(&self.segments[index]).cast::<u8>();
            let lines = (0..size_of::<Segment>()).step_by(size_of::<Bucket>());
            lines.for_each(|at| prefetch(segment.wrapping_add(at)));
        }
    }

    /// Fetches the home bucket of `position` into the cache.
    #[inline]
    pub fn prefetch_bucket(&self, position: Position) {
        if let Some(index) = self.directory.lookup(position.prefix) {
            let segment = &self.segments[index];
            if let Some(bucket) = segment.bucket(segment.home(position.fingerprint)) {
                prefetch(bucket.as_ptr());
            }
        }
    }

    /// The payload that `find` will probably look at first, for prefetching what it points at.
    #[inline]
    pub fn candidate(&self, position: Position) -> Option<u64> {
        let segment = &self.segments[self.directory.lookup(position.prefix)?];
        let bucket = segment.bucket(segment.home(position.fingerprint))?;
        let matches = bucket.matches(position.fingerprint);
        let word = bucket.word(matches.trailing_zeros() as usize % LANES)?;
        (matches != 0).then_some(word & PAYLOAD)
    }

    /// The payload at a place that `find` or `insert` returned.
    #[inline]
    pub fn payload(&self, place: Place) -> u64 {
        self.word(place) & PAYLOAD
    }

    /// True if the word is marked as having an expiry.
    #[inline]
    pub fn is_volatile(&self, place: Place) -> bool {
        self.word(place) & VOLATILE != 0
    }

    /// Exchanges the payload of a word.
    #[inline]
    pub fn replace(&mut self, place: Place, payload: u64) {
        assert_payload(payload);
        let word = self.word(place);
        self.set_word(place, word & !PAYLOAD | payload);
    }

    /// Marks a word as expiring at this time (milliseconds), or never.
    pub fn set_expiry(&mut self, place: Place, expiry: Option<i64>) {
        let word = self.word(place);
        match expiry {
            None => self.set_word(place, word & !VOLATILE),
            Some(expiry) => {
                self.set_word(place, word | VOLATILE);
                let segment = &mut self.segments[place.segment as usize];
                segment.next_expiry = segment.next_expiry.min(expiry);
            }
        }
    }

    /// Adds a word. `rehash` gives the position of a payload, for splitting. The table does not look
    /// for an equal word: the caller has.
    pub fn insert(
        &mut self,
        position: Position,
        payload: u64,
        expiry: Option<i64>,
        rehash: impl Fn(u64) -> Position,
    ) -> Place {
        assert_payload(payload);
        let index = self.segment_with_room(position.prefix, &rehash);
        let word = u64::from(position.fingerprint) << FINGERPRINT_SHIFT | payload;
        let segment = &mut self.segments[index];
        let (bucket, lane) = segment.place(word);
        self.len += 1;
        let place = Place { segment: index as u32, bucket: bucket as u32, lane: lane as u8 };
        if expiry.is_some() {
            self.set_expiry(place, expiry);
        }
        place
    }

    /// Makes an empty table's segments for about so many words, so that they need not be divided as
    /// the words come; for no more than `RESERVED_SEGMENTS_MAX`.
    pub fn reserve(&mut self, count: usize) {
        let segments = (count / RESERVED_WORDS).min(RESERVED_SEGMENTS_MAX);
        if self.directory.lookup(0).is_some() || segments < 2 {
            return;
        }
        self.segment_with_room(0, &|_| unreachable!("there is no word"));
        for depth in 0..segments.ilog2() {
            for number in 0..1u32 << depth {
                let prefix = number.checked_shl(PREFIX_BITS - depth).unwrap_or(0);
                let index = self.directory.lookup(prefix).expect("there is a segment");
                self.split(prefix, index, &|_| unreachable!("there is no word"));
            }
        }
        self.expected_pages = pages_for(count >> segments.ilog2()).min(PAGES_MAX);
    }

    /// Takes out the word that `find` met at this position. All places become invalid.
    pub fn remove(&mut self, position: Position, place: Place) -> u64 {
        let payload = self.payload(place);
        assert!(payload != 0, "a place holds a word");
        self.segments[place.segment as usize].remove(place.bucket as usize, place.lane as usize);
        self.len -= 1;
        self.shrink(position.prefix, place.segment as usize);
        payload
    }

    /// Words in a hash slot. `belongs` is asked about words in segments that slots share.
    pub fn count_in_slot(&self, slot: u16, mut belongs: impl FnMut(u64) -> bool) -> usize {
        let mut prefix = Position::new(slot, 0).prefix;
        let mut count = 0;
        while let Some(index) = self.directory.lookup(prefix) {
            let segment = &self.segments[index];
            if u32::from(segment.depth) >= SLOT_BITS {
                count += segment.count as usize;
            } else {
                count += segment.words().filter(|word| belongs(word & PAYLOAD)).count();
            }
            match next_prefix(prefix, segment.depth) {
                Some(next) if next >> SLOT_SHIFT == u32::from(slot) => prefix = next,
                _ => break,
            }
        }
        count
    }

    /// A word, each with the same probability, by numbers from `random`; None if there is none.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let widest = if self.segments.len() == 1 { self.segments[0].buckets() } else { 0 };
        for _ in 0..RANDOM_TRIES {
            let segment = &self.segments[below(random(), self.segments.len())];
            let lanes = if widest > 0 { widest } else { segment.buckets().max(BUCKETS_MAX) };
            let lane = below(random(), lanes * LANES);
            let bucket = segment.bucket(lane / LANES);
            if let Some(word) = bucket.and_then(|bucket| bucket.word(lane % LANES)) {
                return Some(word & PAYLOAD);
            }
        }
        // Nearly all segments are empty: any word of the nearest one after a random place that is not.
        let start = below(random(), self.segments.len());
        let mut order = self.segments.iter_from(start).chain(self.segments.iter());
        let segment = order.find(|segment| segment.count > 0)?;
        let word = segment.words().nth(below(random(), segment.count as usize))?;
        Some(word & PAYLOAD)
    }

    /// Gives up to `count` volatile words of the first segment from `start` on, round the end, that
    /// has any, and looks at no more than `segments_max` segments for it; where in the segment it
    /// begins `random` decides. Returns the number of words given. Few segments have none where many
    /// words are volatile, and one that has none is passed by without a look at its words.
    pub fn sample_volatile(
        &self,
        start: Position,
        (count, segments_max): (usize, usize),
        mut random: impl FnMut() -> u64,
        mut emit: impl FnMut(u64),
    ) -> usize {
        let mut prefix = start.prefix;
        for _ in 0..segments_max {
            let Some(index) = self.directory.lookup(prefix) else { return 0 };
            let segment = &self.segments[index];
            if segment.next_expiry != i64::MAX {
                let from = below(random(), segment.buckets());
                let order = segment.iter().skip(from).chain(segment.iter().take(from));
                let words = order.flat_map(Bucket::words).map(|(_, word)| word);
                let volatile = words.filter(|word| word & VOLATILE != 0).take(count);
                let given = volatile.map(|word| emit(word & PAYLOAD)).count();
                if given > 0 {
                    return given;
                }
            }
            prefix = next_prefix(prefix, segment.depth).unwrap_or(0);
        }
        0
    }

    /// What is known of the segment that holds `prefix` without looking at its words; None if the
    /// table is empty.
    pub fn range(&self, prefix: u32) -> Option<Range> {
        let segment = &self.segments[self.directory.lookup(prefix)?];
        Some(Range {
            next: next_prefix(prefix, segment.depth),
            next_expiry: segment.next_expiry,
            count: segment.count as usize,
        })
    }

    /// Asks `judge` about every volatile word in the segment that holds `prefix`, gives the removed
    /// ones to `removed`, and corrects the segment's next expiry, but not to before `not_before`.
    /// Returns the number of words asked about.
    pub fn visit_volatile(
        &mut self,
        prefix: u32,
        not_before: i64,
        mut judge: impl FnMut(u64) -> Fate,
        mut removed: impl FnMut(u64),
    ) -> usize {
        let Some(index) = self.directory.lookup(prefix) else { return 0 };
        let segment = &mut self.segments[index];
        let mut next_expiry = i64::MAX;
        let mut visited = 0;
        // Removals move words about, so they wait until every word has been seen.
        let mut doomed = Vec::new();
        for (at, bucket) in segment.iter().enumerate() {
            prefetch_payloads(segment.bucket(at + 1));
            for (_, word) in bucket.words().filter(|(_, word)| word & VOLATILE != 0) {
                visited += 1;
                match judge(word & PAYLOAD) {
                    Fate::Keep(expiry) => next_expiry = next_expiry.min(expiry.max(not_before)),
                    Fate::Remove => doomed.push(word),
                }
            }
        }
        segment.next_expiry = next_expiry;
        for word in doomed {
            segment.remove_word(word);
            self.len -= 1;
            removed(word & PAYLOAD);
        }
        self.shrink(prefix, index);
        visited
    }

    /// Takes one segment's words out and gives them to `removed`; false if nothing was left. The way
    /// to free a large table in slices: only this and `len` make sense between two calls.
    pub fn drain_segment(&mut self, mut removed: impl FnMut(u64)) -> bool {
        while let Some(segment) = self.segments.pop() {
            self.len -= segment.count as usize;
            segment.words().for_each(|word| removed(word & PAYLOAD));
            if segment.count > 0 {
                return true;
            }
        }
        *self = Self::default();
        false
    }

    /// Bytes allocated for words, segments and directory.
    pub fn bytes(&self) -> usize {
        self.segments.iter().map(Segment::bytes).sum::<usize>()
            + self.segments.bytes()
            + self.free.capacity() * size_of::<u32>()
            + self.directory.bytes()
    }

    #[inline(always)]
    fn word(&self, place: Place) -> u64 {
        let bucket = self.segments[place.segment as usize].bucket(place.bucket as usize);
        bucket.and_then(|bucket| bucket.word(place.lane as usize % LANES)).unwrap_or(0)
    }

    #[inline(always)]
    fn set_word(&mut self, place: Place, word: u64) {
        let bucket = self.segments[place.segment as usize].bucket_mut(place.bucket as usize);
        bucket.set(place.lane as usize % LANES, word);
    }

    /// The index of the segment that holds `prefix`, with room for one more word.
    #[inline]
    fn segment_with_room(&mut self, prefix: u32, rehash: &impl Fn(u64) -> Position) -> usize {
        loop {
            match self.directory.lookup(prefix) {
                Some(index) if !self.segments[index].is_full() => return index,
                Some(index) => self.make_room(prefix, index, rehash),
                None => {
                    let index = self.add_segment(Segment::new(0));
                    self.directory.assign(0, 0, index, 1);
                }
            }
        }
    }

    #[cold]
    fn make_room(&mut self, prefix: u32, index: usize, rehash: &impl Fn(u64) -> Position) {
        let segment = &mut self.segments[index];
        if segment.pages() < PAGES_MAX {
            segment.rebuild((segment.pages() + 1).max(self.expected_pages));
        } else if u32::from(segment.depth) == PREFIX_BITS {
            segment.rebuild(segment.pages() + segment.pages() / 8);
        } else {
            self.split(prefix, index, rehash);
        }
    }

    /// Divides a segment by the next bit of the prefix.
    fn split(&mut self, prefix: u32, index: usize, rehash: &impl Fn(u64) -> Position) {
        let depth = self.segments[index].depth + 1;
        let bit = PREFIX_BITS - u32::from(depth);
        let old = std::mem::replace(&mut self.segments[index], Segment::new(depth));
        let mut words = Vec::with_capacity(old.count as usize);
        words.extend(old.words());
        let next_expiry = old.next_expiry;
        // The halves take its pages.
        drop(old);
        let mut low = Vec::with_capacity(words.len());
        let mut high = Vec::with_capacity(words.len());
        for (at, &word) in words.iter().enumerate() {
            if let Some(ahead) = words.get(at + PREFETCH_DISTANCE) {
                prefetch_payload(*ahead);
            }
            let side = rehash(word & PAYLOAD).prefix >> bit & 1;
            if side == 0 { &mut low } else { &mut high }.push(word);
        }
        self.segments[index] = Segment::of(depth, next_expiry, &low);
        let new = self.add_segment(Segment::of(depth, next_expiry, &high));
        let live = self.segments.len() - self.free.len();
        self.directory.assign(prefix | 1 << bit, u32::from(depth), new, live);
    }

    /// After a removal: gives back buckets, merges the segment with its buddy, or lets all go.
    #[inline]
    fn shrink(&mut self, prefix: u32, index: usize) {
        let segment = &self.segments[index];
        if is_sparse(segment) || segment.count.is_multiple_of(MERGE_CHECK_EACH) {
            self.shrink_now(prefix, index);
        }
    }

    #[cold]
    fn shrink_now(&mut self, prefix: u32, mut index: usize) {
        if self.len == 0 {
            *self = Self::default();
            return;
        }
        while let Some(buddy) = self.mergeable_buddy(prefix, index) {
            index = self.merge(prefix, index, buddy);
        }
        let segment = &mut self.segments[index];
        // Some room, so that the next insert does not undo it.
        let pages = pages_for(segment.count as usize * 6 / 5);
        if is_sparse(segment) && pages < segment.pages() {
            segment.rebuild(pages);
        }
    }

    /// The other half of the segment's parent range, if both together are small.
    fn mergeable_buddy(&self, prefix: u32, index: usize) -> Option<usize> {
        let segment = &self.segments[index];
        if segment.depth == 0 || segment.count as usize > MERGE_MAX {
            return None;
        }
        let bit = 1 << (PREFIX_BITS - u32::from(segment.depth));
        let buddy = self.directory.lookup(prefix ^ bit)?;
        let other = &self.segments[buddy];
        let small = segment.count as usize + other.count as usize <= MERGE_MAX;
        (other.depth == segment.depth && small).then_some(buddy)
    }

    fn merge(&mut self, prefix: u32, index: usize, buddy: usize) -> usize {
        let depth = self.segments[index].depth - 1;
        let [one, other] = [index, buddy]
            .map(|index| std::mem::replace(&mut self.segments[index], Segment::new(depth)));
        let words: Vec<u64> = one.words().chain(other.words()).collect();
        let next_expiry = one.next_expiry.min(other.next_expiry);
        self.segments[index] = Segment::of(depth, next_expiry, &words);
        self.free.push(buddy as u32);
        self.directory.assign(prefix, u32::from(depth), index, 0);
        index
    }

    fn add_segment(&mut self, segment: Segment) -> usize {
        if let Some(index) = self.free.pop() {
            self.segments[index as usize] = segment;
            return index as usize;
        }
        self.segments.push(segment);
        self.segments.len() - 1
    }
}

/// True if the segment has more than 8 pages for every 5 that its words fill.
#[inline]
fn is_sparse(segment: &Segment) -> bool {
    segment.count as usize * 8 < segment.pages() * PAGE_WORDS * 5 && segment.pages() > 1
}

/// The first prefix after the range of `depth` bits that holds `prefix`.
fn next_prefix(prefix: u32, depth: u8) -> Option<u32> {
    let below = (1u64 << (PREFIX_BITS - u32::from(depth))) - 1;
    (prefix | below as u32).checked_add(1)
}

/// `random` scaled to `0..bound`.
fn below(random: u64, bound: usize) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

#[inline(always)]
fn assert_payload(payload: u64) {
    assert!(payload != 0 && payload & !PAYLOAD == 0, "a payload is an address of 48 bits");
}

fn prefetch_payloads(bucket: Option<&Bucket>) {
    if let Some(bucket) = bucket {
        for (_, word) in bucket.words().filter(|(_, word)| word & VOLATILE != 0) {
            prefetch_payload(word);
        }
    }
}

#[inline(always)]
fn prefetch_payload(word: u64) {
    prefetch(std::ptr::without_provenance((word & PAYLOAD) as usize));
}

/// Words for which one segment is made beforehand: well below what makes one split.
const RESERVED_WORDS: usize = PAGES_MAX * PAGE_WORDS * 2 / 3;
/// Segments that are made beforehand, at most, which takes some milliseconds.
const RESERVED_SEGMENTS_MAX: usize = 1 << 14;
/// Bits of the hash slot in a prefix.
const SLOT_BITS: u32 = 14;
/// Bits of the hash in a prefix.
const SLOT_SHIFT: u32 = PREFIX_BITS - SLOT_BITS;
/// Two segments merge when they hold no more than this: a quarter of what makes one split.
const MERGE_MAX: usize = PAGES_MAX * PAGE_WORDS / 4;
/// A segment that is emptied looks at its buddy each time it has lost this many words.
const MERGE_CHECK_EACH: u32 = 16;
/// Words ahead that a split fetches: a miss of memory divided by the cost of one rehash.
const PREFETCH_DISTANCE: usize = 8;
/// Tries before `random` settles for a word near by; each succeeds in two cases of three.
const RANDOM_TRIES: usize = 128;
