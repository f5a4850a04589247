//! The clients of one core, by index.
//!
//! Invariant: an index is used again only after every operation of its former client has completed,
//! and then with another generation.

use slab::Slab;

use super::block::End;
use crate::client::{ConnectionFacts, ConnectionTable, Session, Verdict};
use crate::net::connection::Connection;
use crate::ring::Token;

/// The table of clients.
#[derive(Debug, Default)]
pub struct Clients {
    core: usize,
    slots: Slab<Box<Connection>>,
    generations: u32,
    /// Clients that a command wants closed.
    pub doomed: Vec<u32>,
    /// Clients whose wait a command has ended, and how.
    pub(super) woken: Vec<(u32, End)>,
    /// The link to the primary while it is up, shown as a client of the core that follows.
    pub(super) primary: Option<Box<Session>>,
    /// A command wants that link closed.
    pub(super) ends_link: bool,
}

impl Clients {
    /// An empty table of a core.
    pub fn new(core: usize) -> Clients {
        Clients { core, ..Clients::default() }
    }

    /// The generation of the next client.
    pub fn next_generation(&mut self) -> u32 {
        self.generations = self.generations.wrapping_add(1);
        self.generations
    }

    /// Adds a client; its index.
    pub fn insert(&mut self, connection: Connection) -> u32 {
        self.slots.insert(Box::new(connection)) as u32
    }

    /// The client at an index.
    #[inline]
    pub fn get(&mut self, index: u32) -> Option<&mut Connection> {
        self.slots.get_mut(index as usize).map(|boxed| &mut **boxed)
    }

    /// The client that `token` belongs to, unless it is another one by now.
    #[inline]
    pub fn of_token(&mut self, token: Token) -> Option<&mut Connection> {
        self.get(token.index()).filter(|connection| token.is_of(connection.generation))
    }

    /// The client of this index and generation.
    pub fn of(&mut self, index: u32, generation: u32) -> Option<&mut Connection> {
        self.get(index).filter(|connection| connection.generation == generation)
    }

    /// Forgets a client.
    pub fn remove(&mut self, index: u32) {
        self.slots.remove(index as usize);
    }

    /// Indexes of all clients.
    pub fn indexes(&self) -> Vec<u32> {
        self.slots.iter().map(|(index, _)| index as u32).collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl ConnectionTable for Clients {
    fn for_each(&mut self, look: &mut dyn FnMut(&mut Session, &ConnectionFacts) -> Verdict) {
        let core = self.core;
        let mut order: Vec<(u64, usize)> = (self.slots.iter())
            .filter(|(_, connection)| !connection.is_dead)
            .filter(|(_, connection)| !connection.session.facts.replays)
            .map(|(index, connection)| (connection.session.facts.id, index))
            .collect();
        order.sort_unstable();
        for (_, index) in order {
            let connection = &mut self.slots[index];
            let facts = connection.facts(core);
            match look(&mut connection.session, &facts) {
                Verdict::Keep => {}
                Verdict::Kill => self.doomed.push(index as u32),
                Verdict::Wake { with_error: true } => self.woken.push((index as u32, End::Error)),
                Verdict::Wake { with_error: false } => {
                    self.woken.push((index as u32, End::Timeout));
                }
                Verdict::Disown => self.woken.push((index as u32, End::Role)),
            }
        }
        if let Some(primary) = &mut self.primary {
            let facts = ConnectionFacts { core, ..ConnectionFacts::default() };
            self.ends_link |= look(primary, &facts) == Verdict::Kill;
        }
    }
}
