//! Strings: reading them, and reading with a change of the key beside it.

use super::equals;
use super::options::{self, Family, Ttl};
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, Context, Flags, Group, Handler,
    KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DELIFEQ",
        summary: "Deletes a key if its string equals a value.",
        since: "9.0.0",
        complexity: "O(1), O(N) for a long value of N bytes",
        arity: Arity::Exactly(3),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RM.with(Access::DELETE))],
        arguments: &[Argument::key("key", 0), Argument::new("value", ArgumentKind::String)],
        handler: Handler::Keyed(delifeq),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "GET",
        summary: "Reads a string.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::String,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(get),
        ..Command::BASE
    },
    Command {
        name: "GETDEL",
        summary: "Reads a string and deletes its key.",
        since: "6.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(getdel),
        ..Command::BASE
    },
    Command {
        name: "GETEX",
        summary: "Reads a string and gives its key an expiry, or takes the expiry away.",
        since: "6.2.0",
        complexity: "O(1)",
        arity: Arity::AtLeast(2),
        group: Group::String,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))
            .notes("RW and UPDATE because it changes the TTL")],
        arguments: &[
            Argument::key("key", 0),
            Argument::one_of(
                "expiration",
                &[
                    Argument::new("seconds", ArgumentKind::Integer).after("EX"),
                    Argument::new("milliseconds", ArgumentKind::Integer).after("PX"),
                    Argument::new("unix-time-seconds", ArgumentKind::UnixTime).after("EXAT"),
                    Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime).after("PXAT"),
                    Argument::token("persist", "PERSIST"),
                ],
            )
            .optional(),
        ],
        handler: Handler::Keyed(getex),
        ..Command::BASE
    },
    Command {
        name: "STRLEN",
        summary: "Tells the length of a string in bytes.",
        since: "2.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        group: Group::String,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::STRING,
        keys: &[KeySpec::one(1, Access::RO)],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(strlen),
        ..Command::BASE
    },
];

fn delifeq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let is_equal = match cx.write(&key) {
        None => false,
        Some(entry) => equals(StringRef::of(entry.view())?, args.value(2)),
    };
    if is_equal {
        delete(cx, &key, b"DEL");
    }
    reply.integer(i64::from(is_equal));
    Ok(())
}

fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match cx.read_string(&key)? {
        Some(StringRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(value) => value.reply(reply),
        None => reply.null(),
    }
    Ok(())
}

fn getdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match cx.read_string(&key)? {
        None => {
            reply.null();
            return Ok(());
        }
        Some(value) => value.reply(reply),
    }
    delete(cx, &key, b"DEL");
    Ok(())
}

fn getex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ttl = options::parse(args, 2, Family::GetEx)?.ttl;
    let key = cx.key(args.get(1));
    let now = cx.now;
    let expires = match cx.read_string(&key)? {
        None => {
            reply.null();
            return Ok(());
        }
        Some(value) => {
            let expires = ttl.expires(args, now, "getex", reply)?;
            value.reply(reply);
            expires
        }
    };
    match expires {
        Some(expires) if ttl.is_unix_time() && cx.goes_at_once(expires) => {
            let word: &[u8] = if cx.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
            delete(cx, &key, word);
        }
        Some(expires) => {
            if let Some(mut entry) = cx.write(&key) {
                entry.set_expiry(Some(expires));
            }
            cx.changed(EventClass::Generic, "expire", &key);
            let mut digits = itoa::Buffer::new();
            let expires = digits.format(expires.0).as_bytes();
            cx.effects.propagate(cx.session.db, &[b"PEXPIREAT", key.bytes, expires]);
        }
        None if ttl == Ttl::Persist => persist(cx, &key),
        None => {}
    }
    Ok(())
}

/// Takes the expiry away, if there is one.
fn persist(cx: &mut Context<'_>, key: &Key<'_>) {
    let Some(mut entry) = cx.write(key) else { return };
    if entry.view().expiry().is_none() {
        return;
    }
    entry.set_expiry(None);
    cx.changed(EventClass::Generic, "persist", key);
    cx.effects.propagate(cx.session.db, &[b"PERSIST", key.bytes]);
}

/// Deletes a key, and propagates that as the command `word`.
fn delete(cx: &mut Context<'_>, key: &Key<'_>, word: &[u8]) {
    if cx.delete(key) {
        cx.event(EventClass::Generic, "del", key);
        cx.effects.propagate(cx.session.db, &[word, key.bytes]);
    }
}

fn strlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let len = match cx.read(&key) {
        None => 0,
        Some(entry) => entry.str_len()?,
    };
    reply.count(len);
    Ok(())
}
