//! An entry: a key, its value and what belongs to them, in one allocation.
//! Invariant: `Entry` owns its allocation; the header tells its exact size; a boxed value's pointer
//! is owned by the entry. Table words hold entries as 48-bit addresses (`table.rs`, the only other
//! file that makes an `EntryRef` from an address).
//! Source: own; the encodings' names are those of Redis' OBJECT ENCODING.
//!
//! ```text
//! narrow: | kind 1 | epoch 1 | access 3 | key length 1 | value length 1 |          7 bytes
//! wide:   | kind 1 | epoch 1 | access 3 | key length 6 | value length 2 |         13 bytes
//! then:   | expiry 8, if volatile | key | value |       rounded up, see `allocated`
//! kind:   | wide 1 | volatile 1 | fields 1 | 0 | encoding 4 |   fields: the table knows of fields that expire
//! value:  int: i64; embstr, raw: the bytes; packed collections: theirs; boxed: a pointer to a
//!         `Value`. All little-endian and without alignment.
//! ```
//! A key of 16 bytes with a value of 32 takes 56 bytes.
#![allow(unsafe_code)]

mod table;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

pub use table::{EntryMut, EntryTable, Origin, Verdict};

use crate::base::time::Millis;
use crate::encoding::run::Run;
use crate::types::hash::HashRef;
use crate::types::string::{STRING_INLINE_MAX, canonical_int};
use crate::types::{BigString, Collection, Packing, Value, WrongType};

pub use crate::types::ValueRef;

/// A value on its way into an entry.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// A string that is the canonical spelling of an integer.
    Int(i64),
    /// A string as SET makes it: "embstr" up to 44 bytes, "raw" above. Up to `STRING_INLINE_MAX`.
    Str(&'a [u8]),
    /// A string as APPEND and SETRANGE leave it: "raw" at any length. Up to `STRING_INLINE_MAX`.
    Raw(&'a [u8]),
    /// A small collection. Up to `PACKED_INLINE_MAX`.
    Packed(Packing, Cow<'a, [u8]>),
    /// Any other value.
    Boxed(Box<Value>),
}

impl<'a> NewValue<'a> {
    /// The best encoding of a string of any length.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> Self {
        if let Some(value) = canonical_int(bytes) {
            Self::Int(value)
        } else if bytes.len() <= STRING_INLINE_MAX {
            Self::Str(bytes)
        } else {
            Self::Boxed(Box::new(Value::String(BigString::from(bytes))))
        }
    }
}

impl From<Collection> for NewValue<'_> {
    fn from(collection: Collection) -> Self {
        match collection {
            Collection::Packed(packing, bytes) if bytes.len() <= PACKED_INLINE_MAX => {
                Self::Packed(packing, Cow::Owned(bytes))
            }
            Collection::Packed(packing, bytes) => {
                Self::Boxed(Box::new(Value::Packed(packing, bytes)))
            }
            Collection::Boxed(value) => Self::Boxed(value),
        }
    }
}

/// An owned entry. A pointer that is never null and fits a table word.
pub struct Entry(NonNull<u8>);

/// A borrowed entry.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<u8>, PhantomData<&'a Entry>);

const _: () = assert!(size_of::<Option<Entry>>() == 8, "an entry is one pointer");
const _: () = assert!(NARROW + 16 + 32 == 55, "the usual key and value share 56 bytes");
const _: () = assert!(STRING_INLINE_MAX <= u16::MAX as usize, "16 bits hold an inline length");

// SAFETY: an entry is the only owner of its allocation, of which all but the boxed value is plain
// bytes; and `Value` is `Send`, asserted in `types/value.rs`.
unsafe impl Send for Entry {}

impl Entry {
    /// An entry for a key. `access` is its access clock (24 bits).
    pub fn new(key: &[u8], value: NewValue<'_>, expiry: Option<Millis>, access: u32) -> Self {
        let (encoding, vlen) = plan(&value);
        let shape = Shape::new(key.len(), vlen, expiry.is_some());
        let mut entry = Self::allocate(shape, encoding);
        entry.put(shape, shape.key(), key);
        entry.put_value(shape, value);
        entry.put_expiry(shape, expiry);
        entry.set_access(access);
        entry
    }

