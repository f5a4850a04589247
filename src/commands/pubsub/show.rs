//! PUBSUB: who listens to what.
//!
//! Invariant: answered from the directory, which is the same on every core. Source: PUBSUB CHANNELS,
//! NUMPAT, NUMSUB and their shard forms.

use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, Flags, Group, Handler, Outcome, SessionContext,
};
use crate::commands::container::{self, wrong_form};
use crate::pubsub::Kind;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "PUBSUB",
    summary: "Holds the commands that look at pub/sub.",
    since: "2.8.0",
    group: Group::Pubsub,
    complexity: "Depends on subcommand.",
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    handler: Handler::Container,
    ..Command::BASE
}];

const BASE: Command = Command {
    since: "2.8.0",
    group: Group::Pubsub,
    arity: Arity::AtLeast(2),
    flags: Flags::PUBSUB.with(Flags::LOADING).with(Flags::STALE),
    ..Command::BASE
};

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "CHANNELS",
        summary: "Returns the channels that somebody listens to.",
        complexity: "O(N), where N is the number of channels",
        arguments: &[Argument::new("pattern", ArgumentKind::Pattern).optional()],
        handler: Handler::Session(|cx, args, reply| names(cx, args, Kind::Channel, reply)),
        ..BASE
    },
    Command {
        name: "HELP",
        summary: "Returns help about the subcommands.",
        since: "6.2.0",
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE),
        handler: Handler::Session(help),
        ..BASE
    },
    Command {
        name: "NUMPAT",
        summary: "Returns how many patterns somebody listens to.",
        arity: Arity::Exactly(2),
        handler: Handler::Session(numpat),
        ..BASE
    },
    Command {
        name: "NUMSUB",
        summary: "Returns how many clients listen to channels.",
        complexity: "O(N), where N is the number of channels",
        arguments: &[Argument::new("channel", ArgumentKind::String).optional().multiple()],
        handler: Handler::Session(|cx, args, reply| counts(cx, args, Kind::Channel, reply)),
        ..BASE
    },
    Command {
        name: "SHARDCHANNELS",
        summary: "Returns the shard channels that somebody listens to.",
        since: "7.0.0",
        complexity: "O(N), where N is the number of shard channels",
        arguments: &[Argument::new("pattern", ArgumentKind::Pattern).optional()],
        handler: Handler::Session(|cx, args, reply| names(cx, args, Kind::Shard, reply)),
        ..BASE
    },
    Command {
        name: "SHARDNUMSUB",
        summary: "Returns how many clients listen to shard channels.",
        since: "7.0.0",
        complexity: "O(N), where N is the number of shard channels",
        arguments: &[Argument::new("shardchannel", ArgumentKind::String).optional().multiple()],
        handler: Handler::Session(|cx, args, reply| counts(cx, args, Kind::Shard, reply)),
        ..BASE
    },
];

fn names(cx: &SessionContext<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 3 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let place = reply.defer();
    let mut len = 0;
    for name in cx.directory.names(kind, args.opt(2)) {
        reply.bulk(name);
        len += 1;
    }
    reply.array_at(place, len);
    Ok(())
}

fn numpat(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.count(cx.directory.len(Kind::Pattern) as u64);
    Ok(())
}

fn counts(cx: &SessionContext<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> Outcome {
    reply.array((args.len() - 2) * 2);
    for name in args.iter_from(2) {
        reply.bulk(name);
        reply.count(cx.directory.count(kind, name));
    }
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "PUBSUB", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the channels that somebody listens to, those that match a pattern.",
    "NUMPAT",
    "    Return how many different patterns somebody listens to.",
    "NUMSUB [<channel> ...]",
    "    Return how many clients listen to each channel, patterns aside.",
    "SHARDCHANNELS [<pattern>]",
    "    Return the shard channels that somebody listens to, those that match a pattern.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return how many clients listen to each shard channel.",
];
