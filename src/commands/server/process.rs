//! SHUTDOWN, TIME: the process and its clock.
//!
//! Invariant: the process ends when the event loop says so. Source: these commands of Redis 8.0.6.

use std::sync::atomic::Ordering::Relaxed;

use super::{ALWAYS, BASE, OPERATOR};
use crate::command::session_context::{EndWanted, Handover, Request, SaveOrder};
use crate::command::{
    Args, Argument, Arity, Command, CommandError, Flags, Handler, Outcome, SessionContext,
};
use crate::observe::journal::State;
use crate::observe::log;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SHUTDOWN",
        summary: "Ends the server.",
        since: "1.0.0",
        complexity: "O(N) to save, where N is the number of keys in all databases; O(1) otherwise",
        arity: Arity::AtLeast(1),
        flags: OPERATOR.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        arguments: &[
            Argument::one_of(
                "save-selector",
                &[Argument::token("nosave", "NOSAVE"), Argument::token("save", "SAVE")],
            )
            .optional(),
            Argument::token("now", "NOW").since("7.0.0").optional(),
            Argument::token("force", "FORCE").since("7.0.0").optional(),
            Argument::token("abort", "ABORT").since("7.0.0").optional(),
        ],
        handler: Handler::Session(shutdown),
        ..BASE
    },
    Command {
        name: "TIME",
        summary: "Returns the Unix time in seconds and microseconds.",
        since: "2.6.0",
        arity: Arity::Exactly(1),
        flags: ALWAYS.with(Flags::FAST),
        tips: &["nondeterministic_output"],
        handler: Handler::Session(time),
        ..BASE
    },
];

fn shutdown(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    let (mut save, mut nosave, mut abort, mut now, mut force) = (false, false, false, false, false);
    for index in 1..args.len() {
        if args.is(index, "SAVE") {
            save = true;
        } else if args.is(index, "NOSAVE") {
            nosave = true;
        } else if args.is(index, "NOW") {
            now = true;
        } else if args.is(index, "FORCE") {
            force = true;
        } else if args.is(index, "ABORT") {
            abort = true;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if save && nosave || abort && (save || nosave || now || force) {
        return Err(CommandError::Syntax);
    }
    let replication = &cx.server.replication;
    let waits = replication.ends_at.load(Relaxed) != 0;
    if abort && !waits {
        return Err(CommandError::NoShutdownInProgress);
    }
    if abort {
        *cx.request = Some(Request::Handover(Handover::AbortEnd));
        return Ok(());
    }
    if !nosave && cx.server.busy.any() {
        // A script that has written may only be cut off by somebody who says so.
        return Err(CommandError::busy(cx.server.busy.held().1));
    }
    if !waits {
        log::warning("User requested shutdown...");
    }
    // What is not there yet as a whole is not written.
    let saves =
        (save || !cx.config.save.is_empty() && !nosave) && !cx.server.persistence.is_loading();
    let decides =
        replication.replicas.load(Relaxed) > 0 || cx.server.journal.state() == State::Starting;
    *cx.request = Some(if (waits || decides) && !cx.server.busy.any() {
        Request::Handover(Handover::End(EndWanted { saves, force, now }))
    } else if saves {
        Request::Save(SaveOrder::Ending { force })
    } else {
        Request::Shutdown
    });
    Ok(())
}

fn time(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    reply.array(2);
    reply.bulk_integer(cx.wall.0.div_euclid(MICROS_PER_SECOND));
    reply.bulk_integer(cx.wall.0.rem_euclid(MICROS_PER_SECOND));
    Ok(())
}
