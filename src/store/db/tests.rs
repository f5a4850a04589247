//! A database against a map, partitions under a scan, and what is freed late.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::store::access::AccessPolicy;
use crate::store::budget::Budget;
use crate::store::entry::ValueRef;
use crate::store::memory::entry_bytes;
use crate::store::partition::Partition;

fn hasher() -> Hasher {
    Hasher::new(HashKey { k0: 3, k1: 4 })
}

fn at(now: i64) -> Access {
    Access::at(Millis(now))
}

fn slot(number: u64) -> Slot {
    Slot::from_number(number).expect("below 16384")
}

fn partition(first: u64, last: u64) -> Partition {
    Partition::new(slot(first), slot(last), 16, hasher())
}

#[derive(Clone, Debug)]
enum Step {
    Set(u16, u16, Option<i64>),
    Delete(u16, u16),
    Read(u16, u16),
    Write(u16, u16),
    Insert(u16, u16),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let run = || (0u16..2000, 1u16..900);
    let step = prop_oneof![
        (run(), prop::option::of(0i64..3000)).prop_map(|((k, n), e)| Step::Set(k, n, e)),
        run().prop_map(|(k, n)| Step::Delete(k, n)),
        run().prop_map(|(k, n)| Step::Read(k, n)),
        run().prop_map(|(k, n)| Step::Write(k, n)),
        run().prop_map(|(k, n)| Step::Insert(k, n)),
        (0i64..700).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..24)
}

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)>;

/// One step for one key; the model keeps expired keys until somebody meets them.
fn apply(db: &mut Db, model: &mut Model, step: &Step, number: u16, access: &Access) {
    let name = format!("key:{number}").into_bytes();
    let key = db.key(&name);
    let there = model.get(&name).cloned();
    let expired = there.as_ref().is_some_and(|it| it.1.is_some_and(|at| access.now > at));
    match step {
        Step::Set(_, _, expiry) => {
            let expiry = expiry.map(Millis);
            match db.set(&key, NewValue::string(&name), expiry, access) {
                Replaced::Nothing => assert!(there.is_none()),
                Replaced::Value(_) => assert!(there.is_some() && !expired),
                Replaced::Expired(_) => assert!(expired),
            }
            model.insert(name.clone(), (name, expiry));
        }
        Step::Insert(..) => {
            let entry = Entry::new(b"other", NewValue::Int(7), None, 0).renamed(&name);
            assert_eq!(db.insert(&key, entry).is_some(), there.is_some());
            model.insert(name, (b"7".to_vec(), None));
        }
        Step::Delete(..) => assert_eq!(db.delete(&key).is_some(), model.remove(&name).is_some()),
        Step::Read(..) => match db.lookup_read(&key, access) {
            Lookup::Found(entry) => {
                let entry = entry.into_view();
                let (value, expiry) = there.expect("it was found");
                assert!(!expired && entry.expiry() == expiry);
                match entry.value() {
                    ValueRef::Int(number) => assert_eq!(number.to_string().as_bytes(), value),
                    ValueRef::Str(bytes) => assert_eq!(bytes, value),
                    ValueRef::Packed(..) | ValueRef::Boxed(_) => unreachable!("values are short"),
                }
            }
            Lookup::Missing => assert!(there.is_none()),
            Lookup::Expired(entry) => {
                assert!(expired && entry.view().key() == name);
                model.remove(&name);
            }
        },
        Step::Write(..) => match db.lookup_write(&key, access) {
            Lookup::Found(mut entry) => {
                assert!(!expired);
                entry.append(b"+").expect("a string");
                model.get_mut(&name).expect("it was found").0.push(b'+');
            }
            Lookup::Missing => assert!(there.is_none()),
            Lookup::Expired(entry) => {
                assert!(expired && entry.view().key() == name);
                model.remove(&name);
            }
        },
        Step::Wait(_) => (),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_database_agrees_with_a_map(steps in steps()) {
        let mut db = Db::new(hasher());
        let mut model = Model::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Set(first, count, _) | Step::Delete(first, count) | Step::Read(first, count)
                | Step::Write(first, count) | Step::Insert(first, count) => {
                    for number in first..first + count {
                        apply(&mut db, &mut model, &step, number, &at(now));
                    }
                }
                Step::Wait(millis) => now += millis,
            }
            prop_assert_eq!(db.len(), model.len());
            let volatile = model.values().filter(|value| value.1.is_some()).count();
            prop_assert_eq!(db.expires(), volatile);
        }
    }

    #[test]
    fn a_scan_goes_through_all_partitions(
        cuts in prop::collection::btree_set(1u64..16384, 0..5),
        keys in 0u32..3000,
        count in 1usize..50,
    ) {
        let mut firsts: Vec<u64> = vec![0];
        firsts.extend(cuts);
        let ends = firsts[1..].iter().map(|first| first - 1).chain([16383]);
        let mut partitions: Vec<Partition> =
            firsts.iter().zip(ends).map(|(&first, last)| partition(first, last)).collect();
        let mut names = BTreeSet::new();
        for number in 0..keys {
            let name = format!("key:{number}").into_bytes();
            let owner = partitions.iter_mut().find(|it| it.covers(Slot::of(&name)));
            let db = owner.expect("the ranges cover all slots").db_mut(0);
            db.set(&db.key(&name), NewValue::Int(1), None, &at(0));
            names.insert(name);
        }
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let slot = slot(u64::from(Partition::slot_of_cursor(cursor)));
            let owner = partitions.iter().find(|it| it.covers(slot)).expect("as above");
            cursor = owner.scan(0, cursor, count, |entry| { seen.insert(entry.key().to_vec()); });
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(seen, names);
    }
}

