//! The watchdog: a core whose turn takes too long logs what it does.
//!
//! Invariant: costs the cores nothing: it looks at what they publish of each turn anyway. A core is
//! told once for each turn. Source: `watchdog-period` of Redis 8.0.6.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::base::sys::crash;
use crate::observe::server::ServerFacts;

/// What was seen of a core last.
struct Seen {
    turns: u64,
    since: Instant,
    was_told: bool,
}

/// Watches the cores.
pub(super) struct Watchdog {
    server: Arc<ServerFacts>,
    seen: Vec<Seen>,
}

impl Watchdog {
    pub(super) fn new(server: Arc<ServerFacts>) -> Watchdog {
        let now = Instant::now();
        let seen = || Seen { turns: 0, since: now, was_told: false };
        let seen = server.stats.iter().map(|_| seen()).collect();
        Watchdog { server, seen }
    }

    /// Looks at all cores.
    pub(super) fn look(&mut self) {
        let limit = Duration::from_millis(self.server.process.watchdog_millis.load(Relaxed));
        if limit.is_zero() {
            return;
        }
        let now = Instant::now();
        for (core, seen) in self.seen.iter_mut().enumerate() {
            let turns = self.server.stats[core].totals.turns.get();
            if turns != seen.turns || self.server.process.parked[core].is_parked() {
                *seen = Seen { turns, since: now, was_told: false };
            } else if !seen.was_told && now.duration_since(seen.since) >= limit {
                seen.was_told = true;
                crash::prod(core);
            }
        }
    }
}
