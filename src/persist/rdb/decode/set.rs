//! Sets from RDB. Invariant: as in `decode`.

use std::borrow::Cow;

use super::checked_listpack;
use crate::encoding::intset::{self, IntSet};
use crate::encoding::listpack::{Element, Listpack};
use crate::persist::rdb::{Malformed, Reader};
use crate::types::set::{Limits, SetMut};
use crate::types::{Collection, Packing};

/// A set member by member.
pub(super) fn members(reader: &mut Reader<'_>, limits: &Limits) -> Result<Collection, Malformed> {
    let count = reader.length()?;
    let mut collection = new(count, limits)?;
    let mut set = SetMut::of(&mut collection).map_err(|_| Malformed)?;
    for _ in 0..count {
        if !set.add(Element::of(&reader.string()?), limits) {
            return Err(Malformed);
        }
    }
    Ok(collection)
}

/// A set that is an intset.
pub(super) fn intset(bytes: Cow<'_, [u8]>, limits: &Limits) -> Result<Collection, Malformed> {
    intset::validate(&bytes, true).map_err(|_| Malformed)?;
    let members = IntSet::of(&bytes);
    if members.len() <= limits.intset_entries {
        return Ok(Collection::Packed(Packing::IntSet, bytes.into_owned()));
    }
    table(members.len(), members.iter().map(Element::Int), limits)
}

/// A set that is a listpack.
pub(super) fn listpack(bytes: Cow<'_, [u8]>, limits: &Limits) -> Result<Collection, Malformed> {
    let bytes = checked_listpack(bytes, 1)?;
    let members = Listpack::new(&bytes);
    if members.len() <= limits.listpack_entries {
        return Ok(Collection::Packed(Packing::Set, bytes));
    }
    table(members.len(), members.iter(), limits)
}

/// A set of more members than packed ones have.
fn table<'e>(
    count: usize,
    members: impl Iterator<Item = Element<'e>>,
    limits: &Limits,
) -> Result<Collection, Malformed> {
    let limits = &Limits { intset_entries: 0, ..*limits };
    let mut collection = new(count as u64, limits)?;
    let mut set = SetMut::of(&mut collection).map_err(|_| Malformed)?;
    members.for_each(|member| set.add_new(member, limits));
    Ok(collection)
}

/// An empty set in the form that a set of `count` members begins with.
fn new(count: u64, limits: &Limits) -> Result<Collection, Malformed> {
    if count == 0 {
        return Err(Malformed);
    }
    let mut collection = Collection::empty(Packing::IntSet);
    let mut set = SetMut::of(&mut collection).map_err(|_| Malformed)?;
    set.expect(usize::try_from(count).unwrap_or(usize::MAX), limits);
    Ok(collection)
}
