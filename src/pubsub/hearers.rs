//! The clients of one core that listen, by name.
//!
//! Invariant: a client stands under a name with the versions of the directory from which on, and up
//! to which, messages are for it: exactly those that counted it. So one that has left stays until
//! every core knows (`settle`), since messages that counted it may still be on their way.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Change, Kind, Name};
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
    names: [HashMap<Name, Vec<Hearer>, HashKey>; 3],
    /// What clients of this core have left while other cores may not know.
    leaving: Vec<Arc<Change>>,
}

impl Hearers {
    /// None yet.
    pub fn new(secret: HashKey) -> Hearers {
        let names = [(); 3].map(|()| HashMap::with_hasher(secret));
        Hearers { names, leaving: Vec::new() }
    }

    /// Those that listen to a name, in the order of their ids; some of them not to every message.
    #[inline]
    pub fn of(&self, kind: Kind, name: &[u8]) -> &[Hearer] {
        self.names[kind as usize].get(name).map_or(&[], Vec::as_slice)
    }

    /// A change of a client of this core is in force from `version` of the directory on.
    pub fn apply(&mut self, change: &Arc<Change>, version: u64) {
        for (kind, name) in change.each() {
            let hearers = self.names[kind as usize]
                .entry(name.clone())
                .or_insert_with(|| Vec::with_capacity(usize::from(change.joins)));
            let at = hearers.partition_point(|one| one.id < change.id);
            if change.joins {
                let (id, client) = (change.id, change.client);
                hearers.insert(at, Hearer { id, client, from: version, until: u64::MAX });
            } else if let Some(hearer) = hearers.get_mut(at) {
                assert_eq!(hearer.id, change.id, "who leaves has joined");
                hearer.until = version;
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
        for names in self.names.iter_mut().filter(|names| names.is_empty()) {
            names.shrink_to_fit();
        }
    }
}
