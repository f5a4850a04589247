//! Sorted sets: taking members from either end, and waiting for them.

use super::{KEY, KEYS, NUMKEYS, lost, refuse, write_member, write_score};
use crate::base::number;
use crate::base::time::Millis;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Denied,
    Flags, Group, Handler, KeySpec, Outcome, Suspension, Wants,
};
use crate::resp::Proto;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::zset::{ZSetMut, ZSetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "BZMPOP",
        summary: "Removes and gives members of the first of several sorted sets that is not empty; waits if all are.",
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) for K keys and M of N members",
        arity: Arity::AtLeast(5),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::BLOCKING),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(2, 1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[
            Argument::new("timeout", ArgumentKind::Double),
            NUMKEYS,
            KEYS,
            WHERE,
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        ],
        handler: Handler::Keyed(bzmpop),
        ..Command::BASE
    },
    Command {
        name: "BZPOPMAX",
        summary: "Removes and gives the member with the highest score of the first of several sorted sets; waits if all are empty.",
        since: "5.0.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::range(1, -2, 1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[KEYS, Argument::new("timeout", ArgumentKind::Double)],
        handler: Handler::Keyed(bzpopmax),
        ..Command::BASE
    },
    Command {
        name: "BZPOPMIN",
        summary: "Removes and gives the member with the lowest score of the first of several sorted sets; waits if all are empty.",
        since: "5.0.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::range(1, -2, 1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[KEYS, Argument::new("timeout", ArgumentKind::Double)],
        handler: Handler::Keyed(bzpopmin),
        ..Command::BASE
    },
    Command {
        name: "ZMPOP",
        summary: "Removes and gives members of the first of several sorted sets that is not empty.",
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) for K keys and M of N members",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::WRITE,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(1, 1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[
            NUMKEYS,
            KEYS,
            WHERE,
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        ],
        handler: Handler::Keyed(zmpop),
        ..Command::BASE
    },
    Command {
        name: "ZPOPMAX",
        summary: "Removes and gives the members with the highest scores.",
        since: "5.0.0",
        complexity: "O(M*log(N)) for M of N members",
        arity: Arity::AtLeast(2),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[KEY, Argument::new("count", ArgumentKind::Integer).optional()],
        handler: Handler::Keyed(zpopmax),
        ..Command::BASE
    },
    Command {
        name: "ZPOPMIN",
        summary: "Removes and gives the members with the lowest scores.",
        since: "5.0.0",
        complexity: "O(M*log(N)) for M of N members",
        arity: Arity::AtLeast(2),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[KEY, Argument::new("count", ArgumentKind::Integer).optional()],
        handler: Handler::Keyed(zpopmin),
        ..Command::BASE
    },
];

fn bzmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let many = Many::parse(args, 2, reply)?;
    let deadline = args.timeout_seconds(1, cx.now)?;
    let form = Form::Keyed;
    if !pop_first(cx, args, (3, many.keys), many.end, (many.count, form), reply)? {
        suspend(cx, (3, many.keys), deadline);
    }
    Ok(())
}

fn bzpopmax(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(cx, args, End::Max, reply)
}

fn bzpopmin(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    blocking_pop(cx, args, End::Min, reply)
}

fn zmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let many = Many::parse(args, 1, reply)?;
    if !pop_first(cx, args, (2, many.keys), many.end, (many.count, Form::Keyed), reply)? {
        reply.null_array();
    }
    Ok(())
}

fn zpopmax(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(cx, args, End::Max, reply)
}

fn zpopmin(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(cx, args, End::Min, reply)
}

/// Which end members are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    /// The command that takes members of one key from there, as the journal and events name it.
    fn name(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// How the members are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Members and scores in one array.
    Flat,
    /// An array of pairs.
    Nested,
    /// The key, a member and its score in one array.
    KeyedFlat,
    /// The key and an array of pairs.
    Keyed,
}

/// The words of ZMPOP behind its count of keys.
struct Many {
    keys: usize,
    end: End,
    count: u64,
}

