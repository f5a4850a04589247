//! The journal as a core sees it: its turn's block on the way to the writer, replies that wait for
//! blocks, and on one core the writer.
//!
//! Invariant: a turn with changes takes its number before anything of it leaves the core, and posts
//! its block before all else; a reply leaves when all that it may have seen is in the kernel, or
//! synced if `appendfsync always` says so. Nothing here waits.
//! Source: docs/decisions/0013-journal.md.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::time::Duration;

use super::{Core, Message};
use crate::base::gate::Gate;
use crate::base::sys;
use crate::base::time::{Clock, Nanos};
use crate::config::choices::AppendFsync;
use crate::observe::journal::State;
use crate::observe::log;
use crate::observe::persistence::Purpose;
use crate::persist::aof::block::{Block, JournalFile};
use crate::persist::aof::writer::{Action, Failure, Wanted, Writer};
use crate::resp::Proto;
use crate::ring::{Completion, Kind, Op, Ring, Token, Wait};

/// The core that writes the journal.
pub(super) const WRITER: usize = 0;
/// With `appendfsync everysec`: at most so long after a write it is synced.
const SYNC_NANOS: u64 = 1_000_000_000;
/// A file that could not be filled ahead is tried again after so long.
const FILL_PAUSE_NANOS: u64 = 10_000_000_000;
/// Changes wait when so many bytes are not in the kernel, until it is half of them.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// The token of a sync.
const SYNC: u32 = 0;
/// The token of a write-back.
const WRITE_BACK: u32 = 1;
/// Replies that have waited leave with the turn's own if they are not longer.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// How long the writer waits for another core at the end of the process.
const END_PAUSE: Duration = Duration::from_millis(1);

/// What a core keeps for the journal.
pub(super) struct Desk {
    /// Only on the core that writes.
    writer: Option<Box<Writer>>,
    /// The last number of each core whose messages have been taken up to it.
    seen: Vec<u64>,
    /// When the file was synced last.
    last_sync: Nanos,
    /// When a write was tried last that had failed.
    last_try: Nanos,
    /// When the file may be filled ahead again.
    next_fill: Nanos,
    /// A group is kept back until then.
    gathers_until: Option<Nanos>,
    /// When the group under way was handed to the kernel.
    group_began: Nanos,
    /// The number of the turn that ends, if it has changes.
    number: Option<u64>,
    /// Clients whose replies wait, in the order of what they wait for.
    gated: VecDeque<(Gate, u32, u32)>,
}

impl Desk {
    pub(super) fn new(core: usize, cores: usize) -> Desk {
        Desk {
            writer: (core == WRITER).then(Box::default),
            seen: vec![0; cores],
            last_sync: Nanos(0),
            last_try: Nanos(0),
            next_fill: Nanos(0),
            gathers_until: None,
            group_began: Nanos(0),
            number: None,
            gated: VecDeque::new(),
        }
    }

    /// All numbered messages of a core have been taken up to this one.
    pub(super) fn saw(&mut self, from: usize, number: u64) {
        self.seen[from] = number;
    }

    /// A core's queue was met empty: what it had numbered up to here has been taken.
    pub(super) fn saw_all(&mut self, from: usize, settled: u64) {
        self.seen[from] = self.seen[from].max(settled);
    }

    /// A block is to be written.
    pub(super) fn write(&mut self, number: u64, block: Block) {
        let writer = self.writer.as_mut().expect("blocks are sent to the writer");
        writer.add(number, block);
    }

