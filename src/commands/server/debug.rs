//! DEBUG: what tests and the curious need.
//!
//! Invariant: runs only where `enable-debug-command` allows it. To clients DEBUG is one command; what
//! runs where the keys are, or on every core, is a hidden part of it. Source: DEBUG of Redis 8.0.6;
//! what concerns persistence, replication or the insides of a stock server is not there.

mod digest;
mod protocol;
mod shape;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{BASE, OPERATOR, config};
use crate::base::number::{parse_f64, parse_memory, write_i64};
use crate::base::sys::crash;
use crate::base::words::c_integer;
use crate::command::session_context::{Request, SaveOrder};
use crate::command::whole::{CoreView, Job, Part};
use crate::command::{
    Access, Args, Arity, Command, CommandError, Context, Flags, Handler, KeySpec, Outcome,
    SessionContext, Whole,
};
use crate::commands::container::{help, wrong_form};
use crate::encoding::dict::Dict;
use crate::observe::log;
use crate::observe::replication::{History, ReplicationId, SyncStep};
use crate::resp::reply::Reply;
use crate::store::entry::{NewValue, ValueRef};
use crate::types::Value;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "DEBUG",
    summary: "Holds the commands for tests of servers and clients.",
    since: "1.0.0",
    complexity: "Depends on the subcommand",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command { name: "DIGEST", handler: Handler::Keyspace(digest::digest), ..PART },
        Command {
            name: "DIGEST-VALUE",
            keys: &[KeySpec::range(2, -1, 1, Access::RO)],
            handler: Handler::Keyed(digest::digest_value),
            ..PART
        },
        Command { name: "HTSTATS", handler: Handler::Keyspace(htstats), ..PART },
        Command {
            name: "HTSTATS-KEY",
            keys: &[KeySpec::one(2, Access::RO)],
            handler: Handler::Keyed(htstats_key),
            ..PART
        },
        Command {
            name: "LISTPACK",
            keys: &[KeySpec::one(2, Access::RO)],
            handler: Handler::Keyed(shape::listpack),
            ..PART
        },
        Command {
            name: "OBJECT",
            keys: &[KeySpec::one(2, Access::RO)],
            handler: Handler::Keyed(shape::object),
            ..PART
        },
        Command { name: "PAUSE-CRON", handler: on_every_core(pause_cron), ..PART },
        Command { name: "POPULATE", handler: Handler::Keyspace(populate), ..PART },
        Command {
            name: "QUICKLIST",
            keys: &[KeySpec::one(2, Access::RO)],
            handler: Handler::Keyed(shape::quicklist),
            ..PART
        },
        Command { name: "SET-ACTIVE-EXPIRE", handler: on_every_core(set_active_expire), ..PART },
        Command {
            name: "SLEEP",
            handler: Handler::Whole(Whole { begin: sleep, gather: has_slept }),
            ..PART
        },
    ],
    handler: Handler::Session(debug),
    hidden: false,
    ..PART
}];

const PART: Command = Command {
    arity: Arity::AtLeast(2),
    flags: OPERATOR.with(Flags::PROTECTED),
    hidden: true,
    ..BASE
};

/// More keys than this are refused, as by a stock server that has no memory for their table.
const POPULATE_KEYS_MAX: u64 = 1 << 32;
/// Largest threshold that DEBUG QUICKLIST-PACKED-THRESHOLD takes: a little below 4 GiB.
const PACKED_THRESHOLD_MAX: u64 = (1 << 32) - (1 << 20);
const NANOS_PER_SECOND: f64 = 1e9;
/// Nanoseconds of a longer sleep would not fit an i64.
const SLEEP_SECONDS_MAX: f64 = 9.2e9;
/// Before a write of the append-only file nobody sleeps for longer.
const SLEEP_MICROS_MAX: u64 = 60_000_000;
/// Entries of one step through a table.
const SCAN_COUNT: usize = 1000;

