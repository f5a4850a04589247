//! Streams: what was delivered and not acknowledged: looking at it, and claiming it.
//!
//! Invariant: a claim is propagated as what has become of the entry, never as the wish.

use super::{
    Claim, elapsed, id, interval_end, interval_start, no_group, propagate_claims,
    propagate_group_id, read, reply_id, reply_one,
};
use crate::base::number;
use crate::base::time::Millis;
use crate::base::words::c_string;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::stream::{Entries, Group, Nack, Stream, StreamId};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "XAUTOCLAIM",
        summary: "Claims pending entries of a group that wait for long, whoever has them.",
        since: "6.2.0",
        complexity: "O(1) for a fixed COUNT",
        arity: Arity::AtLeast(6),
        group: crate::command::Group::Stream,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("group", ArgumentKind::String),
            Argument::new("consumer", ArgumentKind::String),
            Argument::new("min-idle-time", ArgumentKind::String),
            Argument::new("start", ArgumentKind::String),
            Argument::new("count", ArgumentKind::Integer).after("COUNT").optional(),
            Argument::token("justid", "JUSTID").optional(),
        ],
        handler: Handler::Keyed(xautoclaim),
        ..Command::BASE
    },
    Command {
        name: "XCLAIM",
        summary: "Claims pending entries of a group for a consumer.",
        since: "5.0.0",
        complexity: "O(log(N)) for each id, N entries pending",
        arity: Arity::AtLeast(6),
        group: crate::command::Group::Stream,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("group", ArgumentKind::String),
            Argument::new("consumer", ArgumentKind::String),
            Argument::new("min-idle-time", ArgumentKind::String),
            Argument::new("id", ArgumentKind::String).multiple(),
            Argument::new("ms", ArgumentKind::Integer).after("IDLE").optional(),
            Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime)
                .after("TIME")
                .optional(),
            Argument::new("count", ArgumentKind::Integer).after("RETRYCOUNT").optional(),
            Argument::token("force", "FORCE").optional(),
            Argument::token("justid", "JUSTID").optional(),
            Argument::new("lastid", ArgumentKind::String).after("LASTID").optional(),
        ],
        handler: Handler::Keyed(xclaim),
        ..Command::BASE
    },
    Command {
        name: "XPENDING",
        summary: "Shows the pending entries of a group, or how many there are.",
        since: "5.0.0",
        complexity: "O(N) for N entries shown or consumers counted",
        arity: Arity::AtLeast(3),
        group: crate::command::Group::Stream,
        flags: Flags::READONLY,
        acl: Acl::STREAM,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("group", ArgumentKind::String),
            Argument::block(
                "filters",
                &[
                    Argument::new("min-idle-time", ArgumentKind::Integer)
                        .after("IDLE")
                        .optional()
                        .since("6.2.0"),
                    Argument::new("start", ArgumentKind::String),
                    Argument::new("end", ArgumentKind::String),
                    Argument::new("count", ArgumentKind::Integer),
                    Argument::new("consumer", ArgumentKind::String).optional(),
                ],
            )
            .optional(),
        ],
        handler: Handler::Keyed(xpending),
        ..Command::BASE
    },
];

/// What XAUTOCLAIM was asked for.
struct Autoclaim {
    min_idle: i64,
    start: StreamId,
    /// How many entries the reply has at most.
    count: u64,
    just_id: bool,
}

