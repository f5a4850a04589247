//! Strings: several keys at once, on one partition or on several that were lent.

use super::options::{self, Condition, Family, Ttl};
use super::{in_one_piece, new_value, store};
use crate::base::time::Millis;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "MGET",
        summary: "Reads several strings.",
        since: "1.0.0",
        complexity: "O(N) for N keys",
        arity: Arity::AtLeast(2),
        group: Group::String,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::range(1, -1, 1, Access::RO.with(Access::ACCESS))],
        tips: &["request_policy:multi_shard"],
        arguments: &[Argument::key("key", 0).multiple()],
        handler: Handler::Keyed(mget),
        ..Command::BASE
    },
    Command {
        name: "MSET",
        summary: "Sets several strings, all at once.",
        since: "1.0.1",
        complexity: "O(N) for N keys",
        arity: Arity::AtLeast(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::range(1, -1, 2, Access::OW.with(Access::UPDATE))],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        arguments: &[PAIRS],
        handler: Handler::Keyed(mset),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "MSETEX",
        summary: "Sets several strings with one expiry, if all of the keys, or none, are there.",
        since: "9.1.0",
        complexity: "O(N) for N keys",
        arity: Arity::AtLeast(4),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::MOVABLEKEYS),
        acl: Acl::STRING,
        keys: &[KeySpec::counted(1, 2, Access::OW.with(Access::UPDATE))],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        arguments: &[
            Argument::new("numkeys", ArgumentKind::Integer),
            PAIRS,
            Argument::one_of(
                "condition",
                &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
            )
            .optional(),
            Argument::one_of(
                "expiration",
                &[
                    Argument::new("seconds", ArgumentKind::Integer).after("EX"),
                    Argument::new("milliseconds", ArgumentKind::Integer).after("PX"),
                    Argument::new("unix-time-seconds", ArgumentKind::UnixTime).after("EXAT"),
                    Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime).after("PXAT"),
                    Argument::token("keepttl", "KEEPTTL"),
                ],
            )
            .optional(),
        ],
        handler: Handler::Keyed(msetex),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "MSETNX",
        summary: "Sets several strings if none of the keys is there.",
        since: "1.0.1",
        complexity: "O(N) for N keys",
        arity: Arity::AtLeast(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::range(1, -1, 2, Access::OW.with(Access::INSERT))],
        arguments: &[PAIRS],
        handler: Handler::Keyed(msetnx),
        takes_chunks: true,
        ..Command::BASE
    },
];

/// `key value [key value ...]`.
const PAIRS: Argument = Argument::block(
    "data",
    &[Argument::key("key", 0), Argument::new("value", ArgumentKind::String)],
)
.multiple();

/// Stock servers count keys in an `int`.
const KEYS_MAX: i64 = i32::MAX as i64;

fn mget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 1);
    cx.for_each_key(args.iter_from(1), |cx, key| match cx.read(key).map(StringRef::of) {
        Some(Ok(StringRef::Bytes(bytes))) => reply.bulk(bytes),
        Some(Ok(value)) => value.reply(reply),
        // Another type is no error here: there is no string.
        Some(Err(_)) | None => reply.null(),
    });
    Ok(())
}

fn mset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_pairs(args, "mset", reply)?;
    set_pairs(cx, args);
    reply.ok();
    Ok(())
}

/// Refuses a key without its value.
fn check_pairs(args: Args<'_>, command: &str, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        reply.error(format!("ERR wrong number of arguments for '{command}' command"));
        return Err(CommandError::Written);
    }
    Ok(())
}

/// Sets all pairs of MSET and MSETNX.
fn set_pairs(cx: &mut Context<'_>, args: Args<'_>) {
    let mut values = (2..args.len()).step_by(2).map(|at| args.value(at));
    cx.for_each_key(args.iter_from(1).step_by(2), |cx, key| {
        let value = values.next().expect("each key has one");
        store(cx, key, value, None);
    });
}

fn msetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Ok(count @ 1..=KEYS_MAX) = args.integer(1) else {
        reply.error("ERR invalid numkeys value or out of range");
        return Err(CommandError::Written);
    };
    let end = 2 + count as usize * 2;
    if end > args.len() {
        return Err(CommandError::Syntax);
    }
    let options = options::parse(args, end, Family::MSetEx)?;
    let given = options.ttl.expires(args, cx.now, "msetex", reply)?;
    let keys = || (2..end).step_by(2);
    let holds = keys().all(|at| {
        let key = cx.key(args.get(at));
        match options.condition {
            None | Some(Condition::Equals(_)) => true,
            Some(Condition::Missing) => cx.write(&key).is_none(),
            Some(Condition::Exists) => cx.write(&key).is_some(),
        }
    });
    if !holds {
        reply.integer(0);
        return Ok(());
    }
    for at in keys() {
        let key = cx.key(args.get(at));
        if options.ttl == Ttl::Keep {
            let kept = cx.write(&key).and_then(|entry| entry.view().expiry());
            cx.set(&key, new_value(args.value(at + 1)), kept);
            cx.event(EventClass::String, "set", &key);
        } else {
            store(cx, &key, args.value(at + 1), given);
        }
    }
    propagate_pairs(cx, args, end, options.ttl, given);
    reply.integer(1);
    Ok(())
}

/// Propagates MSETEX in words that every Redis knows: one SET for each key with an expiry, else MSET.
fn propagate_pairs(
    cx: &mut Context<'_>,
    args: Args<'_>,
    end: usize,
    ttl: Ttl,
    expires: Option<Millis>,
) {
    cx.effects.propagate_nothing();
    if !cx.effects.wants_lines() {
        return;
    }
    let db = cx.session.db;
    let mut digits = itoa::Buffer::new();
    let tail: &[&[u8]] = match expires {
        Some(expires) => &[b"PXAT", digits.format(expires.0).as_bytes()],
        None if ttl == Ttl::Keep => &[b"KEEPTTL"],
        None => {
            let words: Vec<_> = (2..end).map(|at| in_one_piece(args.value(at))).collect();
            let mut line: Vec<&[u8]> = vec![b"MSET"];
            line.extend(words.iter().map(|word| &word[..]));
            return cx.effects.propagate(db, &line);
        }
    };
    for at in (2..end).step_by(2) {
        let value = in_one_piece(args.value(at + 1));
        let line = [&[b"SET", args.get(at), &value], tail].concat();
        cx.effects.propagate(db, &line);
    }
}

fn msetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_pairs(args, "msetnx", reply)?;
    for at in (1..args.len()).step_by(2) {
        let key = cx.key(args.get(at));
        if cx.write(&key).is_some() {
            reply.integer(0);
            return Ok(());
        }
    }
    set_pairs(cx, args);
    reply.integer(1);
    Ok(())
}
