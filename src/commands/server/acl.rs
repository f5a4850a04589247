//! ACL: the users, what they may do, and what they were refused.
//!
//! Invariant: a change is made on every core before it is acknowledged, and by all cores from the
//! same registry to the same one; the clients of a user that is deleted go with it. Source: the ACL
//! pages of Redis 8.0; databases are those of Valkey 9.1.

pub mod change;
mod log;
mod show;

use super::{ALWAYS, BASE, OPERATOR};
use crate::acl::Defaults;
use crate::base::sys;
use crate::command::catalog::find;
use crate::command::permission::{self, Asked};
use crate::command::session_context::Request;
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext, Whole,
};
use crate::commands::container::{help, wrong_form};
use crate::config::Config;
use crate::config::choices::AclPubsubDefault;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "ACL",
    summary: "Holds the commands about users and permissions.",
    since: "6.0.0",
    complexity: "Depends on the subcommand",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "CAT",
            summary: "Lists the categories of commands, or the commands of one.",
            complexity: "O(N) where N is the number of commands",
            arity: Arity::AtLeast(2),
            flags: ANYBODY,
            arguments: &[Argument::new("category", ArgumentKind::String).optional()],
            handler: Handler::Session(show::cat),
            ..SUBCOMMAND
        },
        Command {
            name: "DELUSER",
            summary: "Deletes users and closes their connections.",
            complexity: "O(N) where N is the number of connections",
            arity: Arity::AtLeast(3),
            tips: EVERYWHERE,
            arguments: &[Argument::new("username", ArgumentKind::String).multiple()],
            handler: Handler::Whole(Whole {
                begin: change::deluser_begin,
                gather: change::deluser_gather,
            }),
            ..SUBCOMMAND
        },
        Command {
            name: "DRYRUN",
            summary: "Tells whether a user may run a request, without running it.",
            since: "7.0.0",
            arity: Arity::AtLeast(4),
            arguments: &[
                Argument::new("username", ArgumentKind::String),
                Argument::new("command", ArgumentKind::String),
                Argument::new("arg", ArgumentKind::String).optional().multiple(),
            ],
            handler: Handler::Session(dryrun),
            ..SUBCOMMAND
        },
        Command {
            name: "GENPASS",
            summary: "Makes a password that nobody can guess.",
            arity: Arity::AtLeast(2),
            flags: ANYBODY,
            arguments: &[Argument::new("bits", ArgumentKind::Integer).optional()],
            handler: Handler::Session(genpass),
            ..SUBCOMMAND
        },
        Command {
            name: "GETUSER",
            summary: "Returns the rules of a user.",
            complexity: "O(N) where N is the number of rules",
            arity: Arity::Exactly(3),
            arguments: &[Argument::new("username", ArgumentKind::String)],
            handler: Handler::Session(show::getuser),
            ..SUBCOMMAND
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            arity: Arity::Exactly(2),
            flags: ALWAYS,
            handler: Handler::Session(acl_help),
            ..SUBCOMMAND
        },
        Command {
            name: "LIST",
            summary: "Returns every user as a line of an ACL file.",
            complexity: "O(N) where N is the number of users",
            arity: Arity::Exactly(2),
            handler: Handler::Session(show::list),
            ..SUBCOMMAND
        },
        Command {
            name: "LOAD",
            summary: "Reads the users from the ACL file.",
            complexity: "O(N) where N is the number of users and connections",
            arity: Arity::Exactly(2),
            handler: Handler::Session(load),
            ..SUBCOMMAND
        },
        Command {
            name: "LOG",
            summary: "Returns who was refused what of late.",
            complexity: "O(N) where N is the number of entries",
            arity: Arity::AtLeast(2),
            arguments: &[Argument::one_of(
                "operation",
                &[Argument::new("count", ArgumentKind::Integer), Argument::token("reset", "RESET")],
            )
            .optional()],
            handler: Handler::Whole(Whole { begin: log::begin, gather: log::gather }),
            ..SUBCOMMAND
        },
        Command {
            name: "SAVE",
            summary: "Writes the users into the ACL file.",
            complexity: "O(N) where N is the number of users",
            arity: Arity::Exactly(2),
            tips: EVERYWHERE,
            handler: Handler::Session(save),
            ..SUBCOMMAND
        },
        Command {
            name: "SETUSER",
            summary: "Changes the rules of a user, or makes one.",
            complexity: "O(N) where N is the number of rules",
            arity: Arity::AtLeast(3),
            tips: EVERYWHERE,
            arguments: &[
                Argument::new("username", ArgumentKind::String),
                Argument::new("rule", ArgumentKind::String).optional().multiple(),
            ],
            handler: Handler::Whole(Whole {
                begin: change::setuser_begin,
                gather: change::setuser_gather,
            }),
            ..SUBCOMMAND
        },
        Command {
            name: "USERS",
            summary: "Returns the names of all users.",
            complexity: "O(N) where N is the number of users",
            arity: Arity::Exactly(2),
            handler: Handler::Session(show::users),
            ..SUBCOMMAND
        },
        Command {
            name: "WHOAMI",
            summary: "Returns the name of the user that the connection is logged in as.",
            arity: Arity::Exactly(2),
            flags: ANYBODY,
            handler: Handler::Session(show::whoami),
            ..SUBCOMMAND
        },
    ],
    ..BASE
}];

