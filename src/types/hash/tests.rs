//! Hashes in each form against a BTreeMap.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const LIMITS: HashLimits = HashLimits { entries: 20, value: 30, key: HashKey { k0: 3, k1: 4 } };

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Vec<u8>, bool),
    Remove(Vec<u8>),
    Expiry(Vec<u8>, Option<i64>),
    Expire(i64, usize),
}

/// Mostly few short words, numbers among them.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => (0..15i64).prop_map(|n| n.to_string().into_bytes()),
        20 => (0..15i64).prop_map(|n| format!("f{n}").into_bytes()),
        1 => Just(vec![b'x'; 31]),
        1 => Just(Vec::new()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (word(), word(), prop::bool::ANY).prop_map(|(f, v, keep)| Step::Set(f, v, keep)),
        1 => word().prop_map(Step::Remove),
        2 => (word(), proptest::option::of(1..100i64)).prop_map(|(f, e)| Step::Expiry(f, e)),
        1 => (0..30i64, 1..5usize).prop_map(|(now, budget)| Step::Expire(now, budget)),
    ];
    prop::collection::vec(step, 0..60)
}

fn content(hash: HashRef<'_>) -> Model {
    hash.iter().map(|p| (p.field.to_vec(), (p.value.to_vec(), p.expiry))).collect()
}

proptest! {
    #[test]
    fn it_holds_what_a_map_would(steps in steps()) {
        let mut place = Collection::empty(Packing::Hash);
        let mut model = Model::new();
        for step in steps {
            let mut hash = HashMut::of(&mut place).expect("a hash");
            match step {
                Step::Set(field, value, keep) => {
                    let old = model.get(&field).and_then(|it| it.1).filter(|_| keep);
                    let is_new = model.insert(field.clone(), (value.clone(), old)).is_none();
                    prop_assert_eq!(hash.set(&field, &value, keep, &LIMITS), is_new);
                }
                Step::Remove(field) => {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                Step::Expiry(field, expiry) => {
                    hash.allow_expiry();
                    let there = model.get_mut(&field).map(|it| it.1 = expiry).is_some();
                    prop_assert_eq!(hash.set_expiry(&field, expiry), there);
                }
                Step::Expire(now, budget) => {
                    let mut gone = Vec::new();
                    let count = hash.expire(now, budget, |field| gone.push(field.to_vec()));
                    prop_assert_eq!(count, gone.len());
                    for field in gone {
                        let (_, expiry) = model.remove(&field).expect("it was there");
                        prop_assert!(expiry.is_some_and(|expiry| expiry <= now));
                    }
                    let due = |it: &(Vec<u8>, Option<i64>)| it.1.is_some_and(|at| at <= now);
                    prop_assert!(count >= budget || !model.values().any(due));
                }
            }
            let view = hash.view();
            prop_assert_eq!(content(view), model.clone());
            prop_assert_eq!(view.len(), model.len());
            let next = model.values().filter_map(|it| it.1).min();
            let is_bound = view.next_expiry() <= next || next.is_none();
            let is_exact = view.next_expiry() == next;
            prop_assert!(is_exact || matches!(view, HashRef::Dict(_)) && is_bound);
            for (field, (value, expiry)) in &model {
                let pair = view.get(field).expect("it is in the model");
                prop_assert_eq!((pair.value.to_vec(), pair.expiry), (value.clone(), *expiry));
            }
        }
    }
}

#[test]
fn it_converts_where_redis_does() {
    let encoding = |place: &Collection| match place.value() {
        ValueRef::Packed(packing, _) => packing.encoding(),
        ValueRef::Boxed(value) => value.encoding(),
        _ => "none",
    };
    let mut place = Collection::empty(Packing::Hash);
    for n in 0..20 {
        let mut hash = HashMut::of(&mut place).expect("a hash");
        hash.set(format!("{n}").as_bytes(), &[b'v'; 30], false, &LIMITS);
    }
    assert_eq!(encoding(&place), "listpack");
    HashMut::of(&mut place).expect("a hash").allow_expiry();
    assert_eq!(encoding(&place), "listpackex");
    HashMut::of(&mut place).expect("a hash").set(b"20", b"", false, &LIMITS);
    assert_eq!(encoding(&place), "hashtable");

    for word in [&[b'x'; 31][..], b"many"] {
        let mut place = Collection::empty(Packing::Hash);
        let count = if word == b"many" { 42 } else { 2 };
        let mut hash = HashMut::of(&mut place).expect("a hash");
        hash.prepare(vec![word; count].into_iter(), &LIMITS);
        assert_eq!(encoding(&place), "hashtable");
    }
    assert!(HashMut::of(&mut Collection::empty(Packing::List)).is_err());
}

#[test]
fn chance_is_fair_in_each_form() {
    let mut rng = Rng::new(5);
    for entries in [0, 100] {
        let limits = HashLimits { entries, ..LIMITS };
        let mut place = Collection::empty(Packing::Hash);
        let mut hash = HashMut::of(&mut place).expect("a hash");
        (0..50).for_each(|n: u8| assert!(hash.set(&[n], b"v", false, &limits)));
        let mut times = [[0u32; 50]; 2];
        for _ in 0..1000 {
            let pair = hash.view().random(&mut rng).expect("not empty");
            times[0][usize::from(pair.field.to_vec()[0])] += 10;
            for pair in hash.view().sample(10, &mut rng) {
                times[1][usize::from(pair.field.to_vec()[0])] += 1;
            }
        }
        assert!(times.as_flattened().iter().all(|n| (40..420).contains(n)), "{times:?}");
        assert!(times[1].iter().all(|n| (140..260).contains(n)), "{times:?}");
        assert_eq!(hash.view().sample(90, &mut rng).len(), 50);
    }
}
