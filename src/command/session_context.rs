//! What a handler sees that runs on the client's home core and touches no key, and what it may ask of
//! the event loop.
//!
//! Invariant: what it asks for is done behind its reply, or its reply waits for it.

use std::sync::Arc;

use super::catalog::CommandTable;
use super::error::CommandError;
use super::whole::{Job, Switches};
use crate::acl::{Denial, Users};
use crate::base::rng::Rng;
use crate::base::time::{Micros, Millis};
use crate::client::{ConnectionFacts, Session};
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::persist::load::Replacement;
use crate::persist::migration::Parcel;
use crate::pubsub::{Directory, Trackers};
use crate::script::{Functions, Scripts};
use crate::tls::Context;

/// What a handler sees that runs on the client's home core and touches no key.
pub struct SessionContext<'a> {
    /// The client.
    pub session: &'a mut Session,
    /// What its connection holds.
    pub connection: ConnectionFacts,
    /// The time.
    pub now: Millis,
    /// The same, as exact as the clock is.
    pub wall: Micros,
    /// The configuration.
    pub config: &'a Arc<Config>,
    /// The certificates in use.
    pub tls: Option<&'a Context>,
    /// This core's number.
    pub core: usize,
    /// This core's counters.
    pub stats: &'a CoreStats,
    /// Process facts and everybody's counters.
    pub server: &'a ServerFacts,
    /// Chance.
    pub rng: &'a mut Rng,
    /// This core's switches.
    pub switches: &'a Switches,
    /// The scripts that this core knows, as all cores do.
    pub scripts: &'a mut Scripts,
    /// The libraries of functions that this core knows, as all cores do.
    pub functions: &'a mut Functions,
    /// All commands.
    pub table: &'a dyn CommandTable,
    /// Every user.
    pub users: &'a Arc<Users>,
    /// Who listens to channels.
    pub directory: &'a Directory,
    /// The command runs where a reply a command is expected: inside EXEC.
    pub inside_exec: bool,
    /// Logins that failed, for the log.
    pub denials: &'a mut Vec<Denial>,
    /// The clients of this core that have tracking on.
    pub trackers: &'a mut Trackers,
    /// What the command asks of the event loop, done after its reply was written.
    pub request: &'a mut Option<Request>,
    /// The error that `begin` of a whole command answers with, where its text carries arguments.
    pub refusal: Option<Vec<u8>>,
    /// What the command writes is pushed: it goes out even to a client that wants no replies.
    pub pushing: bool,
    /// How long the core stood still for the command, in nanoseconds. Source: DEBUG SLEEP.
    pub stood_still: u64,
}

impl SessionContext<'_> {
    /// Ends `begin` of a whole command with an error text of its own, code first.
    pub fn refuse(&mut self, text: Vec<u8>) -> CommandError {
        self.refusal = Some(text);
        CommandError::Written
    }
}

/// A save that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOrder {
    /// While everybody goes on: BGSAVE, save points.
    Background,
    /// While everybody goes on, for replicas that wait for a snapshot.
    Replicas,
    /// While commands of keys wait: SAVE.
    Foreground,
    /// The same, and then the process ends; `force` ends it even if the save fails.
    Ending {
        /// SHUTDOWN FORCE.
        force: bool,
    },
    /// A save, if `save` says so, and then all data is read from the file: DEBUG RELOAD.
    Reload {
        /// Without NOSAVE.
        save: bool,
        /// Without NOFLUSH.
        flush: bool,
        /// MERGE.
        merge: bool,
    },
    /// All data goes, since that of a primary is about to be loaded.
    Replace(Replacement),
    /// All data is read from the AOF, when it holds all changes: DEBUG LOADAOF.
    LoadAof,
    /// The base of the AOF, for which all has been opened: BGREWRITEAOF.
    Rewrite,
    /// None: what changes from here on is not journaled. Source: CONFIG SET appendonly no.
    StopJournal,
}

/// What a client wants that asks for the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncWanted {
    /// PSYNC: the history that it has, and the next byte of it. SYNC has none.
    pub from: Option<(Box<[u8]>, i64)>,
}

impl SyncWanted {
    /// Bytes of the history that the client has, as it says.
    pub fn has(&self) -> u64 {
        let next = self.from.as_ref().map_or(0, |(_, next)| *next);
        u64::try_from(next.saturating_sub(1)).unwrap_or(0)
    }
}

