//! `client-output-buffer-limit`: clients whose output piles up are cut off. What runs without a limit.
//!
//! Invariant: looked at where output is queued, and once in a while; a client that is cut off gets
//! nothing more. Without a limit each client may leave `STALL_BYTES` unread, and those of a core
//! together `ALLOWANCE_BYTES_MAX` more (docs/decisions/0031-unread-replies.md). Source: the directive's comment in redis.conf of Redis 8.0.

use super::{Core, Message};
use crate::base::time::{Clock, Millis};
use crate::client::info;
use crate::config::Config;
use crate::config::value::ClientClass;
use crate::net::connection::Connection;
use crate::net::output::STALL_BYTES;
use crate::observe::log;
use crate::ring::Ring;

/// What the buffers of a socket take, at most: so much may be written and not be left unread.
const SOCKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a client that has to log in first may leave unread.
const STRANGER_BYTES_MAX: usize = 1024;
/// What the clients of a core may leave unread together, beyond what each of them may.
const ALLOWANCE_BYTES_MAX: usize = 12 * 1024 * 1024;

impl Connection {
    /// True if more waits to be sent than its class may leave unread.
    #[inline]
    pub(super) fn is_over_limit(&mut self, config: &Config, now: Millis) -> bool {
        let facts = &self.session.facts;
        let class = match &self.session.replica {
            Some(replica) if replica.is_attached() => ClientClass::Replica,
            _ if facts.subscribed => ClientClass::Pubsub,
            _ => ClientClass::Normal,
        };
        let mut limit = config.client_output_buffer_limit[class as usize];
        let mut waiting = self.unsent_bytes() as u64;
        if class == ClientClass::Replica
            && let Some(replica) = &self.session.replica
        {
            // What is kept anyway costs nothing more.
            waiting += replica.behind;
            let kept = config.repl_backlog_size;
            for bytes in [&mut limit.hard_bytes, &mut limit.soft_bytes] {
                if *bytes > 0 {
                    *bytes = kept.max(*bytes);
                }
            }
        }
        if limit.hard_bytes == 0 && limit.soft_bytes == 0 && facts.authenticated {
            return false;
        }
        let bytes = waiting;
        let is_stranger = !facts.authenticated && bytes > STRANGER_BYTES_MAX as u64;
        if is_stranger || limit.hard_bytes != 0 && bytes >= limit.hard_bytes {
            return true;
        }
        if limit.soft_bytes == 0 || bytes < limit.soft_bytes {
            self.over_soft_limit = None;
            return false;
        }
        let since = *self.over_soft_limit.get_or_insert(now.seconds());
        now.seconds() - since > limit.soft_seconds
    }
}

/// How much a normal client may leave unread before nothing runs for it any more: where it is cut off
/// for more, or evicted, that has to come first.
pub(super) fn stall_bytes(config: &Config) -> usize {
    let limit = &config.client_output_buffer_limit[ClientClass::Normal as usize];
    let bytes = if limit.hard_bytes > 0 { limit.hard_bytes } else { limit.soft_bytes };
    let bytes = bytes.max(config.client_memory_limit().unwrap_or(0));
    if bytes == 0 {
        return STALL_BYTES;
    }
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(SOCKET_BYTES_MAX)
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// The limits may have changed.
    pub(super) fn limits_changed(&mut self) {
        let bytes = stall_bytes(&self.worker.config);
        for index in self.clients.indexes() {
            let Some(connection) = self.clients.get(index) else { continue };
            let was_held_up = connection.is_held_up();
            connection.stall_bytes = bytes;
            if was_held_up && connection.may_run() {
                self.client_is_free(index);
            }
        }
    }

    /// Cuts a client off if too much of its output has not been read.
    #[inline]
    pub(super) fn check_output(&mut self, index: u32) {
        let Core { clients, worker, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        if !connection.goes_on() {
            return;
        }
        if connection.is_over_limit(&worker.config, worker.now) {
            self.cut_off(index);
        } else if connection.must_stall() {
            self.allow_more(index);
        }
    }

    /// Lets a client leave more unread, if others leave room for it: many send a long pipeline before they read.
    #[cold]
    fn allow_more(&mut self, index: u32) {
        let Core { clients, allowance_bytes, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let facts = &connection.session.facts;
        if facts.subscribed || connection.session.replica.is_some() {
            return;
        }
        let over = connection.unsent_bytes().saturating_sub(connection.may_owe());
        let more = over.next_multiple_of(STALL_BYTES);
        if more <= ALLOWANCE_BYTES_MAX - *allowance_bytes {
            connection.allowance_bytes += more;
            *allowance_bytes += more;
        }
    }

    /// Takes back what a client was allowed.
    pub(super) fn take_back(&mut self, index: u32) {
        let Core { clients, allowance_bytes, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        *allowance_bytes -= std::mem::take(&mut connection.allowance_bytes);
    }

    /// The periodic look: whoever has got all gives its allowance back, and who waits for its reader
    /// may get one by now.
    pub(super) fn look_at_output(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if connection.output.is_idle() {
            if connection.unsent_bytes() == 0 && connection.session.replica.is_none() {
                connection.over_soft_limit = None;
            }
            return self.take_back(index);
        }
        let was_held_up = connection.is_held_up();
        self.check_output(index);
        let Some(connection) = self.clients.get(index) else { return };
        if !was_held_up || connection.is_held_up() || !connection.goes_on() {
            return;
        }
        if connection.stalled.is_some() {
            self.run_stalled(index);
        } else if connection.may_run() {
            self.client_is_free(index);
        }
    }

    /// The batch of a client that has read its replies goes on.
    pub(super) fn run_stalled(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if let Some(batch) = connection.stalled.take() {
            connection.away = true;
            self.mail.post(self.worker.core, Message::Batch(batch));
        }
    }

    /// Cuts a client off whose output has grown too long.
    #[cold]
    pub(super) fn cut_off(&mut self, index: u32) {
        let core = self.worker.core;
        let Some(connection) = self.clients.get(index) else { return };
        if std::mem::replace(&mut connection.closing, true) {
            return;
        }
        connection.is_cut_off = true;
        let held = connection.facts(core);
        let line = info::line(&connection.session, &held, self.worker.now);
        log::warning(format!(
            "Client {line} scheduled to be closed ASAP for overcoming of output buffer limits."
        ));
        self.worker.stats.totals.output_buffer_disconnections.add(1);
        self.doomed.push(index);
    }
}
