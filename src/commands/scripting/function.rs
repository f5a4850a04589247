//! FUNCTION: the libraries of functions that the server knows.
//!
//! Invariant: a library is judged at home, where its code runs once; every core then applies the same
//! change in one order, so that all agree on what collides. Source: the FUNCTION pages of Redis 8.0.

use std::sync::Arc;

use super::scan;
use crate::base::glob::stringmatch;
use crate::command::catalog::CommandTable;
use crate::command::whole::{Job, Part, Whole};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::commands::container::{self, wrong_form};
use crate::commands::generic::dump::checks;
use crate::persist::dump;
use crate::resp::reply::Reply;
use crate::script::library::{self, Heading};
use crate::script::{Change, Declared, Functions, Library, Policy, RunningFunction, ScriptFlags};

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "FUNCTION",
    summary: "The libraries of functions that the server knows.",
    since: "7.0.0",
    complexity: "Depends on the subcommand.",
    arity: Arity::AtLeast(2),
    acl: Acl::NONE,
    subcommands: &[
        Command {
            name: "DELETE",
            summary: "Deletes a library and its functions.",
            arity: Arity::Exactly(3),
            flags: WRITES,
            tips: EVERYWHERE,
            arguments: &[Argument::new("library-name", ArgumentKind::String)],
            handler: Handler::Whole(Whole { begin: delete, gather: changed }),
            ..BASE
        },
        Command {
            name: "DUMP",
            summary: "Returns all libraries in a form that can be restored.",
            complexity: "O(N), where N is the number of libraries",
            arity: Arity::Exactly(2),
            flags: Flags::NOSCRIPT,
            handler: Handler::Session(dump_libraries),
            ..BASE
        },
        Command {
            name: "FLUSH",
            summary: "Deletes all libraries.",
            complexity: "O(N), where N is the number of functions",
            arity: Arity::AtLeast(2),
            flags: WRITES,
            tips: EVERYWHERE,
            arguments: &[Argument::one_of(
                "flush-type",
                &[Argument::token("async", "ASYNC"), Argument::token("sync", "SYNC")],
            )
            .optional()],
            handler: Handler::Whole(Whole { begin: flush, gather: changed }),
            ..BASE
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            arity: Arity::Exactly(2),
            flags: Flags::LOADING.with(Flags::STALE),
            handler: Handler::Session(help),
            ..BASE
        },
        Command {
            name: "KILL",
            summary: "Ends the function that runs.",
            arity: Arity::Exactly(2),
            flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
            tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
            handler: Handler::Session(kill),
            ..BASE
        },
        Command {
            name: "LIST",
            summary: "Lists libraries and their functions.",
            complexity: "O(N), where N is the number of functions",
            arity: Arity::AtLeast(2),
            flags: Flags::NOSCRIPT,
            tips: &["nondeterministic_output_order"],
            arguments: &[
                Argument::new("library-name-pattern", ArgumentKind::String)
                    .after("LIBRARYNAME")
                    .optional(),
                Argument::token("withcode", "WITHCODE").optional(),
            ],
            handler: Handler::Session(list),
            ..BASE
        },
        Command {
            name: "LOAD",
            summary: "Makes a library known to the server.",
            complexity: "Depends on the code of the library, which runs once.",
            arity: Arity::AtLeast(3),
            flags: WRITES.with(Flags::DENYOOM),
            tips: EVERYWHERE,
            arguments: &[
                Argument::token("replace", "REPLACE").optional(),
                Argument::new("function-code", ArgumentKind::String),
            ],
            handler: Handler::Whole(Whole { begin: load, gather: loaded }),
            ..BASE
        },
        Command {
            name: "RESTORE",
            summary: "Takes up the libraries of a dump.",
            complexity: "O(N), where N is the number of libraries",
            arity: Arity::AtLeast(3),
            flags: WRITES.with(Flags::DENYOOM),
            tips: EVERYWHERE,
            arguments: &[
                Argument::new("serialized-value", ArgumentKind::String),
                Argument::one_of(
                    "policy",
                    &[
                        Argument::token("flush", "FLUSH"),
                        Argument::token("append", "APPEND"),
                        Argument::token("replace", "REPLACE"),
                    ],
                )
                .optional(),
            ],
            handler: Handler::Whole(Whole { begin: restore, gather: changed }),
            ..BASE
        },
        Command {
            name: "STATS",
            summary: "Says what function runs, and how many there are.",
            arity: Arity::Exactly(2),
            flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            handler: Handler::Whole(Whole { begin: ask_running, gather: stats }),
            ..BASE
        },
    ],
    ..BASE
}];

