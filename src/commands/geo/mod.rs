//! Positions: the commands of the group `geo`, by what they do, and what they share.
//!
//! Invariant: a position is a score of a sorted set; nothing here keeps anything else.

pub mod points;
mod query;
pub mod search;

use crate::base::number::{self, format_f64};
use crate::command::{Args, Argument, CommandError, Context};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::geo::Position;
use crate::types::zset::{Limits, ZSetRef};

const UNIT: Argument = Argument::one_of(
    "unit",
    &[
        Argument::token("m", "M"),
        Argument::token("km", "KM"),
        Argument::token("ft", "FT"),
        Argument::token("mi", "MI"),
    ],
);

/// The configured limits of the packed form of sorted sets.
fn limits(cx: &Context<'_>) -> Limits {
    Limits {
        entries: cx.config.zset_max_listpack_entries,
        value: usize::try_from(cx.config.zset_max_listpack_value).unwrap_or(usize::MAX),
        hash_key: cx.hasher.hash_key(),
    }
}

/// The longitude at word `index` and the latitude behind it.
fn position(args: Args<'_>, index: usize, reply: &mut Reply<'_>) -> Result<Position, CommandError> {
    let degrees = |at| number::parse_f64(args.get(at)).ok_or(CommandError::NotAFloat);
    let position = Position { longitude: degrees(index)?, latitude: degrees(index + 1)? };
    if !position.is_valid() {
        let Position { longitude, latitude } = position;
        let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
        return Err(refuse(reply, &text));
    }
    Ok(position)
}

/// Meters of the unit at word `index`.
fn unit(args: Args<'_>, index: usize, reply: &mut Reply<'_>) -> Result<f64, CommandError> {
    match args.get(index).to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(refuse(reply, "ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// The position of a member of the sorted set at a key, which has been read before.
fn member_position(cx: &mut Context<'_>, key: &Key<'_>, member: &[u8]) -> Option<Position> {
    let set = ZSetRef::of(cx.peek(key)?.value()).ok()?;
    set.score(member).map(Position::from_score)
}

/// Writes a position as two numbers.
fn write_position(reply: &mut Reply<'_>, position: Position) {
    reply.array(2);
    reply.double(format_f64(position.longitude).as_bytes());
    reply.double(format_f64(position.latitude).as_bytes());
}

/// Answers with an error of this text.
fn refuse(reply: &mut Reply<'_>, text: &str) -> CommandError {
    reply.error(text);
    CommandError::Written
}
