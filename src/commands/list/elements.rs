//! Lists: elements by their index or range.

use super::*;
use crate::command::{Acl, Arity, Command, Flags, Group, Handler, Outcome};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "LINDEX",
        summary: "Returns an element of a list by its index.",
        since: "1.0.0",
        complexity: "O(N) for N elements passed over, node by node; O(1) at the ends",
        arity: Arity::Exactly(3),
        group: Group::List,
        flags: Flags::READONLY,
        acl: Acl::LIST,
        keys: READ,
        arguments: &[KEY, Argument::new("index", ArgumentKind::Integer)],
        handler: Handler::Keyed(lindex),
        ..Command::BASE
    },
    Command {
        name: "LRANGE",
        summary: "Returns a range of elements of a list.",
        since: "1.0.0",
        complexity: "O(S+N) for S elements passed over, node by node, and N returned ones",
        arity: Arity::Exactly(4),
        group: Group::List,
        flags: Flags::READONLY,
        acl: Acl::LIST,
        keys: READ,
        arguments: RANGE_ARGUMENTS,
        handler: Handler::Keyed(lrange),
        ..Command::BASE
    },
    Command {
        name: "LSET",
        summary: "Puts an element in the place of another one.",
        since: "1.0.0",
        complexity: "O(N) for N elements passed over, node by node; O(1) at the ends",
        arity: Arity::Exactly(4),
        group: Group::List,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::LIST,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[KEY, Argument::new("index", ArgumentKind::Integer), ELEMENT],
        handler: Handler::Keyed(lset),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "LTRIM",
        summary: "Removes all elements of a list but a range; none of them, the key.",
        since: "1.0.0",
        complexity: "O(N) for N removed nodes, which are freed later",
        arity: Arity::Exactly(4),
        group: Group::List,
        flags: Flags::WRITE,
        acl: Acl::LIST,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: RANGE_ARGUMENTS,
        handler: Handler::Keyed(ltrim),
        ..Command::BASE
    },
];

const RANGE_ARGUMENTS: &[Argument] = &[
    KEY,
    Argument::new("start", ArgumentKind::Integer),
    Argument::new("stop", ArgumentKind::Integer),
];

fn lindex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let Some(list) = read(cx, &key)? else {
        reply.null();
        return Ok(());
    };
    let shown = absolute(args.integer(2)?, list.len()).is_some_and(|index| {
        list.visit(index, End::Tail, |item| {
            write(reply, item);
            Walk::Stop
        })
    });
    if !shown {
        reply.null();
    }
    Ok(())
}

fn lrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (args.integer(2)?, args.integer(3)?);
    let key = cx.key(args.get(1));
    let list = read(cx, &key)?;
    match list.and_then(|list| Some((list, range(start, stop, list.len())?))) {
        Some((list, (first, count))) => write_range(reply, list, first, count, End::Tail),
        None => reply.array(0),
    }
    Ok(())
}

fn lset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let mut entry = cx.write(&key).ok_or(CommandError::NoSuchKey)?;
    let mut list = ListMut::of(&mut entry, limits)?;
    // An index beyond the list finds nothing, but the list may have changed its form by then.
    let index = absolute(args.integer(2)?, list.view().len()).unwrap_or(u64::MAX);
    if !list.set(index, item(args.value(3))) {
        return Err(CommandError::IndexOutOfRange);
    }
    cx.changed(EventClass::List, "lset", &key);
    reply.ok();
    Ok(())
}

fn ltrim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (args.integer(2)?, args.integer(3)?);
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let Some(mut entry) = cx.write(&key) else {
        reply.ok();
        return Ok(());
    };
    let mut list = ListMut::of(&mut entry, limits)?;
    let len = list.view().len();
    let (loss, ahead) = match range(start, stop, len) {
        None => (Loss { elements: len, is_empty: true, removed: None }, None),
        Some((first, count)) => {
            let ahead = list.remove_range(0, first);
            let removed = list.remove_range(count, len - first - count);
            (Loss { elements: len - count, is_empty: false, removed }, ahead)
        }
    };
    cx.replaced.extend(ahead);
    lost(cx, &key, "ltrim", loss);
    reply.ok();
    Ok(())
}
