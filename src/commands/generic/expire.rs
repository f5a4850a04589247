//! EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, TTL, PTTL, EXPIRETIME, PEXPIRETIME, PERSIST: when a key
//! ceases to exist.
//!
//! Invariant: an expiry is a Unix time in milliseconds, and a key has expired when `now > expiry`;
//! yet one that is set to `now` or earlier deletes at once. What is propagated is always absolute.
//! Source: Redis' EXPIRE family.

use crate::base::time::Millis;
use crate::base::words::c_string;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::EntryRef;
use crate::store::key::Key;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "EXPIRE",
        summary: "Lets a key expire after some seconds.",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("seconds", ArgumentKind::Integer),
            CONDITION,
        ],
        handler: Handler::Keyed(expire),
        ..SETS_EXPIRY
    },
    Command {
        name: "PEXPIRE",
        summary: "Lets a key expire after some milliseconds.",
        since: "2.6.0",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("milliseconds", ArgumentKind::Integer),
            CONDITION,
        ],
        handler: Handler::Keyed(pexpire),
        ..SETS_EXPIRY
    },
    Command {
        name: "EXPIREAT",
        summary: "Lets a key expire at a Unix time in seconds.",
        since: "1.2.0",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("unix-time-seconds", ArgumentKind::UnixTime),
            CONDITION,
        ],
        handler: Handler::Keyed(expireat),
        ..SETS_EXPIRY
    },
    Command {
        name: "PEXPIREAT",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        since: "2.6.0",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime),
            CONDITION,
        ],
        handler: Handler::Keyed(pexpireat),
        ..SETS_EXPIRY
    },
    Command {
        name: "TTL",
        summary: "Tells in how many seconds a key expires.",
        tips: &["nondeterministic_output"],
        handler: Handler::Keyed(ttl),
        ..TELLS_EXPIRY
    },
    Command {
        name: "PTTL",
        summary: "Tells in how many milliseconds a key expires.",
        since: "2.6.0",
        tips: &["nondeterministic_output"],
        handler: Handler::Keyed(pttl),
        ..TELLS_EXPIRY
    },
    Command {
        name: "EXPIRETIME",
        summary: "Tells the Unix time in seconds at which a key expires.",
        since: "7.0.0",
        handler: Handler::Keyed(expiretime),
        ..TELLS_EXPIRY
    },
    Command {
        name: "PEXPIRETIME",
        summary: "Tells the Unix time in milliseconds at which a key expires.",
        since: "7.0.0",
        handler: Handler::Keyed(pexpiretime),
        ..TELLS_EXPIRY
    },
    Command {
        name: "PERSIST",
        summary: "Takes the expiry of a key away.",
        since: "2.2.0",
        arity: Arity::Exactly(2),
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::KEYSPACE,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[Argument::key("key", 0)],
        handler: Handler::Keyed(persist),
        ..Command::BASE
    },
];

/// What the commands that set an expiry have in common.
const SETS_EXPIRY: Command = Command {
    arity: Arity::AtLeast(3),
    flags: Flags::WRITE.with(Flags::FAST),
    acl: Acl::KEYSPACE,
    keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
    ..Command::BASE
};

/// What the commands that tell an expiry have in common.
const TELLS_EXPIRY: Command = Command {
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.with(Flags::FAST),
    acl: Acl::KEYSPACE,
    keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
    arguments: &[Argument::key("key", 0)],
    ..Command::BASE
};

const CONDITION: Argument = Argument::one_of(
    "condition",
    &[
        Argument::token("nx", "NX"),
        Argument::token("xx", "XX"),
        Argument::token("gt", "GT"),
        Argument::token("lt", "LT"),
    ],
)
.since("7.0.0")
.optional();

fn expire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now;
    set_expiry(cx, args, &Form { name: "expire", unit: Unit::Seconds, base }, reply)
}

fn pexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now;
    set_expiry(cx, args, &Form { name: "pexpire", unit: Unit::Milliseconds, base }, reply)
}

fn expireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiry(cx, args, &Form { name: "expireat", unit: Unit::Seconds, base: EPOCH }, reply)
}

fn pexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiry(cx, args, &Form { name: "pexpireat", unit: Unit::Milliseconds, base: EPOCH }, reply)
}

fn ttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now;
    tell_expiry(cx, args, base, Unit::Seconds, reply)
}

fn pttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now;
    tell_expiry(cx, args, base, Unit::Milliseconds, reply)
}

fn expiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell_expiry(cx, args, EPOCH, Unit::Seconds, reply)
}

fn pexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell_expiry(cx, args, EPOCH, Unit::Milliseconds, reply)
}

