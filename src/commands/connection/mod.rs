//! Connection: who the client is, what it speaks, which database it works on, and CLIENT.
//!
//! Invariant: nothing here touches a key; what one client asks for itself runs on its home core, and
//! what concerns other clients has a part on every core. Source: the command reference of Redis
//! 8.0.6, group connection; what only Valkey 9.1 has is marked by its version.

mod auth;
mod client;
mod client_arguments;
mod client_filter;
mod client_kill;
mod client_list;
mod client_pause;
pub mod client_tracking;
mod client_unblock;
mod hello;

use super::pubsub::subscribe::leave_some;
use super::server::monitor;
use crate::base::number;
use crate::client::ReplyMode;
use crate::command::args::ArgValue;
use crate::command::session_context::Request;
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::resp::Proto;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "AUTH",
        summary: "Proves who the client is by password.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(N), where N is the number of passwords of the user",
        arity: Arity::AtLeast(2),
        flags: Flags::NOSCRIPT
            .with(Flags::LOADING)
            .with(Flags::STALE)
            .with(Flags::FAST)
            .with(Flags::NO_AUTH)
            .with(Flags::ALLOW_BUSY),
        acl: Acl::CONNECTION,
        arguments: &[
            Argument::new("username", ArgumentKind::String).optional().since("6.0.0"),
            Argument::new("password", ArgumentKind::String),
        ],
        handler: Handler::Session(auth::auth),
        ..Command::BASE
    },
    Command {
        name: "CLIENT",
        summary: "Holds the commands about client connections.",
        since: "2.4.0",
        group: Group::Connection,
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        subcommands: client::SUBCOMMANDS,
        handler: Handler::Container,
        ..Command::BASE
    },
    Command {
        name: "ECHO",
        summary: "Answers with its argument.",
        since: "1.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        acl: Acl::CONNECTION,
        arguments: &[Argument::new("message", ArgumentKind::String)],
        takes_chunks: true,
        handler: Handler::Session(echo),
        ..Command::BASE
    },
    Command {
        name: "HELLO",
        summary: "Greets the server and chooses the protocol version.",
        since: "6.0.0",
        group: Group::Connection,
        arity: Arity::AtLeast(1),
        flags: Flags::NOSCRIPT
            .with(Flags::LOADING)
            .with(Flags::STALE)
            .with(Flags::FAST)
            .with(Flags::NO_AUTH)
            .with(Flags::ALLOW_BUSY),
        acl: Acl::CONNECTION,
        arguments: &[Argument::block(
            "arguments",
            &[
                Argument::new("protover", ArgumentKind::Integer),
                Argument::block(
                    "auth",
                    &[
                        Argument::new("username", ArgumentKind::String),
                        Argument::new("password", ArgumentKind::String),
                    ],
                )
                .after("AUTH")
                .optional(),
                Argument::new("clientname", ArgumentKind::String).after("SETNAME").optional(),
            ],
        )
        .optional()],
        handler: Handler::Session(hello::hello),
        ..Command::BASE
    },
    Command {
        name: "PING",
        summary: "Answers that the server is alive.",
        since: "1.0.0",
        group: Group::Connection,
        arity: Arity::AtLeast(1),
        flags: Flags::FAST,
        acl: Acl::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: &[Argument::new("message", ArgumentKind::String).optional()],
        takes_chunks: true,
        handler: Handler::Session(ping),
        ..Command::BASE
    },
    Command {
        name: "QUIT",
        summary: "Closes the connection after the reply.",
        since: "1.0.0",
        group: Group::Connection,
        arity: Arity::AtLeast(1),
        flags: Flags::NOSCRIPT
            .with(Flags::LOADING)
            .with(Flags::STALE)
            .with(Flags::FAST)
            .with(Flags::NO_AUTH)
            .with(Flags::ALLOW_BUSY),
        acl: Acl::CONNECTION,
        deprecated: Some(("7.2.0", "just closing the connection")),
        handler: Handler::Session(quit),
        ..Command::BASE
    },
    Command {
        name: "RESET",
        summary: "Puts the connection back into its first state.",
        since: "6.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(1),
        flags: Flags::NOSCRIPT
            .with(Flags::LOADING)
            .with(Flags::STALE)
            .with(Flags::FAST)
            .with(Flags::NO_AUTH)
            .with(Flags::ALLOW_BUSY),
        acl: Acl::CONNECTION,
        handler: Handler::Session(reset),
        ..Command::BASE
    },
    Command {
        name: "SELECT",
        summary: "Chooses the database of the connection.",
        since: "1.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        acl: Acl::CONNECTION,
        arguments: &[Argument::new("index", ArgumentKind::Integer)],
        databases: Some(|_| vec![1]),
        handler: Handler::Session(select),
        ..Command::BASE
    },
];

fn echo(_cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    bulk(reply, args.value(1));
    Ok(())
}

fn ping(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // Subscribers get it in the form of a message.
    let as_message = cx.session.facts.subscribed && reply.proto() == Proto::Resp2;
    if as_message && args.len() <= 2 {
        reply.array(2);
        reply.bulk(b"pong");
    }
    match args.len() {
        1 if as_message => reply.bulk(b""),
        1 => reply.simple("PONG"),
        2 => bulk(reply, args.value(1)),
        _ => return Err(CommandError::PingArity),
    }
    Ok(())
}

fn quit(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    cx.session.close_after_reply = true;
    reply.ok();
    Ok(())
}

fn reset(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // CLIENT REPLY SKIP still covers this very reply.
    let skipped = cx.session.facts.reply_mode == ReplyMode::Skip;
    cx.stats.pubsub_clients.sub(cx.session.facts.subscribed.into());
    // The rest is left before the next command runs.
    let left = leave_some(cx.session, cx.core);
    let left = client_tracking::turn_off(cx, left);
    let left = monitor::turn_off(cx, left);
    cx.session.reset(cx.users.is_open());
    *cx.request = Some(left.map_or(Request::Discard, Request::Leave));
    if skipped {
        cx.session.facts.reply_mode = ReplyMode::Skip;
    }
    reply.set_proto(Proto::Resp2);
    reply.simple("RESET");
    Ok(())
}

fn select(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let number = args.integer(1)?;
    let number = i32::try_from(number).map_err(|_| CommandError::IntOutOfRange)?;
    if cx.config.cluster_enabled && number != 0 {
        return Err(CommandError::SelectInCluster);
    }
    cx.session.facts.db = usize::try_from(number)
        .ok()
        .filter(|db| *db < cx.config.databases)
        .ok_or(CommandError::DbIndexOutOfRange)?;
    reply.ok();
    Ok(())
}

/// Sends a word of the request back; a large one is not copied.
fn bulk(reply: &mut Reply<'_>, value: ArgValue<'_>) {
    match value {
        ArgValue::Bytes(bytes) => reply.bulk(bytes),
        ArgValue::Big(big) => reply.bulk_chunks(big.len(), big.chunks().iter()),
    }
}

/// A word as an integer of 32 bits, the width of what stock servers read there.
fn int32(word: &[u8]) -> Option<i32> {
    number::parse_i64(word).and_then(|value| i32::try_from(value).ok())
}
