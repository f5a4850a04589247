//! Listpack: a list of strings and integers in one run of bytes. Knows nothing of keys.
//!
//! Invariant: the bytes are a listpack that `validate` accepts, so walking them never leaves them;
//! what comes from outside is validated before it is walked. Every function here keeps that.
//! Positions are byte offsets of elements.
//! Source: the listpack specification and the bytes that Redis writes into RDB files.
//!
//! ```text
//! | total bytes u32 | elements u16 | element ... | 0xFF |     65535 elements: unknown, count them
//! element: | encoding, integer or length | string | length of what is before, read backwards |
//!   0xxxxxxx                      integer 0 to 127
//!   10llllll <string>             string of up to 63 bytes
//!   110xxxxx x                    integer of 13 bits, high byte first
//!   1110llll l <string>           string of up to 4095 bytes, high byte first
//!   11110000 l l l l <string>     string of up to 2^32 - 1 bytes
//!   11110001 to 11110100          integer of 16, 24, 32, 64 bits
//! ```
//! All other numbers are little-endian. The length behind an element has 7 bits a byte; its last
//! byte is the lowest, and a high bit says that there is one more before it.

use super::run::Run;
use crate::base::number::parse_i64;

/// The bytes of a listpack without elements.
pub const EMPTY: [u8; 7] = [7, 0, 0, 0, 0, 0, END];

/// An element, or a value on its way to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// The string that spells this integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
}

impl<'a> Element<'a> {
    /// A string as the element that it is stored as: canonical integers are stored as integers.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Self {
        match bytes {
            [b'-' | b'0'..=b'9', ..] if bytes.len() <= INT_TEXT_MAX => {
                parse_i64(bytes).map_or(Element::Str(bytes), Element::Int)
            }
            _ => Element::Str(bytes),
        }
    }

    /// The string; `buffer` is where the digits of an integer go.
    #[inline]
    pub fn to_bytes<'b>(self, buffer: &'b mut [u8; INT_TEXT_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Element::Str(bytes) => bytes,
            Element::Int(value) => {
                let mut digits = itoa::Buffer::new();
                let text = digits.format(value).as_bytes();
                buffer[..text.len()].copy_from_slice(text);
                &buffer[..text.len()]
            }
        }
    }

    /// The string as a vector.
    pub fn to_vec(self) -> Vec<u8> {
        self.to_bytes(&mut [0; INT_TEXT_MAX]).to_vec()
    }

    /// True if the string is `bytes`.
    #[inline]
    pub fn eq_bytes(self, bytes: &[u8]) -> bool {
        match self {
            Element::Str(own) => own == bytes,
            Element::Int(_) => Element::of(bytes) == self,
        }
    }

    /// The integer that the string spells.
    #[inline]
    pub fn to_int(self) -> Option<i64> {
        match self {
            Element::Int(value) => Some(value),
            Element::Str(bytes) => parse_i64(bytes),
        }
    }

    /// Bytes of the string.
    #[inline]
    pub fn text_len(self) -> usize {
        match self {
            Element::Str(bytes) => bytes.len(),
            Element::Int(_) => self.to_bytes(&mut [0; INT_TEXT_MAX]).len(),
        }
    }

    /// Bytes that the element takes in a listpack.
    #[inline]
    pub fn size(self) -> usize {
        let body = match self {
            Element::Int(value) => int_body_len(value),
            Element::Str(bytes) => string_head_len(bytes.len()) + bytes.len(),
        };
        body + back_len(body)
    }
}

/// A listpack, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Listpack<'a>(&'a [u8]);

