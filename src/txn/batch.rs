//! A run of one client's commands that travels from core to core.
//!
//! Invariant: its commands run in their order, one after the other, wherever the batch is; their
//! replies are in the same order; a client has one batch out at a time. So a pipeline takes effect
//! in its own order for every observer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::acl::Denial;
use crate::base::gate::Gate;
use crate::base::sys;
use crate::base::time::Millis;
use crate::client::SessionFacts;
use crate::command::args::{ArgRange, Args, BigArg};
use crate::command::session_context::AcksWanted;
use crate::observe::command_log::Note;
use crate::resp::error::ProtocolError;
use crate::resp::reply::ReplyBuffer;
use crate::store::key::Position;
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::txn::multi::Transaction;

/// A batch with more replies than this goes home unfinished, so that output limits hold.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One command of a batch: words are ranges, large ones are among the batch's, from `first_big` on.
#[derive(Debug)]
struct BatchCommand {
    position: Option<Position>,
    id: Option<u16>,
    /// First byte of the words that were copied.
    start: u32,
    first: u32,
    words: u32,
    first_big: u32,
    big: u32,
}

/// The wait of a client in a blocking command.
#[derive(Debug)]
pub struct Blocked {
    /// Its place among those who wait for the keys.
    pub waiter: Arc<Waiter>,
    /// Until when. None is for ever.
    pub deadline: Option<Millis>,
    /// What it waits for instead of keys.
    pub acks: Option<Acks>,
}

/// What a client waits for that asks who has what it has written.
#[derive(Clone, Copy, Debug)]
pub struct Acks {
    /// Everything up to the last block that the client's commands have made.
    pub target: Gate,
    /// Who is to have it.
    pub wanted: AcksWanted,
}

/// Where a batch has spent its time, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Travel {
    /// When its core took up what the client had sent.
    pub since: u64,
    /// On the way between cores.
    pub hop: u64,
    /// Waiting for partitions.
    pub loan: u64,
    /// Since when it has been under way, or waiting; 0 while it runs.
    pub left: u64,
}

impl Travel {
    /// It arrived, at `now`.
    #[inline]
    pub fn arrive(&mut self, now: u64) {
        let left = std::mem::take(&mut self.left);
        self.hop += if left == 0 { 0 } else { now.saturating_sub(left) };
    }

    /// The partitions that it waited for are there, at `now`.
    #[inline]
    pub fn end_wait(&mut self, now: u64) {
        let left = std::mem::take(&mut self.left);
        self.loan += if left == 0 { 0 } else { now.saturating_sub(left) };
    }
}

/// Whose commands are run.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// The core that the client lives on.
    pub home: usize,
    /// Its place in the home core's table.
    pub client: u32,
    /// Its incarnation there.
    pub generation: u32,
}

/// Commands of one client, their words copied, with the replies so far.
#[derive(Debug)]
pub struct Batch {
    /// Where the client lives.
    pub home: usize,
    /// Its place in the home core's table.
    pub client: u32,
    /// Its incarnation there.
    pub generation: u32,
    /// What the commands need of the session; changes travel home with the batch.
    pub facts: SessionFacts,
    /// The time at which a command of it last ran.
    pub time: Millis,
    /// What it has to say to the client.
    pub replies: ReplyBuffer,
    /// Commands that ran since the client heard of the batch.
    pub ran_count: u64,
    /// The full name of the last command that ran away from home.
    pub last_command: &'static str,
    /// What its next command waits for.
    pub blocked: Option<Blocked>,
    /// Commands that its user may not run, to be told to the log from its home.
    pub denials: Vec<Denial>,
    /// Where its time went.
    pub travel: Travel,
    /// Commands that are to be remembered, on their way to their client's home.
    pub notes: Vec<Note>,
    /// What its next command, EXEC, is to run.
    pub transaction: Option<Box<Transaction>>,
    /// What its replies have to wait for.
    pub gate: Gate,
    /// Keys that its client watches since it left home.
    pub watched: Vec<Watched>,
    alive: Arc<AtomicBool>,
    buffer: Vec<u8>,
    ranges: Vec<ArgRange>,
    big: Vec<BigArg>,
    commands: Vec<BatchCommand>,
    next: usize,
    broken: Option<ProtocolError>,
}

impl Batch {
    /// An empty batch of a client; `alive` turns false when the client goes.
    pub fn new(
        (home, client, generation): (usize, u32, u32),
        facts: SessionFacts,
        alive: Arc<AtomicBool>,
    ) -> Batch {
        Batch {
            home,
            client,
            generation,
            facts,
            time: Millis(0),
            replies: ReplyBuffer::default(),
            ran_count: 0,
            last_command: "",
            blocked: None,
            transaction: None,
            watched: Vec::new(),
            denials: Vec::new(),
            travel: Travel::default(),
            notes: Vec::new(),
            gate: Gate::OPEN,
            alive,
            buffer: Vec::new(),
            ranges: Vec::new(),
            big: Vec::new(),
            commands: Vec::new(),
            next: 0,
            broken: None,
        }
    }

    /// Makes a used batch ready for another client; its memory is kept.
    pub fn reuse(
        &mut self,
        (home, client, generation): (usize, u32, u32),
        facts: SessionFacts,
        alive: Arc<AtomicBool>,
    ) {
        self.clear();
        (self.home, self.client, self.generation) = (home, client, generation);
        (self.facts, self.alive) = (facts, alive);
        (self.ran_count, self.last_command, self.next) = (0, "", 0);
        self.blocked = None;
        self.transaction = None;
        self.denials.clear();
        self.travel = Travel::default();
        self.notes.clear();
        self.broken = None;
        self.gate = Gate::OPEN;
    }

