//! MEMORY: what keys and the server take.
//!
//! Invariant: bytes are those that were asked of the allocator, computed from shapes, never by
//! walking a value. Source: MEMORY of Redis 8.0.6; the advice of MEMORY DOCTOR is ours.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::memory_figures::{Excess, MemoryFigures};
use super::{ALWAYS, BASE, publish};
use crate::base::alloc;
use crate::base::number::format_f64;
use crate::command::whole::{Job, Part};
use crate::command::{
    Access, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler,
    KeySpec, Outcome, SessionContext, Whole,
};
use crate::commands::container::help;
use crate::resp::reply::Reply;
use crate::store::memory::entry_bytes;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "MEMORY",
    summary: "Holds the commands about memory.",
    since: "4.0.0",
    complexity: "Depends on the subcommand",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "DOCTOR",
            summary: "Says what is wrong with the use of memory.",
            since: "4.0.0",
            arity: Arity::Exactly(2),
            tips: REPORT,
            handler: Handler::Whole(Whole { begin: publish, gather: doctor }),
            ..BASE
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "4.0.0",
            arity: Arity::Exactly(2),
            flags: ALWAYS,
            handler: Handler::Session(memory_help),
            ..BASE
        },
        Command {
            name: "MALLOC-STATS",
            summary: "Returns the allocator's own report.",
            since: "4.0.0",
            arity: Arity::Exactly(2),
            tips: REPORT,
            handler: Handler::Session(malloc_stats),
            ..BASE
        },
        Command {
            name: "PURGE",
            summary: "Asks the allocator to give memory back to the system.",
            since: "4.0.0",
            arity: Arity::Exactly(2),
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            handler: Handler::Whole(Whole { begin: purge, gather: purged }),
            ..BASE
        },
        Command {
            name: "STATS",
            summary: "Returns what takes how much memory.",
            since: "4.0.0",
            arity: Arity::Exactly(2),
            tips: REPORT,
            handler: Handler::Whole(Whole { begin: publish, gather: stats }),
            ..BASE
        },
        Command {
            name: "USAGE",
            summary: "Returns the bytes that a key takes with its value.",
            since: "4.0.0",
            complexity: "O(N) where N is the number of chunks of the value",
            arity: Arity::AtLeast(3),
            flags: Flags::READONLY,
            keys: &[KeySpec::one(2, Access::RO)],
            arguments: &[
                Argument::key("key", 0),
                Argument::new("count", ArgumentKind::Integer).after("SAMPLES").optional(),
            ],
            handler: Handler::Keyed(usage),
            ..BASE
        },
    ],
    ..BASE
}];

const REPORT: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

/// Below this there is too little data to judge by.
const JUDGED_BYTES_MIN: u64 = 5 << 20;
/// The peak, fragmentation and buffers of clients are worth a word above these.
const PEAK_RATIO_MAX: f64 = 1.5;
const FRAGMENTATION_MAX: f64 = 1.4;
const FRAGMENTATION_BYTES_MAX: i64 = 10 << 20;
const CLIENT_BYTES_MAX: u64 = 200 << 10;

fn doctor(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let figures = MemoryFigures::take(cx.server, cx.config, (cx.scripts, cx.functions));
    let clients: i64 = cx.server.clients.iter().map(crate::observe::stats::Gauge::get).sum();
    let mut advice = String::new();
    if figures.used < JUDGED_BYTES_MIN {
        advice.push_str("There is hardly any data yet: too little to judge by.\n");
    } else {
        if figures.peak as f64 > figures.used as f64 * PEAK_RATIO_MAX {
            advice.push_str(
                "* Peak: much more memory was in use once than is now. What the allocator kept of it will be used again.\n",
            );
        }
        let (pages, beside) = (figures.in_pages(), figures.beside_pages());
        let is_much = |excess: Excess| {
            excess.ratio > FRAGMENTATION_MAX && excess.bytes > FRAGMENTATION_BYTES_MAX
        };
        if is_much(pages) {
            advice.push_str(
                "* Pages in part empty: the allocator has far more than is in use. After a peak that is harmless, since new values of the same sizes fill them; whole free pages go back to the system by themselves, or at once by MEMORY PURGE.\n",
            );
        }
        if is_much(beside) {
            advice.push_str(
                "* Beside the allocator: the process holds far more than the pages of its values.\n",
            );
        }
        if figures.clients / clients.max(1).unsigned_abs() > CLIENT_BYTES_MAX {
            advice.push_str(
                "* Clients: their buffers are large. CLIENT LIST shows which of them do not read their replies.\n",
            );
        }
        if advice.is_empty() {
            advice.push_str("Nothing is wrong with the use of memory.\n");
        }
    }
    reply.verbatim("txt", advice.as_bytes());
    Ok(())
}

