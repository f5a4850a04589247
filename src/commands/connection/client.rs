//! CLIENT: its records, and the subcommands that concern only the client that sends them.
//!
//! Invariant: names and library names never break a line of CLIENT LIST or its words.

use super::client_arguments;
use super::client_kill;
use super::client_list;
use super::client_pause;
use super::client_tracking;
use super::client_unblock;
use crate::base::words::c_string;
use crate::client::{ReplyMode, info};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext, Whole,
};
use crate::commands::container;
use crate::resp::reply::Reply;

/// What most subcommands are.
const SESSION_FLAGS: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);
/// What the subcommands are that concern other clients.
const ADMIN_FLAGS: Flags = SESSION_FLAGS.with(Flags::ADMIN);
/// The container's subcommands.
pub(super) const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "CAPA",
        summary: "States what the client is able to do.",
        since: "8.0.0",
        group: Group::Connection,
        arity: Arity::AtLeast(3),
        flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::ALLOW_BUSY),
        acl: Acl::CONNECTION,
        arguments: &[Argument::new("capability", ArgumentKind::String).multiple()],
        handler: Handler::Session(capa),
        ..Command::BASE
    },
    Command {
        name: "CACHING",
        summary: "Says whether the keys of the next command are tracked.",
        since: "6.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[Argument::one_of(
            "mode",
            &[Argument::token("yes", "YES"), Argument::token("no", "NO")],
        )],
        handler: Handler::Session(client_tracking::caching),
        ..Command::BASE
    },
    Command {
        name: "GETNAME",
        summary: "Returns the name of the connection.",
        since: "2.6.9",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        handler: Handler::Session(getname),
        ..Command::BASE
    },
    Command {
        name: "GETREDIR",
        summary: "Returns which client gets the invalidation messages of this one.",
        since: "6.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        handler: Handler::Session(client_tracking::getredir),
        ..Command::BASE
    },
    Command {
        name: "HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.with(Flags::STALE),
        acl: Acl::CONNECTION,
        handler: Handler::Session(help),
        ..Command::BASE
    },
    Command {
        name: "ID",
        summary: "Returns the number of the connection.",
        since: "5.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        handler: Handler::Session(id),
        ..Command::BASE
    },
    Command {
        name: "IMPORT-SOURCE",
        summary: "Marks the connection as one that imports data.",
        since: "8.1.0",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[Argument::one_of(
            "enabled",
            &[Argument::token("on", "ON"), Argument::token("off", "OFF")],
        )],
        handler: Handler::Session(import_source),
        ..Command::BASE
    },
    Command {
        name: "INFO",
        summary: "Describes this connection.",
        since: "6.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        tips: &["nondeterministic_output"],
        handler: Handler::Session(info),
        ..Command::BASE
    },
    Command {
        name: "KILL",
        summary: "Closes the connections that match.",
        since: "2.4.0",
        group: Group::Connection,
        complexity: "O(N), where N is the number of connections",
        arity: Arity::AtLeast(3),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        arguments: client_arguments::KILL,
        handler: Handler::Whole(Whole {
            begin: client_kill::kill_begin,
            gather: client_kill::kill_gather,
        }),
        ..Command::BASE
    },
    Command {
        name: "LIST",
        summary: "Describes the connections that match.",
        since: "2.4.0",
        group: Group::Connection,
        complexity: "O(N), where N is the number of connections",
        arity: Arity::AtLeast(2),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        tips: &["nondeterministic_output"],
        arguments: client_arguments::LIST,
        handler: Handler::Whole(Whole {
            begin: client_list::list_begin,
            gather: client_list::list_gather,
        }),
        ..Command::BASE
    },
    Command {
        name: "NO-EVICT",
        summary: "Exempts the connection from eviction for its memory.",
        since: "7.0.0",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[Argument::one_of(
            "enabled",
            &[Argument::token("on", "ON"), Argument::token("off", "OFF")],
        )],
        handler: Handler::Session(no_evict),
        ..Command::BASE
    },
    Command {
        name: "NO-TOUCH",
        summary: "Leaves the access times of the keys that the connection reads as they are.",
        since: "7.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[Argument::one_of(
            "enabled",
            &[Argument::token("on", "ON"), Argument::token("off", "OFF")],
        )],
        handler: Handler::Session(no_touch),
        ..Command::BASE
    },
    Command {
        name: "PAUSE",
        summary: "Holds back the commands of all clients for a while.",
        since: "3.0.0",
        group: Group::Connection,
        arity: Arity::AtLeast(3),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[
            Argument::new("timeout", ArgumentKind::Integer),
            Argument::one_of(
                "mode",
                &[Argument::token("write", "WRITE"), Argument::token("all", "ALL")],
            )
            .optional()
            .since("6.2.0"),
        ],
        handler: Handler::Whole(Whole {
            begin: client_pause::pause_begin,
            gather: client_pause::pause_gather,
        }),
        ..Command::BASE
    },
    Command {
        name: "REPLY",
        summary: "Says which replies the client wants.",
        since: "3.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[Argument::one_of(
            "action",
            &[
                Argument::token("on", "ON"),
                Argument::token("off", "OFF"),
                Argument::token("skip", "SKIP"),
            ],
        )],
        handler: Handler::Session(reply_mode),
        ..Command::BASE
    },
    Command {
        name: "SETINFO",
        summary: "Stores the name or version of the client library.",
        since: "7.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(4),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::one_of(
            "attr",
            &[
                Argument::new("libname", ArgumentKind::String).after("LIB-NAME"),
                Argument::new("libver", ArgumentKind::String).after("LIB-VER"),
            ],
        )],
        handler: Handler::Session(setinfo),
        ..Command::BASE
    },
    Command {
        name: "SETNAME",
        summary: "Names the connection.",
        since: "2.6.9",
        group: Group::Connection,
        arity: Arity::Exactly(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::new("connection-name", ArgumentKind::String)],
        handler: Handler::Session(setname),
        ..Command::BASE
    },
    Command {
        name: "TRACKING",
        summary: "Says whether the client is told when keys change that it keeps.",
        since: "6.0.0",
        group: Group::Connection,
        complexity: "O(1). Some options may introduce additional complexity.",
        arity: Arity::AtLeast(3),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        arguments: client_arguments::TRACKING,
        handler: Handler::Whole(Whole {
            begin: client_tracking::begin,
            gather: client_tracking::gather,
        }),
        ..Command::BASE
    },
    Command {
        name: "TRACKINGINFO",
        summary: "Tells how the keys that the connection reads are tracked.",
        since: "6.2.0",
        group: Group::Connection,
        arity: Arity::Exactly(2),
        flags: SESSION_FLAGS,
        acl: Acl::CONNECTION,
        handler: Handler::Session(client_tracking::trackinginfo),
        ..Command::BASE
    },
    Command {
        name: "UNBLOCK",
        summary: "Ends the wait of a client in a blocking command.",
        since: "5.0.0",
        group: Group::Connection,
        complexity: "O(log N), where N is the number of connections",
        arity: Arity::AtLeast(3),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        arguments: &[
            Argument::new("client-id", ArgumentKind::Integer),
            Argument::one_of(
                "unblock-type",
                &[Argument::token("timeout", "TIMEOUT"), Argument::token("error", "ERROR")],
            )
            .optional(),
        ],
        handler: Handler::Whole(Whole {
            begin: client_unblock::begin,
            gather: client_unblock::gather,
        }),
        ..Command::BASE
    },
    Command {
        name: "UNPAUSE",
        summary: "Ends what CLIENT PAUSE has begun.",
        since: "6.2.0",
        group: Group::Connection,
        complexity: "O(N), where N is the number of clients held back",
        arity: Arity::Exactly(2),
        flags: ADMIN_FLAGS,
        acl: Acl::CONNECTION,
        handler: Handler::Whole(Whole::acknowledged(client_pause::unpause)),
        ..Command::BASE
    },
];

