//! Sets: intersections, unions and differences, and their STORE forms.
//!
//! Invariant: the type of every source is checked before anything is changed or answered; a missing
//! key is an empty set.

use super::{limits, natural, write};
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::set::algebra::{self, Intersection, Way};
use crate::types::set::{Limits, SetRef};
use crate::types::{Collection, Place, WrongType};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SDIFF",
        summary: "Gives the members of a set that no other set has.",
        complexity: SUM,
        handler: Handler::Keyed(sdiff),
        ..READS
    },
    Command {
        name: "SDIFFSTORE",
        summary: "Stores the members of a set that no other set has.",
        complexity: SUM,
        handler: Handler::Keyed(sdiffstore),
        ..STORES
    },
    Command {
        name: "SINTER",
        summary: "Gives the members that all sets have.",
        complexity: PRODUCT,
        handler: Handler::Keyed(sinter),
        ..READS
    },
    Command {
        name: "SINTERCARD",
        summary: "Counts the members that all sets have.",
        since: "7.0.0",
        complexity: PRODUCT,
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY.with(Flags::MOVABLEKEYS),
        keys: &[KeySpec::counted(1, 1, Access::RO.with(Access::ACCESS))],
        tips: &[],
        arguments: &[
            Argument::new("numkeys", ArgumentKind::Integer),
            Argument::key("key", 0).multiple(),
            Argument::new("limit", ArgumentKind::Integer).after("LIMIT").optional(),
        ],
        handler: Handler::Keyed(sintercard),
        ..READS
    },
    Command {
        name: "SINTERSTORE",
        summary: "Stores the members that all sets have.",
        complexity: PRODUCT,
        handler: Handler::Keyed(sinterstore),
        ..STORES
    },
    Command {
        name: "SUNION",
        summary: "Gives the members that any of the sets has.",
        complexity: SUM,
        handler: Handler::Keyed(sunion),
        ..READS
    },
    Command {
        name: "SUNIONSTORE",
        summary: "Stores the members that any of the sets has.",
        complexity: SUM,
        handler: Handler::Keyed(sunionstore),
        ..STORES
    },
];

const SUM: &str = "O(N) for N members of all sets together";
const PRODUCT: &str = "O(N*M) for N members of the smallest of M sets";

/// What the commands have in common that answer with members.
const READS: Command = Command {
    since: "1.0.0",
    arity: Arity::AtLeast(2),
    group: Group::Set,
    flags: Flags::READONLY,
    acl: Acl::SET,
    keys: &[KeySpec::range(1, -1, 1, Access::RO.with(Access::ACCESS))],
    tips: &["nondeterministic_output_order"],
    arguments: &[Argument::key("key", 0).multiple()],
    ..Command::BASE
};

/// What the commands have in common that store members.
const STORES: Command = Command {
    since: "1.0.0",
    arity: Arity::AtLeast(3),
    group: Group::Set,
    flags: Flags::WRITE.with(Flags::DENYOOM),
    acl: Acl::SET,
    keys: &[
        KeySpec::one(1, Access::OW.with(Access::UPDATE)),
        KeySpec::range(2, -1, 1, Access::RO.with(Access::ACCESS)),
    ],
    arguments: &[Argument::key("destination", 0), Argument::key("key", 1).multiple()],
    ..Command::BASE
};

fn sdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (limits, keys) = (limits(cx), keys(cx, args, 1, args.len() - 1)?);
    match minuend(cx, &keys) {
        None => reply.set(0),
        Some((first, mut others)) if algebra::way(first, &others) == Way::LookUp => {
            let (place, mut found) = (reply.defer(), 0);
            algebra::subtract(first, &mut others, |member| {
                write(reply, member);
                found += 1;
            });
            reply.set_at(place, found);
        }
        Some((first, others)) => {
            write_all(&algebra::difference_once(first, &others, &limits), reply)?;
        }
    }
    Ok(())
}

fn sdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(cx, args, "sdiffstore", reply, |cx, keys, limits| {
        let (first, mut others) = minuend(cx, keys)?;
        Some(algebra::difference(first, &mut others, limits))
    })
}

fn sinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keys = keys(cx, args, 1, args.len() - 1)?;
    let Some(mut sets) = all_sets(cx, &keys) else {
        reply.set(0);
        return Ok(());
    };
    let (place, mut found) = (reply.defer(), 0);
    algebra::intersect(&mut sets, |member| {
        write(reply, member);
        found += 1;
        true
    });
    reply.set_at(place, found);
    Ok(())
}

fn sintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (count, limit) = counted(args, reply)?;
    let keys = keys(cx, args, 2, count)?;
    let mut found = 0;
    if let Some(mut sets) = all_sets(cx, &keys) {
        algebra::intersect(&mut sets, |_| {
            found += 1;
            found != limit
        });
    }
    reply.count(found);
    Ok(())
}

