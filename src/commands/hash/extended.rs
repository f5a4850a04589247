//! HGETDEL, HGETEX, HSETEX: fields read or set together with what becomes of them.
//!
//! Invariant: every word is checked before the hash is changed. What is propagated is absolute.
//! Source: Redis 8.0; Valkey 9.1 for NX and XX of HSETEX.

use super::expire::{Clock, EPOCH, Fields, NOT_POSITIVE, Unit, propagate_expiry};
use super::{
    FIELDS, Found, WRITES, announce_emptied, bulk, count_changes, delete_field_now, drop_expired,
    limits, open_write, wrong_arity,
};
use crate::base::number;
use crate::base::time::Millis;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler,
    KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::Packing;
use crate::types::hash::HashMut;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "HGETDEL",
        summary: "Gives the values of fields and deletes them.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields.",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        arguments: &[Argument::key("key", 0), FIELDS],
        handler: Handler::Keyed(hgetdel),
        ..WRITES
    },
    Command {
        name: "HGETEX",
        summary: "Gives the values of fields and sets or takes away their expiries.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields.",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::UPDATE))
            .notes("RW and UPDATE because it changes the TTL")],
        arguments: &[
            Argument::key("key", 0),
            Argument::one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    Argument::token("persist", "PERSIST"),
                ],
            )
            .optional(),
            FIELDS,
        ],
        handler: Handler::Keyed(hgetex),
        ..WRITES
    },
    Command {
        name: "HSETEX",
        summary: "Sets fields and their expiries, if a condition holds.",
        since: "8.0.0",
        complexity: "O(N) in the number of fields.",
        arity: Arity::AtLeast(6),
        arguments: &[
            Argument::key("key", 0),
            Argument::one_of(
                "key-condition",
                &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
            )
            .optional(),
            Argument::one_of(
                "fields-condition",
                &[Argument::token("fnx", "FNX"), Argument::token("fxx", "FXX")],
            )
            .optional(),
            Argument::one_of(
                "expiration",
                &[
                    SECONDS,
                    MILLISECONDS,
                    UNIX_SECONDS,
                    UNIX_MILLISECONDS,
                    Argument::token("keepttl", "KEEPTTL"),
                ],
            )
            .optional(),
            Argument::block(
                "fields",
                &[
                    Argument {
                        key_spec: Some(0),
                        ..Argument::new("numfields", ArgumentKind::Integer)
                    },
                    Argument::block(
                        "data",
                        &[
                            Argument::new("field", ArgumentKind::String),
                            Argument::new("value", ArgumentKind::String),
                        ],
                    )
                    .multiple(),
                ],
            )
            .after("FIELDS"),
        ],
        handler: Handler::Keyed(hsetex),
        ..WRITES
    },
];

const SECONDS: Argument = Argument::new("seconds", ArgumentKind::Integer).after("EX");
const MILLISECONDS: Argument = Argument::new("milliseconds", ArgumentKind::Integer).after("PX");
const UNIX_SECONDS: Argument =
    Argument::new("unix-time-seconds", ArgumentKind::UnixTime).after("EXAT");
const UNIX_MILLISECONDS: Argument =
    Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime).after("PXAT");

fn hgetdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    open_write(cx, &key)?;
    let fields = Fields::parse(args, 2, NOT_POSITIVE, reply)?;
    reply.array(fields.count);
    let mut expired = Vec::new();
    let mut deleted = 0;
    let db = cx.db_index();
    let Some(mut entry) = cx.db(db, &key).entry(&key) else {
        (0..fields.count).for_each(|_| reply.null());
        return Ok(());
    };
    let mut hash = HashMut::of(&mut entry)?;
    for field in fields.iter(args) {
        match Found::of(hash.view(), field, now) {
            Found::Live(pair) => {
                bulk(reply, pair.value);
                hash.remove(field);
                deleted += 1;
            }
            Found::Expired => {
                reply.null();
                expired.push(field);
            }
            Found::Missing => reply.null(),
        }
    }
    entry.note_fields();
    drop_all_expired(cx, &key, &expired);
    if deleted > 0 {
        cx.changed(EventClass::Hash, "hdel", &key);
        count_changes(cx, deleted);
        let words: Vec<&[u8]> =
            [&b"HDEL"[..], key.bytes].into_iter().chain(fields.iter(args)).collect();
        cx.effects.propagate(db, &words);
    }
    announce_emptied(cx, &key);
    Ok(())
}

