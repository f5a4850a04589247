//! Rewrites of the AOF as the writer's core sees them: when one begins, its cut, and how the journal
//! begins and ends while the server runs.
//!
//! Invariant: who begins a rewrite has the right to the next snapshot before a file is opened for it.
//! The cut is made under a loan of all partitions, which is the instant of the base: so the base and
//! what comes behind the cut are all data. A cut that is not wanted any more gives its file and the
//! right back. Source: docs/decisions/0019-rewrites.md.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::Core;
use super::replay::aof_place;
use crate::base::time::Clock;
use crate::command::session_context::SaveOrder;
use crate::commands::generic::dump;
use crate::observe::journal::State;
use crate::observe::log;
use crate::observe::persistence::Purpose;
use crate::persist::aof::base::Form;
use crate::persist::aof::block::{JournalFile, Opened};
use crate::persist::aof::files::Rewrite;
use crate::persist::load::RewriteOrder;
use crate::persist::save::Target;
use crate::ring::{Op, Ring};
use crate::store::partition::Partition;

/// What the writer's core knows of rewrites.
#[derive(Default)]
pub(super) struct Rewriting {
    /// The file that comes behind the cut, until all partitions are here.
    opened: Option<(Rewrite, Option<JournalFile>)>,
    /// The journal is about to end.
    pub(super) is_stopping: bool,
    /// Unix time in seconds at which one was begun last.
    last_try: i64,
    limit: Limit,
}

/// Rewrites that begin by themselves are put off when several in a row have failed. Source: Redis.
#[derive(Debug, Default)]
struct Limit {
    delay_minutes: i64,
    /// Unix time in seconds from which on the next one may begin; 0 if that is not settled.
    next: i64,
}

impl Limit {
    /// True if none may begin by itself now.
    fn holds(&mut self, failures: u64, now: i64) -> bool {
        if failures < FAILURES_MAX {
            *self = Limit::default();
            return false;
        }
        if self.next != 0 {
            if now >= self.next {
                self.next = 0;
                return false;
            }
            return true;
        }
        self.delay_minutes = (self.delay_minutes * 2).clamp(1, DELAY_MINUTES_MAX);
        self.next = now + self.delay_minutes * SECONDS_PER_MINUTE;
        log::warning(format!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
            self.delay_minutes
        ));
        true
    }
}

/// Rewrites that may fail in a row before the next one has to wait.
const FAILURES_MAX: u64 = 3;
const DELAY_MINUTES_MAX: i64 = 60;
const SECONDS_PER_MINUTE: i64 = 60;
/// A journal that was lost is written anew, and one that could not begin tries again, so often.
const RETRY_SECONDS: i64 = 1;

impl<R: Ring, C: Clock> Core<R, C> {
    /// What a rewrite that begins now would do with the journal.
    fn rewrite_now(&self) -> Rewrite {
        match self.worker.server.journal.state() {
            State::On => Rewrite::Within,
            State::Off if !self.worker.config.appendonly => Rewrite::BaseAlone,
            State::Off | State::Starting | State::Lost | State::Renewing => Rewrite::Anew,
        }
    }

    /// Has what a rewrite needs opened. Whoever asks has the right to the next snapshot.
    pub(super) fn order_rewrite(&self, ticket: Option<u64>) {
        let config = &self.worker.config;
        self.control.rewrite(RewriteOrder {
            rewrite: self.rewrite_now(),
            place: aof_place(config, true),
            keeps_history: config.aof_disable_auto_gc,
            form: Form {
                limits: dump::limits(config, &self.worker.server, self.worker.hasher.hash_key()),
                time: config.aof_timestamp_enabled.then(|| self.worker.now.seconds()),
            },
            asker: ticket.map(|ticket| (self.worker.core, ticket)),
        });
    }

    /// Takes what has been opened for the journal.
    pub(super) fn take_opened(&mut self) {
        while let Some(opened) = self.control.journal() {
            match opened {
                Opened::First(file, bytes_before) => self.begin_journal(file, bytes_before),
                Opened::Filled(file, to) => self.was_filled(file, to),
                Opened::Next(rewrite, file) => {
                    self.rewriting.opened = Some((rewrite, file));
                    self.order_save(SaveOrder::Rewrite);
                }
            }
        }
    }

    /// All partitions are here: the cut of a rewrite, and the instant of its base.
    pub(super) fn begin_rewrite(&mut self, partitions: &mut [Box<Partition>]) {
        let Some((rewrite, file)) = self.rewriting.opened.take() else { return };
        let is_odd = self.worker.scribe.has_cut() || rewrite != self.rewrite_now();
        if is_odd || self.worker.server.persistence.cancelled.load(Acquire) {
            self.rewriting.opened = Some((rewrite, file));
            return self.drop_opened(is_odd);
        }
        if file.is_some() {
            self.worker.scribe.begin_file(file, rewrite == Rewrite::Anew);
        }
        let journal = &self.worker.server.journal;
        match journal.state() {
            State::Off if rewrite == Rewrite::Anew => {
                if journal.failed.swap(false, AcqRel) {
                    log::warning("AOF reopen, just ignore the last error.");
                }
                journal.enter(State::Starting);
            }
            State::Lost => journal.enter(State::Renewing),
            State::Off | State::Starting | State::On | State::Renewing => {}
        }
        self.worker.check_persistence();
        self.begin_save(partitions, Target::AofBase(rewrite), false);
        let pid = self.worker.server.pid;
        log::notice(format!("Background append only file rewriting started by pid {pid}"));
    }

