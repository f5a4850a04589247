//! Sets against `BTreeSet`, with limits so small that all forms come up.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::algebra::Intersection;
use super::*;
use crate::base::rng::Rng;

type Model = BTreeSet<Vec<u8>>;

const LIMITS: Limits = Limits {
    intset_entries: 8,
    listpack_entries: 6,
    listpack_value: 4,
    hash_key: HashKey { k0: 1, k1: 2 },
};

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0i64..16).prop_map(|value| value.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => prop::sample::select(vec!["a", "b", "c", "01", "", "four", "fiver"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn members() -> impl Strategy<Value = Model> {
    let strings = prop::collection::btree_set(member(), 1..20);
    let integers = (0i64..16).prop_map(|value| value.to_string().into_bytes());
    prop_oneof![strings, prop::collection::btree_set(integers, 1..12)]
}

fn made(members: &Model) -> Collection {
    let first = members.first().expect("a set has members");
    let packing = LIMITS.packing(Element::Str(first), 1);
    let mut collection = Collection::empty(packing);
    let mut set = SetMut::of(&mut collection).expect("a set");
    for member in members {
        assert!(set.add(Element::Str(member), &LIMITS));
    }
    collection
}

fn set_of(collection: &Collection) -> SetRef<'_> {
    SetRef::of(collection.value()).expect("a set")
}

fn contents(set: SetRef<'_>) -> Model {
    let mut found = Model::new();
    set.for_each(|member| assert!(found.insert(member.to_vec()), "no member comes twice"));
    assert_eq!(found.len(), set.len());
    found
}

/// What must hold of a form: a table may hold anything, the others have limits.
fn check_form(set: SetRef<'_>) {
    match set {
        SetRef::Ints(ints) => assert!(ints.len() <= LIMITS.intset_entries),
        SetRef::Pack(pack) => {
            assert!(pack.len() <= LIMITS.listpack_entries);
            assert!(pack.iter().all(|one| one.text_len() <= LIMITS.listpack_value));
        }
        SetRef::Table(_) => {}
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Remove(Vec<u8>),
    Pop,
    PopMany(usize),
    Expect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => member().prop_map(Step::Add),
        4 => member().prop_map(Step::Remove),
        2 => Just(Step::Pop),
        1 => (0usize..20).prop_map(Step::PopMany),
        1 => (0usize..9).prop_map(Step::Expect),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_set(steps in prop::collection::vec(step(), 1..60), seed: u64) {
        let mut rng = Rng::new(seed);
        let mut place = Collection::empty(Packing::IntSet);
        let mut model = Model::new();
        for step in steps {
            let mut set = SetMut::of(&mut place).expect("a set");
            match step {
                Step::Add(member) => {
                    let added = set.add(Element::Str(&member), &LIMITS);
                    prop_assert_eq!(added, model.insert(member));
                }
                Step::Remove(member) => {
                    prop_assert_eq!(set.remove(Element::Str(&member)), model.remove(&member));
                }
                Step::Pop => {
                    let mut popped = None;
                    set.pop(&mut rng, |member| popped = Some(member.to_vec()));
                    prop_assert_eq!(popped.is_none(), model.is_empty());
                    prop_assert!(popped.is_none_or(|member| model.remove(&member)));
                }
                Step::PopMany(count) if count < model.len() => {
                    let mut popped = Model::new();
                    let take = |member: Element<'_>| {
                        popped.insert(member.to_vec());
                    };
                    set.pop_many(count, &LIMITS, &mut rng, take);
                    prop_assert_eq!(popped.len(), count);
                    prop_assert!(popped.iter().all(|member| model.remove(member)));
                }
                Step::PopMany(_) => {}
                Step::Expect(count) => set.expect(count, &LIMITS),
            }
            let view = set_of(&place);
            check_form(view);
            prop_assert_eq!(contents(view), model.clone());
            prop_assert_eq!(view.is_empty(), model.is_empty());
        }
        let set = set_of(&place);
        for value in 0..16i64 {
            let there = model.contains(value.to_string().as_bytes());
            prop_assert_eq!(set.contains(Element::Int(value)), there);
        }
        prop_assert!(set.random(&mut rng).map_or(model.is_empty(), |one| model.contains(&one.to_vec())));
        for count in [0, 1, model.len() / 2, model.len(), usize::MAX] {
            let mut given = Model::new();
            set.sample(count, &mut rng, |member| assert!(given.insert(member.to_vec())));
            prop_assert_eq!(given.len(), count.min(model.len()));
            prop_assert!(given.is_subset(&model));
        }
        let mut scanned = Model::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 3, |member| assert!(scanned.insert(member.to_vec())));
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(scanned, model);
    }

    #[test]
    fn results_are_those_of_sorted_sets(models in prop::collection::vec(members(), 1..5)) {
        let made: Vec<_> = models.iter().map(made).collect();
        let mut sets: Vec<_> = made.iter().map(set_of).collect();
        let (first, others) = models.split_first().expect("one at least");

        let united: Model = models.iter().flatten().cloned().collect();
        for result in [algebra::union(&sets, &LIMITS), algebra::union_once(&sets, &LIMITS)] {
            prop_assert_eq!(contents(set_of(&result)), united.clone());
        }

        let mut left = first.clone();
        left.retain(|member| !others.iter().any(|other| other.contains(member)));
        let stored = algebra::difference(sets[0], &mut sets[1..].to_vec(), &LIMITS);
        prop_assert_eq!(contents(set_of(&stored)), left.clone());
        let taken = algebra::difference_once(sets[0], &sets[1..], &LIMITS);
        prop_assert_eq!(contents(set_of(&taken)), left.clone());
        let mut shown = Model::new();
        algebra::subtract(sets[0], &mut sets[1..].to_vec(), |member| {
            assert!(shown.insert(member.to_vec()));
        });
        prop_assert_eq!(shown, left);

        let mut common = first.clone();
        common.retain(|member| others.iter().all(|other| other.contains(member)));
        let mut shown = Model::new();
        algebra::intersect(&mut sets, |member| shown.insert(member.to_vec()));
        prop_assert_eq!(&shown, &common);
        let stored = Intersection::of(&mut sets, &LIMITS).finish(&LIMITS);
        let stored = set_of(&stored);
        check_form(stored);
        prop_assert_eq!(contents(stored), common.clone());
        let integers = common.iter().all(|member| Element::of(member).to_int().is_some());
        let intset = matches!(stored, SetRef::Ints(_));
        prop_assert_eq!(intset, integers && common.len() <= LIMITS.intset_entries);
    }
}

#[test]
fn every_member_is_as_likely_as_any_other() {
    let members: Vec<Vec<u8>> = (0..5).map(|value: i64| value.to_string().into_bytes()).collect();
    let strings: Vec<Vec<u8>> = ["a", "b", "c", "d", "e"].map(Into::into).to_vec();
    let many: Vec<Vec<u8>> = ["a", "b", "c", "d", "fiver"].map(Into::into).to_vec();
    let mut rng = Rng::new(5);
    for members in [members, strings, many] {
        let model: Model = members.iter().cloned().collect();
        let collection = made(&model);
        let set = set_of(&collection);
        let mut counts = [[0u32; 5]; 3];
        let at = |member: Element<'_>| {
            members.iter().position(|one| member.eq_bytes(one)).expect("a member of it")
        };
        for _ in 0..5000 {
            counts[0][set.random(&mut rng).map(at).expect("it has members")] += 1;
            set.sample(2, &mut rng, |member| counts[1][at(member)] += 1);
            let mut copy = collection.clone();
            SetMut::of(&mut copy).expect("a set").pop(&mut rng, |one| counts[2][at(one)] += 1);
        }
        for (counts, each) in counts.iter().zip([1000u32, 2000, 1000]) {
            let near = each - each / 6..each + each / 6;
            assert!(counts.iter().all(|count| near.contains(count)), "{counts:?}");
        }
    }
}