impl<'a> Listpack<'a> {
    /// The listpack that `bytes` are; bytes from outside have passed `validate`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Listpack(bytes)
    }

    /// All its bytes.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Elements. O(1) up to 65534 of them, O(elements) above.
    #[inline]
    pub fn len(self) -> usize {
        match count(self.0) {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// True without an element.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.len() == EMPTY.len()
    }

    /// Where the last element ends: the position to insert at to append.
    #[inline]
    pub fn end(self) -> usize {
        self.0.len() - 1
    }

    /// Position of the first element.
    #[inline]
    pub fn first(self) -> Option<usize> {
        (!self.is_empty()).then_some(HEADER)
    }

    /// Position of the last element.
    #[inline]
    pub fn last(self) -> Option<usize> {
        self.prev(self.end())
    }

    /// Position of the element behind the one at `pos`.
    #[inline]
    pub fn next(self, pos: usize) -> Option<usize> {
        Some(skip(self.0, pos)).filter(|next| *next < self.end())
    }

    /// Position of the element before `pos`, which may be `end()`.
    #[inline]
    pub fn prev(self, pos: usize) -> Option<usize> {
        (pos > HEADER).then(|| before(self.0, pos))
    }

    /// Position of element `index`; -1 is the last one. O(distance from the nearer end).
    pub fn seek(self, index: i64) -> Option<usize> {
        let (mut steps, mut backward) = match u64::try_from(index) {
            Ok(steps) => (steps, false),
            Err(_) => (!index as u64, true),
        };
        let counted = count(self.0);
        if counted != COUNT_UNKNOWN {
            let len = u64::from(counted);
            if steps >= len {
                return None;
            }
            if steps > len / 2 {
                (steps, backward) = (len - 1 - steps, !backward);
            }
        }
        let mut pos = if backward { self.last()? } else { self.first()? };
        for _ in 0..steps {
            pos = if backward { self.prev(pos)? } else { self.next(pos)? };
        }
        Some(pos)
    }

    /// The element at `pos`.
    #[inline]
    pub fn get(self, pos: usize) -> Element<'a> {
        decode(self.0, pos).0
    }

    /// The element at `pos` and where the next one begins, which may be `end()`.
    #[inline]
    pub fn get_and_skip(self, pos: usize) -> (Element<'a>, usize) {
        decode(self.0, pos)
    }

    /// Element `index`, as `seek` counts.
    pub fn at(self, index: i64) -> Option<Element<'a>> {
        self.seek(index).map(|pos| self.get(pos))
    }

    /// The elements from both ends.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        self.iter_from(HEADER)
    }

    /// The elements from the one at `pos` on; `pos` may be `end()`.
    #[inline]
    pub fn iter_from(self, pos: usize) -> Iter<'a> {
        Iter { bytes: self.0, front: pos, back: self.end() }
    }

    /// The elements up to the one at `pos`, for walking back from it.
    #[inline]
    pub fn iter_to(self, pos: usize) -> Iter<'a> {
        Iter { bytes: self.0, front: HEADER, back: skip(self.0, pos) }
    }

    /// Position of the first element equal to `wanted`, from the one at `start` on; after each
    /// comparison `skipped` elements are passed over (1 for maps, whose values are not compared).
    #[inline]
    pub fn find(self, wanted: &[u8], start: usize, skipped: usize) -> Option<usize> {
        let integer = Element::of(wanted);
        let (mut pos, end) = (start, self.end());
        while pos < end {
            let (element, mut next) = decode(self.0, pos);
            let is_equal = match element {
                Element::Str(bytes) => bytes == wanted,
                Element::Int(_) => element == integer,
            };
            if is_equal {
                return Some(pos);
            }
            for _ in 0..skipped {
                if next < end {
                    next = skip(self.0, next);
                }
            }
            pos = next;
        }
        None
    }
}

impl<'a> IntoIterator for Listpack<'a> {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The elements of a listpack from both ends.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// Position of the element that `next` returns, or the end.
    #[inline]
    pub fn position(&self) -> usize {
        self.front
    }

