//! Sorted sets: one sorted set and its members.

use super::{
    KEY, MEMBER, MEMBERS, REPEATED_MAX, WITHSCORES, begin_pairs, lost, read, write_member,
    write_pair, write_score,
};
use crate::base::number;
use crate::base::rng::Rng;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::commands::generic::scan::{ScanOptions, Scanned, parse_cursor};
use crate::encoding::listpack::INT_TEXT_MAX;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::types::zset::{Pair, ZSetMut, ZSetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ZCARD",
        summary: "Counts the members of a sorted set.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[KEY],
        handler: Handler::Keyed(zcard),
        ..Command::BASE
    },
    Command {
        name: "ZMSCORE",
        summary: "Gives the scores of several members.",
        since: "6.2.0",
        complexity: "O(N) for N members asked for",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[KEY, MEMBERS],
        member: 2,
        handler: Handler::Keyed(zmscore),
        ..Command::BASE
    },
    Command {
        name: "ZRANDMEMBER",
        summary: "Gives members by chance.",
        since: "6.2.0",
        complexity: "O(M*log(N)) for M of N members",
        arity: Arity::AtLeast(2),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::block(
                "options",
                &[Argument::new("count", ArgumentKind::Integer), WITHSCORES],
            )
            .optional(),
        ],
        handler: Handler::Keyed(zrandmember),
        ..Command::BASE
    },
    Command {
        name: "ZRANK",
        summary: "Gives the rank of a member, counted from the lowest score.",
        since: "2.0.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[KEY, MEMBER, Argument::token("withscore", "WITHSCORE").optional()],
        member: 2,
        handler: Handler::Keyed(zrank),
        ..Command::BASE
    },
    Command {
        name: "ZREM",
        summary: "Removes members.",
        since: "1.2.0",
        complexity: "O(M*log(N)) for M of N members",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[KEY, MEMBERS],
        member: 2,
        handler: Handler::Keyed(zrem),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANK",
        summary: "Gives the rank of a member, counted from the highest score.",
        since: "2.0.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[KEY, MEMBER, Argument::token("withscore", "WITHSCORE").optional()],
        member: 2,
        handler: Handler::Keyed(zrevrank),
        ..Command::BASE
    },
    Command {
        name: "ZSCAN",
        summary: "Walks the members of a sorted set step by step.",
        since: "2.8.0",
        complexity: "O(COUNT) a step, O(N) for all steps from cursor 0 to cursor 0",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::new("cursor", ArgumentKind::Integer),
            Argument::new("pattern", ArgumentKind::Pattern).after("MATCH").optional(),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
            Argument::token("noscores", "NOSCORES").optional(),
        ],
        handler: Handler::Keyed(zscan),
        ..Command::BASE
    },
    Command {
        name: "ZSCORE",
        summary: "Gives the score of a member.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[KEY, MEMBER],
        member: 2,
        handler: Handler::Keyed(zscore),
        ..Command::BASE
    },
];

fn zcard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    reply.count(read(cx, &key)?.map_or(0, ZSetRef::len));
    Ok(())
}

fn zmscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let set = read(cx, &key)?;
    reply.array(args.len() - 2);
    for member in args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => write_score(reply, score),
            None => reply.null(),
        }
    }
    Ok(())
}

fn zrandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let mut rng = cx.rng.fork();
    if args.len() == 2 {
        match read(cx, &key)?.and_then(|set| set.random(&mut rng)) {
            Some(pair) => write_member(reply, pair.member),
            None => reply.null(),
        }
        return Ok(());
    }
    let (count, with_scores) = random_count(args, reply)?;
    let Some(set) = read(cx, &key)?.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if let Ok(count) = u64::try_from(count) {
        let count = count.min(set.len());
        begin_pairs(reply, count as usize, with_scores);
        set.sample(count, &mut rng, |pair| write_pair(reply, pair, with_scores));
    } else {
        let count = count.unsigned_abs() as usize;
        begin_pairs(reply, count, with_scores);
        repeat(set, count, &mut rng, |pair| write_pair(reply, pair, with_scores));
    }
    Ok(())
}