const fn on_every_core(
    begin: fn(&mut SessionContext<'_>, Args<'_>) -> Result<Job, CommandError>,
) -> Handler {
    Handler::Whole(Whole::acknowledged(begin))
}

/// The words that need neither a key nor another core.
fn debug(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let word = args.get(1).to_ascii_uppercase();
    match (word.as_slice(), args.len()) {
        (b"HELP", 2) => help(reply, "DEBUG", HELP),
        (b"PROTOCOL", 3) => protocol::protocol(args.get(2), reply),
        (b"CHANGE-REPL-ID", 2) => {
            let id = ReplicationId::new(std::array::from_fn(|_| cx.rng.next_u64() as u32));
            let history = cx.server.replication.history();
            cx.server.replication.publish(History { id, ..history });
            log::notice("Changing replication IDs after receiving DEBUG change-repl-id");
            reply.ok();
        }
        (b"CONFIG-REWRITE-FORCE-ALL", 2) => return config::order_rewrite(cx, true),
        (b"AOF-FLUSH-SLEEP", 3) => {
            let micros = c_integer(args.get(2)).and_then(|micros| u64::try_from(micros).ok());
            let micros = micros.unwrap_or(0);
            cx.server.aof_flush_sleep_micros.store(micros.min(SLEEP_MICROS_MAX), Ordering::Relaxed);
            reply.ok();
        }
        (b"SET-DISABLE-DENY-SCRIPTS", 3) => {
            cx.server.scripts_call_all.store(is_on(args), Ordering::Relaxed);
            reply.ok();
        }
        (b"SET-SKIP-CHECKSUM-VALIDATION", 3) => {
            cx.server.skips_checksums.store(is_on(args), Ordering::Relaxed);
            reply.ok();
        }
        (b"RELOAD", _) => {
            let (mut save, mut flush, mut merge) = (true, true, false);
            for index in 2..args.len() {
                match args.get(index).to_ascii_uppercase().as_slice() {
                    b"MERGE" => merge = true,
                    b"NOFLUSH" => flush = false,
                    b"NOSAVE" => save = false,
                    _ => return Err(CommandError::ReloadOptions),
                }
            }
            *cx.request = Some(Request::Save(SaveOrder::Reload { save, flush, merge }));
        }
        (b"LOADAOF", 2) => *cx.request = Some(Request::Save(SaveOrder::LoadAof)),
        (b"REPLICATE", 3..) => {
            let words = args.iter_from(2).map(<[u8]>::to_vec).collect();
            *cx.request = Some(Request::Feed(words));
        }
        (b"REPL-PAUSE", 3) => {
            let step = match args.get(2).to_ascii_lowercase().as_slice() {
                b"clear" => None,
                b"after-fork" => Some(SyncStep::AfterFork),
                b"before-rdb-channel" => Some(SyncStep::BeforeChannel),
                b"on-streaming-repl-buf" => Some(SyncStep::OnKeptStream),
                _ => {
                    reply.error(wrong_form(args));
                    return Ok(());
                }
            };
            cx.server.replication.stop_at(step);
            reply.ok();
        }
        (b"ERROR", 3) => reply.error(args.get(2)),
        (b"STRINGMATCH-TEST", 2) => {
            shape::match_at_random(cx.rng);
            reply.simple("Apparently Redis did not crash: test passed");
        }
        (b"LOG", 3) => {
            log::warning(format!("DEBUG LOG: {}", String::from_utf8_lossy(args.get(2))));
            reply.ok();
        }
        (b"QUICKLIST-PACKED-THRESHOLD", 3) => {
            let bytes = parse_memory(args.get(2)).filter(|bytes| *bytes <= PACKED_THRESHOLD_MAX);
            let bytes = bytes.ok_or(CommandError::PackedThreshold)?;
            cx.server.list_packed_threshold.store(bytes, Ordering::Relaxed);
            reply.ok();
        }
        (b"SEGFAULT", 2) => crash::touch_nothing(),
        (b"PANIC", 2) => panic!("called by Unit Test"),
        (b"ASSERT", 2 | 3) => panic!("assertion failed: 1 == 2"),
        // It turns off what there is not.
        (b"DICT-RESIZING", 3) => reply.ok(),
        (b"REPLYBUFFER", 4) if args.is(2, "RESIZING") => reply.ok(),
        (b"REPLYBUFFER", 4) if args.is(2, "PEAK-RESET-TIME") => {
            if !args.is(3, "NEVER") && !args.is(3, "RESET") {
                args.integer(3)?;
            }
            reply.ok();
        }
        _ => reply.error(wrong_form(args)),
    }
    Ok(())
}