const BASE: Command = Command {
    group: Group::Scripting,
    since: "7.0.0",
    complexity: "O(1)",
    acl: Acl::SCRIPTING,
    ..Command::BASE
};
const WRITES: Flags = Flags::NOSCRIPT.with(Flags::WRITE);
const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

/// What has every core apply a change.
fn everywhere(change: Change) -> Job {
    Arc::new(move |view| match view.functions.apply(&change) {
        Ok(()) => Part::Done,
        Err(text) => Part::Failed(String::from_utf8_lossy(&text).into_owned()),
    })
}

/// The error that a change has come to, which is the same on all cores.
fn failure(parts: Vec<Part>) -> Option<String> {
    match parts.into_iter().next() {
        Some(Part::Failed(reason)) => Some(reason),
        _ => None,
    }
}

fn changed(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    match failure(parts) {
        Some(reason) => reply.error(reason),
        None => reply.ok(),
    }
    Ok(())
}

fn load(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let last = args.len() - 1;
    for at in 2..last {
        if !args.is(at, "REPLACE") {
            return Err(cx.refuse([b"ERR Unknown option given: ", args.get(at)].concat()));
        }
    }
    let (text, replace) = (args.get(last), last > 2);
    let heading = library::heading(text).map_err(|error| cx.refuse(error))?;
    if !replace && cx.functions.has_library(&heading.name) {
        return Err(cx.refuse(library::exists(&heading.name)));
    }
    let library = prepare(cx, text, heading)?;
    Ok(everywhere(Change::Load { library, replace }))
}

/// Runs the code of a library once.
fn prepare(
    cx: &mut SessionContext<'_>,
    text: &[u8],
    heading: Heading,
) -> Result<Arc<Library>, CommandError> {
    let table = cx.table;
    let prepared = cx.functions.prepare(text, heading, |code| scan::reach_of_library(table, code));
    prepared.map(Arc::new).map_err(|error| cx.refuse(error))
}

/// Looks whether a library of a file could be loaded if there were no other. An error is the line of
/// a reply.
pub fn try_text(
    functions: &mut Functions,
    table: &dyn CommandTable,
    text: &[u8],
) -> Result<(), Vec<u8>> {
    let heading = library::heading(text)?;
    functions.prepare(text, heading, |code| scan::reach(table, code)).map(drop)
}

/// Loads a library of a file. An error is the line of a reply.
pub fn load_text(
    functions: &mut Functions,
    table: &dyn CommandTable,
    text: &[u8],
    replace: bool,
) -> Result<(), Vec<u8>> {
    let heading = library::heading(text)?;
    let library = functions.prepare(text, heading, |code| scan::reach(table, code))?;
    functions.apply(&Change::Load { library: Arc::new(library), replace })
}

fn loaded(
    _cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    match (failure(parts), library::heading(args.get(args.len() - 1))) {
        (Some(reason), _) => reply.error(reason),
        (None, Ok(heading)) => reply.bulk(&heading.name),
        (None, Err(error)) => reply.error(error),
    }
    Ok(())
}

fn delete(_cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    Ok(everywhere(Change::Delete(args.get(2).to_vec())))
}

/// Deletes in one step, whichever way is asked for: what a core's interpreter holds is bounded.
fn flush(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if args.len() > 3 {
        return Err(cx.refuse(wrong_form(args)));
    }
    if args.len() == 3 && !args.is(2, "SYNC") && !args.is(2, "ASYNC") {
        return Err(cx.refuse(b"ERR FUNCTION FLUSH only supports SYNC|ASYNC option".to_vec()));
    }
    Ok(everywhere(Change::Flush))
}

