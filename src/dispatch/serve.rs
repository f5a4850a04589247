//! Serves clients that wait in blocking commands, as soon as a command has changed their keys.
//!
//! Invariant: a waiter is served right behind the command that made it possible and before any
//! other, by whoever has the partition; those of one key in the order in which they came. One whose
//! command needs partitions that are not here keeps its place, and its key, until a loan has come.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use super::table::Registered;
use super::worker::Worker;
use crate::acl::Denial;
use crate::base::claim::Refused;
use crate::base::gate::Gate;
use crate::base::slot::Slot;
use crate::base::time::Millis;
use crate::client::{ReplyMode, SessionFacts};
use crate::command::args::join;
use crate::command::context::Keyspace;
use crate::command::session_context::AcksWanted;
use crate::command::{Args, CommandError, Denied, Flags, Suspension, keyspec};
use crate::observe::command_log::Note;
use crate::resp::reply::ReplyBuffer;
use crate::store::waiters::Waiter;
use crate::txn::batch::{Acks, Address, Blocked};
use crate::txn::cores::{CoreSet, SlotMap};

/// What the home of a client has to know of the end of its wait.
#[derive(Debug)]
pub struct Served {
    /// Whose wait it was.
    pub waiter: Arc<Waiter>,
    /// The reply.
    pub replies: ReplyBuffer,
    /// Which replies the client wants from now on.
    pub reply_mode: ReplyMode,
    /// The full name of the command.
    pub full_name: &'static str,
    /// What its user may do no more, if that is what ended it.
    pub denial: Option<Denial>,
    /// When it was served.
    pub time: Millis,
    /// What is remembered of the command.
    pub notes: Vec<Note>,
    /// What the reply has to wait for.
    pub gate: Gate,
}

/// Keys of databases that may serve somebody.
pub(super) type Ready = VecDeque<(usize, Box<[u8]>)>;

impl Worker {
    /// Lets the client of a command that found nothing wait for its keys.
    pub fn wait(
        &mut self,
        mut keyspace: Keyspace<'_>,
        suspension: Suspension,
        (address, facts): (Address, SessionFacts),
        (registered, args): (&Registered, Args<'_>),
    ) -> Blocked {
        let Suspension { keys, wants, deadline, wakes_on_delete, replaced, .. } = suspension;
        let mut named = 0;
        // The handler ran, so the keys can be found.
        let found = keyspec::keys_of(registered.command.keys, args, |_, _| named += 1);
        let mut words: Vec<Vec<u8>> = args.iter_from(0).map(<[u8]>::to_vec).collect();
        for (at, word) in replaced {
            words[at] = word;
        }
        let waiter = Arc::new(Waiter {
            claim: Arc::default(),
            home: address.home,
            client: address.client,
            generation: address.generation,
            facts,
            command: registered.id as u16,
            words,
            needs_all: found.is_ok() && named > keys.len(),
            misfits: keys.iter().map(|_| AtomicI64::new(i64::MIN)).collect(),
            keys,
            wants,
            wakes_on_delete,
        });
        for key in waiter.keys() {
            if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
                partition.waiters_mut().add(key, &waiter);
            }
        }
        Blocked { waiter, deadline, acks: None }
    }

