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
use crate::persist::rdb::opcode;
use crate::types::stream::{Group, Stream, StreamId};

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
        for (id, bytes) in stream.blocks() {
            self.string(&id.to_be_bytes());
            self.string(bytes);
        }
        let facts = stream.facts();
        self.length(facts.length);
        self.stream_id(facts.last_id);
        if self.version >= 10 {
            self.stream_id(facts.first_id);
            self.stream_id(facts.max_deleted_id);
            self.length(facts.entries_added);
        }
        self.length(stream.groups.len() as u64);
        for (name, group) in stream.groups.iter() {
            self.string(name);
            self.group(group);
        }
    }

    fn group(&mut self, group: &Group) {
        self.stream_id(group.last_id);
        if self.version >= 10 {
            self.length(group.entries_read.unwrap_or(UNKNOWN));
        }
        self.length(group.pending().len() as u64);
        for (id, nack) in group.pending().iter() {
            self.raw(&id.to_be_bytes());
            self.millis(nack.delivered.0);
            self.length(nack.count);
        }
        self.length(group.consumers().len() as u64);
        for consumer in group.consumers() {
            self.string(&consumer.name);
            self.millis(consumer.seen.0);
            if self.version >= 11 {
                self.millis(consumer.active.map_or(NEVER, |active| active.0));
            }
            self.length(consumer.pending() as u64);
            for id in consumer.pending_from(StreamId::MIN) {
                self.raw(&id.to_be_bytes());
            }
        }
    }

    fn stream_id(&mut self, id: StreamId) {
        self.length(id.ms);
        self.length(id.seq);
    }
}

/// A counter that is not known: -1 as it is written.
const UNKNOWN: u64 = u64::MAX;
/// When something happened that never did.
const NEVER: i64 = -1;
