//! Remarkable commands, on their way to the logs of their clients' homes.
//!
//! Invariant: notes of a command are taken from the worker before another client's command runs, and
//! are filed before the command's reply leaves; so whoever has the reply finds the entry.

use super::Core;
use crate::base::time::Clock;
use crate::dispatch::worker::Worker;
use crate::observe::command_log::{LogKind, Note};
use crate::ring::Ring;
use crate::txn::batch::Batch;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Files what is to be remembered of the commands that a client of this core has just run here.
    #[inline]
    pub(super) fn report_notes(&mut self, client: u32) {
        if !self.worker.notes.is_empty() {
            let mut notes = std::mem::take(&mut self.worker.notes);
            self.worker.complete_notes(&mut notes, (self.worker.turn_tick(), 0, 0));
            self.file_notes(client, notes);
        }
    }

    /// Files notes of a client; of one that has gone, without its address and name.
    #[cold]
    pub(super) fn file_notes(&mut self, client: u32, notes: Vec<Note>) {
        for Note { kind, mut entry, .. } in notes {
            if let Some(connection) = self.clients.get(client) {
                entry.addr.clone_from(&connection.session.addr);
                entry.name.clone_from(&connection.session.name);
            }
            let config = &self.worker.config;
            let len_max = match kind {
                LogKind::Slow => config.slowlog_max_len,
                LogKind::LargeRequest => config.commandlog_large_request_max_len,
                LogKind::LargeReply => config.commandlog_large_reply_max_len,
            };
            self.command_log.add(kind, entry, len_max);
        }
    }
}

/// Has a batch take along what is to be remembered of the commands that it has just run, and what
/// their replies have to wait for.
#[inline]
pub(super) fn take_notes(worker: &mut Worker, batch: &mut Batch) {
    batch.gate.raise(worker.scribe.gate.take());
    if !worker.notes.is_empty() {
        take_some_notes(worker, batch);
    }
}

#[cold]
fn take_some_notes(worker: &mut Worker, batch: &mut Batch) {
    let mut notes = std::mem::take(&mut worker.notes);
    let travel = batch.travel;
    worker.complete_notes(&mut notes, (travel.since, travel.hop, travel.loan));
    batch.notes.append(&mut notes);
}
