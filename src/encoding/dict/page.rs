//! A page of a dict: neighbouring segments, by the first position of each.
//! Invariant: starts rise; a segment holds the positions from its start to before that of the next,
//! the last one those before `end`; between two changes only the single segment of a page may be
//! empty. The guide is of these starts.

use super::guide::Guide;
use super::segment::{BYTES_MAX, COUNT_MAX, Segment};

/// Segments of one page: a copy of it, after a clone of the dict, takes some microseconds.
pub(super) const SEGMENTS_MAX: usize = 256;
/// A page with fewer segments than this looks for a neighbour to merge with.
pub(super) const SEGMENTS_MIN: usize = SEGMENTS_MAX / 4;

/// Some segments.
#[derive(Clone)]
pub(super) struct Page {
    guide: Guide<u8>,
    segments: Vec<Segment>,
    /// Where the page that follows begins.
    end: u64,
    /// No element expires before this; `i64::MAX` if none is volatile.
    next_expiry: i64,
}

impl Page {
    /// A page with one empty segment, for all positions before `end`.
    pub(super) fn new(end: u64) -> Self {
        Self {
            guide: Guide::default(),
            segments: vec![Segment::new(0)],
            end,
            next_expiry: i64::MAX,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The segment of a position of the page.
    #[inline]
    pub(super) fn locate(&self, position: u64) -> usize {
        self.guide.find(position, |at| self.segments[at].start())
    }

    /// Makes the guide anew, after a segment came or went.
    fn renew_guide(&mut self) {
        let segments = &self.segments;
        let first = segments[0].start();
        self.guide = Guide::new(first, self.end, segments.len(), |at| segments[at].start());
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
        self.segments.get(at).map(Segment::start)
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
        let Some(high) = self.segments[at].split(position) else { return false };
        if self.segments.len() == self.segments.capacity() {
            self.segments.reserve_exact(self.len() / 8 + 1);
        }
        self.segments.insert(at + 1, high);
        self.renew_guide();
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
        if self.segments[low].count() == 0 {
            self.segments[low] = high.starting_at(self.segments[low].start());
        } else if high.count() > 0 {
            self.segments[low].merge(high);
        }
        if self.segments.len() < self.segments.capacity() / 2 {
            self.segments.shrink_to_fit();
        }
        self.renew_guide();
    }

    /// Moves the upper half of the segments to a page of their own; returns where it begins.
    pub(super) fn split(&mut self) -> (u64, Self) {
        let middle = self.len() / 2;
        let mut high = Self {
            guide: Guide::default(),
            segments: self.segments.split_off(middle),
            end: self.end,
            next_expiry: i64::MAX,
        };
        let start = high.segments[0].start();
        self.end = start;
        self.segments.shrink_to_fit();
        self.renew_guide();
        high.renew_guide();
        high.renew_next_expiry();
        self.renew_next_expiry();
        (start, high)
    }

    /// Takes the segments of the page that follows in.
    pub(super) fn merge(&mut self, next: &Self) {
        self.segments.extend_from_slice(&next.segments);
        self.end = next.end;
        self.renew_guide();
        self.next_expiry = self.next_expiry.min(next.next_expiry);
    }

    /// Takes the last segment out, to free it.
    pub(super) fn pop(&mut self) -> Option<Segment> {
        self.segments.pop()
    }

    /// Bytes allocated, without those of the segments.
    pub(super) fn bytes(&self) -> usize {
        self.guide.bytes() + self.segments.capacity() * size_of::<Segment>() + size_of::<Self>()
    }
}
