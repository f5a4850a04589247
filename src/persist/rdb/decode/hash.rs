//! Hashes from RDB. Invariant: as in `decode`.

use std::borrow::Cow;

use super::{check_unique, pack_of};
use crate::encoding::listpack::{Element, INT_TEXT_MAX, Listpack};
use crate::persist::rdb::{Malformed, Reader};
use crate::types::hash::{HashLimits, HashMut};
use crate::types::{Collection, Packing};

/// A hash field by field.
pub(super) fn pairs(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Collection, Malformed> {
    let count = reader.length()?;
    if count == 0 {
        return Err(Malformed);
    }
    if count > limits.entries as u64 {
        let mut building = Building::new(count, limits)?;
        for _ in 0..count {
            building.add(&reader.string()?, &reader.string()?, None)?;
        }
        return Ok(building.collection);
    }
    let mut words = Vec::new();
    for _ in 0..count * 2 {
        words.push(reader.string()?);
    }
    known_pairs(&words, limits)
}

/// A hash of these fields and values.
pub(super) fn known_pairs(
    words: &[Cow<'_, [u8]>],
    limits: &HashLimits,
) -> Result<Collection, Malformed> {
    let element = |word| Element::of(word);
    check_unique(words.iter().step_by(2).map(|field| element(field)))?;
    let count = words.len() as u64 / 2;
    let fits = words.iter().all(|word| word.len() as u64 <= limits.value);
    if fits && count <= limits.entries as u64 {
        let pack = pack_of(words.iter().map(|word| element(word)));
        return Ok(Collection::Packed(Packing::Hash, pack));
    }
    let mut building = Building::new(count, limits)?;
    for pair in words.chunks_exact(2) {
        building.add(&pair[0], &pair[1], None)?;
    }
    Ok(building.collection)
}

/// A hash of fields that expire, or not, field by field. With `relative` times count from one that
/// comes first.
pub(super) fn triples(
    reader: &mut Reader<'_>,
    relative: bool,
    limits: &HashLimits,
) -> Result<Collection, Malformed> {
    let first = if relative { reader.millis()? } else { 1 };
    let base = u64::try_from(first).map_err(|_| Malformed)?;
    let count = reader.length()?;
    let mut building = Building::new(count, limits)?;
    building.hash()?.allow_expiry();
    for _ in 0..count {
        let expiry = match reader.length()? {
            0 => None,
            distance => {
                let at = base.checked_add(distance - 1).filter(|at| *at <= EXPIRY_MAX);
                Some(at.ok_or(Malformed)? as i64)
            }
        };
        building.add(&reader.string()?, &reader.string()?, expiry)?;
    }
    Ok(building.collection)
}

/// A hash of fields that expire, or not, as Valkey writes it: each with its own time, or -1.
pub(super) fn timed(reader: &mut Reader<'_>, limits: &HashLimits) -> Result<Collection, Malformed> {
    let count = reader.length()?;
    let mut building = Building::new(count, limits)?;
    building.hash()?.allow_expiry();
    for _ in 0..count {
        let (field, value) = (reader.string()?, reader.string()?);
        let expiry = match reader.millis()? {
            -1 => None,
            at if (0..=EXPIRY_MAX as i64).contains(&at) => Some(at),
            _ => return Err(Malformed),
        };
        building.add(&field, &value, expiry)?;
    }
    Ok(building.collection)
}

/// A hash that is a listpack, checked, of fields and values.
pub(super) fn packed(bytes: Vec<u8>, limits: &HashLimits) -> Result<Collection, Malformed> {
    let pack = Listpack::new(&bytes);
    if pack.len() / 2 <= limits.entries {
        return Ok(Collection::Packed(Packing::Hash, bytes));
    }
    let mut building = Building::new(pack.len() as u64 / 2, limits)?;
    let mut elements = pack.iter();
    while let (Some(field), Some(value)) = (elements.next(), elements.next()) {
        building.add_elements(field, value, None)?;
    }
    Ok(building.collection)
}

/// A hash that is a listpack, checked, of fields, values and times.
pub(super) fn packed_ttl(bytes: Vec<u8>, limits: &HashLimits) -> Result<Collection, Malformed> {
    let pack = Listpack::new(&bytes);
    let times = pack.iter().skip(2).step_by(3).map(|time| match time {
        Element::Int(time) if (0..=EXPIRY_MAX as i64).contains(&time) => Some(time),
        _ => None,
    });
    let times: Vec<i64> = times.collect::<Option<_>>().ok_or(Malformed)?;
    // Those that never expire are last.
    let order = |time: &i64| if *time == 0 { i64::MAX } else { *time };
    if !times.is_sorted_by_key(order) {
        return Err(Malformed);
    }
    if times.len() <= limits.entries {
        return Ok(Collection::Packed(Packing::HashTtl, bytes));
    }
    let mut building = Building::new(times.len() as u64, limits)?;
    building.hash()?.allow_expiry();
    let mut elements = pack.iter();
    for time in times {
        let (field, value) = (elements.next(), elements.next());
        elements.next();
        let (Some(field), Some(value)) = (field, value) else { break };
        building.add_elements(field, value, (time != 0).then_some(time))?;
    }
    Ok(building.collection)
}

/// A hash to which fields are added one by one.
struct Building<'l> {
    collection: Collection,
    limits: &'l HashLimits,
}

impl<'l> Building<'l> {
    /// Without fields, in the form that a hash of `count` fields has.
    fn new(count: u64, limits: &'l HashLimits) -> Result<Self, Malformed> {
        if count == 0 {
            return Err(Malformed);
        }
        let mut building = Self { collection: Collection::empty(Packing::Hash), limits };
        if count > limits.entries as u64 {
            // More words than fit say that it will be large.
            let words = std::iter::repeat_n(&b""[..], limits.entries * 2 + 2);
            building.hash()?.prepare(words, limits);
        }
        Ok(building)
    }

    fn hash(&mut self) -> Result<HashMut<'_, Collection>, Malformed> {
        HashMut::of(&mut self.collection).map_err(|_| Malformed)
    }

    /// Adds a field that is not there yet.
    fn add(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) -> Result<(), Malformed> {
        let limits = self.limits;
        let mut hash = self.hash()?;
        if !hash.set(field, value, false, limits) {
            return Err(Malformed);
        }
        if expiry.is_some() {
            hash.set_expiry(field, expiry);
        }
        Ok(())
    }

    fn add_elements(
        &mut self,
        field: Element<'_>,
        value: Element<'_>,
        expiry: Option<i64>,
    ) -> Result<(), Malformed> {
        let (mut field_text, mut value_text) = ([0; INT_TEXT_MAX], [0; INT_TEXT_MAX]);
        self.add(field.to_bytes(&mut field_text), value.to_bytes(&mut value_text), expiry)
    }
}

/// The latest time of a field, in milliseconds. Source: HPEXPIREAT.
const EXPIRY_MAX: u64 = (1 << 48) - 2;
