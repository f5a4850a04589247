//! `maxmemory-clients`: together the clients of all cores hold no more than that; the largest one goes
//! first, wherever it lives.
//!
//! Invariant: a core weighs a client when it has sent or was sent something, and every client once in
//! a while; with a limit, those that may go are kept in the order of their weight. A core evicts only
//! while its largest client is the largest of all, else it passes the word to that client's core.
//! Source: maxmemory-clients, CLIENT NO-EVICT of Redis 8.0.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Core, Message};
use crate::base::time::Clock;
use crate::client::info;
use crate::net::connection::{Connection, Weight};
use crate::observe::log;
use crate::ring::Ring;

/// Clients that one turn evicts, at most.
const EVICTED_PER_TURN_MAX: usize = 64;

/// Most clients hold less at any time.
const HEAVY_BYTES: u64 = 64 << 10;

/// What the clients of a core hold.
#[derive(Debug, Default)]
pub(super) struct ClientMemory {
    /// Bytes that the clients of all cores may hold together. None without a limit.
    limit: Option<u64>,
    /// Bytes that the clients of this core held when they were last weighed.
    total: u64,
    /// By weight and index; empty without a limit.
    may_go: BTreeSet<(u64, u32)>,
    /// Somebody was weighed since the limit was last held.
    is_due: bool,
}

impl ClientMemory {
    /// Takes down what a client weighs now.
    fn reweigh(&mut self, index: u32, weight: &mut Weight, now: Weight) {
        let before = std::mem::replace(weight, now);
        self.is_due |= self.limit.is_some();
        if before == now {
            return;
        }
        self.total = self.total + now.bytes - before.bytes;
        if before.may_go {
            self.may_go.remove(&(before.bytes, index));
        }
        if now.may_go {
            self.may_go.insert((now.bytes, index));
        }
    }

    /// True if no client holds anything.
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0 && self.may_go.is_empty()
    }

    fn largest(&self) -> Option<(u64, u32)> {
        self.may_go.last().copied()
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// The limit may have changed.
    pub(super) fn client_limit_changed(&mut self) {
        let limit = self.worker.config.client_memory_limit();
        let before = std::mem::replace(&mut self.client_memory.limit, limit);
        self.publish_client_memory();
        if before == limit {
            return;
        }
        for index in self.clients.indexes() {
            self.weigh(index);
        }
    }

    /// Weighs those that this turn has written to. Without a limit the periodic look is enough for
    /// all but those that it found heavy: what they held may have gone since.
    pub(super) fn weigh_written(&mut self, written: &[u32]) {
        let all = self.client_memory.limit.is_some();
        for index in written {
            let is_heavy = |connection: &mut Connection| connection.weight.bytes >= HEAVY_BYTES;
            if all || self.clients.get(*index).is_some_and(is_heavy) {
                self.weigh(*index);
            }
        }
    }

    /// Weighs a client that has sent what could not run at once.
    #[inline]
    pub(super) fn weigh_input(&mut self, index: u32) {
        if self.client_memory.limit.is_some() {
            self.weigh(index);
        }
    }

    /// Weighs a client.
    pub(super) fn weigh(&mut self, index: u32) {
        let Core { clients, client_memory, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        // Replicas have a limit of their own.
        let is_other = connection.session.facts.replays || connection.session.is_replica();
        let now = if connection.is_dead || is_other {
            Weight::default()
        } else {
            let may_go = client_memory.limit.is_some() && !connection.session.no_evict;
            Weight { bytes: connection.held_bytes() as u64, may_go }
        };
        client_memory.reweigh(index, &mut connection.weight, now);
        self.publish_client_memory();
    }

    /// A client leaves this core.
    pub(super) fn forget_weight(&mut self, index: u32) {
        let Core { clients, client_memory, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        client_memory.reweigh(index, &mut connection.weight, Weight::default());
        self.publish_client_memory();
    }

    fn publish_client_memory(&self) {
        // Who has not heard of the limit yet may have the largest client: nobody else evicts before.
        let largest = match self.client_memory.limit {
            None => u64::MAX,
            Some(_) => self.client_memory.largest().map_or(0, |(bytes, _)| bytes),
        };
        self.worker.stats.clients_bytes.set(self.client_memory.total);
        self.worker.stats.largest_client_bytes.set(largest);
    }

    /// Evicts the largest clients, as long as all together hold too much.
    pub(super) fn evict_clients(&mut self) {
        if std::mem::take(&mut self.client_memory.is_due) {
            self.hold_client_limit();
        }
    }

    /// Another core has found that the largest client is here. What that one has sent runs first: it
    /// may ask to be spared.
    pub(super) fn evict_clients_soon(&mut self) {
        self.client_memory.is_due = true;
    }

    #[cold]
    fn hold_client_limit(&mut self) {
        let Some(limit) = self.client_memory.limit else { return };
        let core = self.worker.core;
        for _ in 0..EVICTED_PER_TURN_MAX {
            let server = &self.worker.server;
            if server.sum(|stats| stats.clients_bytes.get()) < limit {
                return;
            }
            // Of equals the first core goes first, on whichever core this is found.
            let sizes = server.stats.iter().map(|stats| stats.largest_client_bytes.get());
            let largest = sizes.enumerate().max_by_key(|(at, bytes)| (*bytes, Reverse(*at)));
            match (largest, self.client_memory.largest()) {
                (None | Some((_, 0)), _) => return,
                (Some((at, _)), Some(heaviest)) if at == core => {
                    if self.has_grace(heaviest.1) {
                        break;
                    }
                    self.evict_if_still(heaviest);
                }
                (Some((at, _)), _) => return self.mail.post(at, Message::EvictClients),
            }
        }
        self.client_memory.is_due = true;
        self.has_more = true;
    }

    /// True for one turn of a client whose commands wait to be run: one of them may ask to be spared.
    fn has_grace(&mut self, index: u32) -> bool {
        let Some(connection) = self.clients.get(index) else { return false };
        connection.away && !std::mem::replace(&mut connection.had_grace, true)
    }

    /// Evicts a client that weighs so much, unless it holds less by now, or has asked to be spared.
    fn evict_if_still(&mut self, (bytes, index): (u64, u32)) {
        self.weigh(index);
        if self.client_memory.largest() == Some((bytes, index)) {
            self.evict_client(index);
        }
    }

    fn evict_client(&mut self, index: u32) {
        let core = self.worker.core;
        let Some(connection) = self.clients.get(index) else { return };
        let held = connection.facts(core);
        let line = info::line(&connection.session, &held, self.worker.now);
        log::notice(format!("Evicting client: {line}"));
        self.worker.stats.totals.evicted_clients.add(1);
        self.close(index);
    }
}
