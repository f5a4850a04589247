//! Strings: setting one key.

use super::options::{self, Condition, Family, Options, Ttl, Unit};
use super::{equals, in_one_piece, new_value, propagate_set_until, store};
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "GETSET",
        summary: "Sets a string and answers with the one before.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[Argument::key("key", 0), Argument::new("value", ArgumentKind::String)],
        deprecated: Some(("6.2.0", "`SET` with `GET`")),
        handler: Handler::Keyed(getset),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "PSETEX",
        summary: "Sets a string that expires after some milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
        arity: Arity::Exactly(4),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::OW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("milliseconds", ArgumentKind::Integer),
            Argument::new("value", ArgumentKind::String),
        ],
        deprecated: Some(("2.6.12", "`SET` with `PX`")),
        handler: Handler::Keyed(psetex),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "SET",
        summary: "Sets a string, whatever its key held, under conditions and with an expiry.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::AtLeast(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::one(
            1,
            Access::RW.with(Access::ACCESS).with(Access::UPDATE).with(Access::VARIABLE_FLAGS),
        )
        .notes("RW and ACCESS due to the optional `GET` argument")],
        key_access: Some(access_of_set),
        arguments: &[
            Argument::key("key", 0),
            Argument::new("value", ArgumentKind::String),
            Argument::one_of(
                "condition",
                &[
                    Argument::token("nx", "NX").since("2.6.12"),
                    Argument::token("xx", "XX").since("2.6.12"),
                    Argument::new("comparison-value", ArgumentKind::String)
                        .after("IFEQ")
                        .since("8.1.0"),
                ],
            )
            .optional(),
            Argument::token("get", "GET").since("6.2.0").optional(),
            Argument::one_of(
                "expiration",
                &[
                    Argument::new("seconds", ArgumentKind::Integer).after("EX").since("2.6.12"),
                    Argument::new("milliseconds", ArgumentKind::Integer)
                        .after("PX")
                        .since("2.6.12"),
                    Argument::new("unix-time-seconds", ArgumentKind::UnixTime)
                        .after("EXAT")
                        .since("6.2.0"),
                    Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime)
                        .after("PXAT")
                        .since("6.2.0"),
                    Argument::token("keepttl", "KEEPTTL").since("6.0.0"),
                ],
            )
            .optional(),
        ],
        handler: Handler::Keyed(set),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "SETEX",
        summary: "Sets a string that expires after some seconds.",
        since: "2.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(4),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::OW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("seconds", ArgumentKind::Integer),
            Argument::new("value", ArgumentKind::String),
        ],
        deprecated: Some(("2.6.12", "`SET` with `EX`")),
        handler: Handler::Keyed(setex),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "SETNX",
        summary: "Sets a string if its key is not there.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::OW.with(Access::INSERT))],
        arguments: &[Argument::key("key", 0), Argument::new("value", ArgumentKind::String)],
        deprecated: Some(("2.6.12", "`SET` with `NX`")),
        handler: Handler::Keyed(setnx),
        takes_chunks: true,
        ..Command::BASE
    },
];

/// SET overwrites blindly, unless it answers with the old value.
fn access_of_set(args: Args<'_>) -> Access {
    if (3..args.len()).any(|index| args.is(index, "GET")) {
        Access::RW.with(Access::ACCESS).with(Access::UPDATE)
    } else {
        Access::OW.with(Access::UPDATE)
    }
}

fn getset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    reply_old(cx, &key, reply)?;
    store(cx, &key, args.value(2), None);
    cx.effects.propagate_nothing();
    if cx.effects.wants_lines() {
        let line: &[&[u8]] = &[b"SET", key.bytes, &in_one_piece(args.value(2))];
        cx.effects.propagate(cx.session.db, line);
    }
    Ok(())
}

