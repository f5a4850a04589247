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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::persist::rdb::Encoder;
    use crate::types::ValueRef;

    /// What Redis 8.0.6 answers to DUMP, with its type and without its end: two blocks, a deleted
    /// entry, one with fields of its own, a group with three consumers, and one without any.
    const DUMPED: &str = "15021000000000000000010000000000000001404b4b0000001800020101010101856669656c64060001020100 \
     0100018576616c7565060401030100010101f139300304010001000102010201856f7468657206817802817902 \
     817a020801ff10000000000000000200000000000000014088880000000f00020100010101856669656c640600 \
     010201000100018576616c7565060401020101010001e058616161616161616161616161616161616161616161 \
     616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161 \
     616161616161616161616161616161616161616161615a0401ff04030101010102050205656d70747903010500 \
     000167020181ffffffffffffffff030000000000000001000000000000000140420f0000000000090000000000 \
     0000010000000000000003ab699304a20100000100000000000000020000000000000001ab699304a201000001 \
     03026331ab699304a2010000ab699304a201000002000000000000000100000000000000010000000000000001 \
     0000000000000003026332ab699304a2010000ab699304a2010000010000000000000002000000000000000104 \
     69646c65ab699304a2010000ffffffffffffffff00";

    fn dumped() -> Vec<u8> {
        let digits: Vec<u8> = DUMPED.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("digits are ASCII");
            u8::from_str_radix(text, 16).expect("it is a number")
        };
        digits.chunks(2).map(byte).collect()
    }

    fn decoded(bytes: &[u8]) -> Result<Value, Malformed> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte()?;
        match stream(&mut reader, kind)? {
            Collection::Boxed(value) => Ok(*value),
            Collection::Packed(..) => Err(Malformed),
        }
    }

    fn encoded(value: &Value, version: u16) -> Vec<u8> {
        let mut encoder = Encoder::new(version, false);
        encoder.byte(encoder.kind(ValueRef::of(value)));
        encoder.value(ValueRef::of(value));
        encoder.into_pieces().concat()
    }

    #[test]
    fn what_a_stock_server_wrote_is_read_and_written_again() {
        let value = decoded(&dumped()).expect("it is well-formed");
        assert_eq!(encoded(&value, 12), dumped());
        // Older versions lose what they do not know, but no entry and nothing pending.
        for version in [9, 10] {
            let older = decoded(&encoded(&value, version)).expect("it is well-formed");
            let (Value::Stream(older), Value::Stream(value)) = (&older, &value) else {
                unreachable!("they are streams");
            };
            assert_eq!(older.facts().last_id, value.facts().last_id);
            assert_eq!(older.facts().first_id, value.facts().first_id);
            assert!(older.blocks().eq(value.blocks()));
            for ((name, one), (other_name, other)) in older.groups.iter().zip(value.groups.iter()) {
                assert_eq!(name, other_name);
                assert!(one.pending().iter().eq(other.pending().iter()));
            }
        }
    }

    proptest! {
        #[test]
        fn damaged_streams_are_refused_or_read(at: prop::sample::Index, byte: u8, cut in 0usize..9) {
            let mut bytes = dumped();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut);
            if let Ok(value) = decoded(&bytes) {
                encoded(&value, 12);
            }
        }
    }
}
