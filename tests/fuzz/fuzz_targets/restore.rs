//! RESTORE: any bytes behind a right checksum make a value or an error, and what was made is written
//! and read again as the same.
//!
//! Input: the payload without its version and checksum.
#![no_main]

use ironring::persist::dump::decode;
use ironring::persist::rdb::{Encoder, Loaded, VERSION_MAX};
use ironring::store::entry::{Entry, NewValue};
use ironring::types::Value;
use libfuzzer_sys::fuzz_target;

#[path = "../limits.rs"]
mod limits;

fuzz_target!(|bytes: &[u8]| {
    let Some(first) = written(bytes) else { return };
    let second = written(&first).expect("what was written is read");
    assert_eq!(second.len(), first.len());
});

/// The value that the bytes stand for, written anew.
fn written(bytes: &[u8]) -> Option<Vec<u8>> {
    let loaded = decode(bytes, &limits::small()).ok()?;
    let value = match &loaded {
        Loaded::Str(bytes) => NewValue::string(bytes),
        Loaded::Big(_) | Loaded::Collection(_) => match loaded {
            Loaded::Big(big) => NewValue::Boxed(Box::new(Value::String(big))),
            Loaded::Collection(collection) => NewValue::from(collection),
            Loaded::Str(_) => unreachable!("matched above"),
        },
    };
    let entry = Entry::new(b"key", value, None, 0);
    let mut encoder = Encoder::new(VERSION_MAX, true);
    encoder.byte(encoder.kind(entry.view().value()));
    encoder.value(entry.view().value());
    Some(encoder.into_pieces().concat())
}
