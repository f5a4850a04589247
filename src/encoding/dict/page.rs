//! A page of a dict: neighbouring segments, by the first position of each.
//! Invariant: `starts` rises; segment `n` holds the positions from `starts[n]` to before
//! `starts[n + 1]`; between two changes only the single segment of a page may be empty.

use super::segment::{BYTES_MAX, COUNT_MAX, Segment};

/// Segments of one page: a copy of it, after a clone of the dict, takes some microseconds.
pub(super) const SEGMENTS_MAX: usize = 256;
/// A page with fewer segments than this looks for a neighbour to merge with.
pub(super) const SEGMENTS_MIN: usize = SEGMENTS_MAX / 4;

/// Some segments.
#[derive(Clone)]
pub(super) struct Page {
    starts: Vec<u64>,
    segments: Vec<Segment>,
    /// No element expires before this; `i64::MAX` if none is volatile.
    next_expiry: i64,
}

impl Page {
    /// A page with one empty segment.
    pub(super) fn new() -> Self {
        Self { starts: vec![0], segments: vec![Segment::new()], next_expiry: i64::MAX }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The segment of a position, which is not before the page; `end` is where the next page begins.
    #[inline]
    pub(super) fn locate(&self, position: u64, end: u64) -> usize {
        locate(&self.starts, end, position)
    }

    #[inline]
    pub(super) fn segment(&self, at: usize) -> &Segment {
        &self.segments[at]
    }

    #[inline]
    pub(super) fn segment_mut(&mut self, at: usize) -> &mut Segment {
        &mut self.segments[at]
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first position of a segment; None past the last.
    pub(super) fn start(&self, at: usize) -> Option<u64> {
        self.starts.get(at).copied()
    }

    pub(super) fn next_expiry(&self) -> i64 {
        self.next_expiry
    }

    /// Learns that an element expires at this time.
    pub(super) fn note_expiry(&mut self, expiry: i64) {
        self.next_expiry = self.next_expiry.min(expiry);
    }

    /// Asks the segments again when the next element expires.
    pub(super) fn renew_next_expiry(&mut self) {
        let next = self.segments.iter().map(Segment::next_expiry).min();
        self.next_expiry = next.unwrap_or(i64::MAX);
    }

    /// Splits a segment in two; false if all of its positions are equal.
    pub(super) fn split_segment(&mut self, at: usize, position: impl Fn(&[u8]) -> u64) -> bool {
        let Some((start, high)) = self.segments[at].split(position) else { return false };
        let more = self.len() / 8 + 1;
        if self.starts.len() == self.starts.capacity() {
            self.starts.reserve_exact(more);
            self.segments.reserve_exact(more);
        }
        self.starts.insert(at + 1, start);
        self.segments.insert(at + 1, high);
        true
    }

    /// Merges a segment that became small with a neighbour, if the result is not soon too large.
    pub(super) fn shrink_segment(&mut self, at: usize) {
        let small = &self.segments[at];
        if small.count() > COUNT_MAX / 4 || small.live() > BYTES_MAX / 4 || self.len() == 1 {
            return;
        }
        let fits = |low: usize| {
            let pair = &self.segments[low..low + 2];
            let count: usize = pair.iter().map(Segment::count).sum();
            let live: usize = pair.iter().map(Segment::live).sum();
            count <= COUNT_MAX / 8 * 5 && live <= BYTES_MAX / 8 * 5
        };
        if at + 1 < self.len() && (fits(at) || small.count() == 0) {
            self.merge_segments(at);
        } else if at > 0 && (fits(at - 1) || small.count() == 0) {
            self.merge_segments(at - 1);
        }
    }

    /// Merges the segments `low` and `low + 1`.
    fn merge_segments(&mut self, low: usize) {
        let high = self.segments.remove(low + 1);
        self.starts.remove(low + 1);
        if self.segments[low].count() == 0 {
            self.segments[low] = high;
        } else if high.count() > 0 {
            self.segments[low].merge(high);
        }
        if self.segments.len() < self.segments.capacity() / 2 {
            self.segments.shrink_to_fit();
            self.starts.shrink_to_fit();
        }
    }

    /// Moves the upper half of the segments to a page of their own; returns where it begins.
    pub(super) fn split(&mut self) -> (u64, Self) {
        let middle = self.len() / 2;
        let mut high = Self {
            starts: self.starts.split_off(middle),
            segments: self.segments.split_off(middle),
            next_expiry: i64::MAX,
        };
        self.starts.shrink_to_fit();
        self.segments.shrink_to_fit();
        high.renew_next_expiry();
        self.renew_next_expiry();
        (high.starts[0], high)
    }

    /// Takes the segments of the page that follows in.
    pub(super) fn merge(&mut self, next: Self) {
        self.starts.extend(next.starts);
        self.segments.extend(next.segments);
        self.next_expiry = self.next_expiry.min(next.next_expiry);
    }

    /// Takes the last segment out, to free it.
    pub(super) fn pop(&mut self) -> Option<Segment> {
        self.starts.pop();
        self.segments.pop()
    }

    /// Bytes allocated, without those of the segments.
    pub(super) fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u64>()
            + self.segments.capacity() * size_of::<Segment>()
            + size_of::<Self>()
    }
}

/// The last index with `starts[index] <= position`. `starts` rises, begins at or before `position`, and
/// ends before `end`. Positions are hashes, so where one belongs can be told from its value.
#[inline]
pub(super) fn locate(starts: &[u64], end: u64, position: u64) -> usize {
    let first = starts[0];
    debug_assert!(first <= position && position < end);
    let guess = (position - first) as f64 / (end - first) as f64 * starts.len() as f64;
    let mut at = (guess as usize).min(starts.len() - 1);
    for _ in 0..STEPS_MAX {
        if starts[at] > position {
            at -= 1;
        } else if starts.get(at + 1).is_some_and(|&next| next <= position) {
            at += 1;
        } else {
            return at;
        }
    }
    starts.partition_point(|&start| start <= position) - 1
}

/// Steps from a guess before a search is cheaper.
const STEPS_MAX: usize = 12;
