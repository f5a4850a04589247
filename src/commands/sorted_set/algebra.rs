//! Sorted sets: unions, intersections and differences of several, which may be sets.

use super::{KEYS, NUMKEYS, WITHSCORES, begin_pairs, limits, refuse, store, write_pair};
use crate::base::number;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::zset::algebra::{
    Aggregate, Input, Pairs, Source, difference, intersection, intersection_count, union,
};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ZDIFF",
        summary: "Gives the members of the first sorted set that no other has.",
        since: "6.2.0",
        complexity: "O(N*K) for N members of the first of K sorted sets, and their sorting",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(1, 1, Access::RO.with(Access::ACCESS))],
        arguments: &[NUMKEYS, KEYS, WITHSCORES],
        handler: Handler::Keyed(zdiff),
        ..Command::BASE
    },
    Command {
        name: "ZDIFFSTORE",
        summary: "Stores the members of the first sorted set that no other has.",
        since: "6.2.0",
        complexity: "O(N*K) for N members of the first of K sorted sets, and their sorting",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::SORTEDSET,
        keys: &[
            KeySpec::one(1, Access::OW.with(Access::UPDATE)),
            KeySpec::counted(2, 1, Access::RO.with(Access::ACCESS)),
        ],
        arguments: &[Argument::key("destination", 0), NUMKEYS, Argument::key("key", 1).multiple()],
        handler: Handler::Keyed(zdiffstore),
        ..Command::BASE
    },
    Command {
        name: "ZINTER",
        summary: "Gives the members that several sorted sets have in common.",
        since: "6.2.0",
        complexity: "O(N*K) for N members of the smallest of K sorted sets, and the sorting of the result",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(1, 1, Access::RO.with(Access::ACCESS))],
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        handler: Handler::Keyed(zinter),
        ..Command::BASE
    },
    Command {
        name: "ZINTERCARD",
        summary: "Counts the members that several sorted sets have in common.",
        since: "7.0.0",
        complexity: "O(N*K) for N members of the smallest of K sorted sets",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(1, 1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            NUMKEYS,
            KEYS,
            Argument::new("limit", ArgumentKind::Integer).after("LIMIT").optional(),
        ],
        handler: Handler::Keyed(zintercard),
        ..Command::BASE
    },
    Command {
        name: "ZINTERSTORE",
        summary: "Stores the members that several sorted sets have in common.",
        since: "2.0.0",
        complexity: "O(N*K) for N members of the smallest of K sorted sets, and the sorting of the result",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::SORTEDSET,
        keys: &[
            KeySpec::one(1, Access::OW.with(Access::UPDATE)),
            KeySpec::counted(2, 1, Access::RO.with(Access::ACCESS)),
        ],
        arguments: &[
            Argument::key("destination", 0),
            NUMKEYS,
            Argument::key("key", 1).multiple(),
            WEIGHTS,
            AGGREGATE,
        ],
        handler: Handler::Keyed(zinterstore),
        ..Command::BASE
    },
    Command {
        name: "ZUNION",
        summary: "Gives the members of any of several sorted sets.",
        since: "6.2.0",
        complexity: "O(N*log(N)) for N members of all sorted sets",
        arity: Arity::AtLeast(3),
        group: Group::SortedSet,
        flags: Flags::READONLY,
        acl: Acl::SORTEDSET,
        keys: &[KeySpec::counted(1, 1, Access::RO.with(Access::ACCESS))],
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITHSCORES],
        handler: Handler::Keyed(zunion),
        ..Command::BASE
    },
    Command {
        name: "ZUNIONSTORE",
        summary: "Stores the members of any of several sorted sets.",
        since: "2.0.0",
        complexity: "O(N*log(N)) for N members of all sorted sets",
        arity: Arity::AtLeast(4),
        group: Group::SortedSet,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::SORTEDSET,
        keys: &[
            KeySpec::one(1, Access::OW.with(Access::UPDATE)),
            KeySpec::counted(2, 1, Access::RO.with(Access::ACCESS)),
        ],
        arguments: &[
            Argument::key("destination", 0),
            NUMKEYS,
            Argument::key("key", 1).multiple(),
            WEIGHTS,
            AGGREGATE,
        ],
        handler: Handler::Keyed(zunionstore),
        ..Command::BASE
    },
];

fn zdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give(cx, args, Operation::Difference, "zdiff", reply)
}

fn zdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    put(cx, args, Operation::Difference, "zdiffstore", reply)
}

fn zinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give(cx, args, Operation::Intersection, "zinter", reply)
}

fn zintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = Request::parse(cx, args, 1, Operation::Count, "zintercard", reply)?;
    reply.count(intersection_count(&mut request.inputs(cx), request.limit));
    Ok(())
}

fn zinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    put(cx, args, Operation::Intersection, "zinterstore", reply)
}

fn zunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    give(cx, args, Operation::Union, "zunion", reply)
}

