//! RENAME, RENAMENX, COPY, MOVE: a value changes its key or its database.
//!
//! Invariant: an entry is in one place at a time. Source and destination may lie on two partitions;
//! a large value changes hands, or is shared by chunks, and is never copied byte by byte.

use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::Entry;
use crate::store::key::Key;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "RENAME",
        summary: "Gives a value another key and overwrites what that key held.",
        complexity: "O(1); a large value that is overwritten is freed later, in slices.",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE,
        acl: Acl::KEYSPACE,
        keys: &[
            KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE)),
            KeySpec::one(2, Access::OW.with(Access::UPDATE)),
        ],
        arguments: &[Argument::key("key", 0), Argument::key("newkey", 1)],
        handler: Handler::Keyed(rename),
        ..Command::BASE
    },
    Command {
        name: "RENAMENX",
        summary: "Gives a value another key unless that key exists.",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[
            KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE)),
            KeySpec::one(2, Access::OW.with(Access::INSERT)),
        ],
        arguments: &[Argument::key("key", 0), Argument::key("newkey", 1)],
        handler: Handler::Keyed(renamenx),
        ..Command::BASE
    },
    Command {
        name: "COPY",
        summary: "Copies a value to another key.",
        since: "6.2.0",
        complexity: "O(N) in the number of parts of a large value, O(1) for a string.",
        arity: Arity::AtLeast(3),
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::KEYSPACE,
        keys: &[
            KeySpec::one(1, Access::RO.with(Access::ACCESS)),
            KeySpec::one(2, Access::OW.with(Access::UPDATE)),
        ],
        arguments: &[
            Argument::key("source", 0),
            Argument::key("destination", 1),
            Argument::new("destination-db", ArgumentKind::Integer).after("DB").optional(),
            Argument::token("replace", "REPLACE").optional(),
        ],
        databases: Some(databases_of_copy),
        handler: Handler::Keyed(copy),
        ..Command::BASE
    },
    Command {
        name: "MOVE",
        summary: "Moves a key to another database unless it exists there.",
        arity: Arity::Exactly(3),
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[Argument::key("key", 0), Argument::new("db", ArgumentKind::Integer)],
        databases: Some(|_| vec![2]),
        handler: Handler::Keyed(move_key),
        ..Command::BASE
    },
];

fn rename(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    rename_key(cx, args, true)?;
    reply.ok();
    Ok(())
}

fn renamenx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let renamed = rename_key(cx, args, false)?;
    reply.integer(i64::from(renamed));
    Ok(())
}

/// Each number behind DB: the last one counts, and permissions ask for all. Empty where the options
/// are wrong.
fn databases_of_copy(args: Args<'_>) -> Vec<usize> {
    let mut words = Vec::new();
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "DB") && at + 1 < args.len() {
            words.push(at + 1);
            at += 2;
        } else if args.is(at, "REPLACE") {
            at += 1;
        } else {
            return Vec::new();
        }
    }
    words
}

fn copy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let CopyOptions { db, replace } = CopyOptions::parse(cx, args)?;
    if cx.config.cluster_enabled && (cx.db_index() != 0 || db != 0) {
        return Err(CommandError::CopyInCluster);
    }
    let (source, target) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if db == cx.db_index() && source.bytes == target.bytes {
        return Err(CommandError::SameObject);
    }
    if cx.read(&source).is_none() || (cx.write_in(db, &target).is_some() && !replace) {
        reply.integer(0);
        return Ok(());
    }
    let access = cx.access.initial(cx.now);
    let Some(copied) = cx.peek(&source).map(|entry| entry.copied(target.bytes, access)) else {
        unreachable!("it was found and is not the target");
    };
    insert_new(cx, db, &target, copied);
    cx.effects.event(EventClass::Generic, "copy_to", db, target.bytes);
    reply.integer(1);
    Ok(())
}

fn move_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if cx.config.cluster_enabled {
        return Err(CommandError::MoveInCluster);
    }
    let source_db = cx.db_index();
    let target_db = cx.checked_db(i64::from(args.integer32(2)?))?;
    if source_db == target_db {
        return Err(CommandError::SameObject);
    }
    let key = cx.key(args.get(1));
    if cx.write(&key).is_none() || cx.write_in(target_db, &key).is_some() {
        reply.integer(0);
        return Ok(());
    }
    if let Some(entry) = cx.take_in(source_db, &key) {
        cx.effects.changed_along(source_db, key.bytes);
        insert_new(cx, target_db, &key, entry);
    }
    cx.effects.event(EventClass::Generic, "move_from", source_db, key.bytes);
    cx.effects.event(EventClass::Generic, "move_to", target_db, key.bytes);
    reply.integer(1);
    Ok(())
}

/// Renames word 1 to word 2; false if `overwrite` is false and the new key exists.
fn rename_key(cx: &mut Context<'_>, args: Args<'_>, overwrite: bool) -> Result<bool, CommandError> {
    let (source, target) = (cx.key(args.get(1)), cx.key(args.get(2)));
    if cx.write(&source).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if source.bytes == target.bytes || (cx.write(&target).is_some() && !overwrite) {
        return Ok(false);
    }
    let db = cx.db_index();
    if let Some(entry) = cx.take_in(db, &source) {
        cx.effects.changed_along(db, source.bytes);
        insert_new(cx, db, &target, entry.renamed(target.bytes));
    }
    cx.event(EventClass::Generic, "rename_from", &source);
    cx.event(EventClass::Generic, "rename_to", &target);
    Ok(true)
}

/// Inserts an entry that subscribers hear of as a new key, also where it replaces one.
fn insert_new(cx: &mut Context<'_>, db: usize, key: &Key<'_>, entry: Entry) {
    cx.insert_in(db, key, entry);
    cx.effects.event(EventClass::New, "new", db, key.bytes);
}

/// The options of COPY.
struct CopyOptions {
    db: usize,
    replace: bool,
}

impl CopyOptions {
    fn parse(cx: &Context<'_>, args: Args<'_>) -> Result<CopyOptions, CommandError> {
        let mut options = CopyOptions { db: cx.db_index(), replace: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "REPLACE") {
                options.replace = true;
                at += 1;
            } else if args.is(at, "DB") && at + 1 < args.len() {
                options.db = cx.checked_db(i64::from(args.integer32(at + 1)?))?;
                at += 2;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}
