//! The request parser: single commands, pipelines, inline commands, one command of a thousand words.
//!
//! `cargo bench --bench request -- --quick`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ironring::resp::request::{Limits, Partial, Step, encode, parse};

const LIMITS: Limits = Limits { authenticated: true, word_bytes_max: 512 << 20 };

fn get() -> Vec<u8> {
    encode(&["GET", "key:000000012345"])
}

fn set() -> Vec<u8> {
    encode(&["SET", "key:000000012345", "a value of thirty-two bytes long"])
}

fn mset(words: usize) -> Vec<u8> {
    let words: Vec<String> = (1..words).map(|number| format!("word:{number:010}")).collect();
    encode(&[vec!["MSET".to_owned()], words].concat())
}

fn parser(criterion: &mut Criterion) {
    let inputs = [
        ("get", get(), 1),
        ("set", set(), 1),
        ("set_pipeline_16", set().repeat(16), 16),
        ("set_pipeline_64", set().repeat(64), 64),
        ("get_inline", b"GET key:000000012345\r\n".to_vec(), 1),
        ("mset_1000_words", mset(1000), 1),
    ];
    let mut group = criterion.benchmark_group("request");
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    for (name, input, commands) in inputs {
        let (mut partial, mut ranges) = (Partial::default(), Vec::new());
        group.throughput(Throughput::Elements(commands));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                ranges.clear();
                let (buffer, mut at, mut parsed) = (black_box(&input), 0, 0);
                while let Step::Complete { next } =
                    parse(buffer, at, &LIMITS, &mut partial, &mut ranges)
                {
                    (at, parsed) = (next, parsed + 1);
                }
                assert_eq!(parsed, commands);
            });
        });
    }
}

criterion_group!(benches, parser);
criterion_main!(benches);
