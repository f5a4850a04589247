//! A segment of the table: up to about 950 words in buckets of one cache line.
//! Invariant: a word lies in its home bucket or further along the chain of buckets whose overflow
//! flag is set; so a lookup that meets a bucket with a clear flag has seen every place.
//! Source: bucketised linear probing; the flag per bucket is F14's overflow count cut to one bit.
//!
//! ```text
//! segment: | ... | page 0 | page 1 | ... | page 15 |       pointers; it grows by a page at a time
//! page:    | bucket 0 | ... | bucket 7 |                   512 bytes
//! bucket:  | word 0 | word 1 | ... | word 7 |              64 bytes, one cache line
//! word:    | fingerprint 16 | payload 45 | spare 1 | overflow 1 | volatile 1 |
//! ```
//! The overflow bit means something in word 7 only: "a word has passed this bucket". An empty lane
//! has a payload of zero. The home bucket is `fingerprint * buckets >> 16`, so a segment can change
//! its number of buckets without touching what the payloads point at.
//!
//! Pages are the only unit in which buckets are allocated, so one that a segment gives back serves
//! any other; blocks of growing sizes would leave each size's memory half empty behind them.

/// Words in one bucket.
pub(super) const LANES: usize = 8;
/// The word's thing has an expiry.
pub(super) const VOLATILE: u64 = 1;
/// In the last lane: a word that belongs here, or before, lies further on.
const OVERFLOW: u64 = 2;
/// The bits of a word that are the caller's: an address below 2^48, a multiple of 8.
pub(super) const PAYLOAD: u64 = 0x0000_ffff_ffff_fff8;
/// Where the fingerprint starts.
pub(super) const FINGERPRINT_SHIFT: u32 = 48;

/// Buckets in one page: a power of two of bytes, which the allocator aligns without padding.
const PAGE_BUCKETS: usize = 8;
/// Above this a segment is split; it grows further only where no prefix bit is left to split by.
pub(super) const PAGES_MAX: usize = 16;
/// Buckets of a segment that is about to be split.
pub(super) const BUCKETS_MAX: usize = PAGES_MAX * PAGE_BUCKETS;
/// Words per page at which a segment counts as full: 58 of 64 lanes, 55 on the average. A lookup that
/// hits then reads 1.4 cache lines, the second of them next to the first. The price of a byte a key.
pub(super) const PAGE_WORDS: usize = 58;

/// What buckets are allocated in.
type Page = [Bucket; PAGE_BUCKETS];

/// Eight words in one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Bucket([u64; LANES]);

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

impl Bucket {
    pub(super) const EMPTY: Self = Self([0; LANES]);

