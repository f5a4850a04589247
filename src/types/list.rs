//! Lists: one listpack while they are small, a quicklist when they are large.
//!
//! Invariant: a list that a key has is not empty; which of the two forms it has, and where a
//! quicklist's nodes begin and end, is what a stock server would have after the same commands.
//! Source: OBJECT ENCODING, DEBUG OBJECT and DUMP of Redis 8.0.6.

mod item;
mod limits;
mod node;
mod quicklist;
mod sequence;
#[cfg(test)]
mod tests;

pub use item::{Item, OwnedItem};
pub use limits::Limits;
pub use node::Contents;
pub use quicklist::QuickList;

use super::place::{Collection, Place};
use super::value::{Packing, Value, ValueRef};
use super::{BigString, WrongType};
use crate::encoding::listpack::{self, Element, Listpack};

/// One end of a list, or the direction towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Index 0; LEFT.
    Head,
    /// Index -1; RIGHT.
    Tail,
}

impl End {
    /// The opposite end.
    fn other(self) -> Self {
        match self {
            Self::Head => Self::Tail,
            Self::Tail => Self::Head,
        }
    }
}

/// The side of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the head.
    Before,
    /// Towards the tail.
    After,
}

/// Goes on to the next element, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// There may be more of interest.
    On,
    /// Enough.
    Stop,
}

