//! Reads values from RDB, of all versions and encodings.
//! Invariant: any bytes may be handed in. Packed collections are checked to their last element before
//! they are taken over; a collection is never empty, and no member of it is there twice.
//! Source: see `rdb`; what stock servers refuse with sanitize-dump-payload.

mod hash;
mod list;
mod old;
mod set;
mod sorted_set;
mod stream;

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Malformed, Reader, opcode};
use crate::encoding::listpack::{self, Element, Listpack};
use crate::encoding::run::Run;
use crate::types::hash::HashLimits;
use crate::types::string::STRING_INLINE_MAX;
use crate::types::{BigString, Collection, list as list_type, set as set_type, zset};

/// A value that was read.
#[derive(Debug)]
pub enum Loaded<'a> {
    /// A string up to `STRING_INLINE_MAX`.
    Str(Cow<'a, [u8]>),
    /// A longer string.
    Big(BigString),
    /// Anything else.
    Collection(Collection),
}

/// When collections change their form: what the directives say.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of lists.
    pub list: list_type::Limits,
    /// Of sets.
    pub set: set_type::Limits,
    /// Of hashes.
    pub hash: HashLimits,
    /// Of sorted sets.
    pub sorted_set: zset::Limits,
}

/// The value of type `kind` that comes next.
pub fn value<'a>(
    reader: &mut Reader<'a>,
    kind: u8,
    limits: &Limits,
) -> Result<Loaded<'a>, Malformed> {
    let collection = match kind {
        opcode::STRING => return string(reader),
        opcode::LIST => list::elements(reader, limits.list),
        opcode::LIST_ZIPLIST => list::ziplist(&reader.string()?, limits.list),
        opcode::LIST_QUICKLIST => list::ziplists(reader, limits.list),
        opcode::LIST_QUICKLIST_2 => list::nodes(reader, limits.list),
        opcode::SET => set::members(reader, &limits.set),
        opcode::SET_INTSET => set::intset(reader.string()?, &limits.set),
        opcode::SET_LISTPACK => set::listpack(reader.string()?, &limits.set),
        opcode::HASH => hash::pairs(reader, &limits.hash),
        opcode::HASH_ZIPMAP => {
            let bytes = reader.string()?;
            hash::known_pairs(&old::from_zipmap(&bytes)?, &limits.hash)
        }
        opcode::HASH_ZIPLIST => {
            hash::packed(old::from_ziplist(&reader.string()?, 2)?, &limits.hash)
        }
        opcode::HASH_LISTPACK => hash::packed(checked_listpack(reader.string()?, 2)?, &limits.hash),
        opcode::HASH_TTL | opcode::HASH_TTL_EARLY => {
            hash::triples(reader, kind == opcode::HASH_TTL, &limits.hash)
        }
        opcode::HASH_VALKEY => hash::timed(reader, &limits.hash),
        opcode::HASH_LISTPACK_TTL | opcode::HASH_LISTPACK_TTL_EARLY => {
            if kind == opcode::HASH_LISTPACK_TTL {
                // The next expiry, which the first field says, too.
                reader.millis()?;
            }
            hash::packed_ttl(checked_listpack(reader.string()?, 3)?, &limits.hash)
        }
        opcode::SORTED_SET | opcode::SORTED_SET_2 => {
            sorted_set::members(reader, kind == opcode::SORTED_SET_2, &limits.sorted_set)
        }
        opcode::SORTED_SET_ZIPLIST => {
            sorted_set::packed(old::from_ziplist(&reader.string()?, 2)?, &limits.sorted_set)
        }
        opcode::SORTED_SET_LISTPACK => {
            sorted_set::packed(checked_listpack(reader.string()?, 2)?, &limits.sorted_set)
        }
        opcode::STREAM | opcode::STREAM_2 | opcode::STREAM_3 => stream::stream(reader, kind),
        _ => Err(Malformed),
    };
    collection.map(Loaded::Collection)
}

