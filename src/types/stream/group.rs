//! Consumer groups: how far each has read, its consumers, and what they have not acknowledged.
//! Invariant: the group's pending entries own the deliveries; a consumer's are the ids of those that
//! name it, no more and no fewer.
//! Source: XGROUP, XREADGROUP, XCLAIM and XACK of a stock server.

use std::sync::Arc;

use super::id::StreamId;
use super::ordered::Ordered;
use crate::base::time::Millis;

/// The groups of a stream, by name. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Groups(Vec<(Box<[u8]>, Arc<Group>)>);

impl Groups {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without a group.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| (**own).cmp(name))
    }

    /// The group with a name.
    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.find(name).ok().map(|at| &*self.0[at].1)
    }

    /// The group with a name, to be changed.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        let at = self.find(name).ok()?;
        Some(Arc::make_mut(&mut self.0[at].1))
    }

    /// Adds a group; false if there is one with this name.
    pub fn create(&mut self, name: &[u8], group: Group) -> bool {
        match self.find(name) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, (name.into(), Arc::new(group)));
                true
            }
        }
    }

    /// Takes a group out, to be freed.
    pub fn remove(&mut self, name: &[u8]) -> Option<Groups> {
        self.find(name).ok().map(|at| Groups(vec![self.0.remove(at)]))
    }

    /// The groups in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> + Clone {
        self.0.iter().map(|(name, group)| (&**name, &**group))
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        let group = |(name, group): &(Box<[u8]>, Arc<Group>)| {
            name.len() + size_of::<Group>() + group.bytes()
        };
        self.0.iter().map(group).sum::<usize>()
            + self.0.capacity() * size_of::<(Box<[u8]>, Arc<Group>)>()
    }

    /// Frees up to `units` leaves of pending entries; returns the units left.
    pub(super) fn free_slice(&mut self, units: usize) -> usize {
        let mut left = units;
        while left > 0
            && let Some((_, group)) = self.0.last_mut()
        {
            // What somebody else holds is not ours to free.
            left = match Arc::get_mut(group) {
                Some(group) => group.free_slice(left),
                None => left - 1,
            };
            if left > 0 {
                self.0.pop();
            }
        }
        left
    }
}

/// A consumer group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last id that was delivered.
    pub last_id: StreamId,
    /// Entries read, deleted ones included. None if that is not known.
    pub entries_read: Option<u64>,
    pending: Ordered<Nack>,
    consumers: Vec<Option<Consumer>>,
    /// The numbers of the consumers, in the order of their names.
    by_name: Vec<u32>,
    /// Numbers that are free.
    unused: Vec<u32>,
}

/// A delivery that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack {
    /// When the entry was delivered last.
    pub delivered: Millis,
    /// How often.
    pub count: u64,
    /// The number of the consumer that has it.
    pub consumer: u32,
}

/// A consumer of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it last tried to read or claim.
    pub seen: Millis,
    /// When it last got something. None if never.
    pub active: Option<Millis>,
    pending: Ordered<()>,
}

