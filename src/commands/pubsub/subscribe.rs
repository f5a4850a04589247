//! SUBSCRIBE and its kin.
//!
//! Invariant: what the client has subscribed to changes at home at once, with the reply, many names in
//! pieces; the reply leaves when every core knows. So whoever publishes behind it counts the client, and until the
//! reply to UNSUBSCRIBE the client gets every message that counted it.

use std::sync::Arc;

use crate::client::Session;
use crate::command::whole::{Job, Part};
use crate::command::{
    Access, Args, Argument, ArgumentKind, Arity, Channels, Command, CommandError, Flags, Group,
    Handler, KeySpec, Outcome, SessionContext, Whole,
};
use crate::pubsub::{Change, Kind, Subscriptions};
use crate::resp::reply::{Reply, ReplyBuffer};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "PSUBSCRIBE",
        summary: "Listens to the channels that match patterns.",
        complexity: "O(N), where N is the number of patterns",
        arity: Arity::AtLeast(2),
        channels: Some(Channels { first: 1, to_the_end: true, patterns: true }),
        arguments: &[Argument::new("pattern", ArgumentKind::Pattern).multiple()],
        handler: whole(|cx, args| join(cx, args, Kind::Pattern)),
        ..BASE
    },
    Command {
        name: "PUNSUBSCRIBE",
        summary: "Stops listening to patterns.",
        complexity: "O(N), where N is the number of patterns",
        arity: Arity::AtLeast(1),
        arguments: &[Argument::new("pattern", ArgumentKind::Pattern).optional().multiple()],
        handler: whole(|cx, args| leave(cx, args, Kind::Pattern)),
        ..BASE
    },
    Command {
        name: "SSUBSCRIBE",
        summary: "Listens to shard channels.",
        since: "7.0.0",
        complexity: "O(N), where N is the number of shard channels",
        arity: Arity::AtLeast(2),
        keys: SHARD_CHANNELS,
        channels: Some(Channels { first: 1, to_the_end: true, patterns: false }),
        arguments: &[Argument::new("shardchannel", ArgumentKind::String).multiple()],
        handler: whole(|cx, args| join(cx, args, Kind::Shard)),
        ..BASE
    },
    Command {
        name: "SUBSCRIBE",
        summary: "Listens to channels.",
        complexity: "O(N), where N is the number of channels",
        arity: Arity::AtLeast(2),
        channels: Some(Channels { first: 1, to_the_end: true, patterns: false }),
        arguments: &[Argument::new("channel", ArgumentKind::String).multiple()],
        handler: whole(|cx, args| join(cx, args, Kind::Channel)),
        ..BASE
    },
    Command {
        name: "SUNSUBSCRIBE",
        summary: "Stops listening to shard channels.",
        since: "7.0.0",
        complexity: "O(N), where N is the number of shard channels",
        arity: Arity::AtLeast(1),
        keys: SHARD_CHANNELS,
        arguments: &[Argument::new("shardchannel", ArgumentKind::String).optional().multiple()],
        handler: whole(|cx, args| leave(cx, args, Kind::Shard)),
        ..BASE
    },
    Command {
        name: "UNSUBSCRIBE",
        summary: "Stops listening to channels.",
        complexity: "O(N), where N is the number of channels",
        arity: Arity::AtLeast(1),
        arguments: &[Argument::new("channel", ArgumentKind::String).optional().multiple()],
        handler: whole(|cx, args| leave(cx, args, Kind::Channel)),
        ..BASE
    },
];

const BASE: Command = Command {
    since: "2.0.0",
    group: Group::Pubsub,
    flags: Flags::PUBSUB.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE),
    ..Command::BASE
};

const SHARD_CHANNELS: &[KeySpec] = &[KeySpec::range(1, -1, 1, Access::NOT_KEY)];

type Begin = fn(&mut SessionContext<'_>, Args<'_>) -> Result<Job, CommandError>;

const fn whole(begin: Begin) -> Handler {
    Handler::Whole(Whole { begin, gather })
}

/// How replies name what was done.
const fn verb(kind: Kind, joins: bool) -> &'static [u8] {
    match (kind, joins) {
        (Kind::Channel, true) => b"subscribe",
        (Kind::Pattern, true) => b"psubscribe",
        (Kind::Shard, true) => b"ssubscribe",
        (Kind::Channel, false) => b"unsubscribe",
        (Kind::Pattern, false) => b"punsubscribe",
        (Kind::Shard, false) => b"sunsubscribe",
    }
}

