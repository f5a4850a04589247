//! A segment of a dict: the elements of one interval of positions, in one allocation.
//! Invariant: `count` tags and offsets stand at the front, `used` bytes of elements at the end, of
//! which `wasted` belong to no element; the tag and the offset of an element have the same index.
//!
//! ```text
//! blob:    | tag u8 * count | offset u16 * count |  room  | ... element | element |
//! offset:  from the end of the blob to the first byte of the element, so a larger blob keeps it
//! element: | varint name << 1 | more |                                           field |
//!          | varint name << 1 | 1 | varint value << 2 | outside << 1 | volatile |
//!                                 expiry i64, if volatile | field | value |
//! ```
//! `more` is 0 for a field without value and expiry: a set's member costs one byte beside its own
//! and those of the index. Of an element outside, `name` is its number in the table of large ones.

use super::Element;
use super::outside::{Large, Outside};
use crate::base::alloc::class_size;
use crate::base::sys::{CACHE_LINE, prefetch};
use crate::encoding::shared::Shared;

/// Elements of one segment; only positions that are all equal can make it more.
pub(super) const COUNT_MAX: usize = 128;
/// Bytes of elements of one segment, likewise.
pub(super) const BYTES_MAX: usize = 4096;
/// A field and value with more bytes than this lie outside.
const INSIDE_MAX: usize = 1024;
/// What an `Arc` of bytes allocates beside the bytes.
const ARC_HEADER: usize = 2 * size_of::<usize>();
/// Unused bytes that are not worth a copy of the segment.
const UNUSED_MIN: usize = 64;
/// Bytes of the index for each element.
const INDEX: usize = 3;

const MORE: usize = 1;
const VOLATILE: usize = 1;
const OUTSIDE: usize = 2;

/// Some elements in one allocation.
#[derive(Clone)]
pub(super) struct Segment {
    blob: Shared<[u8]>,
    outside: Option<Box<Outside>>,
    /// No element expires before this; `i64::MAX` if none is volatile.
    next_expiry: i64,
    /// The first position that belongs here.
    start: u64,
    count: u16,
    used: u16,
    wasted: u16,
}

/// Where the parts of an element are.
struct Parts {
    /// Bytes of the field, or the number of the element outside.
    name: usize,
    value: usize,
    volatile: bool,
    outside: bool,
    /// Where the field begins; an expiry stands before it.
    body: usize,
}

impl Parts {
    fn end(&self) -> usize {
        if self.outside { self.body } else { self.body + self.name + self.value }
    }
}

impl Segment {
    /// An empty one, without any allocation, of the positions from `start` on.
    pub(super) fn new(start: u64) -> Self {
        Self {
            blob: Shared::default(),
            outside: None,
            next_expiry: i64::MAX,
            start,
            count: 0,
            used: 0,
            wasted: 0,
        }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The first position that belongs here.
    #[inline]
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The same elements, to take the place of a segment that begins at `start`.
    pub(super) fn starting_at(self, start: u64) -> Self {
        Self { start, ..self }
    }

    /// Bytes of its elements, without what lies outside.
    #[inline]
    pub(super) fn live(&self) -> usize {
        usize::from(self.used - self.wasted)
    }

    #[inline]
    pub(super) fn next_expiry(&self) -> i64 {
        self.next_expiry
    }

    pub(super) fn set_next_expiry(&mut self, next_expiry: i64) {
        self.next_expiry = next_expiry;
    }

    /// Bytes allocated.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        let blob = if self.blob.is_empty() { 0 } else { class_size(self.blob.len() + ARC_HEADER) };
        blob + self.outside.as_ref().map_or(0, |outside| outside.bytes())
    }

    /// The index of the element with this field, whose tag is `tag`.
    #[inline]
    pub(super) fn find(&self, tag: u8, field: &[u8]) -> Option<usize> {
        let tags = &self.blob[..self.count()];
        memchr::memchr_iter(tag, tags).find(|&at| self.has_field(at, field))
    }

    /// Fetches what a search reads first: tags and offsets.
    #[inline]
    pub(super) fn prefetch(&self) {
        let index = self.count() * INDEX;
        for line in (0..index).step_by(CACHE_LINE) {
            prefetch(self.blob.as_ptr().wrapping_add(line));
        }
        // An element often lies in another page of memory than the index: the two are found at once.
        prefetch(self.blob.as_ptr().wrapping_add(self.blob.len().saturating_sub(self.live() / 2)));
    }

