//! Lists: elements that move from one list to another.

use super::*;
use crate::command::{Acl, Arity, Command, Flags, Group, Handler, Outcome};
use crate::types::Packing;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "LMOVE",
        summary: "Moves an element from an end of one list to an end of another, and returns it.",
        since: "6.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(5),
        group: Group::List,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::LIST,
        keys: SOURCE_AND_DESTINATION,
        arguments: &[
            SOURCE,
            DESTINATION,
            Argument::one_of("wherefrom", LEFT_OR_RIGHT),
            Argument::one_of("whereto", LEFT_OR_RIGHT),
        ],
        handler: Handler::Keyed(lmove),
        ..Command::BASE
    },
    Command {
        name: "RPOPLPUSH",
        summary: "Moves the last element of one list before the first of another, and returns it.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::List,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::LIST,
        keys: SOURCE_AND_DESTINATION,
        arguments: &[SOURCE, DESTINATION],
        deprecated: Some(("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")),
        handler: Handler::Keyed(rpoplpush),
        ..Command::BASE
    },
];

pub(super) const SOURCE: Argument = Argument::key("source", 0);
pub(super) const DESTINATION: Argument = Argument::key("destination", 1);
pub(super) const SOURCE_AND_DESTINATION: &[KeySpec] =
    &[KeySpec::one(1, TAKE), KeySpec::one(2, Access::RW.with(Access::INSERT))];

fn lmove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ends = (end_of(args, 3)?, end_of(args, 4)?);
    if !move_element(cx, args, ends, reply)? {
        reply.null();
    }
    Ok(())
}

fn rpoplpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !move_element(cx, args, (End::Tail, End::Head), reply)? {
        reply.null();
    }
    Ok(())
}

/// Moves an element from an end of the list in word 1 to an end of the list in word 2, and writes
/// it; false if there is none.
pub(super) fn move_element(
    cx: &mut Context<'_>,
    args: Args<'_>,
    (from, to): (End, End),
    reply: &mut Reply<'_>,
) -> Result<bool, CommandError> {
    let (source, destination) = (cx.key(args.get(1)), cx.key(args.get(2)));
    let limits = limits(cx);
    let Some(entry) = cx.write(&source) else { return Ok(false) };
    let list = ListRef::of(entry.view().value())?;
    let Some(moved) = list.copy_of_end(from) else { return Ok(false) };
    if source.bytes == destination.bytes {
        let mut entry = entry;
        ListMut::of(&mut entry, limits)?.rotate(from, to);
        arrived(cx, &destination, to);
        lost(cx, &source, pop_event(from), Loss { elements: 1, is_empty: false, removed: None });
    } else {
        if let Some(entry) = cx.write(&destination) {
            ListRef::of(entry.view().value())?;
        }
        let mut entry = cx.write_or_make(&destination, Packing::List);
        ListMut::of(&mut entry, limits)?.push(to, std::iter::once(moved.item()));
        arrived(cx, &destination, to);
        let mut entry = cx.write(&source).ok_or(CommandError::NoSuchKey)?;
        let mut list = ListMut::of(&mut entry, limits)?;
        let is_empty = list.view().len() == 1;
        if !is_empty {
            list.drop_end(from);
        }
        lost(cx, &source, pop_event(from), Loss { elements: 1, is_empty, removed: None });
    }
    write(reply, moved.item());
    Ok(true)
}

/// Reports the push; as a change it counts with the pop.
fn arrived(cx: &mut Context<'_>, key: &Key<'_>, end: End) {
    cx.effects.changed_along(cx.session.db, key.bytes);
    cx.event(EventClass::List, push_event(end), key);
}