impl Autoclaim {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let min_idle = integer(args, 4, CommandError::XautoclaimMinIdle)?.max(0);
        let start = interval_start(args.get(5))?;
        let mut options = Autoclaim { min_idle, start, count: 100, just_id: false };
        let mut at = 6;
        while at < args.len() {
            if at + 1 < args.len() && args.is(at, "COUNT") {
                let count = integer(args, at + 1, CommandError::XautoclaimCount)?;
                if !(1..=AUTOCLAIM_COUNT_MAX).contains(&count) {
                    return Err(CommandError::XautoclaimCount);
                }
                options.count = count.unsigned_abs();
                at += 2;
            } else if args.is(at, "JUSTID") {
                options.just_id = true;
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn xautoclaim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let names = (args.get(1), args.get(2));
    let mut claiming = Claiming::new(cx);
    {
        // That the key is missing is an event even where the options are wrong.
        let mut entry = cx.read_mut(&key);
        let options = Autoclaim::parse(args)?;
        let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
        let Some((entries, group)) = stream.and_then(|stream| with_group(stream, names.1)) else {
            return Err(no_group(reply, names.0, names.1, ""));
        };
        let consumer = claiming.consumer(group, args.get(3));
        autoclaim(&mut claiming, (entries, group), consumer, &options, reply);
    }
    claiming.report(cx, &key, names, None);
    Ok(())
}

fn autoclaim(
    claiming: &mut Claiming,
    (entries, group): (Entries<'_>, &mut Group),
    consumer: u32,
    options: &Autoclaim,
    reply: &mut Reply<'_>,
) {
    let now = claiming.now;
    let (mut attempts, mut count) = (options.count * AUTOCLAIM_ATTEMPTS, options.count);
    let mut deleted = Vec::new();
    let mut claimed = 0;
    reply.array(3);
    let place = reply.defer();
    let mut next = group.next_pending(options.start);
    while let Some((id, nack)) = next
        && attempts > 0
        && count > 0
    {
        attempts -= 1;
        if !entries.contains(id) {
            claiming.note(group, id, nack);
            group.acknowledge(id);
            deleted.push(id);
            count -= 1;
        } else if options.min_idle == 0 || elapsed(now, nack.delivered) >= options.min_idle {
            let more = u64::from(!options.just_id);
            let nack = Nack { delivered: now, count: nack.count.wrapping_add(more), consumer };
            group.put(id, nack);
            group.consumer_mut(consumer).active = Some(now);
            reply_claimed(reply, entries, id, options.just_id);
            claimed += 1;
            count -= 1;
            claiming.note(group, id, nack);
        }
        next = id.next().and_then(|behind| group.next_pending(behind));
    }
    reply.array_at(place, claimed);
    let cursor = next.map(|(id, _)| id).unwrap_or_default();
    reply.bulk_at(place, cursor.text().as_bytes());
    reply.array(deleted.len());
    deleted.into_iter().for_each(|id| reply_id(reply, id));
}

/// What XCLAIM was asked for.
struct ClaimOptions {
    min_idle: i64,
    /// The words before this one, from the sixth on, are ids.
    ids_end: usize,
    delivered: Millis,
    retry_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    fn parse(args: Args<'_>, now: Millis, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        let min_idle = integer(args, 4, CommandError::XclaimMinIdle)?.max(0);
        let ids = args.iter_from(5).take_while(|text| id(text).is_ok()).count();
        let mut options = ClaimOptions {
            min_idle,
            ids_end: 5 + ids,
            delivered: now,
            retry_count: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        };
        // -1 is as if nothing had been said, even where arithmetic leads to it.
        let mut delivered = -1;
        let mut at = options.ids_end;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            let mut words = 2;
            if args.is(at, "FORCE") {
                options.force = true;
                words = 1;
            } else if args.is(at, "JUSTID") {
                options.just_id = true;
                words = 1;
            } else if has_more && args.is(at, "IDLE") {
                let idle = integer(args, at + 1, CommandError::XclaimIdle)?;
                delivered = now.0.wrapping_sub(idle);
            } else if has_more && args.is(at, "TIME") {
                delivered = integer(args, at + 1, CommandError::XclaimTime)?;
            } else if has_more && args.is(at, "RETRYCOUNT") {
                let count = integer(args, at + 1, CommandError::XclaimRetryCount)?;
                options.retry_count = u64::try_from(count).ok();
            } else if has_more && args.is(at, "LASTID") {
                options.last_id = id(args.get(at + 1))?;
            } else {
                let head: &[u8] = b"ERR Unrecognized XCLAIM option '";
                reply.error([head, c_string(args.get(at)), b"'"].concat());
                return Err(CommandError::Written);
            }
            at += words;
        }
        // A time to come is as wrong as one before all times; both are now.
        if (0..=now.0).contains(&delivered) {
            options.delivered = Millis(delivered);
        }
        Ok(options)
    }
}

fn xclaim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let names = (args.get(1), args.get(2));
    let mut claiming = Claiming::new(cx);
    let mut advanced = None;
    {
        let mut entry = cx.read_mut(&key);
        let stream = entry.as_mut().map(Stream::of_mut).transpose()?;
        let stream = stream.filter(|stream| stream.groups.get(names.1).is_some());
        let Some(stream) = stream else {
            return Err(no_group(reply, names.0, names.1, ""));
        };
        let options = ClaimOptions::parse(args, claiming.now, reply)?;
        let Some((entries, group)) = with_group(stream, names.1) else { return Ok(()) };
        if options.last_id > group.last_id {
            group.last_id = options.last_id;
            advanced = Some((group.last_id, group.entries_read));
        }
        let consumer = claiming.consumer(group, args.get(3));
        let place = reply.defer();
        let mut claimed = 0;
        for text in args.iter_from(5).take(options.ids_end - 5) {
            let id = id(text)?;
            if claim(&mut claiming, (entries, group), consumer, &options, id) {
                reply_claimed(reply, entries, id, options.just_id);
                claimed += 1;
            }
        }
        reply.array_at(place, claimed);
    }
    claiming.report(cx, &key, names, advanced);
    Ok(())
}

/// Claims one entry; false if it is not the consumer's then.
fn claim(
    claiming: &mut Claiming,
    (entries, group): (Entries<'_>, &mut Group),
    consumer: u32,
    options: &ClaimOptions,
    id: StreamId,
) -> bool {
    let pending = group.pending().get(id).copied();
    if !entries.contains(id) {
        if let Some(nack) = pending {
            claiming.note(group, id, nack);
            group.acknowledge(id);
        }
        return false;
    }
    let before = match pending {
        Some(nack) => {
            let idle = elapsed(claiming.now, nack.delivered);
            if options.min_idle > 0 && idle < options.min_idle {
                return false;
            }
            nack.count
        }
        // By force it counts as delivered already.
        None if options.force => 1,
        None => return false,
    };
    let count = match options.retry_count {
        Some(count) => count,
        None => before.wrapping_add(u64::from(!options.just_id)),
    };
    let nack = Nack { delivered: options.delivered, count, consumer };
    group.put(id, nack);
    group.consumer_mut(consumer).active = Some(claiming.now);
    claiming.note(group, id, nack);
    true
}

/// What a claim does beside its reply.
struct Claiming {
    now: Millis,
    /// Somebody reads what is propagated.
    wants_lines: bool,
    /// The consumer is new.
    is_created: bool,
    /// Pending entries that were changed.
    changes: u64,
    claims: Vec<Claim>,
}

impl Claiming {
    fn new(cx: &Context<'_>) -> Self {
        Claiming {
            now: cx.now,
            wants_lines: cx.effects.wants_lines(),
            is_created: false,
            changes: 0,
            claims: Vec::new(),
        }
    }

    /// The consumer with a name, which is made if there is none.
    fn consumer(&mut self, group: &mut Group, name: &[u8]) -> u32 {
        let created = group.create(name, self.now);
        self.is_created = created.is_some();
        let consumer = created.or_else(|| group.find(name)).expect("it was there or is made");
        group.consumer_mut(consumer).seen = self.now;
        consumer
    }

    /// Notes that what is pending for an entry has changed to `nack`, or is about to go.
    fn note(&mut self, group: &Group, id: StreamId, nack: Nack) {
        self.changes += 1;
        if self.wants_lines {
            self.claims.push(Claim::of(group, id, nack));
        }
    }

    /// Reports all that. `advanced` is how far the group has read, if that has changed: a claim
    /// tells it along.
    fn report(
        self,
        cx: &mut Context<'_>,
        key: &Key<'_>,
        (key_name, group): (&[u8], &[u8]),
        advanced: Option<(StreamId, Option<u64>)>,
    ) {
        cx.effects.propagate_nothing();
        if self.is_created {
            cx.event(EventClass::Stream, "xgroup-createconsumer", key);
        }
        propagate_claims(cx, (key_name, group), &self.claims);
        let advanced = advanced.filter(|_| self.changes == 0);
        if let Some(advanced) = advanced {
            propagate_group_id(cx, (key_name, group), advanced);
        }
        let others = u64::from(self.is_created) + u64::from(advanced.is_some());
        cx.effects.changed_many(self.changes + others);
    }
}

fn with_group<'s>(stream: &'s mut Stream, name: &[u8]) -> Option<(Entries<'s>, &'s mut Group)> {
    let (entries, groups) = stream.with_groups();
    groups.get_mut(name).map(|group| (entries, group))
}

/// Writes an entry that was claimed and is there.
fn reply_claimed(reply: &mut Reply<'_>, entries: Entries<'_>, id: StreamId, just_id: bool) {
    if just_id {
        reply_id(reply, id);
    } else {
        reply_one(reply, entries.range(id, id, false));
    }
}

/// Word `at` as an integer, with an error of its own.
fn integer(args: Args<'_>, at: usize, error: CommandError) -> Result<i64, CommandError> {
    number::parse_i64(args.get(at)).ok_or(error)
}

/// What XPENDING is to show.
struct Filter<'q> {
    min_idle: i64,
    start: StreamId,
    end: StreamId,
    count: u64,
    consumer: Option<&'q [u8]>,
}