    /// A view of the entry.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// Replaces value and expiry, in place if the size allows; returns an old boxed value, which may
    /// be large.
    #[inline]
    pub fn set(&mut self, value: NewValue<'_>, expiry: Option<Millis>) -> Option<Box<Value>> {
        let old = self.take_boxed();
        let (encoding, vlen) = plan(&value);
        let shape = self.reshape(vlen, expiry.is_some(), 0);
        self.set_encoding(encoding);
        self.put_value(shape, value);
        self.put_expiry(shape, expiry);
        old
    }

    /// Replaces the value and keeps the expiry; returns an old boxed value.
    pub fn set_value(&mut self, value: NewValue<'_>) -> Option<Box<Value>> {
        let expiry = self.view().expiry();
        self.set(value, expiry)
    }

    /// Gives the entry an expiry, or takes it away.
    pub fn set_expiry(&mut self, expiry: Option<Millis>) {
        let vlen = self.view().shape().vlen;
        let shape = self.reshape(vlen, expiry.is_some(), vlen);
        self.put_expiry(shape, expiry);
    }

    /// The boxed value, to be changed in place.
    pub fn value_mut(&mut self) -> Option<&mut Value> {
        let value = self.view().boxed()?.as_ptr();
        // SAFETY: the pointer is a live box that this entry owns, and `&mut self` is the only way to
        // it for as long as the result lives.
        Some(unsafe { &mut *value })
    }

    /// The bytes of a string that lies in the entry, to be changed in place; the encoding becomes
    /// "raw". None for integers and boxed values.
    pub fn str_mut(&mut self) -> Option<&mut [u8]> {
        let ValueRef::Str(_) = self.view().value() else { return None };
        self.set_encoding(RAW);
        let shape = self.view().shape();
        // SAFETY: the value lies within the allocation, was written when the entry was, and
        // `&mut self` is the only way to it for as long as the result lives.
        Some(unsafe {
            std::slice::from_raw_parts_mut(self.0.as_ptr().add(shape.value()), shape.vlen)
        })
    }

    /// The bytes of a packed collection, to be changed in place; none for anything else.
    pub fn packed_mut(&mut self) -> &mut [u8] {
        if self.view().boxed().is_some() {
            return match self.value_mut() {
                Some(Value::Packed(_, bytes)) => bytes,
                _ => &mut [],
            };
        }
        if packing_of(self.view().encoding_bits()).is_none() {
            return &mut [];
        }
        let shape = self.view().shape();
        // SAFETY: the value lies within the allocation, was written when the entry was, and
        // `&mut self` is the only way to it for as long as the result lives.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(shape.value()), shape.vlen) }
    }

