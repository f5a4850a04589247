//! CLIENT UNBLOCK: ends the wait of a client in a blocking command, on whichever core it lives.
//!
//! Invariant: of CLIENT UNBLOCK and whoever could serve the client, one takes its claim and ends its
//! wait; a client that CLIENT PAUSE holds back does not wait in this sense.

use std::sync::Arc;

use crate::client::Verdict;
use crate::command::whole::{Job, Part};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::commands::container::wrong_form;
use crate::resp::reply::Reply;

pub(super) fn begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if args.len() > 4 {
        return Err(cx.refuse(wrong_form(args)));
    }
    let with_error = args.is(3, "ERROR");
    if args.len() == 4 && !args.is(3, "TIMEOUT") && !with_error {
        return Err(CommandError::UnblockReason);
    }
    let id = args.integer(2)?;
    Ok(Arc::new(move |view| {
        let mut woken = 0;
        view.clients.for_each(&mut |session, _| {
            let is_meant = i64::try_from(session.facts.id) == Ok(id);
            match &session.wait {
                Some(claim) if is_meant && claim.take().is_ok() => {
                    woken += 1;
                    Verdict::Wake { with_error }
                }
                _ => Verdict::Keep,
            }
        });
        Part::Count(woken)
    }))
}

pub(super) fn gather(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let woken = parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 });
    reply.count(woken.sum());
    Ok(())
}
