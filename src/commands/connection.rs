//! Connection.

use crate::command::{Acl, Args, Arity, Command, Flags, Group, Handler, Outcome, SessionContext};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "PING",
    arity: Arity::AtLeast(1),
    group: Group::Connection,
    flags: Flags::FAST,
    acl: Acl::CONNECTION,
    handler: Handler::Session(ping),
    ..Command::BASE
}];

fn ping(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.simple("PONG");
    Ok(())
}
