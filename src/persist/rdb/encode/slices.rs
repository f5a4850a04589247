//! Writes a large value in steps, between which others may run.
//! Invariant: the value is the writer's own clone, which nobody changes; the steps together write
//! what `Encoder::value` writes. A step is bounded by its units: about an element each.

use super::Encoder;
use crate::encoding::dict::Dict;
use crate::persist::rdb::opcode;
use crate::types::list::Contents;
use crate::types::stream::{Stream, StreamId};
use crate::types::zset::ZSetRef;
use crate::types::{Packing, Value, ValueRef};

/// A value that is being written.
pub struct Slices {
    value: Box<Value>,
    at: At,
}

/// How far it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Not at all.
    Start,
    /// Nodes of a list up to this one, or members of a sorted set from this rank on.
    Index(u64),
    /// Elements of a dict before this cursor.
    Cursor(u64),
    /// Blocks of a stream before this one.
    Block(StreamId),
    /// Pending entries of this group before this one.
    Pending(usize, StreamId),
    /// Of this group the consumers before this one, and its pending entries before this one.
    Consumer(usize, usize, StreamId),
    /// All of it.
    Done,
}

impl Slices {
    /// Nothing is written yet.
    pub fn new(value: Box<Value>) -> Self {
        Self { value, at: At::Start }
    }

    /// True if all of it is written.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// The value, to be freed.
    pub fn into_value(self) -> Box<Value> {
        self.value
    }

    /// Writes about `units` elements; always something.
    pub fn step(&mut self, encoder: &mut Encoder, units: usize) {
        let units = units.max(1);
        self.at = match &*self.value {
            Value::String(_) | Value::Packed(..) => {
                encoder.value(ValueRef::of(&self.value));
                At::Done
            }
            Value::Set(dict) => dict_step(encoder, dict, self.at, units, false),
            Value::Hash(dict) => dict_step(encoder, dict, self.at, units, true),
            Value::List(list) => {
                let from = if let At::Index(index) = self.at {
                    index
                } else {
                    encoder.list_head(list);
                    0
                };
                // A node has up to some hundred elements.
                let count = units.div_ceil(UNITS_PER_NODE);
                list.visit_nodes_from(from as usize, count, |node| encoder.list_node(&node));
                let next = from + count as u64;
                if next < list.node_count() as u64 { At::Index(next) } else { At::Done }
            }
            Value::SortedSet(set) => {
                let to = if let At::Index(rank) = self.at {
                    rank
                } else {
                    encoder.length(set.len());
                    set.len()
                };
                let from = to.saturating_sub(units as u64);
                ZSetRef::Tree(set).visit((from, to), true, |pair| {
                    encoder.element(pair.member);
                    encoder.raw(&pair.score.to_le_bytes());
                });
                if from > 0 { At::Index(from) } else { At::Done }
            }
            Value::Stream(stream) => stream_step(encoder, stream, self.at, units),
        };
    }
}

impl Encoder {
    fn list_head(&mut self, list: &crate::types::QuickList) {
        let by_node = self.packed_kind(Packing::List) == opcode::LIST_QUICKLIST_2;
        self.length(if by_node { list.node_count() as u64 } else { list.len() });
    }

    /// One node of a list.
    pub(super) fn list_node(&mut self, node: &Contents<'_>) {
        let by_node = self.packed_kind(Packing::List) == opcode::LIST_QUICKLIST_2;
        match node {
            Contents::Packed(pack) if by_node => {
                self.length(opcode::NODE_PACKED);
                self.string(pack.bytes());
            }
            Contents::Packed(pack) => pack.iter().for_each(|element| self.element(element)),
            Contents::Plain(item) => {
                if by_node {
                    self.length(opcode::NODE_PLAIN);
                }
                self.item(*item);
            }
        }
    }
}

fn dict_step(encoder: &mut Encoder, dict: &Dict, at: At, units: usize, is_hash: bool) -> At {
    let timed = encoder.version >= 12 && dict.volatile_len() > 0;
    let next = dict.next_expiry().filter(|_| is_hash && timed);
    let cursor = if let At::Cursor(cursor) = at {
        cursor
    } else {
        if let Some(next) = next {
            encoder.millis(next);
        }
        encoder.length(dict.len() as u64);
        0
    };
    let cursor = dict.scan(cursor, units, |pair| {
        if let Some(next) = next {
            encoder.length(pair.expiry.map_or(0, |expiry| (expiry - next + 1) as u64));
        }
        encoder.string(pair.field);
        if is_hash {
            encoder.string(pair.value);
        }
    });
    if cursor == 0 { At::Done } else { At::Cursor(cursor) }
}

fn stream_step(encoder: &mut Encoder, stream: &Stream, at: At, units: usize) -> At {
    match at {
        At::Consumer(group, consumer, from) => {
            consumer_step(encoder, stream, (group, consumer, from), units)
        }
        At::Pending(group, from) => {
            let Some((_, found)) = stream.groups.iter().nth(group) else { return At::Done };
            let mut pending = found.pending().iter_from(from);
            pending.by_ref().take(units).for_each(|(id, nack)| encoder.nack(id, nack));
            if let Some((id, _)) = pending.next() {
                return At::Pending(group, id);
            }
            encoder.length(found.consumers().len() as u64);
            begin_consumer(encoder, stream, group, 0)
        }
        _ => {
            let from = if let At::Block(id) = at {
                id
            } else {
                encoder.length(stream.block_count() as u64);
                StreamId::MIN
            };
            // A block has about a hundred entries.
            let count = units.div_ceil(UNITS_PER_NODE);
            let mut blocks = stream.blocks_from(from);
            blocks.by_ref().take(count).for_each(|(id, bytes)| encoder.stream_block(id, bytes));
            if let Some((id, _)) = blocks.next() {
                return At::Block(id);
            }
            encoder.stream_facts(stream);
            begin_group(encoder, stream, 0)
        }
    }
}

fn begin_group(encoder: &mut Encoder, stream: &Stream, number: usize) -> At {
    let Some((name, group)) = stream.groups.iter().nth(number) else { return At::Done };
    encoder.group_head(name, group);
    At::Pending(number, StreamId::MIN)
}

fn begin_consumer(encoder: &mut Encoder, stream: &Stream, group: usize, number: usize) -> At {
    let found = stream.groups.iter().nth(group).map(|(_, group)| group);
    match found.and_then(|group| group.consumers().nth(number)) {
        None => begin_group(encoder, stream, group + 1),
        Some(consumer) => {
            encoder.consumer_head(consumer);
            At::Consumer(group, number, StreamId::MIN)
        }
    }
}

fn consumer_step(
    encoder: &mut Encoder,
    stream: &Stream,
    (group, number, from): (usize, usize, StreamId),
    units: usize,
) -> At {
    let found = stream.groups.iter().nth(group).map(|(_, group)| group);
    let Some(consumer) = found.and_then(|group| group.consumers().nth(number)) else {
        return At::Done;
    };
    let mut pending = consumer.pending_from(from);
    pending.by_ref().take(units).for_each(|id| encoder.raw(&id.to_be_bytes()));
    match pending.next() {
        Some(id) => At::Consumer(group, number, id),
        None => begin_consumer(encoder, stream, group, number + 1),
    }
}

/// Elements of a list's node, or of a stream's block, about.
const UNITS_PER_NODE: usize = 64;
