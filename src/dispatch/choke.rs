//! Commands that wait, since what they cause has nowhere to go: changes while the journal has too many
//! bytes, pushes while a core is slow to deliver those that it has been sent.
//!
//! Invariant: whoever waits is tried again in each turn until there is room; nothing that makes room
//! waits. What cannot wait (commands of a script, of a transaction) is refused, lines of MONITOR are
//! lost. Looked at once a turn, so a turn may add what it adds to a queue that is full.

use std::sync::atomic::Ordering::Relaxed;

use super::table::{Registered, Way};
use super::worker::Worker;
use crate::command::Flags;
use crate::pubsub::Push;

/// What has no room in this turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chokes {
    /// So many bytes wait for the journal's file.
    journal: bool,
    /// So many bytes of pushes are on their way to some core.
    pushes: bool,
    /// Whoever watches all commands has been told that lines are lost.
    lines_lost: bool,
}

impl Worker {
    /// Looks what has no room. True if commands have to look whether they wait.
    pub(super) fn look_for_chokes(&mut self) -> bool {
        self.chokes.journal = self.scribe.is_on && self.server.journal.is_choked.load(Relaxed);
        self.chokes.pushes = self.server.transit.is_over();
        self.chokes.lines_lost &= self.chokes.pushes;
        self.is_choked()
    }

    /// True while some commands wait.
    pub fn is_choked(&self) -> bool {
        self.chokes.journal || self.chokes.pushes
    }

    /// True while so many bytes wait to be written to the journal that changes have to wait.
    pub fn is_journal_choked(&self) -> bool {
        self.chokes.journal
    }

    /// True while so many pushes wait that none should be added.
    #[inline]
    fn are_pushes_choked(&self) -> bool {
        self.chokes.pushes || self.pushes.is_full()
    }

    /// True while so many pushes wait that keys should not expire that somebody is told of.
    pub fn are_events_choked(&self) -> bool {
        self.notifies && self.are_pushes_choked()
    }

    /// True if a command has to wait.
    pub fn has_to_wait(&self, registered: &Registered) -> bool {
        let flags = registered.command.flags;
        let is_script = registered.way == Way::Script && !flags.has(Flags::READONLY);
        let changes = is_script || flags.has(Flags::WRITE);
        let pushes = is_script || self.notifies && changes || registered.way == Way::Here;
        self.chokes.journal && changes || pushes && self.are_pushes_choked()
    }

    /// True if a transaction has to wait one of whose commands has these flags.
    pub fn has_transaction_to_wait(&self, flags: Flags) -> bool {
        // Scripts that do not say what they do may do either.
        let changes = flags.any(Flags::WRITE.with(Flags::MAY_REPLICATE));
        let pushes =
            self.notifies && changes || flags.any(Flags::PUBSUB.with(Flags::MAY_REPLICATE));
        self.chokes.journal && changes || pushes && self.are_pushes_choked()
    }

    /// True if a command of a script would add to more pushes than one turn may have.
    pub(super) fn has_pushed_too_much(&self, flags: Flags) -> bool {
        self.pushes.is_full() && self.notifies && flags.has(Flags::WRITE)
    }

    /// True if a line for those who watch all commands has no room; they are told once.
    pub(super) fn loses_line(&mut self) -> bool {
        let loses = self.are_pushes_choked();
        if loses && !std::mem::replace(&mut self.chokes.lines_lost, true) {
            self.pushes.add(self.monitors.homes(), Push::LinesLost);
        }
        loses
    }
}
