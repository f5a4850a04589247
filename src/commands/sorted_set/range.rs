//! Sorted sets: ranges of ranks, of scores and of members.

use super::{KEY, WITHSCORES, begin_pairs, limits, read, refuse, store, write_pair};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::types::zset::algebra::Pairs;
use crate::types::zset::{LexBound, Range, ScoreBound, ZSetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ZCOUNT",
        summary: "Counts the members within a range of scores.",
        since: "2.0.0",
        complexity: "O(log(N)) for N members",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::Double),
            Argument::new("max", ArgumentKind::Double),
        ],
        handler: Handler::Keyed(zcount),
        ..Command::BASE
    },
    Command {
        name: "ZLEXCOUNT",
        summary: "Counts the members within a range of their bytes.",
        since: "2.8.9",
        complexity: "O(log(N)) for N members",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::String),
            Argument::new("max", ArgumentKind::String),
        ],
        handler: Handler::Keyed(zlexcount),
        ..Command::BASE
    },
    Command {
        name: "ZRANGE",
        summary: "Gives the members within a range of ranks, scores or bytes.",
        since: "1.2.0",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("start", ArgumentKind::String),
            Argument::new("stop", ArgumentKind::String),
            SORT_BY.since("6.2.0").optional(),
            Argument::token("rev", "REV").since("6.2.0").optional(),
            Argument::block(
                "limit",
                &[
                    Argument::new("offset", ArgumentKind::Integer),
                    Argument::new("count", ArgumentKind::Integer),
                ],
            )
            .after("LIMIT")
            .since("6.2.0")
            .optional(),
            WITHSCORES,
        ],
        handler: Handler::Keyed(zrange),
        ..Command::BASE
    },
    Command {
        name: "ZRANGEBYLEX",
        summary: "Gives the members within a range of their bytes.",
        since: "2.8.9",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::String),
            Argument::new("max", ArgumentKind::String),
            LIMIT,
        ],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYLEX` argument")),
        handler: Handler::Keyed(zrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZRANGEBYSCORE",
        summary: "Gives the members within a range of scores.",
        since: "1.0.5",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::Double),
            Argument::new("max", ArgumentKind::Double),
            Argument::token("withscores", "WITHSCORES").since("2.0.0").optional(),
            LIMIT,
        ],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYSCORE` argument")),
        handler: Handler::Keyed(zrangebyscore),
        ..Command::BASE
    },
    Command {
        name: "ZRANGESTORE",
        summary: "Stores the members within a range at another key.",
        since: "6.2.0",
        complexity: "O(log(N)+M*log(M)) for N members, M of them stored",
        arity: Arity::AtLeast(5),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::SORTEDSET,
        keys: &[
            KeySpec::one(1, Access::OW.with(Access::UPDATE)),
            KeySpec::one(2, Access::RO.with(Access::ACCESS)),
        ],
        arguments: &[
            Argument::key("dst", 0),
            Argument::key("src", 1),
            Argument::new("min", ArgumentKind::String),
            Argument::new("max", ArgumentKind::String),
            SORT_BY,
            Argument::token("rev", "REV").optional(),
            LIMIT,
        ],
        handler: Handler::Keyed(zrangestore),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGE",
        summary: "Gives the members within a range of ranks, from the highest score on.",
        since: "1.2.0",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("start", ArgumentKind::Integer),
            Argument::new("stop", ArgumentKind::Integer),
            WITHSCORES,
        ],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` argument")),
        handler: Handler::Keyed(zrevrange),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGEBYLEX",
        summary: "Gives the members within a range of their bytes, from the greatest on.",
        since: "2.8.9",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("max", ArgumentKind::String),
            Argument::new("min", ArgumentKind::String),
            LIMIT,
        ],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")),
        handler: Handler::Keyed(zrevrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGEBYSCORE",
        summary: "Gives the members within a range of scores, from the highest on.",
        since: "2.2.0",
        complexity: "O(log(N)+M) for N members, M of them given",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            KEY,
            Argument::new("max", ArgumentKind::Double),
            Argument::new("min", ArgumentKind::Double),
            WITHSCORES,
            LIMIT,
        ],
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")),
        handler: Handler::Keyed(zrevrangebyscore),
        ..Command::BASE
    },
];

fn zcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(cx, args, By::Score, reply)
}

fn zlexcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(cx, args, By::Lex, reply)
}

fn zrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, None, None, reply)
}

fn zrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, Some(By::Lex), Some(false), reply)
}

fn zrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, Some(By::Score), Some(false), reply)
}

fn zrangestore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let query = Query::parse(args, 2, None, None, reply)?;
    let (target, source, limits) = (cx.key(args.get(1)), cx.key(args.get(2)), limits(cx));
    let found = match read(cx, &source)? {
        Some(set) => Pairs::of_range(set, query.ranks(set)),
        None => Pairs::default(),
    };
    let result = (found.to_collection(&limits), found.as_slice().len() as u64);
    store(cx, &target, result, "zrangestore", reply);
    Ok(())
}

fn zrevrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, Some(By::Rank), Some(true), reply)
}

fn zrevrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, Some(By::Lex), Some(true), reply)
}

fn zrevrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, Some(By::Score), Some(true), reply)
}

/// Counts the members in a range.
fn count(cx: &mut Context<'_>, args: Args<'_>, by: By, reply: &mut Reply<'_>) -> Outcome {
    let bounds = Bounds::parse(args, by, 2, 3, reply)?;
    let key = cx.key(args.get(1));
    let (from, to) = match read(cx, &key)? {
        Some(set) => bounds.ranks(set, false),
        None => (0, 0),
    };
    reply.count(to - from);
    Ok(())
}

/// Gives the members in a range. `by` and `reverse` are fixed by the command's name, or left to
/// options.
#[inline]
fn range(
    cx: &mut Context<'_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let query = Query::parse(args, 1, by, reverse, reply)?;
    let key = cx.key(args.get(1));
    let Some(set) = read(cx, &key)? else {
        reply.array(0);
        return Ok(());
    };
    let (from, to) = query.ranks(set);
    begin_pairs(reply, (to - from) as usize, query.with_scores);
    set.visit((from, to), query.reverse, |pair| write_pair(reply, pair, query.with_scores));
    Ok(())
}

/// What a range is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Ranks; -1 is the last one.
    Rank,
    /// Scores.
    Score,
    /// The bytes of members.
    Lex,
}

/// A range as a request names it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bounds<'q> {
    Ranks(i64, i64),
    Values(Range<'q>),
}

impl<'q> Bounds<'q> {
    /// The range whose ends are the words `min` and `max`.
    pub(super) fn parse(
        args: Args<'q>,
        by: By,
        min: usize,
        max: usize,
        reply: &mut Reply<'_>,
    ) -> Result<Self, CommandError> {
        let (min_word, max_word) = (args.get(min), args.get(max));
        match by {
            By::Rank => Ok(Bounds::Ranks(args.integer(min)?, args.integer(max)?)),
            By::Score => ScoreBound::parse(min_word)
                .zip(ScoreBound::parse(max_word))
                .map(|(min, max)| Bounds::Values(Range::Score(min, max)))
                .ok_or_else(|| refuse(reply, "ERR min or max is not a float")),
            By::Lex => LexBound::parse(min_word)
                .zip(LexBound::parse(max_word))
                .map(|(min, max)| Bounds::Values(Range::Lex(min, max)))
                .ok_or_else(|| refuse(reply, "ERR min or max not valid string range item")),
        }
    }

    /// The ranks that it covers, counted from the lowest score.
    #[inline]
    pub(super) fn ranks(&self, set: ZSetRef<'_>, reverse: bool) -> (u64, u64) {
        let (start, stop) = match self {
            Bounds::Values(range) => return set.ranks(range, reverse),
            Bounds::Ranks(start, stop) => (*start, *stop),
        };
        let len = set.len();
        let from_end = |rank: i64| match u64::try_from(rank) {
            Ok(rank) => Some(rank),
            Err(_) => len.checked_sub(rank.unsigned_abs()),
        };
        let first = from_end(start).unwrap_or(0);
        let behind = from_end(stop).map_or(0, |last| last.saturating_add(1).min(len));
        if first >= behind {
            (0, 0)
        } else if reverse {
            (len - behind, len - first)
        } else {
            (first, behind)
        }
    }
}

/// A request for a range.
struct Query<'q> {
    bounds: Bounds<'q>,
    reverse: bool,
    with_scores: bool,
    /// Offset and count of LIMIT; a negative count is all.
    limit: (i64, i64),
}

impl<'q> Query<'q> {
    /// The range of the key at word `key`; scores are an option only where nothing is stored.
    #[inline]
    fn parse(
        args: Args<'q>,
        key: usize,
        fixed_by: Option<By>,
        fixed_reverse: Option<bool>,
        reply: &mut Reply<'_>,
    ) -> Result<Self, CommandError> {
        let (mut by, mut reverse) = (fixed_by, fixed_reverse.unwrap_or(false));
        let (mut with_scores, mut limit) = (false, (0, -1));
        let mut at = key + 3;
        while at < args.len() {
            if key == 1 && args.is(at, "WITHSCORES") {
                with_scores = true;
            } else if args.is(at, "LIMIT") && at + 2 < args.len() {
                limit = (args.integer(at + 1)?, args.integer(at + 2)?);
                at += 2;
            } else if fixed_reverse.is_none() && !reverse && args.is(at, "REV") {
                reverse = true;
            } else if by.is_none() && args.is(at, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(at, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let by = by.unwrap_or(By::Rank);
        if by == By::Rank && limit.1 != -1 {
            let text = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(refuse(reply, text));
        }
        if by == By::Lex && with_scores {
            let text = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
            return Err(refuse(reply, text));
        }
        // Walked backwards, a range begins with its upper end.
        let (min, max) = match by {
            By::Score | By::Lex if reverse => (key + 2, key + 1),
            By::Rank | By::Score | By::Lex => (key + 1, key + 2),
        };
        let bounds = Bounds::parse(args, by, min, max, reply)?;
        Ok(Query { bounds, reverse, with_scores, limit })
    }

    /// The ranks that it covers, LIMIT included.
    #[inline]
    fn ranks(&self, set: ZSetRef<'_>) -> (u64, u64) {
        let ranks = self.bounds.ranks(set, self.reverse);
        match self.bounds {
            Bounds::Ranks(..) => ranks,
            Bounds::Values(_) => set.limited(ranks, self.limit.0, self.limit.1, self.reverse),
        }
    }
}

const SORT_BY: Argument = Argument::one_of(
    "sortby",
    &[Argument::token("byscore", "BYSCORE"), Argument::token("bylex", "BYLEX")],
)
.optional();
const LIMIT: Argument = Argument::block(
    "limit",
    &[
        Argument::new("offset", ArgumentKind::Integer),
        Argument::new("count", ArgumentKind::Integer),
    ],
)
.after("LIMIT")
.optional();