    /// The number of the turn that ends, if it has changes.
    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    /// A client's replies wait.
    fn hold(&mut self, gate: Gate, client: u32, generation: u32) {
        let at = self.gated.partition_point(|(other, ..)| *other <= gate);
        self.gated.insert(at, (gate, client, generation));
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// The turn takes its number, if it has changes, and its block is on its way.
    #[inline]
    pub(super) fn number_turn(&mut self) {
        if self.worker.scribe.has_lines() {
            self.post_block();
        }
    }

    #[cold]
    fn post_block(&mut self) {
        let number = self.mail.take_number();
        self.desk.number = Some(number);
        self.worker.server.journal.took(number);
        let block = self.worker.scribe.take_block();
        if self.worker.core == WRITER {
            self.take_block(number, block);
        } else {
            self.mail.post_first(WRITER, Message::Block(number, Box::new(block)));
        }
        self.mail.resolve_gates(number);
        if let Some(partition) = self.seat.partition_now() {
            partition.marks_mut().resolve(number);
        }
    }

    /// The number of this turn, for messages that have a place in the order of all cores.
    pub(super) fn turn_number(&mut self) -> u64 {
        self.desk.number.unwrap_or_else(|| self.mail.take_number())
    }

    /// What a pending gate stands for now that the turn has its number.
    pub(super) fn pending_number(&self) -> u64 {
        self.desk.number.unwrap_or_else(|| self.worker.server.journal.last().number())
    }

    /// What pushes of this turn have to wait for.
    pub(super) fn gate_of_pushes(&self) -> Gate {
        match self.desk.number {
            _ if self.worker.journal_fails() => Gate::OPEN,
            Some(number) => Gate::of(number),
            None if self.worker.scribe.is_on() => self.worker.gate_of_all(),
            None => Gate::OPEN,
        }
    }

    /// How far the journal is safe, as far as replies wait for it: without a file, for nothing.
    pub(super) fn covered(&self) -> u64 {
        if !self.worker.server.journal.is_on() {
            return u64::MAX;
        }
        let is_synced = self.sync_policy() == AppendFsync::Always;
        self.worker.server.journal.covered(is_synced)
    }

    /// When the journal is synced. Source: appendfsync, no-appendfsync-on-rewrite.
    fn sync_policy(&self) -> AppendFsync {
        let config = &self.worker.config;
        if config.no_appendfsync_on_rewrite && self.worker.server.persistence.is_busy() {
            return AppendFsync::No;
        }
        config.appendfsync
    }

    /// True if the file lacks changes that have been made.
    pub(super) fn journal_is_behind(&self) -> bool {
        let journal = &self.worker.server.journal;
        journal.is_on()
            && (self.worker.scribe.has_lines() || !journal.last().is_covered(self.covered()))
    }

    /// Puts the replies of this turn behind their gate, if it is not covered. False if they can go.
    #[cold]
    pub(super) fn hold_replies(&mut self, index: u32, gate: Gate) -> bool {
        let number = self.pending_number();
        let gate = gate.resolved(number);
        let covered = self.covered();
        let Core { clients, ring, desk, .. } = self;
        let Some(connection) = clients.get(index) else { return false };
        connection.session.last_write = gate.number();
        connection.output.resolve(number);
        connection.output.release(covered);
        if gate.is_covered(covered) {
            return false;
        }
        if let Some((start, len)) = connection.segment.take()
            && len > 0
        {
            let bytes = &ring.last_output()[start..start + len];
            connection.output.wait_for(gate);
            connection.output.push(bytes::Bytes::copy_from_slice(bytes));
        }
        if connection.output.waits() {
            desk.hold(gate, index, connection.generation);
        }
        true
    }

    /// Replies leave whose gates are covered by now.
    #[inline]
    pub(super) fn release_replies(&mut self) {
        if !self.desk.gated.is_empty() {
            self.release_covered();
        }
    }

    #[cold]
    fn release_covered(&mut self) {
        if self.worker.server.journal.failed.load(Relaxed) {
            return self.refuse_gated();
        }
        let covered = self.covered();
        while let Some((gate, client, generation)) = self.desk.gated.front().copied()
            && gate.is_covered(covered)
        {
            self.desk.gated.pop_front();
            let Some(connection) = self.clients.of(client, generation) else { continue };
            if connection.is_dead {
                continue;
            }
            connection.output.release(covered);
            let stays = connection.closing || connection.hung_up || connection.stalled.is_some();
            if stays || !connection.output.is_ready(JOINED_BYTES_MAX) {
                self.dirty.push(client);
                continue;
            }
            // They leave as if they had just been written: one send without a completion.
            self.begin_segment(client);
            let Core { clients, replies, .. } = self;
            if let Some(connection) = clients.of(client, generation) {
                connection.output.take_ready(&mut replies.bytes);
            }
            self.end_segment(client);
        }
    }

    /// The journal fails: nobody can say of the changes that these clients have asked for, or seen,
    /// whether they will last. What others have told them is let through.
    fn refuse_gated(&mut self) {
        let error = [b"-", self.worker.journal_error().as_slice(), b"\r\n"].concat();
        for (_, client, generation) in std::mem::take(&mut self.desk.gated) {
            let Some(connection) = self.clients.of(client, generation) else { continue };
            if connection.is_dead {
                continue;
            }
            let facts = &connection.session.facts;
            let is_told = facts.monitoring || facts.subscribed && facts.proto == Proto::Resp2;
            if is_told && connection.output.waits_unasked() {
                connection.output.release(u64::MAX);
            } else if !connection.output.refuse_waiting(&error) {
                connection.closing = true;
                self.doomed.push(client);
                continue;
            }
            self.dirty.push(client);
        }
    }

    /// A core with replies that wait is woken when the writer gets on. True if it has meanwhile.
    pub(super) fn wait_for_writer(&mut self) -> bool {
        let gate = self.desk.gated.front().map(|(gate, ..)| *gate);
        let is_kept_back = !self.kept_back.is_empty() && self.worker.is_journal_choked();
        if gate.is_none() && !is_kept_back {
            return false;
        }
        let journal = &self.worker.server.journal;
        if self.desk.writer.is_none() {
            journal.wait(self.worker.core);
        }
        let goes_on = is_kept_back && !journal.is_choked.load(Relaxed);
        goes_on || gate.is_some_and(|gate| gate.is_covered(self.covered()))
    }

    /// How long the core may sleep before a group that is kept back begins.
    pub(super) fn until_group(&self) -> Option<Duration> {
        let until = self.desk.gathers_until?;
        Some(Duration::from_nanos(until.since(self.cron.turn_began())))
    }

    /// The writer's part of a turn. True if it has to look again at once.
    #[inline]
    pub(super) fn write_journal(&mut self) -> bool {
        self.desk.number = None;
        self.worker.core == WRITER && self.write_due()
    }

    fn write_due(&mut self) -> bool {
        let is_quiet = |one: &Writer| one.is_idle() && !one.is_unsynced();
        if self.desk.writer.as_deref().is_none_or(is_quiet) {
            return false;
        }
        let bound = self.settled_here();
        let now = self.cron.turn_began();
        let syncs = self.sync_policy();
        let is_timed = self.worker.config.aof_timestamp_enabled;
        let wanted = Wanted {
            syncs: syncs == AppendFsync::Always,
            time: is_timed.then(|| self.worker.now.seconds()),
            now,
        };
        let Some(mut writer) = self.desk.writer.take() else { return false };
        let slept = self.worker.server.aof_flush_sleep_micros.load(Relaxed);
        if slept > 0 && writer.queued_bytes() > 0 {
            self.clock.sleep(slept * 1000);
        }
        writer.advance(bound);
        if writer.is_in_trouble() && now.since(self.desk.last_try) >= SYNC_NANOS {
            self.desk.last_try = now;
            writer.retry();
        }
        while let Some(action) = writer.next(wanted) {
            self.act(action);
        }
        if syncs == AppendFsync::EverySec
            && let Some(action) = writer.begin_write_back()
        {
            self.act(action);
        }
        if self.is_sync_due(&writer, syncs, now)
            && let Some(action) = writer.begin_sync()
        {
            self.desk.last_sync = now;
            self.act(action);
        }
        let journal = &self.worker.server.journal;
        journal.size.store(writer.size(), Relaxed);
        journal.waiting_bytes.store(writer.waiting_bytes() as u64, Relaxed);
        let queued = writer.queued_bytes();
        let is_choked = journal.is_choked.load(Relaxed);
        if queued > QUEUED_BYTES_MAX || is_choked && queued < QUEUED_BYTES_MAX / 2 {
            journal.is_choked.store(queued > QUEUED_BYTES_MAX, Relaxed);
        }
        journal.is_syncing.store(writer.is_syncing(), Relaxed);
        let again = writer.waits_for_others();
        self.desk.gathers_until = writer.gathers_until();
        // What is over to another file is safe without an operation that would end.
        let progress = writer.progress();
        self.desk.writer = Some(writer);
        self.fill_ahead();
        self.publish_progress(progress);
        again
    }

    /// Tells the cores with replies that wait how far the file is: the numbers up to which everything
    /// is in the kernel, and synced.
    fn publish_progress(&mut self, (written, synced): (u64, u64)) {
        for core in self.worker.server.journal.advance(written, synced).iter() {
            self.ring.push(Op::Wake { core });
        }
    }

    fn is_sync_due(&mut self, writer: &Writer, policy: AppendFsync, now: Nanos) -> bool {
        if !writer.is_unsynced() {
            return false;
        }
        match policy {
            AppendFsync::No => false,
            // Written before the policy was chosen.
            AppendFsync::Always => !writer.is_syncing(),
            AppendFsync::EverySec => {
                let is_due = now.since(self.desk.last_sync) >= SYNC_NANOS;
                if is_due && writer.is_syncing() {
                    self.desk.last_sync = now;
                    self.worker.server.journal.delayed_syncs.fetch_add(1, Relaxed);
                    return false;
                }
                is_due
            }
        }
    }

    /// The number up to which all blocks are with the writer.
    pub(super) fn settled_here(&self) -> u64 {
        // What has settled is in the queues; what is not in a queue any more has been taken.
        let settled = self.mail.settled();
        let others = (0..self.mail.cores()).filter(|core| *core != WRITER);
        let is_taken = |from: &usize| self.mail.is_empty_from(*from) && !self.inbox.holds(*from);
        others
            .filter(|from| !is_taken(from))
            .map(|from| self.desk.seen[from])
            .fold(settled, u64::min)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write { fd, offset, bytes, syncs } => {
                let token = Token::new(Kind::Write, 0, 0);
                self.desk.group_began = self.cron.turn_began();
                self.ring.push(Op::Write { fd, token, offset, bytes, durable: syncs });
            }
            Action::Sync { fd } => {
                self.ring.push(Op::Sync { fd, token: Token::new(Kind::Sync, 0, SYNC) });
            }
            Action::WriteBack { fd, offset, len } => {
                let token = Token::new(Kind::Sync, 0, WRITE_BACK);
                self.ring.push(Op::WriteBack { fd, token, offset, len });
            }
            Action::Close { fd } => self.ring.push(Op::Close { fd }),
            Action::Trim { fd, len } => {
                if let Ok(owned) = sys::borrow_fd(fd).try_clone_to_owned() {
                    self.control.trim(owned, len);
                }
                self.ring.push(Op::Close { fd });
            }
            Action::Fill { fd, file, from, to } => match sys::borrow_fd(fd).try_clone_to_owned() {
                Ok(owned) => self.control.fill(owned, file, (from, to)),
                Err(_) => self.was_filled(file, None),
            },
        }
    }

