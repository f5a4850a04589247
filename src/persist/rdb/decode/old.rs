//! Encodings that are no longer written: ziplists and zipmaps, as listpacks.
//! Invariant: as in `decode`.

use std::borrow::Cow;

use super::{check_unique, pack_of};
use crate::encoding::listpack::Element;
use crate::encoding::{ziplist, zipmap};
use crate::persist::rdb::Malformed;

/// The listpack of a ziplist of `width` elements for each member, none of which is there twice.
pub(super) fn from_ziplist(bytes: &[u8], width: usize) -> Result<Vec<u8>, Malformed> {
    let elements = ziplist::elements(bytes).map_err(|_| Malformed)?;
    if elements.is_empty() || !elements.len().is_multiple_of(width) {
        return Err(Malformed);
    }
    check_unique(elements.iter().copied().step_by(width))?;
    Ok(pack_of(elements.into_iter()))
}

/// The elements of a list that is a ziplist, or a node of one.
pub(super) fn list_from_ziplist(bytes: &[u8]) -> Result<Vec<Element<'_>>, Malformed> {
    ziplist::elements(bytes).map_err(|_| Malformed)
}

/// The fields and values of a zipmap, one behind the other.
pub(super) fn from_zipmap(bytes: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, Malformed> {
    let pairs = zipmap::pairs(bytes).map_err(|_| Malformed)?;
    Ok(pairs
        .iter()
        .flat_map(|(field, value)| [Cow::Borrowed(*field), Cow::Borrowed(*value)])
        .collect())
}
