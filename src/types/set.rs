//! Sets: integers in an intset, a few members in a listpack, all others in a table.
//! Invariant: no member is there twice. Changes convert a set at the limits that they are given, and
//! only towards the table. A member is an `Element`; as an argument and out of a table it may also be
//! a string that spells an integer.
//! Source: OBJECT ENCODING and the set-max-* directives.

pub mod algebra;
#[cfg(test)]
mod tests;

use super::WrongType;
use super::place::{Collection, Place};
use super::value::{Packing, Value, ValueRef};
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::encoding::dict::Dict;
use crate::encoding::intset::{self, IntSet};
use crate::encoding::listpack::{self, Element, INT_TEXT_MAX, Listpack};

/// When a set changes its form.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most members of an intset.
    pub intset_entries: usize,
    /// The most members of a listpack.
    pub listpack_entries: usize,
    /// Bytes of the longest member of a listpack.
    pub listpack_value: usize,
    /// What the members of a table are hashed with.
    pub hash_key: HashKey,
}

impl Limits {
    /// How a set of `members` members begins, the first of which is `first`.
    #[inline]
    pub fn packing(&self, first: Element<'_>, members: usize) -> Packing {
        if members <= self.intset_entries && first.to_int().is_some() {
            Packing::IntSet
        } else {
            Packing::Set
        }
    }
}

