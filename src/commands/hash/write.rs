//! HDEL, HINCRBY, HINCRBYFLOAT, HMSET, HSET, HSETNX: changing hashes.

use super::{
    Found, WRITES, count_changes, drop_key, expire_field, is_empty, limits, open_write, wrong_arity,
};
use crate::base::long_double::LongDouble;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler,
    KeySpec, Outcome,
};
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::hash::{HashLimits, HashMut};
use crate::types::{Collection, Packing, Place};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "HDEL",
        summary: "Deletes fields of a hash, and the hash with its last one.",
        complexity: "O(N) in the number of fields to delete.",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("field", ArgumentKind::String).multiple(),
        ],
        member: 2,
        handler: Handler::Keyed(hdel),
        ..WRITES
    },
    Command {
        name: "HINCRBY",
        summary: "Adds an integer to the value of a field.",
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("field", ArgumentKind::String),
            Argument::new("increment", ArgumentKind::Integer),
        ],
        member: 2,
        handler: Handler::Keyed(hincrby),
        ..WRITES
    },
    Command {
        name: "HINCRBYFLOAT",
        summary: "Adds a float to the value of a field.",
        since: "2.6.0",
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("field", ArgumentKind::String),
            Argument::new("increment", ArgumentKind::Double),
        ],
        member: 2,
        handler: Handler::Keyed(hincrbyfloat),
        ..WRITES
    },
    Command {
        name: "HMSET",
        summary: "Sets several fields of a hash.",
        complexity: "O(N) in the number of fields to set.",
        arity: Arity::AtLeast(4),
        deprecated: Some(("4.0.0", "`HSET` with several pairs")),
        arguments: &[Argument::key("key", 0), PAIRS],
        member: 2,
        handler: Handler::Keyed(hmset),
        ..WRITES
    },
    Command {
        name: "HSET",
        summary: "Sets fields of a hash, which is made if it is not there.",
        complexity: "O(N) in the number of fields to set.",
        arity: Arity::AtLeast(4),
        arguments: &[Argument::key("key", 0), PAIRS],
        member: 2,
        handler: Handler::Keyed(hset),
        ..WRITES
    },
    Command {
        name: "HSETNX",
        summary: "Sets a field of a hash that does not have it.",
        keys: &[KeySpec::one(1, Access::RW.with(Access::INSERT))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("field", ArgumentKind::String),
            Argument::new("value", ArgumentKind::String),
        ],
        member: 2,
        handler: Handler::Keyed(hsetnx),
        ..WRITES
    },
];

/// Fields and values.
const PAIRS: Argument = Argument::block(
    "data",
    &[Argument::new("field", ArgumentKind::String), Argument::new("value", ArgumentKind::String)],
)
.multiple();

fn hdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let mut deleted = 0;
    if let Some(mut entry) = cx.write(&key) {
        let mut hash = HashMut::of(&mut entry)?;
        for field in args.iter_from(2) {
            deleted += usize::from(hash.remove(field));
            if hash.view().is_empty() {
                break;
            }
        }
        entry.note_fields();
    }
    if deleted > 0 {
        cx.changed(EventClass::Hash, "hdel", &key);
        count_changes(cx, deleted);
        if is_empty(cx, &key) {
            drop_key(cx, &key);
            cx.event(EventClass::Generic, "del", &key);
        }
    }
    reply.count(deleted as u64);
    Ok(())
}