fn memory_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help(
        reply,
        "MEMORY",
        &[
            "DOCTOR",
            "    Say what is wrong with the use of memory.",
            "MALLOC-STATS",
            "    Return the allocator's own report.",
            "PURGE",
            "    Ask the allocator to give memory back to the system.",
            "STATS",
            "    Return what takes how much memory.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return the bytes that the key takes with its value. They are computed",
            "    without samples; the option is accepted.",
        ],
    );
    Ok(())
}

fn malloc_stats(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// Every core makes the pages that it has emptied free for all.
fn purge(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|_| {
        alloc::give_back();
        Part::Done
    }))
}

/// The control plane then gives free pages back to the system, as it does by itself where there are many.
fn purged(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    cx.server.purge_asked.store(true, Relaxed);
    reply.ok();
    Ok(())
}

fn stats(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let figures = MemoryFigures::take(cx.server, cx.config, (cx.scripts, cx.functions));
    let of_db = |db: usize| cx.server.stats.iter().filter_map(move |stats| stats.dbs.get(db));
    let keys_of = |db| of_db(db).map(|one| one.keys.get()).sum::<u64>();
    let used_dbs: Vec<usize> = (0..cx.config.databases).filter(|db| keys_of(*db) > 0).collect();
    let keys: u64 = used_dbs.iter().map(|db| keys_of(*db)).sum();
    reply.map(33 + used_dbs.len());
    let mut number = |name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.count(value);
    };
    number("peak.allocated", figures.peak);
    number("total.allocated", figures.used);
    number("startup.allocated", figures.startup);
    number("replication.backlog", figures.backlog);
    number("replica.fullsync.buffer", figures.full_sync);
    number("clients.slaves", figures.replicas);
    number("clients.normal", figures.clients);
    number("cluster.links", 0);
    number("aof.buffer", figures.journal);
    number("lua.caches", cx.scripts.script_bytes() as u64);
    number("functions.caches", cx.functions.library_bytes() as u64);
    let engines =
        cx.server.sum(|stats| stats.script_engine_bytes.get() + stats.function_engine_bytes.get());
    number("script.VMs", engines);
    for db in used_dbs {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.count(of_db(db).map(|one| one.table_bytes.get()).sum());
        // The expiry stands in the key's own entry.
        reply.bulk(b"overhead.hashtable.expires");
        reply.count(0);
    }
    let per_key = figures.used.saturating_sub(figures.startup).checked_div(keys).unwrap_or(0);
    let mut number = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    };
    number("overhead.db.hashtable.lut", figures.tables as i64);
    number("overhead.db.hashtable.rehashing", 0);
    number("overhead.total", figures.overhead() as i64);
    number("db.dict.rehashing.count", 0);
    number("keys.count", keys as i64);
    number("keys.bytes-per-key", per_key as i64);
    number("dataset.bytes", figures.dataset() as i64);
    ratio(reply, "dataset.percentage", figures.dataset_percent());
    ratio(reply, "peak.percentage", figures.peak_percent());
    allocator_stats(&figures, reply);
    Ok(())
}

/// The last twelve fields of MEMORY STATS.
fn allocator_stats(figures: &MemoryFigures, reply: &mut Reply<'_>) {
    integer(reply, "allocator.allocated", figures.used as i64);
    integer(reply, "allocator.active", figures.active as i64);
    integer(reply, "allocator.resident", figures.resident as i64);
    integer(reply, "allocator.muzzy", 0);
    let none = Excess { ratio: 1.0, bytes: 0 };
    for (ratio_name, bytes_name, excess) in [
        ("allocator-fragmentation.ratio", "allocator-fragmentation.bytes", figures.in_pages()),
        ("allocator-rss.ratio", "allocator-rss.bytes", figures.beside_pages()),
        ("rss-overhead.ratio", "rss-overhead.bytes", none),
        ("fragmentation", "fragmentation.bytes", figures.fragmentation()),
    ] {
        ratio(reply, ratio_name, excess.ratio);
        integer(reply, bytes_name, excess.bytes);
    }
}

fn integer(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn ratio(reply: &mut Reply<'_>, name: &str, value: f64) {
    reply.bulk(name.as_bytes());
    reply.double(format_f64(value).as_bytes());
}

fn usage(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut index = 3;
    while index < args.len() {
        if !args.is(index, "SAMPLES") || index + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        if args.integer(index + 1)? < 0 {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let key = cx.key(args.get(2));
    match cx.peek(&key) {
        Some(entry) => reply.count(entry_bytes(entry) as u64),
        None => reply.null(),
    }
    Ok(())
}