fn hgetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let now = cx.expiry_now().0;
    let exists = open_write(cx, &key)?.is_some();
    let (ttl, at) = match clock_of(args, 2, cx.now.0) {
        Some(clock) => (Ttl::Set(clock.expiry(args.get(3), "hgetex", reply)?), 4),
        None if args.is(2, "PERSIST") => (Ttl::Persist, 3),
        None => (Ttl::Keep, 2),
    };
    if at + 1 >= args.len() {
        return Err(wrong_arity(reply, "hgetex"));
    }
    let fields = Fields::parse(args, at, NOT_POSITIVE, reply)?;
    reply.array(fields.count);
    if !exists {
        (0..fields.count).for_each(|_| reply.null());
        return Ok(());
    }
    let goes = matches!(ttl, Ttl::Set(expiry) if cx.goes_at_once(Millis(expiry)));
    let mut expired = Vec::new();
    let mut doomed = Vec::new();
    let mut updated = 0;
    let db = cx.db_index();
    let Some(mut entry) = cx.db(db, &key).entry(&key) else { return Ok(()) };
    let mut hash = HashMut::of(&mut entry)?;
    if !matches!(ttl, Ttl::Keep) {
        hash.allow_expiry();
    }
    for field in fields.iter(args) {
        let pair = match Found::of(hash.view(), field, now) {
            // A field that this command has deleted is named again.
            Found::Live(_) if doomed.contains(&field) => {
                reply.null();
                continue;
            }
            Found::Live(pair) => pair,
            Found::Expired | Found::Missing => {
                reply.null();
                if hash.view().get(field).is_some() {
                    expired.push(field);
                }
                continue;
            }
        };
        bulk(reply, pair.value);
        match ttl {
            Ttl::Keep => {}
            Ttl::Persist if pair.expiry.is_none() => {}
            Ttl::Persist => {
                hash.set_expiry(field, None);
                updated += 1;
            }
            Ttl::Set(_) if goes => doomed.push(field),
            Ttl::Set(expiry) => {
                hash.set_expiry(field, Some(expiry));
                updated += 1;
            }
        }
    }
    entry.note_fields();
    drop_all_expired(cx, &key, &expired);
    doomed.iter().for_each(|field| delete_field_now(cx, &key, field));
    report_getex(cx, args, &key, ttl, updated, doomed.len(), &fields);
    announce_emptied(cx, &key);
    Ok(())
}

fn hsetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = SetOptions::parse(args, cx.now.0, reply)?;
    let key = cx.key(args.get(1));
    let exists = open_write(cx, &key)?.is_some();
    let refused = match options.key_condition {
        Some(wanted) => wanted != exists,
        None => options.fields_condition == Some(true) && !exists,
    };
    if refused || !fields_allow(cx, args, &key, &options) {
        announce_emptied(cx, &key);
        reply.integer(0);
        return Ok(());
    }
    let limits = limits(cx);
    let expiry = options.time.map(|(_, _, expiry)| expiry);
    let at_once = expiry.is_some_and(|expiry| cx.goes_at_once(Millis(expiry)));
    let mut entry = cx.write_or_make(&key, Packing::Hash);
    let mut hash = HashMut::of(&mut entry)?;
    hash.prepare(args.iter_from(options.first), &limits);
    if expiry.is_some() {
        hash.allow_expiry();
    }
    for at in (options.first..args.len()).step_by(2) {
        let keep = options.keep_ttl || expiry.is_some();
        hash.set(args.get(at), args.get(at + 1), keep, &limits);
        if expiry.is_some() && !at_once {
            hash.set_expiry(args.get(at), expiry);
        }
    }
    entry.note_fields();
    cx.changed(EventClass::Hash, "hset", &key);
    count_changes(cx, (args.len() - options.first) / 2);
    if at_once {
        for at in (options.first..args.len()).step_by(2) {
            delete_field_now(cx, &key, args.get(at));
        }
        cx.effects.propagate_nothing();
        cx.event(EventClass::Hash, "hdel", &key);
    } else if let Some((at, clock, expiry)) = options.time {
        if !clock.is_exact() {
            let mut words: Vec<&[u8]> = args.iter_from(0).collect();
            let mut digits = itoa::Buffer::new();
            (words[at], words[at + 1]) = (b"PXAT", digits.format(expiry).as_bytes());
            let db = cx.db_index();
            cx.effects.propagate(db, &words);
        }
        cx.event(EventClass::Hash, "hexpire", &key);
    }
    announce_emptied(cx, &key);
    reply.integer(1);
    Ok(())
}

/// What becomes of the expiries of fields that are read.
#[derive(Clone, Copy)]
enum Ttl {
    Keep,
    Persist,
    Set(i64),
}

/// How the time behind word `at` is counted; None if the word introduces none.
fn clock_of(args: Args<'_>, at: usize, now: i64) -> Option<Clock> {
    let clocks = [
        ("EX", Unit::Seconds, now),
        ("PX", Unit::Milliseconds, now),
        ("EXAT", Unit::Seconds, EPOCH),
        ("PXAT", Unit::Milliseconds, EPOCH),
    ];
    let found = clocks.into_iter().find(|(word, ..)| args.is(at, word));
    found.map(|(_, unit, base)| Clock { unit, base })
}

/// The options of HSETEX.
#[derive(Default)]
struct SetOptions {
    /// XX if true, NX if false.
    key_condition: Option<bool>,
    /// FXX if true, FNX if false.
    fields_condition: Option<bool>,
    keep_ttl: bool,
    /// The word that introduces the time, how it counts, and the expiry.
    time: Option<(usize, Clock, i64)>,
    /// The word of the first field.
    first: usize,
}

