//! Sorted sets: the commands of the group `sorted-set`, by what they do, and what they share.
//!
//! Invariant: a sorted set that loses its last member loses its key. Every argument is checked before
//! anything is changed.

pub mod add;
pub mod algebra;
pub mod members;
pub mod pop;
pub mod range;
pub mod remove;

use crate::base::number::format_f64;
use crate::command::effects::EventClass;
use crate::command::{Argument, ArgumentKind, CommandError, Context};
use crate::encoding::listpack::Element;
use crate::resp::Proto;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::WrongType;
use crate::types::place::Collection;
use crate::types::zset::{Limits, Pair, ZSetRef};

/// The configured limits of the packed form.
#[inline]
fn limits(cx: &Context<'_>) -> Limits {
    Limits {
        entries: cx.config.zset_max_listpack_entries,
        value: usize::try_from(cx.config.zset_max_listpack_value).unwrap_or(usize::MAX),
        hash_key: cx.hasher.hash_key(),
    }
}

/// The sorted set at a key, read. None if there is none, an error at another type.
#[inline]
fn read<'c>(cx: &'c mut Context<'_>, key: &Key<'_>) -> Result<Option<ZSetRef<'c>>, WrongType> {
    cx.read(key).map(|entry| ZSetRef::of(entry.value())).transpose()
}

/// Writes a score.
#[inline]
fn write_score(reply: &mut Reply<'_>, score: f64) {
    reply.double(format_f64(score).as_bytes());
}

/// Writes a member as a bulk string.
#[inline]
fn write_member(reply: &mut Reply<'_>, member: Element<'_>) {
    match member {
        Element::Str(bytes) => reply.bulk(bytes),
        Element::Int(value) => reply.bulk_integer(value),
    }
}

/// Begins an array of `count` members: with their scores they are flat in RESP2, arrays of two in
/// RESP3.
#[inline]
fn begin_pairs(reply: &mut Reply<'_>, count: usize, with_scores: bool) {
    let flat = with_scores && reply.proto() == Proto::Resp2;
    reply.array(if flat { count * 2 } else { count });
}

/// Writes one element of such an array.
#[inline]
fn write_pair(reply: &mut Reply<'_>, pair: Pair<'_>, with_scores: bool) {
    if with_scores && reply.proto() == Proto::Resp3 {
        reply.array(2);
    }
    write_member(reply, pair.member);
    if with_scores {
        write_score(reply, pair.score);
    }
}

/// Reports that a sorted set lost `removed` members, at least one: the event, and the end of its key
/// if it is empty now.
#[inline]
fn lost(cx: &mut Context<'_>, key: &Key<'_>, event: &'static str, removed: u64, is_empty: bool) {
    cx.event(EventClass::SortedSet, event, key);
    if is_empty {
        cx.delete(key);
        cx.event(EventClass::Generic, "del", key);
    } else {
        cx.effects.changed(cx.session.db, key.bytes);
    }
    cx.effects.changed_many(removed - 1);
}

/// Stores the result of a command, of `len` members; an empty one deletes the key.
fn store(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    (result, len): (Collection, u64),
    event: &'static str,
    reply: &mut Reply<'_>,
) {
    if len > 0 {
        cx.set_collection(key, result, None);
        cx.event(EventClass::SortedSet, event, key);
    } else if cx.delete(key) {
        cx.event(EventClass::Generic, "del", key);
    }
    reply.count(len);
}

/// Answers with an error of this text.
fn refuse(reply: &mut Reply<'_>, text: &str) -> CommandError {
    reply.error(text);
    CommandError::Written
}

/// The key of nearly all commands.
const KEY: Argument = Argument::key("key", 0);
/// The keys of those that take several.
const KEYS: Argument = Argument::key("key", 0).multiple();
const MEMBER: Argument = Argument::new("member", ArgumentKind::String);
const MEMBERS: Argument = Argument::new("member", ArgumentKind::String).multiple();
const NUMKEYS: Argument = Argument::new("numkeys", ArgumentKind::Integer);
const WITHSCORES: Argument = Argument::token("withscores", "WITHSCORES").optional();
/// The most members that one ZRANDMEMBER repeats: a stock server accepts counts that it could never
/// finish to answer. A reply of so many needs gigabytes.
const REPEATED_MAX: i64 = 1 << 27;
