//! Sorted sets: removing ranges.

use super::range::{Bounds, By};
use super::{KEY, lost};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, Context, Flags, Group, Handler,
    KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::types::zset::ZSetMut;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ZREMRANGEBYLEX",
        summary: "Removes the members within a range of their bytes.",
        since: "2.8.9",
        complexity: "O(log(N)+M) for N members, M of them removed",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::WRITE,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::String),
            Argument::new("max", ArgumentKind::String),
        ],
        handler: Handler::Keyed(zremrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZREMRANGEBYRANK",
        summary: "Removes the members within a range of ranks.",
        since: "2.0.0",
        complexity: "O(log(N)+M) for N members, M of them removed",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::WRITE,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[
            KEY,
            Argument::new("start", ArgumentKind::Integer),
            Argument::new("stop", ArgumentKind::Integer),
        ],
        handler: Handler::Keyed(zremrangebyrank),
        ..Command::BASE
    },
    Command {
        name: "ZREMRANGEBYSCORE",
        summary: "Removes the members within a range of scores.",
        since: "1.2.0",
        complexity: "O(log(N)+M) for N members, M of them removed",
        arity: Arity::Exactly(4),
        group: Group::SortedSet,
        flags: Flags::WRITE,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[
            KEY,
            Argument::new("min", ArgumentKind::Double),
            Argument::new("max", ArgumentKind::Double),
        ],
        handler: Handler::Keyed(zremrangebyscore),
        ..Command::BASE
    },
];

fn zremrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(cx, args, By::Lex, "zremrangebylex", reply)
}

fn zremrangebyrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(cx, args, By::Rank, "zremrangebyrank", reply)
}

fn zremrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    remove(cx, args, By::Score, "zremrangebyscore", reply)
}

fn remove(
    cx: &mut Context<'_>,
    args: Args<'_>,
    by: By,
    event: &'static str,
    reply: &mut Reply<'_>,
) -> Outcome {
    let bounds = Bounds::parse(args, by, 2, 3, reply)?;
    let key = cx.key(args.get(1));
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let mut set = ZSetMut::of(&mut entry)?;
    let (from, to) = bounds.ranks(set.view(), false);
    set.remove_range((from, to));
    let is_empty = set.view().is_empty();
    if from < to {
        lost(cx, &key, event, to - from, is_empty);
    }
    reply.count(to - from);
    Ok(())
}