    /// Replaces `removed` bytes at `at` of a packed collection by `pieces`, one behind the other. One
    /// that grows beyond `PACKED_INLINE_MAX` is boxed.
    pub fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]) {
        let Some(packing) = packing_of(self.view().encoding_bits()) else {
            match self.value_mut() {
                Some(Value::Packed(_, bytes)) => return Run::splice(bytes, at, removed, pieces),
                _ => unreachable!("only packed collections are spliced"),
            }
        };
        let old = self.view().shape();
        let behind = at + removed;
        assert!(behind <= old.vlen, "what is replaced is there");
        let inserted = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let vlen = old.vlen - removed + inserted;
        if vlen > PACKED_INLINE_MAX {
            let mut bytes = self.view().value_bytes().to_vec();
            Run::splice(&mut bytes, at, removed, pieces);
            self.set_value(NewValue::Boxed(Box::new(Value::Packed(packing, bytes))));
            return;
        }
        // What stands behind must be moved before a shorter allocation or after a longer one.
        if inserted < removed {
            self.move_within(
                old,
                old.value() + behind,
                old.value() + at + inserted,
                old.vlen - behind,
            );
        }
        let shape = self.reshape(vlen, old.volatile, old.vlen);
        if inserted > removed {
            let from = shape.value() + behind;
            self.move_within(shape, from, from + inserted - removed, old.vlen - behind);
        }
        let mut to = shape.value() + at;
        for piece in pieces {
            self.put(shape, to, piece);
            to += piece.len();
        }
    }

    /// Adds bytes to a string; returns its new length. Source: APPEND.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64, WrongType> {
        let len = self.view().str_len()?;
        self.write_at(len, bytes)
    }

    /// Overwrites a string from `offset` on, filling a gap with zeros; returns its new length. The
    /// sum of `offset` and length is the caller's to bound. Source: SETRANGE.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, WrongType> {
        let len = self.view().str_len()?;
        if bytes.is_empty() {
            return Ok(len);
        }
        match self.value_mut() {
            Some(Value::String(string)) => {
                string.write_at(offset, bytes);
                Ok(string.len())
            }
            Some(_) => Err(WrongType),
            None => Ok(self.write_inline(offset, bytes)),
        }
    }

    /// `write_at` for strings that are not boxed yet.
    fn write_inline(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        if let ValueRef::Int(value) = self.view().value() {
            self.set_value(NewValue::Raw(itoa::Buffer::new().format(value).as_bytes()));
        }
        let end = offset.saturating_add(bytes.len() as u64);
        if end > STRING_INLINE_MAX as u64 {
            let mut string = BigString::from(self.view().value_bytes());
            string.write_at(offset, bytes);
            let len = string.len();
            self.set_value(NewValue::Boxed(Box::new(Value::String(string))));
            return len;
        }
        let old = self.view().shape();
        let offset = offset as usize;
        let vlen = old.vlen.max(end as usize);
        let shape = self.reshape(vlen, old.volatile, old.vlen);
        self.set_encoding(RAW);
        if offset > old.vlen {
            self.put_zeros(shape, shape.value() + old.vlen, offset - old.vlen);
        }
        self.put(shape, shape.value() + offset, bytes);
        vlen as u64
    }

    /// The same value, expiry and tags under another key. Source: RENAME.
    #[must_use]
    pub fn renamed(mut self, key: &[u8]) -> Self {
        let view = self.view();
        let (expiry, access, epoch) = (view.expiry(), view.access(), view.epoch());
        let mut entry = match self.take_boxed() {
            Some(value) => Self::new(key, NewValue::Boxed(value), expiry, access),
            None => Self::new(key, self.view().to_new(), expiry, access),
        };
        entry.set_epoch(epoch);
        entry
    }

    /// Takes the boxed value out and leaves the integer 0: for freeing it later.
    #[inline]
    pub fn take_boxed(&mut self) -> Option<Box<Value>> {
        let value = self.view().boxed()?;
        self.set_encoding(INT);
        let shape = self.view().shape();
        self.put_zeros(shape, shape.value(), WORD);
        // SAFETY: the pointer came from `Box::into_raw` in `put_value`, and the entry has just
        // forgotten it, so this box is its only owner.
        Some(unsafe { Box::from_raw(value.as_ptr()) })
    }

    /// Remembers whether the table counts the entry among those with fields that expire.
    fn set_counted(&mut self, counted: bool) {
        let kind = self.view().kind() & !FIELDS | if counted { FIELDS } else { 0 };
        self.put_header(0, [kind]);
    }

    /// Sets the epoch tag.
    #[inline]
    pub fn set_epoch(&mut self, epoch: u8) {
        self.put_header(EPOCH, [epoch]);
    }

    /// Sets the access clock, of which 24 bits are kept.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let [low, middle, high, _] = access.to_le_bytes();
        self.put_header(ACCESS, [low, middle, high]);
    }

    /// The entry as an address for a table word. Ownership goes with it.
    fn into_address(self) -> u64 {
        ManuallyDrop::new(self).0.as_ptr().expose_provenance() as u64
    }

    /// # Safety
    /// `address` came from `into_address`, and the ownership that went with it comes back here.
    #[inline]
    unsafe fn from_address(address: u64) -> Self {
        let pointer = ptr::with_exposed_provenance_mut(address as usize);
        Self(NonNull::new(pointer).expect("an address of an entry is not null"))
    }

    /// Memory for an entry of this shape with its lengths; key, value and expiry are not written.
    fn allocate(shape: Shape, encoding: u8) -> Self {
        let layout = shape.layout();
        // SAFETY: the layout's size is at least that of a header, so not zero.
        let pointer = unsafe { alloc(layout) };
        let Some(pointer) = NonNull::new(pointer) else { handle_alloc_error(layout) };
        let mut entry = Self(pointer);
        let kind = encoding | u8::from(shape.volatile) << 6 | u8::from(shape.wide) << 7;
        entry.put_header(0, [kind, 0, 0, 0, 0]);
        entry.put_lengths(shape);
        entry
    }

    /// Gives back the memory and leaves a boxed value to whoever took it.
    fn release(self) {
        let entry = ManuallyDrop::new(self);
        // SAFETY: allocated with the layout of its shape, which the header has kept; no view of it
        // lives, since `self` came by value.
        unsafe { dealloc(entry.0.as_ptr(), entry.view().shape().layout()) }
    }

    /// Makes room for a value of `vlen` bytes and an expiry or none, keeping an old expiry and the
    /// first `keep` bytes of the value; the caller writes the others.
    #[inline]
    fn reshape(&mut self, vlen: usize, volatile: bool, keep: usize) -> Shape {
        let old = self.view().shape();
        let new = Shape::new(old.klen, vlen, volatile);
        if new.wide == old.wide && new.volatile == old.volatile && new.size() == old.size() {
            self.put_lengths(new);
            return new;
        }
        self.reallocate(new, keep);
        new
    }

    fn reallocate(&mut self, shape: Shape, keep: usize) {
        let view = self.view();
        let mut entry = Self::allocate(shape, view.encoding_bits());
        entry.set_epoch(view.epoch());
        entry.set_access(view.access());
        entry.set_counted(view.is_counted());
        if shape.volatile {
            entry.put_expiry(shape, view.expiry());
        }
        entry.put(shape, shape.key(), view.key());
        entry.put(shape, shape.value(), &view.value_bytes()[..keep.min(shape.vlen)]);
        std::mem::replace(self, entry).release();
    }

    fn set_encoding(&mut self, encoding: u8) {
        let kind = self.view().kind() & !ENCODING | encoding;
        self.put_header(0, [kind]);
    }

    fn put_lengths(&mut self, shape: Shape) {
        if shape.wide {
            let [k0, k1, k2, k3, k4, k5, _, _] = (shape.klen as u64).to_le_bytes();
            let [v0, v1] = (shape.vlen as u16).to_le_bytes();
            self.put(shape, LENGTHS, &[k0, k1, k2, k3, k4, k5, v0, v1]);
        } else {
            self.put_header(LENGTHS, [shape.klen as u8, shape.vlen as u8]);
        }
    }

    /// Writes a value; an old boxed one has been taken out before.
    #[inline]
    fn put_value(&mut self, shape: Shape, value: NewValue<'_>) {
        let at = shape.value();
        match value {
            NewValue::Int(value) => self.put(shape, at, &value.to_le_bytes()),
            NewValue::Str(bytes) | NewValue::Raw(bytes) => self.put(shape, at, bytes),
            NewValue::Packed(_, bytes) => self.put(shape, at, &bytes),
            NewValue::Boxed(value) => {
                let address = Box::into_raw(value).expose_provenance() as u64;
                self.put(shape, at, &address.to_le_bytes());
            }
        }
    }

    #[inline]
    fn put_expiry(&mut self, shape: Shape, expiry: Option<Millis>) {
        if let Some(expiry) = expiry {
            self.put(shape, shape.expiry(), &expiry.0.to_le_bytes());
        }
    }

    /// Writes bytes of a narrow header, which every entry has room for.
    #[inline]
    fn put_header<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        assert!(at + N <= NARROW, "within the header");
        // SAFETY: the smallest allocation is 8 bytes, and `&mut self` excludes views.
        unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().write(bytes) }
    }

    /// Writes bytes. `shape` is this entry's own.
    #[inline]
    fn put(&mut self, shape: Shape, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= shape.size(), "within the allocation");
        // SAFETY: an entry of this shape has `size` bytes, the assert keeps the range inside, and
        // `bytes` cannot overlap it: `&mut self` excludes views.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(at), bytes.len());
        }
    }

    /// Moves bytes that may overlap. `shape` is this entry's own.
    #[inline]
    fn move_within(&mut self, shape: Shape, from: usize, to: usize, len: usize) {
        assert!(from.max(to) + len <= shape.size(), "within the allocation");
        // SAFETY: an entry of this shape has `size` bytes, the assert keeps both ranges inside, and
        // `copy` allows them to overlap; the bytes are plain, written or not.
        unsafe {
            let start = self.0.as_ptr();
            ptr::copy(start.add(from), start.add(to), len);
        }
    }

    /// Writes zeros. `shape` is this entry's own.
    fn put_zeros(&mut self, shape: Shape, at: usize, len: usize) {
        assert!(at + len <= shape.size(), "within the allocation");
        // SAFETY: as in `put`.
        unsafe { ptr::write_bytes(self.0.as_ptr().add(at), 0, len) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.take_boxed());
        // SAFETY: as in `release`; nothing uses `self` after this.
        unsafe { dealloc(self.0.as_ptr(), self.view().shape().layout()) }
    }
}

