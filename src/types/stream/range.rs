//! A walk over the entries of a stream, in either direction.
//! Invariant: deleted entries are passed over; what is not read of an entry is skipped.

use super::block::{Block, Item};
use super::id::StreamId;
use super::ordered::{Ordered, Spot};
use super::stored::Stored;
use crate::encoding::listpack::Element;

/// The entries from one id to another. `next` goes to an entry, `field` reads it.
#[derive(Clone)]
pub struct Range<'a> {
    blocks: &'a Ordered<Stored>,
    /// The block that is opened next.
    spot: Option<Spot>,
    block: Option<Block<'a>>,
    start: StreamId,
    end: StreamId,
    backward: bool,
    /// Forward: the next element, `left` fields before the end of an entry if `is_inside`.
    at: usize,
    /// Backward: where the next entry ends.
    edge: usize,
    is_inside: bool,
    left: usize,
    /// The fields are the master's, which are read from `field_at`.
    same_fields: bool,
    field_at: usize,
}

impl<'a> Range<'a> {
    pub(super) fn new(
        blocks: &'a Ordered<Stored>,
        start: StreamId,
        end: StreamId,
        backward: bool,
    ) -> Self {
        let spot = match backward {
            false if start.is_zero() => blocks.first(),
            false => blocks.at_or_before(start).or_else(|| blocks.first()),
            true if end == StreamId::MAX => blocks.last(),
            true => blocks.at_or_before(end),
        };
        Range {
            blocks,
            spot,
            block: None,
            start,
            end,
            backward,
            at: 0,
            edge: 0,
            is_inside: false,
            left: 0,
            same_fields: false,
            field_at: 0,
        }
    }

    /// Goes to the next entry: its id and how many fields it has.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<(StreamId, usize)> {
        loop {
            let Some(block) = self.block else {
                self.open()?;
                continue;
            };
            let Some(item) = self.step(&block) else {
                self.block = None;
                self.is_inside = false;
                continue;
            };
            let is_past = if self.backward { item.id < self.start } else { item.id > self.end };
            if is_past {
                self.spot = None;
                self.block = None;
                return None;
            }
            let is_before = if self.backward { item.id > self.end } else { item.id < self.start };
            if !is_before && !item.is_deleted {
                return Some((item.id, item.fields));
            }
        }
    }

    /// The next field and value of the entry. None behind the last.
    #[inline]
    pub fn field(&mut self) -> Option<(Element<'a>, Element<'a>)> {
        let block = self.block?;
        self.left = self.left.checked_sub(1)?;
        let field;
        if self.same_fields {
            (field, self.field_at) = block.element(self.field_at);
        } else {
            (field, self.at) = block.element(self.at);
        }
        let value;
        (value, self.at) = block.element(self.at);
        Some((field, value))
    }

    /// Opens the next block.
    fn open(&mut self) -> Option<()> {
        let spot = self.spot?;
        let (master, bytes) = self.blocks.at(spot);
        let block = Block::new(master, bytes);
        self.at = block.first();
        self.edge = block.end();
        self.block = Some(block);
        self.spot = if self.backward { self.blocks.previous(spot) } else { self.blocks.next(spot) };
        Some(())
    }

    /// Enters the next entry of the block.
    #[inline]
    fn step(&mut self, block: &Block<'a>) -> Option<Item> {
        let item = if self.backward {
            let item = block.item_before(self.edge)?;
            self.edge = item.at;
            item
        } else {
            if self.is_inside {
                let elements = if self.same_fields { self.left } else { self.left * 2 };
                self.at = block.behind_elements(self.at, elements);
            }
            block.item(self.at)?
        };
        self.is_inside = true;
        self.at = item.body;
        self.left = item.fields;
        self.same_fields = item.same_fields;
        self.field_at = block.master_fields();
        Some(item)
    }
}