    /// Bit per lane whose fingerprint is `fp`; empty lanes match a fingerprint of zero.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) fn matches(&self, fp: u16) -> u32 {
        use std::arch::x86_64::*;
        let words = std::ptr::from_ref(self).cast::<__m128i>();
        // The high half of each word, then its high half, narrowed to eight lanes of 16 bits: a
        // third of the instructions that the compiler makes of the plain loop.
        // SAFETY: SSE2 is part of every x86-64, and a bucket is four times 16 bytes, aligned to 64.
        unsafe {
            let pair = |at: usize| {
                let one = _mm_castsi128_ps(_mm_load_si128(words.add(at)));
                let other = _mm_castsi128_ps(_mm_load_si128(words.add(at + 1)));
                _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(one, other, 0b11_01_11_01)), 16)
            };
            let fingerprints = _mm_packs_epi32(pair(0), pair(2));
            let equal = _mm_cmpeq_epi16(fingerprints, _mm_set1_epi16(fp as i16));
            _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
        }
    }

    /// Bit per lane whose fingerprint is `fp`; empty lanes match a fingerprint of zero.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    #[inline(always)]
    pub(super) fn matches(&self, fp: u16) -> u32 {
        let lane_bit =
            |lane: usize| u32::from((self.0[lane] >> FINGERPRINT_SHIFT) as u16 == fp) << lane;
        (0..LANES).map(lane_bit).sum()
    }

    /// The word in `lane` without its flags of the bucket; None if the lane is empty.
    #[inline(always)]
    pub(super) fn word(&self, lane: usize) -> Option<u64> {
        let word = self.0[lane];
        (word & PAYLOAD != 0).then_some(word & !OVERFLOW)
    }

    /// The words of the bucket with their lanes.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        (0..LANES).filter_map(|lane| Some((lane, self.word(lane)?)))
    }

    #[inline(always)]
    pub(super) fn overflowed(&self) -> bool {
        self.0[LANES - 1] & OVERFLOW != 0
    }

    /// Writes a lane; zero empties it. The bucket's flag stays.
    #[inline(always)]
    pub(super) fn set(&mut self, lane: usize, word: u64) {
        self.0[lane] = word | (self.0[lane] & OVERFLOW);
    }

    #[inline(always)]
    fn empty_lane(&self) -> Option<usize> {
        (0..LANES).find(|&lane| self.0[lane] & PAYLOAD == 0)
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

/// The words of one range of prefixes.
pub(super) struct Segment {
    /// No volatile word of the segment expires before this; `i64::MAX` if none is volatile.
    pub(super) next_expiry: i64,
    /// Words held.
    pub(super) count: u32,
    /// Pages held, those in `further` included.
    page_count: u16,
    /// Leading prefix bits that all its words share.
    pub(super) depth: u8,
    /// The first `page_count` are there.
    pages: [Option<Box<Page>>; PAGES_MAX],
    /// Pages past `PAGES_MAX`; there are none nearly everywhere.
    further: Vec<Box<Page>>,
}

const _: () = assert!(size_of::<Segment>() <= 168, "a quarter of a byte a word");

impl Segment {
    pub(super) fn new(depth: u8) -> Self {
        Self {
            next_expiry: i64::MAX,
            count: 0,
            page_count: 0,
            depth,
            pages: Default::default(),
            further: Vec::new(),
        }
    }

    /// A segment that holds `words`.
    pub(super) fn of(depth: u8, next_expiry: i64, words: &[u64]) -> Self {
        let mut segment = Self { next_expiry, ..Self::new(depth) };
        segment.set_pages(pages_for(words.len()));
        for &word in words {
            segment.place(word);
        }
        segment
    }

    /// Buckets of all pages; 0 while the segment has never held anything.
    #[inline(always)]
    pub(super) fn buckets(&self) -> usize {
        self.page_count as usize * PAGE_BUCKETS
    }

    /// Pages held.
    #[inline(always)]
    pub(super) fn pages(&self) -> usize {
        self.page_count as usize
    }

    /// The bucket with this index, if there are so many.
    #[inline(always)]
    pub(super) fn bucket(&self, at: usize) -> Option<&Bucket> {
        match self.pages.get(at / PAGE_BUCKETS) {
            Some(page) => Some(&page.as_deref()?[at % PAGE_BUCKETS]),
            None => self.further_bucket(at),
        }
    }

    #[cold]
    fn further_bucket(&self, at: usize) -> Option<&Bucket> {
        let page = self.further.get(at / PAGE_BUCKETS - PAGES_MAX)?;
        Some(&page[at % PAGE_BUCKETS])
    }

    /// The bucket with this index, which must be there.
    #[inline(always)]
    pub(super) fn bucket_mut(&mut self, at: usize) -> &mut Bucket {
        let page = match self.pages.get_mut(at / PAGE_BUCKETS) {
            Some(page) => page.as_mut(),
            None => further_page(&mut self.further, at / PAGE_BUCKETS - PAGES_MAX),
        };
        &mut page.expect("a bucket of the segment")[at % PAGE_BUCKETS]
    }

    /// All buckets in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.pages.iter().flatten().chain(&self.further).flat_map(|page| page.iter())
    }

    /// Adds or drops pages; what they hold is the caller's matter.
    fn set_pages(&mut self, pages: usize) {
        for (at, page) in self.pages.iter_mut().enumerate() {
            match page {
                Some(_) if at >= pages => *page = None,
                None if at < pages => *page = Some(Box::new([Bucket::EMPTY; PAGE_BUCKETS])),
                _ => {}
            }
        }
        let further = pages.saturating_sub(PAGES_MAX);
        self.further.resize_with(further, || Box::new([Bucket::EMPTY; PAGE_BUCKETS]));
        // 65535 pages of words would have to share all 32 bits of a prefix.
        self.page_count = u16::try_from(pages).expect("fewer pages than a machine has memory for");
    }

    /// True if one more word would pass the highest load.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.count as usize >= self.pages() * PAGE_WORDS
    }

    /// The home bucket of words with fingerprint `fp`.
    #[inline(always)]
    pub(super) fn home(&self, fp: u16) -> usize {
        (fp as usize).wrapping_mul(self.buckets()) >> 16
    }

    /// The lowest fingerprint whose home is `bucket` or after: the inverse of `home`.
    pub(super) fn first_fingerprint(&self, bucket: usize) -> u64 {
        (bucket as u64 * 0x1_0000).div_ceil(self.buckets() as u64)
    }

    /// The bucket after `bucket` in probing order; the last is followed by the first.
    #[inline(always)]
    pub(super) fn next(&self, bucket: usize) -> usize {
        let next = bucket.wrapping_add(1);
        if next == self.buckets() { 0 } else { next }
    }

    /// Puts a word into the first free lane from its home on. The segment must not be full.
    pub(super) fn place(&mut self, word: u64) -> (usize, usize) {
        let mut at = self.home((word >> FINGERPRINT_SHIFT) as u16);
        loop {
            let bucket = self.bucket_mut(at);
            if let Some(lane) = bucket.empty_lane() {
                bucket.set(lane, word);
                self.count += 1;
                return (at, lane);
            }
            bucket.0[LANES - 1] |= OVERFLOW;
            at = self.next(at);
        }
    }

    /// Empties a lane and closes the gap: a word that had passed this bucket comes back into it,
    /// else the flag is cleared. Without that, steady inserts and deletes would set every flag.
    pub(super) fn remove(&mut self, bucket: usize, lane: usize) {
        self.bucket_mut(bucket).set(lane, 0);
        self.count -= 1;
        let mut hole = (bucket, lane);
        while self.bucket_mut(hole.0).overflowed() {
            let Some((from, from_lane, word)) = self.passer(hole.0) else {
                self.bucket_mut(hole.0).0[LANES - 1] &= !OVERFLOW;
                return;
            };
            self.bucket_mut(hole.0).set(hole.1, word);
            self.bucket_mut(from).set(from_lane, 0);
            hole = (from, from_lane);
        }
    }

    /// Removes a word that the segment holds.
    pub(super) fn remove_word(&mut self, word: u64) {
        let mut at = self.home((word >> FINGERPRINT_SHIFT) as u16);
        while let Some(bucket) = self.bucket(at) {
            let found = bucket.words().find(|&(_, it)| it == word).map(|(lane, _)| lane);
            assert!(found.is_some() || bucket.overflowed(), "the word is in its chain");
            if let Some(lane) = found {
                return self.remove(at, lane);
            }
            at = self.next(at);
        }
    }

    /// A word beyond `bucket` whose home is `bucket` or before it, with its place.
    fn passer(&self, bucket: usize) -> Option<(usize, usize, u64)> {
        let buckets = self.buckets();
        let mut distance = 1;
        let mut at = self.next(bucket);
        while at != bucket {
            let passed = self.bucket(at)?;
            for (lane, word) in passed.words() {
                let home = self.home((word >> FINGERPRINT_SHIFT) as u16);
                let travelled = if at >= home { at - home } else { at + buckets - home };
                if travelled >= distance {
                    return Some((at, lane, word));
                }
            }
            if !passed.overflowed() {
                return None;
            }
            distance += 1;
            at = self.next(at);
        }
        None
    }

    /// Re-places all words in so many pages, from their fingerprints alone.
    pub(super) fn rebuild(&mut self, pages: usize) {
        // All but the segments that cannot be split any more fit on the stack.
        let mut near = [0; BUCKETS_MAX * LANES];
        let mut far = Vec::new();
        let count = self.count as usize;
        let words = if count <= near.len() {
            near.iter_mut().zip(self.words()).for_each(|(kept, word)| *kept = word);
            &near[..count]
        } else {
            far.extend(self.words());
            &far[..]
        };
        for at in 0..self.buckets() {
            *self.bucket_mut(at) = Bucket::EMPTY;
        }
        self.set_pages(pages);
        self.count = 0;
        for word in words {
            self.place(*word);
        }
    }

    /// All words, in no order.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.iter().flat_map(|bucket| bucket.words().map(|(_, word)| word))
    }

    /// Bytes of all pages.
    pub(super) fn bytes(&self) -> usize {
        self.pages() * size_of::<Page>() + self.further.capacity() * size_of::<Box<Page>>()
    }
}

#[cold]
fn further_page(pages: &mut [Box<Page>], at: usize) -> Option<&mut Box<Page>> {
    pages.get_mut(at)
}

/// The smallest number of pages that holds `words` below the highest load.
pub(super) fn pages_for(words: usize) -> usize {
    words.div_ceil(PAGE_WORDS)
}
