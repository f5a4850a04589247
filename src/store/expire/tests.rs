//! Active expiry in simulated time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::store::access::Access;
use crate::store::entry::NewValue;
use crate::store::key::Hasher;
use crate::types::hash::{HashLimits, HashMut};
use crate::types::{Collection, Packing};

type Model = BTreeMap<(usize, Vec<u8>), Option<i64>>;

fn partition(databases: usize) -> Partition {
    let slot = |number| Slot::from_number(number).expect("below 16384");
    Partition::new(slot(0), slot(16383), databases, Hasher::new(HashKey { k0: 5, k1: 6 }))
}

fn set(partition: &mut Partition, db: usize, name: &[u8], expiry: Option<i64>, now: i64) {
    let access = Access::at(Millis(now));
    let db = partition.db_mut(db);
    db.set(&db.key(name), NewValue::Int(1), expiry.map(Millis), &access);
}

#[test]
fn keys_that_expire_together_go_within_two_seconds() {
    let mut partition = partition(1);
    for number in 0..100_000i64 {
        set(&mut partition, 0, number.to_string().as_bytes(), Some(10_000 + number % 1000), 0);
    }
    for number in 0..1000 {
        set(&mut partition, 0, format!("stays:{number}").as_bytes(), None, 0);
    }
    let mut expired = 0;
    for now in (9000..12_002).step_by(10) {
        // 5000 units are some 200 microseconds: housekeeping gets 2 of 100.
        let mut budget = Budget::new(5000);
        let slice = expire_slice(&mut partition, Millis(now), &mut budget, |_, gone| {
            let Expiring::Key(entry) = gone else { panic!("no hashes here") };
            assert!(entry.is_expired(Millis(now)));
            expired += 1;
        });
        assert!(slice.keys == 0 || now > 10_000);
    }
    assert_eq!((expired, partition.db(0).len()), (100_000, 1000));
    assert_eq!(partition.db(0).expires(), 0);
}

