//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Invariant: these only turn the session's state; the queue and the watched keys belong to the
//! connection, and the event loop runs a transaction where its keys are.

use crate::command::session_context::Request;
use crate::command::{
    Access, Acl, Args, Argument, Arity, Command, CommandError, Context, Flags, Group, Handler,
    KeySpec, Outcome, SessionContext,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DISCARD",
        summary: "Drops the queued commands of a transaction.",
        since: "2.0.0",
        complexity: "O(N), where N is the number of queued commands",
        arity: Arity::Exactly(1),
        flags: STATE,
        handler: Handler::Session(discard),
        ..BASE
    },
    Command {
        name: "EXEC",
        summary: "Runs the queued commands of a transaction.",
        since: "1.2.0",
        complexity: "Depends on the commands in the transaction",
        arity: Arity::Exactly(1),
        flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SKIP_SLOWLOG),
        handler: Handler::Exec,
        ..BASE
    },
    Command {
        name: "MULTI",
        summary: "Starts a transaction.",
        since: "1.2.0",
        arity: Arity::Exactly(1),
        flags: STATE,
        handler: Handler::Session(multi),
        ..BASE
    },
    Command {
        name: "UNWATCH",
        summary: "Forgets all watched keys.",
        since: "2.2.0",
        arity: Arity::Exactly(1),
        flags: STATE,
        handler: Handler::Session(unwatch),
        ..BASE
    },
    Command {
        name: "WATCH",
        summary: "Watches keys: if one changes, the next EXEC does nothing.",
        since: "2.2.0",
        complexity: "O(1) for each key",
        arity: Arity::AtLeast(2),
        flags: STATE,
        keys: &[KeySpec::range(1, -1, 1, Access::RO)],
        arguments: &[Argument::key("key", 0).multiple()],
        handler: Handler::Keyed(watch),
        ..BASE
    },
];

const BASE: Command =
    Command { group: Group::Transactions, acl: Acl::TRANSACTION, ..Command::BASE };
const STATE: Flags = Flags::NOSCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY);

fn discard(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !cx.session.facts.in_multi {
        return Err(CommandError::DiscardWithoutMulti);
    }
    cx.session.facts.leave_multi();
    *cx.request = Some(Request::Discard);
    reply.ok();
    Ok(())
}

fn multi(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if cx.session.facts.in_multi {
        return Err(CommandError::NestedMulti);
    }
    cx.session.facts.in_multi = true;
    reply.ok();
    Ok(())
}

fn unwatch(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    *cx.request = Some(Request::Unwatch);
    reply.ok();
    Ok(())
}

fn watch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    for name in args.iter_from(1) {
        let key = cx.key(name);
        cx.watch(&key);
    }
    reply.ok();
    Ok(())
}
