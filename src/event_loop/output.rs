//! Replies leave, clients come and go.
//!
//! Invariant: one send per client and turn; replies of a client leave in the order in which they
//! were written, whichever way each piece takes.

use std::sync::Arc;

use bytes::Bytes;

use super::limits::stall_bytes;
use super::{Core, Message};
use crate::base::listening::Change;
use crate::base::sys;
use crate::base::time::Clock;
use crate::client::Session;
use crate::net::connection::{Connection, Receiving};
use crate::net::input::Input;
use crate::net::listener::{Accepted, Listener, TOO_MANY};
use crate::net::output::Output;
use crate::observe::log;
use crate::ring::{Completion, Kind, Op, Ring, Token};
use crate::txn::batch::Batch;

/// More than this is sent before a batch leaves.
const TAKEN_ALONG_BYTES_MAX: usize = 4 * 1024;
/// More than this does not move behind the replies of others.
const MOVED_BYTES_MAX: usize = 1024;
/// Replies of a turn that no `client-output-buffer-limit` is about: as long as Redis' buffer for them.
const UNLIMITED_BYTES: usize = 16 * 1024;
/// A turn's buffer never has less room: what an ordinary reply needs is there from the start.
const REPLIES_SMALL_BYTES: usize = 16 * 1024;
/// One that grew beyond this is given back at once.
const REPLIES_KEPT_BYTES: usize = 4 * 1024 * 1024;

impl<R: Ring, C: Clock> Core<R, C> {
    /// What is written to `replies` from now on belongs to this client.
    pub(super) fn begin_segment(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        let end = self.replies.bytes.len();
        match connection.segment {
            // An empty one may stand behind what was cut off since.
            Some((_, 0)) => connection.segment = Some((end, 0)),
            // Replies of others came between. Many go out by themselves: two clients whose replies
            // alternate would move all of them again with each.
            Some((start, len)) if start + len != end && len > MOVED_BYTES_MAX => {
                let earlier = &self.replies.bytes[start..start + len];
                connection.output.wait_for(connection.gate);
                connection.output.push(Bytes::copy_from_slice(earlier));
                connection.segment = Some((end, 0));
            }
            // Few move behind them.
            Some((start, len)) if start + len != end => {
                self.replies.bytes.extend_from_within(start..start + len);
                connection.segment = Some((end, len));
            }
            Some(_) => {}
            None => {
                connection.segment = Some((end, 0));
                self.dirty.push(index);
            }
        }
    }

