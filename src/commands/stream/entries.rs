//! Streams: their entries.

use super::options::{Family, Options, Trimming, parse};
use super::{check_ids, id, interval_end, interval_start, read, reply_entries};
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;
use crate::store::key::Key;
use crate::types::Value;
use crate::types::stream::{AppendError, Limits, NewId, Stream, StreamId};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "XADD",
        summary: "Adds an entry to a stream, and makes the stream if there is none.",
        since: "5.0.0",
        complexity: "O(1), O(N) where N entries are trimmed",
        arity: Arity::AtLeast(5),
        group: Group::Stream,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))
            .notes("UPDATE instead of INSERT because of the optional trimming feature")],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::token("nomkstream", "NOMKSTREAM").optional().since("6.2.0"),
            TRIM.optional(),
            Argument::one_of(
                "id-selector",
                &[Argument::token("auto-id", "*"), Argument::new("id", ArgumentKind::String)],
            ),
            Argument::block(
                "data",
                &[
                    Argument::new("field", ArgumentKind::String),
                    Argument::new("value", ArgumentKind::String),
                ],
            )
            .multiple(),
        ],
        handler: Handler::Keyed(xadd),
        ..Command::BASE
    },
    Command {
        name: "XDEL",
        summary: "Deletes entries of a stream.",
        since: "5.0.0",
        complexity: "O(N) for N ids",
        arity: Arity::AtLeast(3),
        group: Group::Stream,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[Argument::key("key", 0), Argument::new("id", ArgumentKind::String).multiple()],
        handler: Handler::Keyed(xdel),
        ..Command::BASE
    },
    Command {
        name: "XLEN",
        summary: "Tells how many entries a stream has.",
        since: "5.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::Stream,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(xlen),
        ..Command::BASE
    },
    Command {
        name: "XRANGE",
        summary: "Reads the entries from one id to another.",
        since: "5.0.0",
        complexity: "O(N) for N entries read",
        arity: Arity::AtLeast(4),
        group: Group::Stream,
        flags: Flags::READONLY,
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("start", ArgumentKind::String),
            Argument::new("end", ArgumentKind::String),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        ],
        handler: Handler::Keyed(xrange),
        ..Command::BASE
    },
    Command {
        name: "XREVRANGE",
        summary: "Reads the entries from one id back to another.",
        since: "5.0.0",
        complexity: "O(N) for N entries read",
        arity: Arity::AtLeast(4),
        group: Group::Stream,
        flags: Flags::READONLY,
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("end", ArgumentKind::String),
            Argument::new("start", ArgumentKind::String),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        ],
        handler: Handler::Keyed(xrevrange),
        ..Command::BASE
    },
    Command {
        name: "XSETID",
        summary: "Sets what a stream remembers as its last id. For a server's own use.",
        since: "5.0.0",
        complexity: "O(1)",
        arity: Arity::AtLeast(3),
        group: Group::Stream,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("last-id", ArgumentKind::String),
            Argument::new("entries-added", ArgumentKind::Integer)
                .after("ENTRIESADDED")
                .optional()
                .since("7.0.0"),
            Argument::new("max-deleted-id", ArgumentKind::String)
                .after("MAXDELETEDID")
                .optional()
                .since("7.0.0"),
        ],
        handler: Handler::Keyed(xsetid),
        ..Command::BASE
    },
    Command {
        name: "XTRIM",
        summary: "Deletes the first entries of a stream.",
        since: "5.0.0",
        complexity: "O(N) for N entries deleted",
        arity: Arity::AtLeast(4),
        group: Group::Stream,
        flags: Flags::WRITE,
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        tips: &["nondeterministic_output"],
        arguments: &[Argument::key("key", 0), TRIM],
        handler: Handler::Keyed(xtrim),
        ..Command::BASE
    },
];

/// The syntax of trimming.
const TRIM: Argument = Argument::block(
    "trim",
    &[
        Argument::one_of(
            "strategy",
            &[
                Argument::token("maxlen", "MAXLEN"),
                Argument::token("minid", "MINID").since("6.2.0"),
            ],
        ),
        Argument::one_of(
            "operator",
            &[Argument::token("equal", "="), Argument::token("approximately", "~")],
        )
        .optional(),
        Argument::new("threshold", ArgumentKind::String),
        Argument::new("count", ArgumentKind::Integer).after("LIMIT").optional().since("6.2.0"),
    ],
);

