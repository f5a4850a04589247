//! Unions, intersections and differences of sorted sets and sets.
//! Invariant: the members of a result are borrowed from its inputs; only what is stored is copied.
//! Source: ZUNION, ZINTER, ZDIFF and their STORE forms, which also fix the order in which scores are
//! added and the form of what is stored.

use std::cmp::Ordering;

use super::{Limits, Pair, SortedSet, ZSetRef, packed};
use crate::encoding::listpack::{self, Element, INT_TEXT_MAX};
use crate::types::set::SetRef;
use crate::types::{Collection, Packing, Value, ValueRef, WrongType};

/// One input.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A sorted set.
    ZSet(ZSetRef<'a>),
    /// A set, whose members have the score 1.
    Set(SetRef<'a>),
}

impl<'a> Source<'a> {
    /// The sorted set or set that a value is; an error at another type.
    pub fn of(value: ValueRef<'a>) -> Result<Self, WrongType> {
        ZSetRef::of(value).map(Source::ZSet).or_else(|_| SetRef::of(value).map(Source::Set))
    }

    /// Members.
    pub fn len(self) -> u64 {
        match self {
            Source::ZSet(set) => set.len(),
            Source::Set(set) => set.len() as u64,
        }
    }

    /// True without members.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn score(self, member: Element<'_>) -> Option<f64> {
        match self {
            Source::ZSet(set) => set.score(member.to_bytes(&mut [0; INT_TEXT_MAX])),
            Source::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    fn for_each(self, mut show: impl FnMut(Pair<'a>)) {
        match self {
            Source::ZSet(set) => set.for_each(show),
            Source::Set(set) => set.for_each(|member| show(Pair { member, score: 1.0 })),
        }
    }
}

/// An input with its weight; None is a missing key.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The input.
    pub source: Option<Source<'a>>,
    /// What its scores are multiplied with.
    pub weight: f64,
    /// Which key it is: two inputs with the same number are the same key.
    pub key: usize,
}

impl Input<'_> {
    fn len(&self) -> u64 {
        self.source.map_or(0, Source::len)
    }
}

/// How the scores of a member are joined.
#[derive(Clone, Copy, Debug)]
pub enum Aggregate {
    /// The sum.
    Sum,
    /// The lowest.
    Min,
    /// The highest.
    Max,
}

impl Aggregate {
    /// The sum of infinities of both signs is 0.
    fn join(self, score: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => zero_if_nan(score + other),
            Aggregate::Min if other < score => other,
            Aggregate::Max if other > score => other,
            Aggregate::Min | Aggregate::Max => score,
        }
    }
}

/// Pairs in the order of a sorted set.
#[derive(Default)]
pub struct Pairs<'a>(Vec<Pair<'a>>);

impl<'a> Pairs<'a> {
    /// The pairs of some ranks.
    pub fn of_range(set: ZSetRef<'a>, ranks: (u64, u64)) -> Self {
        let mut pairs = Vec::new();
        set.visit(ranks, false, |pair| pairs.push(pair));
        Pairs(pairs)
    }

    /// All pairs.
    pub fn as_slice(&self) -> &[Pair<'a>] {
        &self.0
    }

    /// The sorted set of these pairs, to be stored.
    pub fn to_collection(&self, limits: &Limits) -> Collection {
        let (mut longest, mut total) = (0, 0usize);
        for pair in &self.0 {
            let len = pair.member.text_len();
            longest = longest.max(len);
            total = total.saturating_add(len);
        }
        let fits = self.0.len() <= limits.entries
            && longest <= limits.value
            && listpack::may_grow(listpack::EMPTY.len(), total);
        if fits {
            let mut pack = Packing::SortedSet.empty().to_vec();
            for pair in &self.0 {
                packed::append(&mut pack, canonical(pair.member), pair.score);
            }
            return Collection::Packed(Packing::SortedSet, pack);
        }
        let mut set = SortedSet::new(limits.hash_key);
        for pair in &self.0 {
            set.insert(pair.member.to_bytes(&mut [0; INT_TEXT_MAX]), pair.score);
        }
        Collection::Boxed(Box::new(Value::SortedSet(set)))
    }

    fn sorted(mut pairs: Vec<Pair<'a>>) -> Self {
        pairs.sort_unstable_by(|a, b| {
            let scores = a.score.partial_cmp(&b.score).expect("a score is a number");
            scores.then_with(|| compare_bytes(a.member, b.member))
        });
        Pairs(pairs)
    }
}