    /// What was written since `begin_segment` is complete.
    pub(super) fn end_segment(&mut self, index: u32) {
        let Core { clients, replies, worker, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        connection.gate.raise(worker.scribe.gate.take());
        let Some((start, _)) = connection.segment else { return };
        connection.segment = Some((start, replies.bytes.len() - start));
        // Shared values cannot go out with the turn's buffer, nor can what is behind other output.
        if !replies.spliced.is_empty() || !connection.output.is_idle() {
            connection.output.wait_for(connection.gate);
            connection.output.push_replies(replies, start);
            replies.truncate(start);
            connection.segment = Some((start, 0));
            self.check_output(index);
        } else if replies.bytes.len() - start > UNLIMITED_BYTES {
            self.check_segment(index, start);
        }
    }

    /// Replies too long for a client's limit are not sent at all.
    #[cold]
    fn check_segment(&mut self, index: u32, start: usize) {
        if self.clients.get(index).is_none_or(|connection| connection.closing) {
            // It leaves by itself, with its last replies.
            return;
        }
        self.check_output(index);
        if let Some(connection) = self.clients.get(index)
            && connection.closing
        {
            connection.segment = Some((start, 0));
            self.replies.truncate(start);
            // What was too long for a client is not kept for others.
            self.replies.bytes.shrink_to(REPLIES_SMALL_BYTES);
        }
    }

    /// What this turn has written for the client of a batch that leaves goes with it, and is sent with
    /// what the rest of its commands answer: a send costs more than several commands.
    pub(super) fn take_replies_along(&mut self, batch: &mut Batch) {
        let Core { clients, replies, .. } = self;
        let Some(connection) = clients.of(batch.client, batch.generation) else { return };
        if connection.session.facts.tracking.is_on() {
            // Invalidations of what these replies show may be written from now on.
            return;
        }
        let Some((start, len)) = connection.segment else { return };
        let is_last = start + len == replies.bytes.len() && replies.spliced.is_empty();
        if !is_last || !batch.replies.is_empty() || len > TAKEN_ALONG_BYTES_MAX {
            return;
        }
        batch.replies.bytes.extend_from_slice(&replies.bytes[start..]);
        batch.gate.raise(connection.gate);
        replies.truncate(start);
        connection.segment = Some((start, 0));
    }

    /// Queues one send for every client that has something to get.
    pub(super) fn send_replies(&mut self) {
        if self.secured_clients > 0 {
            self.seal_replies();
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        let output = std::mem::take(&mut self.replies.bytes);
        self.longest_replies = self.longest_replies.max(output.len());
        self.replies.bytes = self.ring.turn_output(output);
        if self.replies.bytes.capacity() > REPLIES_KEPT_BYTES {
            self.replies.bytes = Vec::with_capacity(REPLIES_SMALL_BYTES);
        }
        for index in &dirty {
            self.send_one(*index);
        }
        self.weigh_written(&dirty);
        dirty.clear();
        self.dirty = dirty;
    }

    /// Makes room for the replies of ordinary turns: a turn writes to one buffer while the kernel
    /// sends from the other.
    pub(super) fn prepare_replies(&mut self) {
        self.replies.bytes.reserve_exact(REPLIES_SMALL_BYTES);
        self.ring.turn_output(Vec::with_capacity(REPLIES_SMALL_BYTES));
    }

    /// Gives a turn's buffer back of which no turn since the last look has used much: what an odd turn
    /// has needed is not held for ever, on every core.
    pub(super) fn shrink_replies(&mut self) {
        let longest = std::mem::take(&mut self.longest_replies);
        let capacity = self.replies.bytes.capacity();
        if self.replies.bytes.is_empty() && capacity > REPLIES_SMALL_BYTES && capacity / 4 > longest
        {
            self.replies.bytes = Vec::with_capacity(longest.max(REPLIES_SMALL_BYTES));
        }
    }

    fn send_one(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if connection.is_dead || connection.is_cut_off {
            connection.segment = None;
            return;
        }
        let gate = connection.gate.take();
        if !gate.is_open() {
            self.hold_replies(index, gate);
        }
        let Some(connection) = self.clients.get(index) else { return };
        let fd = connection.fd;
        if let Some((start, len)) = connection.segment.take()
            && len > 0
        {
            let stats = &self.worker.stats.totals;
            stats.net_output_bytes.add(len as u64);
            stats.writes.add(1);
            connection.session.net_output_bytes += len as u64;
            if connection.leaves_with_turn() {
                connection.last_segment = (start, len);
                let token = connection.token(Kind::SendTurn, index);
                return self.ring.push(Op::SendTurn { fd, token, start, len });
            }
            let bytes = &self.ring.last_output()[start..start + len];
            connection.output.push(Bytes::copy_from_slice(bytes));
        }
        if let Some(bytes) = connection.begin_send() {
            connection.sending = bytes.clone();
            connection.pending_ops += 1;
            let token = connection.token(Kind::Send, index);
            self.ring.push(Op::Send { fd, token, bytes });
        } else if connection.closing && connection.output.is_idle() {
            self.doomed.push(index);
        }
    }

    /// A send of the turn before did not go out as a whole: the rest waits for room.
    pub(super) fn turn_send_failed(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        let Some(connection) = self.clients.of_token(token) else { return };
        if connection.is_dead {
            return;
        }
        let sent = match result {
            0.. => result as usize,
            error if matches!(-error, libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => 0,
            _ => return self.doomed.push(token.index()),
        };
        let (start, len) = connection.last_segment;
        if sent >= len {
            return;
        }
        self.worker.stats.totals.short_sends.add(1);
        let rest = &self.ring.last_output()[start + sent..start + len];
        let rest = Bytes::copy_from_slice(rest);
        if connection.sealing.is_some() {
            connection.begin_rest(rest);
            return self.send_on(token.index());
        }
        connection.output.push_front(rest);
        self.dirty.push(token.index());
        self.check_output(token.index());
    }

    /// An owned send has ended: the next piece goes out, or the client may run again.
    pub(super) fn send_completed(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        let index = token.index();
        self.ring.finish_send(token);
        let Some(connection) = self.clients.of_token(token) else { return };
        connection.pending_ops -= 1;
        if connection.is_dead {
            return self.forget_if_done(index);
        }
        let sent = match result {
            0.. => result as usize,
            error if matches!(-error, libc::EAGAIN | libc::EINTR) => 0,
            _ => return self.doomed.push(index),
        };
        let was_held_up = connection.is_held_up();
        let rest = connection.end_send(sent);
        let goes_on = was_held_up && connection.may_run();
        connection.session.net_output_bytes += sent as u64;
        self.worker.stats.totals.net_output_bytes.add(sent as u64);
        self.worker.stats.totals.writes.add(1);
        if rest.is_some() {
            return self.send_on(index);
        }
        self.dirty.push(index);
        if connection.output.bytes() < connection.stall_bytes / 2 && connection.stalled.is_some() {
            self.run_stalled(index);
        } else if goes_on {
            self.client_is_free(index);
        }
    }

    /// Sends what is under way of a client, or the rest of it.
    fn send_on(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        connection.pending_ops += 1;
        let (fd, token) = (connection.fd, connection.token(Kind::Send, index));
        let bytes = connection.sending.clone();
        self.ring.push(Op::Send { fd, token, bytes });
    }

    /// Takes a client in: its session begins, its socket is read. Its index.
    pub(super) fn add_client(&mut self, accepted: Accepted) -> u32 {
        let Accepted { fd, addr, laddr, unix, refusal, sealing } = accepted;
        let id = self.worker.server.next_client_id();
        let mut session = Session::new(id, self.worker.now, self.worker.users.is_open());
        (session.addr, session.laddr, session.unix, session.fd) = (addr, laddr, unix, fd);
        session.facts.local = session.is_local();
        session.facts.home = self.worker.core as u16;
        session.facts.peer = session.addr.parse().ok().filter(|_| !session.unix);
        let generation = self.clients.next_generation();
        let index = self.clients.insert(Connection::new(session, fd, generation));
        if let Some(connection) = self.clients.get(index) {
            connection.session.place = index;
            connection.stall_bytes = stall_bytes(&self.worker.config);
            connection.sealing = sealing;
        }
        if let Some(refusal) = refusal {
            if let Some(connection) = self.clients.get(index) {
                connection.output.push(Bytes::from_static(refusal.as_bytes()));
                connection.closing = true;
            }
            self.dirty.push(index);
            return index;
        }
        self.arm_receive(index);
        index
    }

    /// A listener has a new descriptor, or cannot go on.
    pub(super) fn accepted(&mut self, completion: Completion) {
        let Completion { token, result, more, .. } = completion;
        let index = token.index() as usize;
        let listener = &self.listeners[index];
        if result >= 0 {
            let worker = &self.worker;
            let nopass = worker.users.default_user().user.has_nopass();
            let accepted = listener.admit(result, &worker.config, &worker.server, nopass);
            let stats = &self.worker.stats.totals;
            if accepted.refusal.is_some() {
                stats.rejected_connections.add(1);
            } else {
                stats.connections.add(1);
            }
            let clients = &self.worker.server.clients;
            let core = (0..clients.len()).min_by_key(|core| clients[*core].get()).unwrap_or(0);
            let is_secure = listener.is_secure(&worker.config);
            if is_secure && accepted.refusal == Some(TOO_MANY) {
                self.turn_away(accepted.fd);
            } else if is_secure {
                clients[core].add(1);
                self.secure(accepted, core);
            } else {
                clients[core].add(1);
                self.mail.post(core, Message::Accepted(Box::new(accepted)));
            }
        } else if listener.is_stopped {
            // That is how its accept learns of it.
        } else if -result != libc::ECANCELED && self.cron.may_log_accept_error() {
            let reason = sys::reason(&std::io::Error::from_raw_os_error(-result));
            log::warning(format!("Error accepting a client connection: {reason}"));
        }
        if !more && self.listeners[index].is_stopped {
            self.listeners.remove(index);
        } else if !more {
            // Out of descriptors: another try at once would fail at once.
            self.cron.rearm_accept(token.index());
        }
    }

    /// Arms a listener, unless it was stopped while it was not armed.
    pub(super) fn arm_accept(&mut self, index: u32) {
        let listener = &self.listeners[index as usize];
        if listener.is_stopped {
            self.listeners.remove(index as usize);
            return;
        }
        let listener = listener.fd();
        self.ring.push(Op::Accept { listener, token: Token::new(Kind::Accept, 0, index) });
    }

    /// The addresses to listen on have changed.
    pub(super) fn change_listeners(&mut self, change: &Change) {
        for (_, listener) in &mut self.listeners {
            if !change.keeps(listener.place()) {
                listener.stop();
            }
        }
        let mut sockets = change.opened.clone();
        for name in &change.blocked {
            match name.open(change.options) {
                Ok(socket) => sockets.extend(socket.map(Arc::new)),
                Err(error) => {
                    let reason = sys::reason(&error);
                    log::warning(format!("Cannot listen on {}: {reason}", name.text));
                }
            }
        }
        for socket in sockets {
            let index = self.listeners.insert(Listener::new(socket));
            self.arm_accept(index as u32);
        }
    }

    /// A client whose peer has sent its last byte ends when all that came has run; the replies still
    /// go out, since the peer may read them.
    pub(super) fn end_hung_up(&mut self) {
        for index in std::mem::take(&mut self.hung_up) {
            if let Some(connection) = self.clients.get(index)
                && connection.hung_up
                && connection.may_run()
                && !connection.is_ready
            {
                connection.closing = true;
                self.dirty.push(index);
            }
        }
    }

    /// Closes those who were found to be done for.
    pub(super) fn close_doomed(&mut self) {
        for index in std::mem::take(&mut self.doomed) {
            self.close(index);
        }
    }

    pub(super) fn close(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if connection.is_dead {
            return;
        }
        connection.is_dead = true;
        connection.mark_dead();
        self.allowance_bytes -= std::mem::take(&mut connection.allowance_bytes);
        let stalled = connection.stalled.take();
        connection.served = None;
        if matches!(connection.receiving, Receiving::Armed) {
            let token = connection.receive_token(index);
            self.ring.push(Op::Cancel { token });
        } else if connection.receiving == Receiving::Single {
            let token = connection.token(Kind::RecvInto, index);
            self.ring.push(Op::Cancel { token });
        }
        if connection.output.is_sending() {
            let token = connection.token(Kind::Send, index);
            self.ring.push(Op::Cancel { token });
        }
        // What it held is free at once, but for what the kernel has.
        connection.input = Input::default();
        connection.output = Output::default();
        self.ring.push(Op::Close { fd: connection.fd });
        self.secured_clients -= usize::from(connection.sealing.is_some());
        if let Some(batch) = stalled {
            self.abandon(batch);
        }
        self.stop_waiting(index);
        self.drop_kept(index);
        self.discard(index, true);
        self.leave_channels(index);
        self.stop_tracking(index);
        self.weigh(index);
        self.worker.server.clients[self.worker.core].add(-1);
        if self.clients.get(index).is_some_and(|connection| connection.session.is_replica()) {
            self.lose_replica(index);
        }
        self.forget_if_done(index);
    }

    /// Frees the place of a client whose operations have all completed.
    pub(super) fn forget_if_done(&mut self, index: u32) {
        if let Some(connection) = self.clients.get(index)
            && connection.is_dead
            && connection.pending_ops == 0
        {
            self.clients.remove(index);
        }
    }

    /// The process ends: what was written still goes out, then every socket closes.
    pub(super) fn close_everything(&mut self) {
        self.send_replies();
        for index in self.clients.indexes() {
            self.close(index);
        }
        self.ring.submit_and_wait(crate::ring::Wait::No);
    }
}
