//! An entry: a key, its value and what belongs to them, in one allocation.
//! Invariant: `Entry` owns its allocation; the header tells its exact size; a boxed value's pointer
//! is owned by the entry. `layout.rs` draws what lies where. Table words hold entries as 48-bit
//! addresses (`table.rs`, the only other file that makes an `EntryRef` from an address).
//! Source: own; the encodings' names are those of Redis' OBJECT ENCODING.
#![allow(unsafe_code)]

mod layout;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use layout::{
    ENCODING, EPOCH_BITS, FIELDS, INT, LENGTHS, MARKS, NARROW, RAW, Shape, WORD, packing_of, plan,
};
pub use layout::{EPOCH_MAX, PACKED_INLINE_MAX};
pub use table::{EntryMut, EntryTable, Origin, Verdict};
pub use view::EntryRef;

use crate::base::time::Millis;
use crate::encoding::run::Run;
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

const _: () = assert!(size_of::<Option<Entry>>() == 8, "an entry is one pointer");

// SAFETY: an entry is the only owner of its allocation, of which all but the boxed value is plain
// bytes; and `Value` is `Send`, asserted in `types/value.rs`.
unsafe impl Send for Entry {}

impl Entry {
    /// An entry for a key. `access` is its access clock (28 bits).
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

    /// Sets the epoch tag, up to `EPOCH_MAX`.
    #[inline]
    pub fn set_epoch(&mut self, epoch: u8) {
        self.set_marks(self.view().access(), epoch);
    }

    /// Sets the access clock, of which 28 bits are kept.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.set_marks(access, self.view().epoch());
    }

    #[inline]
    fn set_marks(&mut self, access: u32, epoch: u8) {
        debug_assert!(epoch <= EPOCH_MAX, "an epoch has {EPOCH_BITS} bits");
        self.put_header(MARKS, (access << EPOCH_BITS | u32::from(epoch)).to_le_bytes());
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
