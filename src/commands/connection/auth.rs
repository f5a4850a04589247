//! AUTH: proves by password who the client is.
//!
//! Invariant: there is one user, `default`, and its password is `requirepass`; how long the
//! comparison takes does not depend on where the passwords differ.

use std::hint::black_box;

use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::resp::reply::Reply;

/// The only user.
pub(super) const DEFAULT_USER: &[u8] = b"default";
/// The name under which the nodes of a Redis cluster log in to each other.
const INTERNAL_USER: &[u8] = b"internal connection";

pub(super) fn auth(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.len() {
        2 if cx.config.requirepass.is_empty() => return Err(CommandError::NoPasswordConfigured),
        2 => authenticate(cx, DEFAULT_USER, args.get(1))?,
        3 if args.get(1) == INTERNAL_USER => return Err(CommandError::InternalConnection),
        3 => authenticate(cx, args.get(1), args.get(2))?,
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(())
}

/// Logs the client in. `WrongPass` if there is no such user or the password is another one; the
/// client stays what it was.
pub(super) fn authenticate(
    cx: &mut SessionContext<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let secret = &cx.config.requirepass;
    // Without a password set, any will do.
    let matches = secret.is_empty() || equal_in_constant_time(password, secret);
    if user != DEFAULT_USER || !matches {
        cx.stats.totals.acl_denied_auth.add(1);
        return Err(CommandError::WrongPass);
    }
    cx.session.facts.authenticated = true;
    Ok(())
}

/// Compares every byte that was given, whatever the ones before it were. The time depends on the
/// length of `given` alone. `secret` must not be empty.
fn equal_in_constant_time(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (at, byte) in given.iter().enumerate() {
        difference |= usize::from(black_box(byte ^ secret[at % secret.len()]));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_is_equal() {
        assert!(equal_in_constant_time(b"secret", b"secret"));
        for other in [&b""[..], b"s", b"secre", b"secrets", b"secretsecret", b"Secret", b"secreu"] {
            assert!(!equal_in_constant_time(other, b"secret"), "{other:?}");
        }
    }
}
