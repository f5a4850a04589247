//! ACL CAT, GETUSER, LIST, USERS, WHOAMI: what there is.
//!
//! Invariant: nothing here changes anything; the registry is that of the client's home core.

use super::{refuse, refuse_form};
use crate::acl::Selector;
use crate::command::{Acl, Args, Listed, Outcome, SessionContext};
use crate::commands::container::quoted;
use crate::resp::reply::Reply;

pub(super) fn cat(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let categories = cx.users.catalogue().categories();
    match args.len() {
        2 => {
            reply.array(categories.len());
            categories.for_each(|name| reply.bulk(name.as_bytes()));
            Ok(())
        }
        3 => commands_of(cx, args.get(2), reply),
        _ => refuse_form(args, reply),
    }
}

fn commands_of(cx: &SessionContext<'_>, category: &[u8], reply: &mut Reply<'_>) -> Outcome {
    let same = |one: &&(Acl, &str)| one.1.as_bytes().eq_ignore_ascii_case(category);
    let Some((category, _)) = Acl::NAMES.iter().find(same) else {
        return refuse(reply, &[b"ERR Unknown category '", quoted(category), b"'"]);
    };
    let is_in = |one: &Listed| one.command.acl.derived(one.command.flags).has(*category);
    let mut names = Vec::new();
    for command in cx.table.commands() {
        let parts = cx.table.subcommands(command);
        let all = std::iter::once(command).chain(parts);
        names.extend(all.filter(is_in).map(|one| one.full_name));
    }
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

pub(super) fn getuser(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let Some(named) = cx.users.find(args.get(2)) else {
        reply.null();
        return Ok(());
    };
    let user = &named.user;
    let [root, others @ ..] = user.selectors() else { return Ok(()) };
    reply.map(3 + fields_of(root));
    reply.bulk(b"flags");
    reply.set(user.flags().count());
    user.flags().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().iter().for_each(|hash| reply.bulk(hash.digits().as_bytes()));
    describe(root, reply);
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(fields_of(selector));
        describe(selector, reply);
    }
    Ok(())
}

pub(super) fn list(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(cx.users.count());
    for named in cx.users.iter() {
        reply.bulk(&named.user.line(&named.name));
    }
    Ok(())
}

pub(super) fn users(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    reply.array(cx.users.count());
    cx.users.iter().for_each(|named| reply.bulk(&named.name));
    Ok(())
}

pub(super) fn whoami(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    reply.bulk(cx.session.user_name());
    Ok(())
}

/// How many fields `describe` writes.
fn fields_of(selector: &Selector) -> usize {
    3 + usize::from(selector.databases_text().is_some())
}

/// Databases are a field only where they are restricted: clients of Redis know none.
fn describe(selector: &Selector, reply: &mut Reply<'_>) {
    reply.bulk(b"commands");
    reply.bulk(&selector.commands_text());
    reply.bulk(b"keys");
    reply.bulk(&selector.keys_text());
    reply.bulk(b"channels");
    reply.bulk(&selector.channels_text());
    if let Some(databases) = selector.databases_text() {
        reply.bulk(b"databases");
        reply.bulk(&databases);
    }
}
