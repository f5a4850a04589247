//! HSCAN: a hash step by step.
//!
//! Invariant: a packed hash is given in one step. For what a step through a dict promises see
//! `encoding/dict.rs`.

use super::{READS, open};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler, Outcome,
};
use crate::commands::generic::scan::{ScanOptions, Scanned, parse_cursor};
use crate::encoding::listpack::INT_TEXT_MAX;
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::types::hash::{HashRef, Pair};

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "HSCAN",
    summary: "Walks the fields of a hash step by step.",
    since: "2.8.0",
    complexity: "O(COUNT) a step, O(N) for all steps from cursor 0 to cursor 0.",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    arguments: &[
        Argument::key("key", 0),
        Argument::new("cursor", ArgumentKind::Integer),
        Argument::new("pattern", ArgumentKind::Pattern).after("MATCH").optional(),
        Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
        Argument::token("novalues", "NOVALUES").optional(),
    ],
    handler: Handler::Keyed(hscan),
    ..READS
}];

fn hscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::InvalidCursor)?;
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    let Some(hash) = open(cx, &key)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::Hash)?;
    // The cursor precedes the fields and is known only behind them.
    let mut page = ReplyBuffer::default();
    let mut fields = Reply::new(&mut page, reply.proto());
    let mut found = 0;
    let mut emit = |pair: Pair<'_>| {
        if pair.is_expired(now) {
            return;
        }
        let mut digits = [0; INT_TEXT_MAX];
        let field = pair.field.to_bytes(&mut digits);
        if options.pattern.matches(field) {
            fields.bulk(field);
            found += 1;
            if !options.no_values {
                super::bulk(&mut fields, pair.value);
                found += 1;
            }
        }
    };
    let next = if let HashRef::Dict(dict) = hash {
        dict.scan(cursor, options.count, |element| emit(Pair::from(element)))
    } else {
        hash.iter().for_each(emit);
        0
    };
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found);
    reply.raw(&page.bytes);
    Ok(())
}
