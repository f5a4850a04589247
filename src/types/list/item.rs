//! An element of a list on its way in or out.
//! Invariant: large strings stay in their chunks, which are shared and not copied.

use super::BigString;
use crate::base::number::write_i64;
use crate::encoding::listpack::{Element, INT_TEXT_MAX};

/// A string, wherever it lies.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// The string that spells this integer.
    Int(i64),
    /// Bytes in one piece.
    Str(&'a [u8]),
    /// Chunks.
    Big(&'a BigString),
}

impl<'a> Item<'a> {
    /// Bytes of the string.
    #[inline]
    pub fn len(self) -> u64 {
        match self {
            Item::Int(value) => Element::Int(value).text_len() as u64,
            Item::Str(bytes) => bytes.len() as u64,
            Item::Big(string) => string.len(),
        }
    }

    /// True for the empty string.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// True if the string is `bytes`.
    #[inline]
    pub fn eq_bytes(self, bytes: &[u8]) -> bool {
        match self {
            Item::Int(value) => Element::Int(value).eq_bytes(bytes),
            Item::Str(own) => own == bytes,
            Item::Big(string) => {
                let mut rest = bytes;
                string.len() == bytes.len() as u64
                    && string.chunks().iter().all(|chunk| {
                        let (ahead, behind) = rest.split_at(chunk.len());
                        rest = behind;
                        ahead == chunk
                    })
            }
        }
    }

    /// The item as an element of a listpack. None if it lies in several chunks.
    #[inline]
    pub fn small(self) -> Option<Element<'a>> {
        match self {
            Item::Int(value) => Some(Element::Int(value)),
            Item::Str(bytes) => Some(Element::of(bytes)),
            Item::Big(string) => match string.chunks() {
                [] => Some(Element::Str(&[])),
                [only] => Some(Element::of(only)),
                _ => None,
            },
        }
    }

    /// The string in one piece; `buffer` is where it goes if it does not lie in one.
    pub fn to_slice<'b>(self, buffer: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(value) => {
                buffer.clear();
                write_i64(buffer, value);
                buffer
            }
            Item::Str(bytes) => bytes,
            Item::Big(string) => {
                buffer.clear();
                string.chunks().iter().for_each(|chunk| buffer.extend_from_slice(chunk));
                buffer
            }
        }
    }

    /// The string as a vector.
    pub fn to_vec(self) -> Vec<u8> {
        self.to_slice(&mut Vec::new()).to_vec()
    }

    /// A copy that outlives the list.
    pub fn to_owned(self) -> OwnedItem {
        match self {
            Item::Int(value) => OwnedItem::Int(value),
            Item::Str(bytes) => OwnedItem::Str(bytes.to_vec()),
            Item::Big(string) => OwnedItem::Big(string.clone()),
        }
    }

    /// The string in chunks, shared where it is in chunks already.
    pub fn to_big(self) -> BigString {
        match self {
            Item::Int(value) => {
                BigString::from(Element::Int(value).to_bytes(&mut [0; INT_TEXT_MAX]))
            }
            Item::Str(bytes) => BigString::from(bytes),
            Item::Big(string) => string.clone(),
        }
    }
}

impl<'a> From<Element<'a>> for Item<'a> {
    #[inline]
    fn from(element: Element<'a>) -> Self {
        match element {
            Element::Int(value) => Item::Int(value),
            Element::Str(bytes) => Item::Str(bytes),
        }
    }
}

/// An element on its way from list to list.
#[derive(Clone, Debug)]
pub enum OwnedItem {
    /// The string that spells this integer.
    Int(i64),
    /// Bytes in one piece.
    Str(Vec<u8>),
    /// Chunks.
    Big(BigString),
}

impl OwnedItem {
    /// The element.
    #[inline]
    pub fn item(&self) -> Item<'_> {
        match self {
            OwnedItem::Int(value) => Item::Int(*value),
            OwnedItem::Str(bytes) => Item::Str(bytes),
            OwnedItem::Big(string) => Item::Big(string),
        }
    }
}
