//! Pushes, from the turn that caused them to the outputs of the clients that they are for.
//!
//! Invariant: with several cores, pushes reach clients in the order of the numbers of their turns,
//! and those of a turn in their own; mail that a core sent behind pushes is handled behind them. A
//! client gets pushes behind the replies that it waits for. With one core they are delivered behind
//! the command that caused them. Source: docs/decisions/0010-pushes.md, which has the proofs.

use std::collections::VecDeque;

use super::journal::WRITER;
use super::mail::MAILBOX_CAPACITY_MAX;
use super::{Core, MESSAGES_PER_TURN_MAX, Message};
use crate::base::gate::Gate;
use crate::base::time::Clock;
use crate::client::ReplyMode;
use crate::net::connection::Connection;
use crate::pubsub::push::pattern_head;
use crate::pubsub::{Kind, Publication, Push};
use crate::ring::Ring;

/// What one turn may deliver: a few hundred microseconds of it.
const UNITS_PER_TURN: usize = 8 * 1024;
/// A message to a client costs one unit; the first to it in a turn, with its send, so many more.
const CLIENT_UNITS: usize = 31;
/// Room for pushes that a client keeps.
const HELD_BYTES_KEPT_MAX: usize = 4 * 1024;

/// How far the push that is being delivered has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// 0: the channel; from 1 on: the patterns that match it.
    step: usize,
    /// The last client of the step that was looked at.
    after: u64,
}

/// The first pushes of a core.
#[derive(Debug)]
struct Head {
    number: u64,
    gate: Gate,
    list: VecDeque<Push>,
}

/// Pushes that have come here and have not been delivered.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The first ones of each core; that core's mail waits behind them.
    heads: Vec<Option<Head>>,
    /// Messages of each core that this turn may still take.
    room: Vec<usize>,
    /// Those that this core has caused, where it is the only one.
    own: VecDeque<Push>,
    progress: Progress,
    /// What the clients have to wait for who get what is being delivered.
    gate: Gate,
    units: usize,
    /// Bytes that were delivered, or forgotten, and are not counted off the transit yet.
    delivered: u64,
    /// Clients for whom something is held.
    held: Vec<u32>,
    /// Lists for the messages to other cores.
    lists: Vec<Vec<Push>>,
}

impl Inbox {
    pub(super) fn new(cores: usize) -> Inbox {
        Inbox {
            heads: (0..cores).map(|_| None).collect(),
            room: vec![0; cores],
            own: VecDeque::new(),
            progress: Progress::default(),
            gate: Gate::OPEN,
            units: 0,
            delivered: 0,
            held: Vec::new(),
            lists: (0..cores).map(|_| Vec::new()).collect(),
        }
    }

    /// A turn begins.
    fn refill(&mut self) {
        self.room.fill(MESSAGES_PER_TURN_MAX);
        self.units = UNITS_PER_TURN;
    }

    /// True if something has come that has not been delivered.
    pub(super) fn is_due(&self) -> bool {
        !self.own.is_empty() || self.heads.iter().any(Option::is_some)
    }

    /// True if anything is kept for clients, delivered or not.
    pub(super) fn holds_anything(&self) -> bool {
        self.is_due() || !self.held.is_empty() || self.lists.iter().any(|list| !list.is_empty())
    }

    /// The core whose pushes have the lowest number, if that is at most `settled`.
    fn first(&self, settled: u64) -> Option<usize> {
        let numbers = self.heads.iter().enumerate();
        let numbers = numbers.filter_map(|(from, head)| Some((head.as_ref()?.number, from)));
        numbers.min().filter(|(number, _)| *number <= settled).map(|(_, from)| from)
    }

    /// True if pushes of a core wait, and its mail behind them.
    pub(super) fn holds(&self, from: usize) -> bool {
        self.heads[from].is_some()
    }

    /// The process ends: the pushes of a core will not be delivered.
    pub(super) fn forget(&mut self, from: usize) {
        let forgotten = self.heads[from].take().map_or(VecDeque::new(), |head| head.list);
        self.delivered += forgotten.iter().map(Push::bytes).sum::<u64>();
    }

    /// Remembers that something is held for a client.
    pub(super) fn note_held(&mut self, index: u32, connection: &Connection) {
        if connection.held.is_empty() {
            self.held.push(index);
        }
    }

    /// Pays for a push to a client.
    #[inline]
    fn pay(&mut self, index: u32, connection: &mut Connection) {
        let is_first = connection.held.is_empty();
        if is_first {
            self.held.push(index);
        }
        connection.held_gate.raise(self.gate);
        let cost = if is_first { 1 + CLIENT_UNITS } else { 1 };
        self.units = self.units.saturating_sub(cost);
    }
}