#[test]
fn reads_move_the_access_clock_unless_told_not_to() {
    let mut db = Db::new(hasher());
    let key = db.key(b"key");
    db.set(&key, NewValue::Int(1), None, &at(5000));
    let clock = |db: &Db| db.peek(&key).expect("it was set").access();
    db.lookup_read(&key, &Access { touch: false, ..at(9000) });
    assert_eq!(clock(&db), AccessPolicy::Lru.initial(Millis(5000)));
    db.lookup_read(&key, &at(9000));
    assert_eq!(clock(&db), AccessPolicy::Lru.initial(Millis(9000)));
}

#[test]
fn keys_of_one_slot_are_found_among_others() {
    let mut db = Db::new(hasher());
    for number in 0..20_000 {
        for name in [format!("{{hot}}{number}"), format!("cold:{number}")] {
            db.set(&db.key(name.as_bytes()), NewValue::Int(1), None, &at(0));
        }
    }
    let hot = Slot::of(b"hot");
    let cold = (0..20_000).filter(|n| Slot::of(format!("cold:{n}").as_bytes()) == hot).count();
    assert_eq!(db.count_keys_in_slot(hot), 20_000 + cold);
    let mut seen = BTreeSet::new();
    db.keys_in_slot(hot, 1000, |entry| assert!(seen.insert(entry.key().to_vec())));
    assert_eq!(seen.len(), 1000);
    seen.clear();
    db.keys_in_slot(hot, 100_000, |entry| assert!(seen.insert(entry.key().to_vec())));
    assert_eq!(seen.len(), 20_000 + cold);
}

#[test]
fn flushed_tables_and_large_values_are_freed_in_slices() {
    let mut partition = partition(0, 16383);
    let large = vec![b'x'; 1 << 20];
    for number in 0..5000 {
        let name = number.to_string().into_bytes();
        let value = if number % 1000 == 0 { &large[..] } else { b"small" };
        let db = partition.db_mut(0);
        db.set(&db.key(&name), NewValue::string(value), None, &at(0));
    }
    let key = partition.db(0).key(b"1000");
    let entry = partition.db_mut(0).delete(&key).expect("it was set");
    assert!(entry_bytes(entry.view()) > 1 << 20);
    partition.graveyard().bury(entry);
    assert_eq!(partition.graveyard().pending(), 1);
    partition.flush(0);
    assert!(partition.db(0).is_empty());
    assert_eq!(partition.graveyard().pending(), 5000);
    let mut slices = 0;
    while partition.graveyard().pending() > 0 {
        partition.free_slice(&mut Budget::new(100));
        slices += 1;
    }
    assert!((8..200).contains(&slices), "{slices} slices");
}

#[test]
fn random_keys_come_from_all_of_the_database() {
    let mut db = Db::new(hasher());
    for number in 0..50 {
        let name = number.to_string();
        let expiry = (number < 25).then_some(Millis(10));
        db.set(&db.key(name.as_bytes()), NewValue::Int(1), expiry, &at(0));
    }
    let mut rng = Rng::new(1);
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        let entry = db.random(Millis(11), || rng.next_u64()).expect("not empty");
        assert!(!entry.is_expired(Millis(11)));
        seen.insert(entry.key().to_vec());
    }
    assert_eq!(seen.len(), 25);
}