    /// A file has been filled with zeros ahead, or could not be: then it is tried again later.
    pub(super) fn was_filled(&mut self, file: u64, to: Option<u64>) {
        if to.is_none() {
            self.desk.next_fill = self.cron.turn_began().after(FILL_PAUSE_NANOS);
        }
        if let Some(writer) = &mut self.desk.writer {
            writer.was_filled(file, to);
        }
    }

    /// An operation of the writer has ended.
    pub(super) fn journal_completed(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        let Some(writer) = &mut self.desk.writer else { return };
        if token == Token::new(Kind::Sync, 0, WRITE_BACK) {
            return writer.wrote_back();
        }
        let took = self.cron.turn_began().since(self.desk.group_began);
        let failure = if token.kind() == Kind::Write {
            self.ring.finish_write(token);
            if writer.syncs_group() {
                self.worker.note_latency("aof-fsync-always", took);
            } else {
                let event = match () {
                    () if writer.is_syncing() => "aof-write-pending-fsync",
                    () if self.worker.server.persistence.is_busy() => "aof-write-active-child",
                    () => "aof-write-alone",
                };
                self.worker.note_latency(event, took);
                self.worker.note_latency("aof-write", took);
            }
            writer.wrote(result, self.cron.turn_began())
        } else {
            writer.was_synced(result)
        };
        let (progress, is_sound) = (writer.progress(), writer.is_sound());
        if let Some(failure) = failure {
            self.journal_failed(&failure);
        } else if is_sound && self.worker.server.journal.has_recovered() {
            log::notice("AOF write error looks solved, Redis can write again.");
        }
        self.publish_progress(progress);
    }

