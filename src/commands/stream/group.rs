//! Streams: consumer groups, and the acknowledgement of what they read.

use super::{check_ids, id, no_group_of_key};
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome, SessionContext,
};
use crate::commands::container;
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;
use crate::types::Value;
use crate::types::stream::{Group, Stream, StreamId};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "XACK",
        summary: "Acknowledges entries that a consumer of a group has dealt with.",
        since: "5.0.0",
        complexity: "O(log(M)) for each id, M of them pending",
        arity: Arity::AtLeast(4),
        group: crate::command::Group::Stream,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("group", ArgumentKind::String),
            Argument::new("id", ArgumentKind::String).multiple(),
        ],
        handler: Handler::Keyed(xack),
        ..Command::BASE
    },
    Command {
        name: "XGROUP",
        summary: "Holds the commands that manage consumer groups.",
        since: "5.0.0",
        complexity: "That of the subcommand.",
        arity: Arity::AtLeast(2),
        group: crate::command::Group::Stream,
        subcommands: &[
            Command {
                name: "CREATE",
                summary: "Makes a consumer group.",
                arity: Arity::AtLeast(5),
                flags: Flags::WRITE.with(Flags::DENYOOM),
                keys: &[KeySpec::one(2, Access::RW.with(Access::INSERT))],
                arguments: &[
                    Argument::key("key", 0),
                    Argument::new("group", ArgumentKind::String),
                    ID_SELECTOR,
                    Argument::token("mkstream", "MKSTREAM").optional(),
                    ENTRIES_READ,
                ],
                handler: Handler::Keyed(create),
                ..MANAGES
            },
            Command {
                name: "CREATECONSUMER",
                summary: "Makes a consumer of a group.",
                since: "6.2.0",
                arity: Arity::Exactly(5),
                flags: Flags::WRITE.with(Flags::DENYOOM),
                keys: &[KeySpec::one(2, Access::RW.with(Access::INSERT))],
                arguments: CONSUMER_OF_GROUP,
                handler: Handler::Keyed(create_consumer),
                ..MANAGES
            },
            Command {
                name: "DELCONSUMER",
                summary: "Removes a consumer of a group with all that it has not acknowledged.",
                complexity: "O(N) for N entries pending",
                arity: Arity::Exactly(5),
                flags: Flags::WRITE,
                keys: &[KeySpec::one(2, Access::RW.with(Access::DELETE))],
                arguments: CONSUMER_OF_GROUP,
                handler: Handler::Keyed(del_consumer),
                ..MANAGES
            },
            Command {
                name: "DESTROY",
                summary: "Removes a consumer group.",
                arity: Arity::Exactly(4),
                flags: Flags::WRITE,
                keys: &[KeySpec::one(2, Access::RW.with(Access::DELETE))],
                arguments: &[Argument::key("key", 0), Argument::new("group", ArgumentKind::String)],
                handler: Handler::Keyed(destroy),
                ..MANAGES
            },
            Command {
                name: "HELP",
                summary: "Explains the subcommands.",
                arity: Arity::Exactly(2),
                flags: Flags::LOADING.with(Flags::STALE),
                handler: Handler::Session(help),
                ..MANAGES
            },
            Command {
                name: "SETID",
                summary: "Sets the id up to which a group has read.",
                arity: Arity::AtLeast(5),
                flags: Flags::WRITE,
                keys: &[KeySpec::one(2, Access::RW.with(Access::UPDATE))],
                arguments: &[
                    Argument::key("key", 0),
                    Argument::new("group", ArgumentKind::String),
                    ID_SELECTOR,
                    ENTRIES_READ,
                ],
                handler: Handler::Keyed(set_id),
                ..MANAGES
            },
        ],
        ..Command::BASE
    },
];

/// What the subcommands have in common.
const MANAGES: Command = Command {
    since: "5.0.0",
    group: crate::command::Group::Stream,
    acl: Acl::STREAM,
    ..Command::BASE
};

const ID_SELECTOR: Argument = Argument::one_of(
    "id-selector",
    &[Argument::new("id", ArgumentKind::String), Argument::token("new-id", "$")],
);

const ENTRIES_READ: Argument = Argument::new("entriesread", ArgumentKind::Integer)
    .after("ENTRIESREAD")
    .display("entries-read")
    .optional();

const CONSUMER_OF_GROUP: &[Argument] = &[
    Argument::key("key", 0),
    Argument::new("group", ArgumentKind::String),
    Argument::new("consumer", ArgumentKind::String),
];

fn xack(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let mut acknowledged = 0;
    if let Some(mut entry) = cx.read_mut(&key) {
        let stream = Stream::of_mut(&mut entry)?;
        if stream.groups.get(args.get(2)).is_some() {
            check_ids(args, 3)?;
        }
        if let Some(group) = stream.groups.get_mut(args.get(2)) {
            let ids = args.iter_from(3).filter_map(|text| id(text).ok());
            acknowledged = ids.filter(|id| group.acknowledge(*id)).count() as u64;
        }
    }
    cx.effects.changed_many(acknowledged);
    reply.count(acknowledged);
    Ok(())
}

