//! A worker: everything of a core that commands may reach, without its sockets and its partition.
//!
//! Invariant: one a core; what is derived from the configuration or the users follows whenever these
//! are replaced.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::choke::Chokes;
use super::evict::MemoryLimit;
use super::journal::Scribe;
use super::note::Limits;
use super::script::Busy;
use super::serve::Served;
use super::table::Table;
use crate::acl::{Denial, UserRef, Users};
use crate::base::rng::Rng;
use crate::base::time::{Micros, Millis, TickRate, Ticks};
use crate::command::Suspension;
use crate::command::effects::{Effects, Interest};
use crate::command::whole::Switches;
use crate::config::Config;
use crate::config::choices::MaxmemoryPolicy;
use crate::observe::command_log::Note;
use crate::observe::hotkeys::HotKeySession;
use crate::observe::latency::Latency;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::persist::migration::Migration;
use crate::pubsub::{Directory, Hearers, Invalidations, Monitors, Prefixes, Pushes, Trackers};
use crate::script::{self, Functions, Scripts};
use crate::store::access::{AccessPolicy, Stale};
use crate::store::entry::Entry;
use crate::store::key::{Hasher, Position};
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::tls::Context;
use crate::types::Value;

/// What long commands may take of one turn, so that it stays well below a millisecond.
const LONG_NANOS_PER_TURN_MAX: u64 = 350_000;

/// Everything of a core that commands may reach, without its sockets and its partition.
pub struct Worker {
    /// The core's number.
    pub core: usize,
    /// All commands.
    pub table: &'static Table,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The certificates of encrypted connections, if there are any.
    pub tls: Option<Arc<Context>>,
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
    /// What HOTKEYS counts on this core.
    pub hotkeys: Option<Box<HotKeySession>>,
    pub(super) free_pass: UserRef,
    /// How memory stands against its limit.
    pub memory: MemoryLimit,
    /// A file is being loaded.
    pub(super) loading: bool,
    /// A snapshot of the primary is put aside.
    pub(super) loads_aside: bool,
    /// What becomes of what has expired.
    pub(super) stale: Stale,
    /// `import-mode`, of a primary.
    pub(super) imports: bool,
    /// Writes are refused, since saves or the journal fail.
    pub(super) saves_fail: bool,
    /// Writes are refused, since too few replicas would have them.
    pub(super) lacks_replicas: bool,
    /// Commands of others that failed when they were run again: in which second how many were told.
    pub(super) failures_told: (i64, u32),
    /// This server follows a primary.
    pub(super) follows: bool,
    /// It follows one, and takes writes of its own clients, too.
    pub(super) is_writable_replica: bool,
    /// It does, and its clients may only read.
    pub(super) read_only: bool,
    /// It does, the link is down, and old data is not to be shown.
    pub(super) is_stranded: bool,
    /// One of these, or a load, refuses some commands.
    pub(super) is_restricted: bool,
    /// The journal fails: who reads waits for nothing, since nobody knows for how long.
    pub(super) journal_fails: bool,
    pub(super) hint: Option<Position>,
    pub(super) long_nanos: u64,
    pub(super) access: AccessPolicy,
    pub(super) removed: Vec<Entry>,
    pub(super) replaced: Vec<Box<Value>>,
    pub(super) suspension: Option<Suspension>,
    /// Keys that a command sends to another server, or what has become of them.
    pub migration: Option<Migration>,
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
    /// What has no room in this turn.
    pub(super) chokes: Chokes,
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
    /// A command that has waited for the control plane runs again.
    pub(super) runs_again: bool,
    /// Whose command has waited and runs again.
    pub(super) waiter: Option<Arc<Waiter>>,
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
    /// The certificates of encrypted connections, if there are any.
    pub tls: Option<Arc<Context>>,
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
        let Identity { core, config, tls, users, server, hasher, rng, tick_rate } = identity;
        Worker {
            core,
            tls,
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
            hotkeys: None,
            loading: false,
            loads_aside: false,
            stale: Stale::Goes,
            imports: false,
            saves_fail: false,
            lacks_replicas: false,
            failures_told: (0, 0),
            follows: false,
            is_writable_replica: false,
            read_only: false,
            is_stranded: false,
            is_restricted: false,
            journal_fails: false,
            hint: None,
            long_nanos: 0,
            access: AccessPolicy::Lru,
            removed: Vec::new(),
            replaced: Vec::new(),
            suspension: None,
            migration: None,
            watched: Vec::new(),
            ready: Vec::new(),
            served: Vec::new(),
            reserved: Vec::new(),
            directory: Directory::new(hasher.hash_key()),
            hearers: Hearers::new(hasher.hash_key()),
            chokes: Chokes::default(),
            pushes: Pushes::default(),
            prefixes: Prefixes::default(),
            trackers: Trackers::default(),
            invalidations: Invalidations::default(),
            monitors: Monitors::default(),
            in_script: false,
            runs_again: false,
            waiter: None,
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
        self.follows = self.config.replicaof.is_some();
        self.stats.follows.set(self.follows.into());
        self.imports = self.config.is_importing();
        self.read_only = self.follows && self.config.replica_read_only;
        self.is_writable_replica = self.follows && !self.config.replica_read_only;
        self.check_persistence();
        self.memory.follow(&self.config);
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

    /// True if this server follows a primary.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Looks, once a turn and when a partition comes back, whether a file is being loaded, whether
    /// saves fail, how the link to a primary is, and what all that means for what has expired.
    pub fn check_persistence(&mut self) {
        self.loading = self.server.persistence.is_loading();
        self.loads_aside = self.server.persistence.is_async_loading();
        self.journal_fails = self.server.journal.refuses();
        self.saves_fail = self.journal_fails || self.snapshots_fail();
        let is_shown = !self.follows || self.config.replica_serve_stale_data;
        self.is_stranded = !is_shown && !self.server.primary_link.is_up();
        let wanted = self.config.min_replicas_to_write;
        self.lacks_replicas = wanted > 0
            && self.config.min_replicas_max_lag > 0
            && !self.follows
            && self.server.replication.good_replicas.load(Relaxed) < wanted;
        self.is_restricted = self.saves_fail
            | self.loading
            | self.loads_aside
            | self.read_only
            | self.is_stranded
            | self.lacks_replicas;
        self.stale = match self.switches.pause {
            _ if self.loading => Stale::Lives,
            None if self.config.expires_by_itself() => Stale::Goes,
            // A replica is told by its primary what has gone, who imports by the source; but what a
            // client writes is new.
            None if !self.read_only => Stale::Hides,
            _ => Stale::Stays,
        };
        self.check_journal();
    }

    /// True if writes are refused since the last snapshot failed.
    pub(super) fn snapshots_fail(&self) -> bool {
        self.server.persistence.failed.load(Relaxed)
            && self.config.stop_writes_on_bgsave_error
            && !self.config.save.is_empty()
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
