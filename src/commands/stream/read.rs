//! Streams: reading what is new, and waiting for it; for oneself (XREAD) or for a group (XREADGROUP).
//!
//! Invariant: all keys and ids are checked before anything is read for a group. A command that waits
//! has written nothing; it runs again from the start, with the ids that `$` stood for.

use super::{Claim, id, no_group, propagate_claims, propagate_group_id, read};
use super::{reply_entries, reply_entry, reply_id, reply_one};
use crate::base::time::Millis;
use crate::command::effects::EventClass;
use crate::command::suspension::{Denied, Suspension, Wants};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome, keyspec,
};
use crate::resp::Proto;
use crate::resp::reply::{Deferred, Reply};
use crate::store::key::Key;
use crate::types::stream::{Group, Stream, StreamId};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "XREAD",
        summary: "Reads the entries behind given ids from streams, and may wait for some.",
        since: "5.0.0",
        complexity: "O(N) for N entries read",
        arity: Arity::AtLeast(4),
        group: crate::command::Group::Stream,
        flags: Flags::READONLY.with(Flags::BLOCKING).with(Flags::MOVABLEKEYS),
        acl: Acl::STREAM,
        keys: &[streams_from(1)],
        arguments: &[COUNT, BLOCK, STREAMS],
        handler: Handler::Keyed(xread),
        ..Command::BASE
    },
    Command {
        name: "XREADGROUP",
        summary: "Reads entries for a consumer of a group, which has to acknowledge them.",
        since: "5.0.0",
        complexity: "O(N) for N entries read",
        arity: Arity::AtLeast(7),
        group: crate::command::Group::Stream,
        flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::MOVABLEKEYS),
        acl: Acl::STREAM,
        keys: &[streams_from(4)],
        arguments: &[
            Argument::block(
                "group-block",
                &[
                    Argument::new("group", ArgumentKind::String),
                    Argument::new("consumer", ArgumentKind::String),
                ],
            )
            .after("GROUP"),
            COUNT,
            BLOCK,
            Argument::token("noack", "NOACK").optional(),
            STREAMS,
        ],
        handler: Handler::Reaching(is_misleading, xreadgroup),
        ..Command::BASE
    },
];

/// The keys are the first half of the words behind STREAMS.
const fn streams_from(from: i16) -> KeySpec {
    KeySpec {
        begin: keyspec::Begin::Keyword { word: "STREAMS", from },
        find: keyspec::Find::Range { last: -1, step: 1, limit: 2 },
        access: Access::RO.with(Access::ACCESS),
        notes: None,
    }
}

const COUNT: Argument = Argument::new("count", ArgumentKind::Integer).after("COUNT").optional();
const BLOCK: Argument =
    Argument::new("milliseconds", ArgumentKind::Integer).after("BLOCK").optional();
const STREAMS: Argument = Argument::block(
    "streams",
    &[Argument::key("key", 0).multiple(), Argument::new("id", ArgumentKind::String).multiple()],
)
.after("STREAMS");

/// Whether the client waits where nothing is to be read.
#[derive(Clone, Copy)]
enum Block {
    No,
    Until(Millis),
    ForEver,
}

/// What is to be read.
struct Request<'q> {
    args: Args<'q>,
    /// Which word is the first key.
    first_key: usize,
    /// How many keys, and as many ids behind them.
    keys: usize,
    /// At most so many entries of each stream; 0 is all.
    count: u64,
    block: Block,
    /// The group and the consumer.
    group: Option<(&'q [u8], &'q [u8])>,
    /// Nothing is to be acknowledged.
    noack: bool,
}

