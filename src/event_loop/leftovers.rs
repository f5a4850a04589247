//! What a core still holds for somebody when nobody is connected any more: for tests, which show that
//! there is nothing.
//!
//! Invariant: a server never asks; whatever a turn keeps for clients, batches, loans and waits is
//! looked at here.

use super::Core;
use crate::base::time::Clock;
use crate::ring::Ring;

impl<R: Ring, C: Clock> Core<R, C> {
    /// What is left, by name; none of it may be when all clients have gone and all mail is read.
    #[doc(hidden)]
    pub fn leftovers(&mut self) -> Vec<&'static str> {
        let at_home = self.seat.partition();
        let is_home = at_home.is_some();
        let (waiters, watchers) = at_home.map_or((true, true), |partition| {
            (partition.waiters().is_empty(), partition.watchers().is_empty())
        });
        let Core { worker, inbox, .. } = self;
        let no_batches = self.arrived.is_empty()
            && self.paused.is_empty()
            && self.kept_back.is_empty()
            && self.scripts_due.is_empty()
            && self.loan_batches.is_empty()
            && self.loan_done.is_empty();
        let nobody_listens = worker.directory.is_empty() && worker.hearers.is_empty();
        let nobody_follows = worker.trackers.is_empty() && worker.prefixes.is_empty();
        let nothing_is_told = !inbox.holds_anything()
            && worker.pushes.is_empty()
            && worker.invalidations.is_empty()
            && !self.mail.has_letters();
        let checks = [
            ("a lent partition", is_home),
            ("a loan", self.coordinator.is_idle()),
            ("a client that waits for a key", waiters),
            ("a key that is watched", watchers),
            ("a client", self.clients.is_empty()),
            ("what a client held", self.client_memory.is_empty()),
            ("an allowance", self.allowance_bytes == 0),
            ("a batch", no_batches),
            ("a command of all cores", self.wholes.is_empty() && self.tickets.is_empty()),
            ("a deadline", self.deadlines.is_empty()),
            ("the end of a wait", worker.served.is_empty() && worker.reserved.is_empty()),
            ("a subscription", nobody_listens && self.departures.is_empty()),
            ("a client that tracks", nobody_follows),
            ("a client that monitors", worker.monitors.is_empty()),
            ("a push", nothing_is_told),
            ("mail", !self.mail.has_backlog()),
        ];
        checks.iter().filter(|(_, is_gone)| !is_gone).map(|(what, _)| *what).collect()
    }
}