fn capa(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // A capability that we do not know is none that we could use.
    if args.iter_from(2).any(|word| word.eq_ignore_ascii_case(b"redirect")) {
        cx.session.capa_redirect = true;
    }
    reply.ok();
    Ok(())
}

fn getname(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match &cx.session.name[..] {
        [] => reply.null(),
        name => reply.bulk(name),
    }
    Ok(())
}

fn help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    container::help(reply, "CLIENT", HELP);
    Ok(())
}

fn id(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.count(cx.session.facts.id);
    Ok(())
}

fn import_source(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !cx.config.import_mode && !args.is(2, "OFF") {
        return Err(CommandError::NotInImportMode);
    }
    cx.session.facts.import_source = on_or_off(args)?;
    reply.ok();
    Ok(())
}

fn info(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    cx.session.last_command = "client|info";
    let mut line = Vec::new();
    let held = cx.connection.while_running(args.request_bytes(), args.word_bytes());
    info::write_line(&mut line, cx.session, &held, cx.now);
    reply.verbatim("txt", &line);
    Ok(())
}

fn no_evict(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    cx.session.no_evict = on_or_off(args)?;
    reply.ok();
    Ok(())
}

fn no_touch(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    cx.session.facts.no_touch = on_or_off(args)?;
    reply.ok();
    Ok(())
}

