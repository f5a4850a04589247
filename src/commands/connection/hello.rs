//! HELLO: chooses the protocol version, logs in and names the client in one step.
//!
//! Invariant: a HELLO that fails has named nobody and switched nothing; but a login that came before
//! the failure counts, as in stock servers.

use super::auth::authenticate;
use super::client::check_name;
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::observe::server::REDIS_VERSION;
use crate::resp::Proto;
use crate::resp::reply::Reply;

/// What follows the version.
#[derive(Default)]
struct Options<'q> {
    login: Option<(&'q [u8], &'q [u8])>,
    name: Option<&'q [u8]>,
}

pub(super) fn hello(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let proto = if args.len() > 1 { Some(version(args)?) } else { None };
    let options = options(args, reply)?;
    if let Some((user, password)) = options.login {
        authenticate(cx, args, user, password)?;
    }
    if !cx.session.facts.authenticated {
        return Err(CommandError::HelloNoAuth);
    }
    if let Some(name) = options.name {
        cx.session.name = name.to_vec();
    }
    if let Some(proto) = proto {
        cx.session.facts.proto = proto;
        reply.set_proto(proto);
    }
    describe_server(cx, reply);
    Ok(())
}

fn version(args: Args<'_>) -> Result<Proto, CommandError> {
    match args.integer(1) {
        Ok(2) => Ok(Proto::Resp2),
        Ok(3) => Ok(Proto::Resp3),
        Ok(_) => Err(CommandError::NoProto),
        Err(_) => Err(CommandError::ProtocolVersion),
    }
}

fn options<'q>(args: Args<'q>, reply: &mut Reply<'_>) -> Result<Options<'q>, CommandError> {
    let mut options = Options::default();
    let mut at = 2;
    while at < args.len() {
        let behind = args.len() - 1 - at;
        if args.is(at, "AUTH") && behind >= 2 {
            options.login = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && behind >= 1 {
            check_name(args.get(at + 1))?;
            options.name = Some(args.get(at + 1));
            at += 2;
        } else {
            reply.error([b"ERR Syntax error in HELLO option '", args.get(at), b"'"].concat());
            return Err(CommandError::Written);
        }
    }
    Ok(options)
}

fn describe_server(cx: &SessionContext<'_>, reply: &mut Reply<'_>) {
    let proto = match cx.session.facts.proto {
        Proto::Resp2 => 2,
        Proto::Resp3 => 3,
    };
    let mode = if cx.config.cluster_enabled { "cluster" } else { "standalone" };
    let role = if cx.config.replicaof.is_some() { "replica" } else { "master" };
    let zone = &cx.config.availability_zone;
    reply.map(7 + usize::from(!zone.is_empty()));
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(proto);
    reply.bulk(b"id");
    reply.count(cx.session.facts.id);
    reply.bulk(b"mode");
    reply.bulk(mode.as_bytes());
    reply.bulk(b"role");
    reply.bulk(role.as_bytes());
    reply.bulk(b"modules");
    reply.array(0);
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone);
    }
}
