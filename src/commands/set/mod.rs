//! Sets: the commands of the group `set`, by what they do, and what they share.
//!
//! Invariant: a set that loses its last member loses its key. Every argument is checked before
//! anything is changed.

pub mod algebra;
pub mod members;
pub mod random;

use crate::base::number;
use crate::command::Context;
use crate::command::effects::EventClass;
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::set::Limits;

/// The configured limits of the packed forms.
#[inline]
fn limits(cx: &Context<'_>) -> Limits {
    Limits {
        intset_entries: cx.config.set_max_intset_entries,
        listpack_entries: cx.config.set_max_listpack_entries,
        listpack_value: cx.config.set_max_listpack_value,
        hash_key: cx.hasher.hash_key(),
    }
}

/// Writes a member as a bulk string.
#[inline]
fn write(reply: &mut Reply<'_>, member: Element<'_>) {
    match member {
        Element::Str(bytes) => reply.bulk(bytes),
        Element::Int(value) => reply.bulk_integer(value),
    }
}

/// Reports that a set lost `removed` members, at least one: the event, and the end of its key if it is
/// empty now.
#[inline]
fn lost(cx: &mut Context<'_>, key: &Key<'_>, event: &'static str, removed: u64, is_empty: bool) {
    cx.event(EventClass::Set, event, key);
    if is_empty {
        cx.delete(key);
        cx.event(EventClass::Generic, "del", key);
    } else {
        cx.effects.changed(cx.session.db, key.bytes);
    }
    cx.effects.changed_many(removed - 1);
}

/// A number that is not negative. None for anything else.
fn natural(word: &[u8]) -> Option<u64> {
    number::parse_i64(word).and_then(|value| u64::try_from(value).ok())
}
