//! Scripts that run for too long: what has to wait for them is refused.
//!
//! Invariant: a command is refused only if it needs a partition that such a script holds, or the core
//! that it runs on. Source: `busy-reply-threshold`.

use super::Run;
use crate::client::SessionFacts;
use crate::command::{Args, CommandError, Flags};
use crate::dispatch::route::Place;
use crate::dispatch::table::Registered;
use crate::dispatch::worker::Worker;
use crate::resp::reply::ReplyBuffer;
use crate::txn::cores::{CoreSet, SlotMap};

/// Scripts that run for too long, as a core sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// One of them runs here.
    pub is_here: bool,
    /// The partitions that they hold.
    pub held: CoreSet,
    /// The last of them is a function.
    pub is_function: bool,
}

impl Busy {
    /// What a command is answered with that has to wait for them.
    pub fn text(self) -> &'static str {
        CommandError::busy(self.is_function).text()
    }
}

impl Worker {
    /// Looks whether a script runs for too long, here or elsewhere.
    #[inline]
    pub fn look_for_busy(&mut self) {
        if self.server.busy.any() {
            let (held, is_function) = self.server.busy.held();
            let is_here = self.busy.is_some_and(|busy| busy.is_here);
            self.busy = Some(Busy { is_here, held: CoreSet::of_bits(held), is_function });
        } else {
            self.busy = None;
        }
    }

    /// The scripts that run for too long.
    #[inline]
    pub fn busy(&self) -> Option<Busy> {
        self.busy
    }

    /// A script runs for too long here, and holds these partitions; or has ended.
    pub fn set_busy(&mut self, run: &Run, held: Option<CoreSet>) {
        if let Some(held) = held {
            let is_function = run.name.is_function();
            self.server.busy.begin(self.core, held.bits(), run.has_written, is_function);
            self.busy = Some(Busy { is_here: true, held, is_function });
        } else {
            self.server.busy.end(self.core);
            self.busy = None;
        }
        self.look_for_busy();
    }

    /// The gate of scripts that run for too long: true if the command has to wait for one, and the
    /// error is written. Where a script runs, everything waits but what may end it.
    #[cold]
    pub(in crate::dispatch) fn refuse_busy(
        &mut self,
        registered: &'static Registered,
        args: Args<'_>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let Some(busy) = self.busy else { return false };
        let is_allowed = registered.command.flags.has(Flags::ALLOW_BUSY);
        let map = SlotMap::new(self.server.stats.len());
        let waits = match self.place(registered, args, None, facts, map) {
            Place::Core(owner) => busy.held.contains(owner),
            Place::Loan(owners) => owners.meets(busy.held),
            Place::Whole => !is_allowed,
            Place::Home | Place::Here => false,
        };
        if !waits && (is_allowed || !busy.is_here) {
            return false;
        }
        let text = busy.text().as_bytes().to_vec();
        self.reply_error(Some(registered), facts, buffer, text);
        true
    }

    /// Refuses the EXEC of a transaction that has to wait for a script which runs for too long.
    pub fn refuse_exec(&mut self, facts: &mut SessionFacts, buffer: &mut ReplyBuffer) {
        let Some(busy) = self.busy else { return };
        let exec = self.table.command(b"EXEC");
        self.reply_error(exec, facts, buffer, busy.text().as_bytes().to_vec());
    }
}
