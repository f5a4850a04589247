//! Replicas: clients of the core that keeps the stream, which they get as far as it may be told.
//!
//! Invariant: a client that asks for the stream moves, with its connection, to the core that keeps it,
//! and lives there to its end; nothing of it is under way when it leaves its home. A replica is sent what
//! is behind what it was sent last, out of memory that all of them share. Source: Redis 8.0.6, replication.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::journal::WRITER;
use super::{Core, Message};
use crate::base::time::Clock;
use crate::client::replica::Stage;
use crate::client::{Session, info};
use crate::command::session_context::SyncWanted;
use crate::net::connection::{Connection, Receiving};
use crate::net::input::Input;
use crate::net::sealing::Sealing;
use crate::observe::log;
use crate::observe::replication::ReplicationId;
use crate::replication::identity::psync_offset;
use crate::ring::{Fd, Kind, Op, Ring};

/// So much of the stream goes out with the replies of a turn; more in sends of its own.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// A client on its way to the core that keeps the stream.
pub struct Moving {
    session: Session,
    fd: Fd,
    sealing: Option<Box<Sealing>>,
    input: Input,
    hung_up: bool,
    wanted: SyncWanted,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// A client wants to be a replica: it leaves as soon as nothing of it is under way.
    pub(super) fn begin_move(&mut self, client: u32, generation: u32, wanted: SyncWanted) {
        let is_here = self.worker.core == WRITER;
        let Some(connection) = self.clients.of(client, generation) else { return };
        connection.leaves = !is_here;
        let token = match connection.receiving {
            _ if is_here => None,
            Receiving::Armed => Some(connection.receive_token(client)),
            Receiving::Single => Some(connection.token(Kind::RecvInto, client)),
            Receiving::Ending | Receiving::Off => None,
        };
        if let Some(token) = token {
            self.ring.push(Op::Cancel { token });
        }
        self.feeder.leaving.push((client, generation, wanted));
        self.has_more = true;
    }

    /// Sends clients on their way that want to be replicas.
    #[inline]
    pub(super) fn move_replicas(&mut self) {
        if !self.feeder.leaving.is_empty() {
            self.move_ready();
        }
    }

    #[cold]
    fn move_ready(&mut self) {
        for (client, generation, wanted) in std::mem::take(&mut self.feeder.leaving) {
            let Some(connection) = self.clients.of(client, generation) else { continue };
            if connection.is_dead {
                continue;
            }
            let is_here = self.worker.core == WRITER;
            let is_sent = connection.output.is_idle() && connection.segment.is_none();
            let is_unread = connection.pending_ops == 0 && connection.receiving == Receiving::Off;
            if !is_sent || !is_here && !is_unread {
                self.feeder.leaving.push((client, generation, wanted));
                continue;
            }
            if is_here {
                connection.away = false;
                self.attach(client, wanted);
                self.client_is_free(client);
                continue;
            }
            let moving = Moving {
                session: std::mem::replace(
                    &mut connection.session,
                    Session::new(0, self.worker.now, false),
                ),
                fd: connection.fd,
                sealing: connection.sealing.take(),
                input: std::mem::take(&mut connection.input),
                hung_up: connection.hung_up,
                wanted,
            };
            self.secured_clients -= usize::from(moving.sealing.is_some());
            self.take_back(client);
            self.forget_weight(client);
            self.clients.remove(client);
            let gauges = &self.worker.server.clients;
            gauges[self.worker.core].add(-1);
            gauges[WRITER].add(1);
            self.mail.post(WRITER, Message::Moving(Box::new(moving)));
        }
    }

    /// A client has come that wants to be a replica.
    pub(super) fn take_moving(&mut self, moving: Moving) {
        let Moving { mut session, fd, sealing, input, hung_up, wanted } = moving;
        self.secured_clients += usize::from(sealing.is_some());
        session.facts.home = self.worker.core as u16;
        let generation = self.clients.next_generation();
        let index = self.clients.insert(Connection::new(session, fd, generation));
        let Some(connection) = self.clients.get(index) else { return };
        connection.session.place = index;
        connection.input = input;
        connection.sealing = sealing;
        if hung_up {
            return self.doomed.push(index);
        }
        self.arm_receive(index);
        self.attach(index, wanted);
        self.client_is_free(index);
    }