impl Many {
    /// `at` is the word that counts the keys.
    fn parse(args: Args<'_>, at: usize, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        let positive = |word| number::parse_i64(word).filter(|value| *value > 0);
        let keys = positive(args.get(at));
        let keys = keys.ok_or_else(|| refuse(reply, "ERR numkeys should be greater than 0"))?;
        // Fewer keys than there are words, or there is no word behind them.
        let keys = usize::try_from(keys).unwrap_or(usize::MAX).min(args.len());
        let mut word = at + 1 + keys;
        let end = match () {
            () if args.is(word, "MIN") => End::Min,
            () if args.is(word, "MAX") => End::Max,
            () => return Err(CommandError::Syntax),
        };
        let mut count = None;
        word += 1;
        while word < args.len() {
            let (true, None, Some(value)) = (args.is(word, "COUNT"), count, args.opt(word + 1))
            else {
                return Err(CommandError::Syntax);
            };
            let value = positive(value);
            count = Some(value.ok_or_else(|| refuse(reply, "ERR count should be greater than 0"))?);
            word += 2;
        }
        Ok(Many { keys, end, count: count.map_or(1, |count| count as u64) })
    }
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, end: End, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args.opt(2).map(|word| {
        let count = number::parse_i64(word).and_then(|count| u64::try_from(count).ok());
        count.ok_or(CommandError::NotPositive)
    });
    let count = count.transpose()?;
    let form = match (count, reply.proto()) {
        (Some(_), Proto::Resp3) => Form::Nested,
        _ => Form::Flat,
    };
    let key = cx.key(args.get(1));
    if take(cx, &key, end, (count.unwrap_or(1), form), reply)?.is_none() {
        reply.array(0);
    }
    Ok(())
}

fn blocking_pop(cx: &mut Context<'_>, args: Args<'_>, end: End, reply: &mut Reply<'_>) -> Outcome {
    let keys = args.len() - 2;
    let deadline = args.timeout_seconds(args.len() - 1, cx.now)?;
    if !pop_first(cx, args, (1, keys), end, (1, Form::KeyedFlat), reply)? {
        suspend(cx, (1, keys), deadline);
    }
    Ok(())
}

/// Takes members of the first of `keys` (first word, count) that is there; false if none is.
fn pop_first(
    cx: &mut Context<'_>,
    args: Args<'_>,
    (first, keys): (usize, usize),
    end: End,
    (count, form): (u64, Form),
    reply: &mut Reply<'_>,
) -> Result<bool, CommandError> {
    for index in first..first + keys {
        let key = cx.key(args.get(index));
        if cx.is_elsewhere(index, &key)? {
            continue;
        }
        let Some(taken) = take(cx, &key, end, (count, form), reply)? else { continue };
        let db = cx.session.db;
        let name = if end == End::Min { b"ZPOPMIN" } else { b"ZPOPMAX" };
        match form {
            Form::Keyed => {
                let mut digits = itoa::Buffer::new();
                cx.effects.propagate(db, &[name, key.bytes, digits.format(taken).as_bytes()]);
            }
            Form::Flat | Form::Nested | Form::KeyedFlat => {
                cx.effects.propagate(db, &[name, key.bytes]);
            }
        }
        return Ok(true);
    }
    Ok(false)
}

/// Takes up to `count` members of a key and gives them; how many. None if there is no key.
#[inline]
fn take(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    end: End,
    (count, form): (u64, Form),
    reply: &mut Reply<'_>,
) -> Result<Option<u64>, CommandError> {
    let Some(mut entry) = cx.write(key) else { return Ok(None) };
    let mut set = ZSetMut::of(&mut entry)?;
    let len = set.view().len();
    let count = count.min(len);
    let ranks = if end == End::Min { (0, count) } else { (len - count, len) };
    give(set.view(), ranks, end, (key, form), reply);
    set.remove_range(ranks);
    if count > 0 {
        lost(cx, key, end.name(), count, count == len);
    }
    Ok(Some(count))
}

/// Writes the members of these ranks, those of the end first.
fn give(
    set: ZSetRef<'_>,
    (from, to): (u64, u64),
    end: End,
    (key, form): (&Key<'_>, Form),
    reply: &mut Reply<'_>,
) {
    let count = (to - from) as usize;
    match form {
        Form::Flat => reply.array(count * 2),
        Form::Nested => reply.array(count),
        Form::KeyedFlat => {
            reply.array(1 + count * 2);
            reply.bulk(key.bytes);
        }
        Form::Keyed => {
            reply.array(2);
            reply.bulk(key.bytes);
            reply.array(count);
        }
    }
    set.visit((from, to), end == End::Max, |pair| {
        if matches!(form, Form::Nested | Form::Keyed) {
            reply.array(2);
        }
        write_member(reply, pair.member);
        write_score(reply, pair.score);
    });
}

/// Waits for a sorted set at one of `keys` (first word, count).
fn suspend(cx: &mut Context<'_>, (first, keys): (usize, usize), deadline: Option<Millis>) {
    cx.suspend(Suspension {
        keys: (first..first + keys).collect(),
        wants: Wants::SortedSet,
        deadline,
        denied: Denied::NullArray,
        wakes_on_delete: false,
        replaced: Vec::new(),
    });
}

const WHERE: Argument =
    Argument::one_of("where", &[Argument::token("min", "MIN"), Argument::token("max", "MAX")]);
