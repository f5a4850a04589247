//! The reply writer: bulk strings, integers, an array of a hundred, a RESP3 map.
//!
//! `cargo bench --bench reply -- --quick`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ironring::resp::Proto;
use ironring::resp::reply::{Reply, ReplyBuffer};

/// Elements of the array and pairs of the map.
const ELEMENTS: usize = 100;

fn integers(reply: &mut Reply<'_>) {
    for value in [0, 7, 42, -1, 123_456_789_012] {
        reply.integer(black_box(value));
    }
}

fn array(reply: &mut Reply<'_>) {
    reply.array(ELEMENTS);
    (0..ELEMENTS).for_each(|_| reply.bulk(black_box(b"an element of 24 bytes..")));
}

fn map(reply: &mut Reply<'_>) {
    reply.map(ELEMENTS);
    for number in 0..ELEMENTS {
        reply.bulk(black_box(b"a field"));
        reply.integer(number as i64);
    }
}

fn writer(criterion: &mut Criterion) {
    let (small, large) = (vec![b'v'; 32], vec![b'v'; 10_000]);
    let bulk_small = |reply: &mut Reply<'_>| reply.bulk(black_box(&small));
    let bulk_large = |reply: &mut Reply<'_>| reply.bulk(black_box(&large));
    let replies: [(&str, &dyn Fn(&mut Reply<'_>)); 5] = [
        ("bulk_32", &bulk_small),
        ("bulk_10000", &bulk_large),
        ("integer_5", &integers),
        ("array_100", &array),
        ("map_100_resp3", &map),
    ];
    let mut group = criterion.benchmark_group("reply");
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for (name, write) in replies {
        let mut buffer = ReplyBuffer::default();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                buffer.clear();
                write(&mut Reply::new(black_box(&mut buffer), Proto::Resp3));
                assert!(!buffer.is_empty());
            });
        });
    }
}

criterion_group!(benches, writer);
criterion_main!(benches);
