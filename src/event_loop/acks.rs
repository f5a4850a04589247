//! How far replicas are: what they have acknowledged, who waits for that, what is done each second.
//!
//! Invariant: what replicas acknowledge is told as numbers of blocks, which every core can compare;
//! a core whose clients wait for it is woken when it rises. Source: Redis 8.0.6: WAIT, WAITAOF,
//! min-replicas-to-write, repl-timeout.

use std::sync::atomic::Ordering::Relaxed;

use super::feeder::Asks;
use super::journal::WRITER;
use super::sync::Sync;
use super::{Core, Message};
use crate::base::gate::Gate;
use crate::base::time::{Clock, Millis};
use crate::client::replica::Stage;
use crate::command::CommandError;
use crate::command::session_context::AcksWanted;
use crate::dispatch::worker::Worker;
use crate::observe::log;
use crate::observe::replication::{FailoverState, History};
use crate::observe::server::ServerFacts;
use crate::resp::reply::Reply;
use crate::ring::Ring;
use crate::txn::batch::Acks;

/// Who has what a client has written.
struct Acked {
    /// It is on this server's disk.
    is_synced: bool,
    /// So many replicas have it, or have it on disk.
    replicas: usize,
}

impl Acked {
    fn of(server: &ServerFacts, acks: &Acks) -> Acked {
        let (replication, number) = (&server.replication, acks.target.number());
        match acks.wanted.on_disk {
            None => Acked { is_synced: false, replicas: replication.count_acked(number) },
            Some(_) => Acked {
                is_synced: server.journal.has_synced(acks.target),
                replicas: replication.count_synced(number),
            },
        }
    }

    /// Nobody has what is still pending.
    fn is_enough(&self, acks: &Acks) -> bool {
        let is_local = acks.wanted.on_disk != Some(true) || self.is_synced;
        is_local && self.replicas as i64 >= acks.wanted.replicas
    }
}

/// False if the client waits for a file that is not written any more.
fn can_come(worker: &Worker, acks: &Acks) -> bool {
    acks.wanted.on_disk != Some(true) || worker.config.appendonly
}

