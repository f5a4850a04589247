//! Completions become input, input becomes staged commands.
//!
//! Invariant: a client's bytes are parsed in the order in which they came; a receive buffer is
//! parsed in place only if nothing older of the client waits.

use super::stage::{COMMANDS_PER_CLIENT_MAX, Item, Source, Stage};
use super::Core;
use crate::base::time::Clock;
use crate::command::Args;
use crate::command::args::BigArg;
use crate::command::keyspec::keys_of;
use crate::dispatch::call::Worker;
use crate::dispatch::table::Way;
use crate::net::connection::Receiving;
use crate::observe::log;
use crate::resp::error::ProtocolError;
use crate::resp::request::{self, Limits, Partial, Step};
use crate::ring::{BufferLease, Completion, Kind, Op, Ring, Token};

/// A client that is not executed for, and has sent so much, is not read from.
const WAITING_BYTES_MAX: usize = 256 * 1024;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes in what the kernel has done.
    pub(super) fn reap(&mut self) {
        // All of them: a failed send of the last turn's output must be seen in this turn.
        while let Some(completion) = self.ring.reap() {
            match completion.token.kind() {
                Kind::Recv => self.received(completion),
                Kind::SendTurn => self.turn_send_failed(completion),
                Kind::Send => self.send_completed(completion),
                Kind::RecvInto => self.received_big(completion),
                Kind::Accept => self.accepted(completion),
                Kind::Event => self.event(),
                Kind::Wake | Kind::Ignored => {}
            }
        }
        if self.ring.overflowed() {
            self.worker.stats.totals.cq_overflows.add(1);
        }
    }

    fn received(&mut self, completion: Completion) {
        let Completion { token, result, more, lease } = completion;
        let index = token.index();
        let Some(connection) = self.clients.of_token(token) else {
            if let Some(lease) = lease {
                self.ring.release(lease);
            }
            return;
        };
        if !more {
            connection.receiving = Receiving::Off;
            connection.pending_ops -= 1;
        }
        if connection.is_dead {
            if let Some(lease) = lease {
                self.ring.release(lease);
            }
            return self.forget_if_done(index);
        }
        match (result, lease) {
            (1.., Some(lease)) => {
                let bytes = result as u64;
                connection.session.last_interaction = self.worker.now;
                connection.session.net_input_bytes += bytes;
                connection.session.reads += 1;
                self.worker.stats.totals.net_input_bytes.add(bytes);
                self.worker.stats.totals.reads.add(1);
                self.take_bytes(index, lease);
            }
            (0, lease) => {
                if let Some(lease) = lease {
                    self.ring.release(lease);
                }
                self.peer_finished(index);
            }
            (error, _) => match -error {
                libc::ENOBUFS => self.worker.stats.totals.recv_no_buffers.add(1),
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                _ => self.doomed.push(index),
            },
        }
        if !more {
            self.rearm.push(index);
        }
    }

    /// The peer has closed its side: what it sent before is still answered.
    fn peer_finished(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        connection.hung_up = true;
        self.hung_up.push(index);
    }

    fn take_bytes(&mut self, index: u32, lease: BufferLease) {
        let Some(connection) = self.clients.get(index) else { return };
        self.served += 1;
        // A client's commands stand together in the stage: what comes behind must not run before.
        let apart =
            connection.staged_turn == self.turns && self.stage.last_client() != Some(index);
        let idle = connection.input.is_idle() && !connection.is_ready;
        if connection.may_run() && idle && !apart {
            connection.is_ready = true;
            let source = self.stage.add_source(Source::Lease(lease));
            return self.stage_source(index, source, Some(lease));
        }
        connection.input.receive(self.ring.bytes(&lease));
        self.ring.release(lease);
        self.check_query_buffer(index);
        self.note_ready(index);
    }

    /// Puts a client with unparsed input on the list, if it may run.
    pub(super) fn note_ready(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        let waits = !connection.input.query.is_empty() && !connection.input.is_inside_big_word();
        if connection.may_run() && !connection.is_ready && waits {
            connection.is_ready = true;
            self.ready.push(index);
        }
    }

    fn check_query_buffer(&mut self, index: u32) {
        let limit = self.worker.config.client_query_buffer_limit as usize;
        let Some(connection) = self.clients.get(index) else { return };
        let waiting = connection.input.waiting_bytes();
        if waiting > limit {
            let line = format!(
                "Closing client that reached max query buffer length: id={} addr={}",
                connection.session.facts.id, connection.session.addr
            );
            log::warning(line);
            self.worker.stats.totals.query_buffer_disconnections.add(1);
            self.doomed.push(index);
        } else if waiting > WAITING_BYTES_MAX
            && (!connection.may_run() || connection.is_ready)
            && connection.receiving == Receiving::Armed
        {
            connection.receiving = Receiving::Ending;
            let token = connection.token(Kind::Recv, index);
            self.ring.push(Op::Cancel { token });
        }
    }

    fn received_big(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        let buffer = self.ring.take_received(token, usize::try_from(result).unwrap_or(0));
        let index = token.index();
        let Some(connection) = self.clients.of_token(token) else { return };
        connection.receiving = Receiving::Off;
        connection.pending_ops -= 1;
        if connection.is_dead {
            return self.forget_if_done(index);
        }
        connection.input.big_word_received(buffer, usize::try_from(result).unwrap_or(0));
        match result {
            1.. => {
                connection.session.last_interaction = self.worker.now;
                connection.session.net_input_bytes += result as u64;
                self.worker.stats.totals.net_input_bytes.add(result as u64);
                self.worker.stats.totals.reads.add(1);
            }
            0 => return self.peer_finished(index),
            error if matches!(-error, libc::EINTR | libc::EAGAIN) => {}
            _ => return self.doomed.push(index),
        }
        self.rearm.push(index);
    }

    /// Arms the receives that ended, in the form that each client needs now.
    pub(super) fn rearm_receives(&mut self) {
        for index in std::mem::take(&mut self.rearm) {
            self.arm_receive(index);
        }
    }

    /// Starts to receive from a client, unless it must not be read from now.
    pub(super) fn arm_receive(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        if connection.is_dead || connection.hung_up || connection.receiving != Receiving::Off {
            return;
        }
        let waits = !connection.may_run() || connection.is_ready;
        if waits && connection.input.waiting_bytes() > WAITING_BYTES_MAX {
            return;
        }
        let fd = connection.fd;
        connection.pending_ops += 1;
        if let Some((buffer, limit)) = connection.input.big_word_buffer() {
            connection.receiving = Receiving::Single;
            let token = connection.token(Kind::RecvInto, index);
            self.ring.push(Op::RecvInto { fd, token, buffer, limit });
        } else {
            connection.receiving = Receiving::Armed;
            let token = connection.token(Kind::Recv, index);
            self.ring.push(Op::Recv { fd, token });
        }
    }

    /// Parses what clients have left over from earlier turns.
    pub(super) fn stage_ready(&mut self) {
        for index in std::mem::take(&mut self.ready) {
            let Some(connection) = self.clients.get(index) else { continue };
            connection.is_ready = false;
            if !connection.may_run() {
                continue;
            }
            connection.is_ready = true;
            let apart = connection.staged_turn == self.turns;
            if apart && self.stage.last_client() != Some(index) {
                self.ready.push(index);
                continue;
            }
            let query = std::mem::take(&mut connection.input.query);
            let source = self.stage.add_source(Source::Query(query));
            self.stage_source(index, source, None);
            self.rearm.push(index);
            self.hung_up.push(index);
        }
    }

    /// Parses one source of a client; what is not a complete command goes to the query buffer.
    fn stage_source(&mut self, index: u32, source: u32, lease: Option<BufferLease>) {
        let Core { clients, stage, ring, worker, ready, turns, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let limits = Limits {
            authenticated: connection.session.facts.authenticated,
            word_bytes_max: worker.config.proto_max_bulk_len as i64,
        };
        // Before AUTH each command may change what the next one is allowed.
        let count_max = if limits.authenticated { COMMANDS_PER_CLIENT_MAX } else { 1 };
        let mut owned = Vec::new();
        let buffer: &[u8] = if let Some(lease) = &lease {
            ring.bytes(lease)
        } else {
            owned = stage.take_query(source);
            &owned
        };
        let (mut at, mut count) = (0, 0);
        let finished = loop {
            if count == count_max {
                break false;
            }
            let first = stage.ranges.len();
            let input = &mut connection.input;
            match request::parse(buffer, at, &limits, &mut input.partial, &mut stage.ranges) {
                Step::Complete { next } => {
                    at = next;
                    count += 1;
                    let big = input.take_finished();
                    if !big.is_empty() {
                        stage_big((index, source), (stage, worker), buffer, first, big);
                        continue;
                    }
                    let words = stage.ranges[first..].iter();
                    let mut words = words.map(|r| &buffer[r.start as usize..][..r.len as usize]);
                    let name = words.next().unwrap_or_default();
                    let mut registered = worker.table.command(name);
                    let second = words.next();
                    if let (Some(container), Some(second)) = (registered, second)
                        && !container.subcommands.is_empty()
                    {
                        registered = worker.table.subcommand(container, second).or(registered);
                    }
                    let has_one_key = registered.is_some_and(|one| one.way == Way::OneKey(1));
                    let position =
                        second.filter(|_| has_one_key).map(|key| worker.hasher.key(key).position);
                    let id = registered.map(|one| one.id as u16);
                    stage.add((index, source), first, Item::Command { id, position }, big);
                }
                Step::Empty { next } => at = next,
                Step::Quoted { next, multibulk } => {
                    at = next;
                    count += 1;
                    stage_quoted(stage, worker, index, multibulk);
                }
                Step::Incomplete => break true,
                Step::Big { content, len } => {
                    input.begin_big_word(len, &buffer[content..]);
                    input.query.extend_from_slice(&buffer[at..content]);
                    if connection.receiving == Receiving::Armed {
                        connection.receiving = Receiving::Ending;
                        let token = connection.token(Kind::Recv, index);
                        self.ring.push(Op::Cancel { token });
                    }
                    if stage.last_client() == Some(index) {
                        connection.staged_turn = *turns;
                    }
                    stage.put_back(source, owned);
                    connection.is_ready = false;
                    return;
                }
                Step::Error(error) => {
                    stage.add((index, source), first, Item::Broken(error), Vec::new());
                    at = buffer.len();
                    break true;
                }
            }
        };
        if stage.last_client() == Some(index) {
            connection.staged_turn = *turns;
        }
        // The rest begins the next parse; one that ended for lack of turns is looked at again.
        let query = &mut connection.input.query;
        let rest = &buffer[at..];
        if at == 0 && lease.is_none() && query.is_empty() {
            connection.input.query = owned;
            stage.put_back(source, Vec::new());
        } else {
            query.extend_from_slice(rest);
            stage.put_back(source, owned);
        }
        connection.is_ready = false;
        if !finished && !connection.input.query.is_empty() {
            connection.is_ready = true;
            ready.push(index);
            // It sends faster than its commands run.
            self.check_query_buffer(index);
        }
    }

    /// Somebody wrote to the eventfd: the control plane has an answer, or the process ends.
    fn event(&mut self) {
        self.ring.push(Op::Event { token: Token::new(Kind::Event, 0, 0) });
        while let Some((ticket, outcome)) = self.control.answer(self.worker.core) {
            self.control_answered(ticket, outcome);
        }
    }
}

