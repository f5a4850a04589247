//! Lists: elements by what they are.

use super::ends::natural;
use super::*;
use crate::command::{Acl, Arity, Command, Flags, Group, Handler, Outcome};
use crate::types::list::Side;

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "LINSERT",
        summary: "Puts an element beside the first one that equals a pivot.",
        since: "2.2.0",
        complexity: "O(N) for N elements before the pivot",
        arity: Arity::Exactly(5),
        group: Group::List,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::LIST,
        keys: INSERT,
        arguments: &[
            KEY,
            Argument::one_of(
                "where",
                &[Argument::token("before", "BEFORE"), Argument::token("after", "AFTER")],
            ),
            Argument::new("pivot", ArgumentKind::String),
            ELEMENT,
        ],
        handler: Handler::Keyed(linsert),
        takes_chunks: true,
        ..Command::BASE
    },
    Command {
        name: "LPOS",
        summary: "Returns the indexes of elements that equal a string.",
        since: "6.0.6",
        complexity: "O(N) for N compared elements",
        arity: Arity::AtLeast(3),
        group: Group::List,
        flags: Flags::READONLY,
        acl: Acl::LIST,
        keys: READ,
        arguments: &[
            KEY,
            ELEMENT,
            Argument::new("rank", ArgumentKind::Integer).after("RANK").optional(),
            Argument::new("num-matches", ArgumentKind::Integer).after("COUNT").optional(),
            Argument::new("len", ArgumentKind::Integer).after("MAXLEN").optional(),
        ],
        handler: Handler::Keyed(lpos),
        ..Command::BASE
    },
    Command {
        name: "LREM",
        summary: "Removes elements that equal a string.",
        since: "1.0.0",
        complexity: "O(N) for N elements",
        arity: Arity::Exactly(4),
        group: Group::List,
        flags: Flags::WRITE,
        acl: Acl::LIST,
        keys: &[KeySpec::one(1, Access::RW.with(Access::DELETE))],
        arguments: &[KEY, Argument::new("count", ArgumentKind::Integer), ELEMENT],
        handler: Handler::Keyed(lrem),
        ..Command::BASE
    },
];

fn linsert(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let side = match args.get(2) {
        word if word.eq_ignore_ascii_case(b"after") => Side::After,
        word if word.eq_ignore_ascii_case(b"before") => Side::Before,
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let mut list = ListMut::of(&mut entry, limits)?;
    let mut buffer = Vec::new();
    let pivot = item(args.value(3)).to_slice(&mut buffer);
    if !list.insert(pivot, side, item(args.value(4))) {
        reply.integer(-1);
        return Ok(());
    }
    let len = list.view().len();
    cx.changed(EventClass::List, "linsert", &key);
    reply.count(len);
    Ok(())
}

fn lpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = PosOptions::parse(args)?;
    let key = cx.key(args.get(1));
    let Some(list) = read(cx, &key)? else {
        match options.count {
            Some(_) => reply.array(0),
            None => reply.null(),
        }
        return Ok(());
    };
    match options.count {
        None => {
            let mut found = None;
            options.search(list, args.get(2), |index| {
                found = Some(index);
                Walk::Stop
            });
            match found {
                Some(index) => reply.count(index),
                None => reply.null(),
            }
        }
        Some(count) => {
            let place = reply.defer();
            let mut found = 0;
            options.search(list, args.get(2), |index| {
                reply.count(index);
                found += 1;
                if found == count { Walk::Stop } else { Walk::On }
            });
            reply.array_at(place, found as usize);
        }
    }
    Ok(())
}

fn lrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = symmetric(args, 2)?;
    let key = cx.key(args.get(1));
    let limits = limits(cx);
    let Some(mut entry) = cx.write(&key) else {
        reply.integer(0);
        return Ok(());
    };
    let mut list = ListMut::of(&mut entry, limits)?;
    let (limit, end) = match count {
        0 => (u64::MAX, End::Tail),
        1.. => (count.unsigned_abs(), End::Tail),
        _ => (count.unsigned_abs(), End::Head),
    };
    let elements = list.remove_equal(args.get(3), limit, end);
    let is_empty = list.view().is_empty();
    if elements > 0 {
        lost(cx, &key, "lrem", Loss { elements, is_empty, removed: None });
    }
    reply.count(elements);
    Ok(())
}

/// The options of LPOS.
struct PosOptions {
    /// How many matches are passed over.
    passed: u64,
    /// The direction of the search.
    end: End,
    /// How many matches are wanted, 0 for all; None for one, not in an array.
    count: Option<u64>,
    /// How many elements are compared.
    compared_max: u64,
}

impl PosOptions {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options =
            PosOptions { passed: 0, end: End::Tail, count: None, compared_max: u64::MAX };
        let mut index = 3;
        while index < args.len() {
            if index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            if args.is(index, "RANK") {
                let rank = symmetric(args, index + 1)?;
                options.end = if rank < 0 { End::Head } else { End::Tail };
                options.passed =
                    rank.unsigned_abs().checked_sub(1).ok_or(CommandError::RankZero)?;
            } else if args.is(index, "COUNT") {
                let count = natural(args.get(index + 1)).ok_or(CommandError::CountNegative)?;
                options.count = Some(count);
            } else if args.is(index, "MAXLEN") {
                let max = natural(args.get(index + 1)).ok_or(CommandError::MaxlenNegative)?;
                options.compared_max = if max == 0 { u64::MAX } else { max };
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Shows the indexes of matches, in the order of the search.
    fn search(&self, list: ListRef<'_>, wanted: &[u8], mut show: impl FnMut(u64) -> Walk) {
        let last = list.len().saturating_sub(1);
        let first = if self.end == End::Tail { 0 } else { last };
        let (mut compared, mut passed) = (0, 0);
        list.visit(first, self.end, |item| {
            if compared == self.compared_max {
                return Walk::Stop;
            }
            let index = if self.end == End::Tail { compared } else { last - compared };
            compared += 1;
            if !item.eq_bytes(wanted) {
                return Walk::On;
            }
            if passed < self.passed {
                passed += 1;
                return Walk::On;
            }
            show(index)
        });
    }
}

/// Word `index` as an integer that can be negated.
fn symmetric(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    match args.integer(index)? {
        i64::MIN => Err(CommandError::OutsideSymmetricLong),
        value => Ok(value),
    }
}
