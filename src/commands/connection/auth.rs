//! AUTH: proves by password who the client is.
//!
//! Invariant: a login that fails leaves the client what it was, and is told to the log of refusals.

use crate::acl::log::{Denial, Place, Reason};
use crate::acl::users::DEFAULT_NAME;
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::resp::reply::Reply;

/// The name under which the nodes of a Redis cluster log in to each other.
const INTERNAL_USER: &[u8] = b"internal connection";

pub(super) fn auth(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.len() {
        2 if cx.users.default_user().user.has_nopass() => {
            return Err(CommandError::NoPasswordConfigured);
        }
        2 => authenticate(cx, args, DEFAULT_NAME, args.get(1))?,
        3 if args.get(1) == INTERNAL_USER => return Err(CommandError::InternalConnection),
        3 => authenticate(cx, args, args.get(1), args.get(2))?,
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(())
}

/// Logs the client in by the request `args`. `WrongPass` if there is no such user, or the password
/// is another one.
pub(super) fn authenticate(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    if let Some(named) = cx.users.authenticate(user, password) {
        cx.session.log_in(named);
        return Ok(());
    }
    cx.stats.denials.auth.add(1);
    cx.denials.push(Denial {
        reason: Reason::Auth,
        place: if cx.session.facts.in_multi { Place::Multi } else { Place::TopLevel },
        object: args.get(0).to_vec(),
        username: user.to_vec(),
        time: cx.now,
        command: if args.is(0, "HELLO") { "hello" } else { "auth" },
        client: Vec::new(),
    });
    Err(CommandError::WrongPass)
}
