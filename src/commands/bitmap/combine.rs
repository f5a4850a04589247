//! Bitmaps: operations on several of them.

use super::with_bits;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, Arity, Command, CommandError, Context, Flags, Group, Handler,
    KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;
use crate::types::Value;
use crate::types::bitmap::{Bitmap, Combined, Operation};
use crate::types::string::STRING_INLINE_MAX;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "BITOP",
    summary: "Combines strings bit by bit and stores the result.",
    since: "2.6.0",
    complexity: "O(N) for N bytes in all",
    arity: Arity::AtLeast(4),
    group: Group::Bitmap,
    flags: Flags::WRITE.with(Flags::DENYOOM),
    acl: Acl::BITMAP,
    keys: &[
        KeySpec::one(2, Access::OW.with(Access::UPDATE)),
        KeySpec::range(3, -1, 1, Access::RO.with(Access::ACCESS)),
    ],
    arguments: &[
        Argument::one_of(
            "operation",
            &[
                Argument::token("and", "AND"),
                Argument::token("or", "OR"),
                Argument::token("xor", "XOR"),
                Argument::token("not", "NOT"),
            ],
        ),
        Argument::key("destkey", 0),
        Argument::key("key", 1).multiple(),
    ],
    handler: Handler::Keyed(bitop),
    ..Command::BASE
}];

fn bitop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let operation = match args.get(1).to_ascii_uppercase().as_slice() {
        b"AND" => Some(Operation::And),
        b"OR" => Some(Operation::Or),
        b"XOR" => Some(Operation::Xor),
        b"NOT" => None,
        _ => return Err(CommandError::Syntax),
    };
    if operation.is_none() && args.len() != 4 {
        return Err(CommandError::BitopNotKeys);
    }
    let mut combined: Option<Combined> = None;
    for word in args.iter_from(3) {
        let key = cx.key(word);
        let string = cx.read_string(&key)?;
        let mut take = |bits: Bitmap<'_>| match (&mut combined, operation) {
            (Some(combined), Some(operation)) => combined.combine(operation, bits),
            _ => combined = Some(Combined::from(bits)),
        };
        match string {
            Some(string) => with_bits(string, take),
            None => take(Bitmap::Bytes(b"")),
        }
    }
    let mut combined = combined.unwrap_or(Combined::Bytes(Vec::new()));
    if operation.is_none() {
        combined.invert();
    }
    store(cx, args.get(2), combined, reply);
    Ok(())
}

/// Stores a result, or deletes the key if the result is empty; answers with its length.
fn store(cx: &mut Context<'_>, destination: &[u8], combined: Combined, reply: &mut Reply<'_>) {
    let key = cx.key(destination);
    let len = combined.view().len();
    if len == 0 {
        if cx.delete(&key) {
            cx.event(EventClass::Generic, "del", &key);
        }
    } else {
        match combined {
            Combined::Bytes(bytes) if bytes.len() <= STRING_INLINE_MAX => {
                cx.set(&key, NewValue::Raw(&bytes), None);
            }
            Combined::Bytes(bytes) => {
                let value = Value::String(bytes[..].into());
                cx.set(&key, NewValue::Boxed(Box::new(value)), None);
            }
            Combined::Big(big) => {
                cx.set(&key, NewValue::Boxed(Box::new(Value::String(big))), None);
            }
        }
        cx.event(EventClass::String, "set", &key);
    }
    reply.count(len);
}
