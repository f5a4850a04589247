//! What a command did, beside its reply: dirty count, keyspace events, changed keys, lines to
//! propagate.
//!
//! Invariant: a handler reports everything, always; what nobody is interested in is not recorded,
//! so that an ordinary write pays for a counter and a test. Effects are drained by `before_sleep`
//! before anything of the turn leaves the core. Source: Redis' notifyKeyspaceEvent,
//! signalModifiedKey, server.dirty and alsoPropagate.

use std::collections::BTreeSet;

/// What somebody wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Keyspace events (notify-keyspace-events is set).
    pub events: bool,
    /// Changed keys (watched keys, tracking, blocked clients).
    pub keys: bool,
    /// Lines for the journal (AOF or replicas).
    pub journal: bool,
}

/// The classes of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    /// `g`: commands of no type.
    Generic,
    /// `$`: strings.
    String,
    /// `l`: lists.
    List,
    /// `s`: sets.
    Set,
    /// `h`: hashes.
    Hash,
    /// `z`: sorted sets.
    SortedSet,
    /// `t`: streams.
    Stream,
    /// `x`: a key expired.
    Expired,
    /// `e`: a key was evicted.
    Evicted,
    /// `n`: a key was created.
    New,
    /// `m`: a key was asked for that is not there.
    Miss,
}

/// A keyspace event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: EventClass,
    /// Its name, as subscribers get it.
    pub name: &'static str,
    /// Database.
    pub db: usize,
    /// Key.
    pub key: Box<[u8]>,
}

/// One command to propagate, in the database that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Database.
    pub db: usize,
    /// Words.
    pub argv: Vec<Box<[u8]>>,
}

/// How the command that ran is written to the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// As it was sent, if it changed anything.
    #[default]
    Verbatim,
    /// As the lines say, since it is relative or chance decides.
    Rewritten,
}

/// What was recorded because somebody wants to hear of it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// Keyspace events, in their order.
    pub events: &'a [Event],
    /// Changed keys with their databases.
    pub keys: &'a [(usize, Box<[u8]>)],
    /// Lines for the journal.
    pub lines: &'a [Line],
}

/// What one command did. Reused from command to command.
#[derive(Debug, Default)]
pub struct Effects {
    interest: Interest,
    dirty: u64,
    propagation: Propagation,
    events: Vec<Event>,
    keys: Vec<(usize, Box<[u8]>)>,
    woken: Vec<(usize, Box<[u8]>)>,
    /// Which of `keys` tell that a key went by itself.
    gone: BTreeSet<usize>,
    all_keys: bool,
    is_for_replicas: bool,
    lines: Vec<Line>,
}

impl Effects {
    /// Empty effects that record what `interest` names.
    pub fn new(interest: Interest) -> Self {
        Effects { interest, ..Effects::default() }
    }

    /// Changes done so far; each counts as in `rdb_changes_since_last_save`.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Reports that `key` of database `db` was changed, created or deleted.
    #[inline]
    pub fn changed(&mut self, db: usize, key: &[u8]) {
        self.dirty += 1;
        if self.interest.keys {
            self.keys.push((db, key.into()));
        }
    }

    /// Reports a key that changed along with another one whose change is counted: the source of
    /// RENAME and MOVE.
    #[inline]
    pub fn changed_along(&mut self, db: usize, key: &[u8]) {
        if self.interest.keys {
            self.keys.push((db, key.into()));
        }
    }

    /// Reports `count` changes more than the keys that were reported: several elements of one key.
    #[inline]
    pub fn changed_many(&mut self, count: u64) {
        self.dirty += count;
    }

    /// Reports `count` changes that have no key of their own (FLUSHALL, SWAPDB): any key may be there
    /// now, or gone.
    pub fn changed_databases(&mut self, count: u64) {
        self.dirty += count;
        self.all_keys = true;
    }

    /// Reports that `key` of database `db` changed for those who wait for it, but not for those who
    /// watch it: a group of a stream was destroyed.
    #[inline]
    pub fn wakes(&mut self, db: usize, key: &[u8]) {
        if self.interest.keys {
            self.woken.push((db, key.into()));
        }
    }

    /// True if any key may have changed.
    pub fn changed_all(&self) -> bool {
        self.all_keys
    }

    /// Takes the changed keys out.
    pub fn take_keys(&mut self) -> Vec<(usize, Box<[u8]>)> {
        self.all_keys = false;
        std::mem::take(&mut self.keys)
    }

