//! What commands did, as lines for the journal, and what their replies have to wait for.
//!
//! Invariant: whoever changes a key adds its lines right behind, in the order of the changes; what
//! one transaction or script did leaves in one piece. A command's gate is at least the number of
//! every turn whose changes it may have seen; without a file, of those that it made. Without a journal
//! and without replicas nothing of this runs.
//! Source: Redis 8.0.6 (what is a transaction); docs/decisions/0013-journal.md.

use std::sync::Arc;

use super::call::HELD_BACK;
use super::table::{Registered, Way};
use super::worker::Worker;
use crate::base::gate::Gate;
use crate::base::slot::Slot;
use crate::command::context::Keyspace;
use crate::command::effects::{Effects, Line, Propagation};
use crate::command::whole::{Job, Part};
use crate::command::{Args, Flags, keyspec};
use crate::persist::aof::block::{Block, Cut, JournalFile, Lines, Word};
use crate::types::BigString;

/// What a core gathers in a turn for the journal, which is the file, the replicas' stream, or both.
#[derive(Debug, Default)]
pub struct Scribe {
    /// Changes become lines, for the file or for replicas.
    pub(super) is_on: bool,
    /// Replies wait for the file.
    pub(super) waits: bool,
    /// Replicas get the lines.
    pub(super) feeds: bool,
    /// What has been done in this turn.
    lines: Lines,
    /// What was done before another file began, or the journal ended.
    before: Option<Cut>,
    /// What the transaction or script under way has done so far.
    unit: Option<Lines>,
    /// A script does not want what it does to be journaled.
    pub(super) is_muted: bool,
    /// What the replies of whoever runs have to wait for.
    pub gate: Gate,
}

impl Scribe {
    /// True if changes are journaled.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// True if the turn has something for the journal.
    #[inline]
    pub fn has_lines(&self) -> bool {
        !self.lines.is_empty() || self.before.is_some()
    }

    /// Takes what the turn has for the journal.
    pub fn take_block(&mut self) -> Block {
        let lines = self.lines.take();
        match self.before.take() {
            None => Block { lines, cut: None },
            Some(mut cut) => {
                let before = std::mem::replace(&mut cut.lines, lines);
                Block { lines: before, cut: Some(Box::new(cut)) }
            }
        }
    }

    /// True if another file has begun in this turn.
    pub fn has_cut(&self) -> bool {
        self.before.is_some()
    }

    /// What is journaled from now on goes to this file, or nothing is any more. The caller has all
    /// partitions. `is_fresh`: see `Cut`.
    pub fn begin_file(&mut self, file: Option<JournalFile>, is_fresh: bool) {
        assert!(!self.has_cut() && self.unit.is_none(), "one file at a time, between commands");
        self.before = Some(Cut { file, is_fresh, lines: self.lines.take() });
    }

    /// A snapshot for replicas begins: what is done from now on is not in it, and selects its
    /// database. The caller has all partitions.
    pub fn begin_snapshot(&mut self) {
        assert!(self.unit.is_none(), "a snapshot begins between commands");
        // The last lines that there are end for a database that nobody knows.
        match &mut self.before {
            Some(cut) if self.lines.is_empty() => cut.lines.forget_db(),
            _ => self.lines.forget_db(),
        }
    }

    /// What the turn has done so far.
    pub fn lines_so_far(&self) -> impl Iterator<Item = &Lines> {
        self.before.iter().map(|cut| &cut.lines).chain([&self.lines])
    }

    /// Begins what belongs together. False if it is part of something larger.
    pub fn open_unit(&mut self) -> bool {
        let opens = self.is_on && self.unit.is_none();
        if opens {
            self.unit = Some(Lines::default());
        }
        opens
    }

    /// Ends it.
    pub fn close_unit(&mut self) {
        if let Some(mut unit) = self.unit.take() {
            self.lines.add_unit(&mut unit);
        }
    }

    /// Takes what belongs together and has not come to its end, since that will be in another turn.
    pub fn put_off_unit(&mut self) -> Option<Lines> {
        self.unit.take()
    }

    /// It goes on.
    pub fn resume_unit(&mut self, unit: Option<Lines>) {
        self.unit = unit;
    }

    /// Where a line goes now.
    fn page(&mut self) -> &mut Lines {
        self.unit.as_mut().unwrap_or(&mut self.lines)
    }

    fn add(&mut self, line: &Line) {
        self.page().add(line.db, line.argv.iter().map(|word| &**word));
    }

    /// Lines of FUNCTION and its like, which have no place among those of keys.
    pub fn own_lines(&mut self) -> Option<&mut Lines> {
        self.is_on.then_some(&mut self.lines)
    }
}

impl Worker {
    /// What is derived from who listens: events, the journal.
    pub(super) fn listening_changed(&mut self) {
        self.is_heeded = self.notifies || self.scribe.is_on;
    }

    /// Looks whether changes become lines; those of a load do not, since they come from a file.
    pub(super) fn check_journal(&mut self) {
        self.scribe.waits = self.server.journal.is_on();
        // A replica passes on the very bytes of its primary.
        let feeds = self.server.replication.feeds() && !self.follows;
        self.scribe.feeds = feeds;
        let takes = self.server.journal.takes_lines() || feeds;
        let is_on = takes && !self.loading;
        if is_on != self.scribe.is_on {
            self.scribe.is_on = is_on;
            self.listening_changed();
        }
    }

