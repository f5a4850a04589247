//! REPLICAOF, and what ROLE and INFO say of a replica.
//!
//! Invariant: the role is `replicaof` of the configuration, which every core has: writes are refused
//! everywhere when REPLICAOF is answered, and nothing more of the former primary takes effect. The
//! control plane sees to that, and opens the link. Source: REPLICAOF, ROLE, INFO of Redis 8.0.6.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use super::BASE;
use crate::client::{Verdict, info};
use crate::command::session_context::Request;
use crate::command::whole::{Job, Part, take_over};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext,
};
use crate::config::value::Endpoint;
use crate::observe::log;
use crate::observe::replication::FailoverState;
use crate::observe::server::ServerFacts;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "REPLICAOF",
        summary: "Makes the server follow a primary, or be one itself.",
        since: "5.0.0",
        ..FOLLOW
    },
    Command {
        name: "SLAVEOF",
        summary: "Makes the server follow a primary, or be one itself.",
        since: "1.0.0",
        deprecated: Some(("5.0.0", "`REPLICAOF`")),
        ..FOLLOW
    },
];

const FOLLOW: Command = Command {
    arity: Arity::Exactly(3),
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE).with(Flags::NO_ASYNC_LOADING),
    arguments: &[Argument::one_of(
        "args",
        &[
            Argument::block(
                "host-port",
                &[
                    Argument::new("host", ArgumentKind::String),
                    Argument::new("port", ArgumentKind::Integer),
                ],
            ),
            Argument::block(
                "no-one",
                &[Argument::token("no", "NO"), Argument::token("one", "ONE")],
            ),
        ],
    )],
    handler: Handler::Session(replicaof),
    ..BASE
};

fn replicaof(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if cx.server.replication.failover() != FailoverState::None {
        return Err(CommandError::RoleWhileFailingOver);
    }
    let held = cx.connection;
    let by = |cx: &SessionContext<'_>| info::line(cx.session, &held, cx.now);
    if args.is(1, "NO") && args.is(2, "ONE") {
        if cx.config.replicaof.is_none() {
            reply.ok();
            return Ok(());
        }
        log::notice(format!("MASTER MODE enabled (user request from '{}')", by(cx)));
        *cx.request = Some(Request::Follow(None));
        return Ok(());
    }
    if cx.session.replica.as_ref().is_some_and(|replica| replica.is_attached()) {
        return Err(CommandError::RoleOfReplica);
    }
    let port = args.integer(2).ok().and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else {
        reply.error("ERR Invalid master port");
        return Ok(());
    };
    let wanted = Endpoint { host: args.get(1).into(), port };
    if cx.config.replicaof.as_ref().is_some_and(|now| now.is(&wanted)) {
        log::notice(
            "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed.",
        );
        reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    let host = String::from_utf8_lossy(&wanted.host);
    log::notice(format!("REPLICAOF {host}:{port} enabled (user request from '{}')", by(cx)));
    *cx.request = Some(Request::Follow(Some(wanted)));
    Ok(())
}

/// Every core takes up the role. Whoever waits for a key on a primary waits in vain on a replica.
pub fn take_role(primary: Option<Endpoint>, server: Arc<ServerFacts>) -> Job {
    let made = OnceLock::new();
    Arc::new(move |view| {
        let (was, is) = (view.config.replicaof.is_some(), primary.is_some());
        if was && !is {
            // Before any core lets a client write: what it writes belongs to the history.
            let replication = &server.replication;
            replication.feed(replication.has_backlog.load(Relaxed));
        }
        let change = || Arc::new(view.config.with_replicaof(primary.clone()));
        *view.config = take_over(&made, change);
        if is && !was {
            view.clients.for_each(&mut |session, _| match &session.wait {
                Some(claim) if claim.take().is_ok() => Verdict::Disown,
                _ => Verdict::Keep,
            });
        }
        Part::Done
    })
}

/// ROLE of a replica.
pub fn role(cx: &SessionContext<'_>, primary: &Endpoint, reply: &mut Reply<'_>) {
    let link = &cx.server.primary_link;
    reply.array(5);
    reply.bulk(b"slave");
    reply.bulk(&primary.host);
    reply.integer(primary.port.into());
    reply.bulk(link.state().name().as_bytes());
    let offset = if link.is_up() { link.applied.load(Relaxed) as i64 } else { -1 };
    reply.integer(offset);
}
