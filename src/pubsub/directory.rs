//! How many clients listen to each name, by home core: the part of pub/sub that every core has.
//!
//! Invariant: changes are applied on every core in one order (the sequencer's), so after the same
//! number of them, the version, all directories are equal. What PUBLISH counts at a version is who
//! gets the message (`hearers`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::names::Names;
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

/// What is known of all subscriptions on every core.
#[derive(Debug)]
pub struct Directory {
    version: u64,
    channels: Names<Homes>,
    shards: Names<Homes>,
    /// In the order in which they are tried.
    patterns: BTreeMap<Name, Homes>,
}

impl Directory {
    /// An empty directory, which hashes names with this secret.
    pub fn new(secret: HashKey) -> Directory {
        Directory {
            version: 0,
            channels: Names::new(secret),
            shards: Names::new(secret),
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
    }

    /// The name as others share it; a copy if nobody listens to it.
    pub fn share(&self, kind: Kind, name: &[u8]) -> Name {
        let known = match kind {
            Kind::Channel => self.channels.name(name),
            Kind::Shard => self.shards.name(name),
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
            Kind::Channel => Box::new(self.channels.names().filter(fits)),
            Kind::Shard => Box::new(self.shards.names().filter(fits)),
            Kind::Pattern => Box::new(self.patterns.keys().filter(fits)),
        }
    }
}

fn join(names: &mut Names<Homes>, name: &Name, home: usize) {
    match names.get_mut(name) {
        Some(homes) => homes.add(home),
        None => {
            names.insert(Arc::clone(name), Homes::One { core: home as u16, count: 1 });
        }
    }
}

fn leave(names: &mut Names<Homes>, name: &Name, home: usize) {
    let homes = names.get_mut(name).expect("who leaves has joined");
    if homes.remove(home) {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: HashKey = HashKey { k0: 1, k1: 2 };

    fn change(home: usize, id: u64, joins: bool, kind: Kind, names: &[&str]) -> Change {
        let mut change = Change::new((home, id as u32, id), joins);
        change.names[kind as usize] = names.iter().map(|name| name.as_bytes().into()).collect();
        change
    }

    #[test]
    fn a_message_counts_channel_and_patterns_by_home() {
        let mut directory = Directory::new(SECRET);
        assert!(directory.publish(b"news", b"x").is_none());
        directory.apply(&change(0, 1, true, Kind::Channel, &["news", "other"]));
        directory.apply(&change(3, 2, true, Kind::Channel, &["news"]));
        directory.apply(&change(2, 3, true, Kind::Pattern, &["n*", "m*"]));
        directory.apply(&change(2, 3, true, Kind::Shard, &["news"]));
        let (count, cores, publication) = directory.publish(b"news", b"x").expect("receivers");
        assert_eq!((count, cores.iter().collect::<Vec<_>>()), (3, vec![0, 2, 3]));
        assert_eq!((publication.version, publication.patterns.len()), (4, 1));
        let (count, cores, _) = directory.publish_shard(b"news", b"x").expect("receivers");
        assert_eq!((count, cores.iter().collect::<Vec<_>>()), (1, vec![2]));
        directory.apply(&change(3, 2, false, Kind::Channel, &["news"]));
        let (count, cores, _) = directory.publish(b"news", b"x").expect("receivers");
        assert_eq!((count, cores.iter().collect::<Vec<_>>()), (2, vec![0, 2]));
        assert!(directory.publish(b"else", b"x").is_none());
        assert_eq!(directory.names(Kind::Channel, Some(b"o*")).count(), 1);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_list(steps in prop::collection::vec((0..5_usize, 0..6_usize), 0..80)) {
            let mut directory = Directory::new(SECRET);
            let mut model: Vec<(usize, String)> = Vec::new();
            for (home, number) in steps {
                let one = (home, format!("c{number}"));
                let names = [one.1.as_str()];
                if let Some(at) = model.iter().position(|known| *known == one) {
                    model.swap_remove(at);
                    directory.apply(&change(home, 1, false, Kind::Channel, &names));
                } else {
                    directory.apply(&change(home, 1, true, Kind::Channel, &names));
                    model.push(one.clone());
                }
                let of_name: Vec<usize> =
                    model.iter().filter(|known| known.1 == one.1).map(|known| known.0).collect();
                prop_assert_eq!(directory.count(Kind::Channel, one.1.as_bytes()), of_name.len() as u64);
                let published = directory.publish(one.1.as_bytes(), b"");
                let mut homes = of_name;
                homes.sort_unstable();
                let cores: Vec<usize> =
                    published.map(|(_, cores, _)| cores.iter().collect()).unwrap_or_default();
                prop_assert_eq!(homes, cores);
            }
        }
    }
}