fn hincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = args.integer(3)?;
    let key = cx.key(args.get(1));
    let field = args.get(2);
    let value = match value_of(cx, &key, field)? {
        Some(text) => Element::of(&text).to_int().ok_or(CommandError::HashValueNotAnInteger)?,
        None => 0,
    };
    let sum = value.checked_add(increment).ok_or(CommandError::Overflow)?;
    store(cx, &key, field, itoa::Buffer::new().format(sum).as_bytes());
    cx.changed(EventClass::Hash, "hincrby", &key);
    reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = LongDouble::parse(args.get(3)).ok_or(CommandError::NotAFloat)?;
    if increment.is_nan() || increment.is_infinite() {
        return Err(CommandError::ValueIsNanOrInfinity);
    }
    let key = cx.key(args.get(1));
    let field = args.get(2);
    let value = match value_of(cx, &key, field)? {
        Some(text) => LongDouble::parse(&text).ok_or(CommandError::HashValueNotAFloat)?,
        None => LongDouble::from(0),
    };
    let sum = value + increment;
    if sum.is_nan() || sum.is_infinite() {
        return Err(CommandError::NanOrInfinity);
    }
    let mut text = Vec::new();
    sum.write(&mut text);
    store(cx, &key, field, &text);
    cx.changed(EventClass::Hash, "hincrbyfloat", &key);
    // Another machine must not calculate: it may round differently.
    let db = cx.db_index();
    let line: [&[u8]; 7] = [b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", b"1", field, &text];
    cx.effects.propagate(db, &line);
    reply.bulk(&text);
    Ok(())
}

fn hmset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_pairs(cx, args, "hmset", reply)?;
    reply.ok();
    Ok(())
}

fn hset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let created = set_pairs(cx, args, "hset", reply)?;
    reply.count(created as u64);
    Ok(())
}

fn hsetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let field = args.get(2);
    let now = cx.expiry_now().0;
    let found = open_write(cx, &key)?.map_or(Found::Missing, |hash| Found::of(hash, field, now));
    match found {
        Found::Live(_) => {
            reply.integer(0);
            return Ok(());
        }
        Found::Expired => expire_field(cx, &key, field),
        Found::Missing => {}
    }
    let limits = limits(cx);
    let mut entry = cx.write_or_make(&key, Packing::Hash);
    let mut hash = HashMut::of(&mut entry)?;
    hash.prepare(args.iter_from(2), &limits);
    hash.set(field, args.get(3), false, &limits);
    cx.changed(EventClass::Hash, "hset", &key);
    reply.integer(1);
    Ok(())
}

/// Sets all pairs of a request in a hash; how many fields are new.
fn set_all<P: Place>(hash: &mut HashMut<'_, P>, args: Args<'_>, limits: &HashLimits) -> usize {
    hash.prepare(args.iter_from(2), limits);
    let pairs = (2..args.len()).step_by(2);
    let is_new = pairs.map(|at| hash.set(args.get(at), args.get(at + 1), false, limits));
    is_new.filter(|is_new| *is_new).count()
}

/// Sets all pairs of a request and returns how many fields are new.
fn set_pairs(
    cx: &mut Context<'_>,
    args: Args<'_>,
    command: &str,
    reply: &mut Reply<'_>,
) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_arity(reply, command));
    }
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let created = if args.len() > 4 && cx.write(&key).is_none() {
        // Put together beside the table, so that the entry is allocated once, and exactly.
        let mut hash = Collection::empty(Packing::Hash);
        let created = set_all(&mut HashMut::of(&mut hash)?, args, &limits);
        cx.set_collection(&key, hash, None);
        cx.event(EventClass::Hash, "hset", &key);
        created
    } else {
        let mut entry = cx.write_or_make(&key, Packing::Hash);
        let created = set_all(&mut HashMut::of(&mut entry)?, args, &limits);
        entry.note_fields();
        cx.changed(EventClass::Hash, "hset", &key);
        created
    };
    count_changes(cx, (args.len() - 2) / 2);
    Ok(created)
}

/// The value of a field; None if there is none, or it had expired, which is then deleted.
fn value_of(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    field: &[u8],
) -> Result<Option<Vec<u8>>, CommandError> {
    let now = cx.expiry_now().0;
    let found = open_write(cx, key)?.map_or(Found::Missing, |hash| Found::of(hash, field, now));
    match found {
        Found::Live(pair) => return Ok(Some(pair.value.to_vec())),
        Found::Expired => expire_field(cx, key, field),
        Found::Missing => {}
    }
    Ok(None)
}

/// Sets the value of a field, whose expiry stays.
fn store(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8], value: &[u8]) {
    let limits = limits(cx);
    let mut entry = cx.write_or_make(key, Packing::Hash);
    if let Ok(mut hash) = HashMut::of(&mut entry) {
        hash.set(field, value, true, &limits);
    }
    entry.note_fields();
}
