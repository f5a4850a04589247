//! CLIENT KILL: closes the connections that match, on every core.
//!
//! Invariant: what an error repeats of the request is written where the reply is, so a request that
//! is not understood has parts that do nothing; a client that kills itself gets its reply first.

use std::sync::Arc;

use super::client_filter::{Filter, Known, Refusal};
use crate::client::Verdict;
use crate::command::whole::{Job, Part};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::resp::reply::Reply;

pub(super) fn kill_begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let filter = match filter(cx, args) {
        Ok(filter) => filter,
        Err(refusal) => return refused(refusal),
    };
    let me = cx.session.facts.id;
    Ok(Arc::new(move |view| {
        let (mut killed, now) = (0, view.now);
        view.clients.for_each(&mut |session, held| {
            if !filter.matches(session, held, (me, now)) {
                return Verdict::Keep;
            }
            killed += 1;
            if session.facts.id != me {
                return Verdict::Kill;
            }
            session.close_after_reply = true;
            Verdict::Keep
        });
        Part::Count(killed)
    }))
}

pub(super) fn kill_gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if let Err(refusal) = filter(cx, args) {
        return answer(refusal, reply);
    }
    let killed = parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 });
    match (args.len(), killed.sum()) {
        (3, 0) => return Err(CommandError::NoSuchClient),
        (3, _) => reply.ok(),
        (_, killed) => reply.count(killed),
    }
    Ok(())
}

fn filter(cx: &SessionContext<'_>, args: Args<'_>) -> Result<Filter, Refusal> {
    match args.len() {
        // The old form, with which a client can close itself.
        3 => Ok(Filter::of_address(args.get(2))),
        _ => Filter::parse(args, known(cx), true),
    }
}

/// What conditions may name.
pub(super) fn known<'a>(cx: &'a SessionContext<'_>) -> Known<'a> {
    Known { databases: cx.config.databases, users: cx.users }
}

/// What begins instead of a request that was not understood: an error, or parts that do nothing,
/// since only the gathering can write a text of its own.
pub(super) fn refused(refusal: Refusal) -> Result<Job, CommandError> {
    match refusal {
        Refusal::Fixed(error) => Err(error),
        Refusal::Text(_) => Ok(Arc::new(|_| Part::Done)),
    }
}

/// Answers with why a request was not understood.
pub(super) fn answer(refusal: Refusal, reply: &mut Reply<'_>) -> Outcome {
    match refusal {
        Refusal::Fixed(error) => Err(error),
        Refusal::Text(text) => {
            reply.error(text);
            Err(CommandError::Written)
        }
    }
}
