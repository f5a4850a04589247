//! Streams: see `encode/stream.rs` for the layout.
//! Invariant: blocks are walked to their end before they are taken over; every pending entry has
//! one consumer, and every consumer's entry is pending.
//! Source: see `rdb`.

use std::collections::BTreeMap;

use crate::base::time::Millis;
use crate::persist::rdb::{Malformed, Reader, opcode};
use crate::types::stream::{Facts, Group, Nack, Stream, StreamId};
use crate::types::{Collection, Value};

pub(super) fn stream(reader: &mut Reader<'_>, kind: u8) -> Result<Collection, Malformed> {
    let count = reader.length()?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        let id = reader.string()?;
        let id = <[u8; 16]>::try_from(&id[..]).map_err(|_| Malformed)?;
        blocks.push((StreamId::from_be_bytes(id), reader.string()?.into_owned()));
    }
    let mut facts = Facts { length: reader.length()?, last_id: id(reader)?, ..Facts::default() };
    facts.entries_added = facts.length;
    if kind != opcode::STREAM {
        facts.first_id = id(reader)?;
        facts.max_deleted_id = id(reader)?;
        facts.entries_added = reader.length()?;
    }
    let mut stream = Stream::from_blocks(blocks, facts).ok_or(Malformed)?;
    for _ in 0..reader.length()? {
        let name = reader.string()?;
        let group = group(reader, kind, stream.facts())?;
        if !stream.groups.create(&name, group) {
            return Err(Malformed);
        }
    }
    Ok(Collection::Boxed(Box::new(Value::Stream(stream))))
}

fn group(reader: &mut Reader<'_>, kind: u8, facts: Facts) -> Result<Group, Malformed> {
    let last_id = id(reader)?;
    let entries_read = match kind {
        // It was not counted then: what can be known now.
        opcode::STREAM => facts.entries_up_to(last_id),
        _ => Some(reader.length()?).filter(|read| i64::try_from(*read).is_ok()),
    };
    let mut pending = BTreeMap::new();
    for _ in 0..reader.length()? {
        let id = StreamId::from_be_bytes(reader.array()?);
        let delivery = (Millis(reader.millis()?), reader.length()?);
        if pending.insert(id, delivery).is_some() {
            return Err(Malformed);
        }
    }
    let mut group = Group::new(last_id, entries_read);
    for _ in 0..reader.length()? {
        consumer(reader, kind, &mut group, &mut pending)?;
    }
    if pending.is_empty() { Ok(group) } else { Err(Malformed) }
}

/// Reads a consumer, and takes what it has from the deliveries that belong to nobody yet.
fn consumer(
    reader: &mut Reader<'_>,
    kind: u8,
    group: &mut Group,
    pending: &mut BTreeMap<StreamId, (Millis, u64)>,
) -> Result<(), Malformed> {
    let name = reader.string()?;
    let seen = Millis(reader.millis()?);
    let active = match kind {
        opcode::STREAM_3 => Some(Millis(reader.millis()?)).filter(|active| active.0 != -1),
        _ => Some(seen),
    };
    let consumer = group.create(&name, seen).ok_or(Malformed)?;
    group.consumer_mut(consumer).active = active;
    for _ in 0..reader.length()? {
        let id = StreamId::from_be_bytes(reader.array()?);
        let (delivered, count) = pending.remove(&id).ok_or(Malformed)?;
        group.put(id, Nack { delivered, count, consumer });
    }
    Ok(())
}

fn id(reader: &mut Reader<'_>) -> Result<StreamId, Malformed> {
    Ok(StreamId::new(reader.length()?, reader.length()?))
}
