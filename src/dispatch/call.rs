//! Runs one command: the handler, and what is counted behind it.
//!
//! Invariant: gates are passed where and when the command runs, not where it was received. Nothing
//! here knows a socket or another core.

use super::note::Taken;
use super::route::{self, Place};
use super::serve::Served;
use super::table::{Registered, Way};
use super::unshared::{expiries_before, note_unshared};
use super::worker::Worker;
use crate::base::time::Ticks;
use crate::client::tracking::Tracking;
use crate::client::{ConnectionFacts, ReplyMode, Session, SessionFacts};
use crate::command::args::join;
use crate::command::context::{Context, Keyspace};
use crate::command::effects::Interest;
use crate::command::session_context::{Request, SessionContext};
use crate::command::whole::{Job, Part};
use crate::command::{Args, CommandError, Flags, Handler, Outcome, Suspension, Whole};
use crate::observe::stats::CoreStats;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::store::access::Stale;
use crate::store::key::{Key, Position};
use crate::txn::cores::{CoreSet, SlotMap};
use crate::txn::multi::Transaction;

/// What CLIENT PAUSE WRITE holds back.
pub(super) const HELD_BACK: Flags = Flags::WRITE.with(Flags::MAY_REPLICATE);

/// A command that takes longer counts against its turn.
const LONG_COMMAND_NANOS: u64 = 3_000;
/// SCAN borrows all partitions of a database with so few keys.
const SCANNED_AT_ONCE_MAX: u64 = 1000;

impl Worker {
    /// Where a command runs; `position` is that of its one key, if it has been computed. SCAN takes a
    /// small database in one step, wherever its keys are: scripts rely on that.
    #[inline]
    pub fn place(
        &self,
        registered: &Registered,
        args: Args<'_>,
        position: Option<Position>,
        facts: &SessionFacts,
        map: SlotMap,
    ) -> Place {
        if let Some(position) = position {
            return Place::Core(map.owner_of(position));
        }
        if registered.way == Way::Script {
            return self.script_place(registered, args, map);
        }
        if registered.way == Way::Located && map.cores() > 1 {
            let keys = self.server.sum(|stats| stats.dbs[facts.db].keys.get());
            if keys <= SCANNED_AT_ONCE_MAX {
                return Place::Loan(CoreSet::all(map.cores()));
            }
        }
        route::place(registered, args, map)
    }

    /// True if CLIENT PAUSE, FAILOVER or SHUTDOWN hold the command back now.
    #[inline]
    pub fn is_paused(&self, registered: &Registered, args: Args<'_>) -> bool {
        match self.switches.pause {
            None => false,
            Some(pause) if pause.until <= self.now => false,
            // A pause of everything holds CLIENT UNPAUSE, too, as in stock servers.
            Some(pause) => pause.all || self.flags_of(registered, args).any(HELD_BACK),
        }
    }

    /// True if they hold a transaction back now.
    pub fn is_exec_paused(&self, transaction: &Transaction) -> bool {
        match self.switches.pause {
            None => false,
            Some(pause) if pause.until <= self.now => false,
            Some(pause) => {
                pause.all || transaction.flags().is_some_and(|(any, _)| any.any(HELD_BACK))
            }
        }
    }

    pub(super) fn reply_error(
        &mut self,
        registered: Option<&Registered>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
        mut text: Vec<u8>,
    ) {
        if registered.is_some_and(|one| one.way == Way::Exec) {
            // The transaction ends with its EXEC; the event loop forgets its commands.
            let reason = text.strip_prefix(b"ERR ").unwrap_or(&text);
            text = [b"EXECABORT Transaction discarded because of: ", reason].concat();
            facts.leave_multi();
        }
        facts.multi_failed |= facts.in_multi;
        self.stats.count_error(&text);
        if let Some(registered) = registered {
            self.stats.commands[registered.id].totals.rejected.add(1);
        }
        let start = buffer.bytes.len();
        Reply::new(buffer, facts.proto).error(text);
        settle_reply_mode(facts, buffer, start);
    }

    /// Answers a command with an error that its queue deserves.
    pub fn fail(
        &mut self,
        registered: Option<&Registered>,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
        error: CommandError,
    ) {
        let start = buffer.bytes.len();
        let mut reply = Reply::new(buffer, facts.proto);
        let failed = finish(&self.stats, Err(error), &mut reply);
        if let Some(registered) = registered {
            self.count(registered, failed);
        }
        settle_reply_mode(facts, buffer, start);
    }

