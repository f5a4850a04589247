//! DUMP and RESTORE: a value as bytes, and back.
//!
//! Invariant: a payload is decoded completely before anything is changed.

use std::sync::atomic::Ordering;

use crate::base::siphash::HashKey;
use crate::base::time::Millis;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::config::Config;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::dump::{self, Payload, WrongFooter};
use crate::persist::rdb::{Checks, Limits, Loaded, Malformed, VERSION_MAX};
use crate::resp::reply::Reply;
use crate::store::access::{AccessPolicy, clock_of_frequency, clock_of_idle};
use crate::store::entry::NewValue;
use crate::types::hash::HashLimits;
use crate::types::{Value, list, set, zset};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "DUMP",
        summary: "Answers with the value of a key in a form that RESTORE takes.",
        since: "2.6.0",
        complexity: "O(N) for N bytes or elements",
        arity: Arity::Exactly(2),
        group: Group::Generic,
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(dump_key),
        ..Command::BASE
    },
    Command {
        name: "RESTORE",
        summary: "Makes a key of what DUMP has answered.",
        since: "2.6.0",
        handler: Handler::Keyed(restore),
        ..RESTORE
    },
    Command {
        name: "RESTORE-ASKING",
        summary: "Makes a key of what DUMP has answered, in a slot that is being imported.",
        since: "3.0.0",
        group: Group::Server,
        flags: RESTORE.flags.with(Flags::ASKING),
        handler: Handler::Keyed(restore),
        ..RESTORE
    },
];

/// What RESTORE and RESTORE-ASKING have in common.
const RESTORE: Command = Command {
    complexity: "O(N*log(N)) for N bytes or elements",
    arity: Arity::AtLeast(4),
    group: Group::Generic,
    flags: Flags::WRITE.with(Flags::DENYOOM),
    acl: Acl::KEYSPACE.with(Acl::DANGEROUS),
    keys: &[KeySpec::one(1, Access::OW.with(Access::UPDATE))],
    arguments: &[
        Argument::key("key", 0),
        Argument::new("ttl", ArgumentKind::Integer),
        Argument::new("serialized-value", ArgumentKind::String),
        Argument::token("replace", "REPLACE").optional().since("3.0.0"),
        Argument::token("absttl", "ABSTTL").optional().since("5.0.0"),
        Argument::new("seconds", ArgumentKind::Integer).after("IDLETIME").optional().since("5.0.0"),
        Argument::new("frequency", ArgumentKind::Integer).after("FREQ").optional().since("5.0.0"),
    ],
    ..Command::BASE
};

fn dump_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let compresses = cx.config.rdbcompression;
    let key = cx.key(args.get(1));
    let Some(entry) = cx.read(&key) else {
        reply.null();
        return Ok(());
    };
    let pieces = dump::encode(entry.value(), VERSION_MAX, compresses);
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    reply.bulk_chunks(len, pieces.iter());
    Ok(())
}

fn restore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let key = cx.key(args.get(1));
    if !options.replace && cx.write(&key).is_some() {
        return Err(CommandError::BusyKey);
    }
    let ttl = args.integer(2)?;
    if ttl < 0 {
        return Err(CommandError::InvalidTtl);
    }
    let value = dump::check(args.get(3), checks(cx.config, cx.server))
        .map_err(|WrongFooter| CommandError::DumpFooter)?;
    let loaded = dump::decode(value, &limits(cx.config, cx.server, cx.hasher.hash_key()))
        .map_err(|Malformed| refused(value))?;
    let expires = match ttl {
        0 => None,
        at if options.absolute => Some(Millis(at)),
        // As in Redis, what is beyond the end of time has been.
        distance => Some(Millis(cx.now.0.wrapping_add(distance))),
    };
    if expires.is_some_and(|at| cx.goes_at_once(at)) {
        if cx.delete(&key) {
            cx.event(EventClass::Generic, "del", &key);
            let unlinks = cx.config.lazyfree_lazy_server_del;
            let name: &[u8] = if unlinks { b"UNLINK" } else { b"DEL" };
            cx.effects.propagate(cx.session.db, &[name, key.bytes]);
        }
        reply.ok();
        return Ok(());
    }
    match loaded {
        Loaded::Str(bytes) => cx.set(&key, NewValue::string(&bytes), expires),
        Loaded::Big(big) => {
            cx.set(&key, NewValue::Boxed(Box::new(Value::String(big))), expires);
        }
        Loaded::Collection(collection) => cx.set_collection(&key, collection, expires),
    }
    set_clock(cx, &options, args);
    cx.event(EventClass::Generic, "restore", &key);
    if let (Some(at), false) = (expires, options.absolute) {
        propagate_until(cx, args, at);
    }
    reply.ok();
    Ok(())
}

