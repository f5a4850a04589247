//! Lists: commands that wait until there is an element.
//!
//! Invariant: a command that waits has changed nothing. When it runs again, some of the keys of
//! BLPOP and its kin may not be at hand; those are passed over.

use super::ends::{COUNT, MultiPop, NUMKEYS, take_one};
use super::moving::{DESTINATION, SOURCE, SOURCE_AND_DESTINATION, move_element};
use super::*;
use crate::base::time::Millis;
use crate::command::keyspec::{Begin, Find};
use crate::command::{
    Acl, Arity, Command, Denied, Flags, Group, Handler, Outcome, Suspension, Wants,
};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "BLMOVE",
        summary: "Moves an element between lists as LMOVE does; waits for one if need be.",
        since: "6.2.0",
        arity: Arity::Exactly(6),
        arguments: &[
            SOURCE,
            DESTINATION,
            Argument::one_of("wherefrom", LEFT_OR_RIGHT),
            Argument::one_of("whereto", LEFT_OR_RIGHT),
            TIMEOUT,
        ],
        handler: Handler::Keyed(blmove),
        ..MOVE
    },
    Command {
        name: "BLMPOP",
        summary: "Pops from the first list that has elements as LMPOP does; waits if need be.",
        since: "7.0.0",
        complexity: "O(N+M) for N keys and M returned elements",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::MOVABLEKEYS),
        keys: &[KeySpec {
            begin: Begin::Index(2),
            find: Find::Keynum { count: 0, first: 1, step: 1 },
            access: TAKE,
            notes: None,
        }],
        arguments: BLMPOP_ARGUMENTS,
        handler: Handler::Keyed(blmpop),
        ..POP
    },
    Command {
        name: "BLPOP",
        summary: "Removes and returns the first element of the first list that has any; waits for one if need be.",
        handler: Handler::Keyed(blpop),
        ..POP
    },
    Command {
        name: "BRPOP",
        summary: "Removes and returns the last element of the first list that has any; waits for one if need be.",
        handler: Handler::Keyed(brpop),
        ..POP
    },
    Command {
        name: "BRPOPLPUSH",
        summary: "Moves an element between lists as RPOPLPUSH does; waits for one if need be.",
        since: "2.2.0",
        arity: Arity::Exactly(4),
        arguments: &[SOURCE, DESTINATION, TIMEOUT],
        deprecated: Some(("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")),
        handler: Handler::Keyed(brpoplpush),
        ..MOVE
    },
];

const POP: Command = Command {
    since: "2.0.0",
    complexity: "O(N) for N keys",
    arity: Arity::AtLeast(3),
    group: Group::List,
    flags: Flags::WRITE.with(Flags::BLOCKING),
    acl: Acl::LIST,
    keys: &[KeySpec {
        begin: Begin::Index(1),
        find: Find::Range { last: -2, step: 1, limit: 0 },
        access: TAKE,
        notes: None,
    }],
    arguments: &[KEY.multiple(), TIMEOUT],
    ..Command::BASE
};

const MOVE: Command = Command {
    complexity: "O(1)",
    group: Group::List,
    flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::BLOCKING),
    acl: Acl::LIST,
    keys: SOURCE_AND_DESTINATION,
    ..Command::BASE
};

const BLMPOP_ARGUMENTS: &[Argument] = &[TIMEOUT, NUMKEYS, KEY.multiple(), WHERE, COUNT];

fn blmove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ends = (end_of(args, 3)?, end_of(args, 4)?);
    let deadline = args.timeout_seconds(5, cx.now)?;
    if move_element(cx, args, ends, reply)? {
        let db = cx.db_index();
        let words = [b"LMOVE", args.get(1), args.get(2), args.get(3), args.get(4)];
        cx.effects.propagate(db, &words);
    } else {
        wait(cx, vec![1], deadline, Denied::Null);
    }
    Ok(())
}

fn blmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = MultiPop::parse(args, 2)?;
    let deadline = args.timeout_seconds(1, cx.now)?;
    if !request.serve(cx, args, reply)? {
        wait(cx, request.keys.collect(), deadline, Denied::NullArray);
    }
    Ok(())
}

fn blpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop_or_wait(cx, args, reply, End::Head)
}

fn brpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop_or_wait(cx, args, reply, End::Tail)
}

fn brpoplpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let deadline = args.timeout_seconds(3, cx.now)?;
    if move_element(cx, args, (End::Tail, End::Head), reply)? {
        let db = cx.db_index();
        cx.effects.propagate(db, &[b"RPOPLPUSH", args.get(1), args.get(2)]);
    } else {
        wait(cx, vec![1], deadline, Denied::Null);
    }
    Ok(())
}

fn pop_or_wait(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let last = args.len() - 1;
    let deadline = args.timeout_seconds(last, cx.now)?;
    let limits = limits(cx);
    for index in 1..last {
        let key = cx.key(args.get(index));
        if cx.is_elsewhere(index, &key)? {
            continue;
        }
        let Some(mut entry) = cx.write(&key) else { continue };
        ListRef::of(entry.view().value())?;
        reply.array(2);
        reply.bulk(key.bytes);
        let loss = take_one(&mut entry, end, limits, reply)?;
        lost(cx, &key, pop_event(end), loss);
        let db = cx.db_index();
        cx.effects.propagate(db, &[pop_command(end), key.bytes]);
        return Ok(());
    }
    wait(cx, (1..last).collect(), deadline, Denied::NullArray);
    Ok(())
}

/// Leaves the command waiting for a list at one of the keys.
fn wait(cx: &mut Context<'_>, keys: Vec<usize>, deadline: Option<Millis>, denied: Denied) {
    cx.suspend(Suspension {
        keys,
        wants: Wants::List,
        deadline,
        denied,
        wakes_on_delete: false,
        replaced: Vec::new(),
    });
}