/// A list, to be read.
#[derive(Clone, Copy, Debug)]
pub enum ListRef<'a> {
    /// In one listpack.
    Packed(Listpack<'a>),
    /// In nodes.
    Quick(&'a QuickList),
}

impl<'a> ListRef<'a> {
    /// The list that a value is.
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Result<Self, WrongType> {
        match value {
            ValueRef::Packed(Packing::List, bytes) => Ok(Self::Packed(Listpack::new(bytes))),
            ValueRef::Boxed(Value::List(list)) => Ok(Self::Quick(list)),
            _ => Err(WrongType),
        }
    }

    /// Elements. Source: LLEN.
    #[inline]
    pub fn len(self) -> u64 {
        match self {
            Self::Packed(pack) => pack.len() as u64,
            Self::Quick(list) => list.len(),
        }
    }

    /// True without elements, which no list of a key is.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element at an end, whose nodes are never compressed.
    #[inline]
    pub fn at_end(self, end: End) -> Option<Item<'a>> {
        match self {
            Self::Packed(pack) => position_at(pack, end).map(|pos| pack.get(pos).into()),
            Self::Quick(list) => list.at_end(end),
        }
    }

    /// A copy of the element at an end, to be pushed elsewhere. As in Redis only what comes out of a
    /// quicklist arrives as an integer, which matters to the limits there.
    pub fn copy_of_end(self, end: End) -> Option<OwnedItem> {
        let item = self.at_end(end)?;
        Some(match (self, item) {
            (Self::Packed(_), Item::Int(_)) => OwnedItem::Str(item.to_vec()),
            _ => item.to_owned(),
        })
    }

    /// Shows the elements from `index` on in the direction of `end`; false if there is none.
    /// O(elements shown) and what it takes to find the first.
    #[inline]
    pub fn visit(self, index: u64, end: End, mut visitor: impl FnMut(Item<'_>) -> Walk) -> bool {
        match self {
            Self::Packed(pack) => {
                let Some(pos) = i64::try_from(index).ok().and_then(|index| pack.seek(index)) else {
                    return false;
                };
                visit_pack(pack, pos, end, &mut visitor);
                true
            }
            Self::Quick(list) => list.visit(index, end, visitor),
        }
    }
}

/// Position of the element at an end.
#[inline]
fn position_at(pack: Listpack<'_>, end: End) -> Option<usize> {
    match end {
        End::Head => pack.first(),
        End::Tail => pack.last(),
    }
}

/// Shows the elements of a listpack from `pos` on.
#[inline]
fn visit_pack(
    pack: Listpack<'_>,
    pos: usize,
    end: End,
    visitor: &mut impl FnMut(Item<'_>) -> Walk,
) -> Walk {
    match end {
        End::Tail => {
            for element in pack.iter_from(pos) {
                if visitor(element.into()) == Walk::Stop {
                    return Walk::Stop;
                }
            }
        }
        End::Head => {
            for element in pack.iter_to(pos).rev() {
                if visitor(element.into()) == Walk::Stop {
                    return Walk::Stop;
                }
            }
        }
    }
    Walk::On
}

/// What a change took out of a list, if it is too much to be freed at once.
pub type Removed = Option<Box<Value>>;

/// A list, to be changed. When a change has made it empty, the caller deletes its key.
pub struct ListMut<'p, P: Place> {
    place: &'p mut P,
    limits: Limits,
}

impl<'p, P: Place> ListMut<'p, P> {
    /// The list at a place.
    #[inline]
    pub fn of(place: &'p mut P, limits: Limits) -> Result<Self, WrongType> {
        ListRef::of(place.value())?;
        Ok(ListMut { place, limits })
    }

    /// The list, to be read.
    #[inline]
    pub fn view(&self) -> ListRef<'_> {
        ListRef::of(self.place.value()).expect("checked when it was borrowed")
    }

    /// Pushes items at an end, one after the other; returns how many elements there are then.
    /// O(items).
    #[inline]
    pub fn push<'v, I>(&mut self, end: End, items: I) -> u64
    where
        I: Iterator<Item = Item<'v>> + Clone,
    {
        if self.quick().is_none() {
            self.expect_more(items.clone());
        }
        let limits = self.limits;
        if let Some(list) = self.quick() {
            items.for_each(|item| list.push(end, item, limits));
            return list.len();
        }
        let elements = items.map(packed);
        match end {
            End::Tail => listpack::extend(self.place, elements),
            End::Head => listpack::extend_front(self.place, elements),
        }
        self.view().len()
    }

    /// Removes the element at an end. O(1).
    #[inline]
    pub fn drop_end(&mut self, end: End) {
        if let Some(list) = self.quick() {
            list.drop_end(end);
            self.expect_less();
            return;
        }
        if let Some(pos) = position_at(Listpack::new(self.place.bytes()), end) {
            listpack::delete(self.place, pos, 1);
        }
    }

    /// Moves the element at one end to another end. O(1). Source: LMOVE from a list to itself.
    pub fn rotate(&mut self, from: End, to: End) {
        let Some(moved) = self.view().copy_of_end(from) else { return };
        let limits = self.limits;
        if let Some(list) = self.quick() {
            // The form is decided on when both are done.
            list.drop_end(from);
            list.push(to, moved.item(), limits);
            self.expect_less();
        } else {
            self.drop_end(from);
            self.push(to, std::iter::once(moved.item()));
        }
    }

    /// Removes `count` elements from `index` on. O(nodes / 256), beside what lies in the two
    /// nodes at the borders.
    pub fn remove_range(&mut self, index: u64, count: u64) -> Removed {
        if count == 0 {
            return None;
        }
        if let Some(list) = self.quick() {
            let removed = list.remove_range(index, count);
            self.expect_less();
            return removed.map(|list| Box::new(Value::List(list)));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if let Ok(index) = i64::try_from(index) {
            listpack::delete_range(self.place, index, count);
        }
        None
    }

    /// Puts an item in the place of element `index`; false if there is none. Source: LSET.
    pub fn set(&mut self, index: u64, item: Item<'_>) -> bool {
        self.expect_more(std::iter::once(item));
        let limits = self.limits;
        if let Some(list) = self.quick() {
            let is_set = list.set(index, item, limits);
            if is_set {
                self.expect_less();
            }
            return is_set;
        }
        let pack = Listpack::new(self.place.bytes());
        let Some(pos) = i64::try_from(index).ok().and_then(|index| pack.seek(index)) else {
            return false;
        };
        listpack::replace(self.place, pos, packed(item));
        true
    }

    /// Inserts an item beside the first element that equals `pivot`; false if there is none.
    /// O(elements before it). Source: LINSERT.
    pub fn insert(&mut self, pivot: &[u8], side: Side, item: Item<'_>) -> bool {
        self.expect_more(std::iter::once(item));
        let limits = self.limits;
        if let Some(list) = self.quick() {
            return list.insert(pivot, side, item, limits);
        }
        let pack = Listpack::new(self.place.bytes());
        let Some(pos) = pack.find(pivot, listpack::HEADER, 0) else { return false };
        let pos = match side {
            Side::Before => pos,
            Side::After => pack.get_and_skip(pos).1,
        };
        listpack::insert(self.place, pos, [packed(item)]);
        true
    }

    /// Removes up to `limit` elements that equal `wanted`, going from the other end towards `end`;
    /// returns how many there were. O(elements). Source: LREM.
    pub fn remove_equal(&mut self, wanted: &[u8], limit: u64, end: End) -> u64 {
        if let Some(list) = self.quick() {
            let removed = list.remove_equal(wanted, limit, end);
            if removed > 0 {
                self.expect_less();
            }
            return removed;
        }
        let pack = Listpack::new(self.place.bytes());
        let found = equal_in_pack(pack, wanted, limit, end);
        listpack::delete_all(self.place, &found);
        found.len() as u64
    }

    /// The quicklist, if the list is one.
    #[inline]
    fn quick(&mut self) -> Option<&mut QuickList> {
        match self.place.boxed_mut() {
            Some(Value::List(list)) => Some(list),
            _ => None,
        }
    }

    /// Makes a listpack a quicklist where it would exceed the limits with `items`. As in Redis the
    /// strings alone are counted, whatever they take as elements, and integers are not.
    #[inline]
    fn expect_more<'v>(&mut self, items: impl Iterator<Item = Item<'v>>) {
        let ValueRef::Packed(_, bytes) = self.place.value() else { return };
        let pack = Listpack::new(bytes);
        let (mut added, mut count) = (0u64, 0u64);
        for item in items {
            let is_integer = matches!(item, Item::Int(_));
            added = added.saturating_add(if is_integer { 0 } else { item.len() });
            count += 1;
        }
        let bytes_then = added.saturating_add(bytes.len() as u64);
        let exceeds = self.limits.exceeded_by(bytes_then, || pack.len() as u64 + count);
        // What elements take beside their strings is not counted, so that a stock server's listpack
        // may hold any number of empty strings; here they have an end.
        if exceeds || bytes_then.saturating_add(2 * count) > PACKED_BYTES_MAX {
            let list = QuickList::from_pack(pack, self.limits);
            self.place.put(Collection::Boxed(Box::new(Value::List(list))));
        }
    }

    /// Makes a quicklist a listpack where it has become much smaller than the limits.
    #[inline]
    fn expect_less(&mut self) {
        let limits = self.limits;
        let Some(list) = self.quick() else { return };
        if let Some(pack) = list.take_pack(|bytes, elements| limits.is_small(bytes, elements)) {
            self.place.put(Collection::Packed(Packing::List, pack));
        }
    }
}

