//! CLIENT PAUSE and UNPAUSE: holds the commands of all clients back, on every core.
//!
//! Invariant: a pause that is under way is only lengthened and only made to hold more; every core
//! gets the same end.

use std::sync::Arc;

use super::client_filter::Refusal;
use super::client_kill::{answer, refused};
use crate::base::time::Millis;
use crate::command::whole::{Hold, Job, Part, Pause};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::commands::container::wrong_form;
use crate::resp::reply::Reply;

pub(super) fn pause_begin(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
) -> Result<Job, CommandError> {
    let ordered = match pause(args, cx.now) {
        Ok(ordered) => ordered,
        Err(refusal) => return refused(refusal),
    };
    Ok(Arc::new(move |view| {
        let held = joined(view.switches.held(Hold::Client), ordered, view.now);
        view.switches.hold(Hold::Client, held);
        Part::Done
    }))
}

pub(super) fn pause_gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    match pause(args, cx.now) {
        Ok(_) => reply.ok(),
        Err(refusal) => return answer(refusal, reply),
    }
    Ok(())
}

pub(super) fn unpause(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view| {
        view.switches.hold(Hold::Client, None);
        Part::Done
    }))
}

/// Which pause the request orders.
fn pause(args: Args<'_>, now: Millis) -> Result<Pause, Refusal> {
    if args.len() > 4 {
        return Err(Refusal::Text(wrong_form(args)));
    }
    let all = args.len() == 3 || args.is(3, "ALL");
    if !all && !args.is(3, "WRITE") {
        return Err(CommandError::PauseMode.into());
    }
    let millis = args.integer(2).map_err(|_| CommandError::TimeoutNotAnInteger)?;
    if millis < 0 {
        return Err(CommandError::TimeoutNegative.into());
    }
    let until = now.0.checked_add(millis).ok_or(CommandError::TimeoutOutOfRange)?;
    Ok(Pause { until: Millis(until), all })
}

/// What holds after `ordered`, with `running` under way. None if it is over at once.
fn joined(running: Option<Pause>, ordered: Pause, now: Millis) -> Option<Pause> {
    let running = running.filter(|pause| pause.until > now);
    let pause = Pause {
        until: running.map_or(ordered.until, |running| running.until.max(ordered.until)),
        all: ordered.all || running.is_some_and(|running| running.all),
    };
    (pause.until > now).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(until: i64, all: bool) -> Pause {
        Pause { until: Millis(until), all }
    }

    #[test]
    fn a_pause_is_never_shortened_nor_weakened() {
        let now = Millis(100);
        assert_eq!(joined(None, of(200, false), now), Some(of(200, false)));
        assert_eq!(joined(Some(of(300, true)), of(200, false), now), Some(of(300, true)));
        assert_eq!(joined(Some(of(200, false)), of(300, true), now), Some(of(300, true)));
        assert_eq!(joined(Some(of(99, true)), of(200, false), now), Some(of(200, false)));
        assert_eq!(joined(Some(of(300, true)), of(100, true), now), Some(of(300, true)));
        assert_eq!(joined(None, of(100, true), now), None);
    }
}