const HELP: &[&str] = &[
    "AOF-FLUSH-SLEEP <microseconds>",
    "    Stand still for so long before the append-only file is written.",
    "ASSERT",
    "    End the process by an assertion that fails.",
    "CHANGE-REPL-ID",
    "    Take a new replication id.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Write the configuration file with all directives, also those that have their defaults.",
    "DICT-RESIZING <0|1>",
    "    Accepted; tables grow and shrink in slices in any case.",
    "DIGEST",
    "    Return a digest of all data: the same for the same data, wherever it is.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Return a digest of each key's value.",
    "ERROR <text>",
    "    Reply with this error.",
    "HTSTATS <database>",
    "    Return what the table of a database holds and takes.",
    "HTSTATS-KEY <key> [full]",
    "    Return what the table of a key's value holds and takes.",
    "LISTPACK <key>",
    "    Write the bytes of a listpack to the log.",
    "LOADAOF",
    "    Read all data again from the append-only file.",
    "LOG <text>",
    "    Write a line to the log.",
    "OBJECT <key>",
    "    Return how a key's value is stored.",
    "PANIC",
    "    End the process by a panic.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic work, or let it go on.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create keys named <prefix>:<number>, with values of this many bytes.",
    "PROTOCOL <type>",
    "    Reply with a value of a type of the protocol: string, integer, double,",
    "    bignum, null, array, set, map, attrib, push, verbatim, true or false.",
    "QUICKLIST <key> [<0|1>]",
    "    Write the shape of a quicklist to the log.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Give elements of lists from this size on a node of their own; 0 for the default.",
    "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
    "    Save all data, and read it again. NOSAVE reads the file that is there, NOFLUSH keeps the",
    "    keys that are there, MERGE lets those of the file take their places.",
    "REPL-PAUSE <clear|after-fork|before-rdb-channel|on-streaming-repl-buf>",
    "    Stop the process at a step of full synchronizations, or at none.",
    "REPLICATE <word> [<word> ...]",
    "    Send these words to the replicas as a command, and run nothing here.",
    "REPLYBUFFER <PEAK-RESET-TIME <NEVER|RESET|milliseconds>|RESIZING <0|1>>",
    "    Accepted; reply buffers have no such peak.",
    "SEGFAULT",
    "    End the process by touching memory that is not there.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Stop deleting expired keys that nobody asks for, or go on with it.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Let scripts call the commands that are not for scripts, or refuse them again.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Take dumped values and RDB files whose checksum is wrong, or refuse them again.",
    "SLEEP <seconds>",
    "    Stop every core for this time.",
];

