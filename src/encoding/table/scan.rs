//! Scans: all words of a table in the order of their positions, a few at a time.
//!
//! Invariant: a word that is in the table during a whole scan is returned at least once, whatever else
//! comes and goes; without merges no word is returned twice. A scan goes through segments by prefix,
//! and inside a segment by fingerprint, one home bucket at a time. Growing a segment keeps that order,
//! a split only refines it, and a cursor carries the depth of its segment so that a merge, which
//! interleaves two fingerprint orders, is seen and the merged segment is read again.

use super::directory::PREFIX_BITS;
use super::segment::{BUCKETS_MAX, FINGERPRINT_SHIFT, PAYLOAD, Segment};
use super::{Position, SLOT_SHIFT, Table, next_prefix};

impl Table {
    /// Calls `emit` with the payloads from `cursor` on, until at least `count` have been given or as
    /// many buckets have been seen as a segment has. Returns the next cursor; 0 begins and ends. Any
    /// number is a valid cursor. For what is promised see the head of this file.
    pub fn scan(&self, cursor: u64, count: usize, mut emit: impl FnMut(u64)) -> u64 {
        let mut cursor = Cursor::unpack(cursor);
        let mut emitted = 0;
        let mut buckets_left = BUCKETS_MAX;
        loop {
            let Some(index) = self.directory.lookup(cursor.prefix) else { return 0 };
            let segment = &self.segments[index];
            if segment.depth < cursor.depth {
                cursor.fingerprint = 0;
            }
            let mut bucket = segment.home(cursor.fingerprint);
            while bucket < segment.buckets() {
                emitted += scan_home(segment, bucket, cursor.fingerprint, &mut emit);
                bucket += 1;
                buckets_left = buckets_left.saturating_sub(1);
                let enough = emitted >= count || buckets_left == 0;
                if enough && bucket < segment.buckets() {
                    cursor.fingerprint = segment.first_fingerprint(bucket) as u16;
                    cursor.depth = segment.depth;
                    return cursor.pack();
                }
            }
            match next_prefix(cursor.prefix, segment.depth) {
                None => return 0,
                Some(prefix) => cursor = Cursor { prefix, ..cursor.past(segment.depth, prefix) },
            }
            buckets_left = buckets_left.saturating_sub(1);
            if emitted >= count || buckets_left == 0 {
                return cursor.pack();
            }
        }
    }

    /// The cursor from which `scan` gives the words of this hash slot and the ones after it.
    pub fn cursor_of_slot(slot: u16) -> u64 {
        Cursor { prefix: Position::new(slot, 0).prefix, fingerprint: 0, depth: 0 }.pack()
    }

    /// `cursor`, which `scan` gave, with the slots before `slot` left out. A segment may begin long
    /// before the slots that its words are in, and the cursor into it does, too.
    pub fn cursor_not_before(cursor: u64, slot: u16) -> u64 {
        let cursor = Cursor::unpack(cursor);
        let prefix = cursor.prefix.max(Position::new(slot, 0).prefix);
        Cursor { prefix, ..cursor }.pack()
    }

    /// The hash slot that a cursor stands in; the words of the slots before it have been given.
    pub fn slot_of_cursor(cursor: u64) -> u16 {
        (Cursor::unpack(cursor).prefix >> SLOT_SHIFT) as u16
    }
}

/// How far a scan has come: all prefixes before `prefix`, and in the segment of `depth` bits that
/// held it then, all fingerprints below `fingerprint`.
#[derive(Clone, Copy)]
struct Cursor {
    prefix: u32,
    fingerprint: u16,
    depth: u8,
}

impl Cursor {
    fn pack(self) -> u64 {
        u64::from(self.depth) << 48 | u64::from(self.prefix) << 16 | u64::from(self.fingerprint)
    }

    fn unpack(cursor: u64) -> Self {
        let depth = (cursor >> 48).min(u64::from(PREFIX_BITS)) as u8;
        Self { prefix: (cursor >> 16) as u32, fingerprint: cursor as u16, depth }
    }

    /// The cursor behind a segment of `depth` bits, at `prefix`. Where the cursor's segment has been
    /// split since, the rest of its range still begins at the cursor's fingerprint.
    fn past(self, depth: u8, prefix: u32) -> Self {
        let same = first_prefix(prefix, self.depth) == first_prefix(self.prefix, self.depth);
        if depth > self.depth && same {
            return self;
        }
        Self { prefix, fingerprint: 0, depth: 0 }
    }
}

/// Gives the words whose home is `bucket` and whose fingerprint is at least `from`.
fn scan_home(segment: &Segment, bucket: usize, from: u16, emit: &mut impl FnMut(u64)) -> usize {
    let mut emitted = 0;
    let mut at = bucket;
    while let Some(bucket_at) = segment.bucket(at) {
        for (_, word) in bucket_at.words() {
            let fingerprint = (word >> FINGERPRINT_SHIFT) as u16;
            if segment.home(fingerprint) == bucket && fingerprint >= from {
                emit(word & PAYLOAD);
                emitted += 1;
            }
        }
        at = segment.next(at);
        if !bucket_at.overflowed() || at == bucket {
            break;
        }
    }
    emitted
}

/// The first prefix of the range of `depth` bits that holds `prefix`.
fn first_prefix(prefix: u32, depth: u8) -> u32 {
    let below = (1u64 << (PREFIX_BITS - u32::from(depth))) - 1;
    prefix & !(below as u32)
}