/// Stages an inline command that had quotes.
fn stage_quoted(stage: &mut Stage, worker: &Worker, client: u32, multibulk: Vec<u8>) {
    let first = stage.ranges.len();
    let limits = Limits { authenticated: true, word_bytes_max: i64::MAX };
    let step = request::parse(&multibulk, 0, &limits, &mut Partial::default(), &mut stage.ranges);
    assert_eq!(step, Step::Complete { next: multibulk.len() }, "the parser wrote it");
    let registered = worker.table.lookup(Args::new(&multibulk, &stage.ranges[first..], &[]));
    let id = registered.map(|one| one.id as u16);
    let source = stage.add_source(Source::Query(multibulk));
    stage.add((client, source), first, Item::Command { id, position: None }, Vec::new());
}

/// Stages a command with large words: as they are if its handler takes chunks and no key is among
/// them, else copied into one buffer.
#[cold]
fn stage_big(
    (client, source): (u32, u32),
    (stage, worker): (&mut Stage, &Worker),
    buffer: &[u8],
    first: usize,
    big: Vec<BigArg>,
) {
    let args = Args::new(buffer, &stage.ranges[first..], &big);
    let registered = worker.table.lookup(args);
    let id = registered.map(|one| one.id as u16);
    let item = Item::Command { id, position: None };
    let takes_chunks = registered.is_some_and(|one| one.command.takes_chunks);
    let mut is_key = false;
    if let Some(one) = registered {
        // Keys that cannot be found are no keys; the handler answers with the error.
        let _ = keys_of(one.command.keys, args, |index, _| {
            is_key |= big.iter().any(|word| word.index == index);
        });
    }
    if takes_chunks && !is_key {
        return stage.add((client, source), first, item, big);
    }
    match args.flatten() {
        Some((copy, ranges)) => {
            stage.ranges.truncate(first);
            stage.ranges.extend(ranges);
            let copied = stage.add_source(Source::Query(copy));
            stage.add((client, copied), first, item, Vec::new());
        }
        None => stage.add((client, source), first, Item::Broken(ProtocolError::BulkLength), big),
    }
}
