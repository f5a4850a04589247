//! Bitmaps: single bits.

use super::{bit_offset, make, with_bits};
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::types::bitmap::mask;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "GETBIT",
        summary: "Reads one bit of a string.",
        since: "2.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::Bitmap,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[Argument::key("key", 0), Argument::new("offset", ArgumentKind::Integer)],
        handler: Handler::Keyed(getbit),
        ..Command::BASE
    },
    Command {
        name: "SETBIT",
        summary: "Writes one bit of a string and answers with the one before.",
        since: "2.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(4),
        group: Group::Bitmap,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("offset", ArgumentKind::Integer),
            Argument::new("value", ArgumentKind::Integer),
        ],
        handler: Handler::Keyed(setbit),
        ..Command::BASE
    },
];

fn getbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = bit_offset(cx.config, args.get(2), None)?;
    let key = cx.key(args.get(1));
    let string = cx.read_string(&key)?;
    let bit = string.is_some_and(|string| with_bits(string, |bits| bits.bit(offset)));
    reply.integer(i64::from(bit));
    Ok(())
}

fn setbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = bit_offset(cx.config, args.get(2), None)?;
    let set = match args.integer(3) {
        Ok(0) => false,
        Ok(1) => true,
        _ => return Err(CommandError::BitValue),
    };
    let key = cx.key(args.get(1));
    let (at, mask) = (offset / 8, mask(offset));
    let changed = |byte: u8| if set { byte | mask } else { byte & !mask };
    let Some(mut entry) = cx.write(&key) else {
        make(cx, &key, at, changed(0));
        cx.event(EventClass::String, "setbit", &key);
        reply.integer(0);
        return Ok(());
    };
    // The usual case first: a byte that lies in the entry.
    let (old, grown) = if let Some(byte) = entry.str_mut().and_then(|all| all.get_mut(at as usize))
    {
        let old = *byte;
        *byte = changed(old);
        (old, false)
    } else {
        let string = StringRef::of(entry.view())?;
        let (old, len) = with_bits(string, |bits| (bits.byte(at), bits.len()));
        entry.write_at(at, &[changed(old)])?;
        (old, at >= len)
    };
    if grown || changed(old) != old {
        cx.changed(EventClass::String, "setbit", &key);
    }
    reply.integer(i64::from(old & mask != 0));
    Ok(())
}
