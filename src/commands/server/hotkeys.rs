//! HOTKEYS: the keys on which commands spend most time or bytes, counted on request.
//!
//! Invariant: all cores begin and end a session by parts of one command, and decide by the time that
//! it carries, so they always agree whether one is under way. Source: HOTKEYS of Redis 8.6.

use std::sync::Arc;

use super::{ALWAYS, BASE};
use crate::base::slot::Slot;
use crate::base::sys;
use crate::base::time::Millis;
use crate::command::whole::{Job, Part};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext, Whole,
};
use crate::commands::container::help;
use crate::observe::hotkeys::{HotKeySession, Plan, Top, micros};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "HOTKEYS",
    summary: "Holds the commands about keys that commands spend most on.",
    since: "8.6.0",
    complexity: "Depends on subcommand.",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "GET",
            summary: "Returns what a session has counted.",
            complexity: "O(N) where N is the number of keys that are counted",
            arity: Arity::Exactly(2),
            handler: Handler::Whole(Whole { begin: get_begin, gather: get }),
            ..SUBCOMMAND
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "8.6.1",
            arity: Arity::Exactly(2),
            flags: ALWAYS,
            handler: Handler::Session(hotkeys_help),
            ..SUBCOMMAND
        },
        Command {
            name: "RESET",
            summary: "Forgets what a session has counted.",
            arity: Arity::Exactly(2),
            handler: Handler::Whole(Whole { begin: reset_begin, gather: done }),
            ..SUBCOMMAND
        },
        Command {
            name: "START",
            summary: "Begins a session.",
            arity: Arity::AtLeast(2),
            arguments: START,
            handler: Handler::Whole(Whole { begin: start_begin, gather: done }),
            ..SUBCOMMAND
        },
        Command {
            name: "STOP",
            summary: "Ends a session; what it has counted stays.",
            arity: Arity::Exactly(2),
            handler: Handler::Whole(Whole { begin: stop_begin, gather: stop }),
            ..SUBCOMMAND
        },
    ],
    ..BASE
}];

const SUBCOMMAND: Command = Command {
    since: "8.6.0",
    complexity: "O(1)",
    flags: Flags::ADMIN.with(Flags::NOSCRIPT),
    ..BASE
};

const START: &[Argument] = &[
    Argument::block(
        "metrics",
        &[
            Argument::new("count", ArgumentKind::Integer),
            Argument::token("cpu", "CPU").optional(),
            Argument::token("net", "NET").optional(),
        ],
    )
    .after("METRICS"),
    Argument::new("k", ArgumentKind::Integer).after("COUNT").optional(),
    Argument::new("seconds", ArgumentKind::Integer).after("DURATION").optional(),
    Argument::new("ratio", ArgumentKind::Integer).after("SAMPLE").optional(),
    Argument::block(
        "slots",
        &[
            Argument::new("count", ArgumentKind::Integer),
            Argument::new("slot", ArgumentKind::Integer).multiple(),
        ],
    )
    .after("SLOTS")
    .optional(),
];

/// Metrics that there are.
const METRICS: i64 = 2;
/// Keys that are shown if nothing else is said, and at most.
const COUNT: (usize, i64) = (10, 64);
const SECONDS_MAX: i64 = 1_000_000;
const IN_PROGRESS: &str = "ERR hotkey tracking session already in progress";
const STOP_FIRST: &str = "ERR hotkey tracking session in progress, stop tracking first";

fn start_begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let plan = match parse(args) {
        Ok(plan) => Plan { started: cx.now, cpu_before: sys::process_cpu_micros(), ..plan },
        Err(Wrong::Syntax) => return Err(CommandError::Syntax),
        Err(Wrong::Said(text)) => return Err(cx.refuse(text.into())),
    };
    Ok(Arc::new(move |view| {
        if view.hotkeys.as_ref().is_some_and(|session| session.is_active(plan.started)) {
            return Part::Failed(IN_PROGRESS.into());
        }
        *view.hotkeys = Some(Box::new(HotKeySession::begin(plan.clone())));
        Part::Done
    }))
}

/// What is wrong with the words of HOTKEYS START.
enum Wrong {
    Syntax,
    Said(&'static str),
}

/// What is ordered; when it begins is not said here.
fn parse(args: Args<'_>) -> Result<Plan, Wrong> {
    if args.len() < 4 || !args.is(2, "METRICS") {
        return Err(Wrong::Said("ERR METRICS parameter is required"));
    }
    let number = |at: usize, most: i64, text: &'static str| {
        let number = args.integer(at).ok().filter(|number| (1..=most).contains(number));
        number.ok_or(Wrong::Said(text))
    };
    let metrics = number(3, METRICS, "ERR METRICS count must be > 0 and <= 2")? as usize;
    let mut plan = Plan {
        cpu: false,
        net: false,
        count: COUNT.0,
        duration: None,
        ratio: 1,
        started: Millis(0),
        cpu_before: (0, 0),
    };
    let mut at = 4;
    while at < args.len() && at < 4 + metrics {
        // Metrics that come later are passed over.
        if args.is(at, "CPU") && std::mem::replace(&mut plan.cpu, true) {
            return Err(Wrong::Said("ERR METRICS CPU defined more than once!"));
        }
        if args.is(at, "NET") && std::mem::replace(&mut plan.net, true) {
            return Err(Wrong::Said("ERR METRICS NET defined more than once!"));
        }
        plan.cpu |= args.is(at, "CPU");
        plan.net |= args.is(at, "NET");
        at += 1;
    }
    if at != 4 + metrics {
        let text = "ERR METRICS count does not match number of metric types provided";
        return Err(Wrong::Said(text));
    }
    if !plan.cpu && !plan.net {
        return Err(Wrong::Said("ERR METRICS no valid metrics passed. Supported: CPU|NET"));
    }
    while at < args.len() {
        let value = at + 1;
        if value == args.len() {
            return Err(Wrong::Syntax);
        }
        if args.is(at, "COUNT") {
            plan.count = number(value, COUNT.1, "ERR COUNT must be between 1 and 64")? as usize;
        } else if args.is(at, "DURATION") {
            let text = "ERR DURATION must be between 1 and 1000000";
            plan.duration = Some(number(value, SECONDS_MAX, text)? * 1000);
        } else if args.is(at, "SAMPLE") {
            let text = "ERR SAMPLE ratio must be positive";
            plan.ratio = number(value, i64::from(i32::MAX), text)? as u64;
        } else if args.is(at, "SLOTS") {
            let text = "ERR SLOTS parameter cannot be used in non-cluster mode";
            return Err(Wrong::Said(text));
        } else {
            return Err(Wrong::Syntax);
        }
        at += 2;
    }
    Ok(plan)
}