/// True if these bytes are a value of type `kind` that would be a collection without elements, as
/// servers have written that had a bug.
pub fn is_empty(mut reader: Reader<'_>, kind: u8) -> bool {
    let is_empty = match kind {
        opcode::LIST
        | opcode::SET
        | opcode::HASH
        | opcode::SORTED_SET
        | opcode::SORTED_SET_2
        | opcode::HASH_VALKEY => reader.length().is_ok_and(|count| count == 0),
        opcode::HASH_TTL => {
            reader.millis().is_ok() && reader.length().is_ok_and(|count| count == 0)
        }
        opcode::LIST_QUICKLIST => all_nodes_empty(&mut reader, false),
        opcode::LIST_QUICKLIST_2 => all_nodes_empty(&mut reader, true),
        opcode::HASH_LISTPACK_TTL => {
            reader.millis().is_ok() && reader.string().is_ok_and(|pack| is_empty_pack(&pack))
        }
        packed if opcode::is_packed(packed) => {
            reader.string().is_ok_and(|pack| is_empty_pack(&pack))
        }
        _ => false,
    };
    is_empty && reader.rest().is_empty()
}

/// True if all nodes of a list are empty; before each stands what it is if `has_kinds`.
fn all_nodes_empty(reader: &mut Reader<'_>, has_kinds: bool) -> bool {
    let Ok(count) = reader.length() else { return false };
    (0..count).all(|_| {
        let is_packed = !has_kinds || reader.length() == Ok(opcode::NODE_PACKED);
        is_packed && reader.string().is_ok_and(|pack| is_empty_pack(&pack))
    })
}

/// True if a zipmap, ziplist, intset or listpack has no elements.
fn is_empty_pack(bytes: &[u8]) -> bool {
    const ZIPMAP: &[u8] = &[0, 0xFF];
    const ZIPLIST: &[u8] = &[11, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0xFF];
    let is_intset = bytes.len() == INTSET_HEAD && bytes[INTSET_HEAD - 4..] == [0; 4];
    is_intset || [ZIPMAP, ZIPLIST, &listpack::EMPTY].contains(&bytes)
}

/// Bytes of an intset before its first integer: their width, their number.
const INTSET_HEAD: usize = 8;

fn string<'a>(reader: &mut Reader<'a>) -> Result<Loaded<'a>, Malformed> {
    let bytes = reader.string()?;
    if bytes.len() <= STRING_INLINE_MAX {
        return Ok(Loaded::Str(bytes));
    }
    Ok(Loaded::Big(BigString::from(&bytes[..])))
}

/// A listpack of `width` elements for each member, none of which is there twice. All is checked, and
/// integers are stored as such, whoever wrote it.
fn checked_listpack(bytes: Cow<'_, [u8]>, width: usize) -> Result<Vec<u8>, Malformed> {
    if !listpack::validate(&bytes, true) {
        return Err(Malformed);
    }
    let pack = Listpack::new(&bytes);
    if pack.is_empty() || !pack.len().is_multiple_of(width) {
        return Err(Malformed);
    }
    check_unique(pack.iter().step_by(width))?;
    let is_canonical =
        |element: Element<'_>| matches!(element, Element::Int(_)) || element.to_int().is_none();
    if pack.iter().all(is_canonical) {
        return Ok(bytes.into_owned());
    }
    Ok(pack_of(pack.iter()))
}

/// The listpack of some elements.
fn pack_of<'e>(elements: impl Iterator<Item = Element<'e>>) -> Vec<u8> {
    let mut pack = listpack::EMPTY.to_vec();
    for element in elements {
        let canonical = element.to_int().map_or(element, Element::Int);
        listpack::append(&mut pack, [canonical]);
    }
    debug_assert!(listpack::validate(pack.bytes(), true));
    pack
}

/// An error if a string is there twice.
fn check_unique<'e>(elements: impl Iterator<Item = Element<'e>>) -> Result<(), Malformed> {
    let mut integers = BTreeSet::new();
    let mut strings = BTreeSet::new();
    for element in elements {
        let is_new = match (element.to_int(), element) {
            (Some(value), _) => integers.insert(value),
            (None, Element::Str(bytes)) => strings.insert(bytes),
            (None, Element::Int(_)) => unreachable!("an integer spells itself"),
        };
        if !is_new {
            return Err(Malformed);
        }
    }
    Ok(())
}
