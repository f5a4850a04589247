//! Lists from RDB. Invariant: as in `decode`.

use super::{old, pack_of};
use crate::encoding::listpack::{self, Element, Listpack};
use crate::persist::rdb::{Malformed, Reader, opcode};
use crate::types::list::{self, Item, Limits, QuickList};
use crate::types::string::CHUNK_BYTES;
use crate::types::{BigString, Collection};

/// A list element by element.
pub(super) fn elements(reader: &mut Reader<'_>, limits: Limits) -> Result<Collection, Malformed> {
    let mut strings = Vec::new();
    for _ in 0..reader.length()? {
        strings.push(reader.string()?);
    }
    if strings.is_empty() {
        return Err(Malformed);
    }
    let big: Vec<Option<BigString>> = strings.iter().map(|string| large(string)).collect();
    let items = strings.iter().zip(&big).map(|(string, big)| match big {
        Some(big) => Item::Big(big),
        None => Item::Str(string),
    });
    Ok(list::collect(items, limits))
}

/// A string that does not fit one chunk, in chunks.
fn large(string: &[u8]) -> Option<BigString> {
    (string.len() > CHUNK_BYTES).then(|| BigString::from(string))
}

/// A list that is a ziplist.
pub(super) fn ziplist(bytes: &[u8], limits: Limits) -> Result<Collection, Malformed> {
    let elements = old::list_from_ziplist(bytes)?;
    if elements.is_empty() {
        return Err(Malformed);
    }
    let items = elements.into_iter().map(|element| match element {
        Element::Int(value) => Item::Int(value),
        Element::Str(bytes) => Item::Str(bytes),
    });
    Ok(list::collect(items, limits))
}

/// A list of ziplists.
pub(super) fn ziplists(reader: &mut Reader<'_>, limits: Limits) -> Result<Collection, Malformed> {
    let mut list = QuickList::new(limits);
    for _ in 0..reader.length()? {
        let bytes = reader.string()?;
        let elements = old::list_from_ziplist(&bytes)?;
        if !elements.is_empty() {
            list.append_pack(pack_of(elements.into_iter()));
        }
    }
    finish(list, limits)
}

/// A list of listpacks and large elements.
pub(super) fn nodes(reader: &mut Reader<'_>, limits: Limits) -> Result<Collection, Malformed> {
    let mut list = QuickList::new(limits);
    for _ in 0..reader.length()? {
        let container = reader.length()?;
        let bytes = reader.string()?;
        match container {
            opcode::NODE_PLAIN if !bytes.is_empty() => {
                list.append_plain(BigString::from(&bytes[..]));
            }
            opcode::NODE_PACKED if listpack::validate(&bytes, true) => {
                if !Listpack::new(&bytes).is_empty() {
                    list.append_pack(bytes.into_owned());
                }
            }
            _ => return Err(Malformed),
        }
    }
    finish(list, limits)
}

fn finish(list: QuickList, limits: Limits) -> Result<Collection, Malformed> {
    if list.is_empty() { Err(Malformed) } else { Ok(list.into_collection(limits)) }
}
