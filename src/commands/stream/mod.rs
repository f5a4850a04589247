//! Streams: the commands of the group `stream`, by what they work on, and what they share.
//!
//! Invariant: what changes groups only (claims, acknowledgements, reads of a group) counts as a
//! change but is no change of the key: WATCH does not see it, as in a stock server.

pub mod entries;
pub mod group;
pub mod info;
mod options;
pub mod pending;
pub mod read;

use crate::base::time::Millis;
use crate::base::words::c_string;
use crate::command::{Args, CommandError, Context};
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::WrongType;
use crate::types::stream::{Group, Nack, Range, Stream, StreamId};

/// The stream at a key, read as by `Context::read`.
fn read<'c>(cx: &'c mut Context<'_>, key: &Key<'_>) -> Result<Option<&'c Stream>, WrongType> {
    cx.read(key).map(|entry| Stream::of(entry.value())).transpose()
}

/// An id in full, or its milliseconds, whose first number is meant.
fn id(text: &[u8]) -> Result<StreamId, CommandError> {
    StreamId::parse(text, 0).ok_or(CommandError::InvalidStreamId)
}

/// Checks that the words from `first` on are ids: none of them takes effect if one is not.
fn check_ids(args: Args<'_>, first: usize) -> Result<(), CommandError> {
    args.iter_from(first).try_for_each(|text| id(text).map(|_| ()))
}

/// The first id of an interval: `(` leaves the id itself out.
fn interval_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id_text @ ..] if !id_text.is_empty() => {
            id(id_text)?.next().ok_or(CommandError::IntervalStart)
        }
        _ => StreamId::parse_edge(text, 0).ok_or(CommandError::InvalidStreamId),
    }
}

/// The last id of an interval; of milliseconds alone the last number is meant.
fn interval_end(text: &[u8]) -> Result<StreamId, CommandError> {
    let invalid = CommandError::InvalidStreamId;
    match text {
        [b'(', id_text @ ..] if !id_text.is_empty() => {
            let end = StreamId::parse(id_text, u64::MAX).ok_or(invalid)?;
            end.previous().ok_or(CommandError::IntervalEnd)
        }
        _ => StreamId::parse_edge(text, u64::MAX).ok_or(invalid),
    }
}

/// Writes an id.
#[inline]
fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.text().as_bytes());
}

/// Writes the entry that a walk has come to: its id, and its fields and values.
#[inline]
fn reply_entry(reply: &mut Reply<'_>, id: StreamId, fields: usize, range: &mut Range<'_>) {
    reply.array(2);
    reply_id(reply, id);
    reply.array(fields * 2);
    while let Some((field, value)) = range.field() {
        reply_element(reply, field);
        reply_element(reply, value);
    }
}

#[inline]
fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Str(bytes) => reply.bulk(bytes),
        Element::Int(value) => reply.bulk_integer(value),
    }
}

/// Writes the entries of a walk, at most `count` of them (0: all).
fn reply_entries(reply: &mut Reply<'_>, range: &mut Range<'_>, count: u64) {
    let place = reply.defer();
    let mut written = 0u64;
    while (count == 0 || written < count)
        && let Some((id, fields)) = range.next()
    {
        reply_entry(reply, id, fields, range);
        written += 1;
    }
    reply.array_at(place, written as usize);
}

/// Writes one entry; false, and nothing, if it is not there.
fn reply_one(reply: &mut Reply<'_>, mut range: Range<'_>) -> bool {
    match range.next() {
        None => false,
        Some((id, fields)) => {
            reply_entry(reply, id, fields, &mut range);
            true
        }
    }
}

/// The error for a key without a stream or a stream without the group.
fn no_group(reply: &mut Reply<'_>, key: &[u8], group: &[u8], behind: &str) -> CommandError {
    let parts: [&[u8]; 6] = [
        b"NOGROUP No such key '",
        c_string(key),
        b"' or consumer group '",
        c_string(group),
        b"'",
        behind.as_bytes(),
    ];
    reply.error(parts.concat());
    CommandError::Written
}

/// The error for a stream without the group.
fn no_group_of_key(reply: &mut Reply<'_>, key: &[u8], group: &[u8]) -> CommandError {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such consumer group '",
        c_string(group),
        b"' for key name '",
        c_string(key),
        b"'",
    ];
    reply.error(parts.concat());
    CommandError::Written
}

/// A change of what is pending, as it is propagated.
struct Claim {
    id: StreamId,
    nack: Nack,
    consumer: Box<[u8]>,
    /// The last id of the group when it happened.
    last_id: StreamId,
}

impl Claim {
    /// What is pending for an entry now.
    fn of(group: &Group, id: StreamId, nack: Nack) -> Self {
        let consumer = group.consumer(nack.consumer).name.clone();
        Claim { id, nack, consumer, last_id: group.last_id }
    }
}

/// Propagates changes of what is pending, each as a claim that means the same wherever and whenever
/// it is applied.
fn propagate_claims(cx: &mut Context<'_>, (key, group): (&[u8], &[u8]), claims: &[Claim]) {
    let db = cx.db_index();
    for claim in claims {
        let (id, last_id) = (claim.id.text(), claim.last_id.text());
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        cx.effects.propagate(
            db,
            &[
                b"XCLAIM",
                key,
                group,
                &claim.consumer,
                b"0",
                id.as_bytes(),
                b"TIME",
                time.format(claim.nack.delivered.0).as_bytes(),
                b"RETRYCOUNT",
                count.format(claim.nack.count).as_bytes(),
                b"FORCE",
                b"JUSTID",
                b"LASTID",
                last_id.as_bytes(),
            ],
        );
    }
}

/// Propagates how far a group has read.
fn propagate_group_id(
    cx: &mut Context<'_>,
    (key, group): (&[u8], &[u8]),
    (last_id, entries_read): (StreamId, Option<u64>),
) {
    if !cx.effects.wants_lines() {
        return;
    }
    let db = cx.db_index();
    let mut digits = itoa::Buffer::new();
    let read = entries_read.map_or("-1", |read| digits.format(read));
    let id = last_id.text();
    let words: [&[u8]; 7] =
        [b"XGROUP", b"SETID", key, group, id.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
    cx.effects.propagate(db, &words);
}

/// Milliseconds from `then` to `now`; negative if the clock went back.
fn elapsed(now: Millis, then: Millis) -> i64 {
    now.0.saturating_sub(then.0)
}