impl<R: Ring, C: Clock> Core<R, C> {
    /// Handles what the other cores, and this one, have posted here.
    pub(super) fn take_mail(&mut self) {
        self.inbox.refill();
        self.mail.begin_taking();
        // What a queue that is met empty has lost was posted before this moment, or later.
        let settled = if self.worker.core == WRITER { self.mail.settled() } else { 0 };
        for from in 0..self.mail.cores() {
            if self.take_from(from) {
                self.desk.saw_all(from, settled);
            }
        }
        if self.inbox.is_due() {
            self.deliver_due();
        }
        self.run_arrived();
        self.write_held();
    }

    /// Handles the mail of a core, as far as there is room, up to pushes that have to wait for their
    /// place. True if there is no more of it.
    fn take_from(&mut self, from: usize) -> bool {
        while self.inbox.heads[from].is_none() && self.inbox.room[from] > 0 {
            self.inbox.room[from] -= 1;
            match self.mail.take(from) {
                None => return true,
                Some(Message::Batch(batch)) => {
                    batch.prefetch();
                    self.arrived.push(batch);
                }
                Some(Message::Pushes(number, gate, list)) => {
                    self.run_arrived();
                    self.desk.saw(from, number);
                    self.inbox.heads[from] = Some(Head { number, gate, list: list.into() });
                }
                Some(Message::Block(number, block)) => {
                    self.desk.saw(from, number);
                    self.take_block(number, *block);
                }
                Some(message) => {
                    // What came before it runs before it.
                    self.run_arrived();
                    self.handle(message);
                }
            }
        }
        false
    }

    /// Delivers what has come, as far as its turn has come, too, and takes the mail behind it.
    #[cold]
    fn deliver_due(&mut self) {
        if self.mail.cores() == 1 {
            return self.deliver_own();
        }
        // Whatever has a number up to this one is in the queues now. Who has taken from one as much
        // as it can hold has seen all that was in it.
        let settled = if self.is_eager() { u64::MAX } else { self.mail.settled() };
        self.inbox.room.fill(MAILBOX_CAPACITY_MAX);
        self.inbox.room[self.worker.core] = self.mail.left_here();
        loop {
            (0..self.mail.cores()).for_each(|from| {
                self.take_from(from);
            });
            let Some(from) = self.inbox.first(settled) else { return };
            let Some(mut head) = self.inbox.heads[from].take() else { return };
            self.inbox.gate = head.gate;
            if !self.deliver_list(&mut head.list) {
                self.inbox.heads[from] = Some(head);
                return;
            }
        }
    }

    /// What this turn pushes goes to the homes of those whom it is for, before anything else of the
    /// turn.
    #[inline]
    pub(super) fn post_pushes(&mut self) {
        if !self.worker.pushes.is_empty() {
            self.post_numbered();
        }
    }

    #[cold]
    fn post_numbered(&mut self) {
        let (number, gate) = (self.turn_number(), self.gate_of_pushes());
        let Core { worker, inbox, mail, .. } = self;
        for (to, push) in worker.pushes.drain() {
            for core in to.iter() {
                inbox.lists[core].push(push.clone());
            }
        }
        for (core, list) in inbox.lists.iter_mut().enumerate() {
            if !list.is_empty() {
                worker.server.transit.left(core, list.iter().map(Push::bytes).sum());
                mail.post_first(core, Message::Pushes(number, gate, std::mem::take(list)));
            }
        }
    }

    /// With one core, what commands have pushed is delivered behind them.
    #[inline]
    pub(super) fn push_own(&mut self) {
        if !self.worker.pushes.is_empty() && self.mail.cores() == 1 {
            self.deliver_own();
        }
    }

    /// The same between two commands of a client, whose replies are being written.
    #[inline]
    pub(super) fn push_between(&mut self, client: u32) {
        if !self.worker.pushes.is_empty() && self.mail.cores() == 1 {
            self.end_segment(client);
            self.deliver_own();
            self.write_held_of(client);
            self.begin_segment(client);
        }
    }

    #[cold]
    fn deliver_own(&mut self) {
        let gate = self.gate_of_pushes();
        if self.inbox.own.is_empty() {
            self.inbox.gate = gate;
        }
        self.inbox.gate.raise(gate);
        let Core { worker, inbox, .. } = self;
        worker.server.transit.left(worker.core, worker.pushes.bytes());
        inbox.own.extend(worker.pushes.drain().map(|(_, push)| push));
        let mut own = std::mem::take(&mut inbox.own);
        self.deliver_list(&mut own);
        self.inbox.own = own;
    }

    /// Delivers pushes from the front of a list. False if some are left, for lack of time or since
    /// this core does not know yet who gets them.
    fn deliver_list(&mut self, list: &mut VecDeque<Push>) -> bool {
        let mut is_done = true;
        while let Some(push) = list.front() {
            if !self.deliver_push(push) {
                is_done = false;
                break;
            }
            self.inbox.delivered += push.bytes();
            list.pop_front();
        }
        let delivered = std::mem::take(&mut self.inbox.delivered);
        self.worker.server.transit.arrived(self.worker.core, delivered);
        is_done
    }

