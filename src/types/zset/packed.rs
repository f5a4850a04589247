//! A small sorted set: a listpack of members and scores.
//!
//! Invariant: pairs ascend by score, then by the member's bytes. A score that is an integer of up to
//! 62 bits is one in the listpack, any other is its shortest decimal text.
//! Source: the listpacks of a stock server's sorted sets.

use std::cmp::Ordering;

use crate::base::number::{self, format_f64};
use crate::encoding::listpack::{self, Element, HEADER, INT_TEXT_MAX, Listpack};
use crate::encoding::run::Run;

use super::Pair;

/// A member's position and score.
#[inline]
pub(super) fn find(pack: Listpack<'_>, member: &[u8]) -> Option<(usize, f64)> {
    let at = pack.find(member, pack.first()?, 1)?;
    Some((at, pair_at(pack, at).0.score))
}

/// The pair whose member is at `pos`, and where the next pair begins, which may be the end.
#[inline]
pub(super) fn pair_at(pack: Listpack<'_>, pos: usize) -> (Pair<'_>, usize) {
    let (member, score_at) = pack.get_and_skip(pos);
    let (score, next) = pack.get_and_skip(score_at);
    (Pair { member, score: score_of(score) }, next)
}

/// All pairs in order.
#[inline]
pub(super) fn pairs(pack: Listpack<'_>) -> impl Iterator<Item = Pair<'_>> {
    let mut pos = HEADER;
    std::iter::from_fn(move || {
        (pos < pack.end()).then(|| {
            let (pair, next) = pair_at(pack, pos);
            pos = next;
            pair
        })
    })
}

/// Shows the pairs from rank `from` to before rank `to`, from the highest on if `reverse`.
pub(super) fn visit<'a>(
    pack: Listpack<'a>,
    (from, to): (u64, u64),
    reverse: bool,
    mut show: impl FnMut(Pair<'a>),
) {
    if !reverse {
        let Some(mut pos) = pack.seek(2 * from as i64) else { return };
        for _ in from..to {
            let (pair, next) = pair_at(pack, pos);
            show(pair);
            pos = next;
        }
        return;
    }
    let mut pos = pack.seek(2 * to as i64).unwrap_or(pack.end());
    for _ in from..to {
        let Some(member) = pack.prev(pos).and_then(|score| pack.prev(score)) else { return };
        show(pair_at(pack, member).0);
        pos = member;
    }
}

/// Puts a pair, whose member is not there, where it belongs.
pub(super) fn insert<R: Run + ?Sized>(run: &mut R, member: &[u8], score: f64) {
    let pack = Listpack::new(run.bytes());
    let mut pos = HEADER;
    while pos < pack.end() {
        let (pair, next) = pair_at(pack, pos);
        if order(&pair, score, member) == Ordering::Greater {
            break;
        }
        pos = next;
    }
    with_score(score, |score| listpack::insert(run, pos, [Element::of(member), score]));
}

/// Puts a pair behind all others, where it belongs.
pub(super) fn append<R: Run + ?Sized>(run: &mut R, member: Element<'_>, score: f64) {
    with_score(score, |score| listpack::append(run, [member, score]));
}

/// Gives the member at `pos` another score.
pub(super) fn update<R: Run + ?Sized>(run: &mut R, pos: usize, member: &[u8], score: f64) {
    let pack = Listpack::new(run.bytes());
    let (_, next) = pair_at(pack, pos);
    let before = pack.prev(pos).and_then(|score| pack.prev(score));
    let follows =
        before.is_none_or(|at| order(&pair_at(pack, at).0, score, member) == Ordering::Less);
    let precedes =
        next == pack.end() || order(&pair_at(pack, next).0, score, member) == Ordering::Greater;
    if follows && precedes {
        let score_at = pack.get_and_skip(pos).1;
        with_score(score, |score| listpack::replace(run, score_at, score));
    } else {
        listpack::delete(run, pos, 2);
        insert(run, member, score);
    }
}

/// How a pair is ordered to another one.
fn order(pair: &Pair<'_>, score: f64, member: &[u8]) -> Ordering {
    let scores = pair.score.partial_cmp(&score).expect("a score is a number");
    scores.then_with(|| pair.member.to_bytes(&mut [0; INT_TEXT_MAX]).cmp(member))
}

#[inline]
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Int(value) => value as f64,
        Element::Str(text) => number::parse_f64(text).unwrap_or(0.0),
    }
}

/// A score as its listpack holds it.
#[inline]
fn with_score<T>(score: f64, put: impl FnOnce(Element<'_>) -> T) -> T {
    if score.abs() <= INTEGER_MAX && score.fract() == 0.0 {
        return put(Element::Int(score as i64));
    }
    let text = format_f64(score);
    // Some larger ones are spelled as integers, and are stored as what they look like.
    let spelled = number::parse_i64(text.as_bytes());
    put(spelled.map_or(Element::Str(text.as_bytes()), Element::Int))
}

/// Half of the largest i64, as a double. Source: what a stock server stores as integers.
const INTEGER_MAX: f64 = (1u64 << 62) as f64;
