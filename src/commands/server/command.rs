//! COMMAND: what the table says of itself.
//!
//! Invariant: everything is derived from the records; nothing is said here about any one command.
//! Source: COMMAND, COMMAND INFO, COMMAND DOCS and COMMAND GETKEYS of Redis 8.0.6. An entry of
//! COMMAND INFO:
//!
//! ```text
//! [name, arity, {flags}, first key, last key, step, {@categories}, {tips}, {key specs}, [subcommands]]
//! ```

use super::{ALWAYS, BASE};
use crate::base::glob::stringmatch;
use crate::command::catalog::{find, find_full_name};
use crate::command::keyspec::{Begin, Find, KeyRange, KeySpec, keys_of};
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler,
    Listed, Outcome, SessionContext,
};
use crate::commands::container::help;
use crate::resp::reply::Reply;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "COMMAND",
    summary: "Describes every command.",
    since: "2.8.13",
    complexity: "O(N) where N is the number of commands",
    arity: Arity::AtLeast(1),
    flags: ALWAYS,
    acl: Acl::CONNECTION,
    tips: &["nondeterministic_output_order"],
    subcommands: &[
        Command {
            name: "COUNT",
            summary: "Counts the commands.",
            since: "2.8.13",
            arity: Arity::Exactly(2),
            handler: Handler::Session(count),
            ..SUBCOMMAND
        },
        Command {
            name: "DOCS",
            summary: "Documents one, several or all commands.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands",
            arity: Arity::AtLeast(2),
            tips: &["nondeterministic_output_order"],
            arguments: &[NAMES],
            handler: Handler::Session(docs),
            ..SUBCOMMAND
        },
        Command {
            name: "GETKEYS",
            summary: "Finds the keys in a request.",
            since: "2.8.13",
            complexity: "O(N) where N is the number of words",
            arity: Arity::AtLeast(3),
            arguments: REQUEST,
            handler: Handler::Session(getkeys),
            ..SUBCOMMAND
        },
        Command {
            name: "GETKEYSANDFLAGS",
            summary: "Finds the keys in a request, and what is done with each.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of words",
            arity: Arity::AtLeast(3),
            arguments: REQUEST,
            handler: Handler::Session(getkeysandflags),
            ..SUBCOMMAND
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            since: "5.0.0",
            arity: Arity::Exactly(2),
            handler: Handler::Session(command_help),
            ..SUBCOMMAND
        },
        Command {
            name: "INFO",
            summary: "Describes one, several or all commands.",
            since: "2.8.13",
            complexity: "O(N) where N is the number of commands",
            arity: Arity::AtLeast(2),
            tips: &["nondeterministic_output_order"],
            arguments: &[NAMES],
            handler: Handler::Session(info),
            ..SUBCOMMAND
        },
        Command {
            name: "LIST",
            summary: "Names the commands, all or those that a filter passes.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands",
            arity: Arity::AtLeast(2),
            tips: &["nondeterministic_output_order"],
            arguments: &[Argument::one_of(
                "filterby",
                &[
                    Argument::new("module-name", ArgumentKind::String).after("MODULE"),
                    Argument::new("category", ArgumentKind::String).after("ACLCAT"),
                    Argument::new("pattern", ArgumentKind::Pattern).after("PATTERN"),
                ],
            )
            .after("FILTERBY")
            .optional()],
            handler: Handler::Session(list),
            ..SUBCOMMAND
        },
    ],
    handler: Handler::Session(command),
    ..BASE
}];

const SUBCOMMAND: Command = Command { flags: ALWAYS, acl: Acl::CONNECTION, ..BASE };

const NAMES: Argument = Argument::new("command-name", ArgumentKind::String).optional().multiple();

const REQUEST: &[Argument] = &[
    Argument::new("command", ArgumentKind::String),
    Argument::new("arg", ArgumentKind::String).optional().multiple(),
];

fn command(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let commands = cx.table.commands();
    reply.array(commands.len());
    for one in commands {
        describe(cx, one, reply);
    }
    Ok(())
}

fn count(cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.count(cx.table.commands().len() as u64);
    Ok(())
}

fn docs(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let commands = match args.len() {
        2 => cx.table.commands(),
        _ => args.iter_from(2).filter_map(|name| find_full_name(cx.table, name)).collect(),
    };
    reply.map(commands.len());
    for one in commands {
        reply.bulk(one.full_name.as_bytes());
        document(cx, one, reply);
    }
    Ok(())
}