    /// Takes the keys out that have not changed but may serve whoever waits for them.
    pub fn take_woken(&mut self) -> Vec<(usize, Box<[u8]>)> {
        std::mem::take(&mut self.woken)
    }

    /// Takes out which of the changes were keys that expired or were evicted, by their places among
    /// `take_keys`: no client did that.
    pub fn take_gone(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.gone)
    }

    /// Takes the recorded events out.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Reports a keyspace event.
    #[inline]
    pub fn event(&mut self, class: EventClass, name: &'static str, db: usize, key: &[u8]) {
        if self.interest.events {
            self.events.push(Event { class, name, db, key: key.into() });
        }
    }

    /// Propagates `argv` instead of the command as it was sent; may be called several times.
    #[inline]
    pub fn propagate(&mut self, db: usize, argv: &[&[u8]]) {
        self.propagation = Propagation::Rewritten;
        if self.interest.journal {
            self.lines.push(Line { db, argv: argv.iter().map(|word| (*word).into()).collect() });
        }
    }

    /// True if somebody reads the lines given to `propagate`: a line that costs a copy of a large
    /// value is made only then.
    #[inline]
    pub fn wants_lines(&self) -> bool {
        self.interest.journal
    }

    /// Propagates the command to replicas though it changed nothing.
    #[inline]
    pub fn propagate_to_replicas(&mut self) {
        self.is_for_replicas = true;
    }

    /// True if replicas get the command though it changed nothing.
    pub fn is_for_replicas(&self) -> bool {
        self.is_for_replicas
    }

    /// Propagates nothing for this command, though it changed something.
    #[inline]
    pub fn propagate_nothing(&mut self) {
        self.propagation = Propagation::Rewritten;
    }

    /// Reports that `key` of database `db` was deleted because its time had passed. That is
    /// propagated beside whatever the command itself does.
    pub fn expired(&mut self, db: usize, key: &[u8]) {
        if self.interest.keys {
            self.gone.insert(self.keys.len());
            self.keys.push((db, key.into()));
        }
        if self.interest.journal {
            self.lines.push(Line { db, argv: vec![b"DEL".as_slice().into(), key.into()] });
        }
        self.event(EventClass::Expired, "expired", db, key);
    }

    /// Reports that `key` of database `db` was deleted to make room. That is propagated beside whatever
    /// the command itself does.
    pub fn evicted(&mut self, db: usize, key: &[u8]) {
        if self.interest.keys {
            self.gone.insert(self.keys.len());
            self.keys.push((db, key.into()));
        }
        if self.interest.journal {
            self.lines.push(Line { db, argv: vec![b"DEL".as_slice().into(), key.into()] });
        }
        self.event(EventClass::Evicted, "evicted", db, key);
    }

    /// Reports that a field of the hash at `key` was deleted because its time had passed. That is
    /// propagated beside whatever the command itself does; `fields_expired` follows the last one.
    pub fn field_expired(&mut self, db: usize, key: &[u8], field: &[u8]) {
        if self.interest.journal {
            let argv = [b"HDEL".as_slice(), key, field].map(Into::into).to_vec();
            self.lines.push(Line { db, argv });
        }
    }

    /// Reports that fields of the hash at `key` expired, and whether the last ones did.
    pub fn fields_expired(&mut self, db: usize, key: &[u8], emptied: bool) {
        self.changed_along(db, key);
        self.event(EventClass::Hash, "hexpired", db, key);
        if emptied {
            self.event(EventClass::Generic, "del", db, key);
        }
    }

    /// How the command is to be written to the journal.
    pub fn propagation(&self) -> Propagation {
        self.propagation
    }

    /// The recorded events, changed keys and lines.
    pub fn recorded(&self) -> Recorded<'_> {
        Recorded { events: &self.events, keys: &self.keys, lines: &self.lines }
    }

    /// Forgets everything, for the next command, of which `interest` tells what is to be recorded.
    #[inline]
    pub fn reset(&mut self, interest: Interest) {
        self.dirty = 0;
        self.propagation = Propagation::Verbatim;
        self.all_keys = false;
        self.is_for_replicas = false;
        if self.interest != Interest::default() {
            self.events.clear();
            self.keys.clear();
            self.gone.clear();
            self.woken.clear();
            self.lines.clear();
        }
        self.interest = interest;
    }
}