/// Logs what the bytes were to be that are not, as an operator has to know of them.
#[cold]
fn refused(value: Payload<'_>) -> CommandError {
    log::warning(format!("RESTORE: {} integrity check failed", value.form()));
    CommandError::BadDataFormat
}

/// The words behind the payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 4;
        while at < args.len() {
            let has_value = at + 1 < args.len();
            if args.is(at, "REPLACE") {
                options.replace = true;
            } else if args.is(at, "ABSTTL") {
                options.absolute = true;
            } else if args.is(at, "IDLETIME") && has_value && options.frequency.is_none() {
                at += 1;
                let idle = u64::try_from(args.integer(at)?);
                options.idle = Some(idle.map_err(|_| CommandError::InvalidIdleTime)?);
            } else if args.is(at, "FREQ") && has_value && options.idle.is_none() {
                at += 1;
                let frequency = u8::try_from(args.integer(at)?);
                options.frequency = Some(frequency.map_err(|_| CommandError::InvalidFrequency)?);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// Gives the restored key the access clock that was asked for, if the policy keeps such clocks.
fn set_clock(cx: &mut Context<'_>, options: &Options, args: Args<'_>) {
    let clock = match (cx.access, options.idle, options.frequency) {
        (AccessPolicy::Lru, Some(idle), _) => clock_of_idle(idle, cx.now),
        (AccessPolicy::Lfu { .. }, _, Some(frequency)) => clock_of_frequency(frequency, cx.now),
        _ => return,
    };
    let key = cx.key(args.get(1));
    if let Some(mut entry) = cx.write(&key) {
        entry.set_access(clock);
    }
}

/// Propagates RESTORE with the expiry as a time, not as a distance from now.
fn propagate_until(cx: &mut Context<'_>, args: Args<'_>, at: Millis) {
    let mut digits = itoa::Buffer::new();
    let mut words: Vec<&[u8]> = args.iter_from(0).collect();
    words[2] = digits.format(at.0).as_bytes();
    words.push(b"ABSTTL");
    cx.effects.propagate(cx.session.db, &words);
}

/// What is checked of a payload that a client sends.
pub fn checks(config: &Config, server: &ServerFacts) -> Checks {
    Checks { sum: server.verifies_checksums(), version: config.rdb_version_check }
}

/// The configured limits of all types.
pub fn limits(config: &Config, server: &ServerFacts, hash_key: HashKey) -> Limits {
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Limits {
        list: list::Limits {
            fill: config.list_max_listpack_size,
            depth: config.list_compress_depth,
            packed_threshold: server.list_packed_threshold.load(Ordering::Relaxed),
        },
        set: set::Limits {
            intset_entries: config.set_max_intset_entries,
            listpack_entries: config.set_max_listpack_entries,
            listpack_value: config.set_max_listpack_value,
            hash_key,
        },
        hash: HashLimits {
            entries: config.hash_max_listpack_entries,
            value: config.hash_max_listpack_value,
            key: hash_key,
        },
        sorted_set: zset::Limits {
            entries: config.zset_max_listpack_entries,
            value: bytes(config.zset_max_listpack_value),
            hash_key,
        },
    }
}
