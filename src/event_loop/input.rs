//! Completions become input, input becomes staged commands.
//!
//! Invariant: a client's bytes are parsed in the order in which they came; a receive buffer is
//! parsed in place only if nothing older of the client waits.

use super::Core;
use super::stage::{
    COMMANDS_AT_ONCE, COMMANDS_PER_CLIENT_MAX, COMMANDS_PER_CLIENT_MIN, COMMANDS_PER_TURN_MAX,
    Item, Source, Stage,
};
use crate::base::time::Clock;
use crate::command::args::{ArgRange, Args, BigArg};
use crate::command::keyspec;
use crate::dispatch::table::Way;
use crate::dispatch::worker::Worker;
use crate::net::connection::Receiving;
use crate::net::input::Input;
use crate::observe::log;
use crate::resp::error::ProtocolError;
use crate::resp::request::{self, Limits, Partial, Step};
use crate::ring::{BufferLease, Completion, Kind, Op, Ring, Token};

/// A client that is not executed for, and has sent so much, is not read from.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// MULTI queues no more, whatever client-query-buffer-limit says: places of words have 32 bits.
const QUEUED_BYTES_MAX: usize = 1 << 31;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Takes in what the kernel has done.
    pub(super) fn reap(&mut self) {
        // All of them: a failed send of the last turn's output must be seen in this turn.
        while let Some(completion) = self.ring.reap() {
            match completion.token.kind() {
                Kind::Recv => self.received::<false>(completion),
                Kind::RecvSealed => self.received::<true>(completion),
                Kind::SendTurn => self.turn_send_failed(completion),
                Kind::Send => self.send_completed(completion),
                Kind::RecvInto => self.received_big(completion),
                Kind::Accept => self.accepted(completion),
                Kind::Event => self.event(),
                Kind::Write | Kind::Sync => self.journal_completed(completion),
                Kind::Wake | Kind::Ignored => {}
            }
        }
        if self.ring.overflowed() {
            self.worker.stats.totals.cq_overflows.add(1);
        }
    }

    fn received<const SEALED: bool>(&mut self, completion: Completion) {
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
                if SEALED {
                    self.take_sealed(index, lease);
                } else {
                    self.received.push_back((token, lease));
                }
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

    /// The peer has closed its side: what it sent before is still answered, unless a pause holds it.
    pub(super) fn peer_finished(&mut self, index: u32) {
        let Some(connection) = self.clients.get(index) else { return };
        connection.hung_up = true;
        // Whom CLIENT PAUSE holds back does not wait for its end.
        let list = if connection.session.blocked { &mut self.doomed } else { &mut self.hung_up };
        list.push(index);
    }

    /// Parses and runs what has come, and what clients have left over from earlier turns: a few
    /// commands at a time, which the processor's caches hold from the first look to the reply.
    pub(super) fn run_received(&mut self) {
        while let Some((token, lease)) = self.received.pop_front() {
            if self.clients.of_token(token).is_some() {
                self.take_bytes(token.index(), lease);
            } else {
                self.ring.release(lease);
            }
            if self.stage.commands.len() >= COMMANDS_AT_ONCE {
                self.run_staged();
            }
        }
        self.stage_ready();
        self.run_staged();
    }

    fn take_bytes(&mut self, index: u32, lease: BufferLease) {
        self.served += 1;
        let together = self.may_stage(index);
        let Some(connection) = self.clients.get(index) else { return };
        let idle = connection.input.is_idle() && !connection.is_ready;
        if connection.may_run() && idle && together {
            connection.is_ready = true;
            let source = self.stage.add_source(Source::Lease(lease));
            return self.stage_source(index, source, Some(lease));
        }
        connection.input.receive(self.ring.bytes(&lease));
        self.ring.release(lease);
        self.check_query_buffer(index);
        self.note_ready(index);
    }

    /// The commands of one client stand together in the stage, so that all run or leave as one; and
    /// before AUTH has run, the next command cannot be judged.
    fn may_stage(&mut self, index: u32) -> bool {
        let Some(connection) = self.clients.get(index) else { return false };
        !connection.is_staged
            || connection.session.facts.authenticated && self.stage.last_client() == Some(index)
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

    /// Closes a client that has sent too much that has not run: what MULTI has queued counts, too.
    pub(super) fn check_query_buffer(&mut self, index: u32) {
        let limit = self.worker.config.client_query_buffer_limit as usize;
        let Some(connection) = self.clients.get(index) else { return };
        let waiting = connection.input.waiting_bytes();
        let queued = connection.queue.as_ref().map_or(0, |queue| queue.word_bytes());
        let held = connection.input.query_bytes().saturating_add(queued);
        if held > limit || queued > QUEUED_BYTES_MAX {
            // More of it may come in this turn: one line and one count are enough.
            if std::mem::replace(&mut connection.closing, true) {
                return self.doomed.push(index);
            }
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
            let token = connection.receive_token(index);
            self.ring.push(Op::Cancel { token });
        }
        self.weigh_input(index);
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
        self.check_query_buffer(index);
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
        let ends = connection.is_dead || connection.hung_up || connection.leaves;
        if ends || connection.receiving != Receiving::Off {
            return;
        }
        let waits = !connection.may_run() || connection.is_ready;
        if waits && connection.input.waiting_bytes() > WAITING_BYTES_MAX {
            return;
        }
        let fd = connection.fd;
        connection.pending_ops += 1;
        // Records have to be opened first, wherever their content goes.
        let is_plain = connection.sealing.is_none();
        if is_plain && let Some((buffer, limit)) = connection.input.big_word_buffer() {
            connection.receiving = Receiving::Single;
            let token = connection.token(Kind::RecvInto, index);
            self.ring.push(Op::RecvInto { fd, token, buffer, limit });
        } else {
            connection.receiving = Receiving::Armed;
            let token = connection.receive_token(index);
            self.ring.push(Op::Recv { fd, token });
        }
    }

    /// Parses what clients have left over from earlier turns.
    fn stage_ready(&mut self) {
        let mut later = Vec::new();
        for index in std::mem::take(&mut self.ready) {
            if self.stage.commands.len() >= COMMANDS_AT_ONCE {
                self.run_staged();
            }
            let Some(connection) = self.clients.get(index) else { continue };
            if self.stage.of_turn() >= COMMANDS_PER_TURN_MAX {
                later.push(index);
                continue;
            }
            connection.is_ready = false;
            if !connection.may_run() {
                continue;
            }
            connection.is_ready = true;
            if !self.may_stage(index) {
                self.ready.push(index);
                continue;
            }
            let Some(connection) = self.clients.get(index) else { continue };
            let query = std::mem::take(&mut connection.input.query);
            let source = self.stage.add_source(Source::Query(query));
            self.stage_source(index, source, None);
            self.rearm.push(index);
            self.hung_up.push(index);
        }
        // Who found no room comes first in the next turn.
        later.append(&mut self.ready);
        self.ready = later;
    }

    /// Parses one source of a client; what is not a complete command goes to the query buffer.
    fn stage_source(&mut self, index: u32, source: u32, lease: Option<BufferLease>) {
        let Core { clients, stage, ring, worker, ready, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let limits = Limits {
            authenticated: connection.session.facts.authenticated,
            word_bytes_max: worker.config.proto_max_bulk_len as i64,
        };
        // Before AUTH each command may change what the next one is allowed.
        let room = COMMANDS_PER_TURN_MAX.saturating_sub(stage.of_turn());
        let count_max = if limits.authenticated {
            room.clamp(COMMANDS_PER_CLIENT_MIN, COMMANDS_PER_CLIENT_MAX)
        } else {
            1
        };
        let mut owned = Vec::new();
        let parsed = std::mem::take(&mut connection.input.parsed);
        let buffer: &[u8] = if let Some(lease) = &lease {
            ring.bytes(lease)
        } else {
            owned = stage.take_query(source);
            &owned[parsed..]
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
                    if big.is_empty() {
                        let item = look_up(worker, Args::new(buffer, &stage.ranges[first..], &[]));
                        stage.add((index, source), first, item, big);
                    } else {
                        stage_with_big_words(stage, worker, (index, source), buffer, first, big);
                    }
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
                    if connection.receiving == Receiving::Armed && connection.sealing.is_none() {
                        connection.receiving = Receiving::Ending;
                        let token = connection.token(Kind::Recv, index);
                        self.ring.push(Op::Cancel { token });
                    }
                    connection.is_staged |= stage.last_client() == Some(index);
                    // The staged words stand in the bytes behind those that were done with.
                    stage
                        .put_back(source, if parsed > 0 { owned.split_off(parsed) } else { owned });
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
        connection.is_staged |= stage.last_client() == Some(index);
        let mut is_kept = false;
        // The rest begins the next parse; one that ended for lack of turns is looked at again.
        let rest = &buffer[at..];
        if lease.is_some() {
            connection.input.query.extend_from_slice(rest);
            is_kept = !rest.is_empty();
        } else {
            stage.put_back(source, keep_rest(&mut connection.input, owned, parsed, at));
        }
        connection.is_ready = false;
        if !finished && !connection.input.query.is_empty() {
            connection.is_ready = true;
            ready.push(index);
            // It sends faster than its commands run.
            self.check_query_buffer(index);
        } else if is_kept {
            self.weigh_input(index);
        }
    }

    /// Somebody wrote to the eventfd: the control plane has an answer, or the process ends.
    fn event(&mut self) {
        self.ring.push(Op::Event { token: Token::new(Kind::Event, 0, 0) });
        self.take_secured();
        while let Some((ticket, outcome)) = self.control.answer(self.worker.core) {
            self.control_answered(ticket, outcome);
        }
        while let Some(job) = self.control.inquiry(self.worker.core) {
            self.run_part(&job);
        }
        if self.worker.core == 0 {
            self.take_opened();
            self.take_outgoing();
            self.look_at_saves();
            self.look_at_rewrites();
        }
    }
}

/// Keeps what was not parsed of a query buffer, of which `parsed` bytes were done with before and
/// `staged` bytes are now; gives back the latter. The smaller part is copied: a long pipeline is not
/// moved once for each of its pieces.
fn keep_rest(input: &mut Input, mut query: Vec<u8>, parsed: usize, staged: usize) -> Vec<u8> {
    let done = parsed + staged;
    let rest = query.len() - done;
    if parsed == 0 && rest <= staged {
        input.query.extend_from_slice(&query[done..]);
        return query;
    }
    let words = query[parsed..done].to_vec();
    if rest > 0 {
        // Moved so seldom that each byte moves once on average.
        let moves = done >= rest;
        query.drain(..if moves { done } else { 0 });
        input.parsed = if moves { 0 } else { done };
        input.query = query;
    }
    words
}

/// The command that `args` names, and where its key belongs if it has one.
#[inline]
fn look_up(worker: &Worker, args: Args<'_>) -> Item {
    let registered = worker.table.lookup(args);
    let position = match registered.map(|one| one.way) {
        Some(Way::OneKey(1)) => args.opt(1).map(|key| worker.hasher.key(key).position),
        _ => None,
    };
    if registered.is_none() && is_http(args.get(0)) {
        return Item::Broken(ProtocolError::Http);
    }
    let member = position.and(registered).map_or(0, |one| one.command.member);
    Item::Command { id: registered.map(|one| one.id as u16), position, member }
}

/// The first word of an HTTP request's line or header.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Stages an inline command that had quotes.
fn stage_quoted(stage: &mut Stage, worker: &Worker, index: u32, multibulk: Vec<u8>) {
    let first = stage.ranges.len();
    let limits = Limits { authenticated: true, word_bytes_max: i64::MAX };
    let step = request::parse(&multibulk, 0, &limits, &mut Partial::default(), &mut stage.ranges);
    assert_eq!(step, Step::Complete { next: multibulk.len() }, "it was written by the parser");
    let item = look_up(worker, Args::new(&multibulk, &stage.ranges[first..], &[]));
    let source = stage.add_source(Source::Query(multibulk));
    stage.add((index, source), first, item, Vec::new());
}

/// Stages a command some of whose words were received beside the query buffer. They stay in their
/// chunks if the command can store such and none of them is a key; else all words move into one
/// buffer.
#[cold]
fn stage_with_big_words(
    stage: &mut Stage,
    worker: &Worker,
    (index, mut source): (u32, u32),
    buffer: &[u8],
    first: usize,
    mut big: Vec<BigArg>,
) {
    let args = Args::new(buffer, &stage.ranges[first..], &big);
    let mut item = look_up(worker, args);
    if !stays_in_chunks(worker, args) {
        let total: u64 = big.iter().map(|one| one.value.len()).sum();
        if total + buffer.len() as u64 > u64::from(u32::MAX) {
            let error = Item::Broken(ProtocolError::BulkLength);
            return stage.add((index, source), first, error, Vec::new());
        }
        let mut flat = Vec::new();
        for (word, range) in stage.ranges[first..].iter_mut().enumerate() {
            let start = flat.len();
            match big.iter().find(|one| one.index == word) {
                Some(one) => one.value.chunks().iter().for_each(|c| flat.extend_from_slice(c)),
                None => {
                    flat.extend_from_slice(&buffer[range.start as usize..][..range.len as usize]);
                }
            }
            *range = ArgRange { start: start as u32, len: (flat.len() - start) as u32 };
        }
        big.clear();
        item = look_up(worker, Args::new(&flat, &stage.ranges[first..], &[]));
        source = stage.add_source(Source::Query(flat));
    }
    stage.add((index, source), first, item, big);
}

fn stays_in_chunks(worker: &Worker, args: Args<'_>) -> bool {
    let Some(registered) = worker.table.lookup(args) else { return false };
    let mut key_is_big = args.big().iter().any(|big| big.index == 0);
    let found = keyspec::keys_of(registered.command.keys, args, |index, _| {
        key_is_big |= args.big().iter().any(|big| big.index == index);
    });
    registered.command.takes_chunks && found.is_ok() && !key_is_big
}