    /// Lets a client wait for what replicas acknowledge, and for no key.
    pub fn wait_for_acks(
        &mut self,
        wanted: AcksWanted,
        acks: Acks,
        who: (Address, SessionFacts),
        command: (&Registered, Args<'_>),
    ) -> Blocked {
        let suspension = Suspension { deadline: wanted.deadline, ..Suspension::away(Denied::Null) };
        let blocked = self.wait(Keyspace::Lent(&mut []), suspension, who, command);
        Blocked { acks: Some(acks), ..blocked }
    }

    /// Serves those who waited for what the last command did.
    #[cold]
    pub(super) fn serve_waiters(&mut self, keyspace: &mut Keyspace<'_>) {
        self.note_changes(keyspace);
        let mut ready: Ready = std::mem::take(&mut self.ready).into();
        self.serve_ready(keyspace, &mut ready);
    }

    /// All data is another one: whoever waits for a key may be served.
    pub fn serve_all(&mut self, keyspace: &mut Keyspace<'_>) {
        let of_all = keyspace.partitions();
        let mut ready: Ready = of_all.iter().flat_map(|one| one.waiters().keys()).collect();
        self.serve_ready(keyspace, &mut ready);
    }

    /// Takes up which keys the last command has changed: those that are watched have other versions
    /// now, and whoever waits for one may be served.
    pub(super) fn note_changes(&mut self, keyspace: &mut Keyspace<'_>) {
        if self.effects.changed_all() {
            let of_all = keyspace.partitions();
            self.ready.extend(of_all.iter().flat_map(|one| one.waiters().keys()));
        }
        let (keys, gone) = (self.effects.take_keys(), self.effects.take_gone());
        let ready = self.note_keys(keyspace, keys, self.running, &gone);
        self.ready.extend(ready);
        self.ready.extend(self.effects.take_woken());
    }

    /// Gives watched keys that have changed another version; what may serve somebody.
    fn note_keys(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        keys: Vec<(usize, Box<[u8]>)>,
        by: u64,
        gone: &BTreeSet<usize>,
    ) -> Ready {
        for (at, (db, key)) in keys.iter().enumerate() {
            if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
                partition.touch_watched(*db, key);
            }
            self.invalidate(keyspace, key, by, gone.contains(&at));
        }
        keys.into()
    }

    /// Keys have gone without a command: they expired.
    pub fn went_by_itself(&mut self, mut keyspace: Keyspace<'_>, keys: Vec<(usize, Box<[u8]>)>) {
        let mut ready = self.note_keys(&mut keyspace, keys, 0, &BTreeSet::new());
        self.serve_ready(&mut keyspace, &mut ready);
    }