    /// A client of this core becomes a replica.
    fn attach(&mut self, index: u32, wanted: SyncWanted) {
        let now = self.worker.now;
        let Some(connection) = self.clients.get(index) else { return };
        let generation = connection.generation;
        let session = &mut connection.session;
        let Some(mut replica) = session.replica.take() else { return };
        let name = replica.name(session);
        log::notice(format!("Replica {name} asks for synchronization"));
        replica.acked_at = now;
        let kind = if replica.is_rdb_channel { "(rdb-channel)" } else { "" };
        let grant = |(id, next): &(Box<[u8]>, i64)| self.grant(&name, kind, id, *next);
        let granted = wanted.from.as_ref().and_then(grant);
        replica.main_channel = self.free_main_channel(&replica).filter(|_| granted.is_none());
        let server = self.worker.server.clone();
        let counts = &server.replication;
        if let Some(sent) = granted {
            counts.syncs_partial.fetch_add(1, Relaxed);
            (replica.stage, replica.sent) = (Stage::Online, sent);
            let answer = if replica.takes_psync2 {
                format!("+CONTINUE {}\r\n", counts.history().id)
            } else {
                "+CONTINUE\r\n".to_owned()
            };
            self.send_to(index, answer.into());
            let len = self.feeder.stream.offset() - sent;
            let next = psync_offset(sent);
            log::notice(format!(
                "Partial resynchronization request from {name} accepted. Sending {len} bytes of backlog starting from offset {next}."
            ));
        } else {
            if wanted.from.is_some_and(|(id, _)| *id != *b"?") {
                counts.syncs_refused.fetch_add(1, Relaxed);
            }
            let has_channel = replica.takes_rdb_channel && !replica.is_silent;
            if has_channel && self.offer_rdb_channel(index, &name) {
                replica.stage = Stage::WaitsForChannel;
            } else {
                counts.syncs_full.fetch_add(1, Relaxed);
                replica.stage = Stage::Waits;
            }
        }
        if let Some(connection) = self.clients.get(index) {
            connection.session.replica = Some(replica);
            if self.worker.config.repl_disable_tcp_nodelay {
                // Where it has none, nothing is delayed anyway.
                let _ = crate::net::listener::set_nodelay(connection.fd, false);
            }
        }
        self.feeder.replicas.push((index, generation));
        self.begin_stream();
        self.replicas_changed();
        self.look_at_syncs();
    }

