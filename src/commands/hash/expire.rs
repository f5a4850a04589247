//! HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME, HPERSIST: when
//! the fields of a hash cease to exist.
//!
//! Invariant: an expiry is a Unix time in milliseconds below 2^46; one that is not later than now
//! deletes at once. What is propagated is absolute, and names only the fields that it is about.
//! Source: Redis' HEXPIRE family.

use super::{
    FIELDS, READS, WRITES, announce_emptied, count_changes, delete_field_now, open, open_write,
};
use crate::base::number;
use crate::base::time::Millis;
use crate::command::effects::EventClass;
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::hash::HashMut;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "HEXPIRE",
        summary: "Lets fields expire after some seconds.",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("seconds", ArgumentKind::Integer),
            CONDITION,
            FIELDS,
        ],
        handler: Handler::Keyed(hexpire),
        ..SETS_EXPIRY
    },
    Command {
        name: "HEXPIREAT",
        summary: "Lets fields expire at a Unix time in seconds.",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("unix-time-seconds", ArgumentKind::UnixTime),
            CONDITION,
            FIELDS,
        ],
        handler: Handler::Keyed(hexpireat),
        ..SETS_EXPIRY
    },
    Command {
        name: "HEXPIRETIME",
        summary: "Tells the Unix times in seconds at which fields expire.",
        tips: &[],
        handler: Handler::Keyed(hexpiretime),
        ..TELLS_EXPIRY
    },
    Command {
        name: "HPERSIST",
        summary: "Takes the expiries of fields away.",
        arity: Arity::AtLeast(5),
        arguments: &[Argument::key("key", 0), FIELDS],
        handler: Handler::Keyed(hpersist),
        ..SETS_EXPIRY
    },
    Command {
        name: "HPEXPIRE",
        summary: "Lets fields expire after some milliseconds.",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("milliseconds", ArgumentKind::Integer),
            CONDITION,
            FIELDS,
        ],
        handler: Handler::Keyed(hpexpire),
        ..SETS_EXPIRY
    },
    Command {
        name: "HPEXPIREAT",
        summary: "Lets fields expire at a Unix time in milliseconds.",
        arguments: &[
            Argument::key("key", 0),
            Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime),
            CONDITION,
            FIELDS,
        ],
        handler: Handler::Keyed(hpexpireat),
        ..SETS_EXPIRY
    },
    Command {
        name: "HPEXPIRETIME",
        summary: "Tells the Unix times in milliseconds at which fields expire.",
        tips: &[],
        handler: Handler::Keyed(hpexpiretime),
        ..TELLS_EXPIRY
    },
    Command {
        name: "HPTTL",
        summary: "Tells in how many milliseconds fields expire.",
        handler: Handler::Keyed(hpttl),
        ..TELLS_EXPIRY
    },
    Command {
        name: "HTTL",
        summary: "Tells in how many seconds fields expire.",
        handler: Handler::Keyed(httl),
        ..TELLS_EXPIRY
    },
];

/// What the commands that set expiries have in common.
const SETS_EXPIRY: Command = Command {
    since: "7.4.0",
    complexity: "O(N) in the number of fields.",
    arity: Arity::AtLeast(6),
    flags: Flags::WRITE.with(Flags::FAST),
    ..WRITES
};

/// What the commands that tell expiries have in common.
const TELLS_EXPIRY: Command = Command {
    since: "7.4.0",
    complexity: "O(N) in the number of fields.",
    arity: Arity::AtLeast(5),
    tips: &["nondeterministic_output"],
    arguments: &[Argument::key("key", 0), FIELDS],
    ..READS
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
.optional();

fn hexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now.0;
    set_expiry(cx, args, &Clock { unit: Unit::Seconds, base }, "hexpire", reply)
}

fn hexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiry(cx, args, &Clock { unit: Unit::Seconds, base: EPOCH }, "hexpireat", reply)
}

fn hexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell_expiry(cx, args, &Clock { unit: Unit::Seconds, base: EPOCH }, reply)
}

fn hpersist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    open_write(cx, &key)?;
    let fields = Fields::parse(args, 2, NOT_POSITIVE, reply)?;
    reply.array(fields.count);
    let db = cx.db_index();
    let Some(mut entry) = cx.db(db, &key).entry(&key) else {
        (0..fields.count).for_each(|_| reply.integer(NO_FIELD));
        return Ok(());
    };
    let mut hash = HashMut::of(&mut entry)?;
    let mut persisted = false;
    for field in fields.iter(args) {
        let answer = match hash.view().get(field) {
            None => NO_FIELD,
            Some(pair) if pair.is_expired(now) => NO_FIELD,
            Some(pair) if pair.expiry.is_none() => NO_EXPIRY,
            Some(_) => {
                persisted = true;
                hash.set_expiry(field, None);
                1
            }
        };
        reply.integer(answer);
    }
    entry.note_fields();
    if persisted {
        cx.changed(EventClass::Hash, "hpersist", &key);
    }
    Ok(())
}

