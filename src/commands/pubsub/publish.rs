//! PUBLISH and SPUBLISH.
//!
//! Invariant: they run wherever their batch is; the message is an effect of the turn.

use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Channels, Command, CommandError, Context,
    Flags, Group, Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "PUBLISH",
        summary: "Sends a message to a channel.",
        since: "2.0.0",
        complexity: "O(N+M), where N is the number of subscribers of the channel and M the number of patterns",
        arguments: &[
            Argument::new("channel", ArgumentKind::String),
            Argument::new("message", ArgumentKind::String),
        ],
        handler: Handler::Here(publish),
        ..BASE
    },
    Command {
        name: "SPUBLISH",
        summary: "Sends a message to a shard channel.",
        since: "7.0.0",
        complexity: "O(N), where N is the number of subscribers of the shard channel",
        keys: &[KeySpec::one(1, Access::NOT_KEY)],
        arguments: &[
            Argument::new("shardchannel", ArgumentKind::String),
            Argument::new("message", ArgumentKind::String),
        ],
        handler: Handler::Here(spublish),
        ..BASE
    },
];

const BASE: Command = Command {
    group: Group::Pubsub,
    arity: Arity::Exactly(3),
    flags: Flags::PUBSUB
        .with(Flags::LOADING)
        .with(Flags::STALE)
        .with(Flags::FAST)
        .with(Flags::MAY_REPLICATE),
    acl: Acl::NONE,
    channels: Some(Channels { first: 1, to_the_end: false, patterns: false }),
    ..Command::BASE
};

fn publish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    may_push(cx)?;
    let published = cx.directory.publish(args.get(1), args.get(2));
    reply.count(cx.pushes.publish(published));
    cx.effects.propagate_to_replicas();
    Ok(())
}

fn spublish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    may_push(cx)?;
    let published = cx.directory.publish_shard(args.get(1), args.get(2));
    reply.count(cx.pushes.publish(published));
    cx.effects.propagate_to_replicas();
    Ok(())
}

/// Whoever can wait for room has waited; a script and a transaction cannot.
fn may_push(cx: &Context<'_>) -> Outcome {
    if cx.pushes.is_full() { Err(CommandError::TooManyPushes) } else { Ok(()) }
}
