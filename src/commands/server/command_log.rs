//! SLOWLOG and COMMANDLOG: the last commands that took long, or had a large request or reply.
//!
//! Invariant: every core sends what it holds, and the newest of all are shown; what the cores hold
//! beyond the limit of the log counts for nothing. Source: Redis 8.0 (SLOWLOG), Valkey 9.1
//! (COMMANDLOG); SLOWLOG GET with TIMES is ours.

use std::sync::Arc;

use super::{ALWAYS, BASE};
use crate::base::number;
use crate::command::whole::{Job, Part};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext, Whole,
};
use crate::commands::container::{help, wrong_form};
use crate::config::Config;
use crate::observe::command_log::{LogKind, LoggedCommand, gather};
use crate::resp::reply::Reply;

/// What the subcommands are that look into a log.
const FLAGS: Flags = Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE);
/// Entries without a count.
const ENTRIES: usize = 10;
/// What a client asks for that wants to know where the time went.
const TIMES: &str = "TIMES";

const GET_TIPS: &[&str] = &["request_policy:all_nodes", "nondeterministic_output"];
const LEN_TIPS: &[&str] =
    &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"];
const RESET_TIPS: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

const TYPE: Argument = Argument::one_of(
    "type",
    &[
        Argument::token("slow", "SLOW"),
        Argument::token("large-request", "LARGE-REQUEST"),
        Argument::token("large-reply", "LARGE-REPLY"),
    ],
);
const COUNT: Argument = Argument::new("count", ArgumentKind::Integer);

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "COMMANDLOG",
        summary: "Holds the commands about the command logs.",
        since: "8.1.0",
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        subcommands: COMMANDLOG,
        ..BASE
    },
    Command {
        name: "SLOWLOG",
        summary: "Holds the commands about the slow log.",
        since: "2.2.12",
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        subcommands: SLOWLOG,
        ..BASE
    },
];

const COMMANDLOG: &[Command] = &[
    Command {
        name: "GET",
        summary: "Returns the newest entries of a command log.",
        since: "8.1.0",
        complexity: "O(N) where N is the number of entries returned",
        arity: Arity::Exactly(4),
        flags: FLAGS,
        tips: GET_TIPS,
        arguments: &[COUNT, TYPE],
        handler: Handler::Whole(Whole { begin: get_begin, gather: get_gather }),
        ..BASE
    },
    Command {
        name: "HELP",
        summary: "Lists the subcommands.",
        since: "8.1.0",
        arity: Arity::Exactly(2),
        flags: ALWAYS,
        handler: Handler::Session(commandlog_help),
        ..BASE
    },
    Command {
        name: "LEN",
        summary: "Returns how many entries a command log has.",
        since: "8.1.0",
        arity: Arity::Exactly(3),
        flags: FLAGS,
        tips: LEN_TIPS,
        arguments: &[TYPE],
        handler: Handler::Whole(Whole { begin: len_begin, gather: len_gather }),
        ..BASE
    },
    Command {
        name: "RESET",
        summary: "Empties a command log.",
        since: "8.1.0",
        complexity: "O(N) where N is the number of entries",
        arity: Arity::Exactly(3),
        flags: FLAGS,
        tips: RESET_TIPS,
        arguments: &[TYPE],
        handler: Handler::Whole(Whole::acknowledged(reset_begin)),
        ..BASE
    },
];

const SLOWLOG: &[Command] = &[
    Command {
        name: "GET",
        summary: "Returns the newest entries of the slow log.",
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries returned",
        arity: Arity::AtLeast(2),
        flags: FLAGS,
        tips: GET_TIPS,
        arguments: &[Argument { optional: true, ..COUNT }],
        handler: Handler::Whole(Whole { begin: get_begin, gather: get_gather }),
        ..BASE
    },
    Command {
        name: "HELP",
        summary: "Lists the subcommands.",
        since: "6.2.0",
        arity: Arity::Exactly(2),
        flags: ALWAYS,
        handler: Handler::Session(slowlog_help),
        ..BASE
    },
    Command {
        name: "LEN",
        summary: "Returns how many entries the slow log has.",
        since: "2.2.12",
        arity: Arity::Exactly(2),
        flags: FLAGS,
        tips: LEN_TIPS,
        handler: Handler::Whole(Whole { begin: len_begin, gather: len_gather }),
        ..BASE
    },
    Command {
        name: "RESET",
        summary: "Empties the slow log.",
        since: "2.2.12",
        complexity: "O(N) where N is the number of entries",
        arity: Arity::Exactly(2),
        flags: FLAGS,
        tips: RESET_TIPS,
        handler: Handler::Whole(Whole::acknowledged(reset_begin)),
        ..BASE
    },
];