fn persist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let persisted = match cx.write(&key) {
        Some(mut entry) if entry.view().expiry().is_some() => {
            entry.set_expiry(None);
            true
        }
        _ => false,
    };
    if persisted {
        cx.changed(EventClass::Generic, "persist", &key);
    }
    reply.integer(i64::from(persisted));
    Ok(())
}

/// Where absolute times count from.
const EPOCH: Millis = Millis(0);

/// What a command counts time in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// How a command that sets an expiry spells it.
struct Form {
    name: &'static str,
    unit: Unit,
    base: Millis,
}

impl Form {
    /// The expiry that `number` stands for; None if it does not fit.
    fn expiry(&self, number: i64) -> Option<Millis> {
        let millis = match self.unit {
            Unit::Seconds => number.checked_mul(1000)?,
            Unit::Milliseconds => number,
        };
        millis.checked_add(self.base.0).map(Millis)
    }
}

/// The words behind the time.
#[derive(Clone, Copy, Default)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(args: Args<'_>, reply: &mut Reply<'_>) -> Result<Condition, CommandError> {
        let mut condition = Condition::default();
        for word in args.iter_from(3).map(c_string) {
            let mut lower = [0; 2];
            if word.len() == lower.len() {
                lower.copy_from_slice(word);
                lower.make_ascii_lowercase();
            }
            match &lower {
                b"nx" => condition.nx = true,
                b"xx" => condition.xx = true,
                b"gt" => condition.gt = true,
                b"lt" => condition.lt = true,
                _ => {
                    reply.error([b"ERR Unsupported option ", word].concat());
                    return Err(CommandError::Written);
                }
            }
        }
        let Condition { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(CommandError::ExpireNxMixed);
        }
        if gt && lt {
            return Err(CommandError::ExpireGtAndLt);
        }
        Ok(condition)
    }

    /// True if a key with this expiry may get the expiry `new`. To have none counts as the latest.
    fn allows(self, current: Option<Millis>, new: Millis) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(current) => !self.nx && (!self.gt || new > current) && (!self.lt || new < current),
        }
    }
}

fn set_expiry(cx: &mut Context<'_>, args: Args<'_>, form: &Form, reply: &mut Reply<'_>) -> Outcome {
    let condition = Condition::parse(args, reply)?;
    let Some(expiry) = form.expiry(args.integer(2)?) else {
        reply.error(format!("ERR invalid expire time in '{}' command", form.name));
        return Err(CommandError::Written);
    };
    let key = cx.key(args.get(1));
    let goes = cx.goes_at_once(expiry);
    let allowed = match cx.write(&key) {
        Some(mut entry) if condition.allows(entry.view().expiry(), expiry) => {
            if !goes {
                entry.set_expiry(Some(expiry));
            }
            true
        }
        _ => false,
    };
    if allowed && !goes {
        cx.changed(EventClass::Generic, "expire", &key);
        propagate_expiry(cx, args, form, expiry);
    } else if allowed {
        delete_at_once(cx, &key);
    }
    reply.integer(i64::from(allowed));
    Ok(())
}

/// Relative and rounded times are propagated as the millisecond that they mean.
fn propagate_expiry(cx: &mut Context<'_>, args: Args<'_>, form: &Form, expiry: Millis) {
    if form.base == EPOCH && form.unit == Unit::Milliseconds {
        return;
    }
    let db = cx.db_index();
    let mut digits = itoa::Buffer::new();
    let line: [&[u8]; 3] = [b"PEXPIREAT", args.get(1), digits.format(expiry.0).as_bytes()];
    if args.len() == line.len() {
        cx.effects.propagate(db, &line);
    } else {
        let words: Vec<&[u8]> = line.into_iter().chain(args.iter_from(line.len())).collect();
        cx.effects.propagate(db, &words);
    }
}

/// The expiry has come already: the key goes, and replicas are told that it went.
fn delete_at_once(cx: &mut Context<'_>, key: &Key<'_>) {
    let word: &[u8] = if cx.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
    let db = cx.db_index();
    cx.delete(key);
    cx.event(EventClass::Generic, "del", key);
    cx.effects.propagate(db, &[word, key.bytes]);
}

/// Answers -2 without the key, -1 without an expiry, else the time from `base` to it, not below 0;
/// whole seconds are rounded to the nearest.
fn tell_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    base: Millis,
    unit: Unit,
    reply: &mut Reply<'_>,
) -> Outcome {
    let key = cx.key(args.get(1));
    let told = match cx.read_touching(&key, false).map(EntryRef::expiry) {
        None => -2,
        Some(None) => -1,
        Some(Some(expiry)) => {
            let millis = expiry.0.saturating_sub(base.0).max(0);
            match unit {
                Unit::Seconds => millis / 1000 + i64::from(millis % 1000 >= 500),
                Unit::Milliseconds => millis,
            }
        }
    };
    reply.integer(told);
    Ok(())
}
