//! HEXISTS, HGET, HGETALL, HKEYS, HLEN, HMGET, HSTRLEN, HVALS: reading hashes.

use super::{Found, READS, bulk, drop_expired, drop_key, expire_field, open};
use crate::command::{
    Access, Args, Argument, ArgumentKind, Arity, Command, Context, Flags, Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::types::hash::HashRef;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "HEXISTS",
        summary: "Tells whether a hash has a field.",
        keys: &[KeySpec::one(1, Access::RO)],
        member: 2,
        handler: Handler::Keyed(hexists),
        ..READS
    },
    Command {
        name: "HGET",
        summary: "Gives the value of a field.",
        member: 2,
        handler: Handler::Keyed(hget),
        ..READS
    },
    Command {
        name: "HGETALL",
        summary: "Gives all fields and values of a hash.",
        handler: Handler::Keyed(hgetall),
        ..READS_ALL
    },
    Command {
        name: "HKEYS",
        summary: "Gives all fields of a hash.",
        handler: Handler::Keyed(hkeys),
        ..READS_ALL
    },
    Command {
        name: "HLEN",
        summary: "Counts the fields of a hash.",
        arity: Arity::Exactly(2),
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(hlen),
        ..READS
    },
    Command {
        name: "HMGET",
        summary: "Gives the values of several fields.",
        complexity: "O(N) in the number of fields asked for.",
        arity: Arity::AtLeast(3),
        arguments: &[
            Argument::key("key", 0),
            Argument::new("field", ArgumentKind::String).multiple(),
        ],
        member: 2,
        handler: Handler::Keyed(hmget),
        ..READS
    },
    Command {
        name: "HSTRLEN",
        summary: "Tells how long the value of a field is.",
        since: "3.2.0",
        keys: &[KeySpec::one(1, Access::RO)],
        member: 2,
        handler: Handler::Keyed(hstrlen),
        ..READS
    },
    Command {
        name: "HVALS",
        summary: "Gives all values of a hash.",
        handler: Handler::Keyed(hvals),
        ..READS_ALL
    },
];

/// What the commands that give a whole hash have in common.
const READS_ALL: Command = Command {
    complexity: "O(N) in the number of fields.",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    arguments: &[Argument::key("key", 0)],
    ..READS
};

fn hexists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let exists = with_field(cx, args, |found| matches!(found, Found::Live(_)))?;
    reply.integer(i64::from(exists));
    Ok(())
}

fn hget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    with_field(cx, args, |found| match found {
        Found::Live(pair) => bulk(reply, pair.value),
        Found::Expired | Found::Missing => reply.null(),
    })
}

fn hgetall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give_all(cx, args, true, true, reply)
}

fn hkeys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give_all(cx, args, true, false, reply)
}

fn hlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let len = open(cx, &key)?.map_or(0, HashRef::len);
    reply.count(len as u64);
    Ok(())
}

fn hmget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    let mut expired = Vec::new();
    let Some(hash) = open(cx, &key)? else {
        reply.array(args.len() - 2);
        args.iter_from(2).for_each(|_| reply.null());
        return Ok(());
    };
    reply.array(args.len() - 2);
    for field in args.iter_from(2) {
        match Found::of(hash, field, now) {
            Found::Live(pair) => bulk(reply, pair.value),
            Found::Missing => reply.null(),
            Found::Expired => {
                reply.null();
                if !expired.contains(&field) {
                    expired.push(field);
                }
            }
        }
    }
    if !expired.is_empty() && cx.deletes_expired() {
        let emptied = expired.iter().fold(false, |_, field| drop_expired(cx, &key, field));
        // A stock server announces nothing where the only field asked for was the last one.
        if !emptied || expired.len() > 1 {
            super::announce_expired(cx, &key, emptied);
        } else {
            let db = cx.db_index();
            cx.effects.changed_along(db, key.bytes);
            drop_key(cx, &key);
        }
    }
    Ok(())
}

fn hstrlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let len = with_field(cx, args, |found| match found {
        Found::Live(pair) => pair.value.text_len(),
        Found::Expired | Found::Missing => 0,
    })?;
    reply.count(len as u64);
    Ok(())
}

fn hvals(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give_all(cx, args, false, true, reply)
}

/// Looks the field of a request up and answers; one that has expired is then deleted.
#[inline]
fn with_field<R>(
    cx: &mut Context<'_>,
    args: Args<'_>,
    answer: impl FnOnce(&Found<'_>) -> R,
) -> Result<R, crate::command::CommandError> {
    let key = cx.key(args.get(1));
    let field = args.get(2);
    let now = cx.expiry_now().0;
    let found = open(cx, &key)?.map_or(Found::Missing, |hash| Found::of(hash, field, now));
    let result = answer(&found);
    if matches!(found, Found::Expired) && cx.deletes_expired() {
        expire_field(cx, &key, field);
    }
    Ok(result)
}

/// Answers with all fields, all values, or both, without those that have expired.
fn give_all(
    cx: &mut Context<'_>,
    args: Args<'_>,
    fields: bool,
    values: bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    let hash = open(cx, &key)?;
    let len = hash.map_or(0, |hash| hash.live_len(now));
    if fields && values {
        reply.map(len);
    } else {
        reply.array(len);
    }
    for pair in hash.into_iter().flat_map(HashRef::iter) {
        if pair.is_expired(now) {
            continue;
        }
        if fields {
            bulk(reply, pair.field);
        }
        if values {
            bulk(reply, pair.value);
        }
    }
    Ok(())
}
