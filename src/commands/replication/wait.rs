//! WAIT: the client waits until replicas have what it has written.
//!
//! Invariant: the event loop waits, and answers with how many have it, whichever way the wait ends.
//! Source: WAIT of Redis 8.0.6.

use super::BASE;
use crate::base::number;
use crate::command::session_context::{AcksWanted, Request};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "WAIT",
    summary: "Waits until so many replicas have what the client has written.",
    since: "3.0.0",
    group: Group::Generic,
    arity: Arity::Exactly(3),
    flags: Flags::BLOCKING,
    acl: Acl::CONNECTION,
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    arguments: &[
        Argument::new("numreplicas", ArgumentKind::Integer),
        Argument::new("timeout", ArgumentKind::Integer),
    ],
    handler: Handler::Session(wait),
    ..BASE
}];

fn wait(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.config.replicaof.is_some() {
        return Err(CommandError::WaitOnReplica);
    }
    let replicas = number::parse_i64(args.get(1)).ok_or(CommandError::NotAnInteger)?;
    let deadline = args.timeout_millis(2, cx.now)?;
    *cx.request = Some(Request::AwaitAcks(AcksWanted { replicas, deadline }));
    Ok(())
}