fn hpexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now.0;
    set_expiry(cx, args, &Clock { unit: Unit::Milliseconds, base }, "hpexpire", reply)
}

fn hpexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_expiry(cx, args, &Clock { unit: Unit::Milliseconds, base: EPOCH }, "hpexpireat", reply)
}

fn hpexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell_expiry(cx, args, &Clock { unit: Unit::Milliseconds, base: EPOCH }, reply)
}

fn hpttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now.0;
    tell_expiry(cx, args, &Clock { unit: Unit::Milliseconds, base }, reply)
}

fn httl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let base = cx.now.0;
    tell_expiry(cx, args, &Clock { unit: Unit::Seconds, base }, reply)
}

/// Where absolute times count from.
pub(super) const EPOCH: i64 = 0;
/// The field is not there.
const NO_FIELD: i64 = -2;
/// The field never expires.
const NO_EXPIRY: i64 = -1;
/// What a wrong number of fields is answered with.
pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";
/// The last expiry that a stock server takes.
const EXPIRY_MAX: i64 = (1 << 46) - 1;

/// What a command counts time in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// How a command spells times.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) unit: Unit,
    /// What times count from, in milliseconds.
    pub(super) base: i64,
}

impl Clock {
    /// The expiry that a word means. `command` is named in the error.
    pub(super) fn expiry(
        &self,
        word: &[u8],
        command: &str,
        reply: &mut Reply<'_>,
    ) -> Result<i64, CommandError> {
        let number = number::parse_i64(word).ok_or(CommandError::NotAnInteger)?;
        if number < 0 {
            reply.error("ERR invalid expire time, must be >= 0");
            return Err(CommandError::Written);
        }
        let millis = match self.unit {
            Unit::Seconds => number.checked_mul(1000),
            Unit::Milliseconds => Some(number),
        };
        let expiry = millis.and_then(|millis| millis.checked_add(self.base));
        expiry.filter(|expiry| *expiry <= EXPIRY_MAX).ok_or_else(|| {
            reply.error(format!("ERR invalid expire time in '{command}' command"));
            CommandError::Written
        })
    }

    /// True if a word is the expiry itself.
    pub(super) fn is_exact(&self) -> bool {
        self.base == EPOCH && self.unit == Unit::Milliseconds
    }

    /// The time from the base to an expiry; what is left of a second counts.
    fn tell(&self, expiry: i64) -> i64 {
        match self.unit {
            Unit::Seconds => (expiry + 999 - self.base) / 1000,
            Unit::Milliseconds => expiry - self.base,
        }
    }
}

/// The fields that a request names behind FIELDS.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// The word behind their number.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Fields {
    /// The fields if word `at` is FIELDS; `not_positive` is the error for their number.
    pub(super) fn parse(
        args: Args<'_>,
        at: usize,
        not_positive: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Self, CommandError> {
        let mut refuse = |text: &str| {
            reply.error(text);
            CommandError::Written
        };
        if !args.is(at, "FIELDS") {
            return Err(refuse(
                "ERR Mandatory argument FIELDS is missing or not at the right position",
            ));
        }
        let count = args.opt(at + 1).and_then(number::parse_i64).filter(|count| *count > 0);
        let Some(count) = count else { return Err(refuse(not_positive)) };
        if count as usize != args.len() - at - 2 {
            return Err(refuse("ERR The `numfields` parameter must match the number of arguments"));
        }
        Ok(Self { first: at + 2, count: count as usize })
    }

    pub(super) fn iter<'q>(&self, args: Args<'q>) -> impl Iterator<Item = &'q [u8]> + use<'q> {
        args.iter_from(self.first)
    }
}

/// What the present expiry of a field must be for it to get another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Any,
    /// None.
    Nx,
    /// Some.
    Xx,
    /// An earlier one.
    Gt,
    /// A later one, or none.
    Lt,
}

impl Condition {
    fn parse(args: Args<'_>) -> Self {
        let words = [("NX", Self::Nx), ("XX", Self::Xx), ("GT", Self::Gt), ("LT", Self::Lt)];
        let found = words.into_iter().find(|(word, _)| args.is(3, word));
        found.map_or(Self::Any, |(_, condition)| condition)
    }