    /// What was opened for a rewrite is not wanted; `again`: another one is.
    fn drop_opened(&mut self, again: bool) {
        let Some((_, file)) = self.rewriting.opened.take() else { return };
        if let Some(file) = file {
            self.ring.push(Op::Close { fd: file.fd });
        }
        let server = &self.worker.server;
        if again {
            server.journal.rewrites.scheduled.store(true, Relaxed);
        }
        server.persistence.end();
    }

    /// All partitions are here: the journal ends, since the configuration wants none any more.
    pub(super) fn stop_journal(&mut self) {
        self.rewriting.is_stopping = false;
        if self.worker.config.appendonly || !self.worker.server.journal.is_on() {
            return;
        }
        if self.worker.scribe.has_cut() {
            // Another file begins in this very turn.
            return self.begin_to_stop();
        }
        self.worker.scribe.begin_file(None, true);
        let journal = &self.worker.server.journal;
        journal.enter(State::Off);
        journal.failed.store(false, Release);
        self.worker.check_persistence();
        self.look_at_rewrites();
    }

    /// All data is about to be replaced by what is not journaled: the journal ends here, and begins
    /// anew with a base behind that. The caller has all partitions. False if it has to try again.
    pub(super) fn break_journal(&mut self) -> bool {
        if !self.worker.server.journal.is_on() {
            return true;
        }
        if self.worker.scribe.has_cut() {
            return false;
        }
        self.worker.scribe.begin_file(None, true);
        self.worker.server.journal.enter(State::Off);
        true
    }

    fn begin_to_stop(&mut self) {
        self.rewriting.is_stopping = true;
        self.order_save(SaveOrder::StopJournal);
    }

    /// Begins what the configuration, a schedule or the size of the files wants.
    pub(super) fn look_at_rewrites(&mut self) {
        let server = self.worker.server.clone();
        let (journal, persistence) = (&server.journal, &server.persistence);
        if persistence.cancelled.load(Acquire) {
            self.drop_opened(false);
        }
        self.note_new_base();
        if self.worker.is_loading() {
            return;
        }
        let others = persistence.is_busy() && !persistence.is_busy_with(Purpose::AofBase);
        let has_to_wait = others && journal.state() == State::Off || self.rewriting.is_stopping;
        if self.worker.config.appendonly
            && has_to_wait
            && !journal.rewrites.scheduled.swap(true, Relaxed)
        {
            log::notice(
                "AOF was enabled but there is already another background operation. An AOF background was scheduled to start when possible.",
            );
        }
        if self.rewriting.is_stopping {
            return;
        }
        if journal.is_on() && !self.worker.config.appendonly {
            journal.rewrites.scheduled.store(false, Relaxed);
            if persistence.is_busy_with(Purpose::AofBase) {
                // There is no child, but what reads logs knows the line.
                let pid = self.worker.server.pid;
                log::notice(format!("Killing running AOF rewrite child: {pid}"));
                persistence.cancelled.store(true, Release);
            }
            return self.begin_to_stop();
        }
        let now = self.worker.now.seconds();
        if persistence.is_busy() || !self.is_rewrite_due(now) {
            return;
        }
        if persistence.begin(Purpose::AofBase, now) {
            journal.rewrites.scheduled.store(false, Relaxed);
            self.rewriting.last_try = now;
            self.order_rewrite(None);
        }
    }

    fn is_rewrite_due(&mut self, now: i64) -> bool {
        let journal = &self.worker.server.journal;
        let (rewrites, state) = (&journal.rewrites, journal.state());
        let is_lost = matches!(state, State::Lost | State::Renewing);
        if is_lost && now - self.rewriting.last_try >= RETRY_SECONDS {
            return true;
        }
        let begins = self.worker.config.appendonly && matches!(state, State::Off | State::Starting);
        let has_failed = rewrites.failed.load(Relaxed);
        let is_time = !has_failed || now - self.rewriting.last_try >= RETRY_SECONDS;
        let is_due = begins && is_time || rewrites.scheduled.load(Relaxed);
        let growth = if state == State::On { self.growth_that_counts() } else { None };
        if !is_due && growth.is_none() {
            return false;
        }
        if self.rewriting.limit.holds(rewrites.failures.load(Relaxed), now) {
            return false;
        }
        if let Some(growth) = growth.filter(|_| !is_due) {
            log::notice(format!("Starting automatic rewriting of AOF on {growth}% growth"));
        }
        true
    }

    /// By how many percent the files have grown since the last base, if that is enough for another.
    fn growth_that_counts(&self) -> Option<u64> {
        let (config, journal) = (&self.worker.config, &self.worker.server.journal);
        let size = journal.bytes();
        let percent = config.auto_aof_rewrite_percentage;
        if percent == 0 || size <= config.auto_aof_rewrite_min_size {
            return None;
        }
        let base = journal.base_size.load(Relaxed).max(1);
        let growth = (size.saturating_mul(100) / base).saturating_sub(100);
        (growth >= percent).then_some(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_put_the_next_rewrite_off_for_longer_and_longer() {
        let mut limit = Limit::default();
        assert!(!limit.holds(FAILURES_MAX - 1, 100));
        let mut now = 100;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(limit.holds(FAILURES_MAX, now) && limit.delay_minutes == minutes);
            now += minutes * SECONDS_PER_MINUTE;
            assert!(limit.holds(FAILURES_MAX, now - 1) && !limit.holds(FAILURES_MAX, now));
        }
        assert!(!limit.holds(0, now) && limit.holds(FAILURES_MAX, now));
        assert_eq!(limit.delay_minutes, 1, "one that succeeded counts");
    }
}
