//! Streams: blocks as they lie in memory, facts, groups.
//! Invariant: an older version gets what it knows; nothing that it needs is missing.
//! Source: see `rdb`.
//!
//! ```text
//! stream:   | blocks | id 16, listpack ... | length | last id | (2: first id | max deleted id |
//!           entries added |) groups | group ... |              an id is two lengths, or 16 bytes
//! group:    | name | last id | (2: entries read |) pending | id 16, time, count ... | consumers |
//!           consumer ... |
//! consumer: | name | seen | (3: active |) pending | id 16 ... |
//! ```

use super::Encoder;
use crate::persist::rdb::{VERSION_MIN, opcode};
use crate::types::stream::{Consumer, Group, Nack, Stream, StreamId};

impl Encoder {
    /// The type of streams in this version.
    pub(super) fn stream_kind(&self) -> u8 {
        match self.version {
            ..10 => opcode::STREAM,
            10 => opcode::STREAM_2,
            _ => opcode::STREAM_3,
        }
    }

    pub(super) fn stream(&mut self, stream: &Stream) {
        self.length(stream.block_count() as u64);
        stream.blocks().for_each(|(id, bytes)| self.stream_block(id, bytes));
        self.stream_facts(stream);
        for (name, group) in stream.groups.iter() {
            self.group_head(name, group);
            group.pending().iter().for_each(|(id, nack)| self.nack(id, nack));
            self.length(group.consumers().len() as u64);
            for consumer in group.consumers() {
                self.consumer_head(consumer);
                let pending = consumer.pending_from(StreamId::MIN);
                pending.for_each(|id| self.raw(&id.to_be_bytes()));
            }
        }
    }

    pub(super) fn stream_block(&mut self, id: StreamId, bytes: &[u8]) {
        self.string(&id.to_be_bytes());
        self.string(bytes);
    }

    /// What stands between the blocks and the groups.
    pub(super) fn stream_facts(&mut self, stream: &Stream) {
        let facts = stream.facts();
        self.length(facts.length);
        self.stream_id(facts.last_id);
        if self.version >= 10 {
            self.stream_id(facts.first_id);
            self.stream_id(facts.max_deleted_id);
            self.length(facts.entries_added);
        }
        self.length(stream.groups.len() as u64);
    }

    /// A group up to the first of its pending entries.
    pub(super) fn group_head(&mut self, name: &[u8], group: &Group) {
        self.string(name);
        self.stream_id(group.last_id);
        if self.version >= 10 {
            self.length(group.entries_read.unwrap_or(UNKNOWN));
        }
        self.length(group.pending().len() as u64);
    }

    pub(super) fn nack(&mut self, id: StreamId, nack: &Nack) {
        self.raw(&id.to_be_bytes());
        self.millis(nack.delivered.0);
        self.length(nack.count);
    }

    /// A consumer up to the first of its pending entries.
    pub(super) fn consumer_head(&mut self, consumer: &Consumer) {
        self.string(&consumer.name);
        self.millis(consumer.seen.0);
        if self.version >= 11 {
            self.millis(consumer.active.map_or(NEVER, |active| active.0));
        }
        self.length(consumer.pending() as u64);
    }

    fn stream_id(&mut self, id: StreamId) {
        self.length(id.ms);
        self.length(id.seq);
    }
}

/// The lowest version that carries a stream: 9 counts nothing, 10 does not know when consumers were
/// active. What it does not have is put together when it is read.
pub(super) fn version_for(stream: &Stream) -> u16 {
    let facts = stream.facts();
    let mut groups = stream.groups.iter().map(|(_, group)| group);
    let is_active = |consumer: &Consumer| consumer.active != Some(consumer.seen);
    if groups.clone().any(|group| group.consumers().any(is_active)) {
        return 11;
    }
    let counts = facts.entries_added != facts.length
        || facts.max_deleted_id != StreamId::MIN
        || groups.any(|group| group.entries_read != facts.entries_up_to(group.last_id));
    if counts { 10 } else { VERSION_MIN }
}

/// A counter that is not known: -1 as it is written.
const UNKNOWN: u64 = u64::MAX;
/// When something happened that never did.
const NEVER: i64 = -1;
