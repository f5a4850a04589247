//! What a command is: its record, from which COMMAND, DOCS, ACL categories, routing, statistics and
//! the documentation page derive.
//!
//! Invariant: contains no command. The records stand beside their handlers in `commands/`, and
//! `dispatch/table.rs` joins them. The words are those of Redis' command JSON.

pub mod args;
pub mod catalog;
pub mod categories;
pub mod context;
pub mod effects;
pub mod error;
pub mod flags;
pub mod keyspec;
pub mod permission;
pub mod secret;
pub mod session_context;
pub mod suspension;
pub mod whole;

pub use args::Args;
pub use catalog::{CommandTable, Listed};
pub use categories::Acl;
pub use context::Context;
pub use error::CommandError;
pub use flags::Flags;
pub use keyspec::{Access, KeySpec};
pub use permission::Channels;
pub use session_context::SessionContext;
pub use suspension::{Denied, Suspension, Wants};
pub use whole::Whole;

use crate::resp::reply::Reply;

/// What a handler returns: done, and everything is in the reply, or the error to answer with.
///
/// A handler that has to wait returns `Ok` after it has left a `Suspension` in its context.
pub type Outcome = Result<(), CommandError>;

/// One command or subcommand. Records are constants made with `..Command::BASE`.
#[derive(Debug)]
pub struct Command {
    /// Upper-case name; of a subcommand, the last word only.
    pub name: &'static str,
    /// One sentence, ours.
    pub summary: &'static str,
    /// The version of Redis (or Valkey) that introduced it.
    pub since: &'static str,
    /// The group of the command reference.
    pub group: Group,
    /// Big-O text, ours where it is more than a formula.
    pub complexity: &'static str,
    /// How many words, the command's own name included.
    pub arity: Arity,
    /// What it may do and when it may run.
    pub flags: Flags,
    /// The categories that cannot be derived from flags.
    pub acl: Acl,
    /// Where its keys stand.
    pub keys: &'static [KeySpec],
    /// What a request does with its keys, where that depends on the request; None where the specs say
    /// it all.
    pub key_access: Option<fn(Args<'_>) -> Access>,
    /// The word that names a field or member of the value at its first key, which is looked for ahead of
    /// the command; 0 if none does. Options in front of it make it wrong, and nothing slower than without.
    pub member: u8,
    /// Where its channels stand, if it publishes or subscribes.
    pub channels: Option<Channels>,
    /// Which words of a request name databases beside the selected one. Empty for a request that is
    /// not well formed.
    pub databases: Option<fn(Args<'_>) -> Vec<usize>>,
    /// Command tips: `nondeterministic_output`, `request_policy:...`, `response_policy:...`.
    pub tips: &'static [&'static str],
    /// The syntax, as COMMAND DOCS prints it.
    pub arguments: &'static [Argument],
    /// Since when it is deprecated, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// The subcommands of a container.
    pub subcommands: &'static [Command],
    /// What runs it, and where.
    pub handler: Handler,
    /// The handler takes values of chunks (`Args::value`); others get them flattened.
    pub takes_chunks: bool,
    /// A part of its container that runs elsewhere than the container does: no subcommand to
    /// clients, and counted with the container (the words behind DEBUG).
    pub hidden: bool,
}

impl Command {
    /// What a record does not say.
    pub const BASE: Command = Command {
        name: "",
        summary: "",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        arity: Arity::AtLeast(1),
        flags: Flags::NONE,
        acl: Acl::NONE,
        keys: &[],
        key_access: None,
        member: 0,
        channels: None,
        databases: None,
        tips: &[],
        arguments: &[],
        deprecated: None,
        subcommands: &[],
        handler: Handler::Container,
        takes_chunks: false,
        hidden: false,
    };

    /// True if its second word names a subcommand, as clients see it.
    #[inline]
    pub fn is_container(&self) -> bool {
        self.subcommands.first().is_some_and(|first| !first.hidden)
    }

    /// True if a request of `argc` words can be this command.
    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        match self.arity {
            Arity::Exactly(n) => argc == n as usize,
            Arity::AtLeast(n) => argc >= n as usize,
        }
    }
}

/// How many words a command takes, its own name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// No more and no fewer.
    Exactly(u16),
    /// Any number from this on.
    AtLeast(u16),
}

impl Arity {
    /// As COMMAND prints it: negative for "at least".
    pub const fn number(self) -> i64 {
        match self {
            Arity::Exactly(n) => n as i64,
            Arity::AtLeast(n) => -(n as i64),
        }
    }
}

/// The groups of the command reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
    Module,
}

impl Group {
    /// As COMMAND DOCS prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::Module => "module",
        }
    }
}