    /// Fetches the element that a search for this tag compares first.
    #[inline]
    pub(super) fn prefetch_element(&self, tag: u8) {
        if let Some(at) = memchr::memchr(tag, &self.blob[..self.count()]) {
            let start = self.blob.as_ptr().wrapping_add(self.offset(at));
            prefetch(start);
            prefetch(start.wrapping_add(CACHE_LINE));
        }
    }

    /// True if the element at an index below `count` has this field.
    #[inline(always)]
    fn has_field(&self, at: usize, field: &[u8]) -> bool {
        let start = self.offset(at);
        let (name, body) = varint(&self.blob, start);
        if name & MORE == 0 {
            return name >> 1 == field.len() && &self.blob[body..body + field.len()] == field;
        }
        let parts = self.parts(start);
        if parts.outside {
            return self.element(at).field == field;
        }
        parts.name == field.len() && &self.blob[parts.body..parts.body + field.len()] == field
    }

    /// The element at an index below `count`.
    #[inline]
    pub(super) fn element(&self, at: usize) -> Element<'_> {
        let start = self.offset(at);
        let (name, body) = varint(&self.blob, start);
        if name & MORE == 0 {
            return Element {
                field: &self.blob[body..body + (name >> 1)],
                value: b"",
                expiry: None,
            };
        }
        self.pair(start)
    }

    /// The element that begins at `start` and may have more than a field.
    fn pair(&self, start: usize) -> Element<'_> {
        let parts = self.parts(start);
        let expiry = parts.volatile.then(|| read_i64(&self.blob, parts.body - 8));
        if parts.outside {
            let outside = self.outside.as_ref().expect("an element is outside");
            let Large { field, value } = outside.large(parts.name);
            return Element { field, value, expiry };
        }
        let (field, rest) = self.blob[parts.body..].split_at(parts.name);
        Element { field, value: &rest[..parts.value], expiry }
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.count()).map(|at| self.element(at))
    }

    /// The bytes that a new element would take here.
    pub(super) fn size_of(field: &[u8], value: &[u8], expiry: Option<i64>) -> usize {
        if is_large(field, value) {
            return Head::outside(COUNT_MAX, expiry).len;
        }
        Head::inside(field.len(), value.len(), expiry).len + field.len() + value.len()
    }

    /// Adds an element that is not there yet.
    pub(super) fn append(&mut self, tag: u8, field: &[u8], value: &[u8], expiry: Option<i64>) {
        if is_large(field, value) {
            let number = self.outside.get_or_insert_default().add(Large::new(field, value));
            self.link(tag, [Head::outside(number, expiry).bytes(), b"", b""]);
        } else {
            self.link(tag, [Head::inside(field.len(), value.len(), expiry).bytes(), field, value]);
        }
        self.next_expiry = self.next_expiry.min(expiry.unwrap_or(i64::MAX));
    }

    /// Writes an element and its entry of the index.
    fn link(&mut self, tag: u8, pieces: [&[u8]; 3]) {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.blob.len() < usize::from(self.used) + self.count() * INDEX + size + INDEX {
            self.rebuild(size + INDEX);
        }
        let count = self.count();
        let used = usize::from(self.used) + size;
        self.used = u16::try_from(used).expect("only equal positions pass the limit of a segment");
        self.count += 1;
        let blob = self.blob.change();
        blob.copy_within(count..count * INDEX, count + 1);
        blob[count] = tag;
        write_u16(blob, count * INDEX + 1, self.used);
        let mut at = blob.len() - used;
        for piece in pieces {
            blob[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }

    /// Takes out the element at an index; the last one takes that index. Memory stays as it is: see
    /// `give_back`.
    pub(super) fn remove(&mut self, at: usize) {
        let parts = self.parts(self.offset(at));
        if parts.outside {
            self.take_outside(parts.name);
        }
        self.unlink(at);
        if self.count == 0 {
            *self = Self::new(self.start);
        }
    }

    /// Takes an element's bytes and entry of the index out.
    fn unlink(&mut self, at: usize) {
        let start = self.offset(at);
        let size = (self.parts(start).end() - start) as u16;
        if usize::from(self.used) == self.blob.len() - start {
            self.used -= size;
        } else {
            self.wasted += size;
        }
        let count = self.count();
        let blob = self.blob.change();
        blob[at] = blob[count - 1];
        let moved = read_u16(blob, count + (count - 1) * 2);
        write_u16(blob, count + at * 2, moved);
        blob.copy_within(count..count * INDEX - 2, count - 1);
        self.count -= 1;
    }

    fn take_outside(&mut self, number: usize) -> Large {
        let outside = self.outside.as_mut().expect("an element is outside");
        let large = outside.take(number);
        if outside.is_empty() {
            self.outside = None;
        }
        large
    }

    /// Writes value and expiry over those of the element at `at`, if they take the same place.
    pub(super) fn overwrite(&mut self, at: usize, value: &[u8], expiry: Option<i64>) -> bool {
        let parts = self.parts(self.offset(at));
        if self.element(at).value.len() != value.len() || parts.volatile != expiry.is_some() {
            return false;
        }
        if let Some(expiry) = expiry {
            self.write_expiry(parts.body, expiry);
        }
        self.value_mut(at).copy_from_slice(value);
        true
    }

    /// The value of the element at `at`, to be changed in place.
    pub(super) fn value_mut(&mut self, at: usize) -> &mut [u8] {
        let parts = self.parts(self.offset(at));
        if parts.outside {
            let outside = self.outside.as_mut().expect("an element is outside");
            return outside.value_mut(parts.name);
        }
        let value = parts.body + parts.name;
        &mut self.blob.change()[value..value + parts.value]
    }

    /// Lets the element at `at` expire at another time, or never.
    pub(super) fn set_expiry(&mut self, at: usize, expiry: Option<i64>) {
        let parts = self.parts(self.offset(at));
        match expiry {
            Some(expiry) if parts.volatile => self.write_expiry(parts.body, expiry),
            None if !parts.volatile => {}
            _ => self.change_expiry(at, expiry),
        }
    }

    fn write_expiry(&mut self, body: usize, expiry: i64) {
        self.blob.change()[body - 8..body].copy_from_slice(&expiry.to_le_bytes());
        self.next_expiry = self.next_expiry.min(expiry);
    }

    /// Writes the element anew, with an expiry where it had none or without the one it had. What lies
    /// outside stays there.
    fn change_expiry(&mut self, at: usize, expiry: Option<i64>) {
        let start = self.offset(at);
        let parts = self.parts(start);
        let tag = self.blob[at];
        let content = self.blob[parts.body..parts.end()].to_vec();
        let head = if parts.outside {
            Head::outside(parts.name, expiry)
        } else {
            Head::inside(parts.name, parts.value, expiry)
        };
        self.unlink(at);
        self.link(tag, [head.bytes(), &content, b""]);
        self.next_expiry = self.next_expiry.min(expiry.unwrap_or(i64::MAX));
    }

    /// Moves the elements of the higher positions to a segment of their own. None if all positions are
    /// equal.
    pub(super) fn split(&mut self, position: impl Fn(&[u8]) -> u64) -> Option<Self> {
        let positions: Vec<u64> = self.elements().map(|it| position(it.field)).collect();
        let mut order = positions.clone();
        order.sort_unstable();
        let middle = order[order.len() / 2];
        // The middle itself would leave the lower half empty if it were the least.
        let first = order.iter().copied().find(|&at| at >= middle && at > order[0])?;
        let [mut low, mut high] = [Self::new(self.start), Self::new(first)];
        let high_count = positions.iter().filter(|&&at| at >= first).count();
        let share = |count: usize| self.live() * count / positions.len() + count * INDEX;
        low.rebuild(share(positions.len() - high_count));
        high.rebuild(share(high_count));
        for (at, &position) in positions.iter().enumerate() {
            if position >= first { &mut high } else { &mut low }.adopt(self, at);
        }
        low.give_back();
        high.give_back();
        *self = low;
        Some(high)
    }

    /// Takes all elements of another segment in.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.rebuild(other.live() + other.count() * INDEX);
        for at in 0..other.count() {
            self.adopt(&mut other, at);
        }
    }

    /// Adds a copy of an element of `source`, which gives away what it has outside.
    fn adopt(&mut self, source: &mut Self, at: usize) {
        let start = source.offset(at);
        let parts = source.parts(start);
        let tag = source.blob[at];
        let expiry = parts.volatile.then(|| read_i64(&source.blob, parts.body - 8));
        if parts.outside {
            let large = source.take_outside(parts.name);
            let number = self.outside.get_or_insert_default().add(large);
            self.link(tag, [Head::outside(number, expiry).bytes(), b"", b""]);
        } else {
            self.link(tag, [&source.blob[start..parts.end()], b"", b""]);
        }
        self.next_expiry = self.next_expiry.min(expiry.unwrap_or(i64::MAX));
    }

    /// Gives memory back when much of it is unused, after elements went or became smaller.
    pub(super) fn give_back(&mut self) {
        let unused = self.blob.len() - self.live() - self.count() * INDEX;
        if unused > self.blob.len() / 8 * 3 + UNUSED_MIN {
            self.rebuild(0);
        }
    }

    /// Moves everything to an allocation that has room for `more` bytes, without holes.
    fn rebuild(&mut self, more: usize) {
        let count = self.count();
        let needed = self.live() + count * INDEX + more;
        // The classes of the allocator, four for each doubling, are the steps of growth.
        let len = class_size(needed + ARC_HEADER) - ARC_HEADER;
        let mut new = Shared::zeroed(len);
        let blob = new.change();
        blob[..count * INDEX].copy_from_slice(&self.blob[..count * INDEX]);
        if self.wasted == 0 {
            let used = usize::from(self.used);
            blob[len - used..].copy_from_slice(&self.blob[self.blob.len() - used..]);
        } else {
            let mut used = 0;
            for at in 0..count {
                let start = self.offset(at);
                let element = &self.blob[start..self.parts(start).end()];
                used += element.len();
                blob[len - used..len - used + element.len()].copy_from_slice(element);
                write_u16(blob, count + at * 2, used as u16);
            }
            self.used = used as u16;
            self.wasted = 0;
        }
        self.blob = new;
    }

    #[inline]
    fn offset(&self, at: usize) -> usize {
        debug_assert!(at < self.count());
        self.blob.len() - usize::from(read_u16(&self.blob, self.count() + at * 2))
    }

    #[inline]
    fn parts(&self, start: usize) -> Parts {
        let (name, body) = varint(&self.blob, start);
        if name & MORE == 0 {
            return Parts { name: name >> 1, value: 0, volatile: false, outside: false, body };
        }
        let (value, body) = varint(&self.blob, body);
        let volatile = value & VOLATILE != 0;
        Parts {
            name: name >> 1,
            value: value >> 2,
            volatile,
            outside: value & OUTSIDE != 0,
            body: if volatile { body + 8 } else { body },
        }
    }
}

