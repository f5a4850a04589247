//! Sorted sets: a few members in a listpack, all others in a tree with a map.
//! Invariant: members ascend by score, then by bytes; no member is there twice; no score is NaN.
//! Changes convert a sorted set at the limits that they are given, and only towards the tree.
//! Source: OBJECT ENCODING and the zset-max-* directives.

pub mod algebra;
mod big;
mod packed;
mod range;
#[cfg(test)]
mod tests;

use super::WrongType;
use super::place::{Collection, Place};
use super::value::{Packing, Value, ValueRef};
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::encoding::bptree::{self, Probe};
use crate::encoding::listpack::{self, Element, INT_TEXT_MAX, Listpack};

pub use big::{Ahead, SortedSet};
pub use range::{LexBound, Range, ScoreBound};

/// When a sorted set changes its form.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most members of a listpack.
    pub entries: usize,
    /// Bytes of the longest member of a listpack.
    pub value: usize,
    /// What the members of a tree are hashed with.
    pub hash_key: HashKey,
}

/// A member with its score.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The member; out of a tree always a string.
    pub member: Element<'a>,
    /// The score.
    pub score: f64,
}

impl<'a> From<bptree::Element<'a>> for Pair<'a> {
    #[inline]
    fn from(element: bptree::Element<'a>) -> Self {
        Pair { member: Element::Str(element.member), score: element.score }
    }
}

