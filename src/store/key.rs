//! A key with its position, computed once for each time that a command names it.
//! Invariant: positions are made by one `Hasher` for all partitions of the process, since
//! partitions and their keys move between cores.

use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
pub use crate::encoding::table::Position;

/// A key's bytes and where they belong.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The bytes of the key.
    pub bytes: &'a [u8],
    /// Hash slot and hash.
    pub position: Position,
}

/// Makes positions of keys: the hash slot that the cluster protocol fixes, and a keyed hash, so that
/// nobody outside can choose keys that collide.
#[derive(Clone, Copy)]
pub struct Hasher(HashKey);

impl Hasher {
    /// A hasher with this secret.
    pub fn new(secret: HashKey) -> Self {
        Self(secret)
    }

    /// The secret, for the fields and members of collections.
    #[inline]
    pub fn hash_key(&self) -> HashKey {
        self.0
    }

    /// The key for these bytes.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.key_in_slot(bytes, Slot::of(bytes))
    }

    /// The key for these bytes, whose hash slot is known already.
    #[inline]
    pub fn key_in_slot<'a>(&self, bytes: &'a [u8], slot: Slot) -> Key<'a> {
        Key { bytes, position: Position::new(slot.get(), self.0.hash(bytes)) }
    }
}
