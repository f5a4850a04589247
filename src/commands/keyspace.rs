//! DBSIZE, FLUSHDB, FLUSHALL, SWAPDB: whole databases.
//!
//! Invariant: these hold every partition, so that nobody sees a database that is half empty or half
//! swapped; each partition hands its old tables on or exchanges them, in O(1) a database.

use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::budget::Budget;
use crate::store::db::Db;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DBSIZE",
        summary: "Counts the keys of the database.",
        group: Group::Server,
        arity: Arity::Exactly(1),
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        handler: Handler::Keyspace(dbsize),
        ..Command::BASE
    },
    Command {
        name: "FLUSHDB",
        summary: "Deletes all keys of the database.",
        handler: Handler::Keyspace(flushdb),
        ..FLUSHES
    },
    Command {
        name: "FLUSHALL",
        summary: "Deletes all keys of all databases.",
        flags: Flags::WRITE.with(Flags::ALL_DBS),
        handler: Handler::Keyspace(flushall),
        ..FLUSHES
    },
    Command {
        name: "SWAPDB",
        summary: "Exchanges the keys of two databases.",
        since: "4.0.0",
        group: Group::Server,
        complexity: "O(N) in the number of clients that watch or wait for keys of either.",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::KEYSPACE.with(Acl::DANGEROUS),
        arguments: &[
            Argument::new("index1", ArgumentKind::Integer),
            Argument::new("index2", ArgumentKind::Integer),
        ],
        databases: Some(|_| vec![1, 2]),
        handler: Handler::Keyspace(swapdb),
        ..Command::BASE
    },
];

/// What the commands that flush have in common.
const FLUSHES: Command = Command {
    group: Group::Server,
    complexity: "O(1); what was deleted is freed later, in slices.",
    arity: Arity::AtLeast(1),
    flags: Flags::WRITE,
    acl: Acl::KEYSPACE.with(Acl::DANGEROUS),
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    arguments: &[Argument::one_of(
        "flush-type",
        &[
            Argument::token("async", "ASYNC").since("4.0.0"),
            Argument::token("sync", "SYNC").since("6.2.0"),
        ],
    )
    .optional()],
    ..Command::BASE
};

fn dbsize(cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let db = cx.db_index();
    let keys: usize = cx.keyspace.partitions().iter().map(|one| one.db(db).len()).sum();
    reply.count(keys as u64);
    Ok(())
}

fn flushdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_flush_type(args)?;
    let db = cx.db_index();
    let mut deleted = 0;
    for partition in cx.keyspace.partitions() {
        deleted += partition.db(db).len();
        partition.flush(db);
    }
    free_some(cx, args);
    report_flush(cx, args, deleted);
    reply.ok();
    Ok(())
}

fn flushall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_flush_type(args)?;
    let mut deleted = 0;
    for partition in cx.keyspace.partitions() {
        deleted += partition.dbs().iter().map(Db::len).sum::<usize>();
        partition.flush_all();
    }
    free_some(cx, args);
    report_flush(cx, args, deleted);
    if cx.config.save.is_empty() {
        cx.server.persistence.give_up_save();
    } else {
        cx.server.persistence.supersede();
    }
    reply.ok();
    Ok(())
}

fn swapdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if cx.config.cluster_enabled {
        return Err(CommandError::SwapdbInCluster);
    }
    let one = args.integer32(1).map_err(|_| CommandError::InvalidFirstDb)?;
    let other = args.integer32(2).map_err(|_| CommandError::InvalidSecondDb)?;
    let (one, other) = (cx.checked_db(i64::from(one))?, cx.checked_db(i64::from(other))?);
    if one != other {
        let (now, partitions) = (cx.now, cx.keyspace.partitions());
        partitions.into_iter().for_each(|partition| partition.swap_dbs(one, other, now));
    }
    cx.effects.changed_databases(1);
    reply.ok();
    Ok(())
}

/// A small data set is freed before the answer, unless ASYNC asks for none of that; what is more is freed
/// in slices, since freeing never stops the server here.
fn free_some(cx: &mut Context<'_>, args: Args<'_>) {
    let is_async =
        if args.len() > 1 { args.is(1, "ASYNC") } else { cx.config.lazyfree_lazy_user_flush };
    if is_async {
        return;
    }
    let mut budget = Budget::new(FREED_AT_ONCE);
    let mut freed = 0;
    for partition in cx.keyspace.partitions() {
        freed += partition.free_slice(&mut budget);
    }
    cx.stats.totals.lazyfreed.add(freed as u64);
}

/// How to flush is said by one word, or none.
fn check_flush_type(args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        1 => Ok(()),
        2 if args.is(1, "SYNC") || args.is(1, "ASYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

/// Units of work: well below a slice of a turn.
const FREED_AT_ONCE: usize = 4000;

/// A flush is propagated even where there was nothing to delete: a replica may know better.
fn report_flush(cx: &mut Context<'_>, args: Args<'_>, deleted: usize) {
    let db = cx.db_index();
    let words: Vec<&[u8]> = args.iter_from(0).collect();
    cx.invalidate_all();
    cx.effects.changed_databases(deleted as u64);
    cx.effects.propagate(db, &words);
}
