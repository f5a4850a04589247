//! Streams: XINFO, what a stream and its groups are made of.

use super::{elapsed, no_group_of_key, read, reply_entries, reply_id, reply_one};
use crate::base::time::Millis;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome, SessionContext,
};
use crate::commands::container;
use crate::resp::reply::Reply;
use crate::types::stream::{Consumer, Facts, Group, Stream, StreamId};

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "XINFO",
    summary: "Holds the commands that look into a stream.",
    since: "5.0.0",
    complexity: "That of the subcommand.",
    arity: Arity::AtLeast(2),
    group: crate::command::Group::Stream,
    subcommands: &[
        Command {
            name: "CONSUMERS",
            summary: "Lists the consumers of a group.",
            complexity: "O(N) for N consumers",
            arity: Arity::Exactly(4),
            tips: &["nondeterministic_output"],
            arguments: &[Argument::key("key", 0), Argument::new("group", ArgumentKind::String)],
            handler: Handler::Keyed(consumers),
            ..LOOKS
        },
        Command {
            name: "GROUPS",
            summary: "Lists the consumer groups of a stream.",
            complexity: "O(N) for N groups",
            arity: Arity::Exactly(3),
            arguments: &[Argument::key("key", 0)],
            handler: Handler::Keyed(groups),
            ..LOOKS
        },
        Command {
            name: "HELP",
            summary: "Explains the subcommands.",
            arity: Arity::Exactly(2),
            flags: Flags::LOADING.with(Flags::STALE),
            keys: &[],
            handler: Handler::Session(help),
            ..LOOKS
        },
        Command {
            name: "STREAM",
            summary: "Shows what a stream knows of itself, or all that is in it.",
            complexity: "O(N) for N blocks of the stream, and for all that FULL shows",
            arity: Arity::AtLeast(3),
            arguments: &[
                Argument::key("key", 0),
                Argument::block(
                    "full-block",
                    &[
                        Argument::token("full", "FULL"),
                        Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
                    ],
                )
                .optional(),
            ],
            handler: Handler::Keyed(stream),
            ..LOOKS
        },
    ],
    ..Command::BASE
}];

/// What the subcommands have in common.
const LOOKS: Command = Command {
    since: "5.0.0",
    group: crate::command::Group::Stream,
    flags: Flags::READONLY,
    acl: Acl::STREAM,
    keys: &[KeySpec::one(2, Access::RO.with(Access::ACCESS))],
    ..Command::BASE
};

fn consumers(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let now = cx.now;
    let stream = read(cx, &key)?.ok_or(CommandError::NoSuchKey)?;
    let Some(group) = stream.groups.get(args.get(3)) else {
        return Err(no_group_of_key(reply, args.get(2), args.get(3)));
    };
    reply.array(group.consumers().len());
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply.bulk(b"pending");
        reply.count(consumer.pending() as u64);
        reply.bulk(b"idle");
        reply.integer(elapsed(now, consumer.seen).max(0));
        reply.bulk(b"inactive");
        reply.integer(consumer.active.map_or(NEVER, |active| elapsed(now, active)));
    }
    Ok(())
}

fn groups(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let stream = read(cx, &key)?.ok_or(CommandError::NoSuchKey)?;
    reply.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.count(group.consumers().len() as u64);
        reply.bulk(b"pending");
        reply.count(group.pending().len() as u64);
        reply_progress(reply, stream.facts(), group);
    }
    Ok(())
}

/// How far a group has read: three pairs.
fn reply_progress(reply: &mut Reply<'_>, facts: Facts, group: &Group) {
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_id);
    reply.bulk(b"entries-read");
    match group.entries_read {
        Some(read) => reply.integer(read as i64),
        None => reply.null(),
    }
    reply.bulk(b"lag");
    match facts.lag(group) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "XINFO", HELP);
    Ok(())
}

