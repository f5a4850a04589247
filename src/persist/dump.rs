//! What DUMP answers and RESTORE takes: one value as RDB, with a version and a checksum; the same of
//! libraries of functions, for FUNCTION DUMP and FUNCTION RESTORE.
//! Invariant: a payload whose checksum is right may still be anybody's; its value is decoded as if
//! it were not. Source: DUMP and RESTORE of Redis 8.0.
//!
//! ```text
//! | type | value | version u16 | CRC-64 of all before u64 |             little-endian
//! ```

use std::borrow::Cow;

use bytes::Bytes;

use super::rdb::decode::{self, Limits, Loaded};
use super::rdb::{Checks, Encoder, Malformed, Reader, VERSION_MAX, opcode};
use crate::base::crc::crc64;
use crate::types::ValueRef;

/// The value as DUMP answers it, in pieces, for servers that know this version. `compresses` is
/// rdbcompression.
pub fn encode(value: ValueRef<'_>, version: u16, compresses: bool) -> Vec<Bytes> {
    let mut encoder = Encoder::new(version, compresses);
    encoder.byte(encoder.kind(value));
    encoder.value(value);
    let mut pieces = encoder.into_pieces();
    let version = version.to_le_bytes();
    let crc = pieces.iter().fold(0, |crc, piece| crc64(crc, piece));
    let crc = crc64(crc, &version);
    pieces.push(Bytes::from([&version[..], &crc.to_le_bytes()].concat()));
    pieces
}

/// A payload without its footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What it says.
    pub bytes: &'a [u8],
    /// The version that it is written in.
    pub version: u16,
}

impl Payload<'_> {
    /// The form of its value, in words.
    pub fn form(&self) -> &'static str {
        let kind = self.bytes.first().map(|kind| opcode::kind_of(*kind, self.version.into()));
        kind.map_or("Empty payload", opcode::form)
    }
}

/// A payload whose version and checksum are right.
pub fn check(payload: &[u8], checks: Checks) -> Result<Payload<'_>, WrongFooter> {
    let (checked, crc) = payload.split_last_chunk().ok_or(WrongFooter)?;
    let (bytes, version) = checked.split_last_chunk().ok_or(WrongFooter)?;
    let version = u16::from_le_bytes(*version);
    let is_right = checks.accept(version.into())
        && (!checks.sum || u64::from_le_bytes(*crc) == crc64(0, checked));
    if is_right { Ok(Payload { bytes, version }) } else { Err(WrongFooter) }
}

/// The value of a payload.
pub fn decode<'a>(payload: Payload<'a>, limits: &Limits) -> Result<Loaded<'a>, Malformed> {
    let mut reader = Reader::new(payload.bytes);
    let kind = opcode::kind_of(reader.byte()?, payload.version.into());
    decode::value(&mut reader, kind, limits)
}

/// The opcode of a library: its text.
const LIBRARY: u8 = 245;
/// The same in a form that only release candidates wrote.
const LIBRARY_EARLY: u8 = 246;

/// The texts of libraries as FUNCTION DUMP answers them.
pub fn encode_libraries<'a>(texts: impl Iterator<Item = &'a [u8]>, compresses: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(VERSION_MAX, compresses);
    for text in texts {
        encoder.byte(LIBRARY);
        encoder.string(text);
    }
    let mut payload = encoder.into_pieces().concat();
    payload.extend_from_slice(&VERSION_MAX.to_le_bytes());
    let crc = crc64(0, &payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The texts of libraries that `check` has left. An error is what FUNCTION RESTORE says.
pub fn decode_libraries(bytes: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, &'static str> {
    let mut reader = Reader::new(bytes);
    let mut texts = Vec::new();
    while !reader.rest().is_empty() {
        match reader.byte().map_err(|_| "can not read data type")? {
            LIBRARY => {}
            LIBRARY_EARLY => return Err("Pre-GA function format not supported"),
            _ => return Err("given type is not a function"),
        }
        texts.push(reader.string().map_err(|_| "Failed loading library payload")?);
    }
    Ok(texts)
}

/// The payload's version or checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongFooter;