const SUBCOMMAND: Command = Command { since: "6.0.0", flags: OPERATOR, ..BASE };

/// What says nothing of other users.
const ANYBODY: Flags = ALWAYS.with(Flags::NOSCRIPT);

const EVERYWHERE: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// Bits of a password, at most.
const PASSWORD_BITS_MAX: i64 = 4096;
/// Bits of a password whose length nobody gave.
const PASSWORD_BITS: i64 = 256;
fn dryrun(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(named) = cx.users.find(args.get(2)) else {
        return refuse(reply, &[b"ERR User '", args.get(2), b"' not found"]);
    };
    let request = args.behind(3);
    let Some(command) = find(cx.table, request.get(0), request.opt(1)) else {
        return refuse(reply, &[b"ERR Command '", request.get(0), b"' not found"]);
    };
    let full_name = command.full_name;
    if !command.command.accepts(request.len()) {
        let head = b"ERR wrong number of arguments for '";
        return refuse(reply, &[head, full_name.as_bytes(), b"' command"]);
    }
    let (db, databases) = (cx.session.facts.db, cx.config.databases);
    let asked = Asked { command, args: request, db, databases };
    match permission::check(cx.users, &named.user, &asked) {
        Ok(()) => reply.ok(),
        Err(denied) => {
            reply.bulk(&permission::explanation(denied, &named.name, full_name, request));
        }
    }
    Ok(())
}

fn genpass(_cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let bits = match args.len() {
        2 => PASSWORD_BITS,
        3 => args.integer(2)?,
        _ => return refuse_form(args, reply),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::PasswordBits);
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    sys::random_bytes(&mut bytes);
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text = nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0'));
    let password: String = text.take(digits).collect();
    reply.bulk(password.as_bytes());
    Ok(())
}

fn acl_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help(
        reply,
        "ACL",
        &[
            "CAT [<category>]",
            "    List the categories of commands, or the commands of one.",
            "DELUSER <username> [<username> ...]",
            "    Delete users and close their connections.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Tell whether a user may run a request, without running it.",
            "GENPASS [<bits>]",
            "    Make a password of so many random bits (default: 256).",
            "GETUSER <username>",
            "    Return the rules of a user.",
            "LIST",
            "    Return every user as a line of an ACL file.",
            "LOAD",
            "    Read the users from the ACL file.",
            "LOG [<count>|RESET]",
            "    Return the newest refusals (default: 10), or forget all.",
            "SAVE",
            "    Write the users into the ACL file.",
            "SETUSER <username> [<rule> ...]",
            "    Change the rules of a user, or make one.",
            "USERS",
            "    Return the names of all users.",
            "WHOAMI",
            "    Return the name of this connection's user.",
        ],
    );
    Ok(())
}

fn load(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.config.aclfile.is_empty() {
        return Err(CommandError::NoAclFile);
    }
    let (config, users) = (cx.config.clone(), cx.users.clone());
    *cx.request = Some(Request::LoadUsers { config, users, client: cx.session.facts.id });
    Ok(())
}

fn save(cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    if cx.config.aclfile.is_empty() {
        return Err(CommandError::NoAclFile);
    }
    let (config, users) = (cx.config.clone(), cx.users.clone());
    *cx.request = Some(Request::SaveUsers { config, users });
    Ok(())
}

/// What the configuration says of permissions that no rule names.
pub fn defaults(config: &Config) -> Defaults {
    Defaults { all_channels: config.acl_pubsub_default == AclPubsubDefault::AllChannels }
}

/// Answers with an error whose text carries arguments.
fn refuse(reply: &mut Reply<'_>, text: &[&[u8]]) -> Outcome {
    reply.error(text.concat());
    Err(CommandError::Written)
}

/// Answers a subcommand whose words make none of its forms.
fn refuse_form(args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    refuse(reply, &[&wrong_form(args)])
}