/// A set, to be read.
#[derive(Clone, Copy)]
pub enum SetRef<'a> {
    /// An intset.
    Ints(IntSet<'a>),
    /// A listpack.
    Pack(Listpack<'a>),
    /// A table.
    Table(&'a Dict),
}

impl<'a> SetRef<'a> {
    /// The set that a value is; an error at another type.
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Result<Self, WrongType> {
        match value {
            ValueRef::Packed(Packing::IntSet, bytes) => Ok(SetRef::Ints(IntSet::of(bytes))),
            ValueRef::Packed(Packing::Set, bytes) => Ok(SetRef::Pack(Listpack::new(bytes))),
            ValueRef::Boxed(Value::Set(dict)) => Ok(SetRef::Table(dict)),
            _ => Err(WrongType),
        }
    }

    /// Members.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            SetRef::Ints(set) => set.len(),
            SetRef::Pack(pack) => pack.len(),
            SetRef::Table(dict) => dict.len(),
        }
    }

    /// True without members, as only a set that has just been made or emptied is.
    #[inline]
    pub fn is_empty(self) -> bool {
        match self {
            SetRef::Ints(set) => set.is_empty(),
            SetRef::Pack(pack) => pack.is_empty(),
            SetRef::Table(dict) => dict.len() == 0,
        }
    }

    /// True if `member` is there. O(1) in a table, O(log n) in an intset, O(n) in a listpack.
    #[inline]
    pub fn contains(self, member: Element<'_>) -> bool {
        match self {
            SetRef::Ints(set) => member.to_int().is_some_and(|value| set.contains(value)),
            SetRef::Pack(pack) => position(pack, member).is_some(),
            SetRef::Table(dict) => dict.contains(member.to_bytes(&mut [0; INT_TEXT_MAX])),
        }
    }

    /// Shows the members until `show` returns false; in no order that means anything but in an intset,
    /// where they ascend.
    #[inline]
    pub fn visit(self, mut show: impl FnMut(Element<'a>) -> bool) {
        // One loop for each form, so that none asks for it again with each member.
        match self {
            SetRef::Ints(set) => drop(set.iter().all(|value| show(Element::Int(value)))),
            SetRef::Pack(pack) => drop(pack.iter().all(show)),
            SetRef::Table(dict) => drop(dict.iter().all(|one| show(Element::Str(one.field)))),
        }
    }

    /// Shows all members, in the same order as `visit`.
    #[inline]
    pub fn for_each(self, mut show: impl FnMut(Element<'a>)) {
        self.visit(|member| {
            show(member);
            true
        });
    }

    /// A member, each with the same probability. None without members.
    pub fn random(self, rng: &mut Rng) -> Option<Element<'a>> {
        match self {
            SetRef::Ints(set) => set.random(rng.next_u64()).map(Element::Int),
            SetRef::Pack(pack) if pack.is_empty() => None,
            SetRef::Pack(pack) => pack.at(rng.below(pack.len() as u64) as i64),
            SetRef::Table(dict) => dict.random(rng).map(|one| Element::Str(one.field)),
        }
    }

    /// Gives `count` different members by chance; all, where there are no more.
    pub fn sample(self, count: usize, rng: &mut Rng, mut emit: impl FnMut(Element<'a>)) {
        match self {
            SetRef::Table(dict) => {
                dict.sample(count, rng).iter().for_each(|one| emit(Element::Str(one.field)));
            }
            packed => choose(packed, count, rng, |member, chosen| {
                if chosen {
                    emit(member);
                }
            }),
        }
    }

    /// One step of SSCAN: gives at least `count` members where there are so many near; all of a set
    /// that is no table. Returns the next cursor; 0 begins and ends.
    pub fn scan(self, cursor: u64, count: usize, mut emit: impl FnMut(Element<'_>)) -> u64 {
        match self {
            SetRef::Table(dict) => dict.scan(cursor, count, |one| emit(Element::Str(one.field))),
            packed => {
                packed.for_each(emit);
                0
            }
        }
    }
}

/// A set, to be changed where it lies.
pub struct SetMut<'p, P: Place>(&'p mut P);

impl<'p, P: Place> SetMut<'p, P> {
    /// The set in a place; an error at another type.
    #[inline]
    pub fn of(place: &'p mut P) -> Result<Self, WrongType> {
        SetRef::of(place.value())?;
        Ok(SetMut(place))
    }

    /// The set, to be read.
    #[inline]
    pub fn view(&self) -> SetRef<'_> {
        SetRef::of(self.0.value()).unwrap_or_else(|WrongType| unreachable!("checked by `of`"))
    }

    /// So many members are about to be added: a set that would pass its limit, if all are new, becomes
    /// a table at once. Source: SADD.
    #[inline]
    pub fn expect(&mut self, members: usize, limits: &Limits) {
        let limit = match self.view() {
            SetRef::Ints(_) => limits.intset_entries,
            SetRef::Pack(_) => limits.listpack_entries,
            SetRef::Table(_) => return,
        };
        if members > limit {
            self.make_table(limits.hash_key);
        }
    }

    /// Adds a member; false if it was there.
    #[inline]
    pub fn add(&mut self, member: Element<'_>, limits: &Limits) -> bool {
        if let Some(Value::Set(dict)) = self.0.boxed_mut() {
            return dict.insert_if_absent(member.to_bytes(&mut [0; INT_TEXT_MAX]), &[]);
        }
        match (self.view(), member.to_int()) {
            (SetRef::Ints(_), Some(value)) => {
                let added = intset::add(self.0, value);
                if added && IntSet::of(self.0.bytes()).len() > intset_max(limits) {
                    self.make_table(limits.hash_key);
                }
                added
            }
            (SetRef::Ints(set), None) => {
                if holds_strings(set, member, limits) {
                    self.make_listpack();
                } else {
                    self.make_table(limits.hash_key);
                }
                self.add_new(member, limits);
                true
            }
            (SetRef::Pack(pack), _) => {
                let is_new = position(pack, member).is_none();
                if is_new {
                    self.add_new(member, limits);
                }
                is_new
            }
            (SetRef::Table(_), _) => unreachable!("tables are boxed"),
        }
    }

    /// Adds a member that is known not to be there.
    pub fn add_new(&mut self, member: Element<'_>, limits: &Limits) {
        if let SetRef::Pack(pack) = self.view() {
            let len = member.text_len();
            let fits = pack.len() < limits.listpack_entries
                && len <= limits.listpack_value
                && listpack::may_grow(pack.bytes().len(), len);
            if fits {
                return listpack::append(self.0, [canonical(member)]);
            }
            self.make_table(limits.hash_key);
        }
        self.add(member, limits);
    }

    /// Removes a member; false if it was not there. The set keeps its form.
    #[inline]
    pub fn remove(&mut self, member: Element<'_>) -> bool {
        if let Some(Value::Set(dict)) = self.0.boxed_mut() {
            return dict.remove(member.to_bytes(&mut [0; INT_TEXT_MAX]));
        }
        match self.view() {
            SetRef::Ints(_) => member.to_int().is_some_and(|value| intset::remove(self.0, value)),
            SetRef::Pack(pack) => {
                let found = position(pack, member);
                if let Some(at) = found {
                    listpack::delete(self.0, at, 1);
                }
                found.is_some()
            }
            SetRef::Table(_) => unreachable!("tables are boxed"),
        }
    }

    /// Removes a member, each with the same probability, and shows it. Nothing without members.
    pub fn pop(&mut self, rng: &mut Rng, take: impl FnOnce(Element<'_>)) {
        if let Some(Value::Set(dict)) = self.0.boxed_mut() {
            if let Some(member) = dict.pop_random(rng) {
                take(Element::Str(&member));
            }
            return;
        }
        let view = self.view();
        if view.is_empty() {
            return;
        }
        let index = rng.below(view.len() as u64);
        match view {
            SetRef::Ints(set) => {
                take(Element::Int(set.get(index as usize)));
                intset::remove_at(self.0, index as usize);
            }
            SetRef::Pack(pack) => {
                if let Some(at) = pack.seek(index as i64) {
                    take(pack.get(at));
                    listpack::delete(self.0, at, 1);
                }
            }
            SetRef::Table(_) => unreachable!("tables are boxed"),
        }
    }

    /// Removes `count` members by chance, fewer than there are, and shows them. Where few are left
    /// they are put into a new set, which may have another form; a table that they came from is
    /// returned, to be freed. Source: SPOP with a count.
    pub fn pop_many(
        &mut self,
        count: usize,
        limits: &Limits,
        rng: &mut Rng,
        mut take: impl FnMut(Element<'_>),
    ) -> Option<Box<Value>> {
        let len = self.view().len();
        assert!(count < len, "taking all is deleting the key");
        let few_left = (len - count).saturating_mul(FEW) <= count;
        if let Some(Value::Set(dict)) = self.0.boxed_mut() {
            if !few_left {
                for _ in 0..count {
                    self.pop(rng, &mut take);
                }
                return None;
            }
            let mut old = std::mem::replace(dict, Dict::new(limits.hash_key));
            let mut left = Collection::empty(Packing::Set);
            while let Some(member) = (old.len() > count).then(|| old.pop_random(rng)).flatten() {
                SetMut(&mut left).add_new(Element::Str(&member), limits);
            }
            old.iter().for_each(|one| take(Element::Str(one.field)));
            self.0.put(left);
            return Some(Box::new(Value::Set(old)));
        }
        let mut left = Collection::empty(match self.view() {
            SetRef::Ints(_) => Packing::IntSet,
            _ => Packing::Set,
        });
        choose(self.view(), count, rng, |member, chosen| {
            if chosen {
                take(member);
            } else if few_left {
                SetMut(&mut left).add_new(member, limits);
            } else {
                SetMut(&mut left).append(member);
            }
        });
        self.0.put(left);
        None
    }

    /// Adds a member that is known not to be there to a packed set, whatever its limits.
    fn append(&mut self, member: Element<'_>) {
        match (self.view(), member) {
            (SetRef::Ints(_), Element::Int(value)) => drop(intset::add(self.0, value)),
            _ => listpack::append(self.0, [member]),
        }
    }

    /// Makes a set of integers an intset, if it is no longer than one may be. Every member spells an
    /// integer. Source: SINTERSTORE.
    pub fn make_intset(&mut self, limits: &Limits) {
        let view = self.view();
        if matches!(view, SetRef::Ints(_)) || view.len() > intset_max(limits) {
            return;
        }
        let mut ints = Packing::IntSet.empty().to_vec();
        view.for_each(|member| {
            let value = member.to_int().expect("every member spells an integer");
            intset::add(&mut ints, value);
        });
        self.0.put(Collection::Packed(Packing::IntSet, ints));
    }

    /// Turns the set into a listpack.
    fn make_listpack(&mut self) {
        let mut pack = Packing::Set.empty().to_vec();
        self.view().for_each(|member| listpack::append(&mut pack, [member]));
        self.0.put(Collection::Packed(Packing::Set, pack));
    }

    /// Turns the set into a table.
    fn make_table(&mut self, hash_key: HashKey) {
        let mut dict = Dict::new(hash_key);
        self.view().for_each(|member| {
            dict.insert_if_absent(member.to_bytes(&mut [0; INT_TEXT_MAX]), &[]);
        });
        self.0.put(Collection::Boxed(Box::new(Value::Set(dict))));
    }
}

/// True if a listpack may hold the integers and one string more. Source: a stock server looks only at
/// the extremes, as no integer between them is longer.
fn holds_strings(set: IntSet<'_>, member: Element<'_>, limits: &Limits) -> bool {
    let extremes = || [set.min(), set.max()].into_iter().flatten().map(Element::Int);
    let text_len = extremes().map(Element::text_len).max().unwrap_or(0);
    let size = extremes().map(Element::size).max().unwrap_or(0);
    let len = member.text_len();
    set.len() < limits.listpack_entries
        && len.max(text_len) <= limits.listpack_value
        && listpack::may_grow(size.saturating_mul(set.len()), len)
}

/// Shows every member with whether it is one of `count` that chance chose, each choice with the same
/// probability. Source: Knuth, "Seminumerical Algorithms", 3.4.2, algorithm S.
fn choose<'a>(
    set: SetRef<'a>,
    count: usize,
    rng: &mut Rng,
    mut show: impl FnMut(Element<'a>, bool),
) {
    let (mut left, mut wanted) = (set.len() as u64, count as u64);
    set.for_each(|member| {
        let chosen = wanted >= left || rng.below(left) < wanted;
        left -= 1;
        wanted -= u64::from(chosen);
        show(member, chosen);
    });
}

/// Where a member is in a listpack.
#[inline]
fn position(pack: Listpack<'_>, member: Element<'_>) -> Option<usize> {
    let member = canonical(member);
    let mut members = pack.iter();
    loop {
        let at = members.position();
        if members.next()? == member {
            return Some(at);
        }
    }
}

/// A member as a listpack holds it: an integer, if it spells one.
#[inline]
fn canonical(member: Element<'_>) -> Element<'_> {
    match member {
        Element::Str(bytes) => Element::of(bytes),
        Element::Int(_) => member,
    }
}

fn intset_max(limits: &Limits) -> usize {
    limits.intset_entries.min(intset::MEMBERS_MAX)
}

/// Where fewer than one in so many is left behind, moving those is faster than drawing the others.
const FEW: usize = 5;
