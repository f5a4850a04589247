//! HyperLogLog: the number of different elements, estimated from 16384 registers in a string.
//! Invariant: any bytes may be handed in; what is no HyperLogLog, or a damaged one, is an error. The
//! bytes that are made here are those that a stock server makes of the same elements. Where a
//! function takes a HyperLogLog, `Encoding::of` has accepted its header.
//! Source: Redis' PFADD, PFCOUNT, PFMERGE; Heule, Nunkesser, Hall, "HyperLogLog in Practice"; Ertl,
//! "New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284; Appleby,
//! MurmurHash64A.
//!
//! ```text
//! | "HYLL" 4 | encoding 1 | unused 3 | cardinality 8, little-endian; top bit: to be computed anew |
//! dense (0):  16384 registers of 6 bits, the first in the low bits of the first byte
//! sparse (1): runs, until all registers are told
//!             00nnnnnn            n+1 registers are 0
//!             01nnnnnn nnnnnnnn   n+1 registers are 0
//!             1vvvvvnn            n+1 registers are v+1
//! ```

use std::borrow::Cow;

/// The bytes are no HyperLogLog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHyperLogLog;

/// The bytes say that they are a HyperLogLog, but their runs do not tell all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupted;

/// How the registers lie in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Six bits each.
    Dense,
    /// Runs of equal ones.
    Sparse,
}

impl Encoding {
    /// The encoding of a HyperLogLog of `len` bytes that begins with `header`.
    pub fn of(header: &[u8], len: u64) -> Result<Self, NotHyperLogLog> {
        match header {
            [b'H', b'Y', b'L', b'L', DENSE, ..] if len == DENSE_BYTES as u64 => Ok(Self::Dense),
            [b'H', b'Y', b'L', b'L', SPARSE, ..] if len >= HEADER_BYTES as u64 => Ok(Self::Sparse),
            _ => Err(NotHyperLogLog),
        }
    }
}

/// An empty HyperLogLog.
pub fn empty() -> Vec<u8> {
    let mut bytes = b"HYLL".to_vec();
    bytes.resize(HEADER_BYTES, 0);
    bytes[ENCODING_AT] = SPARSE;
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// The cardinality that `header` remembers; None if registers have changed since.
pub fn cached(header: &[u8]) -> Option<u64> {
    let card: [u8; 8] = header.get(CARD_AT..HEADER_BYTES)?.try_into().ok()?;
    let card = u64::from_le_bytes(card);
    (card & STALE == 0).then_some(card)
}

/// The bytes of a cardinality to be remembered, which begin at `CARD_AT`.
pub fn to_cache(card: u64) -> [u8; 8] {
    card.to_le_bytes()
}

/// Says that the remembered cardinality no longer holds. `bytes` is a HyperLogLog.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[HEADER_BYTES - 1] |= (STALE >> 56) as u8;
}

/// Adds an element to dense bytes; true if a register changed.
pub fn add_dense(dense: &mut [u8], element: &[u8]) -> bool {
    let (register, count) = place(element);
    raise_dense(dense, register, count)
}

/// Adds an element to a HyperLogLog, which is copied when it changes, and becomes dense where it
/// would be longer than `sparse_max` bytes. True if a register changed.
pub fn add(hll: &mut Cow<'_, [u8]>, element: &[u8], sparse_max: u64) -> Result<bool, Corrupted> {
    let (register, count) = place(element);
    raise(hll, register, count, sparse_max)
}

/// The dense form of a HyperLogLog.
pub fn to_dense(hll: &[u8]) -> Result<Vec<u8>, Corrupted> {
    if hll[ENCODING_AT] == DENSE {
        return Ok(hll.to_vec());
    }
    let mut dense = hll[..HEADER_BYTES].to_vec();
    dense[ENCODING_AT] = DENSE;
    dense.resize(DENSE_BYTES, 0);
    let mut register = 0;
    for run in Runs::checked(hll) {
        let run = run?;
        if run.value > 0 {
            (register..register + run.len).for_each(|at| set_dense(&mut dense, at, run.value));
        }
        register += run.len;
    }
    Ok(dense)
}

