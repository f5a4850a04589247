//! DEL, UNLINK, EXISTS, TOUCH, TYPE: keys as such.
//!
//! Invariant: every word is handled by itself and in order, so a key that is named twice counts
//! twice, or is deleted once. Large values are freed in slices, whoever deletes them: DEL costs what
//! UNLINK does.

use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, Arity, Command, Context, Flags, Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DEL",
        summary: "Deletes keys.",
        complexity: "O(N) in the number of keys; a large value is freed later, in slices.",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::range(1, -1, 1, Access::RM.with(Access::DELETE))],
        tips: MULTI_SHARD_SUM,
        arguments: KEYS,
        handler: Handler::Keyed(del),
        ..Command::BASE
    },
    Command {
        name: "UNLINK",
        summary: "Deletes keys and frees their values later.",
        since: "4.0.0",
        complexity: "O(1) a key; a large value is freed later, in slices.",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::range(1, -1, 1, Access::RM.with(Access::DELETE))],
        tips: MULTI_SHARD_SUM,
        arguments: KEYS,
        handler: Handler::Keyed(del),
        ..Command::BASE
    },
    Command {
        name: "EXISTS",
        summary: "Counts those of the given keys that exist.",
        complexity: "O(N) in the number of keys",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        tips: MULTI_SHARD_SUM,
        arguments: KEYS,
        handler: Handler::Keyed(exists),
        ..Command::BASE
    },
    Command {
        name: "TOUCH",
        summary: "Marks keys as accessed now; counts those that exist.",
        since: "3.2.1",
        complexity: "O(N) in the number of keys",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        tips: MULTI_SHARD_SUM,
        arguments: KEYS,
        handler: Handler::Keyed(touch),
        ..Command::BASE
    },
    Command {
        name: "TYPE",
        summary: "Names the type of the value at a key.",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(type_of),
        ..Command::BASE
    },
];

const KEYS: &[Argument] = &[Argument::key("key", 0).multiple()];
const MULTI_SHARD_SUM: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

fn del(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut deleted = 0;
    cx.for_each_key(args.iter_from(1), |cx, key| {
        if cx.delete(key) {
            cx.event(EventClass::Generic, "del", key);
            deleted += 1;
        }
    });
    reply.count(deleted);
    Ok(())
}

fn exists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.count(count_found(cx, args, false));
    Ok(())
}

fn touch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.count(count_found(cx, args, true));
    Ok(())
}

fn type_of(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match cx.read_touching(&key, false) {
        Some(entry) => reply.simple(entry.type_name()),
        None => reply.simple("none"),
    }
    Ok(())
}

fn count_found(cx: &mut Context<'_>, args: Args<'_>, touch: bool) -> u64 {
    let mut found = 0;
    cx.for_each_key(args.iter_from(1), |cx, key| {
        found += u64::from(cx.read_touching(key, touch).is_some());
    });
    found
}
