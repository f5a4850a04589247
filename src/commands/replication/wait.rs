//! WAIT, WAITAOF: the client waits until replicas have what it has written, or have it on disk.
//!
//! Invariant: the event loop waits, and answers with who has it, whichever way the wait ends.
//! Source: these commands of Redis 8.0.6.

use super::BASE;
use crate::base::number;
use crate::command::session_context::{AcksWanted, Request};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "WAIT",
        summary: "Waits until so many replicas have what the client has written.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        arguments: &[
            Argument::new("numreplicas", ArgumentKind::Integer),
            Argument::new("timeout", ArgumentKind::Integer),
        ],
        handler: Handler::Session(wait),
        ..WAITS
    },
    Command {
        name: "WAITAOF",
        summary: "Waits until what the client has written is on the disk of this server, and of so many replicas.",
        since: "7.2.0",
        arity: Arity::Exactly(4),
        arguments: &[
            Argument::new("numlocal", ArgumentKind::Integer),
            Argument::new("numreplicas", ArgumentKind::Integer),
            Argument::new("timeout", ArgumentKind::Integer),
        ],
        handler: Handler::Session(waitaof),
        ..WAITS
    },
];

const WAITS: Command = Command {
    group: Group::Generic,
    flags: Flags::BLOCKING,
    acl: Acl::CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    ..BASE
};

fn wait(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.config.replicaof.is_some() {
        return Err(CommandError::WaitOnReplica);
    }
    let replicas = number::parse_i64(args.get(1)).ok_or(CommandError::NotAnInteger)?;
    let deadline = args.timeout_millis(2, cx.now)?;
    *cx.request = Some(Request::AwaitAcks(AcksWanted { replicas, on_disk: None, deadline }));
    Ok(())
}

fn waitaof(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    let local = match args.integer(1)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::NotZeroOrOne),
    };
    let replicas = args.integer(2).ok().filter(|replicas| *replicas >= 0);
    let replicas = replicas.ok_or(CommandError::NotPositive)?;
    let deadline = args.timeout_millis(3, cx.now)?;
    if cx.config.replicaof.is_some() {
        return Err(CommandError::WaitaofOnReplica);
    }
    if local && !cx.config.appendonly {
        return Err(CommandError::WaitaofWithoutFile);
    }
    let on_disk = Some(local);
    *cx.request = Some(Request::AwaitAcks(AcksWanted { replicas, on_disk, deadline }));
    Ok(())
}