    fn deliver_push(&mut self, push: &Push) -> bool {
        match push {
            Push::Message(publication) => self.deliver_message(publication),
            Push::Monitor(line) => self.deliver_line(line),
            Push::LinesLost => self.end_monitors(),
        }
    }

    /// Delivers a line to those who watch all commands. There are few of them, and it goes to all.
    fn deliver_line(&mut self, line: &[u8]) -> bool {
        if self.inbox.units == 0 {
            return false;
        }
        let Core { clients, worker, inbox, .. } = self;
        let mut over = Vec::new();
        for (id, place) in worker.monitors.own() {
            let Some(connection) = clients.get(place) else { continue };
            let facts = &connection.session.facts;
            // A line is a reply that nobody asked for: who wants none gets none.
            let wants = facts.monitoring && facts.reply_mode == ReplyMode::On;
            if facts.id == id && wants && connection.goes_on() {
                inbox.pay(place, connection);
                connection.held.bytes.extend_from_slice(line);
                if connection.is_over_limit(&worker.config, worker.now) {
                    over.push(place);
                }
            }
        }
        over.into_iter().for_each(|client| self.cut_off(client));
        true
    }

    /// Lines were lost for want of room: those who watch all commands are cut off like anybody for whom
    /// too much waits.
    fn end_monitors(&mut self) -> bool {
        let places: Vec<(u64, u32)> = self.worker.monitors.own().collect();
        for (id, place) in places {
            if self.clients.get(place).is_some_and(|one| one.session.facts.id == id) {
                self.cut_off(place);
            }
        }
        true
    }

    fn deliver_message(&mut self, publication: &Publication) -> bool {
        if publication.version > self.worker.directory.version() {
            return false;
        }
        while self.inbox.progress.step <= publication.patterns.len() {
            let step = self.inbox.progress.step;
            let done = match step.checked_sub(1) {
                None if publication.to_channel => {
                    let name = publication.channel();
                    self.deliver_to(publication, (publication.kind, name), &[])
                }
                None => true,
                Some(at) => {
                    let pattern = &publication.patterns[at];
                    let head = pattern_head(pattern);
                    self.deliver_to(publication, (Kind::Pattern, pattern), &head)
                }
            };
            if !done {
                return false;
            }
            self.inbox.progress = Progress { step: step + 1, after: 0 };
        }
        self.inbox.progress = Progress::default();
        true
    }

    /// Delivers a message to those who listen to one name.
    fn deliver_to(
        &mut self,
        publication: &Publication,
        (kind, name): (Kind, &[u8]),
        head: &[u8],
    ) -> bool {
        let Core { clients, worker, inbox, .. } = self;
        let hearers = worker.hearers.of(kind, name);
        let (text, shared) =
            if head.is_empty() { publication.message() } else { publication.tail() };
        let first = hearers.partition_point(|hearer| hearer.id <= inbox.progress.after);
        let mut over = Vec::new();
        let mut done = true;
        for hearer in &hearers[first..] {
            if inbox.units == 0 {
                done = false;
                break;
            }
            inbox.progress.after = hearer.id;
            let Some(connection) = clients.get(hearer.client) else { continue };
            let is_meant = connection.session.facts.id == hearer.id && connection.goes_on();
            if is_meant && hearer.hears(publication.version) {
                inbox.pay(hearer.client, connection);
                connection.hold(&[head, text], shared);
                if connection.is_over_limit(&worker.config, worker.now) {
                    over.push(hearer.client);
                }
            }
        }
        over.into_iter().for_each(|client| self.cut_off(client));
        done
    }

    /// Writes what is held for clients to their outputs, as far as they wait for no reply.
    #[inline]
    pub(super) fn write_held(&mut self) {
        if self.inbox.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.inbox.held);
        held.retain(|client| {
            let waits = self.clients.get(*client).is_some_and(|one| one.waits_for_replies());
            if !waits {
                self.write_held_of(*client);
            }
            waits
        });
        self.inbox.held.append(&mut held);
    }

    /// Writes what is held for a client to its output.
    #[inline]
    pub(super) fn write_held_of(&mut self, client: u32) {
        let Some(connection) = self.clients.get(client) else { return };
        if connection.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut connection.held);
        let gate = connection.held_gate.take();
        if connection.goes_on() {
            self.worker.scribe.gate.raise(gate);
            self.begin_segment(client);
            self.replies.append_from(&held, 0);
            self.end_segment(client);
        }
        held.clear();
        if held.bytes.capacity() <= HELD_BYTES_KEPT_MAX
            && let Some(connection) = self.clients.get(client)
        {
            connection.held = held;
        }
    }
}