impl<'q> Filter<'q> {
    /// None where only numbers are asked for.
    fn parse(args: Args<'q>) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=XPENDING_WORDS_MAX).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut first, mut min_idle) = (3, 0);
        if args.is(3, "IDLE") {
            min_idle = args.integer(4)?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            first = 5;
        }
        let count = u64::try_from(args.integer(first + 2)?).unwrap_or(0);
        let start = interval_start(args.get(first))?;
        let end = interval_end(args.get(first + 1))?;
        Ok(Some(Filter { min_idle, start, end, count, consumer: args.opt(first + 3) }))
    }
}

fn xpending(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let key = cx.key(args.get(1));
    let now = cx.now;
    let group = read(cx, &key)?.and_then(|stream| stream.groups.get(args.get(2)));
    let Some(group) = group else {
        return Err(no_group(reply, args.get(1), args.get(2), ""));
    };
    match filter {
        None => summarize(group, reply),
        Some(filter) => show(group, &filter, now, reply),
    }
    Ok(())
}

/// How much is pending, its first and last id, and how much of it each consumer has.
fn summarize(group: &Group, reply: &mut Reply<'_>) {
    let pending = group.pending();
    reply.array(4);
    reply.count(pending.len() as u64);
    let (Some(first), Some(last)) = (pending.first(), pending.last()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, pending.at(first).0);
    reply_id(reply, pending.at(last).0);
    let busy = || group.consumers().filter(|consumer| consumer.pending() > 0);
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk_integer(consumer.pending() as i64);
    }
}