    #[cold]
    fn journal_failed(&mut self, failure: &Failure) {
        let (line, error) = match failure {
            Failure::Write(error) => (
                format!("Error writing to the AOF file: {}", sys::reason(error)),
                error.raw_os_error(),
            ),
            Failure::Short(written, len) => (
                format!(
                    "Short write while writing to the AOF file: (nwritten={written}, expected={len})"
                ),
                Some(libc::ENOSPC),
            ),
            Failure::Sync(error) => (
                format!("Fail to fsync the AOF file: {}", sys::reason(error)),
                error.raw_os_error(),
            ),
        };
        let journal = &self.worker.server.journal;
        journal.error.store(error.unwrap_or(libc::EIO), Relaxed);
        journal.failed.store(true, Relaxed);
        if matches!(failure, Failure::Sync(_)) && journal.is_on() {
            journal.enter(State::Lost);
            // A base whose file is lost already is good for nothing.
            let persistence = &self.worker.server.persistence;
            if persistence.is_busy_with(Purpose::AofBase) {
                persistence.cancelled.store(true, Release);
            }
        }
        self.desk.last_try = self.cron.turn_began();
        log::warning(line);
    }

    /// The first file to append to is open.
    pub(super) fn begin_journal(&mut self, file: JournalFile, bytes_before: u64) {
        let Some(writer) = &mut self.desk.writer else { return };
        writer.open(file, bytes_before);
        self.publish_base_size();
        self.desk.last_sync = self.cron.turn_began();
        self.fill_ahead();
    }

