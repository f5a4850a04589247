//! A borrowed entry: what its bytes say.
//!
//! Invariant: for as long as the view lives nobody changes the entry.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::layout::{
    BOXED, EMBSTR, ENCODING, EPOCH_BITS, EPOCH_MAX, FIELDS, HASH_TTL, INT, IS_WIDE, LENGTHS, MARKS,
    PACKED_INLINE_MAX, Shape, VOLATILE, packing_of,
};
use super::{Entry, NewValue, ValueRef};
use crate::base::time::Millis;
use crate::types::hash::HashRef;
use crate::types::{Value, WrongType};

/// A borrowed entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(pub(super) NonNull<u8>, pub(super) PhantomData<&'a Entry>);

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `address` came from `Entry::into_address`, and for as long as `'a` the entry is neither
    /// changed nor freed.
    #[inline(always)]
    pub(super) unsafe fn from_address(address: u64) -> Self {
        let pointer = ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: addresses of entries are not null.
        Self(unsafe { NonNull::new_unchecked(pointer) }, PhantomData)
    }

    /// The key.
    #[inline(always)]
    pub fn key(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.key(), shape.klen)
    }

    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        match self.boxed() {
            // SAFETY: the pointer is a live box that the entry owns, and nobody changes the entry
            // during `'a`.
            Some(value) => ValueRef::of(unsafe { value.as_ref() }),
            None if self.encoding_bits() == INT => ValueRef::Int(self.word_of_value() as i64),
            None => match packing_of(self.encoding_bits()) {
                Some(packing) => ValueRef::Packed(packing, self.value_bytes()),
                None => ValueRef::Str(self.value_bytes()),
            },
        }
    }

    /// When the entry expires; None if never.
    #[inline]
    pub fn expiry(self) -> Option<Millis> {
        if self.kind() & VOLATILE == 0 {
            return None;
        }
        let at = self.shape().expiry();
        Some(Millis(u64::from_le_bytes(self.array(at)) as i64))
    }

    /// True if the entry has expired. Source: Redis' `now > when`.
    #[inline]
    pub fn is_expired(self, now: Millis) -> bool {
        self.kind() & VOLATILE != 0 && self.expiry().is_some_and(|expiry| now > expiry)
    }

    /// No field of the hash expires before this. None if it is no hash, or no field expires.
    #[inline]
    pub fn next_field_expiry(self) -> Option<Millis> {
        match self.encoding_bits() {
            HASH_TTL | BOXED => HashRef::of(self.value()).ok()?.next_expiry().map(Millis),
            _ => None,
        }
    }

    /// When the entry is to be looked at: it expires, or a field of it does.
    pub(super) fn due(self) -> Option<Millis> {
        match (self.expiry(), self.next_field_expiry()) {
            (Some(own), Some(field)) => Some(own.min(field)),
            (own, field) => own.or(field),
        }
    }

    /// True if the table counts the entry among those with fields that expire.
    #[inline]
    pub(super) fn is_counted(self) -> bool {
        self.kind() & FIELDS != 0
    }

    /// The name of the type, as TYPE answers.
    pub fn type_name(self) -> &'static str {
        self.value().type_name()
    }

    /// The name of the encoding, as OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        match self.value() {
            ValueRef::Int(_) => "int",
            ValueRef::Str(_) if self.encoding_bits() == EMBSTR => "embstr",
            ValueRef::Str(_) => "raw",
            ValueRef::Packed(packing, _) => packing.encoding(),
            ValueRef::Boxed(value) => value.encoding(),
        }
    }

    /// The length of a string in bytes. Source: STRLEN.
    pub fn str_len(self) -> Result<u64, WrongType> {
        match self.value() {
            ValueRef::Int(value) => Ok(itoa::Buffer::new().format(value).len() as u64),
            ValueRef::Str(bytes) => Ok(bytes.len() as u64),
            ValueRef::Boxed(Value::String(string)) => Ok(string.len()),
            ValueRef::Packed(..) | ValueRef::Boxed(_) => Err(WrongType),
        }
    }

    /// The epoch tag: which snapshot has written the entry.
    #[inline]
    pub fn epoch(self) -> u8 {
        self.marks() as u8 & EPOCH_MAX
    }

    /// The access clock, 28 bits.
    #[inline]
    pub fn access(self) -> u32 {
        self.marks() >> EPOCH_BITS
    }

    #[inline]
    pub(super) fn marks(self) -> u32 {
        u32::from_le_bytes(self.array(MARKS))
    }

    /// Bytes of the allocation, without a boxed value.
    pub fn bytes_allocated(self) -> usize {
        self.shape().size()
    }

    /// A copy of the value and expiry under another key; long values share their chunks with the
    /// original until either changes. Source: COPY.
    #[must_use]
    pub fn copied(self, key: &[u8], access: u32) -> Entry {
        Entry::new(key, self.to_new(), self.expiry(), access)
    }

    /// The value for another entry.
    pub(super) fn to_new(self) -> NewValue<'a> {
        match self.value() {
            ValueRef::Int(value) => NewValue::Int(value),
            ValueRef::Str(bytes) if self.encoding_bits() == EMBSTR => NewValue::Str(bytes),
            ValueRef::Str(bytes) => NewValue::Raw(bytes),
            ValueRef::Packed(packing, bytes) if bytes.len() <= PACKED_INLINE_MAX => {
                NewValue::Packed(packing, Cow::Borrowed(bytes))
            }
            ValueRef::Packed(packing, bytes) => {
                NewValue::Boxed(Box::new(Value::Packed(packing, bytes.to_vec())))
            }
            ValueRef::Boxed(value) => NewValue::Boxed(Box::new(value.clone())),
        }
    }

    #[inline(always)]
    pub(super) fn kind(self) -> u8 {
        self.array::<1>(0)[0]
    }

    #[inline(always)]
    pub(super) fn encoding_bits(self) -> u8 {
        self.kind() & ENCODING
    }

    #[inline(always)]
    pub(super) fn shape(self) -> Shape {
        let kind = self.kind();
        let (wide, volatile) = (kind & IS_WIDE != 0, kind & VOLATILE != 0);
        if !wide {
            let [klen, vlen] = self.array(LENGTHS);
            return Shape { klen: klen as usize, vlen: vlen as usize, wide, volatile };
        }
        let [k0, k1, k2, k3, k4, k5, v0, v1] = self.array(LENGTHS);
        let klen = u64::from_le_bytes([k0, k1, k2, k3, k4, k5, 0, 0]) as usize;
        Shape { klen, vlen: u16::from_le_bytes([v0, v1]) as usize, wide, volatile }
    }

    /// The bytes of the value as they lie in the entry.
    #[inline]
    pub(super) fn value_bytes(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.value(), shape.vlen)
    }

    #[inline]
    pub(super) fn word_of_value(self) -> u64 {
        u64::from_le_bytes(self.array(self.shape().value()))
    }

    /// The pointer of a boxed value.
    #[inline]
    pub(super) fn boxed(self) -> Option<NonNull<Value>> {
        if self.encoding_bits() != BOXED {
            return None;
        }
        NonNull::new(ptr::with_exposed_provenance_mut(self.word_of_value() as usize))
    }

    /// Bytes that the entry's shape places; they have been written.
    #[inline(always)]
    pub(super) fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers take the range from the entry's shape, so it is inside the allocation and
        // was written with the entry; nobody changes the entry during `'a`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), len) }
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: as in `bytes`; arrays of bytes need no alignment.
        unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().read() }
    }
}
