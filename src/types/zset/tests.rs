//! Sorted sets against a map from members to scores.

#![allow(clippy::float_cmp, reason = "scores are given back as they are")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::algebra::{
    Aggregate, Input, Source, difference, intersection, intersection_count, union,
};
use super::*;
use crate::encoding::run::Run;

const HASH_KEY: HashKey = HashKey { k0: 7, k1: 9 };
/// Small, so that both forms are met.
const LIMITS: Limits = Limits { entries: 8, value: 10, hash_key: HASH_KEY };

type Model = BTreeMap<Vec<u8>, f64>;

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>, f64, AddFlags),
    Many(u32, f64),
    Remove(Vec<u8>),
    RemoveRange(u64, u64),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u32..40).prop_map(|number| number.to_string().into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (0u32..4).prop_map(|number| format!("a longer one {number}").into_bytes()),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-4i32..5).prop_map(f64::from),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(0.1),
        1 => Just(1e300),
        1 => -1e3..1e3,
    ]
}

fn flags() -> impl Strategy<Value = AddFlags> {
    (0u8..32).prop_map(|bits| AddFlags {
        nx: bits & 1 != 0,
        xx: bits & 2 != 0,
        gt: bits & 4 != 0,
        lt: bits & 8 != 0,
        incr: bits & 16 != 0,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (member(), score()).prop_map(|(member, score)| {
            Step::Add(member, score, AddFlags::default())
        }),
        4 => (member(), score(), flags()).prop_map(|(m, s, flags)| Step::Add(m, s, flags)),
        1 => (0u32..300, score()).prop_map(|(count, score)| Step::Many(count, score)),
        3 => member().prop_map(Step::Remove),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(from, to)| Step::RemoveRange(from, to)),
    ]
}

/// What ZADD does, by its documentation.
fn add_to(model: &mut Model, member: &[u8], score: f64, flags: AddFlags) {
    let Some(current) = model.get(member).copied() else {
        if !flags.xx {
            model.insert(member.to_vec(), score);
        }
        return;
    };
    let score = if flags.incr { current + score } else { score };
    let forbidden = flags.nx || flags.gt && score <= current || flags.lt && score >= current;
    if !forbidden && !score.is_nan() && score != current {
        model.insert(member.to_vec(), score);
    }
}

fn sorted(model: &Model) -> Vec<(f64, Vec<u8>)> {
    let mut pairs: Vec<_> = model.iter().map(|(member, score)| (*score, member.clone())).collect();
    pairs.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap().then_with(|| a.1.cmp(&b.1)));
    pairs
}

fn pairs_of(set: ZSetRef<'_>, ranks: (u64, u64), reverse: bool) -> Vec<(f64, Vec<u8>)> {
    let mut pairs = Vec::new();
    set.visit(ranks, reverse, |pair| pairs.push((pair.score, pair.member.to_vec())));
    pairs
}

fn apply(place: &mut Collection, model: &mut Model, step: Step) {
    let mut set = ZSetMut::of(place).unwrap();
    match step {
        Step::Add(member, score, flags) => {
            let change = set.add(&member, score, flags, &LIMITS);
            let before = model.get(&member).copied();
            add_to(model, &member, score, flags);
            let after = model.get(&member).copied();
            match change {
                Change::Added(score) => assert_eq!((before, after), (None, Some(score))),
                Change::Updated(score) => {
                    assert!(before.is_some_and(|before| before != score));
                    assert_eq!(after, Some(score));
                }
                Change::Same(_) | Change::Forbidden | Change::NotANumber => {
                    assert_eq!(before, after);
                }
            }
        }
        Step::Many(count, score) => {
            for number in 0..count {
                let member = (number * 7 % 500).to_string().into_bytes();
                let score = score + f64::from(number % 3);
                set.add(&member, score, AddFlags::default(), &LIMITS);
                add_to(model, &member, score, AddFlags::default());
            }
        }
        Step::Remove(member) => {
            assert_eq!(set.remove(&member), model.remove(&member).is_some());
        }
        Step::RemoveRange(from, to) => {
            let len = model.len() as u64;
            let from = from % (len + 1);
            let to = from + to % (len - from + 1);
            set.remove_range((from, to));
            for (_, member) in &sorted(model)[from as usize..to as usize] {
                model.remove(member);
            }
        }
    }
}