impl<'a> EntryRef<'a> {
    /// # Safety
    /// `address` came from `Entry::into_address`, and for as long as `'a` the entry is neither
    /// changed nor freed.
    #[inline(always)]
    unsafe fn from_address(address: u64) -> Self {
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
    fn due(self) -> Option<Millis> {
        match (self.expiry(), self.next_field_expiry()) {
            (Some(own), Some(field)) => Some(own.min(field)),
            (own, field) => own.or(field),
        }
    }

    /// True if the table counts the entry among those with fields that expire.
    #[inline]
    fn is_counted(self) -> bool {
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
        self.array::<1>(EPOCH)[0]
    }

    /// The access clock, 24 bits.
    #[inline]
    pub fn access(self) -> u32 {
        let [low, middle, high] = self.array(ACCESS);
        u32::from_le_bytes([low, middle, high, 0])
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
    fn to_new(self) -> NewValue<'a> {
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
    fn kind(self) -> u8 {
        self.array::<1>(0)[0]
    }

    #[inline(always)]
    fn encoding_bits(self) -> u8 {
        self.kind() & ENCODING
    }

    #[inline(always)]
    fn shape(self) -> Shape {
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
    fn value_bytes(self) -> &'a [u8] {
        let shape = self.shape();
        self.bytes(shape.value(), shape.vlen)
    }

    #[inline]
    fn word_of_value(self) -> u64 {
        u64::from_le_bytes(self.array(self.shape().value()))
    }

    /// The pointer of a boxed value.
    #[inline]
    fn boxed(self) -> Option<NonNull<Value>> {
        if self.encoding_bits() != BOXED {
            return None;
        }
        NonNull::new(ptr::with_exposed_provenance_mut(self.word_of_value() as usize))
    }

    /// Bytes that the entry's shape places; they have been written.
    #[inline(always)]
    fn bytes(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers take the range from the entry's shape, so it is inside the allocation and
        // was written with the entry; nobody changes the entry during `'a`.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), len) }
    }

    #[inline(always)]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: as in `bytes`; arrays of bytes need no alignment.
        unsafe { self.0.as_ptr().add(at).cast::<[u8; N]>().read() }
    }
}

/// The lengths of an entry, from which every place in it follows.
#[derive(Clone, Copy)]
struct Shape {
    klen: usize,
    vlen: usize,
    wide: bool,
    volatile: bool,
}

impl Shape {
    #[inline(always)]
    fn new(klen: usize, vlen: usize, volatile: bool) -> Self {
        assert!(klen < KEY_LEN_END && vlen <= STRING_INLINE_MAX, "lengths fit the header");
        Self { klen, vlen, wide: klen > u8::MAX as usize || vlen > u8::MAX as usize, volatile }
    }

