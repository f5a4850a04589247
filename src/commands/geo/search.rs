//! Positions: searching them, and storing what was found.

use super::query::{Order, Query, Style};
use super::{UNIT, limits, write_position};
use crate::command::effects::EventClass;
use crate::command::keyspec::{Begin, keys_of};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::encoding::listpack::{Element, INT_TEXT_MAX};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::geo::{Cell, Matcher, Position, Search, write_distance};
use crate::types::zset::{AddFlags, Limits, Pair, Range, ScoreBound, ZSetMut, ZSetRef};
use crate::types::{Collection, Packing, WrongType};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "GEORADIUS",
        summary: "Finds members around a position, and stores them if it is told so.",
        since: "3.2.0",
        arity: Arity::AtLeast(6),
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: GEORADIUS_KEYS,
        arguments: &[
            Argument::key("key", 0),
            Argument::new("longitude", ArgumentKind::Double),
            Argument::new("latitude", ArgumentKind::Double),
            Argument::new("radius", ArgumentKind::Double),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT_ANY_LATER,
            ORDER,
            STORE,
        ],
        handler: Handler::Keyed(georadius),
        ..RADIUS
    },
    Command {
        name: "GEORADIUSBYMEMBER",
        summary: "Finds members around a member, and stores them if it is told so.",
        since: "3.2.0",
        arity: Arity::AtLeast(5),
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: GEORADIUSBYMEMBER_KEYS,
        arguments: &[
            Argument::key("key", 0),
            Argument::new("member", ArgumentKind::String),
            Argument::new("radius", ArgumentKind::Double),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT_ANY,
            ORDER,
            STORE,
        ],
        handler: Handler::Keyed(georadiusbymember),
        ..RADIUS
    },
    Command {
        name: "GEORADIUSBYMEMBER_RO",
        summary: "Finds members around a member.",
        since: "3.2.10",
        arity: Arity::AtLeast(5),
        arguments: &[
            Argument::key("key", 0),
            Argument::new("member", ArgumentKind::String),
            Argument::new("radius", ArgumentKind::Double),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT_ANY,
            ORDER,
        ],
        handler: Handler::Keyed(georadiusbymember_ro),
        ..RADIUS
    },
    Command {
        name: "GEORADIUS_RO",
        summary: "Finds members around a position.",
        since: "3.2.10",
        arity: Arity::AtLeast(6),
        arguments: &[
            Argument::key("key", 0),
            Argument::new("longitude", ArgumentKind::Double),
            Argument::new("latitude", ArgumentKind::Double),
            Argument::new("radius", ArgumentKind::Double),
            UNIT,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
            COUNT_ANY_LATER,
            ORDER,
        ],
        handler: Handler::Keyed(georadius_ro),
        ..RADIUS
    },
    Command {
        name: "GEOSEARCH",
        summary: "Finds members in a circle, a rectangle or a polygon.",
        since: "6.2.0",
        arity: Arity::AtLeast(7),
        deprecated: None,
        arguments: &[
            Argument::key("key", 0),
            FROM,
            BY,
            ORDER,
            COUNT_ANY,
            WITHCOORD,
            WITHDIST,
            WITHHASH,
        ],
        handler: Handler::Keyed(geosearch),
        ..RADIUS
    },
    Command {
        name: "GEOSEARCHSTORE",
        summary: "Stores the members in a circle, a rectangle or a polygon.",
        since: "6.2.0",
        arity: Arity::AtLeast(8),
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: &[
            KeySpec::one(1, Access::OW.with(Access::UPDATE)),
            KeySpec::one(2, Access::RO.with(Access::ACCESS)),
        ],
        deprecated: None,
        arguments: &[
            Argument::key("destination", 0),
            Argument::key("source", 1),
            FROM,
            BY,
            ORDER,
            COUNT_ANY,
            Argument::token("storedist", "STOREDIST").optional(),
        ],
        handler: Handler::Keyed(geosearchstore),
        ..RADIUS
    },
];

/// What most of them have in common.
const RADIUS: Command = Command {
    complexity: "O(N+log(M)) for N members in the cells around the form, of M members",
    group: Group::Geo,
    flags: Flags::READONLY,
    acl: Acl::GEO,
    keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
    deprecated: Some(("6.2.0", "`GEOSEARCH` or `GEOSEARCHSTORE`")),
    ..Command::BASE
};

const GEORADIUS_KEYS: &[KeySpec] = &[
    KeySpec::one(1, Access::RO.with(Access::ACCESS)),
    destination("STORE", 6),
    destination("STOREDIST", 6),
];

