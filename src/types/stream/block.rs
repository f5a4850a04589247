//! A block of a stream: a listpack with a master entry and the entries behind it.
//! Invariant: the bytes are those that a stock server keeps in a node of its radix tree for the same
//! commands, so that RDB moves blocks whole. What comes from outside passes `validate` first.
//! Source: the listpacks of streams in RDB files.
//!
//! ```text
//! master: | live | deleted | fields | field ... | 0 |
//! entry:  | flags | ms | seq | value ... | elements |                   with SAME_FIELDS
//!         | flags | ms | seq | fields | field | value ... | elements |  without
//! ```
//! `ms` and `seq` are distances from the block's id, modulo 2^64. `elements` counts what stands
//! before it in the entry, so that entries can be walked backward.

use super::id::StreamId;
use crate::encoding::listpack::{self, Element, Listpack};

/// The entry was deleted.
const DELETED: i64 = 1;
/// The entry has the fields of the master entry, which are not repeated.
const SAME_FIELDS: i64 = 2;

/// A block, to be read; its id is the one of its first entry.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    master: StreamId,
    pack: Listpack<'a>,
    head: Head,
}

/// What the master entry says.
#[derive(Clone, Copy)]
struct Head {
    live: i64,
    deleted: i64,
    fields: i64,
    /// Position of the element that holds `deleted`.
    deleted_at: usize,
    /// Position of the first master field.
    fields_at: usize,
}

/// An entry as it lies in its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Its id.
    pub id: StreamId,
    /// Where it begins.
    pub at: usize,
    /// Deleted.
    pub is_deleted: bool,
    /// Fields, which stand with the values unless they are the master's.
    pub fields: usize,
    /// The fields are the master's.
    pub same_fields: bool,
    /// Where its fields and values begin.
    pub body: usize,
}

impl Head {
    #[inline]
    fn of(pack: Listpack<'_>) -> Self {
        let (live, deleted_at) = pack.get_and_skip(listpack::HEADER);
        let (deleted, fields_at) = pack.get_and_skip(deleted_at);
        let (fields, first) = pack.get_and_skip(fields_at);
        Head {
            live: int(live),
            deleted: int(deleted),
            fields: int(fields),
            deleted_at,
            fields_at: first,
        }
    }
}

impl<'a> Block<'a> {
    /// The block of `bytes`, which has the id `master`.
    #[inline]
    pub(super) fn new(master: StreamId, bytes: &'a [u8]) -> Self {
        let pack = Listpack::new(bytes);
        Block { master, pack, head: Head::of(pack) }
    }

    /// Entries that are not deleted.
    #[inline]
    pub(super) fn live(&self) -> u64 {
        u64::try_from(self.head.live).unwrap_or(0)
    }

    /// Entries, the deleted ones included.
    #[inline]
    pub(super) fn entries(&self) -> u64 {
        self.live().saturating_add_signed(self.head.deleted.max(0))
    }

    /// True if there is an entry with this id that is not deleted.
    pub(super) fn has_live(&self, id: StreamId) -> bool {
        self.find(id).is_some_and(|item| !item.is_deleted)
    }

    /// Where the first entry begins, or the end.
    #[inline]
    pub(super) fn first(&self) -> usize {
        let mut at = self.head.fields_at;
        for _ in 0..self.head.fields {
            at = self.skip(at);
        }
        self.skip(at)
    }

