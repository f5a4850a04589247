//! MONITOR: the client sees every command.
//!
//! Invariant: every core knows before the reply, so that the client sees all that begins behind it.
//! Source: Redis 8.0.

use std::sync::Arc;

use super::{BASE, OPERATOR};
use crate::command::whole::{Job, Part};
use crate::command::{Args, Arity, Command, CommandError, Handler, Outcome, SessionContext, Whole};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "MONITOR",
    summary: "Shows the client every command that the server runs.",
    since: "1.0.0",
    arity: Arity::Exactly(1),
    flags: OPERATOR,
    handler: Handler::Whole(Whole { begin, gather }),
    ..BASE
}];

fn begin(cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    if cx.inside_exec {
        return Err(CommandError::MonitorInside);
    }
    if cx.session.facts.monitoring {
        // As in stock servers, there is no reply.
        return Ok(Arc::new(|_| Part::Done));
    }
    let (home, id, place) = (cx.core, cx.session.facts.id, cx.session.place);
    Ok(Arc::new(move |view| {
        view.monitors.join(home, (view.core == home).then_some((id, place)));
        Part::Done
    }))
}

fn gather(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if !std::mem::replace(&mut cx.session.facts.monitoring, true) {
        reply.ok();
    }
    Ok(())
}

/// RESET ends it; `job` is what else is done on every core.
pub(in crate::commands) fn turn_off(cx: &SessionContext<'_>, job: Option<Job>) -> Option<Job> {
    let (home, id) = (cx.core, cx.session.facts.id);
    if !cx.session.facts.monitoring {
        return job;
    }
    Some(Arc::new(move |view| {
        view.monitors.leave(home, id);
        job.as_ref().map_or(Part::Done, |job| job(view))
    }))
}