fn stream(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let stream = read(cx, &key)?.ok_or(CommandError::NoSuchKey)?;
    let count = match args.len() {
        3 => None,
        4 if args.is(3, "FULL") => Some(FULL_COUNT),
        6 if args.is(3, "FULL") && args.is(4, "COUNT") => {
            Some(u64::try_from(args.integer(5)?).unwrap_or(FULL_COUNT))
        }
        _ => {
            reply.error(container::wrong_form(args));
            return Err(CommandError::Written);
        }
    };
    reply.map(if count.is_some() { 9 } else { 10 });
    reply_facts(reply, stream);
    match count {
        None => reply_edges(reply, stream),
        Some(count) => reply_full(reply, stream, count),
    }
    Ok(())
}

/// What a stream knows of itself: seven pairs.
fn reply_facts(reply: &mut Reply<'_>, stream: &Stream) {
    let facts = stream.facts();
    reply.bulk(b"length");
    reply.count(facts.length);
    reply.bulk(b"radix-tree-keys");
    reply.count(stream.block_count() as u64);
    reply.bulk(b"radix-tree-nodes");
    reply.count(stream.radix_tree_nodes() as u64);
    reply.bulk(b"last-generated-id");
    reply_id(reply, facts.last_id);
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, facts.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(facts.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, facts.first_id);
}

/// The number of groups, the first and the last entry: three pairs.
fn reply_edges(reply: &mut Reply<'_>, stream: &Stream) {
    reply.bulk(b"groups");
    reply.count(stream.groups.len() as u64);
    for (name, backward) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        let range = stream.entries().range(StreamId::MIN, StreamId::MAX, backward);
        if !reply_one(reply, range) {
            reply.null();
        }
    }
}

/// Entries and groups, at most `count` (0: all) of each kind of thing in them: two pairs.
fn reply_full(reply: &mut Reply<'_>, stream: &Stream, count: u64) {
    reply.bulk(b"entries");
    let mut range = stream.entries().range(StreamId::MIN, StreamId::MAX, false);
    reply_entries(reply, &mut range, count);
    reply.bulk(b"groups");
    reply.array(stream.groups.len());
    for (name, group) in stream.groups.iter() {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        reply_progress(reply, stream.facts(), group);
        reply.bulk(b"pel-count");
        reply.count(group.pending().len() as u64);
        reply.bulk(b"pending");
        let shown = shown(group.pending().len(), count);
        reply.array(shown);
        for (id, nack) in group.pending().iter().take(shown) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(&group.consumer(nack.consumer).name);
            reply.integer(nack.delivered.0);
            reply.integer(nack.count as i64);
        }
        reply.bulk(b"consumers");
        reply.array(group.consumers().len());
        for consumer in group.consumers() {
            reply_consumer(reply, group, consumer, count);
        }
    }
}

fn reply_consumer(reply: &mut Reply<'_>, group: &Group, consumer: &Consumer, count: u64) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(&consumer.name);
    reply.bulk(b"seen-time");
    reply.integer(consumer.seen.0);
    reply.bulk(b"active-time");
    reply.integer(consumer.active.map_or(NEVER, |active| active.0));
    reply.bulk(b"pel-count");
    reply.count(consumer.pending() as u64);
    reply.bulk(b"pending");
    let shown = shown(consumer.pending(), count);
    reply.array(shown);
    for id in consumer.pending_from(StreamId::MIN).take(shown) {
        let nack = group.pending().get(id);
        reply.array(3);
        reply_id(reply, id);
        reply.integer(nack.map_or(Millis(0), |nack| nack.delivered).0);
        reply.integer(nack.map_or(0, |nack| nack.count as i64));
    }
}

/// How many of `len` are shown.
fn shown(len: usize, count: u64) -> usize {
    match usize::try_from(count) {
        Ok(1..) => len.min(count as usize),
        _ => len,
    }
}

/// What stands for the time of something that never was.
const NEVER: i64 = -1;
/// How much of each kind of thing FULL shows.
const FULL_COUNT: u64 = 10;

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    List the consumers of a group.",
    "GROUPS <key>",
    "    List the consumer groups of a stream.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show what a stream knows of itself, or all that is in it.",
];
