//! How many clients listen to each name, by home core: the part of pub/sub that every core has.
//!
//! Invariant: changes are applied on every core in one order (the sequencer's), so after the same
//! number of them, the version, all directories are equal. What PUBLISH counts at a version is who
//! gets the message (`hearers`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Change, Kind, Name, Publication};
use crate::base::core_set::CoreSet;
use crate::base::glob::stringmatch;
use crate::base::siphash::HashKey;

/// How many clients listen to a name, by their home.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Homes {
    /// All on one core.
    One { core: u16, count: u32 },
    /// By core.
    Many(Box<[u32]>),
}

impl Homes {
    fn count(&self) -> u64 {
        match self {
            Homes::One { count, .. } => u64::from(*count),
            Homes::Many(counts) => counts.iter().map(|count| u64::from(*count)).sum(),
        }
    }

    fn cores(&self) -> CoreSet {
        let mut cores = CoreSet::default();
        match self {
            Homes::One { core, .. } => cores.insert(usize::from(*core)),
            Homes::Many(counts) => {
                let with_any = counts.iter().enumerate().filter(|(_, count)| **count > 0);
                with_any.for_each(|(core, _)| cores.insert(core));
            }
        }
        cores
    }

    fn add(&mut self, home: usize) {
        match self {
            Homes::One { core, count } if usize::from(*core) == home => *count += 1,
            Homes::One { core, count } => {
                let first = usize::from(*core);
                let mut counts = vec![0; first.max(home) + 1];
                counts[first] = *count;
                counts[home] = 1;
                *self = Homes::Many(counts.into());
            }
            Homes::Many(counts) => {
                if counts.len() <= home {
                    let mut longer = counts.to_vec();
                    longer.resize(home + 1, 0);
                    *counts = longer.into();
                }
                counts[home] += 1;
            }
        }
    }

    /// One less; true if none is left.
    fn remove(&mut self, home: usize) -> bool {
        match self {
            Homes::One { core, count } => {
                assert!(usize::from(*core) == home && *count > 0, "who leaves has joined");
                *count -= 1;
            }
            Homes::Many(counts) => {
                assert!(counts.get(home).is_some_and(|count| *count > 0), "who leaves has joined");
                counts[home] -= 1;
            }
        }
        self.count() == 0
    }
}

type Names = HashMap<Name, Homes, HashKey>;

/// What is known of all subscriptions on every core.
#[derive(Debug)]
pub struct Directory {
    version: u64,
    channels: Names,
    shards: Names,
    /// In the order in which they are tried.
    patterns: BTreeMap<Name, Homes>,
}

impl Directory {
    /// An empty directory, which hashes names with this secret.
    pub fn new(secret: HashKey) -> Directory {
        Directory {
            version: 0,
            channels: HashMap::with_hasher(secret),
            shards: HashMap::with_hasher(secret),
            patterns: BTreeMap::new(),
        }
    }

    /// Changes that were applied.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// True if nobody listens to a channel or pattern, shard channels aside.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &Change) {
        self.version += 1;
        for (kind, name) in change.each() {
            let home = change.home;
            match (kind, change.joins) {
                (Kind::Channel, true) => join(&mut self.channels, name, home),
                (Kind::Shard, true) => join(&mut self.shards, name, home),
                (Kind::Pattern, true) => {
                    self.patterns
                        .entry(name.clone())
                        .and_modify(|homes| homes.add(home))
                        .or_insert(Homes::One { core: home as u16, count: 1 });
                }
                (Kind::Channel, false) => leave(&mut self.channels, name, home),
                (Kind::Shard, false) => leave(&mut self.shards, name, home),
                (Kind::Pattern, false) => {
                    let homes = self.patterns.get_mut(name).expect("who leaves has joined");
                    if homes.remove(home) {
                        self.patterns.remove(name);
                    }
                }
            }
        }
        for names in [&mut self.channels, &mut self.shards] {
            if names.is_empty() {
                names.shrink_to_fit();
            }
        }
    }

    /// The name as others share it; a copy if nobody listens to it.
    pub fn share(&self, kind: Kind, name: &[u8]) -> Name {
        let known = match kind {
            Kind::Channel => self.channels.get_key_value(name).map(|(known, _)| known),
            Kind::Shard => self.shards.get_key_value(name).map(|(known, _)| known),
            Kind::Pattern => self.patterns.get_key_value(name).map(|(known, _)| known),
        };
        known.cloned().unwrap_or_else(|| name.into())
    }

    /// A message to a channel: how many get it, and what is sent to which cores. None if nobody
    /// listens.
    #[inline]
    pub fn publish(&self, channel: &[u8], payload: &[u8]) -> Option<(u64, CoreSet, Publication)> {
        if self.is_silent() {
            return None;
        }
        let direct = self.channels.get(channel);
        let (mut count, mut cores) =
            direct.map_or((0, CoreSet::default()), |homes| (homes.count(), homes.cores()));
        let mut matching = Vec::new();
        for (pattern, homes) in &self.patterns {
            if stringmatch(pattern, channel, false) {
                count += homes.count();
                cores.extend(homes.cores());
                matching.push(pattern.clone());
            }
        }
        if count == 0 {
            return None;
        }
        let to_channel = direct.is_some();
        let publication =
            Publication::new(Kind::Channel, (channel, to_channel), matching, payload, self.version);
        Some((count, cores, publication))
    }

    /// The same for a shard channel, to which no pattern applies.
    pub fn publish_shard(
        &self,
        channel: &[u8],
        payload: &[u8],
    ) -> Option<(u64, CoreSet, Publication)> {
        let homes = self.shards.get(channel)?;
        let publication =
            Publication::new(Kind::Shard, (channel, true), Vec::new(), payload, self.version);
        Some((homes.count(), homes.cores(), publication))
    }

    /// How many listen to a name, patterns aside.
    pub fn count(&self, kind: Kind, name: &[u8]) -> u64 {
        let homes = match kind {
            Kind::Channel => self.channels.get(name),
            Kind::Shard => self.shards.get(name),
            Kind::Pattern => self.patterns.get(name),
        };
        homes.map_or(0, Homes::count)
    }

    /// How many names of a kind somebody listens to.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.len(),
            Kind::Shard => self.shards.len(),
            Kind::Pattern => self.patterns.len(),
        }
    }

    /// True if nobody listens to anything.
    pub fn is_empty(&self) -> bool {
        self.is_silent() && self.shards.is_empty()
    }

    /// The names of a kind that match a pattern; all without one.
    pub fn names<'a>(
        &'a self,
        kind: Kind,
        pattern: Option<&'a [u8]>,
    ) -> Box<dyn Iterator<Item = &'a Name> + 'a> {
        let fits = move |name: &&Name| pattern.is_none_or(|one| stringmatch(one, name, false));
        match kind {
            Kind::Channel => Box::new(self.channels.keys().filter(fits)),
            Kind::Shard => Box::new(self.shards.keys().filter(fits)),
            Kind::Pattern => Box::new(self.patterns.keys().filter(fits)),
        }
    }
}

fn join(names: &mut Names, name: &Name, home: usize) {
    match names.get_mut(name) {
        Some(homes) => homes.add(home),
        None => {
            names.insert(Arc::clone(name), Homes::One { core: home as u16, count: 1 });
        }
    }
}

fn leave(names: &mut Names, name: &Name, home: usize) {
    let homes = names.get_mut(name).expect("who leaves has joined");
    if homes.remove(home) {
        names.remove(name);
    }
}