    #[inline(always)]
    fn expiry(self) -> usize {
        if self.wide { WIDE } else { NARROW }
    }

    #[inline(always)]
    fn key(self) -> usize {
        self.expiry() + if self.volatile { WORD } else { 0 }
    }

    #[inline(always)]
    fn value(self) -> usize {
        self.key() + self.klen
    }

    /// Bytes of the allocation.
    #[inline]
    fn size(self) -> usize {
        allocated(self.value() + self.vlen)
    }

    fn layout(self) -> Layout {
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
fn plan(value: &NewValue<'_>) -> (u8, usize) {
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
fn packing_of(encoding: u8) -> Option<Packing> {
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

const INT: u8 = 0;
const EMBSTR: u8 = 1;
const RAW: u8 = 2;
const BOXED: u8 = 3;
const LIST: u8 = 4;
const SET: u8 = 5;
const INTSET: u8 = 6;
const HASH: u8 = 7;
const HASH_TTL: u8 = 8;
const SORTED_SET: u8 = 9;
/// The bits of the kind byte that hold one of those above.
const ENCODING: u8 = 15;
/// Packed collections up to this long lie in their key's entry; longer ones are boxed.
pub const PACKED_INLINE_MAX: usize = STRING_INLINE_MAX;
const FIELDS: u8 = 1 << 5;
const VOLATILE: u8 = 1 << 6;
const IS_WIDE: u8 = 1 << 7;

const EPOCH: usize = 1;
const ACCESS: usize = 2;
const LENGTHS: usize = 5;
/// Length of a narrow and of a wide header.
const NARROW: usize = 7;
const WIDE: usize = 13;
const WORD: usize = 8;
/// The longest string that SET makes "embstr". Source: Redis' OBJECT ENCODING.
const EMBSTR_LEN_MAX: usize = 44;
/// Key lengths have 48 bits, as addresses do: no slice is longer.
const KEY_LEN_END: usize = 1 << 48;
