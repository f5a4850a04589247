//! Streams: entries of fields and values by ascending id, in blocks; and the groups that read them.
//! Invariant: blocks ascend by the id of their first entry, which is the id of the block; entries
//! ascend within them; `length` counts the entries that are not deleted.
//! Source: XADD, XDEL, XTRIM and XINFO of a stock server, including which whole blocks it trims.

mod block;
pub mod group;
pub mod id;
mod lag;
mod ordered;
mod radix;
mod range;
mod stored;
#[cfg(test)]
mod tests;

pub use block::validate as validate_block;
pub use group::{Consumer, Group, Groups, Nack};
pub use id::{NewId, StreamId};
pub use ordered::Ordered;
pub use range::Range;

use super::WrongType;
use super::place::Place;
use super::value::{Value, ValueRef};
use block::{Block, Deletion};
use ordered::Spot;
use stored::Stored;

/// A stream. Cloning it shares the blocks.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    blocks: Ordered<Stored>,
    facts: Facts,
    /// Its consumer groups.
    pub groups: Groups,
}

/// What a stream knows of itself beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Entries that are not deleted.
    pub length: u64,
    /// The id given last, or set by XSETID.
    pub last_id: StreamId,
    /// The first entry that is not deleted; zero without one.
    pub first_id: StreamId,
    /// The highest id that XDEL deleted.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
}

/// When a block is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// stream-node-max-bytes; 0 is no limit.
    pub node_max_bytes: u64,
    /// stream-node-max-entries; 0 is no limit.
    pub node_max_entries: u64,
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// There is no id behind the last one.
    Exhausted,
    /// The id is not above the last one.
    NotAbove,
    /// More bytes than a block can hold.
    TooLarge,
}

/// What is to remain of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// The last so many entries.
    MaxLen(u64),
    /// The entries from this id on.
    MinId(StreamId),
}

impl Stream {
    /// A stream without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream of blocks, as RDB has them, without groups. Where `facts` has no first id, it is looked
    /// for. None if a block is malformed or not behind the last, or if they have not as many entries
    /// as `facts` says.
    pub fn from_blocks(
        blocks: impl IntoIterator<Item = (StreamId, Vec<u8>)>,
        facts: Facts,
    ) -> Option<Self> {
        let mut stream = Stream { facts, ..Self::default() };
        let (mut last, mut live) = (None, 0u64);
        for (id, bytes) in blocks {
            live = live.checked_add(block::validate(id, &bytes)?)?;
            if last.is_some_and(|last| id <= last) {
                return None;
            }
            last = Some(id);
            stream.blocks.insert(id, Stored::open(bytes));
            stored::seal(stream.blocks.last_leaf_mut());
        }
        if facts.first_id.is_zero() {
            stream.find_first();
        }
        (live == facts.length).then_some(stream)
    }

    /// The stream that a value is.
    #[inline]
    pub fn of(value: ValueRef<'_>) -> Result<&Stream, WrongType> {
        match value {
            ValueRef::Boxed(Value::Stream(stream)) => Ok(stream),
            _ => Err(WrongType),
        }
    }

    /// The stream in a place, to be changed.
    #[inline]
    pub fn of_mut(place: &mut impl Place) -> Result<&mut Stream, WrongType> {
        match place.boxed_mut() {
            Some(Value::Stream(stream)) => Ok(stream),
            _ => Err(WrongType),
        }
    }

    /// What it knows of itself.
    #[inline]
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Entries that are not deleted.
    #[inline]
    pub fn len(&self) -> u64 {
        self.facts.length
    }

    /// True without an entry.
    pub fn is_empty(&self) -> bool {
        self.facts.length == 0
    }

    /// The blocks with their ids, as RDB keeps them.
    pub fn blocks(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.blocks.iter().map(|(id, bytes)| (id, &bytes[..]))
    }