    /// Whether a replica, told by its name and kind, can go on from the byte that it asks for: how many
    /// bytes it has.
    fn grant(&self, name: &str, kind: &str, id: &[u8], next: i64) -> Option<u64> {
        let history = self.worker.server.replication.history();
        let stream = &self.feeder.stream;
        if id == b"?" {
            log::notice(format!("Full resync requested by replica {name} {kind}"));
            return None;
        }
        let known = ReplicationId::parse(id).filter(|id| [history.id, history.former].contains(id));
        let Some(known) = known else {
            let (asked, ours, former) = (String::from_utf8_lossy(id), history.id, history.former);
            log::notice(format!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{asked}', my replication IDs are '{ours}' and '{former}')"
            ));
            return None;
        };
        if !history.holds(known, next) {
            let until = history.former_until;
            log::notice(format!(
                "Partial resynchronization not accepted: Requested offset for second ID was {next}, but I can reply up to {until}"
            ));
            return None;
        }
        let has = u64::try_from(next).ok().and_then(|next| next.checked_sub(1));
        let kept = stream.backlog().filter(|backlog| {
            has.is_some_and(|has| (backlog.first()..=backlog.end()).contains(&has))
        });
        if kept.is_none() {
            log::notice(format!(
                "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {next})."
            ));
            if has.is_some_and(|has| has >= stream.offset()) {
                log::warning(format!(
                    "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
                ));
            }
            return None;
        }
        has
    }

    /// The history has another name: replicas hear of it when they ask whether they can go on.
    pub(super) fn disconnect_replicas(&mut self) {
        self.feeder.stream.forget_db();
        for (index, _) in &self.feeder.replicas {
            if let Some(connection) = self.clients.get(*index) {
                connection.closing = true;
                self.doomed.push(*index);
            }
        }
    }

    /// Queues bytes for a replica that are no part of the stream.
    pub(super) fn send_to(&mut self, index: u32, bytes: Bytes) {
        let Some(connection) = self.clients.get(index) else { return };
        connection.output.push(bytes);
        self.dirty.push(index);
    }

    /// The stream's part of a turn: what is due is fed, and replicas are sent what they lack.
    #[inline]
    pub(super) fn serve_replicas(&mut self) {
        if self.feeder.is_fed() {
            self.feed_stream();
            if self.worker.follows() {
                self.note_synced();
            }
            self.send_stream();
            self.tell_acks();
            self.look_at_handover();
        }
    }

    fn send_stream(&mut self) {
        for at in 0..self.feeder.replicas.len() {
            let (index, _) = self.feeder.replicas[at];
            let Some(connection) = self.clients.get(index) else { continue };
            if connection.segment.is_some_and(|(_, len)| len > 0) {
                self.cut_off_rogue(index);
                continue;
            }
            let stage = connection.session.replica.as_ref().map(|replica| replica.stage);
            match stage {
                Some(Stage::Online) => self.send_next(index),
                Some(Stage::Receives) => self.send_snapshot(index),
                Some(Stage::Loads) => self.go_online_if_loaded(index),
                Some(Stage::Streams) => {
                    self.send_next(index);
                    self.go_online_if_loaded(index);
                }
                Some(Stage::Waits | Stage::WaitsForChannel | Stage::Stranger | Stage::Served)
                | None => {}
            }
            self.note_behind(index);
        }
    }

    /// A replica gets what it was not sent yet, as far as it may be told.
    pub(super) fn send_next(&mut self, index: u32) {
        let Core { clients, feeder, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let is_free = connection.output.is_idle() && connection.goes_on();
        let Some(replica) = connection.session.replica.as_mut() else { return };
        if !is_free || replica.sent >= feeder.told {
            return;
        }
        let backlog = feeder.stream.backlog();
        let Some(mut bytes) = backlog.and_then(|backlog| backlog.read(replica.sent)) else {
            return;
        };
        bytes.truncate((feeder.told - replica.sent).min(bytes.len() as u64) as usize);
        replica.sent += bytes.len() as u64;
        let is_all = replica.sent == feeder.told;
        let stats = &self.worker.stats.totals;
        stats.net_repl_output_bytes.add(bytes.len() as u64);
        if bytes.len() > TURN_BYTES_MAX {
            return self.send_to(index, bytes);
        }
        self.has_more |= !is_all;
        self.begin_segment(index);
        self.replies.bytes.extend_from_slice(&bytes);
        self.end_segment(index);
    }

    /// Charges a replica what it has not been sent, and cuts it off if that is too much.
    fn note_behind(&mut self, index: u32) {
        let Core { clients, feeder, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let Some(replica) = connection.session.replica.as_mut() else { return };
        let snapshot = feeder.sync.as_ref().map_or(0, |sync| sync.overdue_bytes(index));
        let stream = feeder.stream.offset();
        let kept = replica.needs_stream_from().map_or(0, |sent| stream.saturating_sub(sent));
        replica.behind = kept + snapshot;
        self.check_output(index);
    }

    /// A replica has caused a reply, which would be taken for a part of the stream.
    #[cold]
    fn cut_off_rogue(&mut self, index: u32) {
        let core = self.worker.core;
        let Some(connection) = self.clients.get(index) else { return };
        if let Some((start, len)) = &mut connection.segment {
            (*start, *len) = (0, 0);
        }
        let held = connection.facts(core);
        let line = info::line(&connection.session, &held, self.worker.now);
        let command = connection.session.last_command;
        log::warning(format!(
            "Replica generated a reply to command '{command}', disconnecting it: {line}"
        ));
        connection.closing = true;
        self.doomed.push(index);
    }

    /// A replica's connection ends.
    #[cold]
    pub(super) fn lose_replica(&mut self, index: u32) {
        let now = self.worker.now;
        let Some(connection) = self.clients.get(index) else { return };
        let Some(replica) = connection.session.replica.as_ref() else { return };
        let kind = if replica.is_rdb_channel { " (rdbchannel)" } else { "" };
        let name = replica.name(&connection.session);
        log::notice(format!("Connection with replica{kind} {name} lost."));
        self.feeder.replicas.retain(|(other, _)| *other != index);
        if self.feeder.replicas.is_empty() {
            self.feeder.lonely_since = now;
        }
        self.leave_sync(index);
        self.part_channels(index);
        self.trim_stream();
        self.replicas_changed();
    }
}