/// One argument of a command's syntax, as COMMAND DOCS prints it.
#[derive(Debug)]
pub struct Argument {
    /// The name that the documentation uses.
    pub name: &'static str,
    /// What it holds.
    pub kind: ArgumentKind,
    /// The literal word that introduces it.
    pub token: Option<&'static str>,
    /// Which of the command's key specs finds it.
    pub key_spec: Option<u8>,
    /// Since when, if later than the command.
    pub since: Option<&'static str>,
    /// Since when it is deprecated.
    pub deprecated_since: Option<&'static str>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// The token is repeated with each.
    pub multiple_token: bool,
    /// The parts of a `oneof` or `block`.
    pub arguments: &'static [Argument],
    /// The text shown where it differs from `name`.
    pub display: Option<&'static str>,
}

/// What an argument holds; the names of COMMAND DOCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgumentKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentKind {
    /// As COMMAND DOCS prints it.
    pub const fn name(self) -> &'static str {
        match self {
            ArgumentKind::String => "string",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Double => "double",
            ArgumentKind::Key => "key",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::UnixTime => "unix-time",
            ArgumentKind::PureToken => "pure-token",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Block => "block",
        }
    }
}

impl Argument {
    /// What a constructor does not say.
    pub const BASE: Argument = Argument {
        name: "",
        kind: ArgumentKind::String,
        token: None,
        key_spec: None,
        since: None,
        deprecated_since: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        arguments: &[],
        display: None,
    };

    /// An argument of a kind.
    pub const fn new(name: &'static str, kind: ArgumentKind) -> Argument {
        Argument { name, kind, ..Argument::BASE }
    }

    /// A key found by the command's key spec number `spec`.
    pub const fn key(name: &'static str, spec: u8) -> Argument {
        Argument { name, kind: ArgumentKind::Key, key_spec: Some(spec), ..Argument::BASE }
    }

    /// A literal word.
    pub const fn token(name: &'static str, token: &'static str) -> Argument {
        Argument { name, kind: ArgumentKind::PureToken, token: Some(token), ..Argument::BASE }
    }

    /// One of several.
    pub const fn one_of(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument { name, kind: ArgumentKind::OneOf, arguments, ..Argument::BASE }
    }

    /// Several that go together.
    pub const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
        Argument { name, kind: ArgumentKind::Block, arguments, ..Argument::BASE }
    }

    /// Introduced by `token`.
    pub const fn after(mut self, token: &'static str) -> Argument {
        self.token = Some(token);
        self
    }

    /// May be left out.
    pub const fn optional(mut self) -> Argument {
        self.optional = true;
        self
    }

    /// May be repeated.
    pub const fn multiple(mut self) -> Argument {
        self.multiple = true;
        self
    }

    /// May be repeated together with its token.
    pub const fn multiple_token(mut self) -> Argument {
        self.multiple = true;
        self.multiple_token = true;
        self
    }

    /// There since a later version than the command.
    pub const fn since(mut self, version: &'static str) -> Argument {
        self.since = Some(version);
        self
    }

    /// Deprecated since a version.
    pub const fn deprecated(mut self, version: &'static str) -> Argument {
        self.deprecated_since = Some(version);
        self
    }

    /// Shown under another name.
    pub const fn display(mut self, text: &'static str) -> Argument {
        self.display = Some(text);
        self
    }
}

/// Runs where the keys are: on the owner core, or on a coordinator that has the partitions on loan.
pub type KeyedHandler = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> Outcome;

/// Runs on the client's home core and touches no key.
pub type SessionHandler = fn(&mut SessionContext<'_>, Args<'_>, &mut Reply<'_>) -> Outcome;

/// A command that runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// What its first argument is.
    pub source: ScriptSource,
    /// The script may not write.
    pub is_read_only: bool,
}

/// How a script is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptSource {
    /// By its text.
    Body,
    /// By the digest of its text.
    Digest,
    /// By the name of a function.
    Function,
}

/// What runs a command, and where.
#[derive(Clone, Copy, Debug)]
pub enum Handler {
    /// Only its subcommands can be called.
    Container,
    /// The home core, without the keyspace.
    Session(SessionHandler),
    /// Where the keys are.
    Keyed(KeyedHandler),
    /// With every partition: DBSIZE, KEYS, RANDOMKEY, FLUSHALL, SWAPDB.
    Keyspace(KeyedHandler),
    /// Where the keys are, or with every partition if the function says that the request reaches keys
    /// that none of its words names.
    Reaching(fn(Args<'_>) -> bool, KeyedHandler),
    /// Where the keys are, with their partitions kept until the control plane has done its part:
    /// MIGRATE.
    Migrating(KeyedHandler),
    /// Where the slot is that the function reads from the arguments (SCAN's cursor).
    Located(fn(Args<'_>) -> Option<crate::base::slot::Slot>, KeyedHandler),
    /// Wherever its batch is: it touches no key, and only adds to what the turn pushes (PUBLISH).
    Here(KeyedHandler),
    /// EXEC: the queue of the connection, where its keys are.
    Exec,
    /// A script: where the keys are that it may touch.
    Script(ScriptCall),
    /// A part on each core, in one order for all cores, gathered at home: CONFIG SET, CLIENT LIST.
    Whole(Whole),
}
