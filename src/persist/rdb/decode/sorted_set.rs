//! Sorted sets from RDB. Invariant: as in `decode`.

use std::cmp::Ordering;

use crate::base::number;
use crate::encoding::listpack::{Element, INT_TEXT_MAX, Listpack};
use crate::persist::rdb::{Malformed, Reader};
use crate::types::zset::{AddFlags, Change, Limits, ZSetMut};
use crate::types::{Collection, Packing};

/// A sorted set member by member, with scores as doubles if `binary`, else as text.
pub(super) fn members(
    reader: &mut Reader<'_>,
    binary: bool,
    limits: &Limits,
) -> Result<Collection, Malformed> {
    let count = reader.length()?;
    let mut next = || {
        let member = reader.string()?;
        let score = if binary { reader.double()? } else { reader.text_double()? };
        Ok((member, score))
    };
    if count > limits.entries as u64 {
        let mut collection = new(count, 0, limits)?;
        let mut set = ZSetMut::of(&mut collection).map_err(|_| Malformed)?;
        for _ in 0..count {
            let (member, score) = next()?;
            add(&mut set, &member, score, limits)?;
        }
        return Ok(collection);
    }
    // The longest member decides the form before the first is added: a tree keeps a score of -0.
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push(next()?);
    }
    let longest = pairs.iter().map(|(member, _)| member.len()).max().unwrap_or(0);
    let mut collection = new(count, longest, limits)?;
    let mut set = ZSetMut::of(&mut collection).map_err(|_| Malformed)?;
    for (member, score) in &pairs {
        add(&mut set, member, *score, limits)?;
    }
    Ok(collection)
}

/// A sorted set that is a listpack, checked, of members and scores.
pub(super) fn packed(bytes: Vec<u8>, limits: &Limits) -> Result<Collection, Malformed> {
    let mut pairs = Vec::new();
    let pack = Listpack::new(&bytes);
    let mut elements = pack.iter();
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        pairs.push((member, score_of(score)?));
    }
    if pairs.len() <= limits.entries && is_ascending(&pairs) {
        return Ok(Collection::Packed(Packing::SortedSet, bytes));
    }
    let mut collection = new(pairs.len() as u64, 0, limits)?;
    let mut set = ZSetMut::of(&mut collection).map_err(|_| Malformed)?;
    for (member, score) in pairs {
        add(&mut set, member.to_bytes(&mut [0; INT_TEXT_MAX]), score, limits)?;
    }
    Ok(collection)
}

/// An empty sorted set in the form that one of `count` members, the longest of which has this length,
/// has.
fn new(count: u64, longest: usize, limits: &Limits) -> Result<Collection, Malformed> {
    if count == 0 {
        return Err(Malformed);
    }
    let mut collection = Collection::empty(Packing::SortedSet);
    let mut set = ZSetMut::of(&mut collection).map_err(|_| Malformed)?;
    set.expect(usize::try_from(count).unwrap_or(usize::MAX), longest, limits);
    Ok(collection)
}

/// Adds a member that is not there yet.
fn add(
    set: &mut ZSetMut<'_, Collection>,
    member: &[u8],
    score: f64,
    limits: &Limits,
) -> Result<(), Malformed> {
    match set.add(member, score, AddFlags::default(), limits) {
        Change::Added(_) => Ok(()),
        _ => Err(Malformed),
    }
}

/// The score that an element spells, in the one way that is written.
fn score_of(element: Element<'_>) -> Result<f64, Malformed> {
    match element {
        Element::Int(value) => Ok(value as f64),
        Element::Str(text) => number::parse_f64(text).ok_or(Malformed),
    }
}

/// True if pairs are in the order of a sorted set: by score, then by bytes.
fn is_ascending(pairs: &[(Element<'_>, f64)]) -> bool {
    pairs.is_sorted_by(|(one, score), (next, next_score)| match score.partial_cmp(next_score) {
        Some(Ordering::Equal) => one.to_vec() < next.to_vec(),
        order => order == Some(Ordering::Less),
    })
}
