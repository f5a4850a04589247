//! SCRIPT: the scripts that the server knows.

use std::sync::Arc;

use super::bring;
use crate::command::whole::{Job, Part, Whole};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::commands::container;
use crate::resp::reply::Reply;
use crate::script::Sha;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "SCRIPT",
    summary: "The scripts that the server knows.",
    since: "2.6.0",
    complexity: "Depends on the subcommand.",
    arity: Arity::AtLeast(2),
    acl: Acl::NONE,
    subcommands: &[
        Command {
            name: "DEBUG",
            summary: "Sets the mode of the debugger, which there is none of.",
            since: "3.2.0",
            arity: Arity::Exactly(3),
            flags: Flags::NOSCRIPT,
            arguments: &[Argument::one_of(
                "mode",
                &[
                    Argument::token("yes", "YES"),
                    Argument::token("sync", "SYNC"),
                    Argument::token("no", "NO"),
                ],
            )],
            handler: Handler::Session(debug),
            ..BASE
        },
        Command {
            name: "EXISTS",
            summary: "Says which scripts the server knows.",
            since: "2.6.0",
            complexity: "O(N), where N is the number of scripts asked for",
            arity: Arity::AtLeast(3),
            flags: Flags::NOSCRIPT,
            tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
            arguments: &[Argument::new("sha1", ArgumentKind::String).multiple()],
            handler: Handler::Session(exists),
            ..BASE
        },
        Command {
            name: "FLUSH",
            summary: "Forgets all scripts.",
            since: "2.6.0",
            complexity: "O(N), where N is the number of scripts",
            arity: Arity::AtLeast(2),
            flags: Flags::NOSCRIPT,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            arguments: &[Argument::one_of(
                "flush-type",
                &[Argument::token("async", "ASYNC"), Argument::token("sync", "SYNC")],
            )
            .since("6.2.0")
            .optional()],
            handler: Handler::Whole(Whole::acknowledged(flush)),
            ..BASE
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "5.0.0",
            arity: Arity::Exactly(2),
            flags: Flags::LOADING.with(Flags::STALE),
            handler: Handler::Session(help),
            ..BASE
        },
        Command {
            name: "KILL",
            summary: "Ends the script that runs.",
            since: "2.6.0",
            arity: Arity::Exactly(2),
            flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            handler: Handler::Session(kill),
            ..BASE
        },
        Command {
            name: "LOAD",
            summary: "Makes a script known to the server.",
            since: "2.6.0",
            complexity: "O(N), where N is the length of the script in bytes",
            arity: Arity::Exactly(3),
            flags: Flags::NOSCRIPT.with(Flags::STALE),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            arguments: &[Argument::new("script", ArgumentKind::String)],
            handler: Handler::Whole(Whole { begin: load, gather: loaded }),
            ..BASE
        },
        Command {
            name: "SHOW",
            summary: "Shows the text of a script.",
            since: "8.0.0",
            arity: Arity::Exactly(3),
            flags: Flags::NOSCRIPT.with(Flags::STALE),
            arguments: &[Argument::new("sha1", ArgumentKind::String)],
            handler: Handler::Session(show),
            ..BASE
        },
    ],
    ..BASE
}];

const BASE: Command = Command { group: Group::Scripting, acl: Acl::SCRIPTING, ..Command::BASE };

fn debug(_cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(2, "NO") {
        reply.ok();
    } else if args.is(2, "YES") || args.is(2, "SYNC") {
        reply.error("ERR SCRIPT DEBUG is not supported: there is no debugger");
    } else {
        reply.error("ERR Use SCRIPT DEBUG YES/SYNC/NO");
    }
    Ok(())
}

fn exists(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 2);
    for sha in args.iter_from(2) {
        reply.integer(i64::from(cx.scripts.find(sha).is_some()));
    }
    Ok(())
}

/// Forgets in one step, whichever way is asked for: what a core's interpreter holds is bounded.
fn flush(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let is_mode = args.is(2, "SYNC") || args.is(2, "ASYNC");
    if args.len() > 3 || args.len() == 3 && !is_mode {
        return Err(cx.refuse(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option".to_vec()));
    }
    Ok(Arc::new(|view| {
        view.scripts.flush();
        Part::Done
    }))
}

fn kill(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    super::kill(cx, false, reply);
    Ok(())
}

fn load(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    bring(cx.scripts, cx.table, args.get(2), false, cx.now).map_err(|text| cx.refuse(text))
}

fn loaded(
    _cx: &mut SessionContext<'_>,
    args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    reply.bulk(&Sha::of(args.get(2)).hex());
    Ok(())
}

fn show(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sha = args.get(2);
    let Some(id) = cx.scripts.find(sha) else { return Err(CommandError::NoScript) };
    reply.bulk(&cx.scripts.get(id).body);
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "SCRIPT", HELP);
    Ok(())
}

/// What clients print; compared with a stock server's word for word.
const HELP: &[&str] = &[
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
];