/// Shows `count` members by chance, each drawn from all.
fn repeat(set: ZSetRef<'_>, count: usize, rng: &mut Rng, mut show: impl FnMut(Pair<'_>)) {
    if matches!(set, ZSetRef::Pack(_)) && count > 1 {
        // To find one member of a listpack is to walk there.
        let mut pairs = Vec::new();
        set.for_each(|pair| pairs.push(pair));
        return (0..count).for_each(|_| show(pairs[rng.below(pairs.len() as u64) as usize]));
    }
    (0..count).filter_map(|_| set.random(rng)).for_each(show);
}

/// The count of ZRANDMEMBER, and whether scores are wanted.
fn random_count(args: Args<'_>, reply: &mut Reply<'_>) -> Result<(i64, bool), CommandError> {
    let count = args.integer(2)?;
    if count == i64::MIN {
        return Err(out_of_range(reply, -i64::MAX));
    }
    if args.len() > 4 || args.len() == 4 && !args.is(3, "WITHSCORES") {
        return Err(CommandError::Syntax);
    }
    let with_scores = args.len() == 4;
    if with_scores && count.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(CommandError::ValueOutOfRange);
    }
    if count < -REPEATED_MAX {
        return Err(out_of_range(reply, -REPEATED_MAX));
    }
    Ok((count, with_scores))
}

fn out_of_range(reply: &mut Reply<'_>, min: i64) -> CommandError {
    let max = i64::MAX;
    reply.error(format!("ERR value is out of range, value must between {min} and {max}"));
    CommandError::Written
}

fn zrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(cx, args, false, reply)
}

fn zrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let mut set = ZSetMut::of(&mut entry)?;
    let mut left = set.view().len();
    let mut removed = 0;
    for member in args.iter_from(2) {
        if set.remove(member) {
            removed += 1;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    if removed > 0 {
        lost(cx, &key, "zrem", removed, left == 0);
    }
    reply.count(removed);
    Ok(())
}

fn zrevrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(cx, args, true, reply)
}

fn zscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(set) = read(cx, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::SortedSet)?;
    // The cursor precedes the members and is known only behind them.
    let mut page = ReplyBuffer::default();
    let mut members = Reply::new(&mut page, reply.proto());
    let mut found = 0;
    let mut text = Vec::new();
    let next = set.scan(cursor, options.count as u64, |pair| {
        let mut digits = [0; INT_TEXT_MAX];
        let member = pair.member.to_bytes(&mut digits);
        if !options.pattern.matches(member) {
            return;
        }
        members.bulk(member);
        found += 1;
        if !options.no_values {
            text.clear();
            match set {
                ZSetRef::Pack(_) => number::write_f64(&mut text, pair.score),
                ZSetRef::Tree(_) => number::write_f64_17g(&mut text, pair.score),
            }
            members.bulk(&text);
            found += 1;
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found);
    reply.raw(&page.bytes);
    Ok(())
}

fn zscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match read(cx, &key)?.and_then(|set| set.score(args.get(2))) {
        Some(score) => write_score(reply, score),
        None => reply.null(),
    }
    Ok(())
}

/// Answers with the rank of a member, counted from the highest score if `reverse`.
fn rank(cx: &mut Context<'_>, args: Args<'_>, reverse: bool, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 4 {
        let name = if reverse { "zrevrank" } else { "zrank" };
        reply.error(format!("ERR wrong number of arguments for '{name}' command"));
        return Err(CommandError::Written);
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(CommandError::Syntax);
    }
    let key = cx.key(args.get(1));
    let set = read(cx, &key)?;
    let found = set.and_then(|set| Some((set.len(), set.rank(args.get(2))?)));
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((len, (rank, score))) => {
            if with_score {
                reply.array(2);
            }
            reply.count(if reverse { len - 1 - rank } else { rank });
            if with_score {
                write_score(reply, score);
            }
        }
    }
    Ok(())
}