    /// The same with a text of its own, code first, for a command that passed its gates.
    pub fn fail_with(
        &mut self,
        registered: &Registered,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
        text: &[u8],
    ) {
        let start = buffer.bytes.len();
        let mut reply = Reply::new(buffer, facts.proto);
        reply.error(text);
        let failed = finish(&self.stats, Err(CommandError::Written), &mut reply);
        self.count(registered, failed);
        settle_reply_mode(facts, buffer, start);
    }

    /// Runs a command of keys, and serves who waited for what it did. What it waits for itself, if it
    /// has to; then it has written nothing and counts for nothing.
    #[inline]
    pub fn keyed(
        &mut self,
        mut keyspace: Keyspace<'_>,
        facts: &mut SessionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Option<Suspension> {
        let tracks = facts.tracking.is_on();
        if !tracks && !self.is_heard(&keyspace) {
            return self.run(keyspace, facts, registered, args, buffer);
        }
        let suspension = self.run(keyspace.reborrow(), facts, registered, args, buffer);
        self.serve_waiters(&mut keyspace);
        // Also what a client reads that waits now: it is told when that comes.
        if tracks {
            self.remember(&mut keyspace, facts, (registered, args));
            Self::settle_caching(facts, registered);
        }
        suspension
    }

    /// The same for a command that has waited: those who watch all commands have seen it.
    pub fn keyed_again(
        &mut self,
        keyspace: Keyspace<'_>,
        facts: &mut SessionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) {
        self.runs_again = true;
        self.keyed(keyspace, facts, registered, args, buffer);
        self.runs_again = false;
    }

    /// Runs the handler of a command of keys.
    #[inline]
    pub(super) fn run(
        &mut self,
        mut keyspace: Keyspace<'_>,
        facts: &mut SessionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Option<Suspension> {
        let (Handler::Keyed(handler)
        | Handler::Keyspace(handler)
        | Handler::Located(_, handler)
        | Handler::Here(handler)
        | Handler::Migrating(handler)
        | Handler::Reaching(_, handler)) = registered.command.handler
        else {
            unreachable!("only commands of keys are sent to the keys");
        };
        let start = buffer.bytes.len();
        self.stats.begins(registered.id, facts.id);
        (self.running, self.noloop) = (facts.id, facts.tracking.has(Tracking::NOLOOP));
        self.effects.reset(Interest { keys: self.is_heard(&keyspace), ..self.interest() });
        let expiries = if self.is_writable_replica && !facts.replays {
            expiries_before(&mut keyspace, facts.db, (registered, args))
        } else {
            None
        };
        let mut reply = Reply::new(buffer, facts.proto);
        let hint = self.hint.map(|position| Key { bytes: args.get(1), position });
        let mut context = Context {
            keyspace: keyspace.reborrow(),
            hint,
            access: self.access,
            session: facts,
            now: self.now,
            // The source of an import says itself what has gone.
            stale: if self.imports && facts.import_source { Stale::Lives } else { self.stale },
            config: &self.config,
            effects: &mut self.effects,
            stats: &self.stats,
            rng: &mut self.rng,
            hasher: &self.hasher,
            server: &self.server,
            removed: &mut self.removed,
            replaced: &mut self.replaced,
            suspension: &mut self.suspension,
            waiter: &self.waiter,
            migration: &mut self.migration,
            watched: &mut self.watched,
            in_script: self.in_script,
            command: registered.listed(),
            users: &self.users,
            directory: &self.directory,
            pushes: &mut self.pushes,
            invalidations: &mut self.invalidations,
        };
        let outcome = handler(&mut context, args, &mut reply);
        if context.suspension.is_some() {
            // A consumer of a group is made before its client waits.
            self.stats.dirty.add(self.effects.dirty());
            self.tell(keyspace, facts.db, (registered, args), true);
            self.show(facts, registered, args);
            return self.suspension.take();
        }
        if !context.removed.is_empty() || !context.replaced.is_empty() {
            bury(&mut context);
        }
        let failed = finish(&self.stats, outcome, &mut reply);
        let dirty = self.effects.dirty();
        if dirty > 0 {
            self.stats.dirty.add(dirty);
        }
        if let Some(expiries) = expiries {
            note_unshared(&mut keyspace, facts.db, (registered, args), expiries);
        }
        self.tell(keyspace, facts.db, (registered, args), false);
        let taken = self.count(registered, failed);
        self.look_at(facts, (registered, args), taken, written(buffer, start));
        settle_reply_mode(facts, buffer, start);
        None
    }

    /// Tells of what the command that has just run did: listeners, the journal.
    #[inline]
    fn tell(
        &mut self,
        mut keyspace: Keyspace<'_>,
        db: usize,
        command: (&Registered, Args<'_>),
        suspended: bool,
    ) {
        if self.is_heeded {
            self.notify();
            self.journal(&mut keyspace, db, command, suspended);
        }
    }

    /// Writes the reply to a client whose wait ended without having been served, and counts its
    /// command.
    pub fn answer_wait(
        &mut self,
        served: &mut Served,
        answer: impl FnOnce(&Worker, &mut Reply<'_>),
    ) {
        let registered = &self.table.all()[usize::from(served.waiter.command)];
        let mut facts = SessionFacts { reply_mode: served.reply_mode, ..served.waiter.facts };
        self.start_clock();
        let mut reply = Reply::new(&mut served.replies, facts.proto);
        answer(self, &mut reply);
        let failed = finish(&self.stats, Ok(()), &mut reply);
        let taken = self.count(registered, failed);
        let (words, ranges) = join(&served.waiter.words);
        let args = Args::new(&words, &ranges, &[]);
        self.waiter = Some(served.waiter.clone());
        self.look_at(&facts, (registered, args), taken, served.replies.len());
        self.waiter = None;
        served.notes.append(&mut self.notes);
        settle_reply_mode(&mut facts, &mut served.replies, 0);
        served.reply_mode = facts.reply_mode;
    }

    /// Runs a command of the session; what it asks of the event loop.
    pub fn session(
        &mut self,
        session: &mut Session,
        connection: ConnectionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Option<Request> {
        let Handler::Session(handler) = registered.command.handler else {
            unreachable!("only commands of the session are run by it");
        };
        self.stats.begins(registered.id, session.facts.id);
        let start = buffer.bytes.len();
        let mut request = None;
        let mut reply = Reply::new(buffer, session.facts.proto);
        let mut context = self.session_context(session, connection, &mut request);
        let outcome = handler(&mut context, args, &mut reply);
        let failed = finish(&self.stats, outcome, &mut reply);
        let taken = self.count(registered, failed);
        self.look_at(&session.facts, (registered, args), taken, written(buffer, start));
        if self.inside_exec || !request.as_ref().is_some_and(Request::is_answered_later) {
            settle_reply_mode(&mut session.facts, buffer, start);
        }
        request
    }

    /// Runs what belongs to a transaction.
    pub fn inside<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        self.inside_exec = true;
        let outcome = run(self);
        self.inside_exec = false;
        outcome
    }

    /// Begins a command that has a part on every core. None if it ended with an error.
    pub fn begin_whole(
        &mut self,
        session: &mut Session,
        connection: ConnectionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Option<Job> {
        let whole = whole_of(registered);
        self.stats.begins(registered.id, session.facts.id);
        let start = buffer.bytes.len();
        let mut request = None;
        let mut context = self.session_context(session, connection, &mut request);
        let begun = (whole.begin)(&mut context, args);
        let refusal = context.refusal.take();
        match begun {
            Ok(job) => Some(Self::journaled(registered, (session.facts.db, args), job)),
            Err(error) => {
                let mut reply = Reply::new(buffer, session.facts.proto);
                if let Some(text) = refusal {
                    reply.error(text);
                }
                let failed = finish(&self.stats, Err(error), &mut reply);
                let taken = self.count(registered, failed);
                self.look_at(&session.facts, (registered, args), taken, written(buffer, start));
                settle_reply_mode(&mut session.facts, buffer, start);
                None
            }
        }
    }

    /// Ends a command whose parts have come home; what it asks of the event loop.
    pub fn gather_whole(
        &mut self,
        session: &mut Session,
        registered: &'static Registered,
        (args, parts): (Args<'_>, Vec<Part>),
        buffer: &mut ReplyBuffer,
    ) -> Option<Request> {
        let whole = whole_of(registered);
        let start = buffer.bytes.len();
        let mut request = None;
        let mut reply = Reply::new(buffer, session.facts.proto);
        let mut context = self.session_context(session, ConnectionFacts::default(), &mut request);
        let outcome = (whole.gather)(&mut context, args, parts, &mut reply);
        let pushed = context.pushing;
        let stood_still = context.stood_still;
        if registered.command.flags.has(Flags::WRITE) && self.scribe.is_on {
            self.scribe.gate = self.gate_of_all();
        }
        let failed = finish(&self.stats, outcome, &mut reply);
        self.last_tick = self.last_tick.saturating_sub(self.tick_rate.ticks(stood_still));
        let taken = self.count(registered, failed);
        self.look_at(&session.facts, (registered, args), taken, written(buffer, start));
        let start = if pushed { buffer.bytes.len() } else { start };
        if !matches!(request, Some(Request::Prepare(_))) {
            settle_reply_mode(&mut session.facts, buffer, start);
        }
        request
    }

    pub(super) fn session_context<'a>(
        &'a mut self,
        session: &'a mut Session,
        connection: ConnectionFacts,
        request: &'a mut Option<Request>,
    ) -> SessionContext<'a> {
        SessionContext {
            session,
            connection,
            now: self.now,
            wall: self.wall,
            config: &self.config,
            tls: self.tls.as_deref(),
            core: self.core,
            stats: &self.stats,
            server: &self.server,
            rng: &mut self.rng,
            switches: &self.switches,
            scripts: &mut self.scripts,
            functions: &mut self.functions,
            table: self.table,
            users: &self.users,
            directory: &self.directory,
            inside_exec: self.inside_exec,
            denials: &mut self.denials,
            trackers: &mut self.trackers,
            request,
            refusal: None,
            pushing: false,
            stood_still: 0,
        }
    }

    /// Counts a command that has ended; how long it took.
    #[inline]
    pub(super) fn count(&mut self, registered: &Registered, failed: bool) -> Taken {
        let tick = Ticks::now();
        let started = std::mem::replace(&mut self.last_tick, tick);
        let nanos = self.tick_rate.nanos(tick.wrapping_sub(started));
        let stats = &self.stats.commands[registered.id];
        stats.record(nanos, self.config.latency_tracking);
        if failed {
            stats.totals.failed.add(1);
        }
        self.stats.totals.commands.add(1);
        self.stats.totals.turn_command_nanos.add(nanos);
        if nanos > LONG_COMMAND_NANOS {
            self.long_nanos += nanos;
        }
        Taken { nanos, started }
    }
}

fn whole_of(registered: &Registered) -> Whole {
    match registered.command.handler {
        Handler::Whole(whole) => whole,
        _ => unreachable!("only commands with a part on every core are sent to every core"),
    }
}

/// Hands what a command removed to a partition's graveyard, which frees large values in slices.
fn bury(context: &mut Context<'_>) {
    let graveyard = match &mut context.keyspace {
        Keyspace::One(partition) => partition.graveyard(),
        Keyspace::Lent(partitions) => partitions[0].graveyard(),
    };
    context.removed.drain(..).for_each(|entry| graveyard.bury(entry));
    context.replaced.drain(..).for_each(|value| graveyard.bury_value(value));
}

/// Writes the error that a handler returned and counts whatever error the reply holds.
#[inline]
pub(super) fn finish(stats: &CoreStats, outcome: Outcome, reply: &mut Reply<'_>) -> bool {
    match outcome {
        Ok(()) | Err(CommandError::Written) => {}
        Err(error) => reply.error(error.text()),
    }
    match reply.error_line() {
        None => false,
        Some(line) => {
            stats.count_error(line);
            true
        }
    }
}

/// Bytes that a command has written, which began at `start`.
#[inline]
pub(super) fn written(buffer: &ReplyBuffer, start: usize) -> usize {
    let plain = buffer.bytes.len().saturating_sub(start);
    if buffer.spliced.is_empty() { plain } else { plain + buffer.spliced_from(start) }
}

/// Drops the reply of a client that wants none, and moves CLIENT REPLY SKIP on.
#[inline]
pub fn settle_reply_mode(facts: &mut SessionFacts, buffer: &mut ReplyBuffer, start: usize) {
    match facts.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => buffer.truncate(start),
        ReplyMode::SkipNext => {
            buffer.truncate(start);
            facts.reply_mode = ReplyMode::Skip;
        }
        ReplyMode::Skip => {
            buffer.truncate(start);
            facts.reply_mode = ReplyMode::On;
        }
    }
}
