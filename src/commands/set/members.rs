//! Sets: one set and its members, and SMOVE between two.

use super::{limits, lost, write};
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::commands::generic::scan::{ScanOptions, Scanned, parse_cursor};
use crate::encoding::listpack::{Element, INT_TEXT_MAX};
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::store::key::Key;
use crate::types::WrongType;
use crate::types::set::{SetMut, SetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SADD",
        summary: "Adds members to a set, which is made if it is not there.",
        since: "1.0.0",
        complexity: "O(1) for each member",
        arity: Arity::AtLeast(3),
        group: Group::Set,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::INSERT))],
        arguments: &[KEY, MEMBERS],
        member: 2,
        handler: Handler::Keyed(sadd),
        ..Command::BASE
    },
    Command {
        name: "SCARD",
        summary: "Counts the members of a set.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::Set,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[KEY],
        handler: Handler::Keyed(scard),
        ..Command::BASE
    },
    Command {
        name: "SISMEMBER",
        summary: "Tells whether a string is a member of a set.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::Set,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[KEY, MEMBER],
        member: 2,
        handler: Handler::Keyed(sismember),
        ..Command::BASE
    },
    Command {
        name: "SMEMBERS",
        summary: "Gives all members of a set.",
        since: "1.0.0",
        complexity: "O(N) for N members",
        arity: Arity::Exactly(2),
        group: Group::Set,
        flags: Flags::READONLY,
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output_order"],
        arguments: &[KEY],
        handler: Handler::Keyed(smembers),
        ..Command::BASE
    },
    Command {
        name: "SMISMEMBER",
        summary: "Tells of several strings whether they are members of a set.",
        since: "6.2.0",
        complexity: "O(N) for N strings",
        arity: Arity::AtLeast(3),
        group: Group::Set,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[KEY, MEMBERS],
        member: 2,
        handler: Handler::Keyed(smismember),
        ..Command::BASE
    },
    Command {
        name: "SMOVE",
        summary: "Moves a member from one set to another.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(4),
        group: Group::Set,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[
            KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE)),
            KeySpec::one(2, Access::RW.with(Access::INSERT)),
        ],
        arguments: &[Argument::key("source", 0), Argument::key("destination", 1), MEMBER],
        handler: Handler::Keyed(smove),
        ..Command::BASE
    },
    Command {
        name: "SREM",
        summary: "Removes members from a set, and its key with the last one.",
        since: "1.0.0",
        complexity: "O(1) for each member",
        arity: Arity::AtLeast(3),
        group: Group::Set,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[KEY, MEMBERS],
        member: 2,
        handler: Handler::Keyed(srem),
        ..Command::BASE
    },
    Command {
        name: "SSCAN",
        summary: "Walks the members of a set step by step.",
        since: "2.8.0",
        complexity: "O(COUNT) a step, O(N) for all steps from cursor 0 to cursor 0",
        arity: Arity::AtLeast(3),
        group: Group::Set,
        flags: Flags::READONLY,
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::new("cursor", ArgumentKind::Integer),
            Argument::new("pattern", ArgumentKind::Pattern).after("MATCH").optional(),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        ],
        handler: Handler::Keyed(sscan),
        ..Command::BASE
    },
];

const KEY: Argument = Argument::key("key", 0);
const MEMBER: Argument = Argument::new("member", ArgumentKind::String);
const MEMBERS: Argument = MEMBER.multiple();

fn sadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let count = args.len() - 2;
    let packing = limits.packing(Element::Str(args.get(2)), count);
    let mut entry = cx.write_or_make(&key, packing);
    let mut set = SetMut::of(&mut entry)?;
    set.expect(count, &limits);
    let added = args.iter_from(2).filter(|word| set.add(Element::Str(word), &limits)).count();
    if added > 0 {
        cx.changed(EventClass::Set, "sadd", &key);
        cx.effects.changed_many(added as u64 - 1);
    }
    reply.count(added as u64);
    Ok(())
}

fn scard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let len = read(cx, &key)?.map_or(0, SetRef::len);
    reply.count(len as u64);
    Ok(())
}

fn sismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let member = Element::Str(args.get(2));
    let found = read(cx, &key)?.is_some_and(|set| set.contains(member));
    reply.integer(i64::from(found));
    Ok(())
}

fn smembers(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match read(cx, &key)? {
        None => reply.set(0),
        Some(set) => {
            reply.set(set.len());
            set.for_each(|member| write(reply, member));
        }
    }
    Ok(())
}

fn smismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let set = read(cx, &key)?;
    reply.array(args.len() - 2);
    for word in args.iter_from(2) {
        let found = set.is_some_and(|set| set.contains(Element::Str(word)));
        reply.integer(i64::from(found));
    }
    Ok(())
}

fn smove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (source, target) = (cx.key(args.get(1)), cx.key(args.get(2)));
    let member = Element::Str(args.get(3));
    let limits = limits(cx);
    let (from, to) = (is_there(cx, &source), is_there(cx, &target));
    if from == Ok(false) {
        reply.integer(0);
        return Ok(());
    }
    from?;
    let makes_target = !to?;
    let Some(mut entry) = cx.write(&source) else { unreachable!("it was there") };
    let mut set = SetMut::of(&mut entry)?;
    if source.bytes == target.bytes {
        reply.integer(i64::from(set.view().contains(member)));
        return Ok(());
    }
    if !set.remove(member) {
        reply.integer(0);
        return Ok(());
    }
    let is_empty = set.view().is_empty();
    lost(cx, &source, "srem", 1, is_empty);
    let mut entry = cx.write_or_make(&target, limits.packing(member, 1));
    let mut set = SetMut::of(&mut entry)?;
    if makes_target {
        set.expect(1, &limits);
    }
    if set.add(member, &limits) {
        cx.changed(EventClass::Set, "sadd", &target);
    }
    reply.integer(1);
    Ok(())
}

fn srem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let mut set = SetMut::of(&mut entry)?;
    let mut left = set.view().len();
    let mut removed = 0;
    for word in args.iter_from(2) {
        if set.remove(Element::Str(word)) {
            removed += 1;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    if removed > 0 {
        lost(cx, &key, "srem", removed, left == 0);
    }
    reply.count(removed);
    Ok(())
}

fn sscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(set) = read(cx, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::Set)?;
    // The cursor precedes the members and is known only behind them.
    let mut page = ReplyBuffer::default();
    let mut members = Reply::new(&mut page, reply.proto());
    let mut found = 0;
    let next = set.scan(cursor, options.count, |member| {
        let mut digits = [0; INT_TEXT_MAX];
        let member = member.to_bytes(&mut digits);
        if options.pattern.matches(member) {
            members.bulk(member);
            found += 1;
        }
    });
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found);
    reply.raw(&page.bytes);
    Ok(())
}

/// The set at a key, read. None if there is none, an error at another type.
#[inline]
fn read<'c>(cx: &'c mut Context<'_>, key: &Key<'_>) -> Result<Option<SetRef<'c>>, WrongType> {
    cx.read(key).map(|entry| SetRef::of(entry.value())).transpose()
}

/// Whether a set that is to be changed is at a key; an error at another type.
fn is_there(cx: &mut Context<'_>, key: &Key<'_>) -> Result<bool, WrongType> {
    match cx.write(key) {
        None => Ok(false),
        Some(entry) => SetRef::of(entry.view().value()).map(|_| true),
    }
}
