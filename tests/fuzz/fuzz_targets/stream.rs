//! A stream's block: whatever the bytes are, they are refused or walked, changed and walked again,
//! and never a panic.
//!
//! Input: the bytes of a block.
#![no_main]

use ironring::types::stream::{Facts, Limits, NewId, Stream, StreamId, Trim, validate_block};
use libfuzzer_sys::fuzz_target;

const ID: StreamId = StreamId::new(5, 5);

fuzz_target!(|bytes: &[u8]| {
    let Some(length) = validate_block(ID, bytes) else { return };
    let facts = Facts { length, ..Facts::default() };
    let stream = Stream::from_blocks([(ID, bytes.to_vec())], facts);
    let mut stream = stream.expect("a block that is well-formed makes a stream");
    let ids = walk(&stream, false);
    assert_eq!(ids.len() as u64, length);
    assert!(ids.iter().rev().eq(&walk(&stream, true)));
    let limits = Limits { node_max_bytes: 4096, node_max_entries: 100 };
    let pairs = [(b"field".as_slice(), b"value".as_slice())].into_iter();
    let added = stream.append(NewId::Given(StreamId::MAX), 0, limits, pairs).is_ok();
    assert!(added);
    if let Some(last) = ids.last() {
        stream.delete([*last]);
    }
    stream.trim(Trim::MaxLen(length / 2), false, 0);
    walk(&stream, false);
    walk(&stream, true);
});

/// The ids of the entries, all of which are read.
fn walk(stream: &Stream, backward: bool) -> Vec<StreamId> {
    let mut range = stream.entries().range(StreamId::MIN, StreamId::MAX, backward);
    let mut ids = Vec::new();
    while let Some((id, _)) = range.next() {
        while range.field().is_some() {}
        ids.push(id);
    }
    ids
}
