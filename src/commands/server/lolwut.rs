//! LOLWUT: the version, and a picture that is never the same.
//!
//! Invariant: the last line is the one that tools look for. The picture is ours: an iron ring in
//! changing light, drawn in characters.

use super::BASE;
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, Flags, Handler, Outcome, SessionContext,
};
use crate::observe::server::REDIS_VERSION;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "LOLWUT",
    summary: "Draws a picture and names the version.",
    since: "5.0.0",
    arity: Arity::AtLeast(1),
    flags: Flags::READONLY.with(Flags::FAST),
    acl: Acl::NONE,
    arguments: &[Argument::new("version", ArgumentKind::Integer).after("VERSION").optional()],
    handler: Handler::Session(lolwut),
    ..BASE
}];

/// From shadow to light.
const SHADES: &[u8] = b".:-=+*#%@";
const COLUMNS: i32 = 56;
const ROWS: i32 = 24;
/// A character is about twice as high as it is wide.
const ROW_HEIGHT: f64 = 2.1;
/// The ring's radii, in columns.
const INNER: f64 = 14.0;
const OUTER: f64 = 24.0;
/// How far the grain of the iron may move a shade.
const GRAIN: f64 = 1.2;

fn lolwut(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // Pictures of other versions are not drawn, but their numbers are read.
    if args.len() >= 3 && args.is(1, "VERSION") {
        args.integer(2)?;
    }
    let light = cx.rng.f64() * std::f64::consts::TAU;
    let mut picture = Vec::new();
    for row in 0..ROWS {
        let line: Vec<u8> = (0..COLUMNS).map(|column| shade(cx, light, column, row)).collect();
        picture.extend_from_slice(line.trim_ascii_end());
        picture.push(b'\n');
    }
    picture.extend_from_slice(format!("\nRedis ver. {REDIS_VERSION}\n").as_bytes());
    reply.verbatim("txt", &picture);
    Ok(())
}

/// One character: blank beside the ring; on it, the brighter the nearer to where the light comes from.
fn shade(cx: &mut SessionContext<'_>, light: f64, column: i32, row: i32) -> u8 {
    let (x, y) = (f64::from(column - COLUMNS / 2), f64::from(row - ROWS / 2) * ROW_HEIGHT);
    let radius = x.hypot(y);
    if !(INNER..OUTER).contains(&radius) {
        return b' ';
    }
    // The middle of the rim faces the viewer, its edges fall away.
    let across = (radius - INNER) / (OUTER - INNER) * 2.0 - 1.0;
    let bright = f64::midpoint(1.0, (y.atan2(x) - light).cos()) * (1.0 - across * across / 2.0);
    let level = bright * (SHADES.len() - 1) as f64 + (cx.rng.f64() - 0.5) * GRAIN;
    SHADES[level.round().clamp(0.0, (SHADES.len() - 1) as f64) as usize]
}
