//! RANDOMKEY, KEYS, SCAN: keys that nobody named.
//!
//! Invariant: a key that has expired is never given. SCAN's state is its cursor alone, which names
//! the partition; a step costs O(COUNT) however large or sparse the keyspace is.

use crate::base::glob;
use crate::base::number;
use crate::base::slot::Slot;
use crate::base::words::c_string;
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler,
    Outcome,
};
use crate::resp::reply::{Reply, ReplyBuffer};
use crate::store::access::Stale;
use crate::store::entry::EntryRef;
use crate::store::partition::Partition;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "RANDOMKEY",
        summary: "Gives one key of the database by chance.",
        arity: Arity::Exactly(1),
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        handler: Handler::Keyspace(randomkey),
        ..Command::BASE
    },
    Command {
        name: "KEYS",
        summary: "Gives all keys that match a pattern.",
        complexity: "O(N) in the number of keys of the database, during which nothing else runs.",
        arity: Arity::Exactly(2),
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE.with(Acl::DANGEROUS),
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        arguments: &[Argument::new("pattern", ArgumentKind::Pattern)],
        handler: Handler::Keyspace(keys),
        ..Command::BASE
    },
    Command {
        name: "SCAN",
        summary: "Walks the keys of the database step by step.",
        since: "2.8.0",
        complexity: "O(COUNT) a step, O(N) for all steps from cursor 0 to cursor 0.",
        arity: Arity::AtLeast(2),
        flags: Flags::READONLY,
        acl: Acl::KEYSPACE,
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        arguments: &[
            Argument::new("cursor", ArgumentKind::Integer),
            Argument::new("pattern", ArgumentKind::Pattern).after("MATCH").optional(),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
            Argument::new("type", ArgumentKind::String).after("TYPE").since("6.0.0").optional(),
        ],
        handler: Handler::Located(slot_of_scan, scan),
        ..Command::BASE
    },
];

/// Keys that RANDOMKEY looks at while expired ones are kept.
const RANDOM_TRIES_MAX: usize = 100;

fn randomkey(cx: &mut Context<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // Every try that fails deletes a key that had expired, so there is an end; where such keys are
    // kept, one of them is the answer in the end, as in stock servers.
    let mut tries = 0;
    while let Some(bytes) = sample(cx) {
        let key = cx.key(&bytes);
        tries += 1;
        if cx.peek(&key).is_some() || cx.stale != Stale::Goes && tries == RANDOM_TRIES_MAX {
            reply.bulk(&bytes);
            return Ok(());
        }
    }
    reply.null();
    Ok(())
}

fn keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let pattern = Pattern::of(args.get(1));
    let (db, now) = (cx.db_index(), cx.now);
    let place = reply.defer();
    let mut found = 0;
    let mut emit = |entry: EntryRef<'_>| {
        if pattern.matches(entry.key()) && !entry.is_expired(now) {
            reply.bulk(entry.key());
            found += 1;
        }
    };
    for partition in cx.keyspace.partitions() {
        let mut cursor = 0;
        loop {
            cursor = partition.db(db).scan(cursor, usize::MAX, &mut emit);
            if cursor == 0 {
                break;
            }
        }
    }
    reply.array_at(place, found);
    Ok(())
}

fn scan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = parse_cursor(args.get(1)).ok_or(CommandError::InvalidCursor)?;
    let options = ScanOptions::parse(args, 2, Scanned::Keys)?;
    let (db, now, proto) = (cx.db_index(), cx.now, reply.proto());
    // The cursor precedes the keys and is known only behind them.
    let mut page = ReplyBuffer::default();
    let mut found = 0;
    let mut expired = Vec::new();
    let mut looked_up = 0;
    let (mut next, mut seen) = (cursor, 0);
    // Of a small database all partitions are at hand, and one call goes through them all.
    while let Some(partition) = cx.keyspace.holder(Partition::slot_of_cursor(next)) {
        next = walk(partition, db, next, options.count - seen, |entry| {
            seen += 1;
            let key = entry.key();
            if !options.pattern.matches(key) {
                return;
            }
            if entry.is_expired(now) {
                expired.push(key.to_vec());
                return;
            }
            if let Some(name) = options.type_name {
                looked_up += 1;
                if !name.eq_ignore_ascii_case(entry.type_name().as_bytes()) {
                    return;
                }
            }
            Reply::new(&mut page, proto).bulk(key);
            found += 1;
        });
        if next == 0 || seen >= options.count {
            break;
        }
        let covered = Partition::slot_of_cursor(next);
        if partition.covers_slot(covered) {
            break;
        }
    }
    if options.type_name.is_some() {
        cx.stats.totals.keyspace_hits.add(looked_up);
        cx.stats.totals.keyspace_misses.add(expired.len() as u64);
    }
    for bytes in expired {
        let key = cx.key(&bytes);
        // Deletes it, since it has expired.
        cx.peek(&key);
    }
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(found);
    reply.raw(&page.bytes);
    Ok(())
}

/// The slot that a request of SCAN goes on in. None if its cursor is none: its error may be answered
/// anywhere.
fn slot_of_scan(args: Args<'_>) -> Option<Slot> {
    let cursor = parse_cursor(args.opt(1)?)?;
    Slot::from_number(u64::from(Partition::slot_of_cursor(cursor)))
}

