//! The clients of one core that listen, by name.
//!
//! Invariant: a client stands under a name with the versions of the directory from which on, and up
//! to which, messages are for it: exactly those that counted it. So one that has left stays until
//! every core knows (`settle`), since messages that counted it may still be on their way.

use std::sync::Arc;

use super::names::Names;
use super::{Change, Kind};
use crate::base::siphash::HashKey;

/// A client of this core that listens to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearer {
    /// Its id.
    pub id: u64,
    /// Its place.
    pub client: u32,
    from: u64,
    until: u64,
}

impl Hearer {
    /// True if a message that was published at this version counted it.
    #[inline]
    pub fn hears(&self, version: u64) -> bool {
        (self.from..self.until).contains(&version)
    }
}

/// All of them.
#[derive(Debug)]
pub struct Hearers {
    /// By kind; those of a name in the order of their ids.
    names: [Names<Vec<Hearer>>; 3],
    /// What clients of this core have left while other cores may not know.
    leaving: Vec<Arc<Change>>,
}

impl Hearers {
    /// None yet.
    pub fn new(secret: HashKey) -> Hearers {
        let names = [(); 3].map(|()| Names::new(secret));
        Hearers { names, leaving: Vec::new() }
    }

    /// True if nobody listens, or has just left.
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty() && self.names.iter().all(Names::is_empty)
    }

    /// Those that listen to a name, in the order of their ids; some of them not to every message.
    #[inline]
    pub fn of(&self, kind: Kind, name: &[u8]) -> &[Hearer] {
        self.names[kind as usize].get(name).map_or(&[], Vec::as_slice)
    }

    /// A change of a client of this core is in force from `version` of the directory on.
    pub fn apply(&mut self, change: &Arc<Change>, version: u64) {
        for (kind, name) in change.each() {
            let (id, client) = (change.id, change.client);
            let fresh = Hearer { id, client, from: version, until: u64::MAX };
            let names = &mut self.names[kind as usize];
            let Some(hearers) = names.get_mut(name) else {
                assert!(change.joins, "who leaves has joined");
                names.insert(name.clone(), vec![fresh]);
                continue;
            };
            match hearers.binary_search_by_key(&id, |one| one.id) {
                Err(at) if change.joins => hearers.insert(at, fresh),
                Ok(at) if !change.joins => hearers[at].until = version,
                _ => unreachable!("who leaves has joined, and who joins has not"),
            }
        }
        if !change.joins {
            self.leaving.push(change.clone());
        }
    }

    /// Every core knows what a client has left.
    pub fn settle(&mut self, id: u64) {
        while let Some(at) = self.leaving.iter().position(|change| change.id == id) {
            let change = self.leaving.swap_remove(at);
            self.forget(&change);
        }
    }

    /// Takes a client off the names that a change says.
    fn forget(&mut self, change: &Change) {
        for (kind, name) in change.each() {
            let names = &mut self.names[kind as usize];
            let Some(hearers) = names.get_mut(name) else { continue };
            if let Ok(at) = hearers.binary_search_by_key(&change.id, |one| one.id) {
                hearers.remove(at);
            }
            if hearers.is_empty() {
                names.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(id: u64, joins: bool) -> Arc<Change> {
        let mut change = Change::new((0, id as u32, id), joins);
        change.names[Kind::Channel as usize].push(b"news".as_slice().into());
        Arc::new(change)
    }

    fn hearing(hearers: &Hearers, version: u64) -> Vec<u64> {
        let of_name = hearers.of(Kind::Channel, b"news").iter();
        of_name.filter(|one| one.hears(version)).map(|one| one.id).collect()
    }

    #[test]
    fn a_message_is_for_those_who_were_there_at_its_version() {
        let mut hearers = Hearers::new(HashKey { k0: 1, k1: 2 });
        hearers.apply(&change(7, true), 1);
        hearers.apply(&change(3, true), 2);
        hearers.apply(&change(7, false), 3);
        assert!(hearing(&hearers, 0).is_empty());
        assert_eq!(hearing(&hearers, 1), [7]);
        assert_eq!(hearing(&hearers, 2), [3, 7]);
        assert_eq!(hearing(&hearers, 3), [3]);
        hearers.settle(7);
        assert_eq!(hearing(&hearers, 2), [3]);
        hearers.apply(&change(3, false), 4);
        hearers.settle(3);
        assert!(hearers.of(Kind::Channel, b"news").is_empty());
    }
}