const GEORADIUSBYMEMBER_KEYS: &[KeySpec] = &[
    KeySpec::one(1, Access::RO.with(Access::ACCESS)),
    destination("STORE", 5),
    destination("STOREDIST", 5),
];

/// A key that a word introduces.
const fn destination(word: &'static str, from: i16) -> KeySpec {
    let access = Access::OW.with(Access::UPDATE);
    KeySpec { begin: Begin::Keyword { word, from }, ..KeySpec::one(0, access) }
}

const WITHCOORD: Argument = Argument::token("withcoord", "WITHCOORD").optional();
const WITHDIST: Argument = Argument::token("withdist", "WITHDIST").optional();
const WITHHASH: Argument = Argument::token("withhash", "WITHHASH").optional();

const ORDER: Argument =
    Argument::one_of("order", &[Argument::token("asc", "ASC"), Argument::token("desc", "DESC")])
        .optional();

const COUNT: Argument = Argument::new("count", ArgumentKind::Integer).after("COUNT");

const COUNT_ANY: Argument =
    Argument::block("count-block", &[COUNT, Argument::token("any", "ANY").optional()]).optional();

const COUNT_ANY_LATER: Argument = Argument::block(
    "count-block",
    &[COUNT, Argument::token("any", "ANY").optional().since("6.2.0")],
)
.optional();

const STORE: Argument = Argument::one_of(
    "store",
    &[
        Argument::key("storekey", 1).after("STORE").display("key"),
        Argument::key("storedistkey", 2).after("STOREDIST").display("key"),
    ],
)
.optional();

const FROM: Argument = Argument::one_of(
    "from",
    &[
        Argument::new("member", ArgumentKind::String).after("FROMMEMBER"),
        Argument::block(
            "fromlonlat",
            &[
                Argument::new("longitude", ArgumentKind::Double),
                Argument::new("latitude", ArgumentKind::Double),
            ],
        )
        .after("FROMLONLAT"),
    ],
)
.optional();

const BY: Argument = Argument::one_of(
    "by",
    &[
        Argument::block(
            "circle",
            &[Argument::new("radius", ArgumentKind::Double).after("BYRADIUS"), UNIT],
        ),
        Argument::block(
            "box",
            &[
                Argument::new("width", ArgumentKind::Double).after("BYBOX"),
                Argument::new("height", ArgumentKind::Double),
                UNIT,
            ],
        ),
        Argument::block(
            "polygon",
            &[
                Argument::new("num-vertices", ArgumentKind::Integer).after("BYPOLYGON"),
                Argument::block(
                    "vertices",
                    &[
                        Argument::new("longitude", ArgumentKind::Double),
                        Argument::new("latitude", ArgumentKind::Double),
                    ],
                )
                .multiple(),
            ],
        )
        .since("9.0.0"),
    ],
);

fn georadius(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::Radius, GEORADIUS_KEYS, reply)
}

fn georadiusbymember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::RadiusByMember, GEORADIUSBYMEMBER_KEYS, reply)
}

fn georadiusbymember_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::RadiusByMember, &[], reply)
}

fn georadius_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::Radius, &[], reply)
}

fn geosearch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::Search, &[], reply)
}

fn geosearchstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(cx, args, Style::SearchStore, &[], reply)
}

/// `keys` are those of a command that may store; without them no option names a destination.
fn search(
    cx: &mut Context<'_>,
    args: Args<'_>,
    style: Style,
    keys: &[KeySpec],
    reply: &mut Reply<'_>,
) -> Outcome {
    let source = cx.key(args.get(if style == Style::SearchStore { 2 } else { 1 }));
    let set = cx.read(&source).map(|entry| ZSetRef::of(entry.value())).transpose()?;
    let exists = set.is_some();
    let may_store = !keys.is_empty();
    let mut query = Query::parse(cx, args, (&source, exists), (style, may_store), reply)?;
    if may_store && query.store.is_some_and(|at| !names(keys, args, at)) {
        // Two destinations of one kind: only the first of them was brought here.
        return Err(CommandError::Syntax);
    }
    let search = if exists { query.search() } else { None };
    let Some(search) = search else {
        if let Some(at) = query.store {
            return store(cx, args.get(at), None, style, reply);
        }
        reply.array(0);
        return Ok(());
    };
    let limits = limits(cx);
    let Some(entry) = cx.peek(&source) else { return Ok(()) };
    let points = find(ZSetRef::of(entry.value())?, &search, &query);
    if let Some(at) = query.store {
        let found = collection(&points, &query, search.unit, &limits)?;
        return store(cx, args.get(at), found, style, reply);
    }
    answer(&points, &query, search.unit, reply);
    Ok(())
}

