//! One client's connection: session, input, output and where each stands.
//!
//! Invariant: while `away` is true the client's commands are elsewhere, and nothing that it sends
//! meanwhile runs; a connection that is `closing` runs nothing more, and goes when its output has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::input::Input;
use super::output::{Output, STALL_BYTES};
use super::sealing::Sealing;
use crate::base::gate::Gate;
use crate::client::{ConnectionFacts, Session};
use crate::dispatch::serve::Served;
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;
use crate::ring::{Fd, Kind, Token};
use crate::store::watchers::WatchedKeys;
use crate::txn::batch::Batch;
use crate::txn::multi::Transaction;

/// How the socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// A multishot receive is armed.
    Armed,
    /// It was cancelled and has not completed.
    Ending,
    /// One receive into a large word.
    Single,
    /// Not at all.
    Off,
}

/// What a client held when it was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes.
    pub bytes: u64,
    /// It may be evicted for them.
    pub may_go: bool,
}

/// One client.
#[derive(Debug)]
pub struct Connection {
    /// The session.
    pub session: Session,
    /// The socket.
    pub fd: Fd,
    /// Tells this client from earlier ones at the same place.
    pub generation: u32,
    /// What was received and has not run.
    pub input: Input,
    /// What could not be sent at once.
    pub output: Output,
    /// Its keys, if it is encrypted.
    pub sealing: Option<Box<Sealing>>,
    /// Pushes that have not been written to its output.
    pub held: ReplyBuffer,
    /// What these have to wait for.
    pub held_gate: Gate,
    /// What the replies of this turn have to wait for.
    pub gate: Gate,
    /// With so much unread output nothing runs for it.
    pub stall_bytes: usize,
    /// So much more may be unread, as long as others leave room for it.
    pub allowance_bytes: usize,
    /// What it held when it was last weighed.
    pub weight: Weight,
    /// It was to be evicted while commands of its waited, and got one more turn for them.
    pub had_grace: bool,
    /// Since when, in seconds of the clock, its output is longer than the soft limit.
    pub over_soft_limit: Option<i64>,
    /// The piece of `output` that is under way.
    pub sending: Bytes,
    /// Where this turn's replies begin, and their length so far, if there are any.
    pub segment: Option<(usize, usize)>,
    /// How the socket is read.
    pub receiving: Receiving,
    /// It is to be a replica, which live on another core.
    pub leaves: bool,
    /// Its commands are under way elsewhere, or wait for something.
    pub away: bool,
    /// Commands that wait until the client has read more of its replies.
    pub stalled: Option<Box<Batch>>,
    /// The batch whose next command waits for a key.
    pub blocked: Option<Box<Batch>>,
    /// The commands that it has queued since MULTI.
    pub queue: Option<Box<Transaction>>,
    /// The keys that it watches.
    pub watched: WatchedKeys,
    /// How its wait ended, where that is known before its batch is home.
    pub served: Option<Served>,
    /// It has input that was not looked at for lack of time.
    pub is_ready: bool,
    /// Commands of it were staged in this turn and have not run.
    pub is_staged: bool,
    /// Ends when its output has been sent.
    pub closing: bool,
    /// Ends at once: nothing more is sent.
    pub is_cut_off: bool,
    /// The peer has sent its last byte, or vanished.
    pub hung_up: bool,
    /// Closed; only its outstanding operations keep its place.
    pub is_dead: bool,
    /// Its segment of the turn before, for a send that failed.
    pub last_segment: (usize, usize),
    /// Operations that will still complete for it.
    pub pending_ops: u32,
    alive: Arc<AtomicBool>,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(session: Session, fd: Fd, generation: u32) -> Connection {
        Connection {
            session,
            fd,
            generation,
            input: Input::default(),
            output: Output::default(),
            sealing: None,
            held: ReplyBuffer::default(),
            held_gate: Gate::OPEN,
            gate: Gate::OPEN,
            stall_bytes: STALL_BYTES,
            allowance_bytes: 0,
            weight: Weight::default(),
            had_grace: false,
            over_soft_limit: None,
            sending: Bytes::new(),
            segment: None,
            receiving: Receiving::Off,
            leaves: false,
            away: false,
            stalled: None,
            blocked: None,
            queue: None,
            watched: WatchedKeys::default(),
            served: None,
            is_ready: false,
            is_staged: false,
            closing: false,
            is_cut_off: false,
            hung_up: false,
            is_dead: false,
            last_segment: (0, 0),
            pending_ops: 0,
            alive: Arc::new(AtomicBool::new(true)),
        }
    }

    /// The token of an operation of this client.
    pub fn token(&self, kind: Kind, index: u32) -> Token {
        Token::new(kind, self.generation, index)
    }

