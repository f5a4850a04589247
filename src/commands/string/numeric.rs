//! Strings: counting. Integers stay integers in their entries; floating point numbers are text.
//!
//! Source: 64 bits with a check of overflow; INCRBYFLOAT adds x86's 80-bit numbers.

use crate::base::long_double::LongDouble;
use crate::base::number;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DECR",
        summary: "Takes one from an integer; a missing key counts as 0.",
        arguments: &[Argument::key("key", 0)],
        arity: Arity::Exactly(2),
        handler: Handler::Keyed(decr),
        ..COUNTER
    },
    Command {
        name: "DECRBY",
        summary: "Takes a number from an integer; a missing key counts as 0.",
        arguments: &[Argument::key("key", 0), Argument::new("decrement", ArgumentKind::Integer)],
        handler: Handler::Keyed(decrby),
        ..COUNTER
    },
    Command {
        name: "INCR",
        summary: "Adds one to an integer; a missing key counts as 0.",
        arguments: &[Argument::key("key", 0)],
        arity: Arity::Exactly(2),
        handler: Handler::Keyed(incr),
        ..COUNTER
    },
    Command {
        name: "INCRBY",
        summary: "Adds a number to an integer; a missing key counts as 0.",
        arguments: &[Argument::key("key", 0), Argument::new("increment", ArgumentKind::Integer)],
        handler: Handler::Keyed(incrby),
        ..COUNTER
    },
    Command {
        name: "INCRBYFLOAT",
        summary: "Adds to a floating point number; a missing key counts as 0.",
        since: "2.6.0",
        arguments: &[Argument::key("key", 0), Argument::new("increment", ArgumentKind::Double)],
        handler: Handler::Keyed(incrbyfloat),
        ..COUNTER
    },
];

/// What the five have in common.
const COUNTER: Command = Command {
    since: "1.0.0",
    complexity: "O(1)",
    arity: Arity::Exactly(3),
    group: Group::String,
    flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
    acl: Acl::STRING,
    keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
    ..Command::BASE
};

fn decr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(cx, args, -1, reply)
}

fn decrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = args.integer(2)?.checked_neg().ok_or(CommandError::DecrementOverflow)?;
    add(cx, args, increment, reply)
}

fn incr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(cx, args, 1, reply)
}

fn incrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = args.integer(2)?;
    add(cx, args, increment, reply)
}

/// Adds to the integer at the first key and answers with the sum.
#[inline]
fn add(cx: &mut Context<'_>, args: Args<'_>, increment: i64, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let Some(mut entry) = cx.write(&key) else {
        cx.set(&key, NewValue::Int(increment), None);
        cx.event(EventClass::String, "incrby", &key);
        reply.integer(increment);
        return Ok(());
    };
    let value = match StringRef::of(entry.view())? {
        StringRef::Int(value) => Some(value),
        StringRef::Bytes(bytes) => number::parse_i64(bytes),
        // No integer has so many digits.
        StringRef::Big(_) => None,
    };
    let value = value.ok_or(CommandError::NotAnInteger)?;
    let sum = value.checked_add(increment).ok_or(CommandError::Overflow)?;
    entry.set_value(NewValue::Int(sum));
    cx.changed(EventClass::String, "incrby", &key);
    reply.integer(sum);
    Ok(())
}

fn incrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let mut text = Vec::new();
    if let Some(mut entry) = cx.write(&key) {
        let value = match StringRef::of(entry.view())? {
            StringRef::Int(value) => Some(LongDouble::from(value)),
            StringRef::Bytes(bytes) => LongDouble::parse(bytes),
            // Longer than any number that Redis reads.
            StringRef::Big(_) => None,
        };
        add_float(value, args, &mut text)?;
        // Text, also where it spells an integer, as Redis leaves it.
        entry.set_value(NewValue::Str(&text));
        cx.changed(EventClass::String, "incrbyfloat", &key);
    } else {
        add_float(Some(LongDouble::from(0)), args, &mut text)?;
        cx.set(&key, NewValue::Str(&text), None);
        cx.event(EventClass::String, "incrbyfloat", &key);
    }
    // Another machine must not calculate: it may round differently.
    cx.effects.propagate(cx.session.db, &[b"SET", key.bytes, &text, b"KEEPTTL"]);
    reply.bulk(&text);
    Ok(())
}

/// Writes the sum of `value` and the increment in `args` to `text`.
fn add_float(value: Option<LongDouble>, args: Args<'_>, text: &mut Vec<u8>) -> Outcome {
    let value = value.ok_or(CommandError::NotAFloat)?;
    let increment = LongDouble::parse(args.get(2)).ok_or(CommandError::NotAFloat)?;
    let sum = value + increment;
    if sum.is_nan() || sum.is_infinite() {
        return Err(CommandError::NanOrInfinity);
    }
    sum.write(text);
    Ok(())
}