fn check(set: ZSetRef<'_>, model: &Model) {
    let expected = sorted(model);
    let len = expected.len() as u64;
    assert_eq!(set.len(), len);
    assert_eq!(set.is_empty(), expected.is_empty());
    assert_eq!(pairs_of(set, (0, len), false), expected);
    assert!(pairs_of(set, (0, len), true).iter().eq(expected.iter().rev()));
    for (rank, (score, member)) in expected.iter().enumerate() {
        assert_eq!(set.score(member), Some(*score));
        assert_eq!(set.rank(member), Some((rank as u64, *score)));
        assert_eq!(set.at(rank as u64).map(|pair| pair.member.to_vec()), Some(member.clone()));
    }
    assert_eq!(set.score(b"nobody"), None);
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, 10, |pair| {
            assert!(scanned.insert(pair.member.to_vec(), pair.score).is_none());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(&scanned, model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map(steps in prop::collection::vec(step(), 0..60)) {
        let mut place = Collection::empty(Packing::SortedSet);
        let mut model = Model::new();
        let mut clones = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            apply(&mut place, &mut model, step);
            if number % 20 == 7 {
                clones.push((place.clone(), model.clone()));
            }
        }
        check(ZSetRef::of(place.value()).unwrap(), &model);
        for (clone, model) in &clones {
            check(ZSetRef::of(clone.value()).unwrap(), model);
        }
    }

    #[test]
    fn ranges_hold_what_lies_between_their_bounds(
        steps in prop::collection::vec(step(), 0..20),
        (min, max) in (score(), score()),
        exclusive: (bool, bool),
        lex in (member(), member()),
        (offset, count) in (-5i64..20, -2i64..20),
    ) {
        let mut place = Collection::empty(Packing::SortedSet);
        let mut model = Model::new();
        steps.into_iter().for_each(|step| apply(&mut place, &mut model, step));
        let set = ZSetRef::of(place.value()).unwrap();
        let (min, max) = (
            ScoreBound { score: min, exclusive: exclusive.0 },
            ScoreBound { score: max, exclusive: exclusive.1 },
        );
        for reverse in [false, true] {
            let ranks = set.ranks(&Range::Score(min, max), reverse);
            let mut expected = sorted(&model);
            expected.retain(|(score, _)| min.is_below(*score) && max.is_above(*score));
            prop_assert_eq!(pairs_of(set, ranks, false), expected.clone());
            if reverse {
                expected.reverse();
            }
            if let Ok(offset) = usize::try_from(offset) {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let expected: Vec<_> = expected.into_iter().skip(offset).take(count).collect();
                let limited = set.limited(ranks, offset as i64, count as i64, reverse);
                prop_assert_eq!(pairs_of(set, limited, reverse), expected);
            }
        }
        // All scores alike: ranges of members mean something.
        let mut place = Collection::empty(Packing::SortedSet);
        for member in model.keys() {
            ZSetMut::of(&mut place).unwrap().add(member, 0.0, AddFlags::default(), &LIMITS);
        }
        let set = ZSetRef::of(place.value()).unwrap();
        let (min, max) = (LexBound::Including(&lex.0), LexBound::Excluding(&lex.1));
        for reverse in [false, true] {
            let ranks = set.ranks(&Range::Lex(min, max), reverse);
            let found: Vec<_> = pairs_of(set, ranks, false).into_iter().map(|it| it.1).collect();
            let all = model.keys().filter(|it| min.is_below(it) && max.is_above(it));
            prop_assert!(found.iter().eq(all));
        }
    }

    #[test]
    fn algebra_agrees_with_maps(
        inputs in prop::collection::vec(
            (prop::collection::btree_map(member(), -5i32..5, 0..30), -2i32..3), 1..4),
    ) {
        let places: Vec<Collection> = inputs.iter().map(|(members, _)| {
            let mut place = Collection::empty(Packing::SortedSet);
            for (member, score) in members {
                let mut set = ZSetMut::of(&mut place).unwrap();
                set.add(member, f64::from(*score), AddFlags::default(), &LIMITS);
            }
            place
        }).collect();
        let sources: Vec<Input<'_>> = places.iter().zip(&inputs).enumerate().map(|(key, it)| Input {
            source: Some(Source::of(it.0.value()).unwrap()),
            weight: f64::from(it.1.1),
            key,
        }).collect();
        let (mut all, mut common, mut left) = (Model::new(), Model::new(), Model::new());
        for (number, (members, weight)) in inputs.iter().enumerate() {
            for (member, score) in members {
                let score = f64::from(*score) * f64::from(*weight);
                *all.entry(member.clone()).or_insert(0.0) += score;
                if inputs.iter().all(|(others, _)| others.contains_key(member)) {
                    *common.entry(member.clone()).or_insert(0.0) += score;
                }
                if number == 0 && !inputs[1..].iter().any(|(other, _)| other.contains_key(member)) {
                    left.insert(member.clone(), f64::from(members[member]));
                }
            }
        }
        let results = [
            (union(&mut sources.clone(), Aggregate::Sum), all),
            (intersection(&mut sources.clone(), Aggregate::Sum), common.clone()),
            (difference(&sources), left),
        ];
        for (result, model) in &results {
            let stored = result.to_collection(&LIMITS);
            check(ZSetRef::of(stored.value()).unwrap(), model);
            let fits = model.len() <= 8 && model.keys().all(|member| member.len() <= 10);
            prop_assert_eq!(matches!(stored, Collection::Packed(..)), fits);
        }
        let count = intersection_count(&mut sources.clone(), 0);
        prop_assert_eq!(count, common.len() as u64);
        prop_assert_eq!(intersection_count(&mut sources.clone(), 2), count.min(2));
    }
}

