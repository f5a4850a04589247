//! EVAL and its kin, SCRIPT, FUNCTION.
//!
//! Invariant: every core knows the same scripts: they come and go by a part on every core. What runs
//! them is `dispatch/script.rs` and `event_loop/script.rs`.

pub mod eval;
pub mod function;
mod scan;
pub mod script;

use std::sync::Arc;

use crate::base::time::Millis;
use crate::command::whole::{CoreView, Job, Part};
use crate::command::{CommandError, CommandTable, SessionContext};
use crate::observe::busy::Kill;
use crate::resp::reply::Reply;
use crate::script::Scripts;

/// Ends the scripts that run for too long, or the functions, and says what came of it.
pub(super) fn kill(cx: &SessionContext<'_>, functions: bool, reply: &mut Reply<'_>) {
    match cx.server.busy.kill(functions) {
        Kill::Done => reply.ok(),
        Kill::NothingRuns => reply.error("NOTBUSY No scripts in execution right now."),
        Kill::HasWritten => reply.error(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ),
        Kill::OtherKind => reply.error(CommandError::busy(!functions).text()),
    }
}

/// What makes a script known to all cores; an error is the line of the reply. `is_evictable` for one
/// that EVAL brings.
pub fn bring(
    scripts: &mut Scripts,
    table: &dyn CommandTable,
    body: &[u8],
    is_evictable: bool,
    now: Millis,
) -> Result<Job, Vec<u8>> {
    let script =
        scripts.prepare(body, is_evictable, now.0 as u64, |code| scan::reach(table, code))?;
    // Whoever brings it says who goes, so that all cores let the same ones go.
    let full = is_evictable && scripts.is_full();
    let victims = if full { scripts.victims() } else { Vec::new() };
    Ok(Arc::new(move |view: &mut CoreView<'_>| {
        let gone = view.scripts.insert(&script, &victims);
        if view.core == 0 {
            view.stats.totals.evicted_scripts.add(gone as u64);
        }
        Part::Done
    }))
}