/// Registers one byte each: a union in the making.
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Takes in a HyperLogLog; on an error some of its registers may have been taken in.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), Corrupted> {
        if hll[ENCODING_AT] == DENSE {
            for (own, value) in self.0.iter_mut().zip(dense_registers(hll)) {
                *own = value.max(*own);
            }
            return Ok(());
        }
        let mut register = 0;
        for run in Runs::checked(hll) {
            let run = run?;
            for own in &mut self.0[register..register + run.len] {
                *own = run.value.max(*own);
            }
            register += run.len;
        }
        Ok(())
    }

    /// The estimated number of elements.
    pub fn count(&self) -> u64 {
        let mut histogram = [0; VALUES];
        self.0.iter().for_each(|value| histogram[*value as usize % VALUES] += 1);
        estimate(&histogram)
    }

    /// Writes the registers into dense bytes, whatever those held.
    pub fn write_dense(&self, dense: &mut [u8]) {
        self.0.iter().enumerate().for_each(|(at, value)| set_dense(dense, at, *value));
    }

    /// Raises the registers of `hll` to these.
    pub fn raise_in(&self, hll: &mut Cow<'_, [u8]>, sparse_max: u64) -> Result<(), Corrupted> {
        for (register, &value) in self.0.iter().enumerate().filter(|(_, value)| **value > 0) {
            raise(hll, register, value, sparse_max)?;
        }
        Ok(())
    }
}

/// The estimated number of elements of a HyperLogLog.
pub fn count(hll: &[u8]) -> Result<u64, Corrupted> {
    let mut histogram = [0; VALUES];
    if hll[ENCODING_AT] == DENSE {
        dense_registers(hll).for_each(|value| histogram[value as usize] += 1);
    } else {
        for run in Runs::checked(hll) {
            let run = run?;
            histogram[run.value as usize] += run.len as u32;
        }
    }
    Ok(estimate(&histogram))
}

/// The registers of dense bytes, in order.
pub fn dense_registers(dense: &[u8]) -> impl Iterator<Item = u8> {
    let (groups, _) = dense[HEADER_BYTES..].as_chunks::<3>();
    groups.iter().flat_map(|[low, middle, high]| {
        let word = u32::from_le_bytes([*low, *middle, *high, 0]);
        [word, word >> 6, word >> 12, word >> 18].map(|value| value as u8 & REGISTER_MAX)
    })
}

/// What PFDEBUG DECODE says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Registers.
    pub len: usize,
    /// What each of them holds.
    pub value: u8,
    /// Bytes that tell it.
    pub bytes: usize,
}

/// The runs of sparse bytes as they stand there.
pub fn runs(sparse: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER_BYTES;
    std::iter::from_fn(move || {
        let run = Run::at(sparse, at)?;
        at += run.bytes;
        Some(run)
    })
}

impl Run {
    /// The run at `at`. None at the end. A byte that is cut off counts as 0.
    fn at(sparse: &[u8], at: usize) -> Option<Self> {
        let first = *sparse.get(at)?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Self { len: low + 1, value: 0, bytes: 1 },
            1 => {
                let second = usize::from(sparse.get(at + 1).copied().unwrap_or(0));
                Self { len: (low << 8 | second) + 1, value: 0, bytes: 2 }
            }
            _ => Self { len: (low & 3) + 1, value: (first >> 2 & 0x1f) + 1, bytes: 1 },
        })
    }
}

/// The runs of sparse bytes, until one is wrong or the registers do not add up.
struct Runs<'a> {
    sparse: &'a [u8],
    at: usize,
    told: usize,
}

