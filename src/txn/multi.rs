//! A transaction: the commands that MULTI has queued, and what is left to do when EXEC runs them.
//!
//! Invariant: its commands run one behind the other with nothing in between, on a core that has the
//! partitions of all their keys and of all keys that the client watches.
//! Source: MULTI, EXEC, WATCH.

use crate::base::slot::Slot;
use crate::client::ReplyMode;
use crate::command::Flags;
use crate::command::args::{ArgRange, Args, BigArg};
use crate::persist::aof::block::Lines;
use crate::pubsub::tracking::ChangesByPrefix;
use crate::store::watchers::Watched;
use crate::txn::cores::{CoreSet, SlotMap};

/// One queued command.
#[derive(Debug)]
struct Queued {
    id: u16,
    first: usize,
    words: usize,
    big: Vec<BigArg>,
}

/// Commands that wait for EXEC.
#[derive(Debug, Default)]
pub struct Transaction {
    buffer: Vec<u8>,
    ranges: Vec<ArgRange>,
    commands: Vec<Queued>,
    /// Bytes of large words, which are shared.
    big_bytes: u64,
    owners: CoreSet,
    needs_home: bool,
    flags: Option<(Flags, Flags)>,
    /// Keys that must not have changed.
    pub watched: Vec<Watched>,
    /// Which replies the client wanted when EXEC began, and where the reply of EXEC begins.
    pub muted: Option<(ReplyMode, usize)>,
    /// CLIENT REPLY SKIP was one of its commands: it means the command behind EXEC.
    pub skips_next: bool,
    /// What it has changed of what somebody follows, while it waits for other cores.
    pub changed: ChangesByPrefix,
    /// What its commands have done so far, while it waits for one that has parts elsewhere.
    pub lines: Option<Lines>,
    /// What it is of a primary's stream.
    pub followed: Option<Followed>,
    /// The next command to run.
    next: usize,
}

/// A chunk of a primary's stream that runs as a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    /// The link that it came over.
    pub term: u64,
    /// The offset behind it.
    pub end: u64,
    /// The database that is selected there.
    pub db: usize,
    /// It still counted when it began.
    pub has_begun: bool,
}

impl Transaction {
    /// Queues a command, which has this number in the table, and these flags; its words are copied,
    /// large ones shared. `owners` are the cores of its keys; `needs_home` if it runs with the
    /// client's session.
    pub fn push(
        &mut self,
        args: Args<'_>,
        (id, flags): (u16, Flags),
        owners: CoreSet,
        needs_home: bool,
    ) {
        let (any, all) = self.flags.unwrap_or((flags, flags));
        self.flags = Some((any.with(flags), all.and(flags)));
        let first = self.ranges.len();
        for word in args.iter_from(0) {
            let start = self.buffer.len() as u32;
            self.buffer.extend_from_slice(word);
            self.ranges.push(ArgRange { start, len: word.len() as u32 });
        }
        let share = |big: &BigArg| BigArg { index: big.index, value: big.value.clone() };
        let big = args.big().iter().map(share).collect();
        self.big_bytes += args.big().iter().map(|big| big.value.len()).sum::<u64>();
        self.commands.push(Queued { id, first, words: args.len(), big });
        self.owners.extend(owners);
        self.needs_home |= needs_home;
    }

    /// Commands queued. Source: CLIENT LIST, multi.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Bytes of the queued words. Source: client-query-buffer-limit, which counts them.
    pub fn word_bytes(&self) -> usize {
        self.buffer.len() + self.big_bytes as usize
    }

    /// Bytes that it holds. Source: CLIENT LIST, multi-mem.
    pub fn held_bytes(&self) -> usize {
        let commands = self.commands.capacity() * size_of::<Queued>();
        let words = self.ranges.capacity() * size_of::<ArgRange>();
        self.buffer.capacity() + self.big_bytes as usize + words + commands
    }

    /// The cores whose partitions it needs.
    pub fn owners(&self, map: SlotMap) -> CoreSet {
        let mut owners = self.owners;
        self.watched.iter().for_each(|one| owners.insert(map.owner(Slot::of(&one.key))));
        owners
    }

    /// The flags that any of its commands has, and those that all have. None if there is none.
    pub fn flags(&self) -> Option<(Flags, Flags)> {
        self.flags
    }

    /// True if one of its commands runs with the client's session.
    pub fn needs_home(&self) -> bool {
        self.needs_home
    }

    /// The next command to run, and its number in the table. None at the end.
    pub fn peek(&self) -> Option<(u16, Args<'_>)> {
        let command = self.commands.get(self.next)?;
        let ranges = &self.ranges[command.first..command.first + command.words];
        Some((command.id, Args::new(&self.buffer, ranges, &command.big)))
    }

    /// Every command, with its number in the table.
    pub fn queued(&self) -> impl Iterator<Item = (u16, Args<'_>)> {
        self.commands.iter().map(|command| {
            let ranges = &self.ranges[command.first..command.first + command.words];
            (command.id, Args::new(&self.buffer, ranges, &command.big))
        })
    }

    /// The next command has run.
    pub fn advance(&mut self) {
        self.next += 1;
    }

    /// True before the first command has run.
    pub fn is_fresh(&self) -> bool {
        self.next == 0
    }
}