    /// Where the last entry ends.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.pack.end()
    }

    /// Where the first master field is.
    #[inline]
    pub(super) fn master_fields(&self) -> usize {
        self.head.fields_at
    }

    /// The element at `at` and where the next one begins.
    #[inline]
    pub(super) fn element(&self, at: usize) -> (Element<'a>, usize) {
        self.pack.get_and_skip(at)
    }

    #[inline]
    fn skip(&self, at: usize) -> usize {
        self.pack.next(at).unwrap_or(self.pack.end())
    }

    /// The entry that begins at `at`. None at the end.
    #[inline]
    pub(super) fn item(&self, at: usize) -> Option<Item> {
        if at >= self.end() {
            return None;
        }
        let (flags, next) = self.element(at);
        let (ms, next) = self.element(next);
        let (seq, body) = self.element(next);
        let flags = int(flags);
        let same_fields = flags & SAME_FIELDS != 0;
        let (fields, body) = if same_fields {
            (self.head.fields, body)
        } else {
            let (fields, body) = self.element(body);
            (int(fields), body)
        };
        Some(Item {
            id: StreamId::at_delta(self.master, int(ms), int(seq)),
            at,
            is_deleted: flags & DELETED != 0,
            fields: usize::try_from(fields).unwrap_or(0),
            same_fields,
            body,
        })
    }

    /// The entry that ends at `end`. None before the first.
    #[inline]
    pub(super) fn item_before(&self, end: usize) -> Option<Item> {
        let count_at = self.pack.prev(end)?;
        let count = int(self.pack.get(count_at));
        if count <= 0 {
            return None;
        }
        let mut at = count_at;
        for _ in 0..count {
            at = self.pack.prev(at)?;
        }
        self.item(at)
    }

    /// Where the entry behind `item` begins.
    #[inline]
    pub(super) fn behind(&self, item: &Item) -> usize {
        self.behind_elements(
            item.body,
            if item.same_fields { item.fields } else { item.fields * 2 },
        )
    }

    /// Where the entry ends whose last `elements` fields and values begin at `at`.
    #[inline]
    pub(super) fn behind_elements(&self, at: usize, elements: usize) -> usize {
        let mut at = at;
        for _ in 0..=elements {
            at = self.skip(at);
        }
        at
    }

    /// The id of the last entry, deleted or not.
    pub(super) fn last_id(&self) -> Option<StreamId> {
        self.item_before(self.end()).map(|item| item.id)
    }

    /// The entry with an id, deleted or not.
    fn find(&self, id: StreamId) -> Option<Item> {
        let mut at = self.first();
        while let Some(item) = self.item(at) {
            if item.id >= id {
                return (item.id == id).then_some(item);
            }
            at = self.behind(&item);
        }
        None
    }

    /// True if the master entry has these fields.
    #[inline]
    fn has_fields<'f>(&self, pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])>) -> bool {
        if pairs.len() as i64 != self.head.fields {
            return false;
        }
        let mut at = self.head.fields_at;
        for (field, _) in pairs {
            let (own, next) = self.element(at);
            if !own.eq_bytes(field) {
                return false;
            }
            at = next;
        }
        true
    }
}

/// The integer of an element that the layout says is one; 0 where hostile bytes hold none.
#[inline]
fn int(element: Element<'_>) -> i64 {
    element.to_int().unwrap_or(0)
}

/// What becomes of an entry that is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// There is none with this id, or it is deleted already.
    Missing,
    /// It is marked as deleted.
    Marked,
    /// It is the last live one: the block is to be removed.
    LastOne,
}

/// A new block with its first entry, whose id the block has.
pub(super) fn new_block<'f>(
    pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])> + Clone,
) -> Vec<u8> {
    let head = [Element::Int(1), Element::Int(0), Element::Int(pairs.len() as i64)].into_iter();
    let fields = pairs.clone().map(|(field, _)| Element::of(field));
    let master = head.chain(fields).chain([Element::Int(0)]);
    let mut bytes = Vec::with_capacity(room(pairs.clone(), 2));
    bytes.extend_from_slice(&listpack::EMPTY);
    listpack::push_all(&mut bytes, master);
    push_entry(&mut bytes, (0, 0), SAME_FIELDS, pairs);
    bytes
}

/// Adds an entry to a block. `limit` bounds how far the allocation grows ahead.
pub(super) fn append<'f>(
    bytes: &mut Vec<u8>,
    master: StreamId,
    id: StreamId,
    pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])> + Clone,
    limit: usize,
) {
    let block = Block::new(master, bytes);
    let same = block.has_fields(pairs.clone());
    let live = block.head.live;
    let needed = bytes.len() + room(pairs.clone(), if same { 1 } else { 2 });
    if needed > bytes.capacity() {
        let ahead = needed.max((bytes.capacity() * 2).min(limit));
        bytes.reserve_exact(ahead - bytes.len());
    }
    replace_int(bytes, listpack::HEADER, live.saturating_add(1));
    push_entry(bytes, id.delta_from(master), if same { SAME_FIELDS } else { 0 }, pairs);
}

/// Bytes that an entry takes at most, where each of its words is stored `times` times or less.
fn room<'f>(pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])>, times: usize) -> usize {
    let count = pairs.len();
    let bytes: usize = pairs.map(|(field, value)| field.len() * times + value.len()).sum();
    let overhead = if bytes < 64 { 2 } else { 10 };
    bytes + (count * (times + 1)) * overhead + 40
}

#[inline]
fn push_entry<'f>(
    bytes: &mut Vec<u8>,
    (ms, seq): (i64, i64),
    flags: i64,
    pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])>,
) {
    let fields = pairs.len() as i64;
    let head = [Element::Int(flags), Element::Int(ms), Element::Int(seq)].into_iter();
    if flags & SAME_FIELDS != 0 {
        let values = pairs.map(|(_, value)| Element::of(value));
        listpack::push_all(bytes, head.chain(values).chain([Element::Int(fields + 3)]));
    } else {
        let body = pairs.flat_map(|(field, value)| [Element::of(field), Element::of(value)]);
        let count = [Element::Int(fields * 2 + 4)];
        listpack::push_all(bytes, head.chain([Element::Int(fields)]).chain(body).chain(count));
    }
}