fn getkeys(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = args.behind(2);
    let keys = keys_of_request(cx, request)?;
    reply.array(keys.len());
    for (index, _) in keys {
        reply.bulk(request.get(index));
    }
    Ok(())
}

fn getkeysandflags(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = args.behind(2);
    let keys = keys_of_request(cx, request)?;
    reply.array(keys.len());
    for (index, access) in keys {
        reply.array(2);
        reply.bulk(request.get(index));
        set_of_words(reply, access.names());
    }
    Ok(())
}

fn command_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help(
        reply,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Describe every command.",
            "COUNT",
            "    Count the commands.",
            "LIST [FILTERBY MODULE <module>|ACLCAT <category>|PATTERN <pattern>]",
            "    Name the commands, all or those that the filter passes.",
            "INFO [<command> ...]",
            "    Describe these commands, or all.",
            "DOCS [<command> ...]",
            "    Document these commands, or all.",
            "GETKEYS <request>",
            "    Find the keys in a request.",
            "GETKEYSANDFLAGS <request>",
            "    Find the keys in a request, and what is done with each.",
        ],
    );
    Ok(())
}

fn info(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() == 2 {
        return command(cx, args, reply);
    }
    reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        match find_full_name(cx.table, name) {
            Some(one) => describe(cx, one, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

fn list(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let filter = Filter::parse(args)?;
    let place = reply.defer();
    let mut len = 0;
    let mut name = |one: Listed| {
        if filter.passes(one) {
            reply.bulk(one.full_name.as_bytes());
            len += 1;
        }
    };
    for one in cx.table.commands() {
        name(one);
        cx.table.subcommands(one).into_iter().for_each(&mut name);
    }
    reply.array_at(place, len);
    Ok(())
}

/// What COMMAND LIST names.
enum Filter<'q> {
    All,
    /// No module can be loaded, so none has commands.
    Module,
    /// None passes where nobody knows the category.
    Category(Option<Acl>),
    Pattern(&'q [u8]),
}

impl<'q> Filter<'q> {
    fn parse(args: Args<'q>) -> Result<Filter<'q>, CommandError> {
        if args.len() == 2 {
            return Ok(Filter::All);
        }
        if args.len() != 5 || !args.is(2, "FILTERBY") {
            return Err(CommandError::Syntax);
        }
        let word = args.get(4);
        if args.is(3, "MODULE") {
            Ok(Filter::Module)
        } else if args.is(3, "ACLCAT") {
            let mut known = Acl::NAMES.iter();
            let found = known.find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word));
            Ok(Filter::Category(found.map(|(category, _)| *category)))
        } else if args.is(3, "PATTERN") {
            Ok(Filter::Pattern(word))
        } else {
            Err(CommandError::Syntax)
        }
    }

    fn passes(&self, one: Listed) -> bool {
        match self {
            Filter::All => true,
            Filter::Module | Filter::Category(None) => false,
            Filter::Category(Some(category)) => {
                one.command.acl.derived(one.command.flags).has(*category)
            }
            Filter::Pattern(pattern) => stringmatch(pattern, one.full_name.as_bytes(), true),
        }
    }
}

/// The keys of a request, each with the index of its word; the errors of COMMAND GETKEYS.
fn keys_of_request(
    cx: &SessionContext<'_>,
    request: Args<'_>,
) -> Result<Vec<(usize, Access)>, CommandError> {
    let command = find(cx.table, request.get(0), request.opt(1))
        .ok_or(CommandError::InvalidCommandSpecified)?
        .command;
    if command.keys.is_empty() {
        return Err(CommandError::NoKeyArguments);
    }
    if !command.accepts(request.len()) {
        return Err(CommandError::InvalidArgumentCount);
    }
    let mut keys = Vec::new();
    let of_request = command.key_access.map(|access_of| access_of(request));
    let found = keys_of(command.keys, request, |index, access| {
        keys.push((index, of_request.unwrap_or(access)));
    });
    if found.is_err() || keys.is_empty() {
        if command.flags.has(Flags::NO_MANDATORY_KEYS) {
            return Ok(Vec::new());
        }
        return Err(CommandError::InvalidArgumentsSpecified);
    }
    Ok(keys)
}

/// One entry of COMMAND INFO. Subcommands have none, so this goes two levels deep.
fn describe(cx: &SessionContext<'_>, one: Listed, reply: &mut Reply<'_>) {
    let command = one.command;
    let range = KeyRange::of(command.keys);
    let flags = if range.movable { command.flags.with(Flags::MOVABLEKEYS) } else { command.flags };
    reply.array(10);
    reply.bulk(one.full_name.as_bytes());
    reply.integer(command.arity.number());
    set_of_words(reply, flags.names());
    reply.integer(range.first);
    reply.integer(range.last);
    reply.integer(range.step);
    let categories: Vec<String> =
        command.acl.derived(command.flags).names().map(|name| format!("@{name}")).collect();
    set_of_words(reply, categories.iter().map(String::as_str));
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(command.keys.len());
    command.keys.iter().for_each(|spec| describe_keys(spec, reply));
    let subcommands = cx.table.subcommands(one);
    // An empty set, but an array of subcommands: so does a stock server.
    match subcommands.len() {
        0 => reply.set(0),
        len => reply.array(len),
    }
    for part in subcommands {
        describe(cx, part, reply);
    }
}

fn describe_keys(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        text(reply, "notes", notes);
    }
    reply.bulk(b"flags");
    set_of_words(reply, spec.access.names());
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => rule(reply, "index", &[("index", i64::from(index))]),
        Begin::Keyword { word, from } => {
            reply.map(2);
            text(reply, "type", "keyword");
            reply.bulk(b"spec");
            reply.map(2);
            text(reply, "keyword", word);
            number(reply, "startfrom", i64::from(from));
        }
        Begin::Found(_) | Begin::Unknown => rule(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            let numbers = [("lastkey", last.into()), ("keystep", step.into())];
            rule(reply, "range", &[numbers[0], numbers[1], ("limit", limit.into())]);
        }
        Find::Keynum { count, first, step } => rule(
            reply,
            "keynum",
            &[("keynumidx", count.into()), ("firstkey", first.into()), ("keystep", step.into())],
        ),
        Find::Unknown => rule(reply, "unknown", &[]),
    }
}