/// Who is to have what a client has written.
#[derive(Clone, Copy, Debug)]
pub struct AcksWanted {
    /// So many replicas, at least.
    pub replicas: i64,
    /// WAITAOF: they are to have it on disk; and if this says so, this server, too.
    pub on_disk: Option<bool>,
    /// Until when the client waits for them. None is for ever.
    pub deadline: Option<Millis>,
}

/// A replica that is to take the place of this primary.
#[derive(Clone, Debug)]
pub struct FailoverWanted {
    /// Which one; the first that has everything without.
    pub target: Option<Endpoint>,
    /// Milliseconds for which it may lack something.
    pub timeout: Option<i64>,
    /// Then it takes the place nevertheless.
    pub force: bool,
}

/// How the process is to end.
#[derive(Clone, Copy, Debug)]
pub struct EndWanted {
    /// Data is saved before.
    pub saves: bool,
    /// It ends even if that fails.
    pub force: bool,
    /// Replicas are not waited for.
    pub now: bool,
}

/// What the core that keeps the stream decides.
#[derive(Clone, Debug)]
pub enum Handover {
    /// A replica is to take this server's place.
    Failover(FailoverWanted),
    /// That is not wanted any more.
    AbortFailover,
    /// The process is to end when the replicas have everything.
    End(EndWanted),
    /// That is not wanted any more.
    AbortEnd,
}

impl Request {
    /// True if the reply is written when the request has been answered, behind the command.
    pub fn is_answered_later(&self) -> bool {
        match self {
            Request::Prepare(_)
            | Request::Save(_)
            | Request::Follow(_)
            | Request::Rewrite
            | Request::Feed(_)
            | Request::Handover(_)
            | Request::RewriteConfig { .. }
            | Request::SaveUsers { .. }
            | Request::LoadUsers { .. } => true,
            Request::Sync(_)
            | Request::TakeOver(_)
            | Request::AwaitAcks(_)
            | Request::Shutdown
            | Request::Discard
            | Request::Unwatch
            | Request::Leave(_)
            | Request::Migrate(_) => false,
        }
    }
}

/// Work beside the cores that makes a job for all of them, or says why there is none.
pub type Preparation = Box<dyn FnOnce() -> Result<Job, String> + Send>;

/// What a session command asks of the event loop.
pub enum Request {
    /// Make the client a replica. Nothing that it sent behind the command counts.
    Sync(SyncWanted),
    /// Send these words to the replicas, and to nothing else.
    Feed(Vec<Vec<u8>>),
    /// The reply, who has what the client has written, waits until these are enough.
    AwaitAcks(AcksWanted),
    /// Be a primary, and then make the client a replica.
    TakeOver(SyncWanted),
    /// Hand over to a replica, or end; the reply waits until that is decided.
    Handover(Handover),
    /// End the process.
    Shutdown,
    /// Drop the commands that MULTI has queued, and forget the watched keys.
    Discard,
    /// Forget the watched keys.
    Unwatch,
    /// Drop what MULTI has queued, and go on when every core has done this.
    Leave(Job),
    /// Write all data to the file, with or without others; the reply waits for it.
    Save(SaveOrder),
    /// Follow this primary, or none; the reply waits until every core has the role.
    Follow(Option<Endpoint>),
    /// Rewrite the AOF; who asks has the right to the next snapshot, and is answered when it begins.
    Rewrite,
    /// Send keys to another server; the command runs again with what became of them.
    Migrate(Box<Parcel>),
    /// Have every core do a job that is made by work which may take long, since it asks the system for
    /// files; the reply is OK then, or what went wrong.
    Prepare(Preparation),
    /// Write the configuration file; the reply waits for the result.
    RewriteConfig {
        /// The configuration to write.
        config: Arc<Config>,
        /// The users to write into it.
        users: Arc<Users>,
        /// Directives that have their defaults are written, too.
        writes_defaults: bool,
    },
    /// Write the ACL file; the reply waits for the result.
    SaveUsers {
        /// Says which file.
        config: Arc<Config>,
        /// The users to write.
        users: Arc<Users>,
    },
    /// Read the ACL file and have its users take the place of the others.
    LoadUsers {
        /// Says which file.
        config: Arc<Config>,
        /// The users whose place they take.
        users: Arc<Users>,
        /// The client that asks, which gets its reply even if its user is not among them.
        client: u64,
    },
}