impl<'q> Request<'q> {
    fn parse(args: Args<'q>, now: Millis, is_group: bool) -> Result<Self, CommandError> {
        let mut request = Request {
            args,
            first_key: 0,
            keys: 0,
            count: 0,
            block: Block::No,
            group: None,
            noack: false,
        };
        let mut at = 1;
        while at < args.len() && request.first_key == 0 {
            let more = args.len() - at - 1;
            if more >= 1 && args.is(at, "BLOCK") {
                request.block =
                    args.timeout_millis(at + 1, now)?.map_or(Block::ForEver, Block::Until);
                at += 1;
            } else if more >= 1 && args.is(at, "COUNT") {
                request.count = u64::try_from(args.integer(at + 1)?).unwrap_or(0);
                at += 1;
            } else if more >= 1 && args.is(at, "STREAMS") {
                if more % 2 == 1 {
                    return Err(if is_group {
                        CommandError::UnbalancedXreadgroup
                    } else {
                        CommandError::UnbalancedXread
                    });
                }
                (request.first_key, request.keys) = (at + 1, more / 2);
            } else if more >= 2 && args.is(at, "GROUP") {
                if !is_group {
                    return Err(CommandError::XreadGroupOption);
                }
                request.group = Some((args.get(at + 1), args.get(at + 2)));
                at += 2;
            } else if args.is(at, "NOACK") {
                if !is_group {
                    return Err(CommandError::XreadNoackOption);
                }
                request.noack = true;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        match (request.first_key, is_group, request.group) {
            (0, ..) => Err(CommandError::Syntax),
            (_, true, None) => Err(CommandError::XreadgroupWithoutGroup),
            _ => Ok(request),
        }
    }

    fn key(&self, number: usize) -> &'q [u8] {
        self.args.get(self.first_key + number)
    }

    fn id_at(&self, number: usize) -> usize {
        self.first_key + self.keys + number
    }

    /// Checks every key and id; the ids behind which is to be read. `NEW` stands for `>`, which no
    /// other id of use is, and for keys that are not here.
    fn check(
        &self,
        cx: &mut Context<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Vec<StreamId>, CommandError> {
        let mut ids = Vec::new();
        for number in 0..self.keys {
            let key = cx.key(self.key(number));
            if cx.is_elsewhere(self.first_key + number, &key)? {
                ids.push(NEW);
                continue;
            }
            let stream = read(cx, &key)?;
            if let Some((name, _)) = self.group
                && stream.is_none_or(|stream| stream.groups.get(name).is_none())
            {
                return Err(no_group(reply, key.bytes, name, " in XREADGROUP with GROUP option"));
            }
            let is_group = self.group.is_some();
            ids.push(match self.args.get(self.id_at(number)) {
                b"$" if is_group => return Err(CommandError::XreadgroupDollar),
                b"$" => stream.map_or(StreamId::MIN, |stream| stream.facts().last_id),
                b"+" if is_group => return Err(CommandError::XreadgroupPlus),
                b"+" => {
                    let last = stream.and_then(|stream| stream.entries().last());
                    last.and_then(StreamId::previous).unwrap_or_default()
                }
                b">" if is_group => NEW,
                b">" => return Err(CommandError::XreadGreater),
                text => id(text)?,
            });
        }
        Ok(ids)
    }

    /// Waits, if that was asked for; the reply is null else.
    fn wait(&self, cx: &mut Context<'_>, ids: &[StreamId], reply: &mut Reply<'_>) {
        let deadline = match self.block {
            Block::No => return reply.null_array(),
            Block::Until(deadline) => Some(deadline),
            Block::ForEver => None,
        };
        let ids = ids.iter().enumerate().map(|(number, id)| (self.id_at(number), id));
        cx.suspend(Suspension {
            keys: (self.first_key..self.first_key + self.keys).collect(),
            wants: Wants::Stream,
            deadline,
            denied: Denied::NullArray,
            wakes_on_delete: self.group.is_some(),
            replaced: ids
                .filter(|(at, _)| self.args.get(*at) == b"$")
                .map(|(at, id)| (at, id.text().as_bytes().to_vec()))
                .collect(),
        });
    }

    /// Begins the part of the reply that belongs to a key; with a single key, the whole of it.
    fn begin(&self, reply: &mut Reply<'_>, number: usize) {
        match reply.proto() {
            Proto::Resp2 => {
                if self.keys == 1 {
                    reply.array(1);
                }
                reply.array(2);
            }
            Proto::Resp3 if self.keys == 1 => reply.map(1),
            Proto::Resp3 => {}
        }
        reply.bulk(self.key(number));
    }

    /// Ends the reply, or waits if no stream was served.
    fn end(
        &self,
        cx: &mut Context<'_>,
        (ids, served): (&[StreamId], usize),
        (place, reply): (Deferred, &mut Reply<'_>),
    ) {
        match (served, reply.proto()) {
            (0, _) => self.wait(cx, ids, reply),
            _ if self.keys == 1 => {}
            (_, Proto::Resp2) => reply.array_at(place, served),
            (_, Proto::Resp3) => reply.map_at(place, served),
        }
    }
}

/// What `>` stands for.
const NEW: StreamId = StreamId::MAX;

fn xread(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = Request::parse(args, cx.now, false)?;
    let ids = request.check(cx, reply)?;
    let place = reply.defer();
    let mut served = 0;
    for (number, id) in ids.iter().enumerate() {
        let key = cx.key(request.key(number));
        if cx.is_elsewhere(request.first_key + number, &key)? {
            continue;
        }
        let Some(stream) = read(cx, &key)? else { continue };
        let entries = stream.entries();
        let Some(start) = id.next().filter(|start| entries.last() >= Some(*start)) else {
            continue;
        };
        served += 1;
        request.begin(reply, number);
        reply_entries(reply, &mut entries.range(start, StreamId::MAX, false), request.count);
    }
    request.end(cx, (&ids, served), (place, reply));
    Ok(())
}

/// True if the key spec takes a group or consumer for the word STREAMS, as its name is that and it
/// stands behind other options: then the keys may be anywhere.
fn is_misleading(args: Args<'_>) -> bool {
    let located = streams_from(4).locate(args);
    match (located, Request::parse(args, Millis(0), true)) {
        (Ok(Some((first, ..))), Ok(request)) => first != request.first_key,
        (_, request) => request.is_ok(),
    }
}

fn xreadgroup(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // What it does is propagated as claims and positions of the group.
    cx.effects.propagate_nothing();
    let request = Request::parse(args, cx.now, true)?;
    let Some((group, consumer)) = request.group else {
        return Err(CommandError::XreadgroupWithoutGroup);
    };
    let ids = request.check(cx, reply)?;
    let place = reply.defer();
    let mut served = 0;
    for (number, id) in ids.iter().enumerate() {
        let key = cx.key(request.key(number));
        if cx.is_elsewhere(request.first_key + number, &key)? {
            continue;
        }
        let (now, wants_lines) = (cx.now, cx.effects.wants_lines());
        let Some(mut entry) = cx.read_mut(&key) else { continue };
        let stream = Stream::of_mut(&mut entry)?;
        let mut reading = Reading { now, after: *id, wants_lines, ..Reading::default() };
        reading.run(stream, (&request, number), reply);
        served += usize::from(reading.served);
        reading.report(cx, &key, (group, consumer), request.noack);
    }
    request.end(cx, (&ids, served), (place, reply));
    Ok(())
}

/// Reading one stream for a consumer.
#[derive(Default)]
struct Reading {
    now: Millis,
    /// The id behind which is to be read.
    after: StreamId,
    /// Claims are to be noted.
    wants_lines: bool,
    /// The consumer is new.
    is_created: bool,
    /// Something was written.
    served: bool,
    /// Something of the group was changed that is propagated.
    is_changed: bool,
    claims: Vec<Claim>,
    /// How far the group has read, if it has read on.
    advanced: Option<(StreamId, Option<u64>)>,
}

impl Reading {
    fn run(&mut self, stream: &mut Stream, at: (&Request<'_>, usize), reply: &mut Reply<'_>) {
        let (request, number) = at;
        let Some((name, consumer_name)) = request.group else { return };
        let facts = stream.facts();
        let (entries, groups) = stream.with_groups();
        let Some(group) = groups.get_mut(name) else { return };
        let is_history = self.after != NEW;
        let start = if is_history {
            self.after.next()
        } else {
            group.last_id.next().filter(|start| entries.last() >= Some(*start))
        };
        let consumer = group.find(consumer_name).unwrap_or_else(|| {
            self.is_created = true;
            group.create(consumer_name, self.now).expect("it was not there")
        });
        group.consumer_mut(consumer).seen = self.now;
        let Some(start) = start else { return };
        self.served = true;
        request.begin(reply, number);
        let place = reply.defer();
        let mut written = 0u64;
        if is_history {
            let mut next = Some(start);
            while (request.count == 0 || written < request.count)
                && let Some((id, _)) = next.and_then(|next| group.next_pending_of(consumer, next))
            {
                if reply_one(reply, entries.range(id, id, false)) {
                    group.deliver_again(id, self.now);
                } else {
                    reply.array(2);
                    reply_id(reply, id);
                    reply.null_array();
                }
                written += 1;
                next = id.next();
            }
        } else {
            let mut range = entries.range(start, StreamId::MAX, false);
            while (request.count == 0 || written < request.count)
                && let Some((id, fields)) = range.next()
            {
                group.entries_read =
                    facts.entries_read_after((group.last_id, group.entries_read), id);
                group.last_id = id;
                reply_entry(reply, id, fields, &mut range);
                if !request.noack {
                    self.deliver(group, consumer, id);
                }
                written += 1;
            }
            if written > 0 {
                self.is_changed = true;
                self.advanced = Some((group.last_id, group.entries_read));
            }
        }
        reply.array_at(place, written as usize);
    }

    fn deliver(&mut self, group: &mut Group, consumer: u32, id: StreamId) {
        let nack = group.deliver(id, consumer, self.now);
        group.consumer_mut(consumer).active = Some(self.now);
        if self.wants_lines {
            self.claims.push(Claim::of(group, id, nack));
        }
    }

    /// Reports what was done.
    fn report(
        self,
        cx: &mut Context<'_>,
        key: &Key<'_>,
        (group, consumer): (&[u8], &[u8]),
        noack: bool,
    ) {
        let db = cx.db_index();
        if self.is_created {
            cx.effects.changed_many(1);
            cx.event(EventClass::Stream, "xgroup-createconsumer", key);
            if noack {
                // Without anything pending no claim makes the consumer elsewhere.
                let words: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key.bytes, group, consumer];
                cx.effects.propagate(db, &words);
            }
        }
        propagate_claims(cx, (key.bytes, group), &self.claims);
        if let Some(advanced) = self.advanced {
            propagate_group_id(cx, (key.bytes, group), advanced);
        }
        if self.is_changed {
            cx.effects.changed_many(1);
        }
    }
}
