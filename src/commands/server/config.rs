//! CONFIG: reads, changes and writes the configuration.
//!
//! Invariant: every core has the new configuration before CONFIG SET is answered, and two of them at
//! the same time both count: each core makes the new configuration from its own current one, in the
//! sequencer's order. What is wrong with a request, or cannot be put into effect, is found before any
//! core has changed: at home, or beside the cores where files are read. Source: CONFIG of Redis 8.0.6.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::{ALWAYS, BASE, OPERATOR};
use crate::acl::Users;
use crate::base::listening::Change;
use crate::base::sys;
use crate::command::session_context::Request;
use crate::command::whole::{Job, Part, take_over};
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
            handler: Handler::Whole(Whole { begin: set, gather: set_done }),
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

fn resetstat(cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    // What is counted for the process, and not by each core.
    let server = &cx.server;
    server.replication.reset_counts();
    server.primary_link.input_bytes.store(0, Ordering::Relaxed);
    server.persistence.saves.store(0, Ordering::Relaxed);
    server.persistence.snapshots.store(0, Ordering::Relaxed);
    let rewrites = &server.journal.rewrites;
    rewrites.count.store(0, Ordering::Relaxed);
    rewrites.failures.store(0, Ordering::Relaxed);
    Ok(Arc::new(|view| {
        view.stats.reset();
        Part::Done
    }))
}

fn rewrite(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    order_rewrite(cx, false)
}

/// Has the configuration file written, with or without the directives that have their defaults.
pub(super) fn order_rewrite(cx: &mut SessionContext<'_>, writes_defaults: bool) -> Outcome {
    if cx.server.config_file.is_empty() {
        return Err(CommandError::NoConfigFile);
    }
    let (config, users) = (cx.config.clone(), cx.users.clone());
    *cx.request = Some(Request::RewriteConfig { config, users, writes_defaults });
    Ok(())
}

/// A change that an operator orders.
struct Ordered {
    old: Arc<Config>,
    new: Config,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    context: SetContext,
    cores: usize,
}

impl Ordered {
    fn parse(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Ordered, CommandError> {
        if args.len() % 2 == 1 {
            return Err(CommandError::Syntax);
        }
        let mut words = args.iter_from(2);
        let mut pairs = Vec::with_capacity(words.len() / 2);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            pairs.push((name.to_vec(), value.to_vec()));
        }
        let persistence = &cx.server.persistence;
        let loading = persistence.is_loading() || persistence.is_async_loading();
        let context = SetContext { local: cx.session.facts.local, loading };
        let (old, cores) = (cx.config.clone(), cx.server.stats.len());
        match old.set(&borrowed(&pairs), context) {
            Ok(new) => Ok(Ordered { old, new, pairs, context, cores }),
            Err(error) => Err(cx.refuse(error.reply())),
        }
    }

    /// Puts it into effect, as far as the system is concerned; what each core then does.
    fn prepare(self) -> Result<Job, String> {
        let Ordered { old, new, pairs, context, cores } = self;
        let effected = put_into_effect(&old, new, cores, &pairs);
        let effected =
            effected.map_err(|error| String::from_utf8_lossy(&error.reply()).into_owned())?;
        effected.config.notices(&old).into_iter().for_each(log::notice);
        Ok(change_everywhere(&old, effected, pairs, context))
    }
}

fn set(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let ordered = Ordered::parse(cx, args)?;
    if needs_files(&ordered.old, &ordered.new, &ordered.pairs) {
        // No core has anything to do until it is prepared.
        return Ok(Arc::new(|_| Part::Count(0)));
    }
    ordered.prepare().map_err(|text| cx.refuse(text.into_bytes()))
}

/// Every core has done its part, or the change is to be prepared beside the cores first.
fn set_done(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let waits = parts.iter().any(|part| matches!(part, Part::Count(_)));
    if !waits {
        return acknowledge(cx, args, parts, reply);
    }
    match Ordered::parse(cx, args) {
        Ok(ordered) => *cx.request = Some(Request::Prepare(Box::new(|| ordered.prepare()))),
        // Another change has come between.
        Err(_) => reply.error(cx.refusal.take().unwrap_or_default()),
    }
    Ok(())
}