    /// The same from block `id` on.
    pub fn blocks_from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.blocks.iter_from(id).map(|(id, bytes)| (id, &bytes[..]))
    }

    /// How many blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Nodes of the radix tree in which a stock server would keep these blocks. O(blocks).
    pub fn radix_tree_nodes(&self) -> usize {
        radix::nodes(self.blocks.iter().map(|(id, _)| id.to_be_bytes()))
    }

    /// Adds an entry at the end; `now` is the time for ids that are not given. Returns its id.
    pub fn append<'f>(
        &mut self,
        id: NewId,
        now: u64,
        limits: Limits,
        pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])> + Clone,
    ) -> Result<StreamId, AppendError> {
        let id = self.new_id(id, now)?;
        let bytes = pairs.clone().map(|(field, value)| (field.len() + value.len()) as u64).sum();
        if bytes > BLOCK_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let limit = match limits.node_max_bytes {
            0 => BLOCK_BYTES_MAX,
            limit => limit.min(BLOCK_BYTES_MAX),
        };
        match self.open_block(bytes, limit, limits.node_max_entries) {
            Some(spot) => {
                let master = self.blocks.at(spot).0;
                let block = self.blocks.at_mut(spot).change();
                block::append(block, master, id, pairs, limit as usize);
            }
            None => {
                self.blocks.insert(id, Stored::open(block::new_block(pairs)));
            }
        }
        let facts = &mut self.facts;
        facts.length += 1;
        facts.entries_added = facts.entries_added.wrapping_add(1);
        facts.last_id = id;
        if facts.length == 1 {
            facts.first_id = id;
        }
        Ok(id)
    }

    /// The id of the next entry.
    fn new_id(&self, id: NewId, now: u64) -> Result<StreamId, AppendError> {
        let last = self.facts.last_id;
        let next = last.next().ok_or(AppendError::Exhausted)?;
        let id = match id {
            NewId::Auto if now > last.ms => StreamId::new(now, 0),
            NewId::Auto => next,
            // Behind the last number of a millisecond there is none that belongs to it.
            NewId::AutoSeq(ms) if ms == last.ms && ms == next.ms => next,
            NewId::AutoSeq(ms) => StreamId::new(ms, 0),
            NewId::Given(id) => id,
        };
        if id > last { Ok(id) } else { Err(AppendError::NotAbove) }
    }

    /// The last block, if it has room for an entry of so many bytes. One that has none gives back
    /// what it holds ahead.
    #[inline]
    fn open_block(&mut self, bytes: u64, limit: u64, max_entries: u64) -> Option<Spot> {
        let last = self.blocks.last()?;
        let (master, block) = self.blocks.at(last);
        let is_full = block.len() as u64 + bytes >= limit
            || max_entries > 0 && Block::new(master, block).entries() >= max_entries;
        if !is_full {
            return Some(last);
        }
        stored::seal(self.blocks.last_leaf_mut());
        None
    }

    /// Deletes the entries with these ids; tells how many there were. Source: XDEL.
    pub fn delete(&mut self, ids: impl IntoIterator<Item = StreamId>) -> u64 {
        let (mut deleted, mut first_went) = (0, false);
        for id in ids {
            if !self.delete_one(id) {
                continue;
            }
            first_went |= id == self.facts.first_id;
            self.facts.max_deleted_id = self.facts.max_deleted_id.max(id);
            deleted += 1;
        }
        if self.is_empty() || first_went {
            self.find_first();
        }
        deleted
    }

    fn delete_one(&mut self, id: StreamId) -> bool {
        let Some(spot) = self.blocks.at_or_before(id) else { return false };
        let master = self.blocks.at(spot).0;
        if !Block::new(master, self.blocks.at(spot).1).has_live(id) {
            return false;
        }
        match block::delete(self.blocks.at_mut(spot).change(), master, id) {
            Deletion::Missing => return false,
            Deletion::Marked => {}
            Deletion::LastOne => drop(self.blocks.remove_at(spot)),
        }
        self.facts.length = self.facts.length.saturating_sub(1);
        true
    }

    /// Deletes entries at the front: whole blocks only if `approximately`, and no further block when
    /// more than `limit` entries would go (0: no limit). Returns how many went, and the blocks that
    /// held them, to be freed. Source: XTRIM.
    pub fn trim(&mut self, trim: Trim, approximately: bool, limit: u64) -> (u64, Stream) {
        let (mut length, mut deleted) = (self.facts.length, 0u64);
        let mut spot = self.blocks.first();
        let mut cut = None;
        while let Some(at) = spot {
            let (master, bytes) = self.blocks.at(at);
            let block = Block::new(master, bytes);
            let goes = match trim {
                Trim::MaxLen(max) if length <= max => break,
                Trim::MaxLen(max) => length.saturating_sub(block.live()) >= max,
                Trim::MinId(min) => block.last_id().unwrap_or_default() < min,
            };
            if limit > 0 && deleted.saturating_add(block.live()) > limit {
                break;
            }
            if !goes {
                cut = (!approximately).then_some(at);
                break;
            }
            length = length.saturating_sub(block.live());
            deleted += block.live();
            spot = self.blocks.next(at);
        }
        if let Some(at) = cut {
            deleted += self.trim_block(at, trim, &mut length);
        }
        let blocks = match spot.map(|spot| self.blocks.at(spot).0) {
            Some(first) => self.blocks.split_front(first),
            None => std::mem::take(&mut self.blocks),
        };
        self.facts.length = length;
        if deleted > 0 {
            self.find_first();
        }
        (deleted, Stream { blocks, ..Stream::default() })
    }

    /// Deletes the first entries of a block of which not all are to go.
    fn trim_block(&mut self, spot: Spot, trim: Trim, length: &mut u64) -> u64 {
        let master = self.blocks.at(spot).0;
        let first_live = Range::new(&self.blocks, master, StreamId::MAX, false).next();
        let goes = |length: &mut u64, id: StreamId| {
            let goes = match trim {
                Trim::MaxLen(max) => *length > max,
                Trim::MinId(min) => id < min,
            };
            *length = length.saturating_sub(u64::from(goes));
            goes
        };
        if !first_live.is_some_and(|(id, _)| goes(&mut length.clone(), id)) {
            return 0;
        }
        let block = self.blocks.at_mut(spot).change();
        block::delete_front(block, master, |id| goes(length, id))
    }

    fn find_first(&mut self) {
        self.facts.first_id = if self.is_empty() {
            StreamId::MIN
        } else {
            self.entries().first().unwrap_or(StreamId::MAX)
        };
    }

    /// Its entries.
    #[inline]
    pub fn entries(&self) -> Entries<'_> {
        Entries(&self.blocks)
    }

    /// Its entries, and its groups to be changed meanwhile.
    #[inline]
    pub fn with_groups(&mut self) -> (Entries<'_>, &mut Groups) {
        (Entries(&self.blocks), &mut self.groups)
    }

    /// Sets what XSETID sets; the caller has compared it with the entries.
    pub fn set_id(&mut self, last: StreamId, added: Option<u64>, max_deleted: Option<StreamId>) {
        self.facts.last_id = last;
        self.facts.entries_added = added.unwrap_or(self.facts.entries_added);
        self.facts.max_deleted_id = max_deleted.unwrap_or(self.facts.max_deleted_id);
    }

    /// Bytes allocated, where nothing is shared.
    pub fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|(_, block)| block.bytes()).sum();
        blocks + self.blocks.bytes() + self.groups.bytes()
    }

    /// Frees up to `units` blocks and leaves of pending entries; returns the units left.
    pub fn free_slice(&mut self, units: usize) -> usize {
        let mut left = units;
        while left > 0 && self.blocks.pop_last().is_some() {
            left -= 1;
        }
        self.groups.free_slice(left)
    }
}

