//! ACL SETUSER, DELUSER and LOAD: a registry takes the place of another on every core.
//!
//! Invariant: cores make such changes in one order, so each starts from the same registry; whoever
//! is first makes the new one, and the others take it over.

use std::sync::{Arc, OnceLock};

use super::defaults;
use crate::acl::file::FileUsers;
use crate::acl::rules::has_blanks;
use crate::acl::users::DEFAULT_NAME;
use crate::acl::{SetUserError, UserRef, Users};
use crate::client::{ConnectionTable, Verdict};
use crate::command::whole::{Job, Part, take_over};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::pubsub::Kind;
use crate::resp::reply::Reply;

pub(super) fn setuser_begin(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
) -> Result<Job, CommandError> {
    let name = args.get(2).to_vec();
    if has_blanks(&name) {
        return Err(CommandError::UsernameBlanks);
    }
    let defaults = defaults(cx.config);
    let rules: Vec<Vec<u8>> = args.iter_from(3).map(<[u8]>::to_vec).collect();
    let apply = move |users: &Users| {
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        users.set_user(&name, &rules, defaults)
    };
    apply(cx.users).map_err(|error| cx.refuse(reply_of(&error)))?;
    let (me, made) = (cx.session.facts.id, OnceLock::new());
    Ok(Arc::new(move |view| match shared(&made, || apply(view.users)) {
        Ok(users) => {
            let old = std::mem::replace(view.users, users);
            close_listeners(view.clients, (&old, view.users), me);
            Part::Done
        }
        Err(error) => Part::Failed(String::from_utf8_lossy(&reply_of(&error)).into_owned()),
    }))
}

pub(super) fn setuser_gather(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    match parts.into_iter().next() {
        Some(Part::Failed(reason)) => reply.error(reason),
        _ => reply.ok(),
    }
    Ok(())
}

pub(super) fn deluser_begin(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
) -> Result<Job, CommandError> {
    let names: Vec<Vec<u8>> = args.iter_from(2).map(<[u8]>::to_vec).collect();
    if names.iter().any(|name| name == DEFAULT_NAME) {
        return Err(CommandError::DefaultUserStays);
    }
    let (me, made) = (cx.session.facts.id, OnceLock::new());
    Ok(Arc::new(move |view| {
        let without = |users: &Users| {
            let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let (users, deleted) = users.delete(&names);
            (Arc::new(users), deleted)
        };
        let (users, deleted) = take_over(&made, || without(view.users));
        *view.users = users;
        close_deleted(view.clients, view.users, me);
        Part::Count(deleted)
    }))
}

pub(super) fn deluser_gather(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    // Every core has deleted the same users.
    let deleted = parts.first().map_or(0, |part| if let Part::Count(n) = part { *n } else { 0 });
    reply.count(deleted);
    Ok(())
}

/// Has the users of an ACL file take the place of all others. `me` is the client that asked.
pub fn install(loaded: FileUsers, me: u64) -> Job {
    let made = OnceLock::new();
    Arc::new(move |view| {
        let users = take_over(&made, || Arc::new(view.users.replace(loaded.clone())));
        let old = std::mem::replace(view.users, users);
        close_deleted(view.clients, view.users, me);
        close_listeners(view.clients, (&old, view.users), me);
        Part::Done
    })
}

/// Closes the clients of this core whose user is no more. The one that asks, `me`, gets its reply
/// first.
fn close_deleted(clients: &mut dyn ConnectionTable, users: &Users, me: u64) {
    clients.for_each(&mut |session, _| {
        if users.get(session.facts.user).is_some() {
            return Verdict::Keep;
        }
        if session.facts.id == me {
            session.close_after_reply = true;
            return Verdict::Keep;
        }
        Verdict::Kill
    });
}

/// Closes the clients of this core that listen to what their user may use no more. The one that asks,
/// `me`, gets its reply first.
fn close_listeners(clients: &mut dyn ConnectionTable, (old, users): (&Users, &Users), me: u64) {
    let lost = |user: UserRef| {
        let (old, new) = (old.get(user)?, users.get(user)?);
        (!new.user.keeps_channels_of(&old.user)).then_some(&new.user)
    };
    clients.for_each(&mut |session, _| {
        let Some(names) = session.subscriptions.as_ref().filter(|names| !names.is_empty()) else {
            return Verdict::Keep;
        };
        let Some(user) = lost(session.facts.user) else { return Verdict::Keep };
        let all_allowed = Kind::ALL.into_iter().all(|kind| {
            let is_pattern = kind == Kind::Pattern;
            names.names(kind).all(|name| user.allows_channel(name, is_pattern))
        });
        if !all_allowed && session.facts.id == me {
            session.close_after_reply = true;
            return Verdict::Keep;
        }
        if all_allowed { Verdict::Keep } else { Verdict::Kill }
    });
}

fn shared(
    made: &OnceLock<Result<Arc<Users>, SetUserError>>,
    make: impl FnOnce() -> Result<Users, SetUserError>,
) -> Result<Arc<Users>, SetUserError> {
    take_over(made, || make().map(Arc::new))
}

fn reply_of(error: &SetUserError) -> Vec<u8> {
    [b"ERR ", &error.text()[..]].concat()
}