    /// True if what this server does goes to its replicas.
    pub fn feeds_replicas(&self) -> bool {
        self.scribe.feeds
    }

    /// True while the journal fails.
    pub fn journal_fails(&self) -> bool {
        self.journal_fails
    }

    /// What somebody has to wait for who may have seen any change.
    pub fn gate_of_all(&self) -> Gate {
        let is_pending = self.scribe.has_lines() || self.scribe.unit.is_some();
        match is_pending {
            _ if self.journal_fails => Gate::OPEN,
            true => Gate::PENDING,
            false => self.server.journal.last(),
        }
    }

    /// Journals the command that has just run, and raises the gate of its reply. One that waits now
    /// (`suspended`) has done nothing but what its effects say.
    pub(super) fn journal(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        db: usize,
        (registered, args): (&Registered, Args<'_>),
        suspended: bool,
    ) {
        if !self.scribe.is_on {
            return;
        }
        let wrote = self.add_lines(db, (registered, args), suspended);
        if self.journal_fails {
            // Nothing was acknowledged since: what there is to see is what has been seen.
            return;
        }
        if wrote {
            self.scribe.gate = Gate::PENDING;
        }
        if !self.scribe.waits {
            return;
        }
        match registered.way {
            Way::Here => {}
            Way::OneKey(_) | Way::Keys | Way::Migrating => {
                self.note_keys_of(keyspace, (registered, args), wrote);
            }
            Way::Home
            | Way::Keyspace
            | Way::Reaching
            | Way::Located
            | Way::Whole
            | Way::Exec
            | Way::Script => {
                if wrote {
                    let all = keyspace.partitions();
                    all.into_iter().for_each(|one| one.marks_mut().mark_all());
                }
                let gate = self.gate_of_all();
                self.scribe.gate.raise(gate);
            }
        }
    }

    /// Adds the lines of the command that has just run. False if there are none.
    fn add_lines(
        &mut self,
        db: usize,
        (registered, args): (&Registered, Args<'_>),
        suspended: bool,
    ) -> bool {
        let Worker { effects, scribe, .. } = self;
        let lines = effects.recorded().lines;
        let flags = registered.command.flags;
        let is_verbatim = !suspended
            && effects.propagation() == Propagation::Verbatim
            && (effects.dirty() > 0 || effects.is_for_replicas() && scribe.feeds)
            && flags.any(HELD_BACK);
        let count = lines.len() + usize::from(is_verbatim);
        if count == 0 || scribe.is_muted {
            return false;
        }
        // What a command that reads anywhere finds expired has nothing to do with each other.
        let belongs_together = flags.has(Flags::WRITE) || matches!(registered.way, Way::OneKey(_));
        let opened = count > 1 && belongs_together && scribe.open_unit();
        lines.iter().for_each(|line| scribe.add(line));
        if is_verbatim {
            let words = (0..args.len()).map(|at| {
                let big = args.big().iter().find(|big| big.index == at);
                big.map_or_else(|| Word::Bytes(args.get(at)), |big| chunks(&big.value))
            });
            scribe.page().add_words(db, words);
        }
        if opened {
            scribe.close_unit();
        }
        true
    }

    /// Marks the keys that a command has changed, or waits for what others have changed.
    fn note_keys_of(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        (registered, args): (&Registered, Args<'_>),
        wrote: bool,
    ) {
        let (hasher, hint) = (self.hasher, self.hint_now());
        let mut gate = Gate::OPEN;
        let found = keyspec::keys_of(registered.command.keys, args, |index, access| {
            let position = match hint {
                Some(position) if index == 1 => position,
                _ => hasher.key(args.get(index)).position,
            };
            let Some(partition) = keyspace.holder(position.slot()) else { return };
            gate.raise(partition.marks().of(position));
            // A key that is only read may have been found expired, which nobody has to wait for.
            if wrote && !access.has(keyspec::Access::RO) {
                partition.marks_mut().mark(position);
            }
        });
        if found.is_err() {
            gate = self.gate_of_all();
        }
        self.scribe.gate.raise(gate);
    }

    /// Journals keys and fields that have gone without a command.
    pub fn journal_gone(&mut self, keyspace: &mut Keyspace<'_>, effects: &Effects) {
        for line in effects.recorded().lines {
            self.scribe.add(line);
            let key = self.hasher.key(&line.argv[1]);
            if let Some(partition) = keyspace.holder(Slot::of(&line.argv[1]).get()) {
                partition.marks_mut().mark(key.position);
            }
        }
    }

    /// The same job, which is also journaled if it changes what is kept. All cores do it in one
    /// order, and one core's lines of it are enough.
    pub(super) fn journaled(
        registered: &Registered,
        (db, args): (usize, Args<'_>),
        job: Job,
    ) -> Job {
        // The journal may begin, or end, before the job has its turn: the view knows.
        if !registered.command.flags.has(Flags::WRITE) {
            return job;
        }
        let words: Vec<Vec<u8>> = args.iter_from(0).map(<[u8]>::to_vec).collect();
        Arc::new(move |view| {
            let part = job(view);
            if let (Some(lines), Part::Done) = (&mut view.lines, &part) {
                lines.add(db, words.iter().map(Vec::as_slice));
            }
            part
        })
    }
}

fn chunks(value: &BigString) -> Word<'_> {
    Word::Chunks(value.len(), value.chunks())
}