fn dump_libraries(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let texts = cx.functions.all().map(|library| &*library.code);
    reply.bulk(&dump::encode_libraries(texts, cx.config.rdbcompression));
    Ok(())
}

fn restore(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let policy = match args.len() {
        3 => Policy::Append,
        4 if args.is(3, "APPEND") => Policy::Append,
        4 if args.is(3, "REPLACE") => Policy::Replace,
        4 if args.is(3, "FLUSH") => Policy::Flush,
        4 => {
            let text =
                b"ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
            return Err(cx.refuse(text.to_vec()));
        }
        _ => return Err(cx.refuse(wrong_form(args))),
    };
    let Ok(payload) = dump::check(args.get(2), checks(cx.config, cx.server)) else {
        return Err(cx.refuse(b"ERR DUMP payload version or checksum are wrong".to_vec()));
    };
    let texts = dump::decode_libraries(payload.bytes);
    let texts = texts.map_err(|error| cx.refuse([b"ERR ", error.as_bytes()].concat()))?;
    let mut together = library::Together::default();
    for text in texts {
        let heading = library::heading(&text).map_err(|error| cx.refuse(error))?;
        together.has_room_for(&heading).map_err(|error| cx.refuse(error))?;
        let library = prepare(cx, &text, heading)?;
        together.add(library).map_err(|error| cx.refuse(error))?;
    }
    let libraries = together.into_libraries();
    Ok(everywhere(Change::Restore { libraries, policy }))
}

fn list(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < args.len() {
        if !with_code && args.is(at, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(at, "LIBRARYNAME") {
            at += 1;
            let Some(name) = args.opt(at) else {
                reply.error("ERR library name argument was not given");
                return Ok(());
            };
            pattern = Some(name);
        } else {
            // Line ends at the end of the word are shown as well.
            let shown = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
            let word: Vec<u8> = args.get(at).iter().map(shown).collect();
            reply.error([b"ERR Unknown argument ", &word[..]].concat());
            return Ok(());
        }
        at += 1;
    }
    let is_shown =
        |library: &Library| pattern.is_none_or(|pattern| stringmatch(pattern, &library.name, true));
    let shown: Vec<&Arc<Library>> = cx.functions.all().filter(|one| is_shown(one)).collect();
    reply.array(shown.len());
    for library in shown {
        write_library(library, with_code, reply);
    }
    Ok(())
}

fn write_library(library: &Library, with_code: bool, reply: &mut Reply<'_>) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for Declared { name, description, flags } in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"description");
        match description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        let set = ScriptFlags::NAMES.iter().filter(|(flag, _)| flags.has(*flag));
        reply.set(set.clone().count());
        set.for_each(|(_, text)| reply.simple(text));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

fn kill(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    super::kill(cx, true, reply);
    Ok(())
}

fn ask_running(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view| match view.functions.running() {
        Some(running) => Part::Running(running.clone()),
        None => Part::Done,
    }))
}

fn stats(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let running = parts.into_iter().find_map(|part| match part {
        Part::Running(running) => Some(running),
        _ => None,
    });
    if running.is_none() && cx.server.busy.any() && !cx.server.busy.held().1 {
        return Err(CommandError::BusyScript);
    }
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        Some(RunningFunction { name, words, began }) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&name);
            reply.bulk(b"command");
            reply.array(words.len());
            words.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(cx.now.0 - began.0);
        }
        None => reply.null(),
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(cx.functions.all().len() as i64);
    reply.bulk(b"functions_count");
    reply.integer(cx.functions.len() as i64);
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "FUNCTION", HELP);
    Ok(())
}

/// What clients print; in our own words.
const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Make a library known; its first line names it: #!lua name=<LIBRARY NAME>.",
    "DELETE <LIBRARY NAME>",
    "    Delete a library with its functions.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return the libraries (whose names match the pattern) with their functions (and code).",
    "STATS",
    "    Return the function that runs, and counts of libraries and functions.",
    "KILL",
    "    End the function that runs.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "DUMP",
    "    Return all libraries in the form that RESTORE takes.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Take up the libraries of a dump; those that are there go (FLUSH), stay (APPEND, the default;",
    "    one of the same name is an error), or are replaced where names are the same (REPLACE).",
];