    /// Where the element ends that `next_back` returns.
    #[inline]
    pub fn back_position(&self) -> usize {
        self.back
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (element, next) = decode(self.bytes, self.front);
        self.front = next;
        Some(element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back = before(self.bytes, self.back);
        Some(decode(self.bytes, self.back).0)
    }
}

/// True if `bytes` are a listpack. Without `deep` only header and end are looked at, which is not
/// enough to walk bytes that somebody else made. O(1), or O(elements) if `deep`.
pub fn validate(bytes: &[u8], deep: bool) -> bool {
    let Some((head, [.., END])) = bytes.split_first_chunk::<HEADER>() else { return false };
    let [t0, t1, t2, t3, _, _] = *head;
    if u32::from_le_bytes([t0, t1, t2, t3]) as usize != bytes.len() {
        return false;
    }
    if !deep {
        return true;
    }
    let end = bytes.len() - 1;
    let (mut pos, mut elements) = (HEADER, 0usize);
    while pos < end {
        match checked_skip(&bytes[..end], pos) {
            Some(next) => pos = next,
            None => return false,
        }
        elements += 1;
    }
    let counted = count(bytes);
    counted == COUNT_UNKNOWN || usize::from(counted) == elements
}

/// True if a listpack of `len` bytes may grow by `added`: the total has 32 bits, and Redis stops at
/// a gigabyte.
#[inline]
pub fn may_grow(len: usize, added: usize) -> bool {
    len.saturating_add(added) <= BYTES_MAX
}

/// Inserts elements before the one at `pos`; at `end()` they are appended. Afterwards the first of
/// them is at `pos`.
#[inline]
pub fn insert<const N: usize, R: Run + ?Sized>(run: &mut R, pos: usize, values: [Element<'_>; N]) {
    change(run, pos, 0, 0, values);
}

/// Inserts an element behind the one at `pos`; returns its position.
pub fn insert_after<R: Run + ?Sized>(run: &mut R, pos: usize, value: Element<'_>) -> usize {
    let next = skip(run.bytes(), pos);
    insert(run, next, [value]);
    next
}

/// Adds elements at the end.
#[inline]
pub fn append<const N: usize, R: Run + ?Sized>(run: &mut R, values: [Element<'_>; N]) {
    let end = run.bytes().len() - 1;
    insert(run, end, values);
}

/// Adds an element at the front.
#[inline]
pub fn prepend<R: Run + ?Sized>(run: &mut R, value: Element<'_>) {
    insert(run, HEADER, [value]);
}

/// Adds any number of elements at the end, a few with each move of the run.
#[inline]
pub fn extend<'v, R: Run + ?Sized>(run: &mut R, values: impl Iterator<Item = Element<'v>>) {
    in_groups(values, |group| match *group {
        [one] => append(run, [one]),
        _ => match group.try_into() {
            Ok(group) => append::<GROUP, _>(run, group),
            Err(_) => group.iter().for_each(|one| append(run, [*one])),
        },
    });
}

/// Adds any number of elements at the front, one before the other, so that the last of them is the
/// first then; a few with each move of the run.
#[inline]
pub fn extend_front<'v, R: Run + ?Sized>(run: &mut R, values: impl Iterator<Item = Element<'v>>) {
    in_groups(values, |group| match *group {
        [one] => prepend(run, one),
        _ => match <[Element<'_>; GROUP]>::try_from(group) {
            Ok(mut group) => {
                group.reverse();
                insert(run, HEADER, group);
            }
            Err(_) => group.iter().for_each(|one| prepend(run, *one)),
        },
    });
}

/// Hands values on in groups of `GROUP`, the last of which may be smaller.
#[inline]
fn in_groups<'v>(
    mut values: impl Iterator<Item = Element<'v>>,
    mut take: impl FnMut(&[Element<'v>]),
) {
    let mut group = [Element::Int(0); GROUP];
    loop {
        let mut count = 0;
        for (place, value) in group.iter_mut().zip(&mut values) {
            *place = value;
            count += 1;
        }
        if count > 0 {
            take(&group[..count]);
        }
        if count < GROUP {
            return;
        }
    }
}

/// Adds any number of elements at the end of a vector, each written once and in place; `values` may
/// be many at little cost each.
#[inline]
pub fn push_all<'v>(bytes: &mut Vec<u8>, values: impl IntoIterator<Item = Element<'v>>) {
    let mut added = 0;
    bytes.pop();
    for value in values {
        match value {
            // The two most frequent forms, at less cost.
            Element::Int(small @ 0..128) => bytes.extend_from_slice(&[small as u8, 1]),
            Element::Str(short) if short.len() < 64 => {
                bytes.push(STR_6 | short.len() as u8);
                bytes.extend_from_slice(short);
                bytes.push(short.len() as u8 + 1);
            }
            _ => {
                let encoded = Encoded::new(value);
                encoded.pieces().into_iter().for_each(|piece| bytes.extend_from_slice(piece));
            }
        }
        added += 1;
    }
    bytes.push(END);
    put_header(bytes, 0, added);
}

/// Puts another value in the place of the element at `pos`.
#[inline]
pub fn replace<R: Run + ?Sized>(run: &mut R, pos: usize, value: Element<'_>) {
    let removed = skip(run.bytes(), pos) - pos;
    change(run, pos, removed, 1, [value]);
}

/// Deletes up to `elements` elements from the one at `pos` on. What was behind them is then at
/// `pos`.
pub fn delete<R: Run + ?Sized>(run: &mut R, pos: usize, elements: usize) {
    let (bytes, mut next, mut passed) = (run.bytes(), pos, 0);
    let end = bytes.len() - 1;
    while passed < elements && next < end {
        next = skip(bytes, next);
        passed += 1;
    }
    change(run, pos, next - pos, passed, []);
}

/// Deletes up to `elements` elements from element `index` on, which counts as `seek` does.
pub fn delete_range<R: Run + ?Sized>(run: &mut R, index: i64, elements: usize) {
    let pack = Listpack(run.bytes());
    let Some(pos) = pack.seek(index) else { return };
    let end = pack.end();
    let counted = count(pack.0);
    let behind = u64::try_from(index)
        .map_or(index.unsigned_abs(), |index| u64::from(counted).saturating_sub(index));
    if counted != COUNT_UNKNOWN && elements as u64 >= behind {
        // A tail is cut off without a walk over it.
        return change(run, pos, end - pos, behind as usize, []);
    }
    delete(run, pos, elements);
}

/// Deletes the elements at these positions, which ascend. O(bytes behind the first).
pub fn delete_all<R: Run + ?Sized>(run: &mut R, positions: &[usize]) {
    let Some(&first) = positions.first() else { return };
    let bytes = run.bytes_mut();
    let end = bytes.len() - 1;
    let mut to = first;
    for (index, &pos) in positions.iter().enumerate() {
        let from = skip(bytes, pos);
        let until = positions.get(index + 1).copied().unwrap_or(end);
        bytes.copy_within(from..until, to);
        to += until - from;
    }
    change(run, to, end - to, positions.len(), []);
}

/// Adds the elements of `other` at the end of a listpack.
pub fn append_pack<R: Run + ?Sized>(run: &mut R, other: Listpack<'_>) {
    let (at, len) = (run.bytes().len() - 1, other.len());
    run.splice(at, 0, &[&other.0[HEADER..other.end()]]);
    put_header(run, 0, len);
}

/// Adds the elements of `other` before those of a listpack.
pub fn prepend_pack<R: Run + ?Sized>(run: &mut R, other: Listpack<'_>) {
    let len = other.len();
    run.splice(HEADER, 0, &[&other.0[HEADER..other.end()]]);
    put_header(run, 0, len);
}

/// Cuts a listpack at `pos`: it keeps the elements before; returns the others.
pub fn split_off<R: Run + ?Sized>(run: &mut R, pos: usize) -> Vec<u8> {
    let pack = Listpack(run.bytes());
    let elements = pack.iter_from(pos).count();
    let mut tail = Vec::with_capacity(HEADER + pack.0.len() - pos);
    tail.extend_from_slice(&EMPTY[..HEADER]);
    tail.extend_from_slice(&pack.0[pos..]);
    put_header(&mut tail, 0, elements);
    let removed = pack.end() - pos;
    change(run, pos, removed, elements, []);
    tail
}

/// Replaces `removed` bytes, which are `elements` elements, by values.
#[inline]
fn change<const N: usize, R: Run + ?Sized>(
    run: &mut R,
    at: usize,
    removed: usize,
    elements: usize,
    values: [Element<'_>; N],
) {
    let encoded = values.map(Encoded::new);
    let pieces: [[&[u8]; 3]; N] = std::array::from_fn(|index| encoded[index].pieces());
    run.splice(at, removed, pieces.as_flattened());
    put_header(run, elements, N);
}

/// Makes the header agree with the bytes after a change of so many elements.
#[inline]
fn put_header<R: Run + ?Sized>(run: &mut R, removed: usize, added: usize) {
    let bytes = run.bytes_mut();
    let total = u32::try_from(bytes.len()).expect("callers ask `may_grow` where a value is large");
    let counted = count(bytes);
    bytes[..4].copy_from_slice(&total.to_le_bytes());
    if counted != COUNT_UNKNOWN {
        let elements = usize::from(counted) + added - removed;
        let elements = u16::try_from(elements).unwrap_or(COUNT_UNKNOWN);
        bytes[4..HEADER].copy_from_slice(&elements.to_le_bytes());
    }
}

/// An element as bytes: what stands before the string, the string, the length read backwards.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    back_len: u8,
    back: [u8; 5],
    string: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn new(value: Element<'a>) -> Self {
        let (head, head_len, string): (_, _, &[u8]) = match value {
            Element::Int(value) => (int_body(value), int_body_len(value), &[]),
            Element::Str(bytes) => (string_head(bytes.len()), string_head_len(bytes.len()), bytes),
        };
        let body = head_len + string.len();
        let back_len = back_len(body);
        let mut back = [0; 5];
        for (index, byte) in back[..back_len].iter_mut().rev().enumerate() {
            *byte = (body as u64 >> (7 * index)) as u8 & LOW_7 | CONTINUES;
        }
        back[0] &= LOW_7;
        Encoded { head, head_len: head_len as u8, back_len: back_len as u8, back, string }
    }

    #[inline]
    fn pieces(&self) -> [&[u8]; 3] {
        [&self.head[..self.head_len.into()], self.string, &self.back[..self.back_len.into()]]
    }
}

/// Bytes of an integer without the length behind.
#[inline]
fn int_body_len(value: i64) -> usize {
    match value {
        0..=127 => 1,
        -0x1000..0x1000 => 2,
        -0x8000..0x8000 => 3,
        -0x80_0000..0x80_0000 => 4,
        -0x8000_0000..0x8000_0000 => 5,
        _ => 9,
    }
}

/// An integer without the length behind; `int_body_len` bytes of it count.
#[inline]
fn int_body(value: i64) -> [u8; 9] {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_le_bytes();
    match int_body_len(value) {
        1 => [b0, 0, 0, 0, 0, 0, 0, 0, 0],
        2 => [INT_13 | b1 & 0x1F, b0, 0, 0, 0, 0, 0, 0, 0],
        3 => [INT_16, b0, b1, 0, 0, 0, 0, 0, 0],
        4 => [INT_24, b0, b1, b2, 0, 0, 0, 0, 0],
        5 => [INT_32, b0, b1, b2, b3, 0, 0, 0, 0],
        _ => [INT_64, b0, b1, b2, b3, b4, b5, b6, b7],
    }
}

/// Bytes before a string.
#[inline]
fn string_head_len(len: usize) -> usize {
    match len {
        0..64 => 1,
        64..4096 => 2,
        _ => 5,
    }
}

/// What stands before a string; `string_head_len` bytes of it count.
#[inline]
fn string_head(len: usize) -> [u8; 9] {
    let len = u32::try_from(len).expect("callers ask `may_grow` where a value is large");
    let [b0, b1, b2, b3] = len.to_le_bytes();
    match len {
        0..64 => [STR_6 | b0, 0, 0, 0, 0, 0, 0, 0, 0],
        64..4096 => [STR_12 | b1, b0, 0, 0, 0, 0, 0, 0, 0],
        _ => [STR_32, b0, b1, b2, b3, 0, 0, 0, 0],
    }
}

/// Bytes of the length behind a body. The bounds are Redis', which are one below what 14, 21 and 28
/// bits could hold.
#[inline(always)]
fn back_len(body: usize) -> usize {
    match body {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The element at `pos` and where the next begins.
#[inline(always)]
fn decode(bytes: &[u8], pos: usize) -> (Element<'_>, usize) {
    let first = bytes[pos];
    match first {
        0..STR_6 => (Element::Int(first.into()), pos + 2),
        STR_6..INT_13 => {
            let len = usize::from(first & 0x3F);
            (Element::Str(&bytes[pos + 1..pos + 1 + len]), pos + len + 2)
        }
        _ => decode_large(bytes, pos),
    }
}

/// `decode` for all but small integers and short strings.
fn decode_large(bytes: &[u8], pos: usize) -> (Element<'_>, usize) {
    let array = |len| {
        let mut word = [0; 8];
        word[8 - len..].copy_from_slice(&bytes[pos + 1..pos + 1 + len]);
        // The bytes stand at the high end, so that the shift brings the sign along.
        (Element::Int(i64::from_le_bytes(word) >> (64 - 8 * len)), pos + len + 2)
    };
    match bytes[pos] {
        high @ INT_13..STR_12 => {
            let value = i16::from_be_bytes([high << 3, 0]) | i16::from(bytes[pos + 1]) << 3;
            (Element::Int(i64::from(value >> 3)), pos + 3)
        }
        INT_16 => array(2),
        INT_24 => array(3),
        INT_32 => array(4),
        INT_64 => array(8),
        _ => {
            let (head, len) = string_lens(bytes, pos);
            let body = head + len;
            (Element::Str(&bytes[pos + head..pos + body]), pos + body + back_len(body))
        }
    }
}

/// Where the element behind the one at `pos` begins, or the end.
#[inline(always)]
fn skip(bytes: &[u8], pos: usize) -> usize {
    match bytes[pos] {
        0..STR_6 => pos + 2,
        short @ STR_6..INT_13 => pos + usize::from(short & 0x3F) + 2,
        _ => {
            let body = large_body_len(bytes, pos);
            pos + body + back_len(body)
        }
    }
}

/// Bytes of an element without the length behind, for all but small integers and short strings.
#[inline]
fn large_body_len(bytes: &[u8], pos: usize) -> usize {
    match bytes[pos] {
        INT_13..STR_12 => 2,
        INT_16 => 3,
        INT_24 => 4,
        INT_32 => 5,
        INT_64 => 9,
        _ => {
            let (head, len) = string_lens(bytes, pos);
            head + len
        }
    }
}

/// Bytes before a string of more than 63 bytes, and its own.
#[inline]
fn string_lens(bytes: &[u8], pos: usize) -> (usize, usize) {
    match bytes[pos] {
        high @ STR_12..STR_32 => (2, usize::from(high & 0x0F) << 8 | usize::from(bytes[pos + 1])),
        STR_32 => {
            let [b0, b1, b2, b3] = [1, 2, 3, 4].map(|offset| bytes[pos + offset]);
            (5, u32::from_le_bytes([b0, b1, b2, b3]) as usize)
        }
        _ => unreachable!("no element begins so; bytes from outside are validated"),
    }
}

/// Where the element begins that ends before `pos`.
#[inline(always)]
fn before(bytes: &[u8], pos: usize) -> usize {
    let last = bytes[pos - 1];
    if last & CONTINUES == 0 {
        return pos - 1 - usize::from(last);
    }
    let body = read_back(&bytes[..pos]).expect("bytes from outside are validated");
    pos - body - back_len(body)
}

/// The length that `bytes` end with. None if it has more than five bytes.
#[inline]
fn read_back(bytes: &[u8]) -> Option<usize> {
    let mut body = 0;
    for (index, byte) in bytes.iter().rev().take(5).enumerate() {
        body |= usize::from(byte & LOW_7) << (7 * index);
        if byte & CONTINUES == 0 {
            return Some(body);
        }
    }
    None
}

/// `skip` over bytes that anybody may have made; `elements` ends before the end byte. None if no
/// whole element is at `pos`.
fn checked_skip(elements: &[u8], pos: usize) -> Option<usize> {
    let head_len = match elements[pos] {
        STR_12..STR_32 => 2,
        STR_32 => 5,
        0..STR_12 | INT_16..=INT_64 => 1,
        _ => return None,
    };
    elements.get(pos..pos + head_len)?;
    let body = match elements[pos] {
        0..STR_6 => 1,
        short @ STR_6..INT_13 => usize::from(short & 0x3F) + 1,
        _ => large_body_len(elements, pos),
    };
    let behind = pos.checked_add(body)?;
    let next = behind.checked_add(back_len(body))?;
    // One that goes on into the element reads as another when that one changes.
    let back = read_back(elements.get(behind..next)?)?;
    (back == body).then_some(next)
}

/// The header's number of elements.
#[inline(always)]
fn count(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[4], bytes[5]])
}

/// Bytes before the first element.
pub const HEADER: usize = 6;
/// The longest integer: "-9223372036854775808".
pub const INT_TEXT_MAX: usize = 20;
/// Elements that are added with one move of the run.
const GROUP: usize = 8;
/// Behind the last element.
const END: u8 = 0xFF;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Above this Redis adds nothing to a listpack.
const BYTES_MAX: usize = 1 << 30;

const STR_6: u8 = 0x80;
const INT_13: u8 = 0xC0;
const STR_12: u8 = 0xE0;
const STR_32: u8 = 0xF0;
const INT_16: u8 = 0xF1;
const INT_24: u8 = 0xF2;
const INT_32: u8 = 0xF3;
const INT_64: u8 = 0xF4;
const LOW_7: u8 = 0x7F;
const CONTINUES: u8 = 0x80;

#[cfg(test)]
mod tests;
