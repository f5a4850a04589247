//! Runs one command: the gates in Redis' order, the handler, what is counted behind it.
//!
//! Invariant: gates are passed where and when the command runs, not where it was received. Nothing
//! here knows a socket or another core.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::evict::MemoryLimit;
use super::journal::Scribe;
use super::note::{Limits, Taken};
use super::route::{self, Place};
use super::script::Busy;
use super::serve::Served;
use super::table::{Registered, Table, Way};
use crate::acl::{Denial, UserRef, Users};
use crate::base::rng::Rng;
use crate::base::time::{Micros, Millis, TickRate, Ticks};
use crate::client::tracking::Tracking;
use crate::client::{ConnectionFacts, ReplyMode, Session, SessionFacts};
use crate::command::args::join;
use crate::command::context::{Context, Keyspace, Request, SessionContext};
use crate::command::effects::{Effects, Interest};
use crate::command::whole::{Job, Part, Switches};
use crate::command::{Args, CommandError, Flags, Handler, Outcome, Suspension, Whole};
use crate::config::Config;
use crate::config::choices::MaxmemoryPolicy;
use crate::observe::command_log::Note;
use crate::observe::latency::Latency;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::pubsub::{Directory, Hearers, Invalidations, Monitors, Prefixes, Pushes, Trackers};
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::script::{self, Functions, Scripts};
use crate::store::access::{AccessPolicy, Stale};
use crate::store::entry::Entry;
use crate::store::key::Position;
use crate::store::key::{Hasher, Key};
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::txn::cores::{CoreSet, SlotMap};
use crate::txn::multi::Transaction;
use crate::types::Value;

/// What CLIENT PAUSE WRITE holds back.
pub(super) const HELD_BACK: Flags = Flags::WRITE.with(Flags::MAY_REPLICATE);

/// A command that takes longer counts against its turn.
const LONG_COMMAND_NANOS: u64 = 3_000;
/// What long commands may take of one turn, so that it stays well below a millisecond.
const LONG_NANOS_PER_TURN_MAX: u64 = 350_000;
/// SCAN borrows all partitions of a database with so few keys.
const SCANNED_AT_ONCE_MAX: u64 = 1000;

/// Everything of a core that commands may reach, without its sockets and its partition.
pub struct Worker {
    /// The core's number.
    pub core: usize,
    /// All commands.
    pub table: &'static Table,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Every user.
    pub users: Arc<Users>,
    /// What was refused of late for want of permissions, until somebody tells the log.
    pub denials: Vec<Denial>,
    /// Scripts that run for too long, if there are any.
    pub(super) busy: Option<Busy>,
    /// The commands that are looked at were queued by MULTI.
    pub(super) inside_exec: bool,
    /// Process facts.
    pub server: Arc<ServerFacts>,
    /// This core's counters.
    pub stats: Arc<CoreStats>,
    /// Run-time switches.
    pub switches: Switches,
    /// The scripts that this core knows.
    pub scripts: Scripts,
    /// The libraries of functions that this core knows.
    pub functions: Functions,
    /// Slots and hashes of keys.
    pub hasher: Hasher,
    /// Chance.
    pub rng: Rng,
    /// The time of this turn.
    pub now: Millis,
    /// The wall clock when this turn began.
    pub wall: Micros,
    pub(super) effects: Effects,
    pub(super) tick_rate: TickRate,
    pub(super) last_tick: u64,
    pub(super) turn_tick: u64,
    /// From where on commands are remarkable.
    pub(super) limits: Limits,
    /// Remarkable commands of whoever runs now, to be taken to that client's home.
    pub notes: Vec<Note>,
    /// What took long on this core.
    pub latency: Latency,
    pub(super) free_pass: UserRef,
    /// How memory stands against its limit.
    pub memory: MemoryLimit,
    /// A file is being loaded.
    pub(super) loading: bool,
    /// What becomes of what has expired.
    stale: Stale,
    /// Writes are refused, since saves or the journal fail.
    pub(super) saves_fail: bool,
    hint: Option<Position>,
    long_nanos: u64,
    access: AccessPolicy,
    removed: Vec<Entry>,
    replaced: Vec<Box<Value>>,
    suspension: Option<Suspension>,
    /// Keys that the client of the last command watches from now on.
    pub watched: Vec<Watched>,
    /// Keys that changed and may serve somebody.
    pub(super) ready: Vec<(usize, Box<[u8]>)>,
    /// Clients whose wait has ended, to be told to their homes.
    pub served: Vec<Served>,
    /// Waiters whose keys are reserved for them until a loan comes.
    pub reserved: Vec<Arc<Waiter>>,
    /// Who listens to channels.
    pub directory: Directory,
    /// The clients of this core that do.
    pub hearers: Hearers,
    /// What this turn pushes to clients.
    pub pushes: Pushes,
    /// Who wants to hear of which prefixes of keys.
    pub prefixes: Prefixes,
    /// The clients of this core that have tracking on.
    pub trackers: Trackers,
    /// What this turn tells clients of keys that they keep.
    pub invalidations: Invalidations,
    /// Who watches all commands.
    pub monitors: Monitors,
    /// A script runs.
    pub(super) in_script: bool,
    /// A command that has waited runs again.
    pub(super) runs_again: bool,
    /// Whose command runs, or ran last.
    pub(super) running: u64,
    /// It does not want to hear of what it changes itself.
    pub(super) noloop: bool,
    /// Somebody may listen to keyspace events.
    pub(super) notifies: bool,
    /// What this turn has for the journal.
    pub scribe: Scribe,
    /// Events or changes are of interest to somebody.
    pub(super) is_heeded: bool,
}

