//! Where a collection lies: packed in its key's entry, boxed behind it, or on its own. Types are
//! written over this, so that they know nothing of entries.
//! Invariant: the bytes of `Run` are those of a packed collection, and empty when it is boxed.

use super::value::{Packing, Value, ValueRef};
use crate::encoding::run::Run;

/// The place of a collection.
pub trait Place: Run {
    /// The collection.
    fn value(&self) -> ValueRef<'_>;

    /// A boxed collection, to be changed in place. None while it is packed.
    fn boxed_mut(&mut self) -> Option<&mut Value>;

    /// Puts another form of the collection in its place.
    fn put(&mut self, collection: Collection);
}

/// A collection that has no key yet: the result of a STORE form, or what was loaded.
#[derive(Clone, Debug)]
pub enum Collection {
    /// In one run of bytes.
    Packed(Packing, Vec<u8>),
    /// Anything larger.
    Boxed(Box<Value>),
}

impl Collection {
    /// A packed collection without elements.
    pub fn empty(packing: Packing) -> Self {
        Self::Packed(packing, packing.empty().to_vec())
    }
}

impl Run for Collection {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Packed(_, bytes) => bytes,
            Self::Boxed(_) => &[],
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Packed(_, bytes) => bytes,
            Self::Boxed(_) => &mut [],
        }
    }

    fn splice(&mut self, at: usize, removed: usize, pieces: &[&[u8]]) {
        match self {
            Self::Packed(_, bytes) => Run::splice(bytes, at, removed, pieces),
            Self::Boxed(_) => unreachable!("only packed collections are spliced"),
        }
    }
}

impl Place for Collection {
    fn value(&self) -> ValueRef<'_> {
        match self {
            Self::Packed(packing, bytes) => ValueRef::Packed(*packing, bytes),
            Self::Boxed(value) => ValueRef::of(value),
        }
    }

    fn boxed_mut(&mut self) -> Option<&mut Value> {
        match self {
            Self::Packed(..) => None,
            Self::Boxed(value) => Some(value),
        }
    }

    fn put(&mut self, collection: Collection) {
        *self = collection;
    }
}
