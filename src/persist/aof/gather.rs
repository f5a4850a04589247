//! When the next group of the journal begins, if each is synced: for whom it waits.
//!
//! Clients that were answered when a group was synced ask again at once. A group that begins before
//! they do leaves them to the one behind it, so that each sync is for a part of the clients only. So
//! the next group waits while more join it than a sync serves in the same time: with `n` commands
//! gathered since the last sync began a gap of an `n`th of that time is too long.
//!
//! Invariant: waits only for as many commands as have just been answered, and never longer than half
//! of what the last sync took. A lone client never waits.
//! Source: docs/decisions/0027-one-group-in-flight.md.

use crate::base::time::Nanos;

/// See above.
#[derive(Debug, Default)]
pub struct Gathering {
    /// When the last group began, and its commands.
    began: Nanos,
    commands: usize,
    /// What is known since it was synced.
    since: Option<Since>,
}

#[derive(Debug)]
struct Since {
    ended: Nanos,
    /// Commands that wait when all have come that are expected.
    expected: usize,
    /// Those that waited when somebody looked last, and when the last of them came.
    come: usize,
    last_come: Nanos,
}

impl Gathering {
    /// A group begins, with so many commands.
    pub fn begin(&mut self, now: Nanos, commands: usize) {
        *self = Gathering { began: now, commands, since: None };
    }

    /// It is synced, and so many commands wait.
    pub fn end(&mut self, now: Nanos, come: usize) {
        let expected = come + self.commands;
        self.since = Some(Since { ended: now, expected, come, last_come: now });
    }

    /// Until when the next group waits with so many commands, if no more come. None if it begins.
    pub fn wait_until(&mut self, now: Nanos, come: usize) -> Option<Nanos> {
        let since = self.since.as_mut()?;
        if come != since.come {
            (since.come, since.last_come) = (come, now);
        }
        let gap = since.last_come.since(self.began) / come.max(1) as u64;
        let most = since.ended.since(self.began) / WAIT_SHARE;
        let until = since.last_come.after(gap).min(since.ended.after(most));
        (come < since.expected && now < until).then_some(until)
    }
}

/// The part of a sync's time that is waited at most.
const WAIT_SHARE: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A group was synced from 1000 to 2000, and commands wait.
    fn synced(commands: usize, come: usize) -> Gathering {
        let mut gathering = Gathering::default();
        gathering.begin(Nanos(1000), commands);
        gathering.end(Nanos(2000), come);
        gathering
    }

    #[test]
    fn a_lone_client_never_waits() {
        assert_eq!(Gathering::default().wait_until(Nanos(5), 1), None);
        assert_eq!(synced(1, 0).wait_until(Nanos(2010), 1), None);
    }

    #[test]
    fn a_group_waits_while_more_join_it_than_a_sync_serves() {
        // Others have come meanwhile; each gap is weighed against what has come.
        let mut gathering = synced(10, 10);
        assert_eq!(gathering.wait_until(Nanos(2000), 10), Some(Nanos(2100)));
        assert_eq!(gathering.wait_until(Nanos(2050), 11), Some(Nanos(2145)));
        assert_eq!(gathering.wait_until(Nanos(2145), 11), None);
        // All that were answered have come again.
        let mut gathering = synced(2, 2);
        assert_eq!(gathering.wait_until(Nanos(2000), 2), Some(Nanos(2500)));
        assert_eq!(gathering.wait_until(Nanos(2001), 4), None);
        // It never takes half as long as the sync did, nor is one waited for who comes much later.
        let mut gathering = synced(100, 0);
        let mut waits = |now: u64| {
            let come = (now - 2000) as usize / 10 + 1;
            gathering.wait_until(Nanos(now), come).is_some()
        };
        assert_eq!((2000..4000).step_by(10).find(|now| !waits(*now)), Some(2500));
        assert_eq!(synced(2, 0).wait_until(Nanos(9000), 1), None);
    }
}
