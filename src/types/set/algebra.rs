//! Intersections, unions and differences of sets.
//! Invariant: nothing is copied to find a result; what is to be stored is collected by the caller.
//! Source: SINTER, SUNION, SDIFF and their STORE forms, which also fix the form of what is stored.

use super::{Limits, SetMut, SetRef};
use crate::encoding::dict::Dict;
use crate::encoding::intset::Seek;
use crate::encoding::listpack::Element;
use crate::types::{Collection, Packing, Value, WrongType};

/// Shows the members that all sets have in common, until `show` returns false. Sorts the sets.
/// O(members of the smallest * sets), where no other set is a listpack.
pub fn intersect<'a>(sets: &mut [SetRef<'a>], mut show: impl FnMut(Element<'a>) -> bool) {
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    if let SetRef::Ints(ints) = smallest {
        let mut probes: Vec<Probe<'_>> = others.iter().map(|set| Probe::of(*set)).collect();
        for value in ints.iter() {
            let everywhere = probes.iter_mut().all(|probe| probe.contains(value));
            if everywhere && !show(Element::Int(value)) {
                return;
            }
        }
        return;
    }
    smallest.visit(|member| !others.iter().all(|set| set.contains(member)) || show(member));
}

/// What the ascending members of an intset are looked up in.
enum Probe<'a> {
    Ints(Seek<'a>),
    Other(SetRef<'a>),
}

impl<'a> Probe<'a> {
    fn of(set: SetRef<'a>) -> Self {
        match set {
            SetRef::Ints(ints) => Probe::Ints(ints.seek()),
            other => Probe::Other(other),
        }
    }

    #[inline]
    fn contains(&mut self, value: i64) -> bool {
        match self {
            Probe::Ints(seek) => seek.contains(value),
            Probe::Other(set) => set.contains(Element::Int(value)),
        }
    }
}

/// The form in which an intersection is stored, to be kept by what it is.
pub struct Intersection {
    members: Collection,
    only_integers: bool,
}

impl Intersection {
    /// The members that all sets have in common. Sorts the sets.
    pub fn of(sets: &mut [SetRef<'_>], limits: &Limits) -> Self {
        sets.sort_by_key(|set| set.len());
        let packing = match sets.first() {
            Some(SetRef::Ints(_)) => Packing::IntSet,
            _ => Packing::Set,
        };
        let mut result = Intersection { members: Collection::empty(packing), only_integers: true };
        intersect(sets, |member| {
            result.only_integers = result.only_integers && member.to_int().is_some();
            changing(&mut result.members).add_new(member, limits);
            true
        });
        result
    }

    /// What is to be stored; integers alone are an intset again.
    pub fn finish(mut self, limits: &Limits) -> Collection {
        if self.only_integers {
            changing(&mut self.members).make_intset(limits);
        }
        self.members
    }
}

/// All members of all sets, in the form in which they are stored.
pub fn union(sets: &[SetRef<'_>], limits: &Limits) -> Collection {
    unite(sets, Collection::empty(Packing::IntSet), limits)
}

/// All members of all sets, for a reply: in a table, if not all of them are integers in intsets.
pub fn union_once(sets: &[SetRef<'_>], limits: &Limits) -> Collection {
    unite(sets, once(sets, limits), limits)
}

fn unite(sets: &[SetRef<'_>], mut result: Collection, limits: &Limits) -> Collection {
    let mut target = changing(&mut result);
    for set in sets {
        set.for_each(|member| {
            target.add(member, limits);
        });
    }
    result
}

/// Where the members of a result are collected that is not stored.
fn once(sets: &[SetRef<'_>], limits: &Limits) -> Collection {
    if sets.iter().all(|set| matches!(set, SetRef::Ints(_))) {
        Collection::empty(Packing::IntSet)
    } else {
        Collection::Boxed(Box::new(Value::Set(Dict::new(limits.hash_key))))
    }
}

/// How a difference is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each member of the first set is looked up in the others.
    LookUp,
    /// All members of the others are taken out of a copy of the first.
    TakeOut,
}

/// The cheaper way to subtract `others` from `first`. It may decide in which form the difference is
/// stored. Source: a stock server's estimate, in which missing sets cost nothing.
pub fn way(first: SetRef<'_>, others: &[SetRef<'_>]) -> Way {
    let len = |set: &SetRef<'_>| set.len() as u64;
    let look_up = len(&first).saturating_mul(others.len() as u64 + 1) / 2;
    let take_out = others.iter().map(len).fold(len(&first), u64::saturating_add);
    if look_up <= take_out { Way::LookUp } else { Way::TakeOut }
}

/// Shows the members of `first` that none of `others` has, by lookups. Sorts the others.
pub fn subtract<'a>(
    first: SetRef<'a>,
    others: &mut [SetRef<'_>],
    mut show: impl FnMut(Element<'a>),
) {
    // Large sets first: a member is most likely to be found there.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    first.for_each(|member| {
        if !others.iter().any(|set| set.contains(member)) {
            show(member);
        }
    });
}

/// The members of `first` that none of `others` has, in the form in which they are stored.
pub fn difference(first: SetRef<'_>, others: &mut [SetRef<'_>], limits: &Limits) -> Collection {
    let mut result = Collection::empty(Packing::IntSet);
    match way(first, others) {
        Way::LookUp => {
            let mut target = changing(&mut result);
            subtract(first, others, |member| target.add_new(member, limits));
            result
        }
        Way::TakeOut => take_out(first, others, result, limits),
    }
}

/// What is left of `first` without the members of `others`, for a reply.
pub fn difference_once(first: SetRef<'_>, others: &[SetRef<'_>], limits: &Limits) -> Collection {
    let start = once(&[&[first], others].concat(), limits);
    take_out(first, others, start, limits)
}

fn take_out(
    first: SetRef<'_>,
    others: &[SetRef<'_>],
    mut result: Collection,
    limits: &Limits,
) -> Collection {
    let mut target = changing(&mut result);
    first.for_each(|member| target.add_new(member, limits));
    for set in others {
        set.for_each(|member| {
            target.remove(member);
        });
        if target.view().is_empty() {
            break;
        }
    }
    result
}

/// A collection that this file has made, to be changed.
fn changing(collection: &mut Collection) -> SetMut<'_, Collection> {
    SetMut::of(collection).unwrap_or_else(|WrongType| unreachable!("it was made as a set"))
}