/// Who a worker works for.
pub struct Identity {
    /// The core's number.
    pub core: usize,
    /// The configuration.
    pub config: Arc<Config>,
    /// Every user.
    pub users: Arc<Users>,
    /// Process facts.
    pub server: Arc<ServerFacts>,
    /// The hash key, the same on every core.
    pub hasher: Hasher,
    /// Chance.
    pub rng: Rng,
    /// How fast ticks tick.
    pub tick_rate: TickRate,
}

impl Worker {
    /// A worker of a core.
    pub fn new(identity: Identity) -> Worker {
        let Identity { core, config, users, server, hasher, rng, tick_rate } = identity;
        Worker {
            core,
            table: super::table::table(),
            limits: Limits::of(&config),
            config,
            free_pass: users.free_pass(),
            users,
            denials: Vec::new(),
            busy: None,
            inside_exec: false,
            stats: server.stats[core].clone(),
            server,
            switches: Switches::default(),
            scripts: Scripts::new(hasher.hash_key(), script::Limits { memory_bytes: 0 }),
            functions: Functions::new(script::Limits { memory_bytes: 0 }),
            hasher,
            rng,
            now: Millis(0),
            wall: Micros(0),
            effects: Effects::new(Interest::default()),
            tick_rate,
            last_tick: Ticks::now(),
            memory: MemoryLimit::default(),
            turn_tick: Ticks::now(),
            notes: Vec::new(),
            latency: Latency::default(),
            loading: false,
            stale: Stale::Goes,
            saves_fail: false,
            hint: None,
            long_nanos: 0,
            access: AccessPolicy::Lru,
            removed: Vec::new(),
            replaced: Vec::new(),
            suspension: None,
            watched: Vec::new(),
            ready: Vec::new(),
            served: Vec::new(),
            reserved: Vec::new(),
            directory: Directory::new(hasher.hash_key()),
            hearers: Hearers::new(hasher.hash_key()),
            pushes: Pushes::default(),
            prefixes: Prefixes::default(),
            trackers: Trackers::default(),
            invalidations: Invalidations::default(),
            monitors: Monitors::default(),
            in_script: false,
            runs_again: false,
            running: 0,
            noloop: false,
            notifies: false,
            scribe: Scribe::default(),
            is_heeded: false,
        }
    }

    /// Commands run again after other work: the next one is timed from here.
    #[inline]
    pub fn start_clock(&mut self) {
        self.last_tick = Ticks::now();
    }

    /// Where the first key of the next command belongs, if that was computed when it was staged.
    #[inline]
    pub fn hint(&mut self, position: Option<Position>) {
        self.hint = position;
    }

    /// Where the first key of the command under way belongs, if somebody has told.
    pub(super) fn hint_now(&self) -> Option<Position> {
        self.hint
    }

