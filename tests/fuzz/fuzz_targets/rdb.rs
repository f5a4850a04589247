//! RDB files: whatever bytes come, and wherever they are cut, the same records or the same error come
//! out, and what a record says of a value is decoded or refused, and never a panic.
//!
//! Input: where the bytes are cut, then the file.
#![no_main]

use ironring::persist::rdb::file::{FileReader, Record};
use ironring::persist::rdb::{Checks, Limits, Reader, decode};
use libfuzzer_sys::fuzz_target;

#[path = "../limits.rs"]
mod limits;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let limits = limits::small();
    let cut = usize::from(cut).min(bytes.len());
    let whole = records(&[bytes], &limits);
    assert_eq!(records(&[&bytes[..cut], &bytes[cut..]], &limits), whole);
});

/// What the records say, and the error at the end, if there is one.
fn records(pieces: &[&[u8]], limits: &Limits) -> Vec<String> {
    // Without what hides all else.
    let mut reader = FileReader::new(Checks { sum: false, version: false });
    let mut found = Vec::new();
    for at in 0..=pieces.len() {
        match pieces.get(at) {
            Some(piece) => reader.feed(piece),
            None => reader.finish(),
        }
        loop {
            match reader.next_record() {
                Ok(None) => break,
                Ok(Some(Record::End(_))) => return found,
                Ok(Some(Record::Key(key))) => {
                    let value = decode::value(&mut Reader::new(key.value), key.kind, limits);
                    found.push(format!("{:?} {}", key.key, value.is_ok()));
                }
                Ok(Some(record)) => found.push(format!("{record:?}")),
                Err(error) => {
                    found.push(error.to_string());
                    return found;
                }
            }
        }
    }
    found
}