/// One half of a key spec.
fn rule(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    text(reply, "type", kind);
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, value) in numbers {
        number(reply, name, *value);
    }
}

/// One entry of COMMAND DOCS. Subcommands have none, so this goes two levels deep.
fn document(cx: &SessionContext<'_>, one: Listed, reply: &mut Reply<'_>) {
    let command = one.command;
    let subcommands = cx.table.subcommands(one);
    let deprecated = command.deprecated;
    reply.map(
        4 + usize::from(deprecated.is_some()) * 3
            + usize::from(!command.arguments.is_empty())
            + usize::from(!subcommands.is_empty()),
    );
    text(reply, "summary", command.summary);
    text(reply, "since", command.since);
    text(reply, "group", command.group.name());
    text(reply, "complexity", command.complexity);
    if let Some((since, replacement)) = deprecated {
        reply.bulk(b"doc_flags");
        set_of_words(reply, ["deprecated"].into_iter());
        text(reply, "deprecated_since", since);
        text(reply, "replaced_by", replacement);
    }
    if !command.arguments.is_empty() {
        reply.bulk(b"arguments");
        document_arguments(command.arguments, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        for part in subcommands {
            reply.bulk(part.full_name.as_bytes());
            document(cx, part, reply);
        }
    }
}

/// As deep as the records' own arguments are nested.
fn document_arguments(arguments: &[Argument], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        let flags = [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ];
        let flags = || flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
        let nested = matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block);
        // Either the parts or the text to show.
        reply.map(
            3 + usize::from(argument.key_spec.is_some())
                + usize::from(argument.token.is_some())
                + usize::from(argument.since.is_some())
                + usize::from(argument.deprecated_since.is_some())
                + usize::from(flags().next().is_some()),
        );
        text(reply, "name", argument.name);
        text(reply, "type", argument.kind.name());
        if !nested {
            text(reply, "display_text", argument.display.unwrap_or(argument.name));
        }
        if let Some(spec) = argument.key_spec {
            number(reply, "key_spec_index", i64::from(spec));
        }
        let optional_texts = [
            ("token", argument.token),
            ("since", argument.since),
            ("deprecated_since", argument.deprecated_since),
        ];
        for (name, value) in optional_texts {
            if let Some(value) = value {
                text(reply, name, value);
            }
        }
        if flags().next().is_some() {
            reply.bulk(b"flags");
            set_of_words(reply, flags());
        }
        if nested {
            reply.bulk(b"arguments");
            document_arguments(argument.arguments, reply);
        }
    }
}

fn text(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn number(reply: &mut Reply<'_>, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn set_of_words<'w>(reply: &mut Reply<'_>, words: impl Iterator<Item = &'w str>) {
    let place = reply.defer();
    let len = words.map(|word| reply.simple(word)).count();
    reply.set_at(place, len);
}
