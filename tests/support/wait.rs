//! Waiting for what another process will do.
//!
//! Invariant: nothing waits for a time to pass, only for something to be so; what is never so ends the
//! test with words that say what it was.

use std::time::{Duration, Instant};

/// Polls until `found` has something. Panics with `what` when it has not in time.
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Polls until `holds`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Machines that run tests may be slow.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(5);
