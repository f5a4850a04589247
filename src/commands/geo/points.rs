//! Positions: storing them, reading them, distances between them.

use super::{UNIT, limits, member_position, position, unit, write_position};
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::geo::{Position, write_distance};
use crate::types::zset::{AddFlags, Change, ZSetMut, ZSetRef};
use crate::types::{Packing, WrongType};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "GEOADD",
        summary: "Stores members with their positions in a sorted set.",
        since: "3.2.0",
        complexity: "O(log(N)) for each member, where N is the number of members",
        arity: Arity::AtLeast(5),
        group: Group::Geo,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::GEO,
        keys: &[KeySpec::one(1, Access::RW.with(Access::UPDATE))],
        arguments: &[
            Argument::key("key", 0),
            Argument::one_of(
                "condition",
                &[Argument::token("nx", "NX"), Argument::token("xx", "XX")],
            )
            .optional()
            .since("6.2.0"),
            Argument::token("change", "CH").optional().since("6.2.0"),
            Argument::block(
                "data",
                &[
                    Argument::new("longitude", ArgumentKind::Double),
                    Argument::new("latitude", ArgumentKind::Double),
                    Argument::new("member", ArgumentKind::String),
                ],
            )
            .multiple(),
        ],
        handler: Handler::Keyed(geoadd),
        ..Command::BASE
    },
    Command {
        name: "GEODIST",
        summary: "Tells the distance between two members.",
        complexity: "O(1)",
        arity: Arity::AtLeast(4),
        arguments: &[
            Argument::key("key", 0),
            Argument::new("member1", ArgumentKind::String),
            Argument::new("member2", ArgumentKind::String),
            UNIT.optional(),
        ],
        handler: Handler::Keyed(geodist),
        ..READS
    },
    Command {
        name: "GEOHASH",
        summary: "Answers with the geohashes of members, as other software writes them.",
        handler: Handler::Keyed(geohash),
        ..READS
    },
    Command {
        name: "GEOPOS",
        summary: "Answers with the longitudes and latitudes of members.",
        handler: Handler::Keyed(geopos),
        ..READS
    },
];

/// What the commands that read members have in common.
const READS: Command = Command {
    since: "3.2.0",
    complexity: "O(1) for each member",
    arity: Arity::AtLeast(2),
    group: Group::Geo,
    flags: Flags::READONLY,
    acl: Acl::GEO,
    keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
    arguments: &[
        Argument::key("key", 0),
        Argument::new("member", ArgumentKind::String).optional().multiple(),
    ],
    ..Command::BASE
};

fn geoadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut flags, mut counts_changed) = (AddFlags::default(), false);
    let mut first = 2;
    while first < args.len() {
        match first {
            at if args.is(at, "NX") => flags.nx = true,
            at if args.is(at, "XX") => flags.xx = true,
            at if args.is(at, "CH") => counts_changed = true,
            _ => break,
        }
        first += 1;
    }
    if !(args.len() - first).is_multiple_of(3) || flags.nx && flags.xx {
        return Err(CommandError::Syntax);
    }
    let mut members = Vec::with_capacity((args.len() - first) / 3);
    for at in (first..args.len()).step_by(3) {
        members.push((position(args, at, reply)?.to_score(), args.get(at + 2)));
    }
    let Some((_, first_member)) = members.first() else { return Err(CommandError::Syntax) };
    let key = cx.key(args.get(1));
    if flags.xx && cx.write(&key).is_none() {
        reply.integer(0);
        return Ok(());
    }
    let limits = limits(cx);
    let mut entry = cx.write_or_make(&key, Packing::SortedSet);
    let mut set = ZSetMut::of(&mut entry)?;
    set.expect(members.len(), first_member.len(), &limits);
    let (mut added, mut updated) = (0, 0);
    for (score, member) in &members {
        match set.add(member, *score, flags, &limits) {
            Change::Added(_) => added += 1,
            Change::Updated(_) => updated += 1,
            Change::Same(_) | Change::Forbidden | Change::NotANumber => {}
        }
    }
    if added + updated > 0 {
        cx.changed(EventClass::SortedSet, "zadd", &key);
        cx.effects.changed_many(added + updated - 1);
        propagate(cx, args, first, &members);
    }
    reply.count(if counts_changed { added + updated } else { added });
    Ok(())
}

/// Propagates ZADD with the scores, as Redis does.
fn propagate(cx: &mut Context<'_>, args: Args<'_>, first: usize, members: &[(f64, &[u8])]) {
    if !cx.effects.wants_lines() {
        return cx.effects.propagate_nothing();
    }
    // A geohash is an integer that a double holds exactly.
    let scores: Vec<String> =
        members.iter().map(|(score, _)| (*score as u64).to_string()).collect();
    let mut words: Vec<&[u8]> = vec![b"zadd"];
    words.extend((1..first).map(|at| args.get(at)));
    for (score, (_, member)) in scores.iter().zip(members) {
        words.extend([score.as_bytes(), *member]);
    }
    cx.effects.propagate(cx.session.db, &words);
}

fn geodist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let unit = match args.len() {
        4 => 1.0,
        5 => unit(args, 4, reply)?,
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(args.get(1));
    exists(cx, &key)?;
    let one = member_position(cx, &key, args.get(2));
    let other = member_position(cx, &key, args.get(3));
    let (Some(one), Some(other)) = (one, other) else {
        reply.null();
        return Ok(());
    };
    let mut text = Vec::new();
    write_distance(&mut text, one.distance(other) / unit);
    reply.bulk(&text);
    Ok(())
}

fn geohash(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    each_position(cx, args, reply, |reply, position| match position {
        Some(position) => reply.bulk(&position.to_geohash()),
        None => reply.null(),
    })
}

fn geopos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    each_position(cx, args, reply, |reply, position| match position {
        Some(position) => write_position(reply, position),
        None => reply.null_array(),
    })
}

/// Writes an array of what `write` makes of each member's position.
fn each_position(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    write: impl Fn(&mut Reply<'_>, Option<Position>),
) -> Outcome {
    let key = cx.key(args.get(1));
    exists(cx, &key)?;
    let members = args.iter_from(2);
    reply.array(members.len());
    for member in members {
        write(reply, member_position(cx, &key, member));
    }
    Ok(())
}

/// Reads a key, whether it is there or not; an error if it is no sorted set.
fn exists(cx: &mut Context<'_>, key: &Key<'_>) -> Result<bool, WrongType> {
    let set = cx.read(key).map(|entry| ZSetRef::of(entry.value())).transpose()?;
    Ok(set.is_some())
}
