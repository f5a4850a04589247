//! Lists: what is pushed and popped at their ends.

use super::*;
use crate::base::number;
use crate::command::keyspec::{Begin, Find};
use crate::command::{Acl, Arity, Command, Flags, Group, Handler, Outcome};
use crate::types::Packing;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "LLEN",
        summary: "Counts the elements of a list.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::List,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::LIST,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[KEY],
        handler: Handler::Keyed(llen),
        ..Command::BASE
    },
    Command {
        name: "LMPOP",
        summary: "Removes and returns elements of the first of several lists that has any.",
        since: "7.0.0",
        complexity: "O(N+M) for N keys and M returned elements",
        arity: Arity::AtLeast(4),
        group: Group::List,
        flags: Flags::WRITE.with(Flags::MOVABLEKEYS),
        acl: Acl::LIST,
        keys: &[KeySpec {
            begin: Begin::Index(1),
            find: Find::Keynum { count: 0, first: 1, step: 1 },
            access: TAKE,
            notes: None,
        }],
        arguments: &[NUMKEYS, KEY.multiple(), WHERE, COUNT],
        handler: Handler::Keyed(lmpop),
        ..Command::BASE
    },
    Command {
        name: "LPOP",
        summary: "Removes and returns the first elements of a list.",
        handler: Handler::Keyed(lpop),
        ..POP
    },
    Command {
        name: "LPUSH",
        summary: "Puts elements before the first one of a list, which is made if it is not there.",
        handler: Handler::Keyed(lpush),
        ..PUSH
    },
    Command {
        name: "LPUSHX",
        summary: "Puts elements before the first one of a list that is there.",
        since: "2.2.0",
        handler: Handler::Keyed(lpushx),
        ..PUSH
    },
    Command {
        name: "RPOP",
        summary: "Removes and returns the last elements of a list.",
        handler: Handler::Keyed(rpop),
        ..POP
    },
    Command {
        name: "RPUSH",
        summary: "Puts elements behind the last one of a list, which is made if it is not there.",
        handler: Handler::Keyed(rpush),
        ..PUSH
    },
    Command {
        name: "RPUSHX",
        summary: "Puts elements behind the last one of a list that is there.",
        since: "2.2.0",
        handler: Handler::Keyed(rpushx),
        ..PUSH
    },
];

const POP: Command = Command {
    since: "1.0.0",
    complexity: "O(N) for N returned elements",
    arity: Arity::AtLeast(2),
    group: Group::List,
    flags: Flags::WRITE.with(Flags::FAST),
    acl: Acl::LIST,
    keys: &[KeySpec::one(1, TAKE)],
    arguments: &[KEY, Argument::new("count", ArgumentKind::Integer).since("6.2.0").optional()],
    ..Command::BASE
};

const PUSH: Command = Command {
    since: "1.0.0",
    complexity: "O(1) for each element",
    arity: Arity::AtLeast(3),
    group: Group::List,
    flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
    acl: Acl::LIST,
    keys: INSERT,
    arguments: &[KEY, ELEMENT.multiple()],
    takes_chunks: true,
    ..Command::BASE
};

pub(super) const NUMKEYS: Argument = Argument::new("numkeys", ArgumentKind::Integer);
pub(super) const COUNT: Argument =
    Argument::new("count", ArgumentKind::Integer).after("COUNT").optional();

fn llen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    reply.count(read(cx, &key)?.map_or(0, ListRef::len));
    Ok(())
}

fn lmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = MultiPop::parse(args, 1)?;
    if !request.serve(cx, args, reply)? {
        reply.null_array();
    }
    Ok(())
}

fn lpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(cx, args, reply, End::Head)
}

fn lpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(cx, args, reply, End::Head)
}

fn lpushx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push_if_there(cx, args, reply, End::Head)
}

fn rpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(cx, args, reply, End::Tail)
}

fn rpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(cx, args, reply, End::Tail)
}

fn rpushx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push_if_there(cx, args, reply, End::Tail)
}

#[inline]
fn push(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let mut entry = match cx.write(&key) {
        Some(entry) => entry,
        None => cx.write_or_make(&key, Packing::List),
    };
    let len = push_words(&mut entry, args, end, limits)?;
    pushed(cx, &key, args, end);
    reply.count(len);
    Ok(())
}

/// LPUSHX and RPUSHX.
fn push_if_there(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let len = push_words(&mut entry, args, end, limits)?;
    pushed(cx, &key, args, end);
    reply.count(len);
    Ok(())
}