    /// The loan that a reserved waiter needed is here: it is served, or lets its key go.
    pub fn serve_reserved(&mut self, mut keyspace: Keyspace<'_>, waiter: &Waiter) {
        let db = waiter.facts.db;
        let mut ready = Ready::new();
        for key in waiter.keys() {
            if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
                partition.waiters_mut().release(db, key);
                ready.push_back((db, key.into()));
            }
        }
        self.serve_ready(&mut keyspace, &mut ready);
    }

    pub(super) fn serve_ready(&mut self, keyspace: &mut Keyspace<'_>, ready: &mut Ready) {
        while let Some((db, key)) = ready.pop_front() {
            self.serve_key(keyspace, (db, &key), ready);
        }
    }

    fn serve_key(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        (db, name): (usize, &[u8]),
        ready: &mut Ready,
    ) {
        let slot = Slot::of(name).get();
        // Those before it have been tried and stay.
        let mut at = 0;
        loop {
            let Some(partition) = keyspace.holder(slot) else { return };
            let waiters = partition.waiters();
            if waiters.is_reserved(db, name) {
                return;
            }
            let Some(waiter) = waiters.nth(db, name, at).cloned() else { return };
            let hears_deletion = waiters.any_wakes_on_delete(db, name);
            let key = self.hasher.key(name);
            let entry = partition.db(db).peek(&key).filter(|entry| !entry.is_expired(self.now));
            let fits = entry.is_some_and(|one| one.type_name() == waiter.wants.type_name());
            let until = entry.map(|entry| entry.expiry().unwrap_or(Millis(i64::MAX)));
            match until {
                Some(until) if !fits => {
                    partition.waiters_mut().note_misfit(db, name, (at, until));
                }
                Some(_) => {}
                None => {
                    partition.waiters_mut().note_missing(db, name);
                    if !hears_deletion {
                        return;
                    }
                }
            }
            if !fits && !waiter.wakes_on_delete {
                at += 1;
            } else if waiter.needs_all && !self.has_all(keyspace, &waiter) {
                return self.serve_later(keyspace, (db, name), waiter);
            } else if let Err(refused) = waiter.claim.hold() {
                if refused == Refused::Held {
                    // Another core tries whether one of its keys serves it; with a loan of all of
                    // them nobody else can.
                    return self.serve_later(keyspace, (db, name), waiter);
                }
                forget(keyspace, &waiter);
            } else if self.serve_one(keyspace, &waiter, ready) {
                waiter.claim.keep();
                forget(keyspace, &waiter);
            } else {
                waiter.claim.give_back();
                at += 1;
            }
        }
    }

    /// Keeps a key for its first waiter, until a loan of all partitions that it waits on or needs has
    /// come.
    fn serve_later(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        (db, name): (usize, &[u8]),
        waiter: Arc<Waiter>,
    ) {
        if let Some(partition) = keyspace.holder(Slot::of(name).get()) {
            partition.waiters_mut().reserve(db, name);
        }
        self.reserved.push(waiter);
    }

    /// Runs the command of a waiter again. False if it goes on waiting.
    fn serve_one(
        &mut self,
        keyspace: &mut Keyspace<'_>,
        waiter: &Arc<Waiter>,
        ready: &mut Ready,
    ) -> bool {
        let registered = &self.table.all()[usize::from(waiter.command)];
        let (buffer, ranges) = join(&waiter.words);
        let args = Args::new(&buffer, &ranges, &[]);
        let mut facts = waiter.facts;
        let mut replies = ReplyBuffer::default();
        self.hint(None);
        // What is noted before belongs to whoever made this possible.
        let noted = self.notes.len();
        let gate = self.scribe.gate.take();
        // Its permissions may have changed while it waited.
        if self.is_read_only(registered.command.flags, &facts) {
            // It has waited on a primary.
            let text = CommandError::ReadOnly.text().into();
            self.reply_error(Some(registered), &mut facts, &mut replies, text);
        } else if !self.refuse_forbidden(registered, args, &mut facts, &mut replies) {
            let lent = keyspace.reborrow();
            self.waiter = Some(waiter.clone());
            let suspension = self.run(lent, &mut facts, registered, args, &mut replies);
            self.waiter = None;
            if suspension.is_some() {
                self.scribe.gate = gate;
                return false;
            }
            self.note_changes(keyspace);
            self.remember_if(keyspace, &facts, (registered, args));
            self.tell_own(&facts, &mut replies);
            ready.extend(self.ready.drain(..));
        }
        self.served.push(Served {
            waiter: waiter.clone(),
            replies,
            reply_mode: facts.reply_mode,
            full_name: registered.full_name,
            denial: self.denials.pop(),
            time: self.now,
            notes: self.notes.split_off(noted),
            gate: std::mem::replace(&mut self.scribe.gate, gate),
        });
        true
    }

    /// True if the partitions of all keys that a waiter's command names are here.
    fn has_all(&self, keyspace: &mut Keyspace<'_>, waiter: &Waiter) -> bool {
        let mut here = true;
        self.for_each_key(waiter, |slot| here &= keyspace.holder(slot.get()).is_some());
        here
    }

    /// The owners of all keys that a waiter's command names.
    pub fn owners_of(&self, waiter: &Waiter, map: SlotMap) -> CoreSet {
        let mut owners = CoreSet::default();
        self.for_each_key(waiter, |slot| owners.insert(map.owner(slot)));
        owners
    }

    fn for_each_key(&self, waiter: &Waiter, mut look: impl FnMut(Slot)) {
        let specs = self.table.all()[usize::from(waiter.command)].command.keys;
        let (buffer, ranges) = join(&waiter.words);
        let args = Args::new(&buffer, &ranges, &[]);
        let found = keyspec::keys_of(specs, args, |index, _| look(Slot::of(args.get(index))));
        assert!(found.is_ok(), "the command ran before it waited");
    }
}

/// True if a command names a key that is kept for a waiter, or would change what a save has not yet
/// had room for.
#[inline]
pub(super) fn is_kept_back(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    (registered, args): (&Registered, Args<'_>),
) -> bool {
    keyspace.has_reservations()
        && (registered.command.flags.has(Flags::WRITE) && keyspace.is_choked()
            || names_reserved(keyspace, db, (registered, args)))
}

#[cold]
fn names_reserved(
    keyspace: &mut Keyspace<'_>,
    db: usize,
    (registered, args): (&Registered, Args<'_>),
) -> bool {
    let mut reserved = false;
    let found = keyspec::keys_of(registered.command.keys, args, |index, _| {
        let key = args.get(index);
        let holder = keyspace.holder(Slot::of(key).get());
        reserved |= holder.is_some_and(|one| one.waiters().is_reserved(db, key));
    });
    found.is_ok() && reserved
}

/// Takes a waiter off the queues that are here.
fn forget(keyspace: &mut Keyspace<'_>, waiter: &Arc<Waiter>) {
    for key in waiter.keys() {
        if let Some(partition) = keyspace.holder(Slot::of(key).get()) {
            partition.waiters_mut().remove(key, waiter);
        }
    }
}
