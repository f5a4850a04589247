//! A value: inside its key's entry where it is small, boxed where it is large or structured.
//! Invariant: `Value` is `Send`, since partitions move between cores.

use super::stream::Stream;
use super::zset::SortedSet;
use super::{BigString, QuickList};
use crate::encoding::dict::Dict;

/// How a small collection lies in one run of bytes. Source: OBJECT ENCODING; layouts in
/// `encoding/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A list: a listpack of its elements.
    List,
    /// A set: a listpack of its members.
    Set,
    /// A set of integers: an intset.
    IntSet,
    /// A hash: a listpack of fields and values.
    Hash,
    /// A hash with fields that expire: a listpack of fields, values and times, next expiry first.
    HashTtl,
    /// A sorted set: a listpack of members and scores, in their order.
    SortedSet,
}

impl Packing {
    /// The name of the type, as TYPE answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Set | Self::IntSet => "set",
            Self::Hash | Self::HashTtl => "hash",
            Self::SortedSet => "zset",
        }
    }

    /// The name of the encoding, as OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::IntSet => "intset",
            Self::HashTtl => "listpackex",
            Self::List | Self::Set | Self::Hash | Self::SortedSet => "listpack",
        }
    }

    /// The collection without elements.
    pub fn empty(self) -> &'static [u8] {
        match self {
            Self::IntSet => EMPTY_INTSET,
            _ => EMPTY_LISTPACK,
        }
    }
}

/// A listpack without elements: total length, count, end.
const EMPTY_LISTPACK: &[u8] = &[7, 0, 0, 0, 0, 0, 0xff];
/// An intset without members: 2 bytes each, none there.
const EMPTY_INTSET: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0];

/// A value as it lies in an entry or anywhere else.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string that spells this integer.
    Int(i64),
    /// A string inside the entry.
    Str(&'a [u8]),
    /// A small collection.
    Packed(Packing, &'a [u8]),
    /// Anything larger; never a packed collection.
    Boxed(&'a Value),
}

impl<'a> ValueRef<'a> {
    /// A boxed value, or the packed collection in it.
    #[inline]
    pub fn of(value: &'a Value) -> Self {
        if let Value::Packed(packing, bytes) = value {
            Self::Packed(*packing, bytes)
        } else {
            Self::Boxed(value)
        }
    }

    /// The name of the type, as TYPE answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Int(_) | Self::Str(_) => "string",
            Self::Packed(packing, _) => packing.type_name(),
            Self::Boxed(value) => value.type_name(),
        }
    }
}

/// One value of a Redis type that does not lie in its key's entry.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string above `STRING_INLINE_MAX` bytes.
    String(BigString),
    /// A packed collection above `PACKED_INLINE_MAX` bytes.
    Packed(Packing, Vec<u8>),
    /// A list too large for one listpack.
    List(QuickList),
    /// A set that is neither an intset nor a listpack: its members are fields without values.
    Set(Dict),
    /// A hash that is not packed.
    Hash(Dict),
    /// A sorted set that is no listpack.
    SortedSet(SortedSet),
    /// A stream.
    Stream(Stream),
}

impl Value {
    /// The name of the type, as TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Packed(packing, _) => packing.type_name(),
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Hash(_) => "hash",
            Self::SortedSet(_) => "zset",
            Self::Stream(_) => "stream",
        }
    }

    /// The name of the encoding, as OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(_) => "raw",
            Self::Packed(packing, _) => packing.encoding(),
            Self::List(_) => "quicklist",
            Self::Set(_) => "hashtable",
            Self::Hash(_) => "hashtable",
            Self::SortedSet(_) => "skiplist",
            Self::Stream(_) => "stream",
        }
    }

    /// Bytes allocated below the value itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::String(string) => string.bytes(),
            Self::Packed(_, bytes) => bytes.capacity(),
            Self::List(list) => list.bytes(),
            Self::Set(members) => members.bytes(),
            Self::Hash(dict) => dict.bytes(),
            Self::SortedSet(set) => set.bytes(),
            Self::Stream(stream) => stream.bytes(),
        }
    }

    /// Frees up to `units` parts (a part is a chunk or a node); returns the units left. When any is
    /// left, the value is empty and dropping it is cheap.
    pub fn free_slice(&mut self, units: usize) -> usize {
        match self {
            Self::String(string) => string.free_slice(units),
            Self::Packed(..) => units,
            Self::List(list) => list.free_slice(units),
            Self::Set(members) => members.free_slice(units),
            Self::Hash(dict) => dict.free_slice(units),
            Self::SortedSet(set) => set.free_slice(units),
            Self::Stream(stream) => stream.free_slice(units),
        }
    }
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Value>();
