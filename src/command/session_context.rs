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
#[derive(Clone, Debug)]
pub struct SyncWanted {
    /// PSYNC: the history that it has, and the next byte of it. SYNC has none.
    pub from: Option<(Box<[u8]>, i64)>,
}

/// How many replicas are to have what a client has written.
#[derive(Clone, Copy, Debug)]
pub struct AcksWanted {
    /// So many, at least.
    pub replicas: i64,
    /// Until when the client waits for them. None is for ever.
    pub deadline: Option<Millis>,
}

/// What a session command asks of the event loop.
pub enum Request {
    /// Make the client a replica. Nothing that it sent behind the command counts.
    Sync(SyncWanted),
    /// The reply, how many replicas have what the client has written, waits until these are enough.
    AwaitAcks(AcksWanted),
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
    /// Write the configuration file; the reply waits for the result.
    RewriteConfig {
        /// The configuration to write.
        config: Arc<Config>,
        /// The users to write into it.
        users: Arc<Users>,
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