/// True if the key specs name word `index` of this request as a key.
fn names(keys: &[KeySpec], args: Args<'_>, index: usize) -> bool {
    let mut is_named = false;
    // A spec that does not fit names none.
    let _ = keys_of(keys, args, |named, _| is_named |= named == index);
    is_named
}

/// A member that was found.
struct Point<'a> {
    member: Element<'a>,
    score: f64,
    position: Position,
    /// From the center, in meters.
    distance: f64,
}

/// The members that the query wants, in the order in which they are answered.
fn find<'a>(set: ZSetRef<'a>, search: &Search, query: &Query) -> Vec<Point<'a>> {
    let enough = if query.any { query.count } else { None };
    let enough = enough.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let mut points = Vec::new();
    let matcher = search.matcher();
    for cell in search.cells() {
        find_in(set, cell, &matcher, enough, &mut points);
    }
    // A count without an order means the nearest.
    let order = match (query.order, query.count) {
        (None, Some(_)) if !query.any => Some(Order::Ascending),
        (order, _) => order,
    };
    match order {
        Some(Order::Ascending) => points.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Some(Order::Descending) => points.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        None => {}
    }
    if let Some(count) = query.count {
        points.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }
    points
}

/// Adds the wanted members of a cell, until there are `enough` in all.
fn find_in<'a>(
    set: ZSetRef<'a>,
    cell: Cell,
    matcher: &Matcher<'_>,
    enough: usize,
    points: &mut Vec<Point<'a>>,
) {
    let (first, past) = cell.scores();
    let bound = |score, exclusive| ScoreBound { score, exclusive };
    let (mut from, to) = set.ranks(&Range::Score(bound(first, false), bound(past, true)), false);
    while from < to && points.len() < enough {
        let next = to.min(from + RANKS_AT_ONCE);
        set.visit((from, next), false, |Pair { member, score }| {
            let position = Position::from_score(score);
            if points.len() < enough
                && let Some(distance) = matcher.matches(position)
            {
                points.push(Point { member, score, position, distance });
            }
        });
        from = next;
    }
}

/// Writes what was found.
fn answer(points: &[Point<'_>], query: &Query, unit: f64, reply: &mut Reply<'_>) {
    let extras = [query.with_distance, query.with_hash, query.with_position];
    let extras = extras.iter().filter(|wanted| **wanted).count();
    let mut text = Vec::new();
    reply.array(points.len());
    for point in points {
        if extras > 0 {
            reply.array(extras + 1);
        }
        reply.bulk(point.member.to_bytes(&mut [0; INT_TEXT_MAX]));
        if query.with_distance {
            text.clear();
            write_distance(&mut text, point.distance / unit);
            reply.bulk(&text);
        }
        if query.with_hash {
            reply.integer(point.score as i64);
        }
        if query.with_position {
            write_position(reply, point.position);
        }
    }
}

/// What was found as a sorted set. None if that is nothing.
fn collection(
    points: &[Point<'_>],
    query: &Query,
    unit: f64,
    limits: &Limits,
) -> Result<Option<(Collection, usize)>, WrongType> {
    if points.is_empty() {
        return Ok(None);
    }
    let mut collection = Collection::empty(Packing::SortedSet);
    let mut set = ZSetMut::of(&mut collection)?;
    set.expect(points.len(), 0, limits);
    for point in points {
        let distance = point.distance / unit;
        // Between antipodes a distance may be no number, which no score can be.
        let distance = if distance.is_nan() { f64::INFINITY } else { distance };
        let score = if query.stores_distance { distance } else { point.score };
        set.add(point.member.to_bytes(&mut [0; INT_TEXT_MAX]), score, AddFlags::default(), limits);
    }
    Ok(Some((collection, points.len())))
}

/// Stores what was found, or deletes the destination if that is nothing.
fn store(
    cx: &mut Context<'_>,
    destination: &[u8],
    found: Option<(Collection, usize)>,
    style: Style,
    reply: &mut Reply<'_>,
) -> Outcome {
    let key: Key<'_> = cx.key(destination);
    let Some((collection, len)) = found else {
        if cx.delete(&key) {
            cx.event(EventClass::Generic, "del", &key);
        }
        reply.integer(0);
        return Ok(());
    };
    cx.set_collection(&key, collection, None);
    let event = match style {
        Style::SearchStore => "geosearchstore",
        _ => "georadiusstore",
    };
    cx.event(EventClass::SortedSet, event, &key);
    cx.effects.changed_many(len as u64 - 1);
    reply.count(len as u64);
    Ok(())
}

/// Members looked at before it is asked whether there are enough.
const RANKS_AT_ONCE: u64 = 64;