    /// Has zeros laid ahead of the writer, if each group is synced and there is little left of them.
    fn fill_ahead(&mut self) {
        let is_due = self.sync_policy() == AppendFsync::Always
            && self.desk.next_fill <= self.cron.turn_began();
        if is_due && let Some(action) = self.desk.writer.as_mut().and_then(|one| one.begin_fill()) {
            self.act(action);
        }
    }

    /// Takes note of a base that has just taken the place of older files.
    pub(super) fn note_new_base(&mut self) {
        let bytes = self.worker.server.journal.rewrites.base_bytes.swap(0, AcqRel);
        if bytes > 0
            && let Some(writer) = &mut self.desk.writer
        {
            writer.rebase(bytes);
            self.publish_base_size();
        }
    }

    /// The files are as large now as after a rewrite.
    fn publish_base_size(&self) {
        let Some(writer) = &self.desk.writer else { return };
        let journal = &self.worker.server.journal;
        journal.size.store(writer.size(), Relaxed);
        journal.base_size.store(writer.size(), Relaxed);
    }

    /// The process ends: what is in the journal's queues is written and synced.
    pub(super) fn end_journal(&mut self) {
        let journal = &self.worker.server.journal;
        journal.end();
        let Some(writer) = &self.desk.writer else { return };
        if writer.is_idle() && !journal.is_on() {
            return;
        }
        log::notice("Calling fsync() on the AOF file.");
        let cores = self.mail.cores() as u64;
        loop {
            let has_all = self.worker.server.journal.ended() == cores;
            self.cron.begin_turn(self.clock.monotonic());
            self.reap();
            self.take_last_blocks();
            self.write_due();
            let Some(writer) = &mut self.desk.writer else { return };
            let sync = if writer.is_idle() { writer.begin_sync() } else { None };
            let is_done = has_all && writer.is_idle() && !writer.is_unsynced();
            let seal = if is_done { writer.seal() } else { None };
            let failed = self.worker.server.journal.failed.load(Relaxed);
            if failed || is_done && seal.is_none() {
                let last = writer.end();
                last.into_iter().for_each(|action| self.act(action));
                return;
            }
            sync.into_iter().chain(seal).for_each(|action| self.act(action));
            self.ring.submit_and_wait(Wait::Upto(END_PAUSE));
        }
    }

    /// Takes blocks out of the other cores' mail, which is good for nothing else any more.
    fn take_last_blocks(&mut self) {
        for from in (0..self.mail.cores()).filter(|core| *core != WRITER) {
            while let Some(message) = self.mail.take(from) {
                if let Message::Block(number, block) = message {
                    self.desk.saw(from, number);
                    self.take_block(number, *block);
                }
            }
            self.inbox.forget(from);
        }
    }
}