/// Groups that have left their stream, to be freed like one.
impl From<Groups> for Stream {
    fn from(groups: Groups) -> Self {
        Stream { groups, ..Stream::default() }
    }
}

/// The entries of a stream.
#[derive(Clone, Copy)]
pub struct Entries<'a>(&'a Ordered<Stored>);

impl<'a> Entries<'a> {
    /// The entries from `start` to `end`, both included, or in the other direction.
    #[inline]
    pub fn range(self, start: StreamId, end: StreamId, backward: bool) -> Range<'a> {
        Range::new(self.0, start, end, backward)
    }

    /// The id of the first one.
    pub fn first(self) -> Option<StreamId> {
        Some(self.range(StreamId::MIN, StreamId::MAX, false).next()?.0)
    }

    /// The id of the last one.
    #[inline]
    pub fn last(self) -> Option<StreamId> {
        Some(self.range(StreamId::MIN, StreamId::MAX, true).next()?.0)
    }

    /// The id of the first one, deleted or not.
    pub fn first_remembered(self) -> Option<StreamId> {
        let (id, bytes) = self.0.at(self.0.first()?);
        let block = Block::new(id, bytes);
        block.item(block.first()).map(|item| item.id)
    }

    /// True if there is one with this id.
    pub fn contains(self, id: StreamId) -> bool {
        self.0.at_or_before(id).is_some_and(|spot| {
            let (master, bytes) = self.0.at(spot);
            Block::new(master, bytes).has_live(id)
        })
    }
}

/// A block above this could not be loaded by a stock server.
const BLOCK_BYTES_MAX: u64 = 1 << 30;
