//! The keyspace's hot paths: lookup, overwrite, insert, delete, at a size that the cache holds and at
//! one that it does not. Keys of 16 bytes, values of 32, in random order.
//!
//! `cargo bench --bench table`; ten million keys take about 700 megabytes. With `GROWTH_KEYS` in the
//! environment it measures instead what single inserts cost while a database grows to so many keys.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group};
use ironring::base::alloc::{Counting, Mimalloc};
use ironring::base::rng::Rng;
use ironring::base::siphash::HashKey;
use ironring::base::sys::thread_cpu_nanos;
use ironring::base::time::Millis;
use ironring::store::access::{Access, AccessPolicy, Stale};
use ironring::store::db::{Db, Lookup};
use ironring::store::entry::NewValue;
use ironring::store::key::Hasher;
use ironring::store::prefetch::prefetch;

#[global_allocator]
static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);

const ACCESS: Access = Access {
    now: Millis(1_700_000_000_000),
    policy: AccessPolicy::Lru,
    touch: true,
    chance: 0,
    stale: Stale::Goes,
};
const VALUE: [u8; 32] = [b'v'; 32];
/// Commands of one turn whose keys are prefetched together.
const BATCH: usize = 16;

fn name(number: u64) -> [u8; 16] {
    let mut name = *b"key:000000000000";
    let mut rest = number;
    for digit in name[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

fn filled(keys: u64) -> Db {
    let mut db = Db::new(Hasher::new(HashKey { k0: 1, k1: 2 }));
    for number in 0..keys {
        let name = name(number);
        db.set(&db.key(&name), NewValue::Str(&VALUE), None, &ACCESS);
    }
    db
}

fn found(db: &mut Db, name: &[u8]) -> bool {
    let key = db.key(name);
    matches!(db.lookup_read(&key, &ACCESS), Lookup::Found(_))
}

fn keyspace(criterion: &mut Criterion) {
    for keys in [100_000u64, 10_000_000] {
        let mut db = filled(keys);
        let mut rng = Rng::new(7);
        let mut group = criterion.benchmark_group(format!("keys_{keys}"));
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        group.bench_function("lookup_hit", |bench| {
            bench.iter(|| assert!(found(&mut db, black_box(&name(rng.below(keys))))));
        });
        group.bench_function("lookup_miss", |bench| {
            bench.iter(|| assert!(!found(&mut db, black_box(&name(keys + rng.below(keys))))));
        });
        group.bench_function(format!("lookup_hit_prefetched_{BATCH}"), |bench| {
            bench.iter(|| {
                let names: [_; BATCH] = std::array::from_fn(|_| name(rng.below(keys)));
                let keys = names.each_ref().map(|name| db.key(name));
                prefetch(|| keys.iter().map(|key| (&db, key.position)));
                for key in &keys {
                    assert!(matches!(db.lookup_read(key, &ACCESS), Lookup::Found(_)));
                }
            });
        });
        group.bench_function("set_existing", |bench| {
            bench.iter(|| {
                let name = name(rng.below(keys));
                let key = db.key(&name);
                db.set(&key, NewValue::string(black_box(&VALUE)), None, &ACCESS)
            });
        });
        group.bench_function("delete_and_insert", |bench| {
            bench.iter(|| {
                let name = name(rng.below(keys));
                let key = db.key(&name);
                assert!(db.delete(&key).is_some());
                db.set(&key, NewValue::string(black_box(&VALUE)), None, &ACCESS)
            });
        });
        group.finish();
    }
}

fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("growth");
    group.sample_size(10);
    group.bench_function("insert_100000", |bench| {
        bench.iter_batched(|| (), |()| filled(100_000), BatchSize::PerIteration);
    });
    group.finish();
}

fn hashing(criterion: &mut Criterion) {
    let hasher = Hasher::new(HashKey { k0: 1, k1: 2 });
    for len in [8, 16, 32] {
        let bytes = vec![b'k'; len];
        criterion.bench_function(&format!("hash_key_{len}"), |bench| {
            bench.iter(|| hasher.key(black_box(&bytes)).position);
        });
    }
}

/// CPU time of every insert from an empty database to `keys`: how many took how long, by powers of
/// two, and the longest ones with the number of keys and what the table grew by in them.
fn longest_inserts(keys: u64) {
    let mut db = Db::new(Hasher::new(HashKey { k0: 1, k1: 2 }));
    let mut histogram = [0u64; 64];
    let mut longest = Vec::new();
    for number in 0..keys {
        let name = name(number);
        let key = db.key(&name);
        let before = thread_cpu_nanos();
        db.set(&key, NewValue::Str(&VALUE), None, &ACCESS);
        let nanos = thread_cpu_nanos() - before;
        histogram[nanos.max(1).ilog2() as usize] += 1;
        if nanos > LONG_NANOS {
            longest.push((nanos, number));
        }
    }
    for (power, count) in histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        println!("{:>10} ns and more: {count}", 1u64 << power);
    }
    longest.sort_unstable_by(|a, b| b.cmp(a));
    for (nanos, number) in longest.iter().take(20) {
        println!("{nanos} ns for key {number}");
    }
}

/// Inserts that take longer are named.
const LONG_NANOS: u64 = 150_000;

criterion_group!(benches, hashing, keyspace, growth);

fn main() {
    if let Some(keys) = std::env::var("GROWTH_KEYS").ok().and_then(|keys| keys.parse().ok()) {
        return longest_inserts(keys);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
