//! A segment of the table: up to about 900 words in buckets of one cache line.
//! Invariant: a word lies in its home bucket or further along the chain of buckets whose overflow
//! flag is set; so a lookup that meets a bucket with a clear flag has seen every place.
//! Source: bucketised linear probing; the flag per bucket is F14's overflow count cut to one bit.
//!
//! ```text
//! bucket: | word 0 | word 1 | ... | word 7 |                          64 bytes, one cache line
//! word:   | fingerprint 16 | payload 45 | spare 1 | overflow 1 | volatile 1 |
//! ```
//! The overflow bit means something in word 7 only: "a word has passed this bucket". An empty lane
//! has a payload of zero. The home bucket is `fingerprint * buckets >> 16`, so a segment can change
//! its number of buckets without touching what the payloads point at.

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

/// Bucket counts that a segment goes through. The odd ones above 64 leave the allocator room to
/// align to 64 within its classes of 5, 6, 7 and 8 KiB: a bucket more would cost the next class.
const STEPS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 79, 95, 111, STEP_MAX];
/// Above this a segment is split; it is doubled only where no prefix bit is left to split by.
pub(super) const STEP_MAX: usize = 127;
/// Words per bucket at which a segment counts as full: 7 of 8.
pub(super) const LOAD_MAX: usize = 7;

/// Eight words in one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Bucket([u64; LANES]);

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

impl Bucket {
    const EMPTY: Self = Self([0; LANES]);

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
    /// Empty while the segment holds nothing.
    pub(super) buckets: Box<[Bucket]>,
    /// No volatile word of the segment expires before this; `i64::MAX` if none is volatile.
    pub(super) next_expiry: i64,
    /// Words held.
    pub(super) count: u32,
    /// Leading prefix bits that all its words share.
    pub(super) depth: u8,
}

const _: () = assert!(size_of::<Segment>() == 32, "two segments share a cache line");

impl Segment {
    pub(super) fn new(depth: u8) -> Self {
        Self { buckets: Box::default(), next_expiry: i64::MAX, count: 0, depth }
    }

    /// A segment that holds `words`, with room as after growth.
    pub(super) fn of(depth: u8, next_expiry: i64, words: &[u64]) -> Self {
        let mut segment = Self { next_expiry, ..Self::new(depth) };
        segment.buckets = empty_buckets(buckets_for(words.len()));
        for &word in words {
            segment.place(word);
        }
        segment
    }

    /// True if one more word would pass the highest load.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.count as usize >= self.buckets.len() * LOAD_MAX
    }

    /// The home bucket of words with fingerprint `fp`.
    #[inline(always)]
    pub(super) fn home(&self, fp: u16) -> usize {
        (fp as usize).wrapping_mul(self.buckets.len()) >> 16
    }

    /// The lowest fingerprint whose home is `bucket` or after: the inverse of `home`.
    pub(super) fn first_fingerprint(&self, bucket: usize) -> u64 {
        (bucket as u64 * 0x1_0000).div_ceil(self.buckets.len() as u64)
    }

    /// The bucket after `bucket` in probing order; the last is followed by the first.
    #[inline(always)]
    pub(super) fn next(&self, bucket: usize) -> usize {
        let next = bucket.wrapping_add(1);
        if next == self.buckets.len() { 0 } else { next }
    }

    /// Puts a word into the first free lane from its home on. The segment must not be full.
    pub(super) fn place(&mut self, word: u64) -> (usize, usize) {
        let mut bucket = self.home((word >> FINGERPRINT_SHIFT) as u16);
        loop {
            if let Some(lane) = self.buckets[bucket].empty_lane() {
                self.buckets[bucket].set(lane, word);
                self.count += 1;
                return (bucket, lane);
            }
            self.buckets[bucket].0[LANES - 1] |= OVERFLOW;
            bucket = self.next(bucket);
        }
    }

    /// Empties a lane and closes the gap: a word that had passed this bucket comes back into it,
    /// else the flag is cleared. Without that, steady inserts and deletes would set every flag.
    pub(super) fn remove(&mut self, bucket: usize, lane: usize) {
        self.buckets[bucket].set(lane, 0);
        self.count -= 1;
        let mut hole = (bucket, lane);
        while self.buckets[hole.0].overflowed() {
            let Some((from, from_lane)) = self.passer(hole.0) else {
                self.buckets[hole.0].0[LANES - 1] &= !OVERFLOW;
                return;
            };
            let word = self.buckets[from].word(from_lane).expect("a passer is a word");
            self.buckets[hole.0].set(hole.1, word);
            self.buckets[from].set(from_lane, 0);
            hole = (from, from_lane);
        }
    }

    /// Removes a word that the segment holds.
    pub(super) fn remove_word(&mut self, word: u64) {
        let mut bucket = self.home((word >> FINGERPRINT_SHIFT) as u16);
        loop {
            let found = self.buckets[bucket].words().find(|&(_, it)| it == word);
            if let Some((lane, _)) = found {
                return self.remove(bucket, lane);
            }
            assert!(self.buckets[bucket].overflowed(), "the word is in its chain");
            bucket = self.next(bucket);
        }
    }

    /// A word beyond `bucket` whose home is `bucket` or before it.
    fn passer(&self, bucket: usize) -> Option<(usize, usize)> {
        let buckets = self.buckets.len();
        let mut distance = 1;
        let mut at = self.next(bucket);
        while at != bucket {
            for (lane, word) in self.buckets[at].words() {
                let home = self.home((word >> FINGERPRINT_SHIFT) as u16);
                let travelled = if at >= home { at - home } else { at + buckets - home };
                if travelled >= distance {
                    return Some((at, lane));
                }
            }
            if !self.buckets[at].overflowed() {
                return None;
            }
            distance += 1;
            at = self.next(at);
        }
        None
    }

    /// Re-places all words in `buckets` buckets, from their fingerprints alone.
    pub(super) fn rebuild(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, empty_buckets(buckets));
        self.count = 0;
        for bucket in &old {
            for (_, word) in bucket.words() {
                self.place(word);
            }
        }
    }

    /// All words, in no order.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().flat_map(|bucket| bucket.words().map(|(_, word)| word))
    }
}

/// The smallest number of buckets that holds `words` below the highest load.
pub(super) fn buckets_for(words: usize) -> usize {
    if words == 0 {
        return 0;
    }
    let enough = |buckets: &usize| buckets * LOAD_MAX >= words;
    STEPS.into_iter().find(enough).unwrap_or_else(|| {
        let mut buckets = STEP_MAX;
        while !enough(&buckets) {
            buckets *= 2;
        }
        buckets
    })
}

fn empty_buckets(buckets: usize) -> Box<[Bucket]> {
    vec![Bucket::EMPTY; buckets].into_boxed_slice()
}
