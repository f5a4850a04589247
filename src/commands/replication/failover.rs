//! FAILOVER: a replica takes the place of this primary, which then follows it.
//!
//! Invariant: the words are checked here; the core that keeps the stream decides, and answers.
//! Source: FAILOVER of Redis 8.0.6.

use super::BASE;
use crate::base::number;
use crate::command::session_context::{FailoverWanted, Handover, Request};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext,
};
use crate::config::value::Endpoint;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "FAILOVER",
    summary: "Has a replica take the place of this primary when it has everything.",
    since: "6.2.0",
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE),
    arguments: &[
        Argument::block(
            "target",
            &[
                Argument::new("host", ArgumentKind::String),
                Argument::new("port", ArgumentKind::Integer),
                Argument::token("force", "FORCE").optional(),
            ],
        )
        .after("TO")
        .optional(),
        Argument::token("abort", "ABORT").optional(),
        Argument::new("milliseconds", ArgumentKind::Integer).after("TIMEOUT").optional(),
    ],
    handler: Handler::Session(failover),
    ..BASE
}];

fn failover(cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    let order = if args.len() == 2 && args.is(1, "ABORT") {
        Handover::AbortFailover
    } else {
        Handover::Failover(parse(args)?)
    };
    *cx.request = Some(Request::Handover(order));
    Ok(())
}

fn parse(args: Args<'_>) -> Result<FailoverWanted, CommandError> {
    let mut wanted = FailoverWanted { target: None, timeout: None, force: false };
    let mut at = 1;
    while at < args.len() {
        let follow = args.len() - at - 1;
        if args.is(at, "TIMEOUT") && follow >= 1 && wanted.timeout.is_none() {
            let millis = number::parse_i64(args.get(at + 1)).ok_or(CommandError::NotAnInteger)?;
            if millis <= 0 {
                return Err(CommandError::FailoverTimeout);
            }
            wanted.timeout = Some(millis);
            at += 2;
        } else if args.is(at, "TO") && follow >= 2 && wanted.target.is_none() {
            let port = number::parse_i64(args.get(at + 2)).ok_or(CommandError::NotAnInteger)?;
            // Nobody is at port 0.
            let port = u16::try_from(port).unwrap_or(0);
            wanted.target = Some(Endpoint { host: args.get(at + 1).into(), port });
            at += 3;
        } else if args.is(at, "FORCE") && !wanted.force {
            wanted.force = true;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(wanted)
}