impl<'a> Runs<'a> {
    fn checked(sparse: &'a [u8]) -> Self {
        Self { sparse, at: HEADER_BYTES, told: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run, Corrupted>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(run) = Run::at(self.sparse, self.at) else {
            let complete = std::mem::replace(&mut self.told, REGISTERS) == REGISTERS;
            return (!complete).then_some(Err(Corrupted));
        };
        self.at += run.bytes;
        self.told += run.len;
        if self.told > REGISTERS {
            // Ends the iteration: behind the last byte, nothing left to tell.
            (self.at, self.told) = (self.sparse.len(), REGISTERS);
            return Some(Err(Corrupted));
        }
        Some(Ok(run))
    }
}

/// The register that an element belongs to, and the count of zeros, plus one, that it shows.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let register = hash as usize % REGISTERS;
    // The bit above all others ends the count.
    let rest = hash >> REGISTER_BITS | 1 << (64 - REGISTER_BITS);
    (register, rest.trailing_zeros() as u8 + 1)
}

/// Raises a register; true if it was lower.
fn raise(
    hll: &mut Cow<'_, [u8]>,
    register: usize,
    value: u8,
    sparse_max: u64,
) -> Result<bool, Corrupted> {
    if hll[ENCODING_AT] == DENSE {
        let is_lower = get_dense(hll, register) < value;
        return Ok(is_lower && raise_dense(hll.to_mut(), register, value));
    }
    if value <= SPARSE_VALUE_MAX {
        let Some(edit) = Edit::plan(hll, register, value)? else { return Ok(false) };
        let fits =
            edit.growth <= 0 || hll.len() as u64 + edit.growth.unsigned_abs() as u64 <= sparse_max;
        if fits {
            edit.apply(hll.to_mut());
            return Ok(true);
        }
    }
    let mut dense = to_dense(hll)?;
    let changed = raise_dense(&mut dense, register, value);
    *hll = Cow::Owned(dense);
    Ok(changed)
}

/// A change of sparse bytes: one run becomes up to three.
struct Edit {
    /// Where the run before stands; the changed one, if it is the first.
    before: usize,
    at: usize,
    old_len: usize,
    new: Vec<u8>,
    growth: isize,
}

impl Edit {
    /// How to raise a register to `value`. None if it is as high already.
    fn plan(sparse: &[u8], register: usize, value: u8) -> Result<Option<Self>, Corrupted> {
        let (mut at, mut before, mut first) = (HEADER_BYTES, HEADER_BYTES, 0);
        let run = loop {
            let run = Run::at(sparse, at).ok_or(Corrupted)?;
            if register < first + run.len {
                break run;
            }
            (before, at, first) = (at, at + run.bytes, first + run.len);
        };
        if run.value >= value {
            return Ok(None);
        }
        let mut new = Vec::with_capacity(RUN_SPLIT_BYTES_MAX);
        push_run(&mut new, run.value, register - first);
        push_run(&mut new, value, 1);
        push_run(&mut new, run.value, first + run.len - register - 1);
        let growth = new.len() as isize - run.bytes as isize;
        Ok(Some(Self { before, at, old_len: run.bytes, new, growth }))
    }

    fn apply(self, sparse: &mut Vec<u8>) {
        // A last run whose second byte is cut off is replaced by one byte less, too.
        let len = sparse.len().saturating_add_signed(self.growth);
        let end = (self.at + self.old_len).min(sparse.len());
        sparse.splice(self.at..end, self.new);
        sparse.truncate(len);
        merge_values(sparse, self.before);
        invalidate(sparse);
    }
}

/// Joins neighbours of one value from `at` on, as far as a change can have made any.
fn merge_values(sparse: &mut Vec<u8>, mut at: usize) {
    for _ in 0..RUNS_MERGED_MAX {
        let Some(run) = Run::at(sparse, at) else { return };
        if run.value > 0
            && let Some(next) = Run::at(sparse, at + 1)
            && next.value == run.value
            && next.len + run.len <= SPARSE_VALUE_LEN_MAX
        {
            sparse[at + 1] = value_run(run.value, run.len + next.len);
            sparse.remove(at);
        } else {
            at += run.bytes;
        }
    }
}