/// Pushes the words behind the key; returns the list's length then.
#[inline]
fn push_words(
    entry: &mut EntryMut<'_>,
    args: Args<'_>,
    end: End,
    limits: Limits,
) -> Result<u64, WrongType> {
    let mut list = ListMut::of(entry, limits)?;
    Ok(list.push(end, (2..args.len()).map(|index| item(args.value(index)))))
}

/// Reports a push: each element counts as a change.
#[inline]
fn pushed(cx: &mut Context<'_>, key: &Key<'_>, args: Args<'_>, end: End) {
    cx.changed(EventClass::List, push_event(end), key);
    cx.effects.changed_many(args.len() as u64 - 3);
}

#[inline]
fn pop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let key = cx.key(args.get(1));
    if args.len() > 2 {
        return pop_many(cx, &key, args, reply, end);
    }
    let limits = limits(cx);
    let Some(mut entry) = cx.write(&key) else {
        reply.null();
        return Ok(());
    };
    let loss = take_one(&mut entry, end, limits, reply)?;
    lost(cx, &key, pop_event(end), loss);
    Ok(())
}

/// LPOP and RPOP with a count.
fn pop_many(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
) -> Outcome {
    let event = pop_event(end);
    if args.len() > 3 {
        reply.error(format!("ERR wrong number of arguments for '{event}' command"));
        return Err(CommandError::Written);
    }
    let count = natural(args.get(2)).ok_or(CommandError::NotPositive)?;
    let limits = limits(cx);
    let Some(mut entry) = cx.write(key) else {
        reply.null_array();
        return Ok(());
    };
    let loss = take_many(&mut entry, (end, count), limits, reply)?;
    if count > 0 {
        lost(cx, key, event, loss);
    }
    Ok(())
}

/// Writes the element at an end and removes it.
#[inline]
pub(super) fn take_one(
    entry: &mut EntryMut<'_>,
    end: End,
    limits: Limits,
    reply: &mut Reply<'_>,
) -> Result<Loss, WrongType> {
    let mut list = ListMut::of(entry, limits)?;
    match list.view().at_end(end) {
        Some(item) => write(reply, item),
        None => reply.null(),
    }
    let is_empty = list.view().len() == 1;
    if !is_empty {
        list.drop_end(end);
    }
    Ok(Loss { elements: 1, is_empty, removed: None })
}

/// What LMPOP and BLMPOP are asked for.
pub(super) struct MultiPop {
    /// The words that are the keys.
    pub(super) keys: std::ops::Range<usize>,
    end: End,
    count: u64,
}

impl MultiPop {
    /// Reads it from the number of keys, in word `numkeys`, on.
    pub(super) fn parse(args: Args<'_>, numkeys: usize) -> Result<Self, CommandError> {
        let many = positive(args.get(numkeys)).ok_or(CommandError::NumkeysNotPositive)?;
        let first = numkeys + 1;
        let place = usize::try_from(many).ok().and_then(|many| many.checked_add(first));
        let place = place.filter(|place| *place < args.len()).ok_or(CommandError::Syntax)?;
        let end = end_of(args, place)?;
        let mut count = None;
        let mut index = place + 1;
        while index < args.len() {
            if count.is_some() || !args.is(index, "COUNT") || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(positive(args.get(index + 1)).ok_or(CommandError::CountNotPositive)?);
            index += 2;
        }
        Ok(MultiPop { keys: first..place, end, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that is at hand; false if there is none.
    pub(super) fn serve(
        &self,
        cx: &mut Context<'_>,
        args: Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, CommandError> {
        let limits = limits(cx);
        for index in self.keys.clone() {
            let key = cx.key(args.get(index));
            if cx.is_elsewhere(index, &key)? {
                continue;
            }
            let Some(mut entry) = cx.write(&key) else { continue };
            ListRef::of(entry.view().value())?;
            reply.array(2);
            reply.bulk(key.bytes);
            let loss = take_many(&mut entry, (self.end, self.count), limits, reply)?;
            let mut digits = itoa::Buffer::new();
            let elements = digits.format(loss.elements).as_bytes();
            lost(cx, &key, pop_event(self.end), loss);
            let db = cx.db_index();
            cx.effects.propagate(db, &[pop_command(self.end), key.bytes, elements]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// A number that is not negative. None for anything else.
pub(super) fn natural(word: &[u8]) -> Option<u64> {
    number::parse_i64(word).and_then(|value| u64::try_from(value).ok())
}

/// A number above 0. None for anything else.
fn positive(word: &[u8]) -> Option<u64> {
    natural(word).filter(|value| *value > 0)
}
