//! The reader against streams that are cut anywhere.

use super::*;
use crate::base::rng::Rng;
use crate::replication::link::request;

fn router() -> Router {
    Box::new(|bytes, words| {
        let name = bytes[..words[0] as usize].to_ascii_uppercase();
        match &name[..] {
            b"SELECT" => Route::Select,
            b"MULTI" | b"EXEC" => Route::Bracket,
            b"SET" => Route::Owner(0, 1),
            b"FLUSHALL" => Route::Everywhere(2),
            _ => Route::Unknown,
        }
    })
}

fn command(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    request(&words)
}

/// The chunks of a stream that comes in pieces of at most so many bytes: for each the database and the
/// bytes of the words of its commands, and where it ends.
fn read(bytes: &[u8], seed: u64) -> (Vec<(Vec<(usize, String)>, u64, bool)>, Vec<u8>) {
    let (mut rng, mut reader) = (Rng::new(seed), Reader::new(9, 100, 0, 16));
    let (mut chunks, mut passed, mut rest) = (Vec::new(), Vec::new(), bytes);
    let mut router = router();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + rng.below(60) as usize).min(rest.len()));
        rest = later;
        reader.feed(now, &mut router).expect("a good stream");
        while let Some(chunk) = reader.take() {
            assert_eq!(chunk.term, 9);
            passed.extend_from_slice(&chunk.bytes);
            assert_eq!(chunk.end, 100 + passed.len() as u64);
            let lines = chunk.lines.iter();
            let lines = lines.map(|one| (one.db, String::from_utf8_lossy(one.bytes).into_owned()));
            chunks.push((lines.collect(), chunk.end, chunk.asks));
        }
    }
    assert_eq!(reader.read(), 100 + bytes.len() as u64);
    (chunks, passed)
}

#[test]
fn chunks_are_the_stream_and_never_split_a_transaction() {
    let lines = [
        "SELECT 3",
        "SET a 1",
        "MULTI",
        "SET b 2",
        "SELECT 5",
        "SET c 3",
        "EXEC",
        "SET d 4",
        "WHATEVER x",
        "PING",
        "REPLCONF GETACK *",
        "SET e 5",
    ];
    let bytes: Vec<u8> = lines.iter().flat_map(|line| command(line)).collect();
    for seed in 0..300 {
        let (chunks, passed) = read(&bytes, seed);
        assert_eq!(passed, bytes, "seed {seed}");
        let all: Vec<(usize, String)> = chunks.iter().flat_map(|one| one.0.clone()).collect();
        let expected = [(3, "SETa1"), (3, "SETb2"), (5, "SETc3"), (5, "SETd4"), (5, "SETe5")];
        let expected = expected.map(|(db, text)| (db, text.to_owned()));
        assert_eq!(all, expected, "seed {seed}");
        for (lines, ..) in &chunks {
            let has = |text: &str| lines.iter().any(|(_, line)| line == text);
            assert_eq!(has("SETb2"), has("SETc3"), "seed {seed}");
        }
        assert_eq!(chunks.iter().filter(|(.., asks)| *asks).count(), 1);
    }
}

#[test]
fn half_a_transaction_waits_and_empty_lines_count() {
    let mut reader = Reader::new(1, 0, 0, 16);
    let bytes =
        [&b"\r\n\n"[..], &command("SET a 1"), &command("MULTI"), &command("SET b 1")].concat();
    reader.feed(&bytes, &mut router()).expect("a good stream");
    let chunk = reader.take().expect("a chunk");
    assert_eq!(chunk.lines.iter().count(), 1);
    assert_eq!(chunk.end, 3 + command("SET a 1").len() as u64);
    assert!(reader.take().is_none());
    reader.feed(&command("EXEC"), &mut router()).expect("a good stream");
    assert_eq!(reader.take().expect("a chunk").lines.iter().count(), 1);
}

#[test]
fn a_long_transaction_is_a_chunk_of_its_own() {
    let mut bytes = command("SET before 1");
    bytes.extend(command("MULTI"));
    for _ in 0..5000 {
        bytes.extend(command("SET key aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    }
    bytes.extend(command("EXEC"));
    bytes.extend(command("SET after 1"));
    let mut reader = Reader::new(1, 0, 0, 16);
    reader.feed(&bytes, &mut router()).expect("a good stream");
    let counts: Vec<usize> =
        std::iter::from_fn(|| reader.take()).map(|chunk| chunk.lines.iter().count()).collect();
    assert_eq!(counts, [1, 5000, 1]);
}

#[test]
fn what_is_no_stream_is_a_fault() {
    for (bytes, said) in [
        (&b"GET a\r\n"[..], "not made of commands"),
        (b"#CRC:1 2\r\n", "not made of commands"),
        (b"*1\r\n$99999999999999999999\r\n", "broken"),
        (b"*-1\r\n", "broken"),
        (b"*1\r\n+OK\r\n", "broken"),
        (&command("SELECT 16"), "database"),
        (&command("SELECT x"), "database"),
    ] {
        let fault = Reader::new(1, 0, 0, 16).feed(bytes, &mut router()).expect_err("a fault");
        assert!(fault.0.contains(said), "{fault:?}");
    }
}

#[test]
fn noise_never_panics() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let alphabet = b"*$\r\n0123456789SETMULTIEXEC \0\xff";
        let mut bytes = command("SET a 1");
        for _ in 0..rng.below(200) {
            bytes.push(alphabet[rng.below(alphabet.len() as u64) as usize]);
        }
        let mut reader = Reader::new(1, 0, 0, 16);
        let _ = reader.feed(&bytes, &mut router());
        while reader.take().is_some() {}
    }
}
