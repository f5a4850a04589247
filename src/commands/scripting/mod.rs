//! EVAL and its kin, SCRIPT.
//!
//! Invariant: every core knows the same scripts: they come and go by a part on every core. What runs
//! them is `dispatch/script.rs` and `event_loop/script.rs`.

pub mod eval;
mod scan;
pub mod script;

use std::sync::Arc;

use crate::base::time::Millis;
use crate::command::CommandTable;
use crate::command::whole::{CoreView, Job, Part};
use crate::script::Scripts;

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
