//! HyperLogLog: the commands of the group `hyperloglog`.
//!
//! Invariant: the value is a string that any client may have written; its header is checked by every
//! command, its registers wherever they are read.

use std::borrow::Cow;

use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome, SessionContext,
};
use crate::resp::reply::Reply;
use crate::store::entry::NewValue;
use crate::store::key::Key;
use crate::types::Value;
use crate::types::hll::{self, Corrupted, Encoding, NotHyperLogLog, Registers};
use crate::types::string::STRING_INLINE_MAX;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "PFADD",
        summary: "Adds elements to a HyperLogLog; a missing key counts as empty.",
        since: "2.8.9",
        complexity: "O(1) for each element",
        arity: Arity::AtLeast(2),
        group: Group::Hyperloglog,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        acl: Acl::HYPERLOGLOG,
        keys: &[KeySpec::one(1, Access::RW.with(Access::INSERT))],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("element", ArgumentKind::String).optional().multiple(),
        ],
        handler: Handler::Keyed(pfadd),
        ..Command::BASE
    },
    Command {
        name: "PFCOUNT",
        summary: "Estimates how many different elements HyperLogLogs hold together.",
        since: "2.8.9",
        complexity: "O(1) for one key that did not change since, else O(N) for N keys",
        arity: Arity::AtLeast(2),
        group: Group::Hyperloglog,
        flags: Flags::READONLY.with(Flags::MAY_REPLICATE),
        acl: Acl::HYPERLOGLOG,
        keys: &[KeySpec::range(1, -1, 1, Access::RW.with(Access::ACCESS)).notes(
            "RW because it may change the internal representation of the key, \
             and propagate to replicas",
        )],
        arguments: &[Argument::key("key", 0).multiple()],
        handler: Handler::Keyed(pfcount),
        ..Command::BASE
    },
    Command {
        name: "PFDEBUG",
        summary: "Shows how a HyperLogLog lies in memory.",
        since: "2.8.9",
        complexity: "O(1)",
        arity: Arity::Exactly(3),
        group: Group::Hyperloglog,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::ADMIN),
        acl: Acl::HYPERLOGLOG,
        keys: &[KeySpec::one(2, Access::RW.with(Access::ACCESS))],
        arguments: &[Argument::new("subcommand", ArgumentKind::String), Argument::key("key", 0)],
        handler: Handler::Keyed(pfdebug),
        ..Command::BASE
    },
    Command {
        name: "PFMERGE",
        summary: "Merges HyperLogLogs into the first of them.",
        since: "2.8.9",
        complexity: "O(N) for N keys",
        arity: Arity::AtLeast(2),
        group: Group::Hyperloglog,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::HYPERLOGLOG,
        keys: &[
            KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::INSERT)),
            KeySpec::range(2, -1, 1, Access::RO.with(Access::ACCESS)),
        ],
        arguments: &[
            Argument::key("destkey", 0),
            Argument::key("sourcekey", 1).optional().multiple(),
        ],
        handler: Handler::Keyed(pfmerge),
        ..Command::BASE
    },
    Command {
        name: "PFSELFTEST",
        summary: "Checks that registers and estimates work.",
        since: "2.8.9",
        complexity: "O(1)",
        arity: Arity::Exactly(1),
        group: Group::Hyperloglog,
        flags: Flags::ADMIN,
        acl: Acl::HYPERLOGLOG,
        handler: Handler::Session(pfselftest),
        ..Command::BASE
    },
];

fn pfadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let sparse_max = cx.config.hll_sparse_max_bytes;
    let elements = args.iter_from(2);
    let Some(mut entry) = cx.write(&key) else {
        let mut bytes = Cow::Owned(hll::empty());
        let (added, _) = add_all(&mut bytes, elements, sparse_max);
        hll::invalidate(bytes.to_mut());
        cx.set(&key, new_value(&bytes), None);
        cx.event(EventClass::String, "pfadd", &key);
        cx.effects.changed_many(added);
        reply.integer(1);
        return Ok(());
    };
    let (encoding, _) = header(StringRef::of(entry.view())?)?;
    let (mut replaced, mut outcome) = (None, Ok(()));
    let added;
    if encoding == Encoding::Dense
        && let Some(bytes) = entry.str_mut()
    {
        added = elements.map(|element| u64::from(hll::add_dense(bytes, element))).sum();
        if added > 0 {
            hll::invalidate(bytes);
        }
    } else {
        let mut bytes = body(StringRef::of(entry.view())?)?;
        (added, outcome) = add_all(&mut bytes, elements, sparse_max);
        if added > 0 {
            hll::invalidate(bytes.to_mut());
        }
        if let Cow::Owned(bytes) = bytes {
            replaced = entry.set_value(new_value(&bytes));
        }
    }
    cx.replaced.extend(replaced);
    if added > 0 {
        cx.changed(EventClass::String, "pfadd", &key);
        cx.effects.changed_many(added - 1);
    }
    // What was added before damage was met stays, as in Redis.
    outcome?;
    reply.integer(i64::from(added > 0));
    Ok(())
}