fn sinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(cx, args, "sinterstore", reply, |cx, keys, limits| {
        let mut sets = all_sets(cx, keys)?;
        Some(Intersection::of(&mut sets, limits).finish(limits))
    })
}

fn sunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (limits, keys) = (limits(cx), keys(cx, args, 1, args.len() - 1)?);
    match &some_sets(cx, &keys)[..] {
        [] => reply.set(0),
        [set] => {
            reply.set(set.len());
            set.for_each(|member| write(reply, member));
        }
        sets => write_all(&algebra::union_once(sets, &limits), reply)?,
    }
    Ok(())
}

fn sunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(cx, args, "sunionstore", reply, |cx, keys, limits| {
        Some(algebra::union(&some_sets(cx, keys), limits))
    })
}

/// Stores what `result` makes of the sets at the words from 2 on; an empty result deletes the key.
fn store(
    cx: &mut Context<'_>,
    args: Args<'_>,
    event: &'static str,
    reply: &mut Reply<'_>,
    result: impl FnOnce(&Context<'_>, &[Key<'_>], &Limits) -> Option<Collection>,
) -> Outcome {
    let (limits, keys) = (limits(cx), keys(cx, args, 2, args.len() - 2)?);
    let target = cx.key(args.get(1));
    let result = result(cx, &keys, &limits);
    let len = result.as_ref().map_or(Ok(0), |found| SetRef::of(found.value()).map(SetRef::len))?;
    match result {
        Some(result) if len > 0 => {
            cx.set_collection(&target, result, None);
            cx.event(EventClass::Set, event, &target);
        }
        _ => {
            if cx.delete(&target) {
                cx.event(EventClass::Generic, "del", &target);
            }
        }
    }
    reply.count(len as u64);
    Ok(())
}

/// Reads `count` keys from word `from` on; an error if one holds another type.
fn keys<'q>(
    cx: &mut Context<'_>,
    args: Args<'q>,
    from: usize,
    count: usize,
) -> Result<Vec<Key<'q>>, WrongType> {
    let key = |word| {
        let key = cx.key(word);
        if let Some(entry) = cx.read(&key) {
            SetRef::of(entry.value())?;
        }
        Ok(key)
    };
    args.iter_from(from).take(count).map(key).collect()
}

/// The sets at keys that have been read, without those that are missing.
fn some_sets<'c>(cx: &'c Context<'_>, keys: &[Key<'_>]) -> Vec<SetRef<'c>> {
    let set = |key| cx.view(key).and_then(|entry| SetRef::of(entry.value()).ok());
    keys.iter().filter_map(set).collect()
}

/// The sets at keys that have been read; None if one is missing.
fn all_sets<'c>(cx: &'c Context<'_>, keys: &[Key<'_>]) -> Option<Vec<SetRef<'c>>> {
    let sets = some_sets(cx, keys);
    (sets.len() == keys.len()).then_some(sets)
}

/// The first set and those that are subtracted from it. None if nothing can be left: it is missing, or
/// it is among them.
fn minuend<'c>(cx: &'c Context<'_>, keys: &[Key<'_>]) -> Option<(SetRef<'c>, Vec<SetRef<'c>>)> {
    let (first, others) = keys.split_first()?;
    if others.iter().any(|other| other.bytes == first.bytes) {
        return None;
    }
    let set = some_sets(cx, &keys[..1]).pop()?;
    Some((set, some_sets(cx, others)))
}

/// Writes all members of a result.
fn write_all(result: &Collection, reply: &mut Reply<'_>) -> Result<(), WrongType> {
    let set = SetRef::of(result.value())?;
    reply.set(set.len());
    set.for_each(|member| write(reply, member));
    Ok(())
}

/// The number of keys and the limit of SINTERCARD; no limit is 0.
fn counted(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(usize, u64), CommandError> {
    let mut refuse = |text: &str| {
        reply.error(text);
        CommandError::Written
    };
    let count = match natural(args.get(1)) {
        None | Some(0) => return Err(refuse("ERR numkeys should be greater than 0")),
        Some(count) => count,
    };
    if count > args.len() as u64 - 2 {
        return Err(refuse("ERR Number of keys can't be greater than number of args"));
    }
    let mut at = 2 + count as usize;
    let mut limit = 0;
    while at < args.len() {
        match args.opt(at + 1) {
            Some(value) if args.is(at, "LIMIT") => {
                limit = natural(value).ok_or_else(|| refuse("ERR LIMIT can't be negative"))?;
            }
            _ => return Err(CommandError::Syntax),
        }
        at += 2;
    }
    Ok((count as usize, limit))
}
