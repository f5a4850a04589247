//! OBJECT: how the value at a key is kept.
//!
//! Invariant: looking changes nothing but the counters of hits and misses; no access clock is
//! touched and no miss is announced.

use crate::command::{
    Access, Acl, Args, Argument, Arity, Command, CommandError, Context, Flags, Handler, KeySpec,
    Outcome, SessionContext,
};
use crate::commands::container;
use crate::config::choices::MaxmemoryPolicy;
use crate::resp::reply::Reply;
use crate::store::access::{AccessPolicy, idle_seconds, lfu_counter};
use crate::store::entry::{EntryRef, ValueRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "OBJECT",
    summary: "Holds the commands that look at how a value is kept.",
    since: "2.2.3",
    complexity: "That of the subcommand.",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "ENCODING",
            summary: "Names the encoding of the value at a key.",
            handler: Handler::Keyed(encoding),
            ..INSPECTS
        },
        Command {
            name: "FREQ",
            summary: "Tells how often a key is accessed, on a logarithmic scale.",
            since: "4.0.0",
            handler: Handler::Keyed(freq),
            ..INSPECTS
        },
        Command {
            name: "HELP",
            summary: "Explains the subcommands.",
            since: "6.2.0",
            arity: Arity::Exactly(2),
            flags: Flags::LOADING.with(Flags::STALE),
            acl: Acl::KEYSPACE,
            handler: Handler::Session(help),
            ..Command::BASE
        },
        Command {
            name: "IDLETIME",
            summary: "Tells how many seconds ago a key was accessed.",
            handler: Handler::Keyed(idletime),
            ..INSPECTS
        },
        Command {
            name: "REFCOUNT",
            summary: "Tells how many references to the value at a key there are.",
            handler: Handler::Keyed(refcount),
            ..INSPECTS
        },
    ],
    ..Command::BASE
}];

/// What the subcommands that look at a key have in common.
const INSPECTS: Command = Command {
    since: "2.2.3",
    arity: Arity::Exactly(3),
    flags: Flags::READONLY,
    acl: Acl::KEYSPACE,
    keys: &[KeySpec::one(2, Access::RO)],
    tips: &["nondeterministic_output"],
    arguments: &[Argument::key("key", 0)],
    ..Command::BASE
};

fn encoding(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match inspect(cx, args) {
        Some(entry) => reply.bulk(entry.encoding().as_bytes()),
        None => reply.null(),
    }
    Ok(())
}

fn freq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (now, policy) = (cx.now, cx.access);
    match (inspect(cx, args), policy) {
        (None, _) => reply.null(),
        (Some(entry), AccessPolicy::Lfu { decay_minutes, .. }) => {
            reply.integer(i64::from(lfu_counter(entry.access(), now, decay_minutes)));
        }
        (Some(_), AccessPolicy::Lru) => return Err(CommandError::FrequencyNotTracked),
    }
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "OBJECT", HELP);
    Ok(())
}

fn idletime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (now, policy) = (cx.now, cx.access);
    match (inspect(cx, args), policy) {
        (None, _) => reply.null(),
        (Some(entry), AccessPolicy::Lru) => {
            reply.integer(i64::from(idle_seconds(entry.access(), now)));
        }
        (Some(_), AccessPolicy::Lfu { .. }) => return Err(CommandError::IdleTimeNotTracked),
    }
    Ok(())
}

fn refcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let shares = shares_integers(cx);
    match inspect(cx, args).map(EntryRef::value) {
        None => reply.null(),
        Some(ValueRef::Int(0..SHARED_INTEGERS_END)) if shares => reply.integer(SHARED_REFCOUNT),
        Some(_) => reply.integer(1),
    }
    Ok(())
}

/// The entry at word 2; a hit or a miss is counted.
fn inspect<'c>(cx: &'c mut Context<'_>, args: Args<'_>) -> Option<EntryRef<'c>> {
    let key = cx.key(args.get(2));
    let totals = &cx.stats.totals;
    let found = cx.peek(&key);
    match found {
        Some(_) => totals.keyspace_hits.add(1),
        None => totals.keyspace_misses.add(1),
    }
    found
}

/// Whether a stock server would share small integers: not where eviction needs a clock for each key.
fn shares_integers(cx: &Context<'_>) -> bool {
    cx.config.maxmemory == 0
        || matches!(
            cx.config.maxmemory_policy,
            MaxmemoryPolicy::NoEviction
                | MaxmemoryPolicy::AllkeysRandom
                | MaxmemoryPolicy::VolatileRandom
                | MaxmemoryPolicy::VolatileTtl
        )
}

/// The small integers that a stock server shares. Source: OBJECT REFCOUNT.
const SHARED_INTEGERS_END: i64 = 10_000;
/// What it answers for a shared value.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Name the encoding that the value at <key> is kept in.",
    "FREQ <key>",
    "    Tell how often <key> is accessed, on a logarithmic scale from 0 to 255. Needs an LFU",
    "    maxmemory-policy.",
    "IDLETIME <key>",
    "    Tell how many seconds ago <key> was accessed last. Needs a maxmemory-policy that is not",
    "    LFU.",
    "REFCOUNT <key>",
    "    Tell how many references to the value at <key> there are, as a server that shares small",
    "    integers counts them.",
];