fn xadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = parse(cx, args, Family::Add)?;
    let Some((id, id_at)) = options.id else { return Err(CommandError::XaddArity) };
    let words = args.len() - id_at - 1;
    if words < 2 || words % 2 == 1 {
        return Err(CommandError::XaddArity);
    }
    if id == NewId::Given(StreamId::MIN) {
        return Err(CommandError::XaddZeroId);
    }
    let key = cx.key(args.get(1));
    let (now, limits) = (cx.now.0.max(0) as u64, limits(cx));
    let first = id_at + 1;
    let pairs = (first..args.len()).step_by(2).map(|at| (args.get(at), args.get(at + 1)));
    let append = |stream: &mut Stream| -> Result<Added, CommandError> {
        let id = stream.append(id, now, limits, pairs)?;
        Ok(Added { id, trimmed: options.trimming.map(|trimming| Trimmed::of(stream, trimming)) })
    };
    let added = match cx.write(&key) {
        Some(mut entry) => {
            let added = append(Stream::of_mut(&mut entry)?)?;
            cx.effects.changed(cx.session.db, key.bytes);
            added
        }
        None if options.no_mkstream => {
            reply.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::new();
            let added = append(&mut stream)?;
            cx.set(&key, NewValue::Boxed(Box::new(Value::Stream(stream))), None);
            added
        }
    };
    cx.event(EventClass::Stream, "xadd", &key);
    super::reply_id(reply, added.id);
    finish_xadd(cx, args, &key, options, added);
    Ok(())
}

/// An entry that was added, and what was trimmed then.
struct Added {
    id: StreamId,
    trimmed: Option<Trimmed>,
}

/// What trimming did to a stream.
struct Trimmed {
    deleted: u64,
    /// The blocks that went.
    removed: Stream,
    /// The threshold that trims the same again; for `~` only.
    remains: Option<Vec<u8>>,
}

impl Trimmed {
    fn of(stream: &mut Stream, trimming: Trimming) -> Self {
        let (deleted, removed) = stream.trim(trimming.trim, trimming.approximately, trimming.limit);
        let remains = trimming
            .approximately
            .then(|| trimming.remains(stream.len(), stream.entries().first_remembered()));
        Trimmed { deleted, removed, remains }
    }

    /// Frees what went: much of it in slices.
    fn free(self, cx: &mut Context<'_>) {
        if self.removed.block_count() > BLOCKS_FREED_AT_ONCE {
            cx.replaced.push(Box::new(Value::Stream(self.removed)));
        }
    }
}

/// The events of trimming, and XADD as it is propagated: with the id that was given, and trimming to
/// what trimming made of the stream.
fn finish_xadd(
    cx: &mut Context<'_>,
    args: Args<'_>,
    key: &Key<'_>,
    options: Options,
    added: Added,
) {
    let is_given = matches!(options.id, Some((NewId::Given(_), _)));
    let remains = added.trimmed.as_ref().and_then(|trimmed| trimmed.remains.as_deref());
    if added.trimmed.as_ref().is_some_and(|trimmed| trimmed.deleted > 0) {
        cx.event(EventClass::Stream, "xtrim", key);
    }
    if !is_given || remains.is_some() {
        cx.effects.propagate_nothing();
        if cx.effects.wants_lines() {
            let id = added.id.text();
            let mut words: Vec<&[u8]> = args.iter_from(0).collect();
            if let Some((_, at)) = options.id {
                words[at] = id.as_bytes();
            }
            if let (Some(trimming), Some(remains)) = (options.trimming, remains) {
                trimming.rewrite(&mut words, remains);
            }
            cx.effects.propagate(cx.session.db, &words);
        }
    }
    if let Some(trimmed) = added.trimmed {
        trimmed.free(cx);
    }
}

impl From<AppendError> for CommandError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Exhausted => CommandError::StreamExhausted,
            AppendError::NotAbove => CommandError::XaddIdTooSmall,
            AppendError::TooLarge => CommandError::ElementsTooLarge,
        }
    }
}

