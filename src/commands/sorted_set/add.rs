//! Sorted sets: adding members and changing scores.

use super::{KEY, MEMBER, limits, refuse, write_score};
use crate::base::number;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::types::Packing;
use crate::types::zset::{AddFlags, Change, ZSetMut};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ZADD",
        summary: "Adds members with scores to a sorted set, or changes their scores.",
        since: "1.2.0",
        complexity: "O(log(N)) for each member, in a sorted set of N members",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[
            KEY,
            Argument::one_of(
                "condition",
                &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
            )
            .since("3.0.2")
            .optional(),
            Argument::one_of(
                "comparison",
                &[Argument::token("gt", "GT"), Argument::token("lt", "LT")],
            )
            .since("6.2.0")
            .optional(),
            Argument::token("change", "CH").since("3.0.2").optional(),
            Argument::token("increment", "INCR").since("3.0.2").optional(),
            Argument::block("data", &[Argument::new("score", ArgumentKind::Double), MEMBER])
                .multiple(),
        ],
        member: 3,
        handler: Handler::Keyed(zadd),
        ..Command::BASE
    },
    Command {
        name: "ZINCRBY",
        summary: "Adds to the score of a member, which is made if it is not there.",
        since: "1.2.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[KEY, Argument::new("increment", ArgumentKind::Integer), MEMBER],
        member: 3,
        handler: Handler::Keyed(zincrby),
        ..Command::BASE
    },
];

fn zadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut flags, mut counts_changed) = (AddFlags::default(), false);
    let mut first = 2;
    while let Some(word) = args.opt(first) {
        match word {
            // The first score: its first byte is no letter of an option.
            [b'0'..=b'9' | b'-' | b'.', ..] => break,
            _ if args.is(first, "NX") => flags.nx = true,
            _ if args.is(first, "XX") => flags.xx = true,
            _ if args.is(first, "CH") => counts_changed = true,
            _ if args.is(first, "INCR") => flags.incr = true,
            _ if args.is(first, "GT") => flags.gt = true,
            _ if args.is(first, "LT") => flags.lt = true,
            _ => break,
        }
        first += 1;
    }
    add(cx, args, first, flags, counts_changed, reply)
}

fn zincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let flags = AddFlags { incr: true, ..AddFlags::default() };
    add(cx, args, 2, flags, false, reply)
}

/// Adds the members at the words from `first` on, each behind its score.
#[inline]
fn add(
    cx: &mut Context<'_>,
    args: Args<'_>,
    first: usize,
    flags: AddFlags,
    counts_changed: bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    let words = args.len() - first;
    if words == 0 || !words.is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    check(flags, words / 2, reply)?;
    let first_score = score(args, first)?;
    for at in (first + 2..args.len()).step_by(2) {
        score(args, at)?;
    }
    let key = cx.key(args.get(1));
    if flags.xx && cx.write(&key).is_none() {
        answer(reply, flags.incr, Change::Forbidden, 0);
        return Ok(());
    }
    let limits = limits(cx);
    let mut entry = cx.write_or_make(&key, Packing::SortedSet);
    let mut set = ZSetMut::of(&mut entry)?;
    set.expect(words / 2, args.get(first + 1).len(), &limits);
    let (mut added, mut updated) = (0, 0);
    let mut change = Change::Forbidden;
    for at in (first..args.len()).step_by(2) {
        let score = if at == first { first_score } else { score(args, at)? };
        change = set.add(args.get(at + 1), score, flags, &limits);
        match change {
            Change::Added(_) => added += 1,
            Change::Updated(_) => updated += 1,
            Change::Same(_) | Change::Forbidden => {}
            // One member alone, so nothing has changed.
            Change::NotANumber => return Err(CommandError::ScoreNotANumber),
        }
    }
    if added + updated > 0 {
        cx.changed(EventClass::SortedSet, if flags.incr { "zincr" } else { "zadd" }, &key);
        cx.effects.changed_many(added + updated - 1);
    }
    answer(reply, flags.incr, change, if counts_changed { added + updated } else { added });
    Ok(())
}

/// Refuses options that exclude each other.
fn check(flags: AddFlags, members: usize, reply: &mut Reply<'_>) -> Outcome {
    if flags.nx && flags.xx {
        let text = "ERR XX and NX options at the same time are not compatible";
        return Err(refuse(reply, text));
    }
    if u8::from(flags.nx) + u8::from(flags.gt) + u8::from(flags.lt) > 1 {
        let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
        return Err(refuse(reply, text));
    }
    if flags.incr && members > 1 {
        let text = "ERR INCR option supports a single increment-element pair";
        return Err(refuse(reply, text));
    }
    Ok(())
}

#[inline]
fn score(args: Args<'_>, at: usize) -> Result<f64, CommandError> {
    number::parse_f64(args.get(at)).ok_or(CommandError::NotAFloat)
}

/// Answers with the new score where one was added to, else with a count.
#[inline]
fn answer(reply: &mut Reply<'_>, incr: bool, change: Change, count: u64) {
    match change {
        _ if !incr => reply.count(count),
        Change::Added(score) | Change::Updated(score) | Change::Same(score) => {
            write_score(reply, score);
        }
        Change::Forbidden | Change::NotANumber => reply.null(),
    }
}