#[test]
fn a_listpack_holds_scores_as_a_stock_server_does() {
    let mut place = Collection::empty(Packing::SortedSet);
    let mut set = ZSetMut::of(&mut place).unwrap();
    for (member, score) in [(b"a", 1.0), (b"b", 1.5), (b"c", -0.0), (b"d", 1e20)] {
        set.add(member, score, AddFlags::default(), &LIMITS);
    }
    let elements: Vec<Element<'_>> = Listpack::new(place.bytes()).iter().collect();
    let expected = [
        Element::Str(b"c"),
        Element::Int(0),
        Element::Str(b"a"),
        Element::Int(1),
        Element::Str(b"b"),
        Element::Str(b"1.5"),
        Element::Str(b"d"),
        Element::Str(b"1e+20"),
    ];
    assert_eq!(elements, expected);
}

#[test]
fn a_sum_that_is_no_number_changes_nothing() {
    for entries in [0, 8] {
        let limits = Limits { entries, ..LIMITS };
        let mut place = Collection::empty(Packing::SortedSet);
        let mut set = ZSetMut::of(&mut place).unwrap();
        set.expect(1, 1, &limits);
        set.add(b"a", f64::INFINITY, AddFlags::default(), &limits);
        let incr = AddFlags { incr: true, ..AddFlags::default() };
        assert_eq!(set.add(b"a", f64::NEG_INFINITY, incr, &limits), Change::NotANumber);
        assert_eq!(set.view().score(b"a"), Some(f64::INFINITY));
    }
}

#[test]
fn samples_are_different_members_each_as_likely() {
    for len in [6u32, 300] {
        let mut place = Collection::empty(Packing::SortedSet);
        let mut set = ZSetMut::of(&mut place).unwrap();
        for number in 0..len {
            let member = number.to_string().into_bytes();
            set.add(&member, f64::from(number), AddFlags::default(), &LIMITS);
        }
        let mut rng = crate::base::rng::Rng::new(1);
        let mut times = vec![0u32; len as usize];
        for count in [1, 3, 5] {
            for _ in 0..6_000 {
                let mut seen = Vec::new();
                set.view().sample(count, &mut rng, |pair| seen.push(pair.score as usize));
                assert_eq!(seen.len() as u64, count);
                assert!(seen.is_sorted_by(|a, b| a < b), "different ones");
                seen.into_iter().for_each(|at| times[at] += 1);
            }
        }
        let mean = f64::from(9 * 6_000 / len);
        let spread = 6.0 * mean.sqrt();
        assert!(times.iter().all(|n| (f64::from(*n) - mean).abs() < spread), "{times:?}");
    }
}

/// A big one with members of 16 bytes.
fn big(members: u64, score: impl Fn(u64) -> f64) -> SortedSet {
    let mut set = SortedSet::new(HASH_KEY);
    for number in 0..members {
        set.insert(format!("member:{number:09}").as_bytes(), score(number));
    }
    set
}

fn mixed(number: u64) -> f64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64
}

#[test]
fn a_member_of_16_bytes_costs_at_most_48() {
    let scores: [(&str, fn(u64) -> f64); 3] =
        [("random", mixed), ("ascending", |number| number as f64), ("equal", |_| 0.0)];
    for (name, score) in scores {
        let each = big(100_000, score).bytes() as f64 / 100_000.0;
        assert!(each < 48.0, "{name}: {each}");
    }
}

#[test]
fn a_scan_gives_what_stays_while_scores_change() {
    for score in [mixed, |_| 0.0] {
        let mut set = big(5_000, score);
        let mut seen = vec![0; 5_000];
        let mut cursor = 0;
        for step in 0u64.. {
            cursor = set.scan(cursor, 20, |element| {
                let number = std::str::from_utf8(&element.member[7..]).unwrap().parse::<usize>();
                seen[number.unwrap()] += 1;
            });
            if cursor == 0 {
                break;
            }
            for number in 0..50 {
                let member = format!("member:{:09}", (step * 50 + number) % 5_000);
                set.change(member.as_bytes(), |score| score.map(|score| -score - 1.0));
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
    }
}

#[test]
fn a_big_one_is_freed_in_slices_and_a_clone_keeps_its_own() {
    let mut set = big(20_000, mixed);
    let mut clone = set.clone();
    set.remove_range(0, 100);
    let mut slices = 0;
    while set.free_slice(50) == 0 {
        slices += 1;
    }
    assert!(slices < 100, "{slices}");
    assert_eq!(clone.len(), 20_000);
    assert_eq!(clone.tree().elements().count(), 20_000);
    while clone.free_slice(10) == 0 {}
}
