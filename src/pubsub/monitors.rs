//! Who watches every command: the clients that have sent MONITOR.
//!
//! Invariant: how many live on which core is the same on every core after the same changes; who they
//! are is known at their home alone. Source: MONITOR of Redis 8.0.

use std::collections::BTreeMap;

use crate::base::core_set::CoreSet;

/// The clients that watch.
#[derive(Debug, Default)]
pub struct Monitors {
    homes: CoreSet,
    counts: BTreeMap<usize, usize>,
    /// Those of this core, by id, and their places.
    own: BTreeMap<u64, u32>,
}

impl Monitors {
    /// True if nobody watches.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.homes.is_empty()
    }

    /// The cores that somebody watches on.
    pub fn homes(&self) -> CoreSet {
        self.homes
    }

    /// A client of core `home` begins to watch; `own` is its id and place, if that is this core.
    pub fn join(&mut self, home: usize, own: Option<(u64, u32)>) {
        *self.counts.entry(home).or_insert(0) += 1;
        self.homes.insert(home);
        self.own.extend(own);
    }

    /// A client of core `home` watches no more.
    pub fn leave(&mut self, home: usize, id: u64) {
        self.own.remove(&id);
        if let Some(count) = self.counts.get_mut(&home) {
            *count -= 1;
        }
        self.counts.retain(|_, count| *count > 0);
        self.homes = CoreSet::default();
        self.counts.keys().for_each(|home| self.homes.insert(*home));
    }

    /// The clients of this core that watch, by id, and their places.
    pub fn own(&self) -> impl Iterator<Item = (u64, u32)> {
        self.own.iter().map(|(id, place)| (*id, *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_a_home_until_its_last_client_has_left() {
        let mut monitors = Monitors::default();
        monitors.join(2, None);
        monitors.join(0, Some((7, 1)));
        monitors.join(2, None);
        assert_eq!(monitors.homes().iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(monitors.own().collect::<Vec<_>>(), [(7, 1)]);
        monitors.leave(2, 8);
        monitors.leave(0, 7);
        assert_eq!(monitors.homes().iter().collect::<Vec<_>>(), [2]);
        monitors.leave(2, 9);
        assert!(monitors.is_empty() && monitors.own().next().is_none());
    }
}