/// Marks the entry with an id as deleted.
pub(super) fn delete(bytes: &mut Vec<u8>, master: StreamId, id: StreamId) -> Deletion {
    let block = Block::new(master, bytes);
    let Some(item) = block.find(id).filter(|item| !item.is_deleted) else {
        return Deletion::Missing;
    };
    if block.head.live <= 1 {
        return Deletion::LastOne;
    }
    mark(bytes, item.at);
    count_deleted(bytes, 1);
    Deletion::Marked
}

/// Marks entries as deleted from the first on, as long as `goes` says so of an entry's id; tells how
/// many were marked.
pub(super) fn delete_front(
    bytes: &mut Vec<u8>,
    master: StreamId,
    mut goes: impl FnMut(StreamId) -> bool,
) -> u64 {
    let mut deleted = 0;
    let mut at = Block::new(master, bytes).first();
    while let Some(item) = Block::new(master, bytes).item(at) {
        if !item.is_deleted && !goes(item.id) {
            break;
        }
        let len = bytes.len();
        at = Block::new(master, bytes).behind(&item);
        if !item.is_deleted {
            mark(bytes, item.at);
            // A mark takes more room where the flags were written by somebody else.
            at = at + bytes.len() - len;
            deleted += 1;
        }
    }
    if deleted > 0 {
        count_deleted(bytes, deleted as i64);
    }
    deleted
}

/// Sets the mark of the entry that begins at `at`.
fn mark(bytes: &mut Vec<u8>, at: usize) {
    let flags = int(Listpack::new(bytes).get(at));
    replace_int(bytes, at, flags | DELETED);
}

/// Counts entries as deleted that were live.
fn count_deleted(bytes: &mut Vec<u8>, count: i64) {
    let head = Head::of(Listpack::new(bytes));
    replace_int(bytes, head.deleted_at, head.deleted.saturating_add(count));
    replace_int(bytes, listpack::HEADER, head.live.saturating_sub(count));
}

/// Puts another integer in the place of one; small ones are overwritten.
#[inline]
fn replace_int(bytes: &mut Vec<u8>, at: usize, value: i64) {
    const SMALL: std::ops::Range<i64> = 0..128;
    match bytes[at] {
        old if SMALL.contains(&i64::from(old)) && SMALL.contains(&value) => bytes[at] = value as u8,
        _ => listpack::replace(bytes, at, Element::Int(value)),
    }
}

/// True if `bytes` are a block: a listpack whose elements are a master entry and as many entries as
/// it counts, their ids ascending. Returns how many of them are live. O(elements).
pub fn validate(master: StreamId, bytes: &[u8]) -> Option<u64> {
    if !listpack::validate(bytes, true) {
        return None;
    }
    let pack = Listpack::new(bytes);
    let mut elements = pack.iter();
    let integer = |elements: &mut listpack::Iter<'_>| elements.next()?.to_int();
    let (live, deleted) = (integer(&mut elements)?, integer(&mut elements)?);
    let fields = integer(&mut elements)?;
    pass(&mut elements, fields)?;
    if live < 0 || deleted < 0 || integer(&mut elements)? != 0 {
        return None;
    }
    let (mut last, mut entries, mut marked) = (None, 0i64, 0i64);
    while elements.position() < pack.end() {
        let flags = integer(&mut elements)?;
        let (ms, seq) = (integer(&mut elements)?, integer(&mut elements)?);
        let same = flags & SAME_FIELDS != 0;
        let own = if same { fields } else { integer(&mut elements)? };
        let body = if same { own } else { own.checked_mul(2)? };
        pass(&mut elements, body)?;
        let count = body.checked_add(if same { 3 } else { 4 })?;
        let id = StreamId::at_delta(master, ms, seq);
        if integer(&mut elements)? != count || Some(id) <= last {
            return None;
        }
        last = Some(id);
        entries += 1;
        marked += i64::from(flags & DELETED != 0);
    }
    (live.checked_add(deleted)? == entries && marked == deleted).then_some(live as u64)
}

/// Passes over `count` elements. None if there are not as many.
fn pass(elements: &mut listpack::Iter<'_>, count: i64) -> Option<()> {
    for _ in 0..u64::try_from(count).ok()? {
        elements.next()?;
    }
    Some(())
}