fn pfcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 2 {
        let mut registers = Registers::default();
        merge_keys(cx, args, &mut registers)?;
        reply.count(registers.count());
        return Ok(());
    }
    let key = cx.key(args.get(1));
    let Some(string) = cx.read_string(&key)? else {
        reply.integer(0);
        return Ok(());
    };
    let (_, header) = header(string)?;
    if let Some(card) = hll::cached(&header) {
        // The bytes are a client's: the top bit is 0, so this is no negative number.
        reply.count(card);
        return Ok(());
    }
    let card = hll::count(&body(string)?)?;
    if let Some(mut entry) = cx.write(&key) {
        entry.write_at(hll::CARD_AT as u64, &hll::to_cache(card))?;
    }
    cx.effects.changed(cx.session.db, key.bytes);
    reply.count(card);
    Ok(())
}

fn pfdebug(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(1, "SIMD") {
        return pfdebug_simd(args, reply);
    }
    let key = cx.key(args.get(2));
    let Some(entry) = cx.write(&key) else {
        reply.error("ERR The specified key does not exist");
        return Err(CommandError::Written);
    };
    let string = StringRef::of(entry.view())?;
    let (encoding, _) = header(string)?;
    match args.get(1).to_ascii_uppercase().as_slice() {
        b"GETREG" => {
            let bytes = make_dense(cx, &key)?;
            reply.array(hll::REGISTERS);
            hll::dense_registers(&bytes).for_each(|value| reply.integer(i64::from(value)));
        }
        b"DECODE" => {
            if encoding == Encoding::Dense {
                reply.error("ERR HLL encoding is not sparse");
                return Err(CommandError::Written);
            }
            reply.bulk(decoded(&body(string)?).as_bytes());
        }
        b"ENCODING" => reply.simple(match encoding {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }),
        b"TODENSE" => {
            make_dense(cx, &key)?;
            reply.integer(i64::from(encoding == Encoding::Sparse));
        }
        _ => {
            let word = String::from_utf8_lossy(args.get(1)).into_owned();
            reply.error(format!("ERR Unknown PFDEBUG subcommand '{word}'"));
            return Err(CommandError::Written);
        }
    }
    Ok(())
}

fn pfmerge(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut registers = Registers::default();
    let has_dense = merge_keys(cx, args, &mut registers)?;
    let sparse_max = cx.config.hll_sparse_max_bytes;
    let key = cx.key(args.get(1));
    let entry = cx.write(&key);
    let exists = entry.is_some();
    let mut bytes = match &entry {
        Some(entry) => body(StringRef::of(entry.view())?)?,
        None => Cow::Owned(hll::empty()),
    };
    if has_dense {
        let mut dense = hll::to_dense(&bytes)?;
        registers.write_dense(&mut dense);
        bytes = Cow::Owned(dense);
    } else {
        registers.raise_in(&mut bytes, sparse_max)?;
    }
    hll::invalidate(bytes.to_mut());
    let bytes = bytes.into_owned();
    if exists {
        let replaced = entry.and_then(|mut entry| entry.set_value(new_value(&bytes)));
        cx.replaced.extend(replaced);
        cx.changed(EventClass::String, "pfadd", &key);
    } else {
        cx.set(&key, new_value(&bytes), None);
        cx.event(EventClass::String, "pfadd", &key);
    }
    reply.ok();
    Ok(())
}

/// A short form of Redis' test, which takes seconds: no command holds a core for so long.
fn pfselftest(cx: &mut SessionContext<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut sparse = Cow::Owned(hll::empty());
    let mut dense = hll::to_dense(&sparse)?;
    let seed = cx.rng.next_u64();
    for number in 0..SELFTEST_ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        hll::add(&mut sparse, &element, cx.config.hll_sparse_max_bytes)?;
        hll::add_dense(&mut dense, &element);
    }
    let (card, dense_card) = (hll::count(&sparse)?, hll::count(&dense)?);
    if card != dense_card {
        reply.error("ERR TESTFAILED dense/sparse disagree");
        return Err(CommandError::Written);
    }
    let error = card.abs_diff(SELFTEST_ELEMENTS);
    if error > SELFTEST_ERROR_MAX {
        let elements = SELFTEST_ELEMENTS;
        reply.error(format!("ERR TESTFAILED Too big error. card:{elements} abserr:{error}"));
        return Err(CommandError::Written);
    }
    reply.ok();
    Ok(())
}

