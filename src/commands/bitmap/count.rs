//! Bitmaps: counting and finding bits.

use std::ops::Range;

use super::{bits_between, unit_is_bit, with_bits};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "BITCOUNT",
        summary: "Counts the bits that are set in a string.",
        since: "2.6.0",
        complexity: "O(N) for N bytes",
        arity: Arity::AtLeast(2),
        group: Group::Bitmap,
        flags: Flags::READONLY,
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[Argument::key("key", 0), RANGE],
        handler: Handler::Keyed(bitcount),
        ..Command::BASE
    },
    Command {
        name: "BITPOS",
        summary: "Finds the first bit of a string that is set, or that is not.",
        since: "2.8.7",
        complexity: "O(N) for N bytes",
        arity: Arity::AtLeast(3),
        group: Group::Bitmap,
        flags: Flags::READONLY,
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[Argument::key("key", 0), Argument::new("bit", ArgumentKind::Integer), RANGE],
        handler: Handler::Keyed(bitpos),
        ..Command::BASE
    },
];

const RANGE: Argument = Argument::block(
    "range",
    &[
        Argument::new("start", ArgumentKind::Integer),
        Argument::block(
            "end-unit-block",
            &[
                Argument::new("end", ArgumentKind::Integer),
                Argument::one_of(
                    "unit",
                    &[Argument::token("byte", "BYTE"), Argument::token("bit", "BIT")],
                )
                .optional()
                .since("7.0.0"),
            ],
        )
        .optional(),
    ],
)
.optional();

fn bitcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 5 {
        return Err(CommandError::Syntax);
    }
    let start = if args.len() > 2 { args.integer(2)? } else { 0 };
    let end = if args.len() > 3 { args.integer(3)? } else { -1 };
    let is_bit = unit_is_bit(args, 4)?;
    let key = cx.key(args.get(1));
    let Some(string) = cx.read_string(&key)? else {
        reply.integer(0);
        return Ok(());
    };
    // Of two negative indexes in the wrong order nothing is counted, however short the string is.
    let is_backward = start < 0 && end < 0 && start > end;
    let count = with_bits(string, |bits| {
        let range = bits_between(start, end, is_bit, bits.len());
        if is_backward { 0 } else { bits.count(range) }
    });
    reply.count(count);
    Ok(())
}

fn bitpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = match args.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::BitArgument),
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = if args.len() > 3 { args.integer(3)? } else { 0 };
    let is_bit = unit_is_bit(args, 5)?;
    let end = if args.len() > 4 { Some(args.integer(4)?) } else { None };
    let key = cx.key(args.get(1));
    let Some(string) = cx.read_string(&key)? else {
        reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let found = with_bits(string, |bits| {
        let range: Range<u64> = bits_between(start, end.unwrap_or(-1), is_bit, bits.len());
        if range.is_empty() {
            return None;
        }
        // Without an end the string counts as followed by zeros.
        let behind = (!wanted && end.is_none()).then_some(range.end);
        bits.find(wanted, range).or(behind)
    });
    reply.integer(found.map_or(-1, |at| at as i64));
    Ok(())
}