fn zunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    put(cx, args, Operation::Union, "zunionstore", reply)
}

/// What is done with the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
    /// Counts an intersection.
    Count,
}

/// A request for one of them.
struct Request<'q> {
    keys: Vec<Key<'q>>,
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: u64,
}

impl<'q> Request<'q> {
    /// The keys counted at word `at`, which are read, and the options behind them.
    fn parse(
        cx: &mut Context<'_>,
        args: Args<'q>,
        at: usize,
        operation: Operation,
        name: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Self, CommandError> {
        let count = args.integer(at)?;
        if count < 1 {
            let text = format!("ERR at least 1 input key is needed for '{name}' command");
            return Err(refuse(reply, &text));
        }
        if count as u64 > (args.len() - at - 1) as u64 {
            return Err(CommandError::Syntax);
        }
        let first = at + 1;
        let mut request = Request {
            keys: Vec::new(),
            weights: vec![1.0; count as usize],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        for word in args.iter_from(first).take(count as usize) {
            let key = cx.key(word);
            if let Some(entry) = cx.read(&key) {
                Source::of(entry.value())?;
            }
            request.keys.push(key);
        }
        let stores = at == 2;
        request.parse_options(args, first + count as usize, (operation, stores), reply)?;
        Ok(request)
    }

    fn parse_options(
        &mut self,
        args: Args<'_>,
        mut at: usize,
        (operation, stores): (Operation, bool),
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let joins = matches!(operation, Operation::Union | Operation::Intersection);
        while at < args.len() {
            let behind = args.len() - at - 1;
            if joins && behind >= self.weights.len() && args.is(at, "WEIGHTS") {
                for weight in &mut self.weights {
                    at += 1;
                    let parsed = number::parse_f64(args.get(at));
                    *weight =
                        parsed.ok_or_else(|| refuse(reply, "ERR weight value is not a float"))?;
                }
            } else if joins && behind >= 1 && args.is(at, "AGGREGATE") {
                at += 1;
                self.aggregate = match () {
                    () if args.is(at, "SUM") => Aggregate::Sum,
                    () if args.is(at, "MIN") => Aggregate::Min,
                    () if args.is(at, "MAX") => Aggregate::Max,
                    () => return Err(CommandError::Syntax),
                };
            } else if !stores && operation != Operation::Count && args.is(at, "WITHSCORES") {
                self.with_scores = true;
            } else if operation == Operation::Count && behind >= 1 && args.is(at, "LIMIT") {
                at += 1;
                let limit = number::parse_i64(args.get(at));
                let limit = limit.and_then(|limit| u64::try_from(limit).ok());
                self.limit = limit.ok_or_else(|| refuse(reply, "ERR LIMIT can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(())
    }

    /// The inputs, looked at together.
    fn inputs<'c>(&self, cx: &'c Context<'_>) -> Vec<Input<'c>> {
        let input = |(key, weight): (&Key<'_>, &f64)| {
            let source = cx.view(key).and_then(|entry| Source::of(entry.value()).ok());
            // The first word that names the same key.
            let number = self.keys.iter().position(|other| other.bytes == key.bytes);
            Input { source, weight: *weight, key: number.unwrap_or(0) }
        };
        self.keys.iter().zip(&self.weights).map(input).collect()
    }

    fn result<'c>(&self, cx: &'c Context<'_>, operation: Operation) -> Pairs<'c> {
        let mut inputs = self.inputs(cx);
        match operation {
            Operation::Union => union(&mut inputs, self.aggregate),
            Operation::Intersection | Operation::Count => intersection(&mut inputs, self.aggregate),
            Operation::Difference => difference(&inputs),
        }
    }
}

/// Answers with the result.
fn give(
    cx: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
    reply: &mut Reply<'_>,
) -> Outcome {
    let request = Request::parse(cx, args, 1, operation, name, reply)?;
    let found = request.result(cx, operation);
    begin_pairs(reply, found.as_slice().len(), request.with_scores);
    found.as_slice().iter().for_each(|pair| write_pair(reply, *pair, request.with_scores));
    Ok(())
}

/// Stores the result at the first key.
fn put(
    cx: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
    reply: &mut Reply<'_>,
) -> Outcome {
    let request = Request::parse(cx, args, 2, operation, name, reply)?;
    let (target, limits) = (cx.key(args.get(1)), limits(cx));
    let found = request.result(cx, operation);
    let result = (found.to_collection(&limits), found.as_slice().len() as u64);
    store(cx, &target, result, name, reply);
    Ok(())
}

const WEIGHTS: Argument =
    Argument::new("weight", ArgumentKind::Integer).after("WEIGHTS").optional().multiple();
const AGGREGATE: Argument = Argument::one_of(
    "aggregate",
    &[Argument::token("sum", "SUM"), Argument::token("min", "MIN"), Argument::token("max", "MAX")],
)
.after("AGGREGATE")
.optional();