fn htstats(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() < 3 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let number = args.integer(2)?;
    let db = usize::try_from(number).ok().filter(|db| *db < cx.config.databases);
    let db = db.ok_or(CommandError::OutOfRangeDatabase)?;
    let (mut keys, mut expires, mut bytes) = (0, 0, 0);
    for partition in cx.keyspace.partitions() {
        let db = partition.db(db);
        keys += db.len();
        expires += db.expires();
        bytes += db.overhead_bytes();
    }
    let text = format!(
        "[Dictionary HT]\nnumber of elements: {keys}\nbytes of the tables: {bytes}\n\
         [Expires HT]\nnumber of elements: {expires}\n"
    );
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn htstats_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() < 3 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let key = cx.key(args.get(2));
    let entry = cx.peek(&key).ok_or(CommandError::NoSuchKey)?;
    if !matches!(entry.encoding(), "hashtable" | "skiplist") {
        return Err(CommandError::NoTable);
    }
    let mut text = format!("[Dictionary HT]\nbytes of the entry: {}\n", entry.bytes_allocated());
    if let ValueRef::Boxed(Value::Hash(dict) | Value::Set(dict)) = entry.value() {
        text.push_str(&dict_shape(dict));
    }
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What DEBUG HTSTATS-KEY tells of a hash or a set.
fn dict_shape(dict: &Dict) -> String {
    let shape = dict.shape();
    format!(
        "number of elements: {}\nelements that expire: {}\nbytes of the table: {}\n\
         bytes of the elements: {}\npages: {}\nsegments: {}\nmost elements in one: {}\n",
        dict.len(),
        dict.volatile_len(),
        shape.bytes,
        shape.live,
        shape.pages,
        shape.segments,
        shape.fullest,
    )
}

fn pause_cron(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    set_switch(cx, args, |view, on| view.switches.cron_paused = on)
}

fn populate(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !(3..=5).contains(&args.len()) {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let positive = |index: usize| {
        let number = args.integer(index).ok().and_then(|number| u64::try_from(number).ok());
        number.ok_or(CommandError::NotPositive)
    };
    let count = positive(2)?;
    if count > POPULATE_KEYS_MAX {
        return Err(CommandError::NoMemoryForTable);
    }
    let size = if args.len() == 5 { positive(4)? } else { 0 };
    if size > cx.config.proto_max_bulk_len {
        return Err(CommandError::StringTooLong);
    }
    let prefix = args.opt(3).unwrap_or(b"key");
    let (mut name, mut value) = (Vec::new(), Vec::new());
    for number in 0..count as i64 {
        name.clear();
        name.extend_from_slice(prefix);
        name.push(b':');
        write_i64(&mut name, number);
        let key = cx.key(&name);
        if cx.peek(&key).is_some() {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        write_i64(&mut value, number);
        if size > 0 {
            value.resize(size as usize, 0);
        }
        cx.set(&key, NewValue::string(&value), None);
    }
    cx.effects.propagate_nothing();
    reply.ok();
    Ok(())
}

fn set_active_expire(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    set_switch(cx, args, |view, on| view.switches.active_expire = on)
}

fn sleep(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if args.len() != 3 {
        return Err(cx.refuse(wrong_form(args)));
    }
    let nanos = sleep_nanos(args);
    Ok(Arc::new(move |view| {
        view.switches.stall_nanos = nanos;
        Part::Done
    }))
}

fn has_slept(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    // The cores slept behind their turn, but it is this command that took the time.
    cx.stood_still = sleep_nanos(args);
    reply.ok();
    Ok(())
}

/// How long DEBUG SLEEP is to sleep. A time that no clock can tell is none, as in Redis.
fn sleep_nanos(args: Args<'_>) -> u64 {
    let seconds =
        parse_f64(args.get(2)).filter(|seconds| (0.0..SLEEP_SECONDS_MAX).contains(seconds));
    (seconds.unwrap_or(0.0) * NANOS_PER_SECOND) as u64
}

fn set_switch(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    set: fn(&mut CoreView<'_>, bool),
) -> Result<Job, CommandError> {
    if args.len() != 3 {
        return Err(cx.refuse(wrong_form(args)));
    }
    let on = is_on(args);
    Ok(Arc::new(move |view| {
        set(view, on);
        Part::Done
    }))
}

/// What the word behind a switch says, read as stock servers do.
fn is_on(args: Args<'_>) -> bool {
    c_integer(args.get(2)).is_some_and(|number| number != 0)
}