fn join(cx: &mut SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Job, CommandError> {
    // Channels and patterns were let into MULTI before this was a rule.
    if kind == Kind::Shard && cx.inside_exec {
        return Err(CommandError::SsubscribeDenied);
    }
    let mut change = change(cx.session, cx.core, true);
    let session = &mut *cx.session;
    let mut answer = written_so_far(session);
    let mut reply = Reply::new(&mut answer, session.facts.proto);
    let subscriptions = session.subscriptions.get_or_insert_default();
    // The first piece was let through; what its user may hear of can have changed since.
    let goes_on = session.pieces_done > 0;
    let user = cx.users.get(session.facts.user).map(|named| &named.user);
    let may_hear =
        |word: &[u8]| user.is_some_and(|user| user.allows_channel(word, kind == Kind::Pattern));
    for word in piece(args, &mut session.pieces_done) {
        if goes_on && !may_hear(word) {
            session.close_after_reply = true;
            break;
        }
        if !subscriptions.contains(kind, word) {
            let name = cx.directory.share(kind, word);
            subscriptions.insert(kind, name.clone());
            change.names[kind as usize].push(name);
        }
        acknowledge(&mut reply, (kind, true), Some(word), subscriptions);
    }
    session.answer = answer.bytes;
    cx.stats.pubsub_clients.add(u64::from(!session.facts.subscribed));
    session.facts.subscribed = true;
    Ok(everywhere(change, false))
}

fn leave(cx: &mut SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Job, CommandError> {
    let mut change = change(cx.session, cx.core, false);
    let session = &mut *cx.session;
    let mut answer = written_so_far(session);
    let mut reply = Reply::new(&mut answer, session.facts.proto);
    let mut none = Subscriptions::default();
    let subscriptions = session.subscriptions.as_deref_mut().unwrap_or(&mut none);
    let left = &mut change.names[kind as usize];
    if args.len() == 1 {
        while left.len() < NAMES_PER_PIECE_MAX
            && let Some(name) = subscriptions.take_first(kind)
        {
            acknowledge(&mut reply, (kind, false), Some(&name), subscriptions);
            left.push(name);
        }
        if left.is_empty() {
            acknowledge(&mut reply, (kind, false), None, subscriptions);
        }
        let is_over = subscriptions.len(kind) == 0;
        session.pieces_done = if is_over { 0 } else { session.pieces_done + 1 };
    } else {
        for word in piece(args, &mut session.pieces_done) {
            left.extend(subscriptions.take(kind, word));
            acknowledge(&mut reply, (kind, false), Some(word), subscriptions);
        }
    }
    let is_empty = subscriptions.is_empty();
    session.answer = answer.bytes;
    session.leaves = true;
    cx.stats.pubsub_clients.sub(u64::from(session.facts.subscribed && is_empty));
    session.facts.subscribed &= !is_empty;
    Ok(everywhere(change, false))
}

/// What the pieces before this one have answered.
fn written_so_far(session: &mut Session) -> ReplyBuffer {
    ReplyBuffer { bytes: std::mem::take(&mut session.answer), ..ReplyBuffer::default() }
}

/// The next words of a command that is done in pieces; whether there are more is noted.
fn piece<'a>(args: Args<'a>, done: &mut usize) -> impl Iterator<Item = &'a [u8]> {
    let first = 1 + *done * NAMES_PER_PIECE_MAX;
    let is_over = first + NAMES_PER_PIECE_MAX >= args.len();
    *done = if is_over { 0 } else { *done + 1 };
    args.iter_from(first).take(NAMES_PER_PIECE_MAX)
}

fn gather(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    cx.pushing = true;
    reply.raw(&std::mem::take(&mut cx.session.answer));
    Ok(())
}

fn acknowledge(
    reply: &mut Reply<'_>,
    (kind, joins): (Kind, bool),
    name: Option<&[u8]>,
    subscriptions: &Subscriptions,
) {
    reply.push(3);
    reply.bulk(verb(kind, joins));
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.count(subscriptions.counted_with(kind) as u64);
}

fn change(session: &Session, core: usize, joins: bool) -> Change {
    Change::new((core, session.place, session.facts.id), joins)
}

/// A client leaves the first of what it has subscribed to. None if that is nothing.
pub fn leave_some(session: &mut Session, core: usize) -> Option<Job> {
    session.facts.subscribed = false;
    let change = change(session, core, false);
    let subscriptions = session.subscriptions.as_deref_mut()?;
    let change = next_change(subscriptions, change);
    if subscriptions.is_empty() {
        session.subscriptions = None;
    }
    (!change.is_empty()).then(|| everywhere(change, false))
}

/// What a client that was closed has subscribed to, and leaves in pieces.
#[derive(Debug)]
pub struct Leaving {
    /// What every piece says of the client.
    change: Change,
    subscriptions: Box<Subscriptions>,
}

impl Leaving {
    /// Of a client that is closed: nothing that is under way is for it. None if that is nothing.
    pub fn of_closed(session: &mut Session, core: usize) -> Option<Leaving> {
        let subscriptions = session.subscriptions.take()?;
        session.facts.subscribed = false;
        Some(Leaving { change: change(session, core, false), subscriptions })
    }

    /// The next piece, to be left on every core, and how many names it has. None when all has been
    /// left.
    pub fn next_piece(&mut self) -> Option<(usize, Job)> {
        let change = next_change(&mut self.subscriptions, self.change.clone());
        let names = change.each().count();
        (names > 0).then(|| (names, everywhere(change, true)))
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

/// Takes as many names as are left at once.
fn next_change(subscriptions: &mut Subscriptions, mut change: Change) -> Change {
    let mut room = NAMES_PER_PIECE_MAX;
    for kind in Kind::ALL {
        let names = &mut change.names[kind as usize];
        while room > 0
            && let Some(name) = subscriptions.take_first(kind)
        {
            names.push(name);
            room -= 1;
        }
    }
    change
}

/// Names that are joined or left at once: each costs every core about half a microsecond.
pub const NAMES_PER_PIECE_MAX: usize = 512;

/// Applies a change on every core.
fn everywhere(change: Change, closes: bool) -> Job {
    let change = Arc::new(change);
    Arc::new(move |view| {
        if change.is_empty() {
            return Part::Done;
        }
        view.directory.apply(&change);
        if view.core == change.home {
            view.hearers.apply(&change, view.directory.version());
            if closes {
                view.hearers.settle(change.id);
            }
        }
        Part::Done
    })
}
