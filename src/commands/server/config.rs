//! CONFIG: reads, changes and writes the configuration.
//!
//! Invariant: every core has the new configuration before CONFIG SET is answered, and two of them at
//! the same time both count: each core makes the new configuration from its own current one, in the
//! sequencer's order. What is wrong with a request, or cannot be put into effect, is found at home
//! before any core has changed. Source: CONFIG of Redis 8.0.6.

use std::sync::Arc;

use super::{ALWAYS, BASE, OPERATOR};
use crate::base::listening::Change;
use crate::base::sys;
use crate::command::session_context::Request;
use crate::command::whole::{Job, Part};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Handler, Outcome, SessionContext,
    Whole,
};
use crate::commands::container::help;
use crate::config::{Config, ConfigError, SetContext, directives};
use crate::observe::log;
use crate::observe::server::reserved_descriptors;
use crate::resp::reply::Reply;
use crate::tls::Context;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "CONFIG",
    summary: "Holds the commands about the configuration.",
    since: "2.0.0",
    complexity: "Depends on the subcommand",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "GET",
            summary: "Returns the directives that match, with their values.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of directives, for each pattern",
            arity: Arity::AtLeast(3),
            flags: OPERATOR,
            arguments: &[Argument::new("parameter", ArgumentKind::String).multiple()],
            handler: Handler::Session(get),
            ..BASE
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "5.0.0",
            arity: Arity::Exactly(2),
            flags: ALWAYS,
            handler: Handler::Session(config_help),
            ..BASE
        },
        Command {
            name: "RESETSTAT",
            summary: "Sets the counters of INFO back.",
            since: "2.0.0",
            arity: Arity::Exactly(2),
            flags: OPERATOR,
            tips: EVERYWHERE,
            handler: Handler::Whole(Whole { begin: resetstat, gather: acknowledge }),
            ..BASE
        },
        Command {
            name: "REWRITE",
            summary: "Writes the configuration in force into its file.",
            since: "2.8.0",
            arity: Arity::Exactly(2),
            flags: OPERATOR,
            tips: EVERYWHERE,
            handler: Handler::Session(rewrite),
            ..BASE
        },
        Command {
            name: "SET",
            summary: "Changes directives, all or none.",
            since: "2.0.0",
            complexity: "O(N) where N is the number of directives",
            arity: Arity::AtLeast(4),
            flags: OPERATOR,
            tips: EVERYWHERE,
            arguments: &[Argument::block(
                "data",
                &[
                    Argument::new("parameter", ArgumentKind::String),
                    Argument::new("value", ArgumentKind::String),
                ],
            )
            .multiple()],
            handler: Handler::Whole(Whole { begin: set, gather: acknowledge }),
            ..BASE
        },
    ],
    ..BASE
}];

const EVERYWHERE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The core that accepts.
const ACCEPTS: usize = 0;

fn get(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = args.iter_from(2).collect();
    let answers = cx.config.get_matching(&patterns);
    reply.map(answers.len());
    for (name, value) in answers {
        reply.bulk(name);
        reply.bulk(&value);
    }
    Ok(())
}

fn config_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help(
        reply,
        "CONFIG",
        &[
            "GET <pattern> [<pattern> ...]",
            "    Return the directives that match, with their values.",
            "SET <directive> <value> [<directive> <value> ...]",
            "    Change directives, all or none.",
            "RESETSTAT",
            "    Set the counters of INFO back.",
            "REWRITE",
            "    Write the configuration in force into its file.",
        ],
    );
    Ok(())
}

fn resetstat(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view| {
        view.stats.reset();
        Part::Done
    }))
}

fn rewrite(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.server.config_file.is_empty() {
        return Err(CommandError::NoConfigFile);
    }
    *cx.request =
        Some(Request::RewriteConfig { config: cx.config.clone(), users: cx.users.clone() });
    Ok(())
}

fn set(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let mut words = args.iter_from(2);
    let mut pairs = Vec::with_capacity(words.len() / 2);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        pairs.push((name, value));
    }
    let context = SetContext { local: cx.session.facts.local, loading: false };
    let cores = cx.server.stats.len();
    let new = cx.config.set(&pairs, context);
    let new = new.and_then(|new| put_into_effect(cx.config, new, cores, &pairs));
    let Effected { config: new, listening, tls } = new.map_err(|error| cx.refuse(error.reply()))?;
    new.notices(cx.config).into_iter().for_each(log::notice);
    let dir = (new.dir != cx.config.dir).then(|| new.dir.clone());
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        pairs.into_iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    Ok(Arc::new(move |view| {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        match view.config.set(&pairs, context) {
            Ok(new) => {
                if new.requirepass != view.config.requirepass {
                    *view.users = Arc::new(view.users.require_password(&new.requirepass));
                }
                *view.config = Arc::new(match &dir {
                    Some(dir) => new.with_dir(dir),
                    None => new,
                });
                if view.core == ACCEPTS {
                    view.listening.clone_from(&listening);
                }
                if tls.is_some() {
                    view.tls.clone_from(&tls);
                }
                Part::Done
            }
            Err(error) => Part::Failed(String::from_utf8_lossy(&error.reply()).into_owned()),
        }
    }))
}

