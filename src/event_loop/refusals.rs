//! What users may not do, on its way to the log that ACL LOG prints.
//!
//! Invariant: one core keeps the log of the process. A refusal reaches it from the home of its
//! client, which alone can describe it, and over the same queue as what that client asks next; so
//! whoever was refused finds that in the log.

use super::{Core, Message};
use crate::acl::Denial;
use crate::base::time::Clock;
use crate::client::info;
use crate::ring::Ring;

/// The core that keeps the log.
const LOG_KEEPER: usize = 0;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Tells the log what commands of a client of this core were refused just now, if any were.
    #[inline]
    pub(super) fn report_denials(&mut self, client: u32) {
        if !self.worker.denials.is_empty() {
            for denial in std::mem::take(&mut self.worker.denials) {
                self.report(client, denial);
            }
        }
    }

    /// Tells the log what a client of this core was refused.
    #[cold]
    pub(super) fn report(&mut self, client: u32, mut denial: Denial) {
        let core = self.worker.core;
        if let Some(connection) = self.clients.get(client) {
            let held = connection.facts(core);
            connection.session.last_command = denial.command;
            info::write_line(&mut denial.client, &connection.session, &held, self.worker.now);
            denial.client.pop();
        }
        if core == LOG_KEEPER {
            self.file_denial(denial);
        } else {
            self.mail.post(LOG_KEEPER, Message::Denied(Box::new(denial)));
        }
    }

    /// Files a refusal in the log, which is kept here.
    pub(super) fn file_denial(&mut self, denial: Denial) {
        self.acl_log.add(denial, self.worker.config.acllog_max_len);
    }
}