    fn allows(self, current: Option<i64>, new: i64) -> bool {
        match (self, current) {
            (Self::Any, _) | (Self::Nx | Self::Lt, None) | (Self::Xx, Some(_)) => true,
            (Self::Nx, Some(_)) | (Self::Xx | Self::Gt, None) => false,
            (Self::Gt, Some(current)) => new > current,
            (Self::Lt, Some(current)) => new < current,
        }
    }
}

fn set_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    clock: &Clock,
    command: &str,
    reply: &mut Reply<'_>,
) -> Outcome {
    let key = cx.key(args.get(1));
    let exists = open_write(cx, &key)?.is_some();
    let expiry = clock.expiry(args.get(2), command, reply)?;
    let condition = Condition::parse(args);
    let at = if condition == Condition::Any { 3 } else { 4 };
    let not_positive = "ERR Parameter `numFields` should be greater than 0";
    let fields = Fields::parse(args, at, not_positive, reply)?;
    reply.array(fields.count);
    if !exists {
        (0..fields.count).for_each(|_| reply.integer(NO_FIELD));
        return Ok(());
    }
    let mut updated = Vec::new();
    let mut deleted = 0;
    for field in fields.iter(args) {
        let outcome = expire_one(cx, &key, field, expiry, condition);
        if outcome == Outcomes::Set {
            updated.push(field);
        }
        deleted += usize::from(outcome == Outcomes::Deleted);
        reply.integer(outcome as i64);
    }
    if deleted + updated.len() > 0 {
        let event = if deleted > 0 { "hdel" } else { "hexpire" };
        cx.changed(EventClass::Hash, event, &key);
        count_changes(cx, deleted + updated.len());
    }
    announce_emptied(cx, &key);
    cx.effects.propagate_nothing();
    if !updated.is_empty() {
        let mut condition = args.iter_from(3).take(at - 3);
        propagate_expiry(cx, &key, expiry, condition.next(), &updated);
    }
    Ok(())
}

/// What became of one field, as it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcomes {
    NoField = NO_FIELD as isize,
    NotAllowed = 0,
    Set = 1,
    Deleted = 2,
}

fn expire_one(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    field: &[u8],
    expiry: i64,
    condition: Condition,
) -> Outcomes {
    let (db, goes) = (cx.db_index(), cx.goes_at_once(Millis(expiry)));
    let Some(mut entry) = cx.db(db, key).entry(key) else { return Outcomes::NoField };
    let Ok(mut hash) = HashMut::of(&mut entry) else { return Outcomes::NoField };
    hash.allow_expiry();
    let Some(pair) = hash.view().get(field) else { return Outcomes::NoField };
    if !condition.allows(pair.expiry, expiry) {
        return Outcomes::NotAllowed;
    }
    if goes {
        delete_field_now(cx, key, field);
        return Outcomes::Deleted;
    }
    hash.set_expiry(field, Some(expiry));
    entry.note_fields();
    Outcomes::Set
}

/// Propagates that fields expire at a time.
pub(super) fn propagate_expiry(
    cx: &mut Context<'_>,
    key: &Key<'_>,
    expiry: i64,
    condition: Option<&[u8]>,
    fields: &[&[u8]],
) {
    if !cx.effects.wants_lines() {
        return;
    }
    let db = cx.db_index();
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut line = vec![&b"HPEXPIREAT"[..], key.bytes, time.format(expiry).as_bytes()];
    line.extend(condition);
    line.extend([&b"FIELDS"[..], count.format(fields.len()).as_bytes()]);
    line.extend(fields);
    cx.effects.propagate(db, &line);
}

/// Answers for each field -2 if it is not there, -1 if it never expires, else the time to its expiry.
fn tell_expiry(
    cx: &mut Context<'_>,
    args: Args<'_>,
    clock: &Clock,
    reply: &mut Reply<'_>,
) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    let hash = open(cx, &key)?;
    let fields = Fields::parse(args, 2, NOT_POSITIVE, reply)?;
    reply.array(fields.count);
    for field in fields.iter(args) {
        let pair = hash.and_then(|hash| hash.get(field));
        reply.integer(match pair.map(|pair| pair.expiry) {
            None => NO_FIELD,
            Some(None) => NO_EXPIRY,
            Some(Some(expiry)) if expiry <= now => NO_FIELD,
            Some(Some(expiry)) => clock.tell(expiry),
        });
    }
    Ok(())
}