/// What is pending, entry by entry.
fn show(group: &Group, filter: &Filter<'_>, now: Millis, reply: &mut Reply<'_>) {
    let place = reply.defer();
    let owner = filter.consumer.map(|name| group.find(name));
    let mut shown = 0;
    let mut next = match owner {
        Some(None) => None,
        _ => Some(filter.start),
    };
    while let Some(start) = next
        && shown < filter.count
    {
        let found = match owner.flatten() {
            None => group.next_pending(start),
            Some(owner) => group.next_pending_of(owner, start),
        };
        let Some((id, nack)) = found.filter(|(id, _)| *id <= filter.end) else { break };
        next = id.next();
        let idle = elapsed(now, nack.delivered);
        if filter.min_idle != 0 && idle < filter.min_idle {
            continue;
        }
        reply.array(4);
        reply_id(reply, id);
        reply.bulk(&group.consumer(nack.consumer).name);
        reply.integer(idle.max(0));
        reply.integer(nack.count as i64);
        shown += 1;
    }
    reply.array_at(place, shown as usize);
}

/// Source: the largest COUNT for which a stock server can multiply.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;
/// How many pending entries are looked at for each that may be claimed.
const AUTOCLAIM_ATTEMPTS: u64 = 10;
/// More words than these make no form.
const XPENDING_WORDS_MAX: usize = 9;