/// Merges all keys of a request into `registers`; missing ones count as empty. True if one of them
/// is dense.
fn merge_keys(
    cx: &mut Context<'_>,
    args: Args<'_>,
    registers: &mut Registers,
) -> Result<bool, CommandError> {
    let mut has_dense = false;
    for word in args.iter_from(1) {
        let key = cx.key(word);
        if let Some(string) = cx.read_string(&key)? {
            let (encoding, _) = header(string)?;
            has_dense |= encoding == Encoding::Dense;
            registers.merge(&body(string)?)?;
        }
    }
    Ok(has_dense)
}

/// Adds elements until one meets damage; returns how many changed a register.
fn add_all<'e>(
    bytes: &mut Cow<'_, [u8]>,
    elements: impl Iterator<Item = &'e [u8]>,
    sparse_max: u64,
) -> (u64, Result<(), Corrupted>) {
    let mut added = 0;
    for element in elements {
        match hll::add(bytes, element, sparse_max) {
            Ok(changed) => added += u64::from(changed),
            Err(corrupted) => return (added, Err(corrupted)),
        }
    }
    (added, Ok(()))
}

/// Encoding and header of a HyperLogLog.
fn header(string: StringRef<'_>) -> Result<(Encoding, [u8; hll::HEADER_BYTES]), CommandError> {
    let (bytes, len) = match string {
        StringRef::Int(_) => return Err(CommandError::NotHyperLogLog),
        StringRef::Bytes(bytes) => (bytes, bytes.len() as u64),
        StringRef::Big(big) => (big.chunks().first().map_or(&[][..], |chunk| chunk), big.len()),
    };
    let header = bytes.first_chunk().ok_or(CommandError::NotHyperLogLog)?;
    Ok((Encoding::of(header, len)?, *header))
}

/// All bytes of a HyperLogLog; an error where there are more than any has.
fn body(string: StringRef<'_>) -> Result<Cow<'_, [u8]>, CommandError> {
    match string {
        StringRef::Big(big) if big.len() > hll::BYTES_MAX as u64 => {
            Err(CommandError::CorruptedHyperLogLog)
        }
        _ => Ok(string.to_bytes()),
    }
}

/// The dense bytes of the HyperLogLog at a key, which becomes dense if it is not.
fn make_dense(cx: &mut Context<'_>, key: &Key<'_>) -> Result<Vec<u8>, CommandError> {
    let Some(mut entry) = cx.write(key) else { return Err(CommandError::NotHyperLogLog) };
    let string = StringRef::of(entry.view())?;
    let (encoding, _) = header(string)?;
    let dense = hll::to_dense(&body(string)?)?;
    if encoding == Encoding::Sparse {
        let replaced = entry.set_value(new_value(&dense));
        cx.replaced.extend(replaced);
        cx.effects.changed_many(1);
    }
    Ok(dense)
}

/// PFDEBUG SIMD: there is no switch here, the answer is what was asked for.
fn pfdebug_simd(args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(2, "ON") {
        reply.simple("enabled");
    } else if args.is(2, "OFF") {
        reply.simple("disabled");
    } else {
        reply.error("ERR Argument must be ON or OFF");
        return Err(CommandError::Written);
    }
    Ok(())
}

/// The runs as PFDEBUG DECODE prints them.
fn decoded(sparse: &[u8]) -> String {
    let runs = hll::runs(sparse).map(|run| match (run.value, run.bytes) {
        (0, 1) => format!("z:{}", run.len),
        (0, _) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// A HyperLogLog as a value. Redis never stores one as "embstr".
fn new_value(bytes: &[u8]) -> NewValue<'_> {
    if bytes.len() <= STRING_INLINE_MAX {
        NewValue::Raw(bytes)
    } else {
        NewValue::Boxed(Box::new(Value::String(bytes.into())))
    }
}

impl From<NotHyperLogLog> for CommandError {
    fn from(NotHyperLogLog: NotHyperLogLog) -> Self {
        Self::NotHyperLogLog
    }
}

impl From<Corrupted> for CommandError {
    fn from(Corrupted: Corrupted) -> Self {
        Self::CorruptedHyperLogLog
    }
}

/// A few milliseconds.
const SELFTEST_ELEMENTS: u64 = 10_000;
/// Six standard errors of 1.04 / sqrt(16384).
const SELFTEST_ERROR_MAX: u64 = 488;