    /// The token of its receive, unless that is one into a large word.
    pub fn receive_token(&self, index: u32) -> Token {
        let kind = if self.sealing.is_some() { Kind::RecvSealed } else { Kind::Recv };
        self.token(kind, index)
    }

    /// Shared with the client's batches: false as soon as it is gone.
    pub fn alive(&self) -> Arc<AtomicBool> {
        self.alive.clone()
    }

    /// Nobody needs to work for it any more.
    pub fn mark_dead(&self) {
        self.alive.store(false, Ordering::Release);
    }

    /// Bytes of replies that have not left.
    pub fn unsent_bytes(&self) -> usize {
        self.output.bytes() + self.segment.map_or(0, |(_, len)| len) + self.held.len()
    }

    /// Its replies of a turn leave with those of all clients. Such a send has no completion when it goes
    /// well: who waits for one sends otherwise.
    #[inline]
    pub fn leaves_with_turn(&self) -> bool {
        let waits = self.closing || self.hung_up || self.stalled.is_some();
        self.output.is_idle() && !waits
    }

    /// Holds a push, in RESP2, until it may be written to the output; `shared` stands behind the
    /// parts of its text and before a last line end.
    pub fn hold(&mut self, parts: &[&[u8]], shared: Option<&Bytes>) {
        let ReplyBuffer { bytes, spliced } = &mut self.held;
        let start = bytes.len();
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        if self.session.facts.proto == Proto::Resp3 {
            bytes[start] = b'>';
        }
        if let Some(shared) = shared {
            spliced.push((bytes.len(), shared.clone()));
            bytes.extend_from_slice(b"\r\n");
        }
    }

    /// Its commands run elsewhere, and their replies go before pushes. Who waits for a key has got
    /// all replies so far.
    pub fn waits_for_replies(&self) -> bool {
        self.away && self.blocked.is_none()
    }

    /// How much of its output may be unread while it runs.
    #[inline]
    pub fn may_owe(&self) -> usize {
        self.stall_bytes.saturating_add(self.allowance_bytes)
    }

    /// Its replies pile up: nothing more is executed for it now.
    #[inline]
    pub fn must_stall(&self) -> bool {
        self.unsent_bytes() > self.may_owe()
    }

    /// Earlier output piles up. Whoever waits for the end of that hears of it when a send of the
    /// queue completes.
    #[inline]
    pub fn is_held_up(&self) -> bool {
        self.output.bytes() > self.may_owe()
    }

    /// Whether anything of it runs any more.
    #[inline]
    pub fn goes_on(&self) -> bool {
        !self.closing && !self.is_dead
    }

    /// Whether its commands may run now.
    #[inline]
    pub fn may_run(&self) -> bool {
        let is_free = !self.away && self.stalled.is_none() && !self.is_held_up();
        is_free && self.goes_on()
    }

    /// Bytes that the client makes the server hold.
    pub fn held_bytes(&self) -> usize {
        let names = self.session.subscriptions.as_ref().map_or(0, |names| names.held_bytes());
        let batches = [&self.stalled, &self.blocked].into_iter().flatten();
        size_of::<Connection>()
            + self.input.held_bytes()
            + self.output.bytes()
            + self.held.len()
            + self.queue.as_ref().map_or(0, |queue| queue.held_bytes())
            + batches.map(|batch| batch.held_bytes()).sum::<usize>()
            + self.watched.len() * WATCHED_BYTES
            + self.session.prefixes.len() * PREFIX_BYTES
            + self.sealing.as_ref().map_or(0, |sealing| sealing.session.held_bytes())
            + names
    }

    /// What CLIENT LIST shows of the connection.
    pub fn facts(&self, core: usize) -> ConnectionFacts {
        ConnectionFacts {
            query_bytes: self.input.query_bytes(),
            query_free: self.input.query.capacity() - self.input.query.len(),
            argv_bytes: 0,
            reply_buffer_bytes: 0,
            reply_buffer_used: 0,
            output_list_len: self.output.len(),
            output_list_bytes: self.output.bytes() + self.held.len(),
            total_bytes: self.held_bytes(),
            core,
            closing: self.closing,
            multi: (self.session.facts.in_multi)
                .then(|| self.queue.as_ref().map_or(0, |queue| queue.len())),
            multi_bytes: self.queue.as_ref().map_or(0, |queue| queue.held_bytes()),
            watched: self.watched.len(),
        }
    }
}

/// What a watched key takes beside its name, about.
const WATCHED_BYTES: usize = 128;
/// What a prefix that a client follows takes beside its bytes, about.
const PREFIX_BYTES: usize = 64;
