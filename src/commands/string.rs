//! Strings.

use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Arity, Command, Context, Flags, Group, Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "GET",
        arity: Arity::Exactly(2),
        group: Group::String,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        handler: Handler::Keyed(get),
        ..Command::BASE
    },
    Command {
        name: "SET",
        arity: Arity::AtLeast(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS))],
        handler: Handler::Keyed(set),
        ..Command::BASE
    },
];

fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match cx.read_string(&key)? {
        Some(StringRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(value) => value.reply(reply),
        None => reply.null(),
    }
    Ok(())
}

fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    cx.set(&key, NewValue::string(args.get(2)), None);
    cx.event(EventClass::String, "set", &key);
    reply.ok();
    Ok(())
}