#[test]
fn quiet_databases_cost_nothing() {
    let mut partition = partition(16);
    for number in 0..5000 {
        set(&mut partition, 3, format!("{number}").as_bytes(), Some(1_000_000), 0);
    }
    for now in 0..100 {
        let mut budget = Budget::new(10);
        let slice = expire_slice(&mut partition, Millis(now * 1000), &mut budget, |_, _| ());
        assert_eq!((slice, budget.left()), (Expired { keys: 0, fields: 0, done: true }, 10));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn expired_keys_go_and_no_others(
        steps in prop::collection::vec(
            (0usize..3, 0u16..3000, 0u16..800, prop::option::of(0i64..5000), 0i64..400, 0u8..6),
            1..30,
        ),
        units in 50usize..3000,
    ) {
        let mut partition = partition(3);
        let mut model: Model = BTreeMap::new();
        let mut now = 0;
        let slice = |partition: &mut Partition, model: &mut Model, now: i64| {
            let mut budget = Budget::new(units);
            expire_slice(partition, Millis(now), &mut budget, |db, gone| {
                let Expiring::Key(entry) = gone else { panic!("no hashes here") };
                let expiry = model.remove(&(db, entry.key().to_vec())).expect("once");
                assert!(expiry.is_some_and(|expiry| now > expiry));
            })
        };
        for (db, first, count, ttl, wait, other) in steps {
            for number in first..first + count {
                let name = number.to_string().into_bytes();
                set(&mut partition, db, &name, ttl.map(|ttl| now + ttl), now);
                model.insert((db, name), ttl.map(|ttl| now + ttl));
            }
            if other == 0 {
                partition.swap_dbs(0, 1, Millis(now));
                model = model
                    .into_iter()
                    .map(|((db, name), expiry)| (([1, 0, 2][db], name), expiry))
                    .collect();
            }
            if other == 1 {
                partition.flush(2);
                model.retain(|(db, _), _| *db != 2);
            }
            slice(&mut partition, &mut model, now);
            now += wait;
        }
        // Two seconds after the last expiry nothing is left to find.
        for _ in 0..2000 {
            slice(&mut partition, &mut model, now);
            now += 10;
        }
        prop_assert!(model.values().all(|expiry| expiry.is_none_or(|at| at + 2000 > now)));
        let left: usize = partition.dbs().iter().map(crate::store::db::Db::len).sum();
        prop_assert_eq!(left, model.len());
    }
}

/// A hash of so many fields, named by their numbers, each of which expires at `expiry` plus its number.
fn hash(fields: i64, expiry: i64) -> Collection {
    let limits = HashLimits { entries: 100, value: 64, key: HashKey { k0: 7, k1: 8 } };
    let mut place = Collection::empty(Packing::Hash);
    let mut hash = HashMut::of(&mut place).expect("a hash");
    for field in 0..fields {
        let name = field.to_string();
        hash.set(name.as_bytes(), b"v", false, &limits);
        hash.allow_expiry();
        hash.set_expiry(name.as_bytes(), Some(expiry + field));
    }
    place
}

#[test]
fn fields_go_in_slices_and_the_hash_with_its_last() {
    let mut partition = partition(2);
    let access = Access::at(Millis(0));
    for (name, fields) in [(&b"packed"[..], 50), (b"large", 5000)] {
        let db = partition.db_mut(1);
        db.set(&db.key(name), NewValue::from(hash(fields, 1000)), None, &access);
    }
    set(&mut partition, 1, b"stays", None, 0);
    assert_eq!((partition.db(1).subexpiry(), partition.db(1).expires()), (2, 0));

    let (mut fields, mut gone) = (0, Vec::new());
    for now in (0..9000).step_by(10) {
        let mut budget = Budget::new(1000);
        let slice =
            expire_slice(&mut partition, Millis(now), &mut budget, |db, expiring| match expiring {
                Expiring::Key(_) => panic!("no key expires"),
                Expiring::Field(_, field) => {
                    let number: i64 = str::from_utf8(field).expect("text").parse().expect("digits");
                    assert!(db == 1 && 1000 + number <= now);
                    fields += 1;
                }
                Expiring::Fields(key, true) => gone.push(key.to_vec()),
                Expiring::Fields(_, false) => {}
            });
        assert!(slice.fields <= 1000 / UNITS_PER_DELETION + 200);
        if now == 3000 {
            // No later than a second after its time, and not before it.
            assert!((1050..=2051).contains(&fields), "{fields}");
        }
    }
    assert_eq!((fields, gone), (5050, vec![b"packed".to_vec(), b"large".to_vec()]));
    assert_eq!((partition.db(1).len(), partition.db(1).subexpiry()), (1, 0));
}

#[test]
fn hashes_with_expiring_fields_are_counted_wherever_they_go() {
    let mut partition = partition(2);
    let access = Access::at(Millis(0));
    let db = partition.db_mut(0);
    let (one, other) = (db.key(b"one"), db.key(b"other"));
    db.set(&one, NewValue::from(hash(3, 1000)), Some(Millis(5000)), &access);
    assert_eq!((db.subexpiry(), db.expires()), (1, 1));
    db.set(&one, NewValue::Int(1), None, &access);
    assert_eq!((db.subexpiry(), db.expires()), (0, 0));
    db.set(&one, NewValue::from(hash(300, 1000)), None, &access);
    let entry = db.delete(&one).expect("it is there");
    assert_eq!(db.subexpiry(), 0);
    let copy = entry.view().copied(b"one", 0);
    db.insert(&other, entry.renamed(b"other"));
    db.insert(&one, copy);
    assert_eq!(db.subexpiry(), 2);
    let mut entry = db.entry(&one).expect("it is there");
    entry.set_expiry(Some(Millis(50)));
    entry.set_expiry(None);
    let mut hash = HashMut::of(&mut entry).expect("a hash");
    (0..300).for_each(|field| assert!(hash.set_expiry(field.to_string().as_bytes(), None)));
    entry.note_fields();
    assert_eq!((db.subexpiry(), db.expires()), (1, 0));
    let mut fields = 0;
    for now in [5000, 7000] {
        let mut budget = Budget::new(100_000);
        fields += expire_slice(&mut partition, Millis(now), &mut budget, |_, _| ()).fields;
    }
    assert_eq!((fields, partition.db(0).len(), partition.db(0).subexpiry()), (300, 1, 0));
}