/// Which log a request means whose word `at` names it; SLOWLOG means its own.
fn kind(args: Args<'_>, at: usize) -> Result<LogKind, CommandError> {
    if args.is(0, "SLOWLOG") {
        return Ok(LogKind::Slow);
    }
    LogKind::of(args.get(at)).ok_or(CommandError::CommandLogType)
}

/// Entries of a log, at most.
fn len_max(config: &Config, kind: LogKind) -> usize {
    match kind {
        LogKind::Slow => config.slowlog_max_len,
        LogKind::LargeRequest => config.commandlog_large_request_max_len,
        LogKind::LargeReply => config.commandlog_large_reply_max_len,
    }
}

/// How many entries a request wants.
fn count(args: Args<'_>) -> Result<usize, CommandError> {
    let Some(word) = args.opt(2) else { return Ok(ENTRIES) };
    match number::parse_i64(word) {
        Some(-1) => Ok(usize::MAX),
        Some(count) => usize::try_from(count).map_err(|_| CommandError::LogCount),
        None => Err(CommandError::LogCount),
    }
}

fn get_begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let is_slowlog = args.is(0, "SLOWLOG");
    if is_slowlog && (args.len() > 4 || args.len() == 4 && !args.is(3, TIMES)) {
        return Err(cx.refuse(wrong_form(args)));
    }
    let count = count(args)?;
    let kind = kind(args, 3)?;
    Ok(Arc::new(move |view| Part::Logged(view.command_log.newest(kind, count))))
}

fn get_gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let kind = kind(args, 3)?;
    let entries_of = |part| if let Part::Logged(entries) = part { entries } else { Vec::new() };
    let entries: Vec<_> = parts.into_iter().flat_map(entries_of).collect();
    let entries = gather(entries, count(args)?.min(len_max(cx.config, kind)));
    let with_times = args.is(0, "SLOWLOG") && args.len() == 4;
    reply.array(entries.len());
    for entry in &entries {
        describe(entry, with_times, reply);
    }
    Ok(())
}

fn describe(entry: &LoggedCommand, with_times: bool, reply: &mut Reply<'_>) {
    reply.array(6 + usize::from(with_times));
    reply.count(entry.id);
    reply.integer(entry.seconds);
    reply.count(entry.value);
    reply.array(entry.words.len());
    entry.words.iter().for_each(|word| reply.bulk(word));
    reply.bulk(entry.addr.as_bytes());
    reply.bulk(&entry.name);
    if with_times {
        let spent = &entry.spent;
        reply.map(4);
        for (name, nanos) in [
            ("queue", spent.queue),
            ("hop", spent.hop),
            ("loan", spent.loan),
            ("execution", spent.execution),
        ] {
            reply.bulk(name.as_bytes());
            reply.count(nanos / 1000);
        }
    }
}

fn len_begin(_cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let kind = kind(args, 2)?;
    Ok(Arc::new(move |view| Part::Count(view.command_log.len(kind) as u64)))
}

fn len_gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let len_max = len_max(cx.config, kind(args, 2)?) as u64;
    let held = parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 });
    reply.count(held.sum::<u64>().min(len_max));
    Ok(())
}

fn reset_begin(_cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let kind = kind(args, 2)?;
    Ok(Arc::new(move |view| {
        view.command_log.clear(kind);
        Part::Done
    }))
}

fn slowlog_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let lines = [
        "GET [<count> [TIMES]]",
        "    Return the newest <count> entries (default: 10, -1 for all): id, timestamp, microseconds",
        "    of execution, words of the request, address and name of the client. With TIMES a map",
        "    follows: microseconds in the queue, in hops between cores, in wait for loans, of execution.",
        "LEN",
        "    Return how many entries there are.",
        "RESET",
        "    Forget all entries.",
    ];
    help(reply, "SLOWLOG", &lines);
    Ok(())
}

fn commandlog_help(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let lines = [
        "GET <count> <type>",
        "    Return the newest <count> entries (-1 for all) of a log: id, timestamp, microseconds (slow)",
        "    or bytes (large-request, large-reply), words of the request, address and name of the client.",
        "LEN <type>",
        "    Return how many entries a log has.",
        "RESET <type>",
        "    Forget all entries of a log.",
    ];
    help(reply, "COMMANDLOG", &lines);
    Ok(())
}
