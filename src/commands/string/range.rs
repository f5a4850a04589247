//! Strings: parts of them.

use bytes::Bytes;

use super::new_value;
use crate::command::args::ArgValue;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::{EntryMut, NewValue};
use crate::types::{Value, WrongType};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "APPEND",
        summary: "Adds bytes to the end of a string; a missing key counts as empty.",
        since: "2.0.0",
        complexity: "O(N) for N added bytes",
        arity: Arity::Exactly(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::INSERT))],
        arguments: &[Argument::key("key", 0), Argument::new("value", ArgumentKind::String)],
        handler: Handler::Keyed(append),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "GETRANGE",
        summary: "Reads a part of a string.",
        since: "2.4.0",
        arguments: RANGE_ARGUMENTS,
        handler: Handler::Keyed(getrange),
        ..RANGE
    },
    Command {
        name: "SETRANGE",
        summary: "Overwrites a part of a string; a gap before it is filled with zeros.",
        since: "2.2.0",
        complexity: "O(N) for N written bytes",
        arity: Arity::Exactly(4),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("offset", ArgumentKind::Integer),
            Argument::new("value", ArgumentKind::String),
        ],
        handler: Handler::Keyed(setrange),
        ..Command::BASE
    },
    Command {
        name: "SUBSTR",
        summary: "Reads a part of a string.",
        since: "1.0.0",
        deprecated: Some(("2.0.0", "`GETRANGE`")),
        arguments: RANGE_ARGUMENTS,
        handler: Handler::Keyed(getrange),
        ..RANGE
    },
];

/// What GETRANGE and its old name SUBSTR have in common.
const RANGE: Command = Command {
    complexity: "O(N) for N read bytes",
    arity: Arity::Exactly(4),
    group: Group::String,
    flags: Flags::READONLY,
    acl: Acl::STRING,
    keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
    ..Command::BASE
};

const RANGE_ARGUMENTS: &[Argument] = &[
    Argument::key("key", 0),
    Argument::new("start", ArgumentKind::Integer),
    Argument::new("end", ArgumentKind::Integer),
];

fn append(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let added = args.value(2);
    let max = cx.config.proto_max_bulk_len;
    let Some(mut entry) = cx.write(&key) else {
        cx.set(&key, new_value(added), None);
        cx.event(EventClass::String, "append", &key);
        reply.count(added.len());
        return Ok(());
    };
    let len = checked_len(entry.view().str_len()?, added.len(), max)?;
    append_value(&mut entry, added)?;
    cx.changed(EventClass::String, "append", &key);
    reply.count(len);
    Ok(())
}

/// Adds bytes, or chunks, which are shared where the string so far ends at a chunk's end.
fn append_value(entry: &mut EntryMut<'_>, added: ArgValue<'_>) -> Result<(), WrongType> {
    match added {
        ArgValue::Bytes([]) => make_raw(entry),
        ArgValue::Bytes(bytes) => {
            entry.append(bytes)?;
        }
        ArgValue::Big(big) => {
            for chunk in big.chunks() {
                match entry.value_mut() {
                    Some(Value::String(string)) => string.append_chunk(chunk.clone()),
                    _ => {
                        entry.append(chunk)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// What is appended to becomes "raw", even if nothing is added.
fn make_raw(entry: &mut EntryMut<'_>) {
    if let Ok(StringRef::Int(value)) = StringRef::of(entry.view()) {
        entry.set_value(NewValue::Raw(itoa::Buffer::new().format(value).as_bytes()));
    } else {
        entry.str_mut();
    }
}

fn getrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    let key = cx.key(args.get(1));
    match cx.read_string(&key)? {
        None => reply.bulk(b""),
        Some(StringRef::Int(value)) => {
            reply_range(itoa::Buffer::new().format(value).as_bytes(), start, end, reply);
        }
        Some(StringRef::Bytes(bytes)) => reply_range(bytes, start, end, reply),
        Some(StringRef::Big(big)) => {
            let (start, end) = bounds(start, end, big.len());
            let parts: Vec<Bytes> = big.range(start, end).collect();
            reply.bulk_chunks(end - start, parts.iter());
        }
    }
    Ok(())
}

fn reply_range(bytes: &[u8], start: i64, end: i64, reply: &mut Reply<'_>) {
    let (start, end) = bounds(start, end, bytes.len() as u64);
    reply.bulk(&bytes[start as usize..end as usize]);
}

/// The bytes from `start` to before the result's end, for indexes that count from the end if
/// negative and name the last byte that is wanted. `start <= end <= len` in the result.
fn bounds(start: i64, end: i64, len: u64) -> (u64, u64) {
    if start < 0 && end < 0 && start > end {
        return (0, 0);
    }
    let from_front = |index: i64| {
        if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { index as u64 }
    };
    let (start, end) = (from_front(start), from_front(end));
    let end = end.saturating_add(1).min(len);
    if start >= end { (0, 0) } else { (start, end) }
}

fn setrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = u64::try_from(args.integer(2)?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let key = cx.key(args.get(1));
    let value = args.get(3);
    let max = cx.config.proto_max_bulk_len;
    let entry = cx.write(&key);
    let old_len = entry.as_ref().map_or(Ok(0), |entry| entry.view().str_len())?;
    if value.is_empty() {
        reply.count(old_len);
        return Ok(());
    }
    let end = checked_len(offset, value.len() as u64, max)?;
    if let Some(mut entry) = entry {
        entry.write_at(offset, value)?;
        cx.changed(EventClass::String, "setrange", &key);
    } else {
        cx.set(&key, NewValue::Raw(b""), None);
        if let Some(mut entry) = cx.write(&key) {
            entry.write_at(offset, value)?;
        }
        cx.event(EventClass::String, "setrange", &key);
    }
    reply.count(old_len.max(end));
    Ok(())
}

/// The sum of two lengths, if a string may be so long: `max` is proto-max-bulk-len.
fn checked_len(len: u64, added: u64, max: u64) -> Result<u64, CommandError> {
    len.checked_add(added).filter(|total| *total <= max).ok_or(CommandError::StringTooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_redis() {
        // (start, end, length) and the bytes that a stock server returns.
        let cases = [
            ((0, -1, 5), (0, 5)),
            ((-3, -1, 5), (2, 5)),
            ((-1, -3, 5), (0, 0)),
            ((-100, -50, 5), (0, 1)),
            ((-100, 100, 5), (0, 5)),
            ((3, 1, 5), (0, 0)),
            ((5, 10, 5), (0, 0)),
            ((4, i64::MAX, 5), (4, 5)),
            ((i64::MIN, i64::MAX, 5), (0, 5)),
            ((i64::MIN, i64::MIN, 5), (0, 1)),
            ((i64::MAX, i64::MAX, 5), (0, 0)),
            ((0, -1, 0), (0, 0)),
            ((-1, 0, 0), (0, 0)),
        ];
        for ((start, end, len), expected) in cases {
            assert_eq!(bounds(start, end, len), expected, "{start} {end} of {len}");
        }
    }
}