impl SetOptions {
    fn parse(args: Args<'_>, now: i64, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            if args.is(at, "FIELDS") {
                options.first = check_pairs(args, at, reply)?;
                return Ok(options);
            }
            let clock = clock_of(args, at, now);
            let keep_ttl = args.is(at, "KEEPTTL");
            if (clock.is_some() || keep_ttl) && (options.keep_ttl || options.time.is_some()) {
                return Err(CommandError::HsetexManyExpiries);
            }
            if let Some(clock) = clock {
                let word = args.opt(at + 1).ok_or(CommandError::MissingExpireTime)?;
                options.time = Some((at, clock, clock.expiry(word, "hsetex", reply)?));
                at += 1;
            } else if keep_ttl {
                options.keep_ttl = true;
            } else if args.is(at, "FXX") || args.is(at, "FNX") {
                if options.fields_condition.is_some() {
                    return Err(CommandError::HsetexManyConditions);
                }
                options.fields_condition = Some(args.is(at, "FXX"));
            } else if args.is(at, "XX") || args.is(at, "NX") {
                if options.key_condition.is_some() {
                    return Err(CommandError::Syntax);
                }
                options.key_condition = Some(args.is(at, "XX"));
            } else {
                reply.error([b"ERR unknown argument: ", args.get(at)].concat());
                return Err(CommandError::Written);
            }
            at += 1;
        }
        Err(CommandError::Syntax)
    }
}

/// Checks the pairs behind FIELDS, which is word `at`; returns the word of the first field.
fn check_pairs(args: Args<'_>, at: usize, reply: &mut Reply<'_>) -> Result<usize, CommandError> {
    if at + 3 >= args.len() {
        return Err(wrong_arity(reply, "hsetex"));
    }
    let count = number::parse_i64(args.get(at + 1));
    let Some(count) = count.filter(|count| (1..=i64::from(i32::MAX)).contains(count)) else {
        reply.error("ERR invalid number of fields");
        return Err(CommandError::Written);
    };
    let words = args.len() - at - 2;
    if !words.is_multiple_of(2) || count as usize != words / 2 {
        return Err(wrong_arity(reply, "hsetex"));
    }
    Ok(at + 2)
}

/// Whether FXX or FNX allows what is asked for. Fields that have expired and are met are deleted.
fn fields_allow(cx: &mut Context<'_>, args: Args<'_>, key: &Key<'_>, options: &SetOptions) -> bool {
    let Some(wanted) = options.fields_condition else { return true };
    let now = cx.expiry_now().0;
    let db = cx.db_index();
    let mut expired = Vec::new();
    let mut allowed = true;
    if let Some(entry) = cx.db(db, key).peek(key)
        && let Ok(hash) = crate::types::hash::HashRef::of(entry.value())
    {
        for at in (options.first..args.len()).step_by(2) {
            let found = Found::of(hash, args.get(at), now);
            if matches!(found, Found::Expired) {
                expired.push(args.get(at));
            }
            if matches!(found, Found::Live(_)) != wanted {
                allowed = false;
                break;
            }
        }
    }
    drop_all_expired(cx, key, &expired);
    allowed
}

/// Deletes fields that have expired and announces that, but not the end of a hash that they were all
/// of: what the command does next may fill it again.
fn drop_all_expired(cx: &mut Context<'_>, key: &Key<'_>, expired: &[&[u8]]) {
    if expired.is_empty() {
        return;
    }
    for (at, field) in expired.iter().enumerate() {
        if !expired[..at].contains(field) {
            drop_expired(cx, key, field);
        }
    }
    let db = cx.db_index();
    cx.effects.fields_expired(db, key.bytes, false);
}

/// Reports what HGETEX did to the expiries.
fn report_getex(
    cx: &mut Context<'_>,
    args: Args<'_>,
    key: &Key<'_>,
    ttl: Ttl,
    updated: usize,
    deleted: usize,
    fields: &Fields,
) {
    cx.effects.propagate_nothing();
    if updated + deleted == 0 {
        return;
    }
    let event = match ttl {
        Ttl::Persist => "hpersist",
        _ if deleted > 0 => "hdel",
        _ => "hexpire",
    };
    cx.changed(EventClass::Hash, event, key);
    count_changes(cx, updated + deleted);
    if updated == 0 {
        return;
    }
    let names: Vec<&[u8]> = fields.iter(args).collect();
    if let Ttl::Set(expiry) = ttl {
        propagate_expiry(cx, key, expiry, None, &names);
        return;
    }
    let db = cx.db_index();
    let mut count = itoa::Buffer::new();
    let head = [&b"HPERSIST"[..], key.bytes, b"FIELDS", count.format(names.len()).as_bytes()];
    let words: Vec<&[u8]> = head.into_iter().chain(names).collect();
    cx.effects.propagate(db, &words);
}
