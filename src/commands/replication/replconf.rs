//! REPLCONF: what a replica says of itself before it is one, and how far it has come.
//!
//! Invariant: options before one that is not understood are in force. Source: REPLCONF of Redis
//! 8.0.6; VERSION is Valkey's.

use super::BASE;
use crate::base::{number, words};
use crate::client::replica::RdbFilter;
use crate::command::{Args, Arity, Command, CommandError, Flags, Handler, Outcome, SessionContext};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "REPLCONF",
    summary: "Says what a replica is, and how far it is.",
    since: "3.0.0",
    arity: Arity::AtLeast(1),
    flags: Flags::ADMIN
        .with(Flags::ALLOW_BUSY)
        .with(Flags::LOADING)
        .with(Flags::NOSCRIPT)
        .with(Flags::STALE),
    handler: Handler::Session(replconf),
    ..BASE
}];

/// Longer addresses are no host names. Source: Redis.
const ADDRESS_BYTES_MAX: usize = 255;

fn replconf(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    for at in (1..args.len()).step_by(2) {
        match args.get(at).to_ascii_lowercase().as_slice() {
            b"ack" => {
                acknowledge(cx, args, at);
                return Ok(());
            }
            // Of a primary to its replica, never of a client.
            b"getack" => return Ok(()),
            option => set(cx, option, args.get(at + 1), args.get(at), reply)?,
        }
    }
    reply.ok();
    Ok(())
}

/// A replica says how far it is, which is not answered.
fn acknowledge(cx: &mut SessionContext<'_>, args: Args<'_>, at: usize) {
    let Some(replica) = &mut cx.session.replica else { return };
    let offset = |at: usize| number::parse_i64(args.get(at)).map(|number| number.max(0) as u64);
    if !replica.is_attached() {
        return;
    }
    let Some(acked) = offset(at + 1) else { return };
    replica.acked = replica.acked.max(acked);
    if args.len() > at + 3 && args.is(at + 2, "FACK") {
        let Some(synced) = offset(at + 3) else { return };
        replica.acked_synced = replica.acked_synced.max(synced);
    }
    replica.acked_at = cx.now;
    replica.has_news = true;
}

fn zero_or_one(value: &[u8]) -> Result<bool, CommandError> {
    match number::parse_i64(value) {
        None => Err(CommandError::NotAnInteger),
        Some(number @ (0 | 1)) => Ok(number == 1),
        Some(_) => Err(CommandError::NotZeroOrOne),
    }
}

fn set(
    cx: &mut SessionContext<'_>,
    option: &[u8],
    value: &[u8],
    as_sent: &[u8],
    reply: &mut Reply<'_>,
) -> Outcome {
    let mut refuse = |text: &[&[u8]]| {
        reply.error(text.concat());
        Err(CommandError::Written)
    };
    let replica = cx.session.replica.get_or_insert_default();
    match option {
        b"listening-port" => {
            replica.port = number::parse_i64(value).ok_or(CommandError::NotAnInteger)?;
        }
        b"ip-address" if value.len() > ADDRESS_BYTES_MAX => {
            let len = value.len().to_string();
            let text = b"ERR REPLCONF ip-address provided by replica instance is too long: ";
            return refuse(&[text, len.as_bytes(), b" bytes"]);
        }
        b"ip-address" => replica.address = value.to_vec(),
        b"capa" if value.eq_ignore_ascii_case(b"eof") => replica.takes_eof = true,
        b"capa" if value.eq_ignore_ascii_case(b"psync2") => replica.takes_psync2 = true,
        b"capa" if value.eq_ignore_ascii_case(b"rdb-channel-repl") => {
            // What goes through a file first needs no connection of its own.
            let offers = cx.config.repl_rdb_channel && cx.config.repl_diskless_sync;
            replica.takes_rdb_channel |= offers;
        }
        // Others are not offered here; nor does the version change what is sent.
        b"capa" | b"version" => {}
        b"rdb-only" => replica.wants_rdb_only = zero_or_one(value)?,
        b"rdb-channel" => replica.is_rdb_channel = zero_or_one(value)?,
        b"main-ch-client-id" => {
            let id = number::parse_i64(value).ok_or(CommandError::NotAnInteger)?;
            let known = u64::try_from(id).ok();
            let Some(main) = known.filter(|id| cx.server.replication.awaits_channel(*id)) else {
                return refuse(&[b"ERR Unrecognized RDB client id: ", id.to_string().as_bytes()]);
            };
            replica.main_channel = Some(main);
        }
        b"rdb-filter-only" => {
            let Some(names) = words::split_args(value) else {
                return refuse(&[b"ERR Missing rdb-filter-only values"]);
            };
            let filter = replica.filter.insert(RdbFilter::default());
            for name in names {
                if !name.eq_ignore_ascii_case(b"functions") {
                    return refuse(&[b"ERR Unsupported rdb-filter-only option: ", &name]);
                }
                filter.functions = true;
            }
        }
        _ => return refuse(&[b"ERR Unrecognized REPLCONF option: ", as_sent]),
    }
    Ok(())
}
