//! Whoever reads a replica sees a prefix of what its primary did.
//!
//! Invariant: the writer raises counters on all cores in a fixed order, and some of them inside
//! transactions; so of any two reads in one order the later one is never behind the earlier one by
//! more than that order allows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::client::{Client, encode};
use crate::support::server::Program as Binary;
use crate::{ask, follow, oracle, start, wait_for_link, wait_in_sync};

/// Keys in the order in which they are written; their slots lie in all quarters.
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const ROUNDS: usize = 2000;
/// Rounds of reading until the writer may stop.
const READS_MIN: usize = 100;
const PIPELINE: usize = 50;

fn number(client: &mut Client, key: &str) -> i64 {
    let reply = client.call(&["GET", key]).expect("a reply");
    let text = String::from_utf8_lossy(&reply).into_owned();
    text.lines().nth(1).map_or(0, |line| line.parse().expect("a number"))
}

#[test]
fn readers_see_a_prefix() {
    let Some(stock) = oracle() else { return };
    let primary = start(&stock, &[]);
    let replica = start(&Binary::Ours { cores: 4 }, &[]);
    follow(&replica, primary.port());
    wait_for_link(&replica);
    let (is_over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut rounds = 0;
    thread::scope(|scope| {
        let reader = |keys: Vec<&'static str>| {
            let (replica, is_over, reads) = (&replica, &is_over, &reads);
            scope.spawn(move || {
                let mut client = replica.client();
                while !is_over.load(Ordering::Acquire) {
                    // Written first, read last: it has to be at least as far.
                    let values: Vec<i64> =
                        keys.iter().rev().map(|key| number(&mut client, key)).collect();
                    let ascends = values.windows(2).all(|pair| pair[0] <= pair[1]);
                    assert!(ascends, "{keys:?} read backwards: {values:?}");
                    // Both sides of a transaction at one instant.
                    let pair = client.call(&["MGET", "left", "right"]).expect("a reply");
                    let pair = String::from_utf8_lossy(&pair).into_owned();
                    let values: Vec<&str> =
                        pair.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
                    assert!(values.is_empty() || values[0] == values[1], "{pair}");
                    reads.fetch_add(1, Ordering::AcqRel);
                }
            });
        };
        reader(KEYS.to_vec());
        reader(vec![KEYS[1], KEYS[4]]);
        let mut writer = primary.client();
        while rounds < ROUNDS || reads.load(Ordering::Acquire) < READS_MIN {
            let mut bytes = Vec::new();
            for key in KEYS {
                bytes.extend(encode(&["INCR", key]));
            }
            for line in ["MULTI", "INCR left", "INCR right", "EXEC"] {
                bytes.extend(encode(&line.split(' ').collect::<Vec<_>>()));
            }
            writer.send(&bytes.repeat(PIPELINE)).expect("it is sent");
            for _ in 0..PIPELINE * (KEYS.len() + 4) {
                writer.read_reply().expect("a reply");
            }
            rounds += PIPELINE;
        }
        wait_in_sync(&primary, &replica);
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(ask(&replica, "GET f"), format!("${}\r\n{rounds}", rounds.to_string().len()));
}
