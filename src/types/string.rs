//! Strings: the canonical integers among them, and long ones in chunks.
//! Invariant: every chunk of a `BigString` but the last has `CHUNK_BYTES` bytes, and the last has at
//! least one; chunks are shared with replies and snapshots and copied before they are changed.

use bytes::{Bytes, BytesMut};

/// A long string: an array of chunks, so that it is shared, changed and freed piece by piece.
#[derive(Clone, Debug, Default)]
pub struct BigString {
    len: u64,
    chunks: Vec<Bytes>,
}

impl BigString {
    /// The empty string.
    pub fn new() -> Self {
        Self::default()
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks in order. Cloning one shares its bytes.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Takes over a buffer of at most `CHUNK_BYTES` as the next chunk, without a copy where the
    /// string so far ends at a chunk's end.
    pub fn append_chunk(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.len.is_multiple_of(CHUNK_BYTES as u64) && chunk.len() <= CHUNK_BYTES {
            self.len += chunk.len() as u64;
            self.chunks.push(chunk);
        } else {
            self.append(&chunk);
        }
    }

    /// Adds bytes at the end. Amortised O(bytes): the last chunk grows in place when nobody shares it.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = (self.len % CHUNK_BYTES as u64) as usize;
            let take = bytes.len().min(CHUNK_BYTES - used);
            let (now, later) = bytes.split_at(take);
            match self.chunks.last_mut() {
                Some(last) if used > 0 => change(last, |last| extend(last, now)),
                _ => self.chunks.push(Bytes::copy_from_slice(now)),
            }
            self.len += take as u64;
            bytes = later;
        }
    }

    /// Overwrites from `offset` on; a gap behind the end is filled with zeros, which take memory where
    /// the string is of an ordinary size: whoever limits memory expects it to be counted. An `offset` plus
    /// length beyond 64 bits is the caller's to refuse.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.len < offset {
            // What comes behind the gap gets its room along with it.
            let end = (offset + bytes.len() as u64).min(PADDED_BYTES);
            while self.len < end {
                let take = (end - self.len).min(CHUNK_BYTES as u64);
                self.append(&ZEROS[..take as usize]);
            }
        }
        self.pad_to(offset);
        let inside = (self.len - offset).min(bytes.len() as u64) as usize;
        let (mut over, beyond) = bytes.split_at(inside);
        let mut at = offset;
        while !over.is_empty() {
            let from = (at % CHUNK_BYTES as u64) as usize;
            let take = over.len().min(CHUNK_BYTES - from);
            let (now, later) = over.split_at(take);
            let chunk = &mut self.chunks[(at / CHUNK_BYTES as u64) as usize];
            change(chunk, |chunk| chunk[from..from + take].copy_from_slice(now));
            at += take as u64;
            over = later;
        }
        self.append(beyond);
    }

    /// The chunks in order, given away.
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
    }

    /// Makes the string at least `len` long with zeros, whole chunks of which cost no memory.
    pub fn pad_to(&mut self, len: u64) {
        while self.len < len {
            let used = (self.len % CHUNK_BYTES as u64) as usize;
            let take = (len - self.len).min((CHUNK_BYTES - used) as u64) as usize;
            if used == 0 {
                self.len += take as u64;
                self.chunks.push(zeros(take));
            } else {
                self.append(&ZEROS[..take]);
            }
        }
    }

    /// The bytes from `start` to before `end`, piece by piece; both are cut to the length.
    pub fn range(&self, start: u64, end: u64) -> impl Iterator<Item = Bytes> + '_ {
        let end = end.min(self.len);
        let start = start.min(end);
        let first = (start / CHUNK_BYTES as u64) as usize;
        let last = end.div_ceil(CHUNK_BYTES as u64) as usize;
        let chunks = self.chunks.get(first..last.max(first)).unwrap_or_default();
        chunks.iter().enumerate().map(move |(index, chunk)| {
            let base = (first + index) as u64 * CHUNK_BYTES as u64;
            let from = start.saturating_sub(base) as usize;
            let to = (end - base).min(chunk.len() as u64) as usize;
            chunk.slice(from..to)
        })
    }

    /// The first `len` bytes, or all if there are fewer.
    pub fn head(&self, len: usize) -> Vec<u8> {
        self.range(0, self.len.min(len as u64)).flatten().collect()
    }

    /// The byte at `offset`.
    pub fn byte(&self, offset: u64) -> Option<u8> {
        let chunk = self.chunks.get(usize::try_from(offset / CHUNK_BYTES as u64).ok()?)?;
        chunk.get((offset % CHUNK_BYTES as u64) as usize).copied()
    }

    /// All bytes in one piece: O(length), for what needs them so.
    pub fn to_vec(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Bytes allocated, where nothing is shared.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum::<usize>()
            + self.chunks.capacity() * size_of::<Bytes>()
    }

    /// Frees up to `units` chunks from the end; returns the units left.
    pub fn free_slice(&mut self, units: usize) -> usize {
        let keep = self.chunks.len().saturating_sub(units);
        let freed = self.chunks.len() - keep;
        self.chunks.truncate(keep);
        self.len = self.len.min(keep as u64 * CHUNK_BYTES as u64);
        units - freed
    }
}

impl From<&[u8]> for BigString {
    fn from(bytes: &[u8]) -> Self {
        let mut string = Self::new();
        string.append(bytes);
        string
    }
}