fn done(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let failed = parts.into_iter().find_map(|part| match part {
        Part::Failed(text) => Some(text),
        _ => None,
    });
    if let Some(text) = failed {
        reply.error(text);
        Err(CommandError::Written)
    } else {
        reply.ok();
        Ok(())
    }
}

fn stop_begin(cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    let now = cx.now;
    Ok(Arc::new(move |view| match view.hotkeys {
        Some(session) if session.is_active(now) => {
            session.stop(now);
            Part::Count(1)
        }
        _ => Part::Done,
    }))
}

fn stop(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let was_active = parts.iter().any(|part| matches!(part, Part::Count(_)));
    if was_active {
        reply.ok();
    } else {
        reply.null();
    }
    Ok(())
}

fn reset_begin(cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    let now = cx.now;
    Ok(Arc::new(move |view| {
        if view.hotkeys.as_ref().is_some_and(|session| session.is_active(now)) {
            return Part::Failed(STOP_FIRST.into());
        }
        *view.hotkeys = None;
        Part::Done
    }))
}

fn get_begin(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view| view.hotkeys.clone().map_or(Part::Done, Part::HotKeys)))
}

fn get(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let of_part = |part| if let Part::HotKeys(session) = part { Some(session) } else { None };
    let cores: Vec<Box<HotKeySession>> = parts.into_iter().filter_map(of_part).collect();
    let Some(session) = cores.first() else {
        reply.null();
        return Ok(());
    };
    let Plan { cpu, net, count, ratio, started, cpu_before, .. } = session.plan.clone();
    // One node's map, so that a client of several can put theirs side by side.
    reply.array(1);
    reply.map(7 + 3 * usize::from(cpu) + 2 * usize::from(net));
    let field = |reply: &mut Reply<'_>, name: &str, value: u64| {
        reply.bulk(name.as_bytes());
        reply.count(value);
    };
    field(reply, "tracking-active", session.is_active(cx.now).into());
    field(reply, "sample-ratio", ratio);
    reply.bulk(b"selected-slots");
    reply.array(1);
    reply.array(2);
    reply.count(0);
    reply.count(u64::from(Slot::COUNT) - 1);
    let nanos = cores.iter().map(|core| core.nanos).sum();
    field(reply, "all-commands-all-slots-us", micros(nanos));
    let bytes = cores.iter().map(|core| core.bytes).sum();
    field(reply, "net-bytes-all-commands-all-slots", bytes);
    reply.bulk(b"collection-start-time-unix-ms");
    reply.integer(started.0);
    reply.bulk(b"collection-duration-ms");
    reply.integer(session.lasted(cx.now));
    if cpu {
        let (user, system) = sys::process_cpu_micros();
        field(reply, "total-cpu-time-user-ms", (user - cpu_before.0) / 1000);
        field(reply, "total-cpu-time-sys-ms", (system - cpu_before.1) / 1000);
    }
    if net {
        let total = cores.iter().map(|core| core.by_bytes.total()).sum();
        field(reply, "total-net-bytes", total);
    }
    if cpu {
        let top = Top::joined(cores.iter().map(|core| &core.by_time), count);
        let micros = top.into_iter().map(|(key, nanos)| (key, micros(nanos))).collect();
        write_keys(reply, "by-cpu-time-us", micros);
    }
    if net {
        let top = Top::joined(cores.iter().map(|core| &core.by_bytes), count);
        write_keys(reply, "by-net-bytes", top);
    }
    Ok(())
}

fn write_keys(reply: &mut Reply<'_>, name: &str, keys: Vec<(Vec<u8>, u64)>) {
    reply.bulk(name.as_bytes());
    reply.array(2 * keys.len());
    for (key, value) in keys {
        reply.bulk(&key);
        reply.count(value);
    }
}

fn hotkeys_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let lines = [
        "GET",
        "    Return what a session has counted.",
        "RESET",
        "    Forget it. The session must have ended.",
        "START METRICS <count> [CPU] [NET] [COUNT <k>] [DURATION <seconds>] [SAMPLE <ratio>]",
        "    Begin to count the time (CPU) or bytes (NET) of commands by key, of one command in <ratio>,",
        "    and show the first <k> keys.",
        "STOP",
        "    End the session; what it has counted stays.",
    ];
    help(reply, "HOTKEYS", &lines);
    Ok(())
}