/// What stands before the field of an element.
#[derive(Default)]
struct Head {
    /// Two numbers of at most ten bytes each, and an expiry.
    bytes: [u8; 28],
    len: usize,
}

impl Head {
    fn inside(field: usize, value: usize, expiry: Option<i64>) -> Self {
        let mut head = Self::default();
        if value == 0 && expiry.is_none() {
            head.varint(field << 1);
        } else {
            head.varint(field << 1 | MORE);
            head.varint(value << 2 | usize::from(expiry.is_some()));
            head.expiry(expiry);
        }
        head
    }

    fn outside(number: usize, expiry: Option<i64>) -> Self {
        let mut head = Self::default();
        head.varint(number << 1 | MORE);
        head.varint(OUTSIDE | usize::from(expiry.is_some()));
        head.expiry(expiry);
        head
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.push(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.push(&[number as u8]);
    }

    fn expiry(&mut self, expiry: Option<i64>) {
        if let Some(expiry) = expiry {
            self.push(&expiry.to_le_bytes());
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

fn is_large(field: &[u8], value: &[u8]) -> bool {
    field.len() + value.len() > INSIDE_MAX
}

/// The number at `at`, seven bits a byte and the low ones first, and where it ends.
#[inline(always)]
fn varint(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let first = bytes[at];
    if first < 0x80 {
        return (usize::from(first), at + 1);
    }
    let mut number = usize::from(first & 0x7f);
    let mut shift = 7;
    loop {
        at += 1;
        number |= usize::from(bytes[at] & 0x7f) << shift;
        shift += 7;
        if bytes[at] < 0x80 {
            return (number, at + 1);
        }
    }
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn write_u16(bytes: &mut [u8], at: usize, number: u16) {
    bytes[at..at + 2].copy_from_slice(&number.to_le_bytes());
}

fn read_i64(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(*bytes[at..].first_chunk().expect("an expiry has eight bytes"))
}