/// Changes a chunk: in place if nobody shares it, else in a copy.
fn change(chunk: &mut Bytes, change: impl FnOnce(&mut BytesMut)) {
    let mut own =
        std::mem::take(chunk).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    change(&mut own);
    *chunk = own.freeze();
}

/// Adds bytes to a chunk that has room for them by its invariant: it grows to twice its length, but
/// takes no more memory than a whole chunk.
fn extend(chunk: &mut BytesMut, bytes: &[u8]) {
    let len = chunk.len() + bytes.len();
    if len > chunk.capacity() {
        let mut longer = BytesMut::with_capacity((2 * chunk.len()).min(CHUNK_BYTES).max(len));
        longer.extend_from_slice(chunk);
        *chunk = longer;
    }
    chunk.extend_from_slice(bytes);
}

/// A chunk of `len` zeros, at most `CHUNK_BYTES`, that costs no memory.
pub fn zeros(len: usize) -> Bytes {
    Bytes::from_static(&ZEROS[..len])
}

/// True if a chunk is known to hold zeros only, without a look at its bytes: nobody wrote to it.
pub fn is_untouched(chunk: &[u8]) -> bool {
    std::ptr::eq(chunk.as_ptr(), ZEROS.as_ptr())
}

/// The integer that `bytes` is the one decimal spelling of: no sign but a minus, no leading zeros,
/// no spaces, within 64 bits. Such strings are stored as integers. Source: OBJECT ENCODING "int".
#[inline]
pub fn canonical_int(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= INT_DIGITS_MAX => (),
        _ => return None,
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // At most 19 digits: below 10^19, which 64 bits hold.
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Strings up to this long lie in their key's entry; longer ones in chunks.
pub const STRING_INLINE_MAX: usize = 16 * 1024;
/// One chunk: a free or a copy of it stays well below the slice of a turn.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Zeros before this offset take memory, as any bytes do.
const PADDED_BYTES: u64 = 1024 * 1024;
/// The most digits of an `i64`.
const INT_DIGITS_MAX: usize = 19;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_take_memory_in_ordinary_strings_alone() {
        let mut string = BigString::new();
        string.write_at(8 * PADDED_BYTES, b"x");
        let shared = PADDED_BYTES as usize / CHUNK_BYTES;
        let untouched: Vec<bool> = string.chunks().iter().map(|one| is_untouched(one)).collect();
        assert!(untouched[..shared].iter().all(|one| !one), "they are counted");
        assert!(untouched[shared..untouched.len() - 1].iter().all(|one| *one), "they are free");
        assert_eq!(string.len(), 8 * PADDED_BYTES + 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        WriteAt(usize, usize),
        Share,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0usize..150_000).prop_map(Step::Append),
            (0usize..400_000, 0usize..150_000).prop_map(|(at, len)| Step::WriteAt(at, len)),
            Just(Step::Share),
        ];
        prop::collection::vec(step, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_a_vec(steps in steps(), start in 0u64..500_000, end in 0u64..500_000) {
            let mut string = BigString::new();
            let mut model: Vec<u8> = Vec::new();
            let mut shared: Vec<(Vec<Bytes>, Vec<u8>)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                let fill = number as u8 + 1;
                match step {
                    Step::Append(len) => {
                        string.append(&vec![fill; len]);
                        model.resize(model.len() + len, fill);
                    }
                    Step::WriteAt(at, len) => {
                        string.write_at(at as u64, &vec![fill; len]);
                        if len > 0 {
                            model.resize(model.len().max(at + len), 0);
                            model[at..at + len].fill(fill);
                        }
                    }
                    Step::Share => shared.push((string.chunks().to_vec(), model.clone())),
                }
                prop_assert_eq!(string.len(), model.len() as u64);
            }
            prop_assert!(string.to_vec() == model);
            for (chunks, before) in shared {
                prop_assert!(chunks.concat() == before, "shared bytes never change");
            }
            let read: Vec<u8> = string.range(start, end).flatten().collect();
            let end = (end as usize).min(model.len());
            prop_assert!(read == model[(start as usize).min(end)..end]);
            prop_assert_eq!(string.byte(start), model.get(start as usize).copied());
            while string.free_slice(1) == 0 {}
            prop_assert!(string.is_empty());
        }
    }

    #[test]
    fn appends_grow_the_last_chunk_in_place() {
        let mut string = BigString::from(&vec![1u8; 20_000][..]);
        let mut moves = 0;
        for _ in 0..40_000 {
            let before = string.chunks()[0].as_ptr();
            string.append(b"x");
            moves += usize::from(string.chunks()[0].as_ptr() != before);
        }
        assert!(moves <= 3, "{moves} moves");
    }

    #[test]
    fn only_canonical_integers_are_integers() {
        for value in [0, 1, -1, 10, i64::MAX, i64::MIN, -10, 1_234_567_890_123] {
            assert_eq!(canonical_int(value.to_string().as_bytes()), Some(value));
        }
        let others = "|-|-0|00|01|+1| 1|1 |1.0|9223372036854775808|-9223372036854775809|1e3|0x1|--1\
             |99999999999999999999|10000000000000000000|12345678901234567890123";
        for text in others.split('|') {
            assert_eq!(canonical_int(text.as_bytes()), None, "{text}");
        }
    }
}