/// A sorted set, to be read.
#[derive(Clone, Copy)]
pub enum ZSetRef<'a> {
    /// A listpack.
    Pack(Listpack<'a>),
    /// A tree.
    Tree(&'a SortedSet),
}

impl<'a> ZSetRef<'a> {
    /// The sorted set that a value is; an error at another type.
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Result<Self, WrongType> {
        match value {
            ValueRef::Packed(Packing::SortedSet, bytes) => Ok(ZSetRef::Pack(Listpack::new(bytes))),
            ValueRef::Boxed(Value::SortedSet(set)) => Ok(ZSetRef::Tree(set)),
            _ => Err(WrongType),
        }
    }

    /// Members.
    #[inline]
    pub fn len(self) -> u64 {
        match self {
            ZSetRef::Pack(pack) => pack.len() as u64 / 2,
            ZSetRef::Tree(set) => set.len(),
        }
    }

    /// True without members, as only a sorted set that has just been made or emptied is.
    #[inline]
    pub fn is_empty(self) -> bool {
        match self {
            ZSetRef::Pack(pack) => pack.is_empty(),
            ZSetRef::Tree(set) => set.is_empty(),
        }
    }

    /// The score of a member. O(1) in a tree, O(n) in a listpack.
    #[inline]
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            ZSetRef::Pack(pack) => packed::find(pack, member).map(|(_, score)| score),
            ZSetRef::Tree(set) => set.find(member).map(|found| found.score),
        }
    }

    /// The rank of a member, 0-based from the lowest score, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(u64, f64)> {
        match self {
            ZSetRef::Pack(pack) => packed::pairs(pack)
                .zip(0u64..)
                .find(|(pair, _)| pair.member.eq_bytes(member))
                .map(|(pair, rank)| (rank, pair.score)),
            ZSetRef::Tree(set) => set.rank(member),
        }
    }

    /// Shows the members from rank `from` to before rank `to`, from the highest on if `reverse`.
    /// Both lie within the sorted set.
    #[inline]
    pub fn visit(self, (from, to): (u64, u64), reverse: bool, mut show: impl FnMut(Pair<'a>)) {
        if from >= to {
            return;
        }
        match self {
            ZSetRef::Pack(pack) => packed::visit(pack, (from, to), reverse, show),
            ZSetRef::Tree(set) if reverse => {
                set.tree().range(from, to).rev().for_each(|element| show(element.into()));
            }
            ZSetRef::Tree(set) => {
                set.tree().visit(from, to, |element| show(element.into()));
            }
        }
    }

    /// Shows all members in order.
    #[inline]
    pub fn for_each(self, show: impl FnMut(Pair<'a>)) {
        self.visit((0, self.len()), false, show);
    }

    /// The ranks that a range covers, from the first to before the last. `reverse` tells from which
    /// end it is walked: that matters to a range of members where scores differ, of which a listpack
    /// gives what a stock server's gives, and a tree anything.
    pub fn ranks(self, range: &Range<'_>, reverse: bool) -> (u64, u64) {
        let (from, to) = match (self, range) {
            _ if range.is_empty() => (0, 0),
            (ZSetRef::Tree(set), Range::Score(min, max)) => (
                set.tree().count_before(|it: Probe<'_>| !min.is_below(it.score())),
                set.tree().count_before(|it: Probe<'_>| max.is_above(it.score())),
            ),
            // Where scores differ, what a stock server looks at first decides.
            (ZSetRef::Tree(set), Range::Lex(min, max))
                if set.tree().nth(0).is_none_or(|first| !max.is_above(first.member))
                    || self.at(self.len() - 1).is_none_or(|last| !is_below(min, last.member)) =>
            {
                (0, 0)
            }
            (ZSetRef::Tree(set), Range::Lex(min, max)) => (
                set.tree().count_before(|it: Probe<'_>| !min.is_below(it.member())),
                set.tree().count_before(|it: Probe<'_>| max.is_above(it.member())),
            ),
            (ZSetRef::Pack(pack), Range::Score(min, max)) => packed_ranks(
                pack,
                reverse,
                |it| min.is_below(it.score),
                |it| max.is_above(it.score),
            ),
            (ZSetRef::Pack(pack), Range::Lex(min, max)) => packed_ranks(
                pack,
                reverse,
                |it| min.is_below(it.member.to_bytes(&mut [0; INT_TEXT_MAX])),
                |it| max.is_above(it.member.to_bytes(&mut [0; INT_TEXT_MAX])),
            ),
        };
        if from < to { (from, to) } else { (0, 0) }
    }

    /// The part of a range of ranks that LIMIT leaves. Source: ZRANGEBYSCORE, where an offset that
    /// is negative counts from the other end of a tree, and is beyond the end of a listpack.
    pub fn limited(
        self,
        (from, to): (u64, u64),
        offset: i64,
        count: i64,
        reverse: bool,
    ) -> (u64, u64) {
        let len = to - from;
        // The members that are passed over, as seen from where the walk begins.
        let passed = match u64::try_from(offset) {
            Ok(offset) => offset,
            Err(_) if matches!(self, ZSetRef::Pack(_)) => return (0, 0),
            // The last one is -1.
            Err(_) if offset.unsigned_abs() > len => return (0, 0),
            Err(_) => len - offset.unsigned_abs(),
        };
        if passed >= len {
            return (0, 0);
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX).min(len - passed);
        if reverse {
            (to - passed - count, to - passed)
        } else {
            (from + passed, from + passed + count)
        }
    }

    /// The member of a rank, which is there.
    pub fn at(self, rank: u64) -> Option<Pair<'a>> {
        match self {
            ZSetRef::Pack(pack) => {
                pack.seek(2 * rank as i64).map(|pos| packed::pair_at(pack, pos).0)
            }
            ZSetRef::Tree(set) => set.tree().nth(rank).map(Pair::from),
        }
    }

    /// A member, each with the same probability. None without members.
    pub fn random(self, rng: &mut Rng) -> Option<Pair<'a>> {
        let len = self.len();
        if len == 0 { None } else { self.at(rng.below(len)) }
    }

    /// Shows `count` different members by chance, in order; all where there are no more. Source:
    /// Knuth, "Seminumerical Algorithms", 3.4.2, algorithm S for many; Floyd's for few.
    pub fn sample(self, count: u64, rng: &mut Rng, mut show: impl FnMut(Pair<'a>)) {
        let len = self.len();
        let (mut left, mut wanted) = (len, count.min(len));
        if matches!(self, ZSetRef::Pack(_)) || wanted.saturating_mul(FEW) > len {
            return self.for_each(|pair| {
                let chosen = wanted >= left || rng.below(left) < wanted;
                left -= 1;
                wanted -= u64::from(chosen);
                if chosen {
                    show(pair);
                }
            });
        }
        let mut ranks = std::collections::BTreeSet::new();
        for last in len - wanted..len {
            let rank = rng.below(last + 1);
            if !ranks.insert(rank) {
                ranks.insert(last);
            }
        }
        ranks.into_iter().filter_map(|rank| self.at(rank)).for_each(show);
    }

    /// One step of ZSCAN: gives about `count` members, all of a listpack. Returns the next cursor; 0
    /// begins and ends.
    pub fn scan(self, cursor: u64, count: u64, mut emit: impl FnMut(Pair<'_>)) -> u64 {
        match self {
            ZSetRef::Tree(set) => set.scan(cursor, count, |element| emit(element.into())),
            ZSetRef::Pack(pack) => {
                packed::pairs(pack).for_each(emit);
                0
            }
        }
    }
}

/// How ZADD treats a member.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddFlags {
    /// Only if it is not there.
    pub nx: bool,
    /// Only if it is there.
    pub xx: bool,
    /// One that is there only if its score grows.
    pub gt: bool,
    /// One that is there only if its score falls.
    pub lt: bool,
    /// Adds to the score.
    pub incr: bool,
}

/// What ZADD did with a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It is new.
    Added(f64),
    /// It has another score.
    Updated(f64),
    /// It had that score.
    Same(f64),
    /// The flags forbid it.
    Forbidden,
    /// The sum would be no number.
    NotANumber,
}

impl AddFlags {
    /// What becomes of a member with this score.
    #[inline]
    #[allow(clippy::float_cmp, reason = "a score is changed by the least difference")]
    fn apply(self, current: Option<f64>, score: f64) -> Change {
        let Some(current) = current else {
            return if self.xx { Change::Forbidden } else { Change::Added(score) };
        };
        if self.nx {
            return Change::Forbidden;
        }
        let score = if self.incr { current + score } else { score };
        if score.is_nan() {
            Change::NotANumber
        } else if self.lt && score >= current || self.gt && score <= current {
            Change::Forbidden
        } else if score == current {
            Change::Same(score)
        } else {
            Change::Updated(score)
        }
    }
}

impl Change {
    /// The score to be stored, if any.
    #[inline]
    fn stored(self) -> Option<f64> {
        match self {
            Change::Added(score) | Change::Updated(score) => Some(score),
            Change::Same(_) | Change::Forbidden | Change::NotANumber => None,
        }
    }
}

/// A sorted set, to be changed where it lies.
pub struct ZSetMut<'p, P: Place>(&'p mut P);

impl<'p, P: Place> ZSetMut<'p, P> {
    /// The sorted set in a place; an error at another type.
    #[inline]
    pub fn of(place: &'p mut P) -> Result<Self, WrongType> {
        ZSetRef::of(place.value())?;
        Ok(ZSetMut(place))
    }

    /// The sorted set, to be read.
    #[inline]
    pub fn view(&self) -> ZSetRef<'_> {
        ZSetRef::of(self.0.value()).unwrap_or_else(|WrongType| unreachable!("checked by `of`"))
    }

    /// So many members are about to be added, the first of which has this length if the sorted set
    /// is new: one that would pass its limits, if all are new, becomes a tree at once. Source: ZADD.
    #[inline]
    pub fn expect(&mut self, members: usize, first_len: usize, limits: &Limits) {
        if let ZSetRef::Pack(pack) = self.view()
            && (members > limits.entries || pack.is_empty() && first_len > limits.value)
        {
            self.make_tree(limits.hash_key);
        }
    }

    /// Adds a member or changes its score, as the flags say. `score` is not NaN.
    #[inline]
    pub fn add(&mut self, member: &[u8], score: f64, flags: AddFlags, limits: &Limits) -> Change {
        if let Some(Value::SortedSet(set)) = self.0.boxed_mut() {
            let mut change = Change::Forbidden;
            set.change(member, |current| {
                change = flags.apply(current, score);
                change.stored()
            });
            return change;
        }
        let ZSetRef::Pack(pack) = self.view() else { unreachable!("trees are boxed") };
        let found = packed::find(pack, member);
        let change = flags.apply(found.map(|(_, score)| score), score);
        match (change.stored(), found) {
            (None, _) => {}
            (Some(score), Some((pos, _))) => packed::update(self.0, pos, member, score),
            (Some(score), None) => {
                let fits = pack.len() / 2 < limits.entries
                    && member.len() <= limits.value
                    && listpack::may_grow(pack.bytes().len(), member.len());
                if fits {
                    packed::insert(self.0, member, score);
                } else {
                    self.make_tree(limits.hash_key).insert(member, score);
                }
            }
        }
        change
    }

    /// Removes a member; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        if let Some(Value::SortedSet(set)) = self.0.boxed_mut() {
            return set.remove(member);
        }
        let ZSetRef::Pack(pack) = self.view() else { unreachable!("trees are boxed") };
        let found = packed::find(pack, member);
        if let Some((pos, _)) = found {
            listpack::delete(self.0, pos, 2);
        }
        found.is_some()
    }

    /// Removes the members from rank `from` to before rank `to`, which lie within the sorted set.
    pub fn remove_range(&mut self, (from, to): (u64, u64)) {
        if from >= to {
            return;
        }
        match self.0.boxed_mut() {
            Some(Value::SortedSet(set)) => set.remove_range(from, to),
            _ => listpack::delete_range(self.0, 2 * from as i64, 2 * (to - from) as usize),
        }
    }

    /// Turns the sorted set into a tree.
    fn make_tree(&mut self, hash_key: HashKey) -> &mut SortedSet {
        let mut set = SortedSet::new(hash_key);
        self.view().for_each(|pair| {
            set.insert(pair.member.to_bytes(&mut [0; INT_TEXT_MAX]), pair.score);
        });
        self.0.put(Collection::Boxed(Box::new(Value::SortedSet(set))));
        match self.0.boxed_mut() {
            Some(Value::SortedSet(set)) => set,
            _ => unreachable!("it has just been put there"),
        }
    }
}