/// An item as an element; one that is too large for that has made its list a quicklist before.
#[inline]
fn packed(item: Item<'_>) -> Element<'_> {
    item.small().expect("several chunks are more than a listpack takes")
}

/// Positions of elements equal to `wanted`, in ascending order.
fn equal_in_pack(pack: Listpack<'_>, wanted: &[u8], limit: u64, end: End) -> Vec<usize> {
    let mut found = Vec::new();
    let mut pos = listpack::HEADER;
    match end {
        End::Tail => {
            while (found.len() as u64) < limit {
                let Some(at) = pack.find(wanted, pos, 0) else { break };
                found.push(at);
                pos = pack.get_and_skip(at).1;
            }
        }
        End::Head => {
            let mut elements = pack.iter();
            while (found.len() as u64) < limit {
                let Some(element) = elements.next_back() else { break };
                if element.eq_bytes(wanted) {
                    found.push(elements.back_position());
                }
            }
            found.reverse();
        }
    }
    found
}

/// A list built from elements that are known at once: a result to be stored, or a list of an old
/// file. The form is the one that a stock server decides on for a list that is complete.
pub fn collect<'v>(items: impl Iterator<Item = Item<'v>>, limits: Limits) -> Collection {
    let mut list = QuickList::new(limits);
    items.for_each(|item| list.push(End::Tail, item, limits));
    list.into_collection(limits)
}

/// Four times the largest node.
const PACKED_BYTES_MAX: u64 = 4 * 65536;
