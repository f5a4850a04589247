//! What a handler sees: the keyspace of its keys, session facts, the clock; never a ring, a file, a
//! thread or another core.
//!
//! Invariant: the same handler serves one partition and several that were lent; it cannot tell.

use std::borrow::Cow;

use std::sync::Arc;

use super::Args;
use super::catalog::Listed;
use super::effects::{Effects, EventClass};
use super::error::CommandError;
use super::permission::{self, Asked};
use super::suspension::Suspension;
use crate::acl::Users;
use crate::base::rng::Rng;
use crate::base::time::Millis;
use crate::client::SessionFacts;
use crate::config::Config;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::persist::migration::Migration;
use crate::pubsub::{Directory, Invalidations, Pushes};
use crate::resp::reply::Reply;
use crate::store::access::{Access, AccessPolicy, Stale};
use crate::store::db::{Db, Lookup, Replaced};
use crate::store::entry::{Entry, EntryMut, EntryRef, NewValue, Origin, ValueRef};
use crate::store::key::{Hasher, Key, Position};
use crate::store::partition::Partition;
use crate::store::prefetch::prefetch;
use crate::store::waiters::Waiter;
use crate::store::watchers::Watched;
use crate::types::{BigString, Collection, Packing, Value, WrongType};

/// The partitions that a command's keys live in.
pub enum Keyspace<'a> {
    /// One: the common case.
    One(&'a mut Partition),
    /// Several, lent by their owners, in the order of their slots.
    Lent(&'a mut [Box<Partition>]),
}

impl Keyspace<'_> {
    /// The same, for a part of the time.
    #[inline]
    pub fn reborrow(&mut self) -> Keyspace<'_> {
        match self {
            Keyspace::One(partition) => Keyspace::One(partition),
            Keyspace::Lent(partitions) => Keyspace::Lent(partitions),
        }
    }

    /// How many partitions are at hand.
    pub fn held(&self) -> usize {
        match self {
            Keyspace::One(_) => 1,
            Keyspace::Lent(partitions) => partitions.len(),
        }
    }

    /// True if somebody waits for a key of it, watches or keeps one.
    #[inline]
    pub fn has_listeners(&self) -> bool {
        let listens = |one: &Partition| {
            !one.waiters().is_empty() || !one.watchers().is_empty() || !one.tracked().is_empty()
        };
        match self {
            Keyspace::One(partition) => listens(partition),
            Keyspace::Lent(partitions) => partitions.iter().any(|one| listens(one)),
        }
    }

    /// True if a key of it is kept for somebody who waits, or changes wait for the disk.
    pub fn has_reservations(&self) -> bool {
        match self {
            Keyspace::One(partition) => partition.keeps_back(),
            Keyspace::Lent(lent) => lent.iter().any(|one| one.keeps_back()),
        }
    }

    /// True if changes wait for the disk.
    pub fn is_choked(&self) -> bool {
        match self {
            Keyspace::One(partition) => partition.is_choked(),
            Keyspace::Lent(lent) => lent.iter().any(|one| one.is_choked()),
        }
    }

    /// The partition that owns `position`.
    #[inline]
    pub fn partition(&mut self, position: Position) -> &mut Partition {
        match self {
            Keyspace::One(partition) => partition,
            Keyspace::Lent(partitions) => partitions
                .iter_mut()
                .find(|partition| partition.covers_slot(position.slot()))
                .expect("a handler touches only keys that its command names"),
        }
    }

    /// The partition that owns `position`, to be looked at, if it is at hand.
    fn view(&self, position: Position) -> Option<&Partition> {
        match self {
            Keyspace::One(partition) => Some(partition),
            Keyspace::Lent(partitions) => {
                let found = partitions.iter().find(|one| one.covers_slot(position.slot()));
                found.map(|partition| &**partition)
            }
        }
    }

    /// Fetches what lookups of the keys that these words name will read, as many as are worth it. Those
    /// that are not at hand are left out.
    pub fn prefetch<'k>(
        &self,
        hasher: &Hasher,
        db: usize,
        words: impl ExactSizeIterator<Item = &'k [u8]>,
    ) {
        if words.len() < 2 {
            return;
        }
        let mut positions = [None; KEYS_AT_ONCE];
        for (position, word) in positions.iter_mut().zip(words) {
            *position = Some(hasher.key(word).position);
        }
        prefetch(|| self.lookups(db, positions.iter().flatten().copied()));
    }

    /// Where lookups at these positions look.
    fn lookups(
        &self,
        db: usize,
        positions: impl Iterator<Item = Position>,
    ) -> impl Iterator<Item = (&Db, Position)> {
        positions.filter_map(move |at| Some((self.view(at)?.db(db), at)))
    }

    /// The partition that owns `slot`, if it is at hand.
    pub fn holder(&mut self, slot: u16) -> Option<&mut Partition> {
        match self {
            Keyspace::One(partition) => partition.covers_slot(slot).then_some(&mut **partition),
            Keyspace::Lent(partitions) => {
                let found = partitions.iter_mut().find(|one| one.covers_slot(slot));
                found.map(|partition| &mut **partition)
            }
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

/// Keys of a command that are looked up together.
const KEYS_AT_ONCE: usize = 16;

/// What a handler of keys sees.
pub struct Context<'a> {
    /// Where the keys are.
    pub keyspace: Keyspace<'a>,
    /// The first key, if its place was computed when the command was staged.
    pub hint: Option<Key<'a>>,
    /// How accesses are recorded.
    pub access: AccessPolicy,
    /// The client's session.
    pub session: &'a SessionFacts,
    /// The time, the same for all commands of a batch on a core.
    pub now: Millis,
    /// What becomes of what has expired.
    pub stale: Stale,
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
    /// Entries that were removed; what is large in them is freed in slices.
    pub removed: &'a mut Vec<Entry>,
    /// Values that were replaced; freed in slices.
    pub replaced: &'a mut Vec<Box<Value>>,
    /// What the command waits for, if it has to.
    pub suspension: &'a mut Option<Suspension>,
    /// The wait of a command that runs again.
    pub waiter: &'a Option<Arc<Waiter>>,
    /// The keys that it sends to another server, or what has become of them.
    pub migration: &'a mut Option<Migration>,
    /// Keys that the client watches from now on.
    pub watched: &'a mut Vec<Watched>,
    /// A script calls it.
    pub in_script: bool,
    /// The command that runs.
    pub command: Listed,
    /// Every user.
    pub users: &'a Users,
    /// Who listens to channels.
    pub directory: &'a Directory,
    /// What the turn pushes to clients.
    pub pushes: &'a mut Pushes,
    /// What this turn tells clients of keys that they keep.
    pub invalidations: &'a mut Invalidations,
}

impl Context<'_> {
    /// The selected database.
    #[inline]
    pub fn db_index(&self) -> usize {
        self.session.db
    }

    /// The time at which something must have expired to be gone by now.
    #[inline]
    pub fn expiry_now(&self) -> Millis {
        if self.stale == Stale::Lives { Millis(i64::MIN) } else { self.now }
    }

    /// True if what is met and has expired is deleted, also by those who read.
    pub fn deletes_expired(&self) -> bool {
        self.stale == Stale::Goes
    }

    /// True if what gets this expiry goes at once. A replica leaves that to its primary, and who
    /// imports to the source.
    pub fn goes_at_once(&self, expiry: Millis) -> bool {
        expiry <= self.expiry_now() && self.config.expires_by_itself()
    }

    /// Ends the handler of a command that found nothing and waits: no reply has been written.
    pub fn suspend(&mut self, suspension: Suspension) {
        *self.suspension = Some(suspension);
    }

    /// Tells every client that has tracking on that all keys have changed.
    pub fn invalidate_all(&mut self) {
        for partition in self.keyspace.partitions() {
            partition.tracked_mut().clear();
        }
        let clients = self.server.stats.iter().map(|stats| stats.tracking_clients.get());
        self.invalidations.add_all(clients);
    }

    /// True if the client's user may read keys that the request does not name: SORT's BY and GET.
    pub fn may_read_all_keys(&self, args: Args<'_>) -> bool {
        let databases = self.config.databases;
        let asked = Asked { command: self.command, args, db: self.session.db, databases };
        let named = self.users.get(self.session.user);
        named.is_some_and(|one| {
            one.unrestricted || permission::may_read_all_keys(self.users, &one.user, &asked)
        })
    }

    /// Has the client watch a key of the selected database.
    pub fn watch(&mut self, key: &Key<'_>) {
        let db = self.session.db;
        let partition = self.keyspace.partition(key.position);
        let entry = partition.db(db).peek(key);
        let expired = entry.is_some_and(|entry| entry.is_expired(self.now));
        self.watched.push(partition.watchers_mut().watch(db, key.bytes, expired));
    }

    /// True for a key, word `at`, whose partition is not here: only where a command that waits for
    /// several keys runs again. An error if what is there is of another type than wanted.
    pub fn is_elsewhere(&mut self, at: usize, key: &Key<'_>) -> Result<bool, WrongType> {
        if self.keyspace.holder(key.position.slot()).is_some() {
            return Ok(false);
        }
        match self.waiter {
            Some(waiter) if waiter.is_misfit(at, self.now) => Err(WrongType),
            _ => Ok(true),
        }
    }

    /// Places a key in the table.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.hint {
            Some(hint) if std::ptr::eq(hint.bytes, bytes) => Key { bytes, position: hint.position },
            _ => self.hasher.key(bytes),
        }
    }

    /// Calls `each` with the key of each of these words, whose lookups wait for memory together.
    #[inline]
    pub fn for_each_key<'k>(
        &mut self,
        mut words: impl Iterator<Item = &'k [u8]>,
        mut each: impl FnMut(&mut Self, &Key<'k>),
    ) {
        while let Some(word) = words.next() {
            let mut keys = [self.key(word); KEYS_AT_ONCE];
            let mut count = 1;
            for (key, word) in keys[1..].iter_mut().zip(&mut words) {
                *key = self.key(word);
                count += 1;
            }
            let keys = &keys[..count];
            if count > 1 {
                let (keyspace, db) = (&self.keyspace, self.session.db);
                prefetch(|| keyspace.lookups(db, keys.iter().map(|key| key.position)));
            }
            keys.iter().for_each(|key| each(self, key));
        }
    }

    /// Database `db` of the partition that owns `key`. For what the methods below do not offer;
    /// expired entries may still be in it.
    #[inline]
    pub fn db(&mut self, db: usize, key: &Key<'_>) -> &mut Db {
        self.keyspace.partition(key.position).db_mut(db)
    }

    /// How this command's accesses are recorded.
    #[inline]
    fn moment(&mut self) -> Access {
        let touch = !self.session.no_touch;
        let chance = match self.access {
            AccessPolicy::Lru => 0,
            AccessPolicy::Lfu { .. } => self.rng.next_u64() as u32,
        };
        Access { now: self.now, policy: self.access, touch, chance, stale: self.stale }
    }

    /// Reads a key of the selected database: counts a hit or a miss, touches its access clock.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        let access = self.moment();
        self.read_by(key, &access)
    }

    /// Reads a key as `read` does, but `touch` alone says whether its access clock is touched: TTL
    /// and TYPE never touch, TOUCH does even for a client with CLIENT NO-TOUCH.
    #[inline]
    pub fn read_touching(&mut self, key: &Key<'_>, touch: bool) -> Option<EntryRef<'_>> {
        let access = Access { touch, ..self.moment() };
        self.read_by(key, &access)
    }

    /// Reads a key as `read` does, to change it where that counts as no change of the key: what
    /// XREADGROUP and XACK do to a stream's groups.
    #[inline]
    pub fn read_mut(&mut self, key: &Key<'_>) -> Option<EntryMut<'_>> {
        let access = self.moment();
        self.find_by(key, &access)
    }

    #[inline]
    fn read_by(&mut self, key: &Key<'_>, access: &Access) -> Option<EntryRef<'_>> {
        self.find_by(key, access).map(EntryMut::into_view)
    }

    #[inline]
    fn find_by(&mut self, key: &Key<'_>, access: &Access) -> Option<EntryMut<'_>> {
        let db = self.session.db;
        let Context { keyspace, effects, stats, removed, .. } = self;
        match keyspace.partition(key.position).db_mut(db).lookup_read(key, access) {
            Lookup::Found(entry) => {
                stats.totals.keyspace_hits.add(1);
                return Some(entry);
            }
            Lookup::Missing => {}
            Lookup::Expired(entry) => expired(effects, stats, removed, (db, key), entry),
        }
        stats.totals.keyspace_misses.add(1);
        effects.event(EventClass::Miss, "keymiss", db, key.bytes);
        None
    }

    /// Looks at a key that this command has read already, so that several can be looked at together;
    /// counts and touches nothing.
    #[inline]
    pub fn view(&self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        let db = self.keyspace.view(key.position)?.db(self.session.db);
        db.peek(key).filter(|entry| !entry.is_expired(self.expiry_now()))
    }

    /// The string at a key, read as by `read`. None if there is none, an error at another type.
    #[inline]
    pub fn read_string(&mut self, key: &Key<'_>) -> Result<Option<StringRef<'_>>, WrongType> {
        self.read(key).map(StringRef::of).transpose()
    }

    /// Looks a key of database `db` up to change it; touches its access clock, counts nothing.
    #[inline]
    pub fn write_in(&mut self, db: usize, key: &Key<'_>) -> Option<EntryMut<'_>> {
        let access = self.moment();
        let Context { keyspace, effects, stats, removed, .. } = self;
        match keyspace.partition(key.position).db_mut(db).lookup_write(key, &access) {
            Lookup::Found(entry) => Some(entry),
            Lookup::Missing => None,
            Lookup::Expired(entry) => {
                expired(effects, stats, removed, (db, key), entry);
                None
            }
        }
    }

    /// Looks a key of the selected database up to change it.
    #[inline]
    pub fn write(&mut self, key: &Key<'_>) -> Option<EntryMut<'_>> {
        self.write_in(self.session.db, key)
    }

    /// Looks at a key of database `db` without counting or touching.
    #[inline]
    pub fn peek_in(&mut self, db: usize, key: &Key<'_>) -> Option<EntryRef<'_>> {
        let access = Access { touch: false, ..self.moment() };
        let Context { keyspace, effects, stats, removed, .. } = self;
        match keyspace.partition(key.position).db_mut(db).lookup_write(key, &access) {
            Lookup::Found(entry) => Some(entry.into_view()),
            Lookup::Missing => None,
            Lookup::Expired(entry) => {
                expired(effects, stats, removed, (db, key), entry);
                None
            }
        }
    }

    /// Looks at a key of the selected database without counting or touching.
    #[inline]
    pub fn peek(&mut self, key: &Key<'_>) -> Option<EntryRef<'_>> {
        self.peek_in(self.session.db, key)
    }

    /// Gives a key of the selected database a value and an expiry, whatever it had before. Reports
    /// the change of the key, but no event: that is the command's.
    #[inline]
    pub fn set(&mut self, key: &Key<'_>, value: NewValue<'_>, expiry: Option<Millis>) {
        let access = self.moment();
        let db = self.session.db;
        let Context { keyspace, effects, stats, replaced, .. } = self;
        match keyspace.partition(key.position).db_mut(db).set(key, value, expiry, &access) {
            Replaced::Nothing => effects.event(EventClass::New, "new", db, key.bytes),
            Replaced::Value(old) => replaced.extend(old),
            Replaced::Expired(old) => {
                stats.totals.expired_keys.add(1);
                effects.expired(db, key.bytes);
                effects.event(EventClass::New, "new", db, key.bytes);
                replaced.extend(old);
            }
        }
        effects.changed(db, key.bytes);
    }

    /// The entry of a key of the selected database, to be changed; a missing one is made with an
    /// empty packed collection, which the caller fills: nothing may fail from here on.
    pub fn write_or_make(&mut self, key: &Key<'_>, packing: Packing) -> EntryMut<'_> {
        let access = self.moment();
        let db = self.session.db;
        let Context { keyspace, effects, stats, removed, .. } = self;
        let table = keyspace.partition(key.position).db_mut(db);
        let empty = || NewValue::Packed(packing, Cow::Borrowed(packing.empty()));
        let (entry, origin) = table.lookup_or_make(key, &access, empty);
        match origin {
            Origin::Found => return entry,
            Origin::Made => {}
            Origin::Replaced(old) => expired(effects, stats, removed, (db, key), old),
        }
        effects.event(EventClass::New, "new", db, key.bytes);
        entry
    }

    /// Gives a key of the selected database a collection and an expiry, whatever it had before.
    /// Reports the change of the key, but no event: that is the command's.
    pub fn set_collection(&mut self, key: &Key<'_>, new: Collection, expiry: Option<Millis>) {
        self.set(key, NewValue::from(new), expiry);
    }

    /// Puts an entry under its own key into database `db`, in the place of whatever is there.
    /// Reports the change, but no event.
    pub fn insert_in(&mut self, db: usize, key: &Key<'_>, entry: Entry) {
        let old = self.db(db, key).insert(key, entry);
        self.removed.extend(old);
        self.effects.changed(db, key.bytes);
    }

    /// Takes a key out of database `db`. None if it was not there or had expired. Reports nothing.
    pub fn take_in(&mut self, db: usize, key: &Key<'_>) -> Option<Entry> {
        let now = self.expiry_now();
        let entry = self.db(db, key).delete(key)?;
        if entry.view().is_expired(now) {
            let Context { effects, stats, removed, .. } = self;
            expired(effects, stats, removed, (db, key), entry);
            return None;
        }
        Some(entry)
    }

    /// Deletes a key of the selected database; false if it was not there. Reports the change, but no
    /// event.
    #[inline]
    pub fn delete(&mut self, key: &Key<'_>) -> bool {
        let db = self.session.db;
        let Some(entry) = self.take_in(db, key) else { return false };
        self.removed.push(entry);
        self.effects.changed(db, key.bytes);
        true
    }

    /// Reports an event of a key of the selected database.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, key: &Key<'_>) {
        self.effects.event(class, name, self.session.db, key.bytes);
    }

    /// Reports that a key of the selected database was changed in place, and which event that is.
    #[inline]
    pub fn changed(&mut self, class: EventClass, event: &'static str, key: &Key<'_>) {
        let db = self.session.db;
        self.effects.changed(db, key.bytes);
        self.effects.event(class, event, db, key.bytes);
    }

    /// Checks a database number that a client sent.
    pub fn checked_db(&self, number: i64) -> Result<usize, CommandError> {
        usize::try_from(number)
            .ok()
            .filter(|db| *db < self.config.databases)
            .ok_or(CommandError::DbIndexOutOfRange)
    }
}

/// An access met an entry whose time had passed.
#[cold]
fn expired(
    effects: &mut Effects,
    stats: &CoreStats,
    removed: &mut Vec<Entry>,
    (db, key): (usize, &Key<'_>),
    entry: Entry,
) {
    stats.totals.expired_keys.add(1);
    effects.expired(db, key.bytes);
    removed.push(entry);
}

/// A string value, wherever it lies.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'a> {
    /// It spells this integer.
    Int(i64),
    /// Plain bytes.
    Bytes(&'a [u8]),
    /// Chunks.
    Big(&'a BigString),
}

impl<'a> StringRef<'a> {
    /// The string in an entry; an error at another type.
    #[inline]
    pub fn of(entry: EntryRef<'a>) -> Result<StringRef<'a>, WrongType> {
        match entry.value() {
            ValueRef::Int(value) => Ok(StringRef::Int(value)),
            ValueRef::Str(bytes) => Ok(StringRef::Bytes(bytes)),
            ValueRef::Boxed(Value::String(big)) => Ok(StringRef::Big(big)),
            ValueRef::Packed(..) | ValueRef::Boxed(_) => Err(WrongType),
        }
    }

    /// Writes it as a bulk string.
    #[inline]
    pub fn reply(self, reply: &mut Reply<'_>) {
        match self {
            StringRef::Int(value) => reply.bulk_integer(value),
            StringRef::Bytes(bytes) => reply.bulk(bytes),
            StringRef::Big(big) => reply.bulk_chunks(big.len(), big.chunks().iter()),
        }
    }

    /// Its bytes in one piece; copies what does not lie in one piece.
    pub fn to_bytes(self) -> Cow<'a, [u8]> {
        match self {
            StringRef::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            StringRef::Bytes(bytes) => Cow::Borrowed(bytes),
            StringRef::Big(big) => Cow::Owned(big.to_vec()),
        }
    }
}
