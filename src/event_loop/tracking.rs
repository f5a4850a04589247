//! Invalidations, from the turn that caused them to the clients that they are for.
//!
//! Invariant: an invalidation is in its home core's letterbox before anything else of its turn leaves
//! the core that caused it, and a home empties its letterbox before it writes a reply to a client
//! that has tracking on. So no reply comes to such a client that could know of a change before the
//! client knows that its copy is old; and what belongs to commands whose replies are still away
//! waits behind them. Source: docs/decisions/0014-tracking.md.

use std::sync::Arc;

use super::Core;
use crate::base::alloc;
use crate::base::time::Clock;
use crate::client::Session;
use crate::client::tracking::Tracking;
use crate::command::whole::Part;
use crate::dispatch::track::{write_keys, write_push};
use crate::net::connection::Connection;
use crate::pubsub::tracking::{ChangedKeys, Invalidation};
use crate::pubsub::{Follower, Name};
use crate::resp::Proto;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::ring::Ring;

/// Where clients of RESP2 hear of invalidations.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// When an invalidation may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// At once: it concerns no reply that is still to come.
    Now,
    /// Behind the replies that the client waits for.
    BehindReplies,
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// What this turn has changed is told to the homes of those who keep it, before anything else of
    /// the turn leaves.
    #[inline]
    pub(super) fn post_invalidations(&mut self) {
        let worker = &self.worker;
        if !worker.invalidations.is_empty() || worker.prefixes.has_changes() {
            self.post_some_invalidations();
        }
    }

    #[cold]
    fn post_some_invalidations(&mut self) {
        for (homes, prefix, keys) in self.worker.prefixes.take_changes() {
            let keys = Arc::new(keys);
            for home in homes.iter() {
                let one = Invalidation::Prefix(prefix.clone(), keys.clone());
                self.worker.invalidations.add(home, one);
            }
        }
        self.take_letters();
        let mut letters: Vec<Vec<Invalidation>> =
            (0..self.mail.cores()).map(|_| Vec::new()).collect();
        for (home, one) in self.worker.invalidations.take() {
            letters[home].push(one);
        }
        for (home, letter) in letters.into_iter().enumerate() {
            if !letter.is_empty() {
                self.mail.drop_letter(home, letter);
            }
        }
    }

    /// Tells the clients of this core what is known here by now.
    #[inline]
    pub(super) fn take_letters(&mut self) {
        if !self.worker.invalidations.is_empty() || self.mail.has_letters() {
            self.take_some_letters();
        }
    }

    #[cold]
    fn take_some_letters(&mut self) {
        let core = self.worker.core;
        for letter in self.mail.take_letters() {
            letter.into_iter().for_each(|one| self.tell(one));
        }
        // Telling a client of this core that another one has gone may add more.
        loop {
            let own = self.worker.invalidations.take_of(core);
            if own.is_empty() {
                return;
            }
            own.into_iter().for_each(|one| self.tell(one));
        }
    }

    /// The same before commands of a client run, or their replies are written: only a client that
    /// has tracking on needs it. A new run of its commands begins if `is_run` says so.
    #[inline]
    pub(super) fn take_letters_for(&mut self, client: u32, is_run: bool) {
        let Some(connection) = self.clients.get(client) else { return };
        let facts = &mut connection.session.facts;
        if facts.tracking.is_on() {
            facts.run = facts.run.wrapping_add(is_run.into());
            self.take_letters();
        }
    }

    /// The same between two commands of a client, whose replies are being written.
    #[inline]
    pub(super) fn take_letters_between(&mut self, client: u32) {
        if !self.worker.invalidations.is_empty() {
            let Some(connection) = self.clients.get(client) else { return };
            if connection.session.facts.tracking.is_on() {
                self.end_segment(client);
                self.take_letters();
                self.begin_segment(client);
            }
        }
    }

    fn tell(&mut self, one: Invalidation) {
        let before = alloc::thread_memory();
        self.tell_clients(one);
        let written = u64::try_from(alloc::thread_memory() - before);
        self.worker.note_leaving(written.unwrap_or(0));
    }

    fn tell_clients(&mut self, one: Invalidation) {
        match one {
            Invalidation::Key { id, run, key, by } => self.tell_key((id, run), key, by),
            Invalidation::All => {
                for id in self.worker.trackers.ids() {
                    self.tell_tracker(id, None, Order::BehindReplies);
                }
            }
            Invalidation::Prefix(prefix, keys) => self.tell_followers(&prefix, &keys),
            Invalidation::Forwarded { to, of, keys, null } => {
                if !self.write_forwarded(to, keys.as_deref(), null) {
                    self.worker.invalidations.add(of.1, Invalidation::Broken(of.0));
                }
            }
            Invalidation::Broken(id) => self.tell_broken(id),
        }
    }

    fn tell_key(&mut self, (id, run): (u64, u32), key: Arc<[u8]>, by: u64) {
        let Some(connection) = self.tracker(id) else { return };
        let facts = &connection.session.facts;
        if facts.tracking.has(Tracking::BCAST) {
            // It read the key before it chose to hear of prefixes.
            return;
        }
        // A read of a run that has ended has been answered.
        let order = if facts.run == run || by == id { Order::BehindReplies } else { Order::Now };
        self.tell_tracker(id, Some(vec![key]), order);
    }

    fn tell_followers(&mut self, prefix: &Name, keys: &ChangedKeys) {
        let followers: Vec<u64> =
            self.worker.prefixes.followers(prefix, self.worker.core).collect();
        for id in followers {
            let Some(connection) = self.tracker(id) else { continue };
            let tracking = connection.session.facts.tracking;
            if !tracking.has(Tracking::BCAST) {
                continue;
            }
            let own = tracking.has(Tracking::NOLOOP);
            let told = keys.iter().filter(|(_, by)| !(own && **by == id));
            let told: Vec<Arc<[u8]>> = told.map(|(key, _)| key.clone()).collect();
            if !told.is_empty() {
                self.tell_tracker(id, Some(told), Order::BehindReplies);
            }
        }
    }

    /// A client of this core that has tracking on.
    fn tracker(&mut self, id: u64) -> Option<&mut Connection> {
        let place = self.worker.trackers.place(id)?;
        self.clients.get(place).filter(|one| one.session.facts.id == id && one.goes_on())
    }

    /// Tells a client, or whom it has named, of keys; None is everything.
    fn tell_tracker(&mut self, id: u64, keys: Option<Vec<Arc<[u8]>>>, order: Order) {
        let core = self.worker.core;
        let Some(connection) = self.tracker(id) else { return };
        let (place, proto) = (connection.session.place, connection.session.facts.proto);
        let null: &[u8] = match proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        };
        let Some(redirect) = connection.session.redirect else {
            if proto == Proto::Resp3 {
                let mut push = ReplyBuffer::default();
                write_push(&mut push, keys.as_deref(), null);
                self.write_push_to(place, &push, order);
            }
            return;
        };
        let to = (redirect.id, redirect.place);
        if redirect.home == core {
            if !self.write_forwarded(to, keys.as_deref(), null) {
                self.tell_broken(id);
            }
        } else {
            let one = Invalidation::Forwarded { to, of: (id, core), keys, null };
            self.worker.invalidations.add(redirect.home, one);
        }
    }

    /// Tells a client in whose place another one is told. False if it has gone.
    fn write_forwarded(
        &mut self,
        (id, place): (u64, u32),
        keys: Option<&[Arc<[u8]>]>,
        null: &[u8],
    ) -> bool {
        let Some(connection) = self.clients.get(place) else { return false };
        // Whoever has said QUIT hears nothing more, although its last reply may be on its way.
        if connection.session.facts.id != id || !connection.goes_on() {
            return false;
        }
        let facts = &connection.session.facts;
        let mut push = ReplyBuffer::default();
        match facts.proto {
            Proto::Resp3 => write_push(&mut push, keys, null),
            Proto::Resp2 if facts.subscribed => write_message(&mut push, keys, null),
            Proto::Resp2 => return true,
        }
        self.write_push_to(place, &push, Order::Now);
        true
    }

    /// Tells a client that whom it has named has gone.
    fn tell_broken(&mut self, id: u64) {
        let Some(connection) = self.tracker(id) else { return };
        let Session { facts, redirect, place, .. } = &mut connection.session;
        facts.tracking = facts.tracking.with(Tracking::BROKEN);
        let (proto, place) = (facts.proto, *place);
        if let Some(redirect) = redirect
            && proto == Proto::Resp3
        {
            let mut push = ReplyBuffer::default();
            let mut reply = Reply::new(&mut push, proto);
            reply.push(2);
            reply.bulk(b"tracking-redir-broken");
            reply.count(redirect.id);
            self.write_push_to(place, &push, Order::Now);
        }
    }

    fn write_push_to(&mut self, client: u32, push: &ReplyBuffer, order: Order) {
        let Core { clients, inbox, .. } = self;
        let Some(connection) = clients.get(client) else { return };
        if order == Order::BehindReplies && connection.waits_for_replies() {
            inbox.note_held(client, connection);
            connection.held.append_from(push, 0);
        } else {
            self.begin_segment(client);
            self.replies.append_from(push, 0);
            self.end_segment(client);
        }
        self.check_output(client);
    }

    /// A client goes: it watches nothing, and nobody follows prefixes for it any more.
    pub(super) fn stop_tracking(&mut self, client: u32) {
        let Core { clients, worker, .. } = self;
        let Some(connection) = clients.get(client) else { return };
        let id = connection.session.facts.id;
        let monitoring = std::mem::take(&mut connection.session.facts.monitoring);
        worker.trackers.remove(id);
        worker.stats.tracking_clients.set(worker.trackers.len() as u64);
        let follows = std::mem::take(&mut connection.session.follows);
        let follower = Follower { home: worker.core, id };
        if monitoring {
            self.post_everywhere(Arc::new(move |view| {
                view.monitors.leave(follower.home, id);
                Part::Done
            }));
        }
        if follows {
            self.post_everywhere(Arc::new(move |view| {
                view.prefixes.leave(follower);
                Part::Done
            }));
        }
    }
}

/// An invalidation as a message of pub/sub.
fn write_message(push: &mut ReplyBuffer, keys: Option<&[Arc<[u8]>]>, null: &[u8]) {
    let mut reply = Reply::new(push, Proto::Resp2);
    reply.array(3);
    reply.bulk(b"message");
    reply.bulk(CHANNEL);
    write_keys(&mut reply, keys, null);
}
