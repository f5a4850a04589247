//! One whole turn of a core, from received bytes to queued sends, on a ring without a kernel:
//! GET, SET and MGET on 100 000 keys in random order; 1, 16 and 64 commands from each of 1 and 50
//! clients.
//!
//! `cargo bench --bench turn -- --quick`; `cargo bench --bench turn -- --count GET 64 2000` runs
//! that many turns and nothing else, for a profiler that counts instructions.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use ironring::base::rng::Rng;
use support::scripted::{Scripted, pipeline};

#[global_allocator]
static ALLOCATOR: ironring::base::alloc::Counting<ironring::base::alloc::Mimalloc> =
    ironring::base::alloc::Counting(ironring::base::alloc::Mimalloc);

const KEYS: usize = 100_000;
const VALUE: [u8; 32] = [b'v'; 32];
/// Commands of a request that fills the keyspace.
const FILL: usize = 1000;
/// Different requests of each kind: enough for the keys to be all over the table.
const REQUESTS: usize = 500;
/// Keys of one MGET.
const MGET_KEYS: usize = 10;

fn key(number: usize) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn command(name: &str, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut words = vec![name.as_bytes().to_vec()];
    let keys = if name == "MGET" { MGET_KEYS } else { 1 };
    words.extend((0..keys).map(|_| key(rng.below(KEYS as u64) as usize)));
    if name == "SET" {
        words.push(VALUE.to_vec());
    }
    words
}

/// A core with all keys, and `REQUESTS` requests of `depth` commands.
fn filled(name: &str, clients: usize, depth: usize) -> Scripted {
    let mut rng = Rng::new(7);
    let set = |number| vec![b"SET".to_vec(), key(number), VALUE.to_vec()];
    let fills = (0..KEYS / FILL)
        .map(|fill| pipeline(&(fill * FILL..(fill + 1) * FILL).map(set).collect::<Vec<_>>()));
    let random = (0..REQUESTS)
        .map(|_| pipeline(&(0..depth).map(|_| command(name, &mut rng)).collect::<Vec<_>>()));
    let mut core = Scripted::new(clients, fills.chain(random).collect());
    for fill in 0..KEYS / FILL {
        core.send(0, fill);
        core.turn();
    }
    core
}

/// The next request of every client, and the turn that answers them.
fn turn(core: &mut Scripted, clients: usize, next: &mut usize) {
    for client in 0..clients {
        *next = (*next + 1) % REQUESTS;
        core.send(client, KEYS / FILL + *next);
    }
    assert!(core.turn() > 0, "replies went out");
}

fn turns(criterion: &mut Criterion) {
    for name in ["GET", "SET", "MGET"] {
        let mut group = criterion.benchmark_group(name);
        group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
        for clients in [1, 50] {
            for depth in [1, 16, 64] {
                let (mut core, mut next) = (filled(name, clients, depth), 0);
                group.throughput(Throughput::Elements((clients * depth) as u64));
                group.bench_function(format!("clients_{clients}_depth_{depth}"), |bench| {
                    bench.iter(|| turn(&mut core, clients, &mut next));
                });
            }
        }
    }
}

/// `--count COMMAND DEPTH TURNS`: turns of one client, without a clock.
fn count(words: &[String]) {
    let [name, depth, turns] = words else { panic!("--count COMMAND DEPTH TURNS") };
    let number = |word: &String| word.parse().expect("a number");
    let (mut core, mut next) = (filled(name, 1, number(depth)), 0);
    for _ in 0..number(turns) {
        turn(&mut core, 1, &mut next);
    }
}

fn main() {
    ironring::base::alloc::register_thread();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--count") {
        return count(&words[at + 1..words.len().min(at + 4)]);
    }
    let mut criterion = Criterion::default().configure_from_args();
    turns(&mut criterion);
    criterion.final_summary();
}