fn limits(cx: &Context<'_>) -> Limits {
    Limits {
        node_max_bytes: cx.config.stream_node_max_bytes,
        node_max_entries: cx.config.stream_node_max_entries,
    }
}

fn xdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let deleted = match cx.write(&key) {
        None => 0,
        Some(mut entry) => {
            let stream = Stream::of_mut(&mut entry)?;
            check_ids(args, 2)?;
            stream.delete(args.iter_from(2).filter_map(|text| id(text).ok()))
        }
    };
    if deleted > 0 {
        cx.changed(EventClass::Stream, "xdel", &key);
        cx.effects.changed_many(deleted - 1);
    }
    reply.count(deleted);
    Ok(())
}

fn xlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let len = read(cx, &key)?.map_or(0, Stream::len);
    reply.count(len);
    Ok(())
}

fn xrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, reply, false)
}

fn xrevrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(cx, args, reply, true)
}

fn range(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, backward: bool) -> Outcome {
    let (start_at, end_at) = if backward { (3, 2) } else { (2, 3) };
    let start = interval_start(args.get(start_at))?;
    let end = interval_end(args.get(end_at))?;
    let mut count = None;
    let mut at = 4;
    while at < args.len() {
        if !args.is(at, "COUNT") || at + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        count = Some(u64::try_from(args.integer(at + 1)?).unwrap_or(0));
        at += 2;
    }
    let key = cx.key(args.get(1));
    match (read(cx, &key)?, count) {
        (None, _) => reply.array(0),
        (Some(_), Some(0)) => reply.null_array(),
        (Some(stream), count) => {
            let mut range = stream.entries().range(start, end, backward);
            reply_entries(reply, &mut range, count.unwrap_or(0));
        }
    }
    Ok(())
}

fn xsetid(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let last = id(args.get(2))?;
    let (mut added, mut max_deleted) = (None, None);
    let mut at = 3;
    while at < args.len() {
        let has_more = at + 1 < args.len();
        if has_more && args.is(at, "ENTRIESADDED") {
            let count = args.integer(at + 1)?;
            added = Some(u64::try_from(count).map_err(|_| CommandError::EntriesAddedNegative)?);
        } else if has_more && args.is(at, "MAXDELETEDID") {
            let deleted = id(args.get(at + 1))?;
            if last < deleted {
                return Err(CommandError::XsetidBelowGiven);
            }
            max_deleted = Some(deleted);
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let key = cx.key(args.get(1));
    let mut entry = cx.write(&key).ok_or(CommandError::NoSuchKey)?;
    let stream = Stream::of_mut(&mut entry)?;
    if last < stream.facts().max_deleted_id {
        return Err(CommandError::XsetidBelowDeleted);
    }
    if let Some(top) = stream.entries().last() {
        if last < top {
            return Err(CommandError::XsetidBelowTop);
        }
        if added.is_some_and(|added| stream.len() > added) {
            return Err(CommandError::EntriesAddedBelowLength);
        }
    }
    stream.set_id(last, added, max_deleted.filter(|id| !id.is_zero()));
    reply.ok();
    cx.effects.changed_many(1);
    cx.event(EventClass::Stream, "xsetid", &key);
    Ok(())
}

fn xtrim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = parse(cx, args, Family::Trim)?;
    let key = cx.key(args.get(1));
    let Some(trimming) = options.trimming else { return Err(CommandError::XtrimWithoutTrim) };
    let trimmed = match cx.write(&key) {
        None => {
            reply.integer(0);
            return Ok(());
        }
        Some(mut entry) => Trimmed::of(Stream::of_mut(&mut entry)?, trimming),
    };
    reply.count(trimmed.deleted);
    if trimmed.deleted > 0 {
        cx.changed(EventClass::Stream, "xtrim", &key);
        cx.effects.changed_many(trimmed.deleted - 1);
        if let Some(remains) = &trimmed.remains {
            let mut words: Vec<&[u8]> = args.iter_from(0).collect();
            trimming.rewrite(&mut words, remains);
            cx.effects.propagate(cx.session.db, &words);
        }
    }
    trimmed.free(cx);
    Ok(())
}

/// More blocks than these are freed in slices.
const BLOCKS_FREED_AT_ONCE: usize = 16;