fn reply_mode(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mode = &mut cx.session.facts.reply_mode;
    if args.is(2, "ON") {
        *mode = ReplyMode::On;
        reply.ok();
    } else if args.is(2, "OFF") {
        *mode = ReplyMode::Off;
    } else if !args.is(2, "SKIP") {
        return Err(CommandError::Syntax);
    } else if *mode != ReplyMode::Off {
        *mode = ReplyMode::SkipNext;
    }
    Ok(())
}

fn setinfo(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let field = if args.is(2, "LIB-NAME") {
        &mut cx.session.lib_name
    } else if args.is(2, "LIB-VER") {
        &mut cx.session.lib_ver
    } else {
        reply.error([b"ERR Unrecognized option '", args.get(2), b"'"].concat());
        return Err(CommandError::Written);
    };
    if !fits_a_word(args.get(3)) {
        let reason = b" cannot contain spaces, newlines or special characters.";
        reply.error([b"ERR ", args.get(2), reason].concat());
        return Err(CommandError::Written);
    }
    *field = args.get(3).to_vec();
    reply.ok();
    Ok(())
}

fn setname(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    check_name(args.get(2))?;
    cx.session.name = args.get(2).to_vec();
    reply.ok();
    Ok(())
}

fn on_or_off(args: Args<'_>) -> Result<bool, CommandError> {
    if args.is(2, "ON") {
        Ok(true)
    } else if args.is(2, "OFF") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

/// Checks a name for a connection; the empty one takes the name away.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if fits_a_word(name) { Ok(()) } else { Err(CommandError::ClientName) }
}

/// True if the text leaves a line of CLIENT LIST in one piece. What stands behind a zero byte is
/// not shown there.
fn fits_a_word(text: &[u8]) -> bool {
    c_string(text).iter().all(u8::is_ascii_graphic)
}

const HELP: &[&str] = &[
    "CAPA <option> [<option> ...]",
    "    State what the client can do: REDIRECT, to follow a redirection.",
    "GETNAME",
    "    Return the name of this connection.",
    "GETREDIR",
    "    Return the id of the client that gets our invalidation messages, or -1.",
    "ID",
    "    Return the id of this connection.",
    "IMPORT-SOURCE (ON|OFF)",
    "    Mark this connection as an import source, while import-mode is on.",
    "INFO",
    "    Return the line of this connection in CLIENT LIST.",
    "KILL <ip:port>",
    "    Close the connection from that address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close the connections that meet all conditions. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Address of the peer.",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Address that it connected to.",
    "    * IP <ip>",
    "      Address of the peer, whatever the port.",
    "    * ID <client-id> [<client-id> ...]",
    "      One of these ids.",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kind of connection.",
    "    * USER <username>",
    "      User that it has logged in as.",
    "    * NAME <name>",
    "      Name of the connection.",
    "    * LIB-NAME <name>, LIB-VER <version>",
    "      Client library.",
    "    * DB <number>",
    "      Selected database.",
    "    * FLAGS <flags>, CAPA <capabilities>",
    "      All of these letters are shown for it.",
    "    * MAXAGE <seconds>, IDLE <seconds>",
    "      Connected, or silent, for at least so long.",
    "    * SKIPME (YES|NO)",
    "      Spare this connection (default: yes).",
    "    NOT- before an option, MAXAGE, IDLE and SKIPME excepted, turns it round.",
    "LIST [<option> <value> [...]]",
    "    Return a line for each connection that meets all conditions; the options",
    "    are those of KILL, with SKIPME NO by default.",
    "NO-EVICT (ON|OFF)",
    "    Never close this connection for the memory that it takes.",
    "NO-TOUCH (ON|OFF)",
    "    Leave the access times of keys alone.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold back all commands, or those that write, for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Choose which replies this connection gets.",
    "SETINFO <option> <value>",
    "    Describe the client library. Options are:",
    "    * LIB-NAME: its name.",
    "    * LIB-VER: its version.",
    "SETNAME <name>",
    "    Name this connection.",
    "TRACKINGINFO",
    "    Return how the keys that this connection reads are tracked.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    Wake a client that waits in a blocking command.",
    "UNPAUSE",
    "    End a pause.",
];
