//! What lies where in an entry's allocation.
//!
//! Invariant: every place in an entry follows from its shape, which its first bytes tell.
//!
//! ```text
//! narrow: | kind 1 | marks 4 | key length 1 | value length 1 |                     7 bytes
//! wide:   | kind 1 | marks 4 | key length 6 | value length 2 |                    13 bytes
//! then:   | expiry 8, if volatile | key | value |       rounded up, see `allocated`
//! kind:   | wide 1 | volatile 1 | fields 1 | 0 | encoding 4 |   fields: the table knows of fields that expire
//! marks:  | access clock 28 bits | epoch 4 bits |
//! value:  int: i64; embstr, raw: the bytes; packed collections: theirs; boxed: a pointer to a
//!         `Value`. All little-endian and without alignment.
//! ```
//! A key of 16 bytes with a value of 32 takes 56 bytes.

use std::alloc::Layout;

use super::NewValue;
use crate::types::Packing;
use crate::types::string::STRING_INLINE_MAX;

const _: () = assert!(NARROW + 16 + 32 == 55, "the usual key and value share 56 bytes");
const _: () = assert!(STRING_INLINE_MAX <= u16::MAX as usize, "16 bits hold an inline length");

/// The lengths of an entry, from which every place in it follows.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) klen: usize,
    pub(super) vlen: usize,
    pub(super) wide: bool,
    pub(super) volatile: bool,
}

impl Shape {
    #[inline(always)]
    pub(super) fn new(klen: usize, vlen: usize, volatile: bool) -> Self {
        assert!(klen < KEY_LEN_END && vlen <= STRING_INLINE_MAX, "lengths fit the header");
        Self { klen, vlen, wide: klen > u8::MAX as usize || vlen > u8::MAX as usize, volatile }
    }

    #[inline(always)]
    pub(super) fn expiry(self) -> usize {
        if self.wide { WIDE } else { NARROW }
    }

    #[inline(always)]
    pub(super) fn key(self) -> usize {
        self.expiry() + if self.volatile { WORD } else { 0 }
    }

    #[inline(always)]
    pub(super) fn value(self) -> usize {
        self.key() + self.klen
    }

    /// Bytes of the allocation.
    #[inline]
    pub(super) fn size(self) -> usize {
        allocated(self.value() + self.vlen)
    }

    pub(super) fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), WORD).expect("lengths are below 2^48")
    }
}

/// The size of an allocation for `bytes`: to 8 for small ones, and to a sixteenth for larger ones,
/// so that a string that grows byte by byte moves seldom.
#[inline(always)]
fn allocated(bytes: usize) -> usize {
    let step = if bytes <= 128 { WORD } else { 1 << ((bytes - 1).ilog2() - 4) };
    (bytes + step - 1) & !(step - 1)
}

/// Encoding and length of a value to be written.
#[inline]
pub(super) fn plan(value: &NewValue<'_>) -> (u8, usize) {
    match value {
        NewValue::Int(_) => (INT, WORD),
        NewValue::Str(bytes) if bytes.len() <= EMBSTR_LEN_MAX => (EMBSTR, bytes.len()),
        NewValue::Str(bytes) | NewValue::Raw(bytes) => (RAW, bytes.len()),
        NewValue::Packed(packing, bytes) => (encoding_of(*packing), bytes.len()),
        NewValue::Boxed(_) => (BOXED, WORD),
    }
}

/// The encoding of a packed collection.
fn encoding_of(packing: Packing) -> u8 {
    match packing {
        Packing::List => LIST,
        Packing::Set => SET,
        Packing::IntSet => INTSET,
        Packing::Hash => HASH,
        Packing::HashTtl => HASH_TTL,
        Packing::SortedSet => SORTED_SET,
    }
}

/// The packed collection of an encoding. None for strings and boxed values.
#[inline]
pub(super) fn packing_of(encoding: u8) -> Option<Packing> {
    Some(match encoding {
        LIST => Packing::List,
        SET => Packing::Set,
        INTSET => Packing::IntSet,
        HASH => Packing::Hash,
        HASH_TTL => Packing::HashTtl,
        SORTED_SET => Packing::SortedSet,
        _ => return None,
    })
}

pub(super) const INT: u8 = 0;
pub(super) const EMBSTR: u8 = 1;
pub(super) const RAW: u8 = 2;
pub(super) const BOXED: u8 = 3;
const LIST: u8 = 4;
const SET: u8 = 5;
const INTSET: u8 = 6;
const HASH: u8 = 7;
pub(super) const HASH_TTL: u8 = 8;
const SORTED_SET: u8 = 9;
/// The bits of the kind byte that hold one of those above.
pub(super) const ENCODING: u8 = 15;
/// Epochs are 1 to this; 0 is none.
pub const EPOCH_MAX: u8 = (1 << EPOCH_BITS) - 1;
/// Packed collections up to this long lie in their key's entry; longer ones are boxed.
pub const PACKED_INLINE_MAX: usize = STRING_INLINE_MAX;
pub(super) const FIELDS: u8 = 1 << 5;
pub(super) const VOLATILE: u8 = 1 << 6;
pub(super) const IS_WIDE: u8 = 1 << 7;

pub(super) const MARKS: usize = 1;
/// The low bits of the marks, which hold the epoch.
pub(super) const EPOCH_BITS: u32 = 4;
pub(super) const LENGTHS: usize = 5;
/// Length of a narrow and of a wide header.
pub(super) const NARROW: usize = 7;
const WIDE: usize = 13;
pub(super) const WORD: usize = 8;
/// The longest string that SET makes "embstr". Source: Redis' OBJECT ENCODING.
const EMBSTR_LEN_MAX: usize = 44;
/// Key lengths have 48 bits, as addresses do: no slice is longer.
const KEY_LEN_END: usize = 1 << 48;
