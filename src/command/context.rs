//! What a handler sees: the keyspace of its keys, session facts, the clock; never a ring, a file, a
//! thread or another core.
//!
//! Invariant: the same handler serves one partition and several that were lent; it cannot tell.

use std::sync::Arc;

use super::effects::{Effects, EventClass};
use super::error::CommandError;
use super::whole::Switches;
use crate::base::rng::Rng;
use crate::base::slot::Slot;
use crate::base::time::Millis;
use crate::client::{ConnectionFacts, Session, SessionFacts};
use crate::config::Config;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::store::db::{Db, Hasher, Key};
use crate::store::entry::{Entry, ValueRef, WrongType};
use crate::store::partition::Partition;

/// The partitions that a command's keys live in.
pub enum Keyspace<'a> {
    /// One: the common case.
    One(&'a mut Partition),
    /// Several, lent by their owners, in the order of their slots.
    Lent(&'a mut [Box<Partition>]),
}

impl Keyspace<'_> {
    /// The partition that owns `slot`.
    #[inline]
    pub fn partition(&mut self, slot: Slot) -> &mut Partition {
        match self {
            Keyspace::One(partition) => partition,
            Keyspace::Lent(partitions) => partitions
                .iter_mut()
                .find(|partition| partition.owns(slot))
                .expect("a handler touches only keys that its command names"),
        }
    }

    /// Every partition at hand, in the order of their slots.
    pub fn partitions(&mut self) -> Vec<&mut Partition> {
        match self {
            Keyspace::One(partition) => vec![partition],
            Keyspace::Lent(partitions) => partitions.iter_mut().map(|one| &mut **one).collect(),
        }
    }
}

/// What a handler of keys sees.
pub struct Context<'a> {
    /// Where the keys are.
    pub keyspace: Keyspace<'a>,
    /// The client's session.
    pub session: &'a SessionFacts,
    /// The time, the same for all commands of a batch on a core.
    pub now: Millis,
    /// The configuration.
    pub config: &'a Config,
    /// What the command did, to be reported by the handler.
    pub effects: &'a mut Effects,
    /// This core's counters.
    pub stats: &'a CoreStats,
    /// Chance.
    pub rng: &'a mut Rng,
    /// Slots and hashes of keys.
    pub hasher: &'a Hasher,
    /// Process facts.
    pub server: &'a ServerFacts,
}

impl Context<'_> {
    /// The selected database.
    #[inline]
    pub fn db_index(&self) -> usize {
        self.session.db
    }

    /// Places a key in the table.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        self.hasher.key(bytes)
    }

    /// Database `db` of the partition that owns `key`.
    #[inline]
    pub fn db(&mut self, db: usize, key: &Key<'_>) -> &mut Db {
        self.keyspace.partition(key.slot()).db_mut(db)
    }

    /// Reads a key of the selected database: counts a hit or a miss, touches its access clock.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Option<&Entry> {
        self.expire_if_due(self.session.db, key);
        let touch = !self.session.no_touch;
        let (db, now, stats) = (self.session.db, self.now, self.stats);
        let found = self.keyspace.partition(key.slot()).db_mut(db).read(key, now, touch);
        match found {
            Some(_) => stats.totals.keyspace_hits.add(1),
            None => stats.totals.keyspace_misses.add(1),
        }
        found
    }

    /// Looks at a key of database `db` without counting or touching.
    #[inline]
    pub fn peek(&mut self, db: usize, key: &Key<'_>) -> Option<&Entry> {
        self.expire_if_due(db, key);
        self.keyspace.partition(key.slot()).db_mut(db).peek(key)
    }

    /// The string at a key, read as by `read`. None if there is none, an error at another type.
    #[inline]
    pub fn read_string(&mut self, key: &Key<'_>) -> Result<Option<ValueRef<'_>>, WrongType> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.string().map(Some),
        }
    }

    /// Reports that a key was changed and which event that is.
    #[inline]
    pub fn changed(&mut self, class: EventClass, event: &'static str, key: &Key<'_>) {
        let db = self.session.db;
        self.effects.changed(db, key.bytes());
        self.effects.event(class, event, db, key.bytes());
    }

    /// Deletes the key if its time has passed, as an access does.
    #[inline]
    pub fn expire_if_due(&mut self, db: usize, key: &Key<'_>) {
        let now = self.now;
        if self.keyspace.partition(key.slot()).db_mut(db).expire_if_due(key, now) {
            self.stats.totals.expired_keys.add(1);
            self.effects.expired(db, key.bytes());
        }
    }

    /// Checks a database number that a client sent.
    pub fn checked_db(&self, number: i64) -> Result<usize, CommandError> {
        usize::try_from(number)
            .ok()
            .filter(|db| *db < self.config.databases as usize)
            .ok_or(CommandError::DbIndexOutOfRange)
    }
}

/// What a handler sees that runs on the client's home core and touches no key.
pub struct SessionContext<'a> {
    /// The client.
    pub session: &'a mut Session,
    /// What its connection holds.
    pub connection: ConnectionFacts,
    /// The time.
    pub now: Millis,
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
    /// What the command asks of the event loop, done after its reply was written.
    pub request: &'a mut Option<Request>,
}

/// What a session command asks of the event loop.
#[derive(Debug)]
pub enum Request {
    /// End the process.
    Shutdown,
    /// Write the configuration file; the reply waits for the result.
    RewriteConfig {
        /// The configuration to write.
        config: Arc<Config>,
    },
}