/// A new configuration that is in force as far as the system is concerned.
struct Effected {
    config: Config,
    /// What is to be listened on, if that changes.
    listening: Option<Arc<Change>>,
    /// What encrypted connections find from now on, if that changes.
    tls: Option<Arc<Context>>,
}

/// Does what a new configuration asks of the system.
fn put_into_effect(
    old: &Config,
    new: Config,
    cores: usize,
    pairs: &[(&[u8], &[u8])],
) -> Result<Effected, ConfigError> {
    let tls = load_tls(old, &new, pairs)?;
    let listening = open_listeners(old, &new)?.map(Arc::new);
    if new.maxclients > old.maxclients {
        let reserved = reserved_descriptors(cores);
        let granted = sys::raise_open_files(u64::from(new.maxclients) + reserved);
        let clients = granted.saturating_sub(reserved);
        if clients < u64::from(new.maxclients) {
            let reason = format!(
                "The operating system is not able to handle the specified number of clients, try with {clients}"
            );
            return Err(ConfigError::failed(b"maxclients", reason));
        }
    }
    if new.dir != old.dir {
        // Last, since it cannot be taken back; one path is looked up, as an operator orders it.
        let entered = sys::enter_dir(&new.dir);
        let dir = entered.map_err(|reason| ConfigError::failed(b"dir", reason))?;
        return Ok(Effected { config: new.with_dir(&dir), listening, tls });
    }
    Ok(Effected { config: new, listening, tls })
}

/// Reads the certificates that a new configuration names: a few small files, as an operator orders it.
/// Those that were named already are read again, since they may have been replaced.
fn load_tls(
    old: &Config,
    new: &Config,
    pairs: &[(&[u8], &[u8])],
) -> Result<Option<Arc<Context>>, ConfigError> {
    let found = pairs.iter().filter_map(|(name, _)| directives::find(name));
    let mut named = found.filter(|found| found.name.starts_with("tls-"));
    let Some(first) = named.next() else { return Ok(None) };
    let is_new = !Context::is_needed(old) || first.name != "tls-port" || named.next().is_some();
    if !Context::is_needed(new) || !is_new {
        return Ok(None);
    }
    let context = Context::load(new).map_err(|_| {
        let reason = "Unable to update TLS configuration. Check server logs.";
        ConfigError::failed(first.name.as_bytes(), reason)
    })?;
    Ok(Some(Arc::new(context)))
}

/// Opens the sockets that a new configuration needs. Hosts' names are not looked up here, since that may
/// take long: they count as unknown.
fn open_listeners(old: &Config, new: &Config) -> Result<Option<Change>, ConfigError> {
    if (old.port, old.tls_port, &old.bind) == (new.port, new.tls_port, &new.bind) {
        return Ok(None);
    }
    const TAKEN: &str = "Unable to listen on this port. Check server logs.";
    let changed = if old.port == new.port { "tls-port" } else { "port" };
    if new.port != 0 && new.port == new.tls_port {
        return Err(ConfigError::failed(changed.as_bytes(), TAKEN));
    }
    let names = |config: &Config| config.listening_names(|_| None);
    let change = Change::open(&names(old), &names(new), new.tcp_backlog);
    change.map(Some).map_err(|(name, error)| {
        let port = name.address.map_or(new.port, |address| address.port());
        let name = name.text;
        let reason = sys::reason(&error);
        log::warning(format!(
            "Warning: Could not create server TCP listening socket {name}:{port}: bind: {reason}"
        ));
        if (old.port, old.tls_port) == (new.port, new.tls_port) {
            let reason = "Failed to bind to specified addresses.";
            return ConfigError::failed(b"bind", reason);
        }
        let directive = if port == new.tls_port { "tls-port" } else { "port" };
        ConfigError::failed(directive.as_bytes(), TAKEN)
    })
}

/// Every core has done its part, or says why not.
fn acknowledge(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let reason_of = |part| if let Part::Failed(reason) = part { Some(reason) } else { None };
    let failed = parts.into_iter().find_map(reason_of);
    match failed {
        Some(reason) => reply.error(reason),
        None => reply.ok(),
    }
    Ok(())
}
