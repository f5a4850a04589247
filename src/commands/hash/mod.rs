//! Hashes.
//!
//! Invariant: a field that has expired is never answered with; whoever meets one by name deletes it,
//! and the hash with its last field, which is counted, announced and propagated. The table of keys
//! hears of every change of what expires (`EntryMut::note_fields`).
//! Source: the hash group of the command reference.

pub mod expire;
pub mod extended;
pub mod random;
pub mod read;
pub mod scan;
pub mod write;

use crate::command::{
    Access, Acl, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    KeySpec,
};
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::WrongType;
use crate::types::hash::{HashLimits, HashMut, HashRef, Pair};

/// What the commands that read a hash have in common.
const READS: Command = Command {
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.with(Flags::FAST),
    acl: Acl::HASH,
    keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
    arguments: &[Argument::key("key", 0), Argument::new("field", ArgumentKind::String)],
    ..Command::BASE
};

/// What the commands that set fields have in common.
const WRITES: Command = Command {
    since: "2.0.0",
    group: Group::Hash,
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
    acl: Acl::HASH,
    keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
    ..Command::BASE
};

/// FIELDS, how many, and which.
const FIELDS: Argument = Argument::block(
    "fields",
    &[
        Argument::new("numfields", ArgumentKind::Integer),
        Argument::new("field", ArgumentKind::String).multiple(),
    ],
)
.after("FIELDS");

/// What is packed by the configuration.
fn limits(cx: &Context<'_>) -> HashLimits {
    HashLimits {
        entries: cx.config.hash_max_listpack_entries,
        value: cx.config.hash_max_listpack_value,
        key: cx.hasher.hash_key(),
    }
}

/// The hash at a key, read; None if there is none.
#[inline]
fn open<'c>(cx: &'c mut Context<'_>, key: &Key<'_>) -> Result<Option<HashRef<'c>>, WrongType> {
    cx.read(key).map(|entry| HashRef::of(entry.value())).transpose()
}

/// The hash at a key that is going to be changed.
fn open_write<'c>(
    cx: &'c mut Context<'_>,
    key: &Key<'_>,
) -> Result<Option<HashRef<'c>>, WrongType> {
    cx.write(key).map(|entry| HashRef::of(entry.into_view().value())).transpose()
}

/// What became of a field that a command asked for.
enum Found<'a> {
    /// It is there.
    Live(Pair<'a>),
    /// It is there, and has expired.
    Expired,
    /// It is not there.
    Missing,
}

impl<'a> Found<'a> {
    #[inline]
    fn of(hash: HashRef<'a>, field: &[u8], now: i64) -> Self {
        match hash.get(field) {
            Some(pair) if pair.is_expired(now) => Self::Expired,
            Some(pair) => Self::Live(pair),
            None => Self::Missing,
        }
    }
}

/// Deletes a field that has expired; true if it was the last one. Tells nobody of the key: see
/// `announce_expired`.
#[cold]
fn drop_expired(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8]) -> bool {
    let db = cx.db_index();
    cx.stats.totals.expired_subkeys.add(1);
    cx.effects.field_expired(db, key.bytes, field);
    remove_field(cx, key, field);
    is_empty(cx, key)
}

/// Deletes a field that has expired, and the hash with its last one, and announces that.
#[cold]
fn expire_field(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8]) {
    let emptied = drop_expired(cx, key, field);
    announce_expired(cx, key, emptied);
}

/// The same for a command that met the field in passing, if it has expired. Counts as no look-up.
pub(super) fn expire_if_due(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8]) {
    if !cx.deletes_expired() {
        return;
    }
    let (db, now) = (cx.db_index(), cx.expiry_now());
    let entry = cx.db(db, key).peek(key).filter(|entry| !entry.is_expired(now));
    let found = entry.and_then(|entry| HashRef::of(entry.value()).ok());
    let now = now.0;
    let found = found.filter(|hash| hash.may_have_expired(now));
    if found.is_some_and(|hash| matches!(Found::of(hash, field, now), Found::Expired)) {
        expire_field(cx, key, field);
    }
}

/// Announces that fields expired; with the last one the key goes.
fn announce_expired(cx: &mut Context<'_>, key: &Key<'_>, emptied: bool) {
    let db = cx.db_index();
    cx.effects.fields_expired(db, key.bytes, emptied);
    if emptied {
        drop_key(cx, key);
    }
}

/// Takes a field out of the hash at a key and reports nothing.
fn remove_field(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8]) -> bool {
    let db = cx.db_index();
    let Some(mut entry) = cx.db(db, key).entry(key) else { return false };
    let removed = HashMut::of(&mut entry).is_ok_and(|mut hash| hash.remove(field));
    entry.note_fields();
    removed
}

/// True if the hash at a key has no field left.
fn is_empty(cx: &mut Context<'_>, key: &Key<'_>) -> bool {
    let db = cx.db_index();
    let entry = cx.db(db, key).peek(key);
    entry.is_some_and(|entry| HashRef::of(entry.value()).is_ok_and(HashRef::is_empty))
}

/// Takes a key out that lost its last field and reports nothing.
fn drop_key(cx: &mut Context<'_>, key: &Key<'_>) {
    let db = cx.db_index();
    let entry = cx.db(db, key).delete(key);
    cx.removed.extend(entry);
}

/// Writes a field or value as a bulk string.
#[inline]
fn bulk(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Str(bytes) => reply.bulk(bytes),
        Element::Int(value) => reply.bulk_integer(value),
    }
}

/// The error of a request with too few or too many words.
fn wrong_arity(reply: &mut Reply<'_>, command: &str) -> CommandError {
    reply.error(format!("ERR wrong number of arguments for '{command}' command"));
    CommandError::Written
}

/// Counts `count` changes of a key that `Context::changed` counts once.
fn count_changes(cx: &mut Context<'_>, count: usize) {
    cx.effects.changed_many(count.saturating_sub(1) as u64);
}

/// Deletes a field that gets an expiry which has come already, and tells replicas so.
fn delete_field_now(cx: &mut Context<'_>, key: &Key<'_>, field: &[u8]) {
    let db = cx.db_index();
    cx.stats.totals.expired_subkeys.add(1);
    cx.effects.field_expired(db, key.bytes, field);
    remove_field(cx, key, field);
}

/// Deletes the hash at a key, and announces that, if it has no field left.
fn announce_emptied(cx: &mut Context<'_>, key: &Key<'_>) {
    if is_empty(cx, key) {
        drop_key(cx, key);
        cx.event(crate::command::effects::EventClass::Generic, "del", key);
    }
}
