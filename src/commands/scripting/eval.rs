//! EVAL, EVALSHA, FCALL and their read-only forms: the records.

use crate::command::{
    Access, Acl, Argument, ArgumentKind, Arity, Command, Flags, Group, Handler, KeySpec,
    ScriptCall, ScriptSource,
};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "EVAL",
        summary: "Runs a Lua script on the server.",
        since: "2.6.0",
        keys: &[KeySpec::counted(2, 1, READ_WRITE).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )],
        flags: MAY_WRITE,
        arguments: &[Argument::new("script", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Body, false),
        ..BASE
    },
    Command {
        name: "EVALSHA",
        summary: "Runs a Lua script that the server knows, by the digest of its text.",
        since: "2.6.0",
        keys: &[KeySpec::counted(2, 1, READ_WRITE)],
        flags: MAY_WRITE,
        arguments: &[Argument::new("sha1", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Digest, false),
        ..BASE
    },
    Command {
        name: "EVALSHA_RO",
        summary: "Runs a Lua script that only reads, by the digest of its text.",
        since: "7.0.0",
        keys: &[KeySpec::counted(2, 1, READ)],
        flags: READS,
        arguments: &[Argument::new("sha1", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Digest, true),
        ..BASE
    },
    Command {
        name: "EVAL_RO",
        summary: "Runs a Lua script that only reads.",
        since: "7.0.0",
        keys: &[KeySpec::counted(2, 1, READ).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )],
        flags: READS,
        arguments: &[Argument::new("script", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Body, true),
        ..BASE
    },
    Command {
        name: "FCALL",
        summary: "Calls a function of a library.",
        since: "7.0.0",
        complexity: "Depends on the function that is called.",
        keys: &[KeySpec::counted(2, 1, READ_WRITE).notes(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )],
        flags: MAY_WRITE,
        arguments: &[Argument::new("function", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Function, false),
        ..BASE
    },
    Command {
        name: "FCALL_RO",
        summary: "Calls a function of a library that only reads.",
        since: "7.0.0",
        complexity: "Depends on the function that is called.",
        keys: &[KeySpec::counted(2, 1, READ).notes(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )],
        flags: READS,
        arguments: &[Argument::new("function", ArgumentKind::String), NUMKEYS, KEY, ARG],
        handler: script(ScriptSource::Function, true),
        ..BASE
    },
];

const BASE: Command = Command {
    group: Group::Scripting,
    complexity: "Depends on the script that is run.",
    arity: Arity::AtLeast(3),
    acl: Acl::SCRIPTING,
    ..Command::BASE
};
const SCRIPTS: Flags = Flags::NOSCRIPT
    .with(Flags::SKIP_MONITOR)
    .with(Flags::NO_MANDATORY_KEYS)
    .with(Flags::STALE)
    .with(Flags::MOVABLEKEYS);
const MAY_WRITE: Flags = SCRIPTS.with(Flags::MAY_REPLICATE);
const READS: Flags = SCRIPTS.with(Flags::READONLY);
const READ: Access = Access::RO.with(Access::ACCESS);
const READ_WRITE: Access = Access::RW.with(Access::ACCESS).with(Access::UPDATE);

const NUMKEYS: Argument = Argument::new("numkeys", ArgumentKind::Integer);
const KEY: Argument = Argument::key("key", 0).optional().multiple();
const ARG: Argument = Argument::new("arg", ArgumentKind::String).optional().multiple();

const fn script(source: ScriptSource, is_read_only: bool) -> Handler {
    Handler::Script(ScriptCall { source, is_read_only })
}