fn borrowed(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
    pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect()
}

/// What each core does with directives that are in force as far as the system is concerned.
fn change_everywhere(
    old: &Config,
    effected: Effected,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    context: SetContext,
) -> Job {
    let Effected { config: new, listening, tls } = effected;
    let dir = (new.dir != old.dir).then(|| new.dir.clone());
    // The certificates were read for this configuration.
    let read_for = tls.is_some().then(|| old.clone());
    let change = move |config: &Config, users: &Arc<Users>| {
        if read_for.as_ref().is_some_and(|old| !config.has_same_tls(old)) {
            return Err(CHANGED_MEANWHILE.to_owned());
        }
        let new = config
            .set(&borrowed(&pairs), context)
            .map_err(|error| String::from_utf8_lossy(&error.reply()).into_owned())?;
        let users = if new.requirepass == config.requirepass {
            users.clone()
        } else {
            Arc::new(users.require_password(&new.requirepass))
        };
        let new = match &dir {
            Some(dir) => new.with_dir(dir),
            None => new,
        };
        Ok((Arc::new(new), users))
    };
    let made = OnceLock::new();
    Arc::new(move |view| match take_over(&made, || change(view.config, view.users)) {
        Ok((config, users)) => {
            (*view.config, *view.users) = (config, users);
            if view.core == ACCEPTS {
                view.listening.clone_from(&listening);
            }
            if tls.is_some() {
                view.tls.clone_from(&tls);
            }
            Part::Done
        }
        Err(reason) => Part::Failed(reason),
    })
}

/// Somebody else has changed them while the files were read.
const CHANGED_MEANWHILE: &str =
    "ERR CONFIG SET failed - tls directives were changed by another client meanwhile";

/// True if putting a new configuration into effect asks the file system for something, which may take
/// as long as it likes.
fn needs_files(old: &Config, new: &Config, pairs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let makes_folder = new.appendonly && !old.appendonly;
    makes_folder || new.dir != old.dir || names_certificates(old, new, pairs).is_some()
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
    pairs: &[(Vec<u8>, Vec<u8>)],
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
    if new.appendonly && !old.appendonly {
        let name = &new.appenddirname;
        sys::make_directory(name).map_err(|reason| {
            let name = String::from_utf8_lossy(name);
            log::warning(format!("Can't open or create append-only dir {name}: {reason}"));
            ConfigError::failed(b"appendonly", "Unable to turn on AOF. Check server logs.")
        })?;
    }
    if new.dir != old.dir {
        // Last, since it cannot be taken back.
        let entered = sys::enter_dir(&new.dir);
        let dir = entered.map_err(|reason| ConfigError::failed(b"dir", reason))?;
        return Ok(Effected { config: new.with_dir(&dir), listening, tls });
    }
    Ok(Effected { config: new, listening, tls })
}

/// The first of the directives that say which certificates are used, if these are to be read: also if
/// they were named already, since they may have been replaced.
fn names_certificates(
    old: &Config,
    new: &Config,
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> Option<&'static str> {
    let found = pairs.iter().filter_map(|(name, _)| directives::find(name));
    let mut named = found.filter(|found| found.name.starts_with("tls-"));
    let first = named.next()?;
    let is_new = !Context::is_needed(old) || first.name != "tls-port" || named.next().is_some();
    (Context::is_needed(new) && is_new).then_some(first.name)
}

/// Reads the certificates that a new configuration names.
fn load_tls(
    old: &Config,
    new: &Config,
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> Result<Option<Arc<Context>>, ConfigError> {
    let Some(directive) = names_certificates(old, new, pairs) else { return Ok(None) };
    let context = Context::load(new).map_err(|_| {
        let reason = "Unable to update TLS configuration. Check server logs.";
        ConfigError::failed(directive.as_bytes(), reason)
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
    let change = Change::open(&names(old), &names(new), new.socket_options());
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
