//! SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF: when the data was, and is, written to its files.
//!
//! Invariant: nothing is written here; the event loop begins a snapshot when it has all partitions.
//! Source: these commands of Redis 8.0.6, and BGSAVE CANCEL of Valkey 9.1.

use std::sync::atomic::Ordering;

use super::{ALWAYS, BASE};
use crate::command::session_context::{Request, SaveOrder};
use crate::command::{
    Acl, Args, Argument, Arity, Command, CommandError, Flags, Handler, Outcome, SessionContext,
};
use crate::observe::log;
use crate::observe::persistence::Purpose;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "BGREWRITEAOF",
        summary: "Replaces the files of the AOF by a short base while everybody goes on.",
        since: "1.0.0",
        complexity: "O(1); the data is written in slices afterwards.",
        arity: Arity::Exactly(1),
        flags: SAVES,
        handler: Handler::Session(bgrewriteaof),
        ..BASE
    },
    Command {
        name: "BGSAVE",
        summary: "Writes all data to the file while everybody goes on.",
        since: "1.0.0",
        complexity: "O(1); the data is written in slices afterwards.",
        arity: Arity::AtLeast(1),
        flags: SAVES,
        arguments: &[Argument::one_of(
            "operation",
            &[
                Argument::token("schedule", "SCHEDULE").since("3.2.2"),
                Argument::token("cancel", "CANCEL").since("8.1.0"),
            ],
        )
        .optional()],
        handler: Handler::Session(bgsave),
        ..BASE
    },
    Command {
        name: "LASTSAVE",
        summary: "Returns the Unix time of the last save that succeeded.",
        since: "1.0.0",
        arity: Arity::Exactly(1),
        flags: ALWAYS.with(Flags::FAST),
        acl: Acl::ADMIN.with(Acl::DANGEROUS),
        tips: &["nondeterministic_output"],
        handler: Handler::Session(lastsave),
        ..BASE
    },
    Command {
        name: "SAVE",
        summary: "Writes all data to the file while commands of keys wait.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys in all databases",
        arity: Arity::Exactly(1),
        flags: SAVES.with(Flags::NO_MULTI),
        handler: Handler::Session(save),
        ..BASE
    },
];

const SAVES: Flags = Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING);

fn save(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.server.persistence.is_saving() {
        return Err(CommandError::SaveInProgress);
    }
    *cx.request = Some(Request::Save(SaveOrder::Foreground));
    Ok(())
}

fn bgsave(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let is_schedule = args.len() == 2 && args.is(1, "SCHEDULE");
    if args.len() == 2 && args.is(1, "CANCEL") {
        return cancel(cx, reply);
    }
    if args.len() > 1 && !is_schedule {
        return Err(CommandError::Syntax);
    }
    let persistence = &cx.server.persistence;
    if persistence.is_saving() {
        return Err(CommandError::SaveInProgress);
    }
    if persistence.is_busy() {
        if !is_schedule && !cx.inside_exec {
            return Err(CommandError::OtherSnapshot);
        }
        persistence.scheduled.store(true, Ordering::Relaxed);
        reply.simple("Background saving scheduled");
        return Ok(());
    }
    *cx.request = Some(Request::Save(SaveOrder::Background));
    Ok(())
}

fn bgrewriteaof(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (persistence, rewrites) = (&cx.server.persistence, &cx.server.journal.rewrites);
    if persistence.is_busy_with(Purpose::AofBase) {
        return Err(CommandError::RewriteInProgress);
    }
    if cx.inside_exec || !persistence.begin(Purpose::AofBase, cx.now.seconds()) {
        rewrites.scheduled.store(true, Ordering::Relaxed);
        // Who asks for it does not wait for what failures have put off.
        rewrites.failures.store(0, Ordering::Relaxed);
        reply.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    *cx.request = Some(Request::Rewrite);
    Ok(())
}

fn cancel(cx: &mut SessionContext<'_>, reply: &mut Reply<'_>) -> Outcome {
    let persistence = &cx.server.persistence;
    if persistence.is_saving() {
        log::notice("Background saving will be aborted due to user request");
        persistence.cancelled.store(true, Ordering::Release);
        reply.simple("Background saving cancelled");
    } else if persistence.scheduled.swap(false, Ordering::Relaxed) {
        log::notice("Scheduled background saving will be cancelled due to user request");
        reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::NoSaveToCancel);
    }
    Ok(())
}

fn lastsave(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(cx.server.persistence.last_save.load(Ordering::Relaxed));
    Ok(())
}