/// Answers with the string of a key, or null.
fn reply_old(cx: &mut Context<'_>, key: &Key<'_>, reply: &mut Reply<'_>) -> Outcome {
    match cx.read_string(key)? {
        Some(value) => value.reply(reply),
        None => reply.null(),
    }
    Ok(())
}

fn psetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiring(cx, args, reply, Unit::Milliseconds, "psetex")
}

fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 3 {
        return set_with_options(cx, args, reply);
    }
    let key = cx.key(args.get(1));
    cx.set(&key, new_value(args.value(2)), None);
    cx.event(EventClass::String, "set", &key);
    reply.ok();
    Ok(())
}

/// SET with anything behind the value. The order of the checks is that of Redis: words, the expiry,
/// the old value's type, the condition.
#[cold]
fn set_with_options(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = options::parse(args, 3, Family::Set)?;
    let given = options.ttl.expires(args, cx.now, "set", reply)?;
    let key = cx.key(args.get(1));
    if options.get {
        reply_old(cx, &key, reply)?;
    }
    let entry = cx.write(&key);
    let kept = entry.as_ref().and_then(|entry| entry.view().expiry());
    let holds = match (options.condition, &entry) {
        (None, _) | (Some(Condition::Missing), None) | (Some(Condition::Exists), Some(_)) => true,
        (Some(Condition::Equals(value)), Some(entry)) => {
            equals(StringRef::of(entry.view())?, value)
        }
        (Some(Condition::Missing), Some(_))
        | (Some(Condition::Exists | Condition::Equals(_)), None) => false,
    };
    if !holds {
        if !options.get {
            reply.null();
        }
        return Ok(());
    }
    if options.ttl == Ttl::Keep {
        cx.set(&key, new_value(args.value(2)), kept);
        cx.event(EventClass::String, "set", &key);
    } else {
        store(cx, &key, args.value(2), given);
    }
    match given {
        Some(expires) if needs_set_until(&options) => {
            propagate_set_until(cx, key.bytes, args.value(2), expires);
        }
        None if needs_other_words(&options) => propagate_without_get(cx, args),
        _ => {}
    }
    if !options.get {
        reply.ok();
    }
    Ok(())
}

/// True if the line of a SET with an expiry must be written anew: the expiry is relative or in
/// seconds, or there is IFEQ, which Redis 8.0 does not know.
fn needs_set_until(options: &Options<'_>) -> bool {
    !options.ttl.is_unix_milliseconds() || matches!(options.condition, Some(Condition::Equals(_)))
}

/// True if a SET without an expiry has words that are not propagated.
fn needs_other_words(options: &Options<'_>) -> bool {
    options.get || matches!(options.condition, Some(Condition::Equals(_)))
}

/// Propagates SET as it was sent, but for GET, which only asks, and IFEQ, which has been answered.
fn propagate_without_get(cx: &mut Context<'_>, args: Args<'_>) {
    cx.effects.propagate_nothing();
    if !cx.effects.wants_lines() {
        return;
    }
    let value = in_one_piece(args.value(2));
    let mut line: Vec<&[u8]> = vec![args.get(0), args.get(1), &value];
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "IFEQ") {
            at += 1;
        } else if !args.is(at, "GET") {
            line.push(args.get(at));
        }
        at += 1;
    }
    cx.effects.propagate(cx.session.db, &line);
}

fn setex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiring(cx, args, reply, Unit::Seconds, "setex")
}

/// SETEX and PSETEX.
fn set_expiring(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    command: &str,
) -> Result<(), CommandError> {
    let expires = unit.expires(args, 2, cx.now, command, reply)?;
    let key = cx.key(args.get(1));
    store(cx, &key, args.value(3), Some(expires));
    propagate_set_until(cx, key.bytes, args.value(3), expires);
    reply.ok();
    Ok(())
}

fn setnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let is_missing = cx.write(&key).is_none();
    if is_missing {
        store(cx, &key, args.value(2), None);
    }
    reply.integer(i64::from(is_missing));
    Ok(())
}
