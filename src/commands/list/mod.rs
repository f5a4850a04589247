//! Lists: the commands of the group `list`, by what they do, and what they share.
//!
//! Invariant: a list that loses its last element loses its key. Every argument is checked before
//! anything is changed. Large elements keep the chunks that they were received in.

pub mod blocking;
pub mod elements;
pub mod ends;
pub mod moving;
pub mod search;

use std::sync::atomic::Ordering;

use crate::command::args::ArgValue;
use crate::command::effects::EventClass;
use crate::command::{Access, Args, Argument, ArgumentKind, CommandError, Context, KeySpec};
use crate::resp::reply::Reply;
use crate::store::entry::EntryMut;
use crate::store::key::Key;
use crate::types::list::{End, Item, Limits, ListMut, ListRef, Walk};
use crate::types::{Value, WrongType};

const KEY: Argument = Argument::key("key", 0);
const ELEMENT: Argument = Argument::new("element", ArgumentKind::String);
const LEFT_OR_RIGHT: &[Argument] =
    &[Argument::token("left", "LEFT"), Argument::token("right", "RIGHT")];
const WHERE: Argument = Argument::one_of("where", LEFT_OR_RIGHT);
const TIMEOUT: Argument = Argument::new("timeout", ArgumentKind::Double);
const READ: &[KeySpec] = &[KeySpec::one(1, Access::RO.with(Access::ACCESS))];
const INSERT: &[KeySpec] = &[KeySpec::one(1, Access::RW.with(Access::INSERT))];
const TAKE: Access = Access::RW.with(Access::ACCESS).with(Access::DELETE);

/// The configured limits of nodes and listpacks.
#[inline]
pub(in crate::commands) fn limits(cx: &Context<'_>) -> Limits {
    Limits {
        fill: cx.config.list_max_listpack_size,
        depth: cx.config.list_compress_depth,
        packed_threshold: cx.server.list_packed_threshold.load(Ordering::Relaxed),
    }
}

/// The list at a key, read as by `Context::read`. None if there is none.
#[inline]
fn read<'c>(cx: &'c mut Context<'_>, key: &Key<'_>) -> Result<Option<ListRef<'c>>, WrongType> {
    cx.read(key).map(|entry| ListRef::of(entry.value())).transpose()
}

/// An argument as an element.
#[inline]
fn item(value: ArgValue<'_>) -> Item<'_> {
    match value {
        ArgValue::Bytes(bytes) => Item::Str(bytes),
        ArgValue::Big(string) => Item::Big(string),
    }
}

/// Writes an element as a bulk string.
#[inline]
fn write(reply: &mut Reply<'_>, item: Item<'_>) {
    match item {
        Item::Int(value) => reply.bulk_integer(value),
        Item::Str(bytes) => reply.bulk(bytes),
        Item::Big(string) => reply.bulk_chunks(string.len(), string.chunks().iter()),
    }
}

/// Writes an array of `count` elements from `index` on in the direction of `end`; they are there.
#[inline]
fn write_range(reply: &mut Reply<'_>, list: ListRef<'_>, index: u64, count: u64, end: End) {
    reply.array(count as usize);
    let mut left = count;
    list.visit(index, end, |item| {
        write(reply, item);
        left -= 1;
        if left == 0 { Walk::Stop } else { Walk::On }
    });
}

/// LEFT or RIGHT in word `index`.
fn end_of(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    match args.get(index) {
        word if word.eq_ignore_ascii_case(b"left") => Ok(End::Head),
        word if word.eq_ignore_ascii_case(b"right") => Ok(End::Tail),
        _ => Err(CommandError::Syntax),
    }
}

/// The event and the command of a push at an end.
fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

/// The event of a pop from an end.
fn pop_event(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

/// The command of a pop from an end, for the journal.
fn pop_command(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

/// An index that may count from the end, from the beginning. None if it is beyond either.
fn absolute(index: i64, len: u64) -> Option<u64> {
    let index = if index < 0 { index.checked_add_unsigned(len)? } else { index };
    u64::try_from(index).ok().filter(|index| *index < len)
}

/// The first element and the number of elements of a range, both of whose ends may count from the
/// end of the list. None if it is empty.
fn range(start: i64, stop: i64, len: u64) -> Option<(u64, u64)> {
    let from_end = |index: i64| if index < 0 { index.saturating_add_unsigned(len) } else { index };
    let start = from_end(start).max(0) as u64;
    let stop = u64::try_from(from_end(stop)).ok()?.min(len.checked_sub(1)?);
    (start <= stop).then(|| (start, stop - start + 1))
}

/// What a list has lost.
struct Loss {
    elements: u64,
    is_empty: bool,
    /// Too much to be freed at once.
    removed: Option<Box<Value>>,
}

/// Writes up to `count` elements from an end as an array and removes them.
fn take_many(
    entry: &mut EntryMut<'_>,
    (end, count): (End, u64),
    limits: Limits,
    reply: &mut Reply<'_>,
) -> Result<Loss, WrongType> {
    let mut list = ListMut::of(entry, limits)?;
    let len = list.view().len();
    let elements = count.min(len);
    if elements == 0 {
        reply.array(0);
        return Ok(Loss { elements, is_empty: false, removed: None });
    }
    let (first, towards, from) = match end {
        End::Head => (0, End::Tail, 0),
        End::Tail => (len - 1, End::Head, len - elements),
    };
    write_range(reply, list.view(), first, elements, towards);
    let is_empty = elements == len;
    // An empty list goes with its key, so its elements need not be removed.
    let removed = if is_empty { None } else { list.remove_range(from, elements) };
    Ok(Loss { elements, is_empty, removed })
}

/// Reports that a list lost elements: the event, and the end of its key if it is empty now.
#[inline]
fn lost(cx: &mut Context<'_>, key: &Key<'_>, event: &'static str, loss: Loss) {
    cx.event(EventClass::List, event, key);
    cx.replaced.extend(loss.removed);
    if loss.is_empty {
        cx.delete(key);
        cx.effects.changed_many(loss.elements.saturating_sub(1));
        cx.event(EventClass::Generic, "del", key);
    } else {
        cx.effects.changed_along(cx.session.db, key.bytes);
        cx.effects.changed_many(loss.elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_list() {
        assert_eq!(range(0, -1, 5), Some((0, 5)));
        assert_eq!(range(-3, 3, 5), Some((2, 2)));
        assert_eq!(range(i64::MIN, i64::MAX, 5), Some((0, 5)));
        assert_eq!(range(3, 2, 5), None);
        assert_eq!(range(5, 9, 5), None);
        assert_eq!(range(0, -6, 5), None);
        assert_eq!(range(0, i64::MIN, 5), None);
        assert_eq!(range(0, 0, 0), None);
    }

    #[test]
    fn indexes_count_from_either_end() {
        assert_eq!(absolute(0, 3), Some(0));
        assert_eq!(absolute(2, 3), Some(2));
        assert_eq!(absolute(3, 3), None);
        assert_eq!(absolute(-1, 3), Some(2));
        assert_eq!(absolute(-3, 3), Some(0));
        assert_eq!(absolute(-4, 3), None);
        assert_eq!(absolute(i64::MIN, 3), None);
        assert_eq!(absolute(i64::MAX, 3), None);
    }
}
