//! MODULE: there are no modules, and none can be loaded.
//!
//! Invariant: the answers are those of a stock server that has none. Source: MODULE of Redis 8.0.6.

use super::{ALWAYS, BASE};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext,
};
use crate::commands::container::help;
use crate::observe::log;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "MODULE",
    summary: "Holds the commands about modules.",
    since: "4.0.0",
    complexity: "Depends on the subcommand",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "5.0.0",
            arity: Arity::Exactly(2),
            flags: ALWAYS,
            handler: Handler::Session(module_help),
            ..BASE
        },
        Command {
            name: "LIST",
            summary: "Lists the modules that are loaded.",
            since: "4.0.0",
            complexity: "O(N) where N is the number of modules",
            arity: Arity::Exactly(2),
            flags: Flags::ADMIN.with(Flags::NOSCRIPT),
            tips: &["nondeterministic_output_order"],
            handler: Handler::Session(list),
            ..BASE
        },
        Command {
            name: "LOAD",
            summary: "Would load a module.",
            since: "4.0.0",
            arity: Arity::AtLeast(3),
            flags: CHANGES,
            arguments: &[
                Argument::new("path", ArgumentKind::String),
                Argument::new("arg", ArgumentKind::String).optional().multiple(),
            ],
            handler: Handler::Session(load),
            ..BASE
        },
        Command {
            name: "LOADEX",
            summary: "Would load a module with directives of its own.",
            since: "7.0.0",
            arity: Arity::AtLeast(3),
            flags: CHANGES,
            arguments: &[
                Argument::new("path", ArgumentKind::String),
                Argument::block(
                    "configs",
                    &[
                        Argument::new("name", ArgumentKind::String),
                        Argument::new("value", ArgumentKind::String),
                    ],
                )
                .after("CONFIG")
                .optional()
                .multiple_token(),
                Argument::new("args", ArgumentKind::String).after("ARGS").optional().multiple(),
            ],
            handler: Handler::Session(load),
            ..BASE
        },
        Command {
            name: "UNLOAD",
            summary: "Would unload a module.",
            since: "4.0.0",
            arity: Arity::Exactly(3),
            flags: CHANGES,
            arguments: &[Argument::new("name", ArgumentKind::String)],
            handler: Handler::Session(unload),
            ..BASE
        },
    ],
    ..BASE
}];

const CHANGES: Flags =
    Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING).with(Flags::PROTECTED);

fn module_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help(
        reply,
        "MODULE",
        &[
            "LIST",
            "    List the modules that are loaded: none.",
            "LOAD <path> [<arg> ...]",
            "    Modules cannot be loaded here; this is an error.",
            "LOADEX <path> [CONFIG <name> <value> ...] [ARGS <arg> ...]",
            "    Modules cannot be loaded here; this is an error.",
            "UNLOAD <name>",
            "    Modules cannot be loaded here; this is an error.",
        ],
    );
    Ok(())
}

fn list(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(0);
    Ok(())
}

fn load(_cx: &mut SessionContext<'_>, args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    let path = String::from_utf8_lossy(args.get(2)).into_owned();
    log::warning(format!("Module {path} failed to load: this server has no modules"));
    Err(CommandError::ModuleNotLoaded)
}

fn unload(_cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    Err(CommandError::ModuleNotFound)
}
