//! Commands that were parsed in this turn and have not run: words as ranges of the buffers that they
//! arrived in.
//!
//! Invariant: the commands of one client stand together, in their order; a source stays where it is
//! until all that was parsed with it has run.

use crate::command::args::{ArgRange, Args, BigArg};
use crate::resp::error::ProtocolError;
use crate::ring::{BufferLease, Ring};
use crate::store::key::Position;

/// Commands of one client in one turn, at most.
pub(super) const COMMANDS_PER_CLIENT_MAX: usize = 1024;

/// Commands of one turn: with more, those who have sent a lot wait for the next one, so that a
/// request of somebody else is not behind all of theirs.
pub(super) const COMMANDS_PER_TURN_MAX: usize = 4096;
/// What a client whose bytes have just come may have staged in any case.
pub(super) const COMMANDS_PER_CLIENT_MIN: usize = 32;

/// So many run before more are parsed: what they touch fits the processor's first cache.
pub(super) const COMMANDS_AT_ONCE: usize = 128;

/// Memory for more words than this is given back when the turn is over.
const RANGES_KEPT_MAX: usize = 64 * 1024;
/// Memory for so many words is always kept.
const RANGES_SMALL: usize = 1024;

/// Where staged words stand.
#[derive(Debug)]
pub(super) enum Source {
    /// In a buffer that the kernel filled.
    Lease(BufferLease),
    /// In a client's query buffer, taken out for the turn.
    Query(Vec<u8>),
}

/// What was parsed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    /// A command: its number in the table, and where its first key belongs if it has one key.
    Command {
        /// Number of the command; None if nobody knows it.
        id: Option<u16>,
        /// Place of its key.
        position: Option<Position>,
        /// Its word that names a member of the value there; 0 if none does.
        member: u8,
    },
    /// The client broke the protocol here.
    Broken(ProtocolError),
}

/// One command or error of a client.
#[derive(Debug)]
pub(super) struct Staged {
    /// The client.
    pub(super) client: u32,
    /// What it is.
    pub(super) item: Item,
    source: u32,
    first: u32,
    words: u32,
    big: Vec<BigArg>,
}

/// What was parsed and has not run.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// The commands.
    pub(super) commands: Vec<Staged>,
    /// Their words.
    pub(super) ranges: Vec<ArgRange>,
    sources: Vec<Source>,
    /// Some commands name members.
    pub(super) names_members: bool,
    /// So many times nobody looks whether the values of these are large.
    pub(super) rest: u8,
    /// Commands of this turn that have run.
    have_run: usize,
    of_last_turn: usize,
    /// The most words of a turn since `shrink` was last called.
    longest: usize,
}

impl Stage {
    /// Adds a source; its number.
    pub(super) fn add_source(&mut self, source: Source) -> u32 {
        self.sources.push(source);
        self.sources.len() as u32 - 1
    }

    /// Takes the bytes of a query source out for parsing; they must be put back.
    pub(super) fn take_query(&mut self, source: u32) -> Vec<u8> {
        match &mut self.sources[source as usize] {
            Source::Query(query) => std::mem::take(query),
            Source::Lease(_) => Vec::new(),
        }
    }

    /// Puts the bytes of a query source back. Nothing happens to a lease.
    pub(super) fn put_back(&mut self, source: u32, bytes: Vec<u8>) {
        if let Source::Query(query) = &mut self.sources[source as usize] {
            *query = bytes;
        }
    }

    /// Adds a command whose words are the ranges from `first` on.
    pub(super) fn add(
        &mut self,
        (client, source): (u32, u32),
        first: usize,
        item: Item,
        big: Vec<BigArg>,
    ) {
        let words = (self.ranges.len() - first) as u32;
        self.names_members |= matches!(item, Item::Command { member: 1.., .. });
        self.commands.push(Staged { client, item, source, first: first as u32, words, big });
    }

    /// Whose the last command is.
    pub(super) fn last_client(&self) -> Option<u32> {
        self.commands.last().map(|staged| staged.client)
    }

    /// How many commands were parsed in this turn.
    pub(super) fn of_turn(&self) -> usize {
        self.have_run + self.commands.len()
    }

    /// A turn ends.
    pub(super) fn end_turn(&mut self) {
        self.of_last_turn = std::mem::take(&mut self.have_run);
    }

    /// How many commands were parsed in the turn before this one.
    pub(super) fn of_last_turn(&self) -> usize {
        self.of_last_turn
    }

    /// The words of a command.
    #[inline]
    pub(super) fn args<'a, R: Ring>(&'a self, staged: &'a Staged, ring: &'a R) -> Args<'a> {
        let buffer = match &self.sources[staged.source as usize] {
            Source::Lease(lease) => ring.bytes(lease),
            Source::Query(query) => query,
        };
        let first = staged.first as usize;
        Args::new(buffer, &self.ranges[first..first + staged.words as usize], &staged.big)
    }

    /// Gives memory back that no turn since the last call has needed a quarter of.
    pub(super) fn shrink(&mut self) {
        let longest = std::mem::take(&mut self.longest).max(RANGES_SMALL);
        if self.ranges.is_empty() && self.ranges.capacity() / 4 > longest {
            self.ranges.shrink_to(longest);
        }
    }

    /// These commands have run: leases go back.
    pub(super) fn clear<R: Ring>(&mut self, mut commands: Vec<Staged>, ring: &mut R) {
        self.have_run += commands.len();
        commands.clear();
        self.commands = commands;
        self.names_members = false;
        self.longest = self.longest.max(self.ranges.len());
        self.ranges.clear();
        self.ranges.shrink_to(RANGES_KEPT_MAX);
        for source in self.sources.drain(..) {
            if let Source::Lease(lease) = source {
                ring.release(lease);
            }
        }
    }
}