    /// Lets go of commands and replies, and so of the large words and values that they share; plain
    /// memory is kept.
    pub fn clear(&mut self) {
        self.replies.clear();
        self.buffer.clear();
        self.ranges.clear();
        self.big.clear();
        self.commands.clear();
        self.next = 0;
    }

    /// Appends a command, which has this number in the table if it is known, and whose one key belongs
    /// at `position` if that was computed; its words are copied, large ones are shared.
    #[inline]
    pub fn push(&mut self, args: Args<'_>, id: Option<u16>, position: Option<Position>) {
        let (first, first_big) = (self.ranges.len() as u32, self.big.len() as u32);
        let start = self.buffer.len() as u32;
        args.copy_to(&mut self.buffer, &mut self.ranges);
        let share = |big: &BigArg| BigArg { index: big.index, value: big.value.clone() };
        self.big.extend(args.big().iter().map(share));
        let (words, big) = (args.len() as u32, args.big().len() as u32);
        self.commands.push(BatchCommand { position, id, start, first, words, first_big, big });
    }

    /// Whose it is.
    pub fn address(&self) -> Address {
        Address { home: self.home, client: self.client, generation: self.generation }
    }

    /// The words of the next command. None when all have run.
    pub fn peek(&self) -> Option<Args<'_>> {
        (self.next < self.commands.len()).then(|| self.args(self.next))
    }

    /// The number of the next command in the table. None if nobody knows it.
    #[inline]
    pub fn next_id(&self) -> Option<u16> {
        self.commands.get(self.next)?.id
    }

    /// Where the key of the next command belongs, if it has one key.
    #[inline]
    pub fn next_position(&self) -> Option<Position> {
        self.commands.get(self.next)?.position
    }

    /// The keys' places of the commands that come next, as far as each has one key.
    pub fn next_positions(&self) -> impl Iterator<Item = Position> {
        self.commands[self.next..].iter().map_while(|command| command.position)
    }

    /// Fetches the batch itself: another core wrote to it last. The three steps are meant for many
    /// batches, one step for all before the next, so that the processor waits once and not for each.
    pub fn prefetch(&self) {
        let start: *const Batch = self;
        for line in (0..size_of::<Batch>()).step_by(sys::CACHE_LINE) {
            sys::prefetch(start.cast::<u8>().wrapping_add(line));
        }
    }

    /// Fetches the next command, once the batch is there.
    pub fn prefetch_next(&self) {
        sys::prefetch(self.commands.as_ptr().wrapping_add(self.next).cast());
        sys::prefetch(self.replies.bytes.as_ptr_range().end);
        sys::prefetch(self.alive.as_ptr().cast());
    }

    /// Fetches the words of the next command, once the command is there.
    pub fn prefetch_words(&self) {
        let Some(command) = self.commands.get(self.next) else { return };
        sys::prefetch(self.ranges.as_ptr().wrapping_add(command.first as usize).cast());
        sys::prefetch(self.buffer.as_ptr().wrapping_add(command.start as usize));
    }

    /// The words of the next command, with what a handler may change meanwhile.
    #[inline]
    pub fn peek_split(&mut self) -> Option<(Args<'_>, &mut SessionFacts, &mut ReplyBuffer)> {
        let command = self.commands.get(self.next)?;
        let args = words_of(command, &self.buffer, &self.ranges, &self.big);
        Some((args, &mut self.facts, &mut self.replies))
    }

    /// Exchanges commands that follow each other, where `may` says so: what must never happen but in
    /// a test of the tests.
    #[doc(hidden)]
    pub fn swap_pairs(&mut self, may: impl Fn(Args<'_>, Args<'_>) -> bool) {
        let mut at = self.next;
        while at + 1 < self.commands.len() {
            if may(self.args(at), self.args(at + 1)) {
                self.commands.swap(at, at + 1);
                at += 1;
            }
            at += 1;
        }
    }

    fn args(&self, at: usize) -> Args<'_> {
        words_of(&self.commands[at], &self.buffer, &self.ranges, &self.big)
    }

    /// Behind its commands the client broke the protocol.
    pub fn break_with(&mut self, error: ProtocolError) {
        self.broken = Some(error);
    }

    /// What the client broke behind these commands.
    pub fn broken(&self) -> Option<ProtocolError> {
        self.broken
    }

    /// The next command, of this full name, has run.
    #[inline]
    pub fn ran(&mut self, full_name: &'static str) {
        self.ran_count += 1;
        self.last_command = full_name;
        self.advance();
    }

    /// The next command was refused; for want of permissions, if `denials` says so.
    pub fn refused(&mut self, denials: &mut Vec<Denial>) {
        self.denials.append(denials);
        self.advance();
    }

    /// The next command is over.
    #[inline]
    pub fn advance(&mut self) {
        assert!(self.next < self.commands.len());
        self.next += 1;
    }

    /// All commands have run.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.next == self.commands.len()
    }

    /// Memory that it keeps for its next use.
    pub fn held_bytes(&self) -> usize {
        let words = self.ranges.capacity() * size_of::<ArgRange>();
        let commands = self.commands.capacity() * size_of::<BatchCommand>();
        self.buffer.capacity() + self.replies.bytes.capacity() + words + commands
    }

    /// Drops the commands that have not run.
    pub fn abandon(&mut self) {
        self.next = self.commands.len();
    }

    /// The client is still connected.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

#[inline]
fn words_of<'a>(
    command: &BatchCommand,
    buffer: &'a [u8],
    ranges: &'a [ArgRange],
    big: &'a [BigArg],
) -> Args<'a> {
    let words = &ranges[command.first as usize..][..command.words as usize];
    Args::new(buffer, words, &big[command.first_big as usize..][..command.big as usize])
}