/// Appends a run of `len` registers; none if `len` is 0.
fn push_run(bytes: &mut Vec<u8>, value: u8, len: usize) {
    if len == 0 {
    } else if value > 0 {
        bytes.push(value_run(value, len));
    } else {
        push_zeros(bytes, len);
    }
}

fn push_zeros(bytes: &mut Vec<u8>, len: usize) {
    let stored = len - 1;
    if len > ZEROS_LEN_MAX {
        bytes.extend_from_slice(&[0x40 | (stored >> 8) as u8, stored as u8]);
    } else {
        bytes.push(stored as u8);
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

fn get_dense(dense: &[u8], register: usize) -> u8 {
    let (at, shift) = dense_place(register);
    let high = dense.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([dense[at], high]) >> shift) as u8 & REGISTER_MAX
}

fn set_dense(dense: &mut [u8], register: usize, value: u8) {
    let (at, shift) = dense_place(register);
    let high = dense.get(at + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([dense[at], high]);
    let word = word & !(u16::from(REGISTER_MAX) << shift) | u16::from(value) << shift;
    let [low, high] = word.to_le_bytes();
    dense[at] = low;
    if let Some(byte) = dense.get_mut(at + 1) {
        *byte = high;
    }
}

fn raise_dense(dense: &mut [u8], register: usize, value: u8) -> bool {
    let is_lower = get_dense(dense, register) < value;
    if is_lower {
        set_dense(dense, register, value);
    }
    is_lower
}

/// The first byte that holds a register, and the bit of it where the register begins.
fn dense_place(register: usize) -> (usize, usize) {
    (HEADER_BYTES + register * 6 / 8, register * 6 % 8)
}

/// The cardinality by Ertl's improved estimator. `histogram[v]` is the number of registers at `v`.
fn estimate(histogram: &[u32; VALUES]) -> u64 {
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(histogram[ZERO_BITS_MAX + 1])) / m);
    for value in (1..=ZERO_BITS_MAX).rev() {
        z += f64::from(histogram[value]);
        z *= 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    // Half away from zero, as llround does.
    (ALPHA_INFINITY * m * m / z).round() as u64
}

/// Sums until more changes nothing. Only exact comparison ends as Redis ends.
#[allow(clippy::float_cmp)]
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// As `sigma`.
#[allow(clippy::float_cmp)]
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// MurmurHash64A, reading words as little-endian everywhere.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// Registers of every HyperLogLog.
pub const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bytes before the registers.
pub const HEADER_BYTES: usize = 16;
/// Where the remembered cardinality begins.
pub const CARD_AT: usize = 8;
/// No sound HyperLogLog is longer: each register told by a run of two bytes.
pub const BYTES_MAX: usize = HEADER_BYTES + 2 * REGISTERS;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const ENCODING_AT: usize = 4;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
/// Bits of the hash that choose the register.
const REGISTER_BITS: u32 = 14;
const ZERO_BITS_MAX: usize = 64 - REGISTER_BITS as usize;
const REGISTER_MAX: u8 = 63;
/// Values that six bits can hold.
const VALUES: usize = 64;
const STALE: u64 = 1 << 63;
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_VALUE_LEN_MAX: usize = 4;
/// The longest run of zeros that one byte tells.
const ZEROS_LEN_MAX: usize = 64;
/// Two bytes of zeros, a value, two bytes of zeros.
const RUN_SPLIT_BYTES_MAX: usize = 5;
/// As many steps as Redis takes; more would find more to join and make other bytes.
const RUNS_MERGED_MAX: usize = 5;
const SEED: u64 = 0xadc8_3b19;
/// 1 / (2 ln 2).
const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;

#[cfg(test)]
mod tests;
