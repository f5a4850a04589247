//! A run of one client's commands that travels from core to core.
//!
//! Invariant: its commands run in their order, one after the other, wherever the batch is; their
//! replies are in the same order; a client has one batch out at a time. So a pipeline takes effect
//! in its own order for every observer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::time::Millis;
use crate::client::SessionFacts;
use crate::command::OnTimeout;
use crate::command::args::{ArgRange, Args, BigArg};
use crate::resp::error::ProtocolError;
use crate::resp::reply::ReplyBuffer;
use crate::store::waiters::Waiter;

/// A batch with more replies than this goes home unfinished, so that output limits hold.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One command of a batch.
#[derive(Debug)]
pub struct BatchCommand {
    id: Option<u16>,
    first: usize,
    words: usize,
    big: Vec<BigArg>,
}

/// The wait of a client in a blocking command.
#[derive(Debug)]
pub struct Blocked {
    /// Its place among those who wait for the keys.
    pub waiter: Arc<Waiter>,
    /// Until when. None is for ever.
    pub deadline: Option<Millis>,
    /// What it is answered with then.
    pub on_timeout: OnTimeout,
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
    alive: Arc<AtomicBool>,
    buffer: Vec<u8>,
    ranges: Vec<ArgRange>,
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
            alive,
            buffer: Vec::new(),
            ranges: Vec::new(),
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
        self.broken = None;
    }

    /// Lets go of commands and replies, and so of the large words and values that they share; plain
    /// memory is kept.
    pub fn clear(&mut self) {
        self.replies.clear();
        self.buffer.clear();
        self.ranges.clear();
        self.commands.clear();
        self.next = 0;
    }

    /// Appends a command, which has this number in the table if it is known; its words are copied, large ones are shared.
    pub fn push(&mut self, args: Args<'_>, id: Option<u16>) {
        let first = self.ranges.len();
        for word in args.iter_from(0) {
            let start = self.buffer.len() as u32;
            self.buffer.extend_from_slice(word);
            self.ranges.push(ArgRange { start, len: word.len() as u32 });
        }
        let share = |big: &BigArg| BigArg { index: big.index, value: big.value.clone() };
        let big = args.big().iter().map(share).collect();
        self.commands.push(BatchCommand { id, first, words: args.len(), big });
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
    pub fn next_id(&self) -> Option<u16> {
        self.commands.get(self.next)?.id
    }

    /// The words of the next command, with what a handler may change meanwhile.
    pub fn peek_split(&mut self) -> Option<(Args<'_>, &mut SessionFacts, &mut ReplyBuffer)> {
        let command = self.commands.get(self.next)?;
        let ranges = &self.ranges[command.first..command.first + command.words];
        let args = Args::new(&self.buffer, ranges, &command.big);
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
        let command = &self.commands[at];
        let ranges = &self.ranges[command.first..command.first + command.words];
        Args::new(&self.buffer, ranges, &command.big)
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
    pub fn ran(&mut self, full_name: &'static str) {
        self.ran_count += 1;
        self.last_command = full_name;
        self.advance();
    }

    /// The next command is over.
    pub fn advance(&mut self) {
        assert!(self.next < self.commands.len());
        self.next += 1;
    }

    /// All commands have run.
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
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}
