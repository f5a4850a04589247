//! ROLE: whether the server is a primary, and who its replicas are.
//!
//! Invariant: the core that keeps the stream has all replicas among its clients, and tells of them in
//! its part. Source: ROLE of Redis 8.0.6.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{BASE, replicaof};
use crate::client::Verdict;
use crate::client::replica::Listed;
use crate::command::whole::{CoreView, Job, Part};
use crate::command::{
    Acl, Args, Arity, Command, CommandError, Flags, Handler, Outcome, SessionContext, Whole,
};
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "ROLE",
    summary: "Tells whether the server is a primary or a replica, and of whom.",
    since: "2.8.12",
    arity: Arity::Exactly(1),
    flags: Flags::FAST.with(Flags::LOADING).with(Flags::NOSCRIPT).with(Flags::STALE),
    acl: Acl::ADMIN.with(Acl::DANGEROUS),
    handler: Handler::Whole(Whole { begin: list_replicas, gather: role }),
    ..BASE
}];

/// Begins a command that tells of the replicas.
pub fn list_replicas(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view: &mut CoreView<'_>| {
        let listed = replicas_of(view);
        if listed.is_empty() { Part::Done } else { Part::Replicas(listed) }
    }))
}

/// The replicas among the clients of a core.
pub fn replicas_of(view: &mut CoreView<'_>) -> Vec<Listed> {
    let (mut listed, now) = (Vec::new(), view.now);
    view.clients.for_each(&mut |session, _| {
        listed.extend(Listed::of(session, now));
        Verdict::Keep
    });
    listed
}

/// The replicas that the parts of a command tell of.
pub fn listed(parts: Vec<Part>) -> Vec<Listed> {
    let of_part = |part| if let Part::Replicas(listed) = part { listed } else { Vec::new() };
    parts.into_iter().flat_map(of_part).collect()
}

fn role(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if let Some(primary) = &cx.config.replicaof {
        replicaof::role(cx, primary, reply);
        return Ok(());
    }
    let mut replicas = listed(parts);
    replicas.retain(|one| one.state == "online");
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(cx.server.replication.offset.load(Relaxed) as i64);
    reply.array(replicas.len());
    for one in replicas {
        reply.array(3);
        reply.bulk(&one.address);
        reply.bulk_integer(one.port);
        reply.bulk_integer(one.acked as i64);
    }
    Ok(())
}