impl Consumer {
    /// Entries that it has not acknowledged.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The ids of these from `start` on.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.iter_from(start).map(|(id, ())| id)
    }
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// Deliveries that nobody acknowledged.
    pub fn pending(&self) -> &Ordered<Nack> {
        &self.pending
    }

    /// The first of these from `start` on.
    pub fn next_pending(&self, start: StreamId) -> Option<(StreamId, Nack)> {
        let (id, nack) = self.pending.at(self.pending.at_or_after(start)?);
        Some((id, *nack))
    }

    /// The first of these from `start` on that a consumer has.
    pub fn next_pending_of(&self, consumer: u32, start: StreamId) -> Option<(StreamId, Nack)> {
        let own = &self.consumer(consumer).pending;
        let (id, ()) = own.at(own.at_or_after(start)?);
        self.pending.get(id).map(|nack| (id, *nack))
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.by_name.iter().map(|number| self.consumer(*number))
    }

    /// The consumer with a number.
    pub fn consumer(&self, number: u32) -> &Consumer {
        self.consumers[number as usize].as_ref().expect("numbers of a group name its consumers")
    }

    /// The consumer with a number, to be changed.
    pub fn consumer_mut(&mut self, number: u32) -> &mut Consumer {
        self.consumers[number as usize].as_mut().expect("numbers of a group name its consumers")
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|number| (*self.consumer(*number).name).cmp(name))
    }

    /// The number of the consumer with a name.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.search(name).ok().map(|at| self.by_name[at])
    }

    /// Adds a consumer; None if there is one with this name.
    pub fn create(&mut self, name: &[u8], now: Millis) -> Option<u32> {
        let Err(at) = self.search(name) else { return None };
        let consumer =
            Consumer { name: name.into(), seen: now, active: None, pending: Ordered::default() };
        let number = self.unused.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            u32::try_from(self.consumers.len() - 1).expect("each consumer takes memory")
        });
        self.consumers[number as usize] = Some(consumer);
        self.by_name.insert(at, number);
        Some(number)
    }

    /// Removes a consumer with all that it has not acknowledged; tells how much that was. None if
    /// there is no such consumer.
    pub fn remove(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.search(name).ok()?;
        let number = self.by_name.remove(at);
        let consumer = self.consumers[number as usize].take()?;
        self.unused.push(number);
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Delivers an entry to a consumer for the first time, whoever had it before.
    pub fn deliver(&mut self, id: StreamId, consumer: u32, now: Millis) -> Nack {
        let nack = Nack { delivered: now, count: 1, consumer };
        self.put(id, nack);
        nack
    }

    /// Makes `nack` the delivery of an entry, whoever had it before.
    pub fn put(&mut self, id: StreamId, nack: Nack) {
        if self.pending.insert(id, nack) {
            self.consumer_mut(nack.consumer).pending.insert(id, ());
            return;
        }
        let Some(own) = self.pending.get_mut(id) else { return };
        let before = std::mem::replace(own, nack).consumer;
        if before != nack.consumer {
            self.consumer_mut(before).pending.remove(id);
            self.consumer_mut(nack.consumer).pending.insert(id, ());
        }
    }

    /// Delivers an entry that is pending once more.
    pub fn deliver_again(&mut self, id: StreamId, now: Millis) {
        if let Some(nack) = self.pending.get_mut(id) {
            nack.delivered = now;
            nack.count = nack.count.wrapping_add(1);
        }
    }

    /// Forgets a delivery; false if it was not pending.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(nack) = self.pending.remove(id) else { return false };
        self.consumer_mut(nack.consumer).pending.remove(id);
        true
    }

    /// Bytes allocated below the group itself.
    fn bytes(&self) -> usize {
        let consumer = |one: &Consumer| one.name.len() + one.pending.bytes();
        self.pending.bytes()
            + self.consumers.iter().flatten().map(consumer).sum::<usize>()
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + (self.by_name.capacity() + self.unused.capacity()) * size_of::<u32>()
    }

    fn free_slice(&mut self, units: usize) -> usize {
        let mut left = units;
        while left > 0 && self.pending.pop_leaf() {
            left -= 1;
        }
        while left > 0
            && let Some(consumer) = self.consumers.last_mut()
        {
            if consumer.as_mut().is_some_and(|consumer| consumer.pending.pop_leaf()) {
                left -= 1;
            } else {
                self.consumers.pop();
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Deliver(u64, u8),
        Again(u64),
        Acknowledge(u64),
        Create(u8),
        Remove(u8),
        Share,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u64..300, 0u8..5).prop_map(|(id, consumer)| Step::Deliver(id, consumer)),
            1 => (0u64..300).prop_map(Step::Again),
            3 => (0u64..300).prop_map(Step::Acknowledge),
            1 => (0u8..5).prop_map(Step::Create),
            1 => (0u8..5).prop_map(Step::Remove),
            1 => Just(Step::Share),
        ];
        prop::collection::vec(step, 0..300)
    }

    type Model = BTreeMap<StreamId, (u8, u64)>;

    fn check(group: &Group, model: &Model) {
        let own: Vec<_> = group
            .pending()
            .iter()
            .map(|(id, nack)| (id, (group.consumer(nack.consumer).name[0], nack.count)))
            .collect();
        assert!(own.iter().copied().eq(model.iter().map(|(id, nack)| (*id, *nack))));
        assert!(group.consumers().is_sorted_by_key(|consumer| &consumer.name));
        for consumer in group.consumers() {
            let expected = model.iter().filter(|(_, nack)| nack.0 == consumer.name[0]);
            assert!(consumer.pending_from(StreamId::MIN).eq(expected.map(|(id, _)| *id)));
        }
    }

    proptest! {
        #[test]
        fn the_group_and_its_consumers_agree(steps in steps()) {
            let mut group = Group::default();
            let mut model = Model::new();
            let mut shared = Vec::new();
            for step in steps {
                match step {
                    Step::Deliver(id, name) => {
                        let id = StreamId::new(id, 0);
                        let number = match group.find(&[name]) {
                            Some(number) => number,
                            None => group.create(&[name], Millis(0)).expect("it is not there"),
                        };
                        group.deliver(id, number, Millis(7));
                        model.insert(id, (name, 1));
                    }
                    Step::Again(id) => {
                        let id = StreamId::new(id, 0);
                        group.deliver_again(id, Millis(9));
                        model.entry(id).and_modify(|nack| nack.1 += 1);
                    }
                    Step::Acknowledge(id) => {
                        let id = StreamId::new(id, 0);
                        prop_assert_eq!(group.acknowledge(id), model.remove(&id).is_some());
                    }
                    Step::Create(name) => {
                        let is_new = group.find(&[name]).is_none();
                        prop_assert_eq!(group.create(&[name], Millis(0)).is_some(), is_new);
                    }
                    Step::Remove(name) => {
                        let is_there = group.find(&[name]).is_some();
                        let before = model.len();
                        model.retain(|_, nack| nack.0 != name);
                        let expected = is_there.then_some(before - model.len());
                        prop_assert_eq!(group.remove(&[name]), expected);
                    }
                    Step::Share => shared.push((group.clone(), model.clone())),
                }
            }
            shared.push((group, model));
            for (mut group, model) in shared {
                check(&group, &model);
                let mut slices = 0;
                while group.free_slice(1) == 0 {
                    slices += 1;
                    prop_assert!(slices < 1000);
                }
                prop_assert!(group.pending.is_empty() && group.consumers.is_empty());
            }
        }
    }
}
