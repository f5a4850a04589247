//! Replicas of two connections: the rdb channel brings the snapshot, and the main channel the stream
//! from the offset of the snapshot on, at the same time.
//!
//! Invariant: an attached rdb channel names a main channel only while that one is here, and no two name
//! the same. Once the snapshot has begun both go on, or the main channel ends with its rdb channel: it
//! has a stream that fits nothing. Source: Redis 8.0.6, repl-rdb-channel.

use super::Core;
use crate::base::time::{Clock, Millis};
use crate::client::replica::{Replica, Stage};
use crate::observe::log;
use crate::observe::replication::MAIN_CHANNELS_MAX;
use crate::ring::Ring;

impl<R: Ring, C: Clock> Core<R, C> {
    /// A replica that needs all data is told to have it come over a connection of its own. False if no
    /// more of them can wait for theirs.
    pub(super) fn offer_rdb_channel(&mut self, index: u32, name: &str) -> bool {
        if self.waiting_main_channels().len() == MAIN_CHANNELS_MAX {
            return false;
        }
        let Some(connection) = self.clients.get(index) else { return false };
        let id = connection.session.facts.id;
        log::notice(format!(
            "Replica {name} is capable of rdb channel synchronization, and partial sync isn't possible. Full sync will continue with dedicated rdb channel."
        ));
        self.send_to(index, format!("+RDBCHANNELSYNC {id}\r\n").into());
        true
    }

    /// The main channel that a client which becomes an rdb channel names, if it still waits.
    pub(super) fn free_main_channel(&mut self, channel: &Replica) -> Option<u64> {
        let id = channel.main_channel.filter(|_| channel.is_rdb_channel)?;
        let is_free = self.main_channel(id, Stage::WaitsForChannel).is_some()
            && self.rdb_channel_of(id).is_none();
        is_free.then_some(id)
    }

    /// The snapshot begins that goes to this replica: what comes behind it goes to the main channel.
    pub(super) fn begin_main_channel(&mut self, channel: u32, instant: u64) {
        let Some(connection) = self.clients.get(channel) else { return };
        let Some(replica) = connection.session.replica.as_ref() else { return };
        if !replica.is_rdb_channel {
            return;
        }
        let (name, main) = (replica.name(&connection.session), replica.main_channel);
        let main = main.and_then(|id| self.main_channel(id, Stage::WaitsForChannel));
        let Some(main) = main.and_then(|index| self.replica(index)) else {
            return log::warning(format!(
                "Starting to deliver RDB to replica {name} but it has no associated main channel"
            ));
        };
        (main.stage, main.sent, main.has_news) = (Stage::Streams, instant, false);
        log::notice(format!("Starting to deliver RDB and replication stream to replica: {name}"));
        self.replicas_changed();
    }

    /// A connection of a replica has gone: the other one may be of no use any more.
    pub(super) fn part_channels(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        let gone = connection.session.facts.id;
        let Some(replica) = connection.session.replica.as_ref() else { return };
        let main = replica.main_channel.filter(|_| replica.stage == Stage::Receives);
        if let Some(main) = main.and_then(|id| self.main_channel(id, Stage::Streams))
            && let Some(connection) = self.clients.get(main)
        {
            connection.closing = true;
            self.doomed.push(main);
            self.has_more = true;
        }
        if let Some(channel) = self.rdb_channel_of(gone).and_then(|index| self.replica(index)) {
            channel.main_channel = None;
        }
    }

    /// Main channels whose rdb channels have not come since then.
    pub(super) fn deserted_main_channels(&mut self, before: Millis) -> Vec<u32> {
        let mut deserted = Vec::new();
        for id in self.waiting_main_channels() {
            if self.rdb_channel_of(id).is_none()
                && let Some(index) = self.main_channel(id, Stage::WaitsForChannel)
                && self.replica(index).is_some_and(|main| main.acked_at < before)
            {
                deserted.push(index);
            }
        }
        deserted
    }

    /// The client ids of the main channels whose snapshot has not begun.
    pub(super) fn waiting_main_channels(&mut self) -> Vec<u64> {
        let mut waiting = Vec::new();
        self.find_replica(|id, replica| {
            waiting.extend((replica.stage == Stage::WaitsForChannel).then_some(id));
            false
        });
        waiting
    }

    /// Where the main channel with this client id is, if it is at this stage.
    pub(super) fn main_channel(&mut self, main: u64, stage: Stage) -> Option<u32> {
        self.find_replica(|id, replica| id == main && replica.stage == stage)
    }

    fn rdb_channel_of(&mut self, main: u64) -> Option<u32> {
        self.find_replica(|_, replica| replica.main_channel == Some(main))
    }

    /// The first replica of which something is true.
    fn find_replica(&mut self, mut is: impl FnMut(u64, &Replica) -> bool) -> Option<u32> {
        let Core { clients, feeder, .. } = self;
        let mut indexes = feeder.replicas.iter().map(|(index, _)| *index);
        indexes.find(|index| {
            let Some(connection) = clients.get(*index) else { return false };
            let id = connection.session.facts.id;
            connection.session.replica.as_ref().is_some_and(|replica| is(id, replica))
        })
    }
}
