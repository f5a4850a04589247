//! MIGRATE: keys that move to another server.
//!
//! Invariant: the handler runs twice with the same partitions, which nobody else has meanwhile: first
//! it leaves a parcel for the control plane, then it deletes the keys that have arrived.
//! Source: MIGRATE of Redis 8.0.6.

use std::time::Duration;

use bytes::Bytes;

use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Denied,
    Flags, Group, Handler, KeySpec, Outcome, Suspension,
};
use crate::persist::dump;
use crate::persist::migration::{self, Migration, Parcel, Target, push_count, push_len, push_word};
use crate::persist::rdb::encode::version_for;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "MIGRATE",
    summary: "Moves keys to another server; nobody meets them on their way.",
    since: "2.6.0",
    complexity: "O(N) for N bytes or elements, here and there",
    arity: Arity::AtLeast(6),
    group: Group::Generic,
    flags: Flags::WRITE,
    acl: Acl::KEYSPACE.with(Acl::DANGEROUS),
    keys: &[
        KeySpec::one(KEY as u16, MOVES),
        KeySpec::behind("KEYS", -2, -1, MOVES.with(Access::INCOMPLETE)),
    ],
    tips: &["nondeterministic_output"],
    arguments: &[
        Argument::new("host", ArgumentKind::String),
        Argument::new("port", ArgumentKind::Integer),
        Argument::one_of(
            "key-selector",
            &[Argument::key("key", 0), Argument::token("empty-string", "")],
        ),
        Argument::new("destination-db", ArgumentKind::Integer),
        Argument::new("timeout", ArgumentKind::Integer),
        Argument::token("copy", "COPY").optional().since("3.0.0"),
        Argument::token("replace", "REPLACE").optional().since("3.0.0"),
        Argument::one_of(
            "authentication",
            &[
                Argument::new("auth", ArgumentKind::String)
                    .after("AUTH")
                    .display("password")
                    .since("4.0.7"),
                Argument::block(
                    "auth2",
                    &[
                        Argument::new("username", ArgumentKind::String),
                        Argument::new("password", ArgumentKind::String),
                    ],
                )
                .after("AUTH2")
                .since("6.0.0"),
            ],
        )
        .optional(),
        Argument::key("keys", 1).after("KEYS").optional().multiple().since("3.0.6"),
    ],
    handler: Handler::Migrating(migrate),
    ..Command::BASE
}];

const MOVES: Access = Access::RW.with(Access::ACCESS).with(Access::DELETE);
/// Where words stand.
const HOST: usize = 1;
const PORT: usize = 2;
const KEY: usize = 3;
const DB: usize = 4;
const TIMEOUT: usize = 5;
const OPTIONS: usize = 6;
/// What a timeout that is none counts as. Source: Redis.
const TIMEOUT_DEFAULT_MILLIS: i64 = 1000;

/// The words behind the timeout.
struct Options<'a> {
    copies: bool,
    replaces: bool,
    auth: Vec<&'a [u8]>,
    /// Words that are keys, from the first to before the second.
    keys: (usize, usize),
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut options =
            Options { copies: false, replaces: false, auth: Vec::new(), keys: (KEY, KEY + 1) };
        let mut at = OPTIONS;
        while at < args.len() {
            let behind = args.len() - 1 - at;
            if args.is(at, "COPY") {
                options.copies = true;
            } else if args.is(at, "REPLACE") {
                options.replaces = true;
            } else if args.is(at, "AUTH") && behind >= 1 {
                options.auth = vec![args.get(at + 1)];
                at += 1;
            } else if args.is(at, "AUTH2") && behind >= 2 {
                options.auth = vec![args.get(at + 1), args.get(at + 2)];
                at += 2;
            } else if args.is(at, "KEYS") {
                if !args.get(KEY).is_empty() {
                    return Err(CommandError::MigrateKeyNotEmpty);
                }
                options.keys = (at + 1, args.len());
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn migrate(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    if let Some(Migration::Ended(outcome)) = cx.migration.take() {
        end(cx, args, &options, outcome, reply);
        return Ok(());
    }
    let timeout = args.integer(TIMEOUT)?;
    let db = args.integer(DB)?;
    let timeout = if timeout <= 0 { TIMEOUT_DEFAULT_MILLIS } else { timeout };
    let (mut words, mut requests) = (Vec::new(), Vec::new());
    for word in options.keys.0..options.keys.1 {
        if push_restore(cx, args.get(word), options.replaces, &mut requests) {
            words.push(word);
        }
    }
    if words.is_empty() {
        reply.simple("NOKEY");
        return Ok(());
    }
    let text = |at| String::from_utf8_lossy(args.get(at)).into_owned();
    *cx.migration = Some(Migration::Wanted(Box::new(Parcel {
        target: Target { host: text(HOST), port: text(PORT).parse().unwrap_or(0) },
        timeout: Duration::from_millis(timeout as u64),
        auth: options.auth.iter().map(|word| word.to_vec()).collect(),
        db,
        words,
        requests,
    })));
    cx.suspend(Suspension::away(Denied::Error(CommandError::MigrateCannotWait)));
    Ok(())
}

/// Writes the request that makes a key elsewhere; false if it is not here.
fn push_restore(
    cx: &mut Context<'_>,
    name: &[u8],
    replaces: bool,
    requests: &mut Vec<Bytes>,
) -> bool {
    let (compresses, now) = (cx.config.rdbcompression, cx.now);
    let key = cx.key(name);
    let Some(entry) = cx.read(&key) else { return false };
    // What is there has not expired: it lives on for a millisecond at least.
    let ttl = entry.expiry().map_or(0, |expiry| expiry.0.saturating_sub(now.0).max(1));
    let value = entry.value();
    // A server that is older takes it, too, if it can.
    let payload = dump::encode(value, version_for(value), compresses);
    let mut head = Vec::new();
    push_count(&mut head, if replaces { 5 } else { 4 });
    push_word(&mut head, b"RESTORE");
    push_word(&mut head, name);
    push_word(&mut head, ttl.to_string().as_bytes());
    push_len(&mut head, payload.iter().map(|piece| piece.len() as u64).sum());
    let mut tail = b"\r\n".to_vec();
    if replaces {
        push_word(&mut tail, b"REPLACE");
    }
    requests.push(head.into());
    requests.extend(payload);
    requests.push(tail.into());
    true
}

/// The other server has answered: what it has goes here.
fn end(
    cx: &mut Context<'_>,
    args: Args<'_>,
    options: &Options<'_>,
    outcome: migration::Outcome,
    reply: &mut Reply<'_>,
) {
    if !options.copies {
        let mut line: Vec<&[u8]> = vec![b"DEL"];
        for word in outcome.arrived {
            let key = cx.key(args.get(word));
            if cx.delete(&key) {
                cx.event(EventClass::Generic, "del", &key);
                line.push(key.bytes);
            }
        }
        if line.len() > 1 {
            cx.effects.propagate(cx.session.db, &line);
        }
    }
    match outcome.error {
        None => reply.ok(),
        Some(error) => reply.error(error),
    }
}
