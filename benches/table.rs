//! The keyspace's hot paths: lookup, overwrite, insert, delete, at a size that the cache holds and at
//! one that it does not. Keys of 16 bytes, values of 32, in random order.
//!
//! `cargo bench --bench table`; ten million keys take about a gigabyte.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ironring::base::alloc::{Counting, Mimalloc};
use ironring::base::rng::Rng;
use ironring::base::siphash::HashKey;
use ironring::base::time::Millis;
use ironring::store::access::{Access, AccessPolicy};
use ironring::store::db::{Db, Lookup};
use ironring::store::entry::NewValue;
use ironring::store::key::Hasher;

#[global_allocator]
static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);

const ACCESS: Access =
    Access { now: Millis(1_700_000_000_000), policy: AccessPolicy::Lru, touch: true, chance: 0 };
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
                for key in &keys {
                    db.prefetch_bucket(key);
                }
                for key in &keys {
                    db.prefetch_entry(key);
                }
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

criterion_group!(benches, keyspace, growth);
criterion_main!(benches);