/// The reply to a client that asks who has what it has written.
pub(super) fn answer_acks(worker: &Worker, acks: &Acks, reply: &mut Reply<'_>) {
    if !can_come(worker, acks) {
        return reply.error(CommandError::WaitaofWithoutFile.text());
    }
    let acked = Acked::of(&worker.server, acks);
    if acks.wanted.on_disk.is_some() {
        reply.array(2);
        reply.integer(acked.is_synced.into());
    }
    reply.integer(acked.replicas as i64);
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// What a client that asks for replicas' acknowledgements waits for.
    pub(super) fn acks_for(&mut self, client: u32, wanted: AcksWanted) -> Acks {
        let mut target = Gate::OPEN;
        if let Some(connection) = self.clients.get(client) {
            target = Gate::of(connection.session.last_write);
            target.raise(connection.gate);
        }
        Acks { target, wanted }
    }

    /// Clients go on whose changes are where they want them.
    #[inline]
    pub(super) fn settle_acks(&mut self) {
        if !self.awaiting.is_empty() {
            self.settle_awaiting();
        }
    }

    #[cold]
    fn settle_awaiting(&mut self) {
        let server = self.worker.server.clone();
        server.replication.wait(self.worker.core);
        server.journal.wait(self.worker.core);
        for (client, generation) in std::mem::take(&mut self.awaiting) {
            let Some(acks) = self.acks_of(client, generation) else { continue };
            if !can_come(&self.worker, &acks) || Acked::of(&server, &acks).is_enough(&acks) {
                self.end_acked(client);
            } else {
                self.awaiting.push((client, generation));
            }
        }
    }

    fn acks_of(&mut self, client: u32, generation: u32) -> Option<Acks> {
        let connection = self.clients.of(client, generation)?;
        connection.blocked.as_ref()?.blocked.as_ref()?.acks
    }

    /// The turn has its number: who waits for what it did knows now what for. Asks the replicas.
    pub(super) fn ask_for_acks(&mut self) {
        if self.asking.is_empty() {
            return;
        }
        let number = self.pending_number();
        let mut last = 0;
        for (client, generation) in std::mem::take(&mut self.asking) {
            let Some(connection) = self.clients.of(client, generation) else { continue };
            let blocked = connection.blocked.as_mut().and_then(|batch| batch.blocked.as_mut());
            let Some(acks) = blocked.and_then(|blocked| blocked.acks.as_mut()) else { continue };
            acks.target = acks.target.resolved(number);
            last = last.max(acks.target.number());
            self.awaiting.push((client, generation));
        }
        self.mail.post(WRITER, Message::AskReplicas(last));
        self.has_more = true;
    }

    /// Replicas are to say how far they are.
    pub(super) fn ask_replicas(&mut self, number: u64) {
        if self.feeder.is_fed() && !self.worker.follows() {
            let asks = self.feeder.asks_at.get_or_insert(Asks { first: number, last: number });
            asks.first = asks.first.min(number);
            asks.last = asks.last.max(number);
        }
    }

    /// Replicas get a line that no command has caused. Source: DEBUG REPLICATE.
    pub(super) fn feed_replicas(&mut self, words: &[Vec<u8>]) {
        if self.feeder.is_fed() && !self.worker.follows() {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            self.feeder.feed_line(&words, self.worker.now);
            self.has_more = true;
        }
    }

    /// Tells all cores how far the replicas are, if any has said something.
    pub(super) fn tell_acks(&mut self) {
        let mut has_news = false;
        for at in 0..self.feeder.replicas.len() {
            let (index, _) = self.feeder.replicas[at];
            let replica = self.clients.get(index).and_then(|one| one.session.replica.as_mut());
            has_news |= replica.is_some_and(|replica| std::mem::take(&mut replica.has_news));
        }
        if has_news {
            self.replicas_changed();
        }
    }

    /// Replicas have come or gone, or are further than they were.
    pub(super) fn replicas_changed(&mut self) {
        let waiting = self.waiting_main_channels();
        let shared = &self.worker.server.replication;
        shared.await_channels(waiting.into_iter());
        let lag = i64::from(self.worker.config.min_replicas_max_lag);
        let (mut good, mut numbers, mut bytes, mut channels) = (0, Vec::new(), 0, 0);
        for (index, _) in &self.feeder.replicas {
            let Some(connection) = self.clients.get(*index) else { continue };
            let Some(replica) = connection.session.replica.as_ref() else { continue };
            bytes += connection.facts(self.worker.core).total_bytes as u64;
            channels += u32::from(replica.main_channel.is_some());
            if replica.stage != Stage::Online {
                continue;
            }
            let said = self.worker.now.seconds() - replica.acked_at.seconds();
            good += u32::from(said <= lag);
            let stream = &self.feeder.stream;
            let number = |offset| stream.number_at(offset).unwrap_or(0);
            numbers.push((number(replica.acked), number(replica.acked_synced)));
        }
        shared.replica_bytes.store(bytes, Relaxed);
        shared.rdb_channels.store(channels, Relaxed);
        shared.replicas.store(self.feeder.replicas.len() as u32, Relaxed);
        shared.good_replicas.store(good, Relaxed);
        for core in shared.acknowledge(numbers.into_iter()).iter() {
            if core == self.worker.core {
                self.has_more = true;
            } else {
                self.ring.push(crate::ring::Op::Wake { core });
            }
        }
    }

    /// What is done for replicas from time to time.
    pub(super) fn look_at_replicas(&mut self) {
        if !self.feeder.is_fed() {
            return;
        }
        self.look_at_syncs();
        let now = self.worker.now;
        if now.seconds() == std::mem::replace(&mut self.feeder.looked_at, now.seconds()) {
            return;
        }
        let config = self.worker.config.clone();
        let period = i64::from(config.repl_ping_replica_period) * 1000;
        // A replica passes on what its primary sends, and nothing else; and who hands over has said all.
        let hands_over = self.worker.server.replication.failover() != FailoverState::None;
        let speaks = !self.worker.follows() && !self.feeder.replicas.is_empty() && !hands_over;
        if speaks && now.0 >= self.feeder.fed_at.0 + period {
            self.feeder.feed_line(&[b"PING"], now);
        }
        self.keep_waiting_alive();
        self.cut_off_silent(Millis(now.0 - i64::from(config.repl_timeout) * 1000));
        let lonely = (now.0 - self.feeder.lonely_since.0) / 1000;
        let ttl = config.repl_backlog_ttl;
        let is_idle = self.feeder.replicas.is_empty() && !self.worker.follows();
        if is_idle && ttl > 0 && lonely > ttl as i64 {
            self.end_stream(ttl);
        }
        self.replicas_changed();
    }

    /// Replicas that wait for a snapshot are told that this server lives.
    fn keep_waiting_alive(&mut self) {
        for at in 0..self.feeder.replicas.len() {
            let (index, _) = self.feeder.replicas[at];
            let Some(connection) = self.clients.get(index) else { continue };
            let stage = connection.session.replica.as_ref().map(|replica| replica.stage);
            let is_first = self.feeder.sync.as_ref().is_some_and(Sync::is_unbegun);
            let waits = stage == Some(Stage::Waits) || stage == Some(Stage::Receives) && is_first;
            if waits && connection.output.is_idle() {
                self.send_to(index, bytes::Bytes::from_static(b"\n"));
            }
        }
    }

    /// Ends replicas of which nothing has been heard since then.
    fn cut_off_silent(&mut self, before: Millis) {
        let mut silent: Vec<(u32, &str)> =
            self.stuck_receivers(before).into_iter().map(|index| (index, "full sync")).collect();
        silent.extend(self.deserted_main_channels(before).into_iter().map(|at| (at, "full sync")));
        for (index, _) in &self.feeder.replicas {
            let Some(connection) = self.clients.get(*index) else { continue };
            let Some(replica) = connection.session.replica.as_ref() else { continue };
            let speaks = matches!(replica.stage, Stage::Online | Stage::Loads);
            // Who loads for long sends empty lines.
            let heard_at = replica.acked_at.max(connection.session.last_interaction);
            if speaks && !replica.is_silent && heard_at < before {
                silent.push((*index, "streaming sync"));
            }
        }
        for (index, what) in silent {
            let Some(connection) = self.clients.get(index) else { continue };
            let Some(replica) = connection.session.replica.as_ref() else { continue };
            let name = replica.name(&connection.session);
            log::warning(format!("Disconnecting timedout replica ({what}): {name}"));
            connection.closing = true;
            self.doomed.push(index);
        }
    }

    /// Nobody has followed the stream for so long that it is not kept any more.
    fn end_stream(&mut self, ttl: u64) {
        // What is changed from now on is not counted, so the history needs another name.
        let id = self.new_replication_id();
        self.worker.server.replication.publish(History::new(id));
        self.worker.server.replication.feed(false);
        self.feeder.end();
        self.publish_stream();
        self.worker.check_persistence();
        log::notice(format!(
            "Replication backlog freed after {ttl} seconds without connected replicas."
        ));
    }
}