    /// The configuration was replaced: what is derived from it follows.
    pub fn config_changed(&mut self) {
        self.memory = MemoryLimit::of(&self.config);
        self.limits_changed();
        let memory_bytes = match self.config.script_memory_limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        self.scripts.set_limits(script::Limits { memory_bytes });
        self.functions.set_limits(script::Limits { memory_bytes });
        self.access = match self.config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => AccessPolicy::Lfu {
                log_factor: self.config.lfu_log_factor,
                decay_minutes: self.config.lfu_decay_time,
            },
            _ => AccessPolicy::Lru,
        };
        self.listeners_changed();
    }

    /// The users were replaced: what is derived from them follows.
    pub fn users_changed(&mut self) {
        self.free_pass = self.users.free_pass();
    }

    /// What somebody wants to hear of.
    #[inline]
    pub fn interest(&self) -> Interest {
        Interest { events: self.notifies, journal: self.scribe.is_on, ..Interest::default() }
    }

    /// How accesses are recorded.
    pub fn access(&self) -> AccessPolicy {
        self.access
    }

    /// True if a file is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading
    }

    /// Looks, once a turn and when a partition comes back, whether a file is being loaded, whether
    /// saves fail, and what that and a pause mean for what has expired.
    pub fn check_persistence(&mut self) {
        self.loading = self.server.persistence.is_loading();
        self.saves_fail = self.server.journal.failed.load(Relaxed) || self.snapshots_fail();
        self.stale = match self.switches.pause {
            _ if self.loading => Stale::Lives,
            Some(_) => Stale::Stays,
            None => Stale::Goes,
        };
        self.check_journal();
    }

    /// True if writes are refused since the last snapshot failed.
    pub(super) fn snapshots_fail(&self) -> bool {
        self.server.persistence.failed.load(Relaxed)
            && self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
    }

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

    /// True if CLIENT PAUSE holds the command back now.
    #[inline]
    pub fn is_paused(&self, registered: &Registered) -> bool {
        match self.switches.pause {
            None => false,
            Some(pause) if pause.until <= self.now => false,
            // A pause of everything holds CLIENT UNPAUSE, too, as in stock servers.
            Some(pause) => pause.all || registered.command.flags.any(HELD_BACK),
        }
    }

    /// True if CLIENT PAUSE holds a transaction back now.
    pub fn is_exec_paused(&self, transaction: &Transaction) -> bool {
        match self.switches.pause {
            None => false,
            Some(pause) if pause.until <= self.now => false,
            Some(pause) => pause.all || transaction.writes(),
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
        self.stats.totals.error_replies.add(1);
        self.stats.errors.count(&text);
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
        | Handler::Reaching(_, handler)) = registered.command.handler
        else {
            unreachable!("only commands of keys are sent to the keys");
        };
        let start = buffer.bytes.len();
        (self.running, self.noloop) = (facts.id, facts.tracking.has(Tracking::NOLOOP));
        self.effects.reset(Interest { keys: self.is_heard(&keyspace), ..self.interest() });
        let mut reply = Reply::new(buffer, facts.proto);
        let hint = self.hint.map(|position| Key { bytes: args.get(1), position });
        let mut context = Context {
            keyspace: keyspace.reborrow(),
            hint,
            access: self.access,
            session: facts,
            now: self.now,
            stale: self.stale,
            config: &self.config,
            effects: &mut self.effects,
            stats: &self.stats,
            rng: &mut self.rng,
            hasher: &self.hasher,
            server: &self.server,
            removed: &mut self.removed,
            replaced: &mut self.replaced,
            suspension: &mut self.suspension,
            watched: &mut self.watched,
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
    pub fn answer_wait(&mut self, served: &mut Served, answer: impl FnOnce(&mut Reply<'_>)) {
        let registered = &self.table.all()[usize::from(served.waiter.command)];
        let mut facts = SessionFacts { reply_mode: served.reply_mode, ..served.waiter.facts };
        self.start_clock();
        let mut reply = Reply::new(&mut served.replies, facts.proto);
        answer(&mut reply);
        let failed = finish(&self.stats, Ok(()), &mut reply);
        let taken = self.count(registered, failed);
        let (words, ranges) = join(&served.waiter.words);
        let args = Args::new(&words, &ranges, &[]);
        self.runs_again = true;
        self.look_at(&facts, (registered, args), taken, served.replies.len());
        self.runs_again = false;
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
        let start = buffer.bytes.len();
        let mut request = None;
        let mut reply = Reply::new(buffer, session.facts.proto);
        let mut context = self.session_context(session, connection, &mut request);
        let outcome = handler(&mut context, args, &mut reply);
        let failed = finish(&self.stats, outcome, &mut reply);
        let taken = self.count(registered, failed);
        self.look_at(&session.facts, (registered, args), taken, written(buffer, start));
        settle_reply_mode(&mut session.facts, buffer, start);
        request
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
        let start = buffer.bytes.len();
        let mut request = None;
        let mut context = self.session_context(session, connection, &mut request);
        let begun = (whole.begin)(&mut context, args);
        let refusal = context.refusal.take();
        match begun {
            Ok(job) => Some(self.journaled(registered, (session.facts.db, args), job)),
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

    /// The same for a command of a transaction.
    pub fn begin_whole_inside(
        &mut self,
        session: &mut Session,
        connection: ConnectionFacts,
        registered: &'static Registered,
        args: Args<'_>,
        buffer: &mut ReplyBuffer,
    ) -> Option<Job> {
        self.inside_exec = true;
        let job = self.begin_whole(session, connection, registered, args, buffer);
        self.inside_exec = false;
        job
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
        settle_reply_mode(&mut session.facts, buffer, start);
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

    /// True if long commands (a table that grows under them, much data) have used up this turn; what
    /// is left runs in the next one. Many short commands never do.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.long_nanos > LONG_NANOS_PER_TURN_MAX
    }

    /// A turn begins.
    pub fn start_turn(&mut self) {
        self.long_nanos = 0;
        self.start_clock();
        self.turn_tick = self.last_tick;
    }

    /// True if the process is to end.
    pub fn is_shutting_down(&self) -> bool {
        self.server.shutdown.load(Relaxed)
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
            stats.totals.error_replies.add(1);
            stats.errors.count(line);
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
pub(super) fn settle_reply_mode(facts: &mut SessionFacts, buffer: &mut ReplyBuffer, start: usize) {
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
