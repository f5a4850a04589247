//! What goes first, by each policy.

use super::*;
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::store::access::Access;
use crate::store::entry::NewValue;
use crate::store::key::Hasher;

const NOW: Millis = Millis(1_000_000_000_000);

fn partition() -> Partition {
    let slot = |number| Slot::from_number(number).expect("below 16384");
    Partition::new(slot(0), slot(16383), 2, Hasher::new(HashKey { k0: 1, k1: 2 }))
}

fn set(partition: &mut Partition, db: usize, key: &str, at: Millis, expiry: Option<Millis>) {
    let access = Access::at(at);
    let key = partition.hasher().key(key.as_bytes());
    partition.db_mut(db).set(&key, NewValue::Int(1), expiry, &access);
}

fn policy(order: EvictionOrder, volatile_only: bool) -> EvictionPolicy {
    EvictionPolicy { order, volatile_only, samples: 5 }
}

fn evict(partition: &mut Partition, policy: &EvictionPolicy, rng: &mut Rng) -> Option<Vec<u8>> {
    for _ in 0..1000 {
        match partition.evict(policy, NOW, 0, &mut || rng.next_u64()) {
            Eviction::Taken(_, entry) => return Some(entry.view().key().to_vec()),
            Eviction::NotYet => {}
            Eviction::Worse => panic!("no score was asked for"),
            Eviction::Nothing => return None,
        }
    }
    panic!("a thousand attempts met no key");
}

#[test]
fn idle_keys_go_before_used_ones() {
    let (mut partition, mut rng) = (partition(), Rng::new(1));
    for number in 0..2000 {
        // Every tenth key is fresh.
        let age = if number % 10 == 0 { 0 } else { 3_600_000 };
        set(&mut partition, number % 2, &format!("key:{number}"), Millis(NOW.0 - age), None);
    }
    let lru = policy(EvictionOrder::Lru, false);
    for _ in 0..1000 {
        let key = evict(&mut partition, &lru, &mut rng).expect("there are keys");
        let number: usize = String::from_utf8_lossy(&key[4..]).parse().expect("a number");
        assert_ne!(number % 10, 0, "a fresh key went while idle ones were there");
    }
}

#[test]
fn a_key_that_was_used_since_it_was_met_stays() {
    let (mut partition, mut rng) = (partition(), Rng::new(2));
    for number in 0..10 {
        set(&mut partition, 0, &format!("key:{number}"), Millis(NOW.0 - 60_000), None);
    }
    let lru = policy(EvictionOrder::Lru, false);
    evict(&mut partition, &lru, &mut rng).expect("there are keys");
    // All are in the pool now; those that are left are used but one.
    let left: Vec<String> = (0..10).map(|number| format!("key:{number}")).collect();
    let there = |partition: &Partition, key: &String| {
        partition.db(0).peek(&partition.hasher().key(key.as_bytes())).is_some()
    };
    let left: Vec<String> = left.into_iter().filter(|key| there(&partition, key)).collect();
    for key in &left[1..] {
        set(&mut partition, 0, key, NOW, None);
    }
    assert_eq!(evict(&mut partition, &lru, &mut rng), Some(left[0].clone().into_bytes()));
}

#[test]
fn only_keys_with_an_expiry_go_where_only_those_may() {
    let (mut partition, mut rng) = (partition(), Rng::new(3));
    for number in 0..5000 {
        set(&mut partition, 0, &format!("keeps:{number}"), NOW, None);
    }
    for number in 0..7 {
        let expiry = Some(Millis(NOW.0 + 1000 * (number + 1)));
        set(&mut partition, 1, &format!("goes:{number}"), NOW, expiry);
    }
    for order in [EvictionOrder::Lru, EvictionOrder::Random] {
        let key = evict(&mut partition, &policy(order, true), &mut rng).expect("some may go");
        assert!(key.starts_with(b"goes:"));
    }
    let mut gone = 2;
    while evict(&mut partition, &policy(EvictionOrder::Ttl, true), &mut rng).is_some() {
        gone += 1;
    }
    assert_eq!((gone, partition.db(0).len(), partition.db(1).len()), (7, 5000, 0));
}

#[test]
fn the_soonest_to_expire_goes_first() {
    let (mut partition, mut rng) = (partition(), Rng::new(4));
    for number in 0..16 {
        let expiry = Some(Millis(NOW.0 + 1000 * (number + 1)));
        set(&mut partition, 0, &format!("{number}"), NOW, expiry);
    }
    let ttl = EvictionPolicy { samples: 64, ..policy(EvictionOrder::Ttl, true) };
    for number in 0..16 {
        let key = evict(&mut partition, &ttl, &mut rng).expect("there are keys");
        assert_eq!(key, number.to_string().into_bytes());
    }
}

#[test]
fn random_eviction_takes_from_every_database() {
    let (mut partition, mut rng) = (partition(), Rng::new(5));
    for number in 0..100 {
        set(&mut partition, 0, &format!("{number}"), NOW, None);
        set(&mut partition, 1, &format!("{number}"), NOW, None);
    }
    for _ in 0..100 {
        evict(&mut partition, &policy(EvictionOrder::Random, false), &mut rng);
    }
    assert_eq!((partition.db(0).len(), partition.db(1).len()), (50, 50));
}

#[test]
fn better_candidates_elsewhere_spare_those_here() {
    let (mut partition, mut rng) = (partition(), Rng::new(6));
    set(&mut partition, 0, "key", Millis(NOW.0 - 5000), None);
    let lru = policy(EvictionOrder::Lru, false);
    let outcome = partition.evict(&lru, NOW, 82, &mut || rng.next_u64());
    assert!(matches!(outcome, Eviction::Worse));
    assert_eq!((partition.best_eviction_score(), partition.db(0).len()), (81, 1));
    let outcome = partition.evict(&lru, NOW, 81, &mut || rng.next_u64());
    assert!(matches!(outcome, Eviction::Taken(0, _)));
    let outcome = partition.evict(&lru, NOW, 0, &mut || rng.next_u64());
    assert!(matches!(outcome, Eviction::Nothing));
}

/// The table itself tells keys of a segment apart by 16 bits, so that there are some in front of others.
#[test]
fn every_key_that_may_go_goes_whatever_stands_in_front_of_it() {
    let (mut partition, mut rng) = (partition(), Rng::new(5));
    for number in 0..60_000 {
        let expiry = (number % 10 == 0).then_some(Millis(NOW.0 + 60_000));
        set(&mut partition, 0, &format!("key:{number}"), Millis(NOW.0 - 60_000), expiry);
    }
    let volatile = policy(EvictionOrder::Lru, true);
    let mut left = 6000;
    while evict(&mut partition, &volatile, &mut rng).is_some() {
        left -= 1;
    }
    assert_eq!((left, partition.db(0).len()), (0, 54_000));
}