/// Steps through one partition until `count` entries were seen, or so many steps were made that
/// there are few left to see. Returns the next cursor.
fn walk(
    partition: &Partition,
    db: usize,
    cursor: u64,
    count: usize,
    mut emit: impl FnMut(EntryRef<'_>),
) -> u64 {
    let mut next = cursor;
    let mut seen = 0;
    for _ in 0..count {
        next = partition.scan(db, next, count - seen, |entry| {
            seen += 1;
            emit(entry);
        });
        let left = Partition::slot_of_cursor(next) > partition.last_slot().get();
        if next == 0 || left || seen >= count {
            break;
        }
    }
    next
}

/// A key of the selected database, each with the same probability, expired or not.
fn sample(cx: &mut Context<'_>) -> Option<Vec<u8>> {
    let db = cx.db_index();
    let Context { keyspace, rng, .. } = cx;
    let partitions = keyspace.partitions();
    let total: usize = partitions.iter().map(|partition| partition.db(db).len()).sum();
    if total == 0 {
        return None;
    }
    let mut number = rng.below(total as u64) as usize;
    for partition in partitions {
        let db = partition.db(db);
        if number < db.len() {
            return db.sample(|| rng.next_u64()).map(|entry| entry.key().to_vec());
        }
        number -= db.len();
    }
    None
}

/// A glob pattern; `*` matches every key, the empty one too.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Pattern<'q>(Option<&'q [u8]>);

impl<'q> Pattern<'q> {
    const ALL: Pattern<'static> = Pattern(None);

    fn of(pattern: &'q [u8]) -> Self {
        Pattern((pattern != b"*").then_some(pattern))
    }

    /// True if all of `key` matches.
    pub(in crate::commands) fn matches(self, key: &[u8]) -> bool {
        self.0.is_none_or(|pattern| glob::stringmatch(pattern, key, false))
    }
}

/// What is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Scanned {
    /// SCAN: the keys.
    Keys,
    /// HSCAN: the fields of a hash.
    Hash,
    /// SSCAN: the members of a set.
    Set,
    /// ZSCAN: the members of a sorted set.
    SortedSet,
}

/// The options of SCAN, HSCAN, SSCAN and ZSCAN.
pub(in crate::commands) struct ScanOptions<'q> {
    /// What the keys, fields or members match.
    pub(in crate::commands) pattern: Pattern<'q>,
    /// How many are looked at.
    pub(in crate::commands) count: usize,
    /// SCAN: the type of the keys' values.
    pub(in crate::commands) type_name: Option<&'q [u8]>,
    /// HSCAN, ZSCAN: fields without their values, members without their scores.
    pub(in crate::commands) no_values: bool,
}

impl<'q> ScanOptions<'q> {
    /// The options from word `at` on.
    pub(in crate::commands) fn parse(
        args: Args<'q>,
        mut at: usize,
        scanned: Scanned,
    ) -> Result<Self, CommandError> {
        let mut options =
            ScanOptions { pattern: Pattern::ALL, count: COUNT, type_name: None, no_values: false };
        while at < args.len() {
            let value = args.opt(at + 1);
            match value {
                Some(_) if args.is(at, "COUNT") => {
                    let count = args.integer(at + 1)?;
                    if count < 1 {
                        return Err(CommandError::Syntax);
                    }
                    options.count = count as usize;
                }
                Some(pattern) if args.is(at, "MATCH") => options.pattern = Pattern::of(pattern),
                Some(name) if args.is(at, "TYPE") && scanned == Scanned::Keys => {
                    options.type_name = Some(name);
                }
                _ if scanned == Scanned::SortedSet && args.is(at, "NOSCORES") => {
                    options.no_values = true;
                    at -= 1;
                }
                _ if args.is(at, "NOVALUES") => {
                    if scanned != Scanned::Hash {
                        return Err(CommandError::NoValuesOnlyForHscan);
                    }
                    options.no_values = true;
                    at -= 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 2;
        }
        Ok(options)
    }
}

/// A cursor as SCAN and its kin read it: a plain integer that is not negative, or else whatever C's
/// `strtoull` takes: spaces first, a sign, zeros; a sign that such a number has wraps around.
pub fn parse_cursor(word: &[u8]) -> Option<u64> {
    let text = c_string(word);
    if let Some(cursor) = number::parse_i64(text) {
        return u64::try_from(cursor).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| blank(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { magnitude.wrapping_neg() } else { magnitude })
}

/// Entries that a step looks at where COUNT is not given. Source: SCAN.
const COUNT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_a_stock_server_reads_them() {
        let table: &[(&[u8], Option<u64>)] = &[
            (b"0", Some(0)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"-1", None),
            (b"-01", Some(u64::MAX)),
            (b" \t\n7", Some(7)),
            (b"+7", Some(7)),
            (b"007", Some(7)),
            (b"7 ", None),
            (b"7\0x", Some(7)),
            (b"", None),
            (b"-", None),
            (b"  ", None),
            (b"0x1", None),
        ];
        for (word, cursor) in table {
            assert_eq!(parse_cursor(word), *cursor, "{}", word.escape_ascii());
        }
    }
}