/// The options behind the id of CREATE and SETID.
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, creates: bool, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        let mut options = Options { makes_stream: false, entries_read: None };
        let mut at = 5;
        while at < args.len() {
            if creates && args.is(at, "MKSTREAM") {
                options.makes_stream = true;
                at += 1;
            } else if at + 1 < args.len() && args.is(at, "ENTRIESREAD") {
                options.entries_read = match args.integer(at + 1)? {
                    -1 => None,
                    ..0 => return Err(CommandError::EntriesReadNegative),
                    read => Some(read.unsigned_abs()),
                };
                at += 2;
            } else {
                reply.error(container::wrong_form(args));
                return Err(CommandError::Written);
            }
        }
        Ok(options)
    }
}

/// The stream that a subcommand works on, and its group where it has to be there.
fn stream_and_group<'s>(
    stream: Option<&'s mut Stream>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<&'s mut Stream, CommandError> {
    let stream = stream.ok_or(CommandError::XgroupNeedsKey)?;
    match stream.groups.get(args.get(3)) {
        Some(_) => Ok(stream),
        None => Err(no_group_of_key(reply, args.get(2), args.get(3))),
    }
}

fn create(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, true, reply)?;
    let key = cx.key(args.get(2));
    let mut entry = cx.write(&key);
    let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
    if stream.is_none() && !options.makes_stream {
        return Err(CommandError::XgroupNeedsKey);
    }
    if args.len() > CREATE_WORDS_MAX {
        reply.error(container::wrong_form(args));
        return Err(CommandError::Written);
    }
    let last_id = match (args.get(4), &stream) {
        (b"$", Some(stream)) => stream.facts().last_id,
        (b"$", None) => StreamId::MIN,
        (text, _) => id(text)?,
    };
    let group = Group::new(last_id, options.entries_read);
    if let Some(stream) = stream {
        if !stream.groups.create(args.get(3), group) {
            return Err(CommandError::BusyGroup);
        }
        cx.effects.changed_many(1);
    } else {
        let mut stream = Stream::new();
        stream.groups.create(args.get(3), group);
        cx.set(&key, NewValue::Boxed(Box::new(Value::Stream(stream))), None);
    }
    reply.ok();
    cx.event(EventClass::Stream, "xgroup-create", &key);
    Ok(())
}

fn create_consumer(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let now = cx.now;
    let mut entry = cx.write(&key);
    let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
    let stream = stream_and_group(stream, args, reply)?;
    let group = stream.groups.get_mut(args.get(3));
    let is_new = group.is_some_and(|group| group.create(args.get(4), now).is_some());
    if is_new {
        cx.effects.changed_many(1);
        cx.event(EventClass::Stream, "xgroup-createconsumer", &key);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

fn del_consumer(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let mut entry = cx.write(&key);
    let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
    let stream = stream_and_group(stream, args, reply)?;
    let group = stream.groups.get_mut(args.get(3));
    let pending = group.and_then(|group| group.remove(args.get(4)));
    if pending.is_some() {
        cx.effects.changed_many(1);
        cx.event(EventClass::Stream, "xgroup-delconsumer", &key);
    }
    reply.count(pending.unwrap_or(0) as u64);
    Ok(())
}

fn destroy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(2));
    let mut entry = cx.write(&key);
    let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
    let stream = stream.ok_or(CommandError::XgroupNeedsKey)?;
    let destroyed = stream.groups.remove(args.get(3));
    reply.integer(i64::from(destroyed.is_some()));
    if let Some(groups) = destroyed {
        // What is pending is freed in slices.
        cx.replaced.push(Box::new(Value::Stream(Stream::from(groups))));
        // Those who wait in XREADGROUP are to hear of it.
        cx.effects.wakes(cx.session.db, key.bytes);
        cx.effects.changed_many(1);
        cx.event(EventClass::Stream, "xgroup-destroy", &key);
    }
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "XGROUP", HELP);
    Ok(())
}

fn set_id(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, false, reply)?;
    let key = cx.key(args.get(2));
    let mut entry = cx.write(&key);
    let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
    let stream = stream_and_group(stream, args, reply)?;
    if args.len() > SETID_WORDS_MAX {
        reply.error(container::wrong_form(args));
        return Err(CommandError::Written);
    }
    let last_id = match args.get(4) {
        b"$" => stream.facts().last_id,
        text => StreamId::parse_edge(text, 0).ok_or(CommandError::InvalidStreamId)?,
    };
    if let Some(group) = stream.groups.get_mut(args.get(3)) {
        group.last_id = last_id;
        group.entries_read = options.entries_read;
    }
    reply.ok();
    cx.effects.changed_many(1);
    cx.event(EventClass::Stream, "xgroup-setid", &key);
    Ok(())
}

/// More words than these make no form, even if each option by itself is one.
const CREATE_WORDS_MAX: usize = 8;
const SETID_WORDS_MAX: usize = 7;

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Make a consumer group that reads what is behind <id>. Options are:",
    "    * MKSTREAM",
    "      Make an empty stream if there is none.",
    "    * ENTRIESREAD entries_read",
    "      Set how many entries the group has read.",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Make a consumer of a group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove a consumer with all that it has not acknowledged.",
    "DESTROY <key> <groupname>",
    "    Remove a consumer group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the id up to which a group has read, and how many entries that were.",
];
