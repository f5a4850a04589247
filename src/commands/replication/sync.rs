//! PSYNC, SYNC: a client wants to be a replica.
//!
//! Invariant: the words are checked here; the client then moves, with its connection, to the core
//! that keeps the stream, which answers. Source: these commands of Redis 8.0.6.

use super::BASE;
use crate::base::number;
use crate::client::info;
use crate::command::session_context::{Request, SyncWanted};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext,
};
use crate::observe::log;
use crate::observe::replication::{FailoverState, ReplicationId};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "PSYNC",
        summary: "Makes the client a replica, which goes on where it was if that is possible.",
        since: "2.8.0",
        arity: Arity::AtLeast(3),
        flags: SYNCS,
        arguments: &[
            Argument::new("replicationid", ArgumentKind::String),
            Argument::new("offset", ArgumentKind::Integer),
        ],
        handler: Handler::Session(psync),
        ..BASE
    },
    Command {
        name: "SYNC",
        summary: "Makes the client a replica in the way of old servers.",
        since: "1.0.0",
        arity: Arity::Exactly(1),
        flags: SYNCS,
        handler: Handler::Session(sync),
        ..BASE
    },
];

const SYNCS: Flags =
    Flags::ADMIN.with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI).with(Flags::NOSCRIPT);

fn psync(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if is_replica(cx) {
        return Ok(());
    }
    if args.is(3, "FAILOVER") {
        return take_over(cx, args);
    }
    refuse_without_link(cx)?;
    let wanted = wanted(args)?;
    begin(cx, wanted)
}

fn wanted(args: Args<'_>) -> Result<SyncWanted, CommandError> {
    let offset = number::parse_i64(args.get(2)).ok_or(CommandError::NotAnInteger)?;
    Ok(SyncWanted { from: Some((args.get(1).into(), offset)) })
}

/// The primary asks for this replica to take its place.
fn take_over(cx: &mut SessionContext<'_>, args: Args<'_>) -> Outcome {
    let id = String::from_utf8_lossy(args.get(1)).into_owned();
    log::notice(format!("Failover request received for replid {id}."));
    if cx.config.replicaof.is_none() {
        return Err(CommandError::TakeOverByPrimary);
    }
    if ReplicationId::parse(args.get(1)) != Some(cx.server.replication.history().id) {
        return Err(CommandError::TakeOverOfOther);
    }
    let wanted = wanted(args)?;
    let client = info::line(cx.session, &cx.connection, cx.now);
    log::notice(format!("MASTER MODE enabled (failover request from '{client}')"));
    cx.session.replica.get_or_insert_default();
    *cx.request = Some(Request::TakeOver(wanted));
    Ok(())
}

fn sync(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if is_replica(cx) {
        return Ok(());
    }
    refuse_without_link(cx)?;
    begin(cx, SyncWanted { from: None })
}

/// A replica that has lost its primary has nothing to go on with.
fn refuse_without_link(cx: &SessionContext<'_>) -> Outcome {
    if cx.server.replication.failover() != FailoverState::None {
        return Err(CommandError::SyncWhileFailingOver);
    }
    let is_up = cx.config.replicaof.is_none() || cx.server.primary_link.is_up();
    if is_up { Ok(()) } else { Err(CommandError::NoPrimaryLink) }
}

/// Who is a replica already, or only watches, is not answered.
fn is_replica(cx: &SessionContext<'_>) -> bool {
    let attached = cx.session.replica.as_ref().is_some_and(|replica| replica.is_attached());
    attached || cx.session.facts.monitoring
}

fn begin(cx: &mut SessionContext<'_>, wanted: SyncWanted) -> Outcome {
    let replica = cx.session.replica.get_or_insert_default();
    if replica.filter.is_some() && !replica.takes_eof {
        return Err(CommandError::FilterNeedsEof);
    }
    replica.is_silent = wanted.from.is_none();
    *cx.request = Some(Request::Sync(wanted));
    Ok(())
}