/// `ZSetRef::ranks` of a listpack, whose first and last members are looked at before all others.
fn packed_ranks(
    pack: Listpack<'_>,
    reverse: bool,
    is_above_min: impl Fn(&Pair<'_>) -> bool,
    is_below_max: impl Fn(&Pair<'_>) -> bool,
) -> (u64, u64) {
    let len = pack.len() / 2;
    let ends = pack
        .first()
        .zip(pack.seek(-2))
        .map(|(first, last)| (packed::pair_at(pack, first).0, packed::pair_at(pack, last).0));
    if ends.is_none_or(|(first, last)| !is_above_min(&last) || !is_below_max(&first)) {
        return (0, 0);
    }
    let (mut from, mut to) = (0, 0);
    if reverse {
        let mut inside = None;
        packed::visit(pack, (0, len as u64), true, |pair| match inside {
            None if !is_below_max(&pair) => to += 1,
            None | Some(true) => {
                inside = Some(is_above_min(&pair));
                from += u64::from(is_above_min(&pair));
            }
            Some(false) => {}
        });
        let to = len as u64 - to;
        return (to - from, to);
    }
    let mut inside = None;
    for pair in packed::pairs(pack) {
        match inside {
            None if !is_above_min(&pair) => (from, to) = (from + 1, to + 1),
            None | Some(true) if is_below_max(&pair) => {
                inside = Some(true);
                to += 1;
            }
            _ => break,
        }
    }
    (from, to)
}

fn is_below(min: &LexBound<'_>, member: Element<'_>) -> bool {
    min.is_below(member.to_bytes(&mut [0; INT_TEXT_MAX]))
}

/// Where fewer than one in so many is wanted, drawing ranks is faster than walking all.
const FEW: u64 = 16;