/// The members of any input. O(n log n) for n members of all inputs.
pub fn union<'a>(inputs: &mut [Input<'a>], aggregate: Aggregate) -> Pairs<'a> {
    inputs.sort_by_key(Input::len);
    let mut all: Vec<Pair<'a>> = Vec::new();
    for input in inputs {
        let Some(source) = input.source else { continue };
        source.for_each(|pair| {
            let score = zero_if_nan(input.weight * pair.score);
            all.push(Pair { member: canonical(pair.member), score });
        });
    }
    // The scores of a member stay in the order of their inputs, in which they are added up.
    all.sort_by(|a, b| compare(a.member, b.member));
    all.dedup_by(|later, first| {
        let same = compare(first.member, later.member) == Ordering::Equal;
        if same {
            first.score = aggregate.join(first.score, later.score);
        }
        same
    });
    Pairs::sorted(all)
}

/// The members that all inputs have in common. O(members of the smallest * inputs).
pub fn intersection<'a>(inputs: &mut [Input<'a>], aggregate: Aggregate) -> Pairs<'a> {
    let mut common = Vec::new();
    intersect(inputs, |first, others, pair| {
        let mut score = zero_if_nan(first.weight * pair.score);
        for input in others {
            let own =
                if input.key == first.key { Some(pair.score) } else { find(input, pair.member) };
            let Some(own) = own else { return true };
            score = aggregate.join(score, own * input.weight);
        }
        common.push(Pair { member: pair.member, score });
        true
    });
    Pairs::sorted(common)
}

/// How many members all inputs have in common, up to `limit`; 0 is no limit.
pub fn intersection_count(inputs: &mut [Input<'_>], limit: u64) -> u64 {
    let mut count = 0;
    intersect(inputs, |first, others, pair| {
        let is_in =
            |input: &Input<'_>| input.key == first.key || find(input, pair.member).is_some();
        count += u64::from(others.iter().all(is_in));
        count != limit || limit == 0
    });
    count
}

/// The members of the first input that no other has.
pub fn difference<'a>(inputs: &[Input<'a>]) -> Pairs<'a> {
    let mut left = Vec::new();
    if let Some((Input { source: Some(source), key, .. }, others)) = inputs.split_first()
        && others.iter().all(|other| other.key != *key)
    {
        source.for_each(|pair| {
            if others.iter().all(|other| find(other, pair.member).is_none()) {
                left.push(pair);
            }
        });
    }
    Pairs::sorted(left)
}

/// Shows every member of the smallest input, with that and the others, until `show` returns false.
/// Nothing if any input is empty.
fn intersect<'a>(
    inputs: &mut [Input<'a>],
    mut show: impl FnMut(&Input<'a>, &[Input<'a>], Pair<'a>) -> bool,
) {
    inputs.sort_by_key(Input::len);
    let Some((first, others)) = inputs.split_first() else { return };
    match first.source {
        None => {}
        Some(Source::Set(set)) => {
            set.visit(|member| show(first, others, Pair { member, score: 1.0 }));
        }
        Some(Source::ZSet(ZSetRef::Pack(pack))) => {
            let _ = packed::pairs(pack).all(|pair| show(first, others, pair));
        }
        Some(Source::ZSet(ZSetRef::Tree(set))) => {
            let _ = set.tree().elements().all(|element| show(first, others, element.into()));
        }
    }
}

fn find(input: &Input<'_>, member: Element<'_>) -> Option<f64> {
    input.source?.score(member)
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A member that spells an integer as that integer.
fn canonical(member: Element<'_>) -> Element<'_> {
    match member {
        Element::Str(bytes) => Element::of(bytes),
        Element::Int(_) => member,
    }
}

/// Any order of canonical members in which only equal ones are equal.
fn compare(a: Element<'_>, b: Element<'_>) -> Ordering {
    match (a, b) {
        (Element::Int(a), Element::Int(b)) => a.cmp(&b),
        (Element::Str(a), Element::Str(b)) => a.cmp(b),
        (Element::Int(_), Element::Str(_)) => Ordering::Less,
        (Element::Str(_), Element::Int(_)) => Ordering::Greater,
    }
}

/// The order of a sorted set's members.
fn compare_bytes(a: Element<'_>, b: Element<'_>) -> Ordering {
    match (a, b) {
        (Element::Str(a), Element::Str(b)) => a.cmp(b),
        _ => a.to_bytes(&mut [0; INT_TEXT_MAX]).cmp(b.to_bytes(&mut [0; INT_TEXT_MAX])),
    }
}
