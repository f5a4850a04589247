//! CLUSTER and its kin: what a server outside of a cluster answers.
//!
//! Invariant: there is no cluster here, so each of them answers the one error that says so, after the
//! checks of its record. Source: these commands of Redis 8.0.6 with `cluster-enabled no`.

use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Group, Handler,
    Outcome, SessionContext,
};
use crate::resp::reply::Reply;

/// What the records of this group share.
const BASE: Command =
    Command { group: Group::Cluster, handler: Handler::Session(disabled), ..Command::BASE };
/// When what only shows something may run.
const ALWAYS: Flags = Flags::LOADING.with(Flags::STALE);
/// What the commands that change the cluster may do and when.
const CHANGES: Flags = Flags::ADMIN.with(Flags::NO_ASYNC_LOADING).with(Flags::STALE);

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "ASKING",
        summary: "Lets the next command run on a slot that is being imported.",
        since: "3.0.0",
        arity: Arity::Exactly(1),
        flags: Flags::FAST,
        acl: Acl::CONNECTION,
        ..BASE
    },
    Command {
        name: "CLUSTER",
        summary: "Holds the commands about the cluster.",
        since: "3.0.0",
        complexity: "Depends on the subcommand",
        arity: Arity::AtLeast(2),
        subcommands: SUBCOMMANDS,
        ..BASE
    },
    Command {
        name: "READONLY",
        summary: "Lets the connection read from a replica of the cluster.",
        since: "3.0.0",
        arity: Arity::Exactly(1),
        flags: ALWAYS.with(Flags::FAST),
        acl: Acl::CONNECTION,
        ..BASE
    },
    Command {
        name: "READWRITE",
        summary: "Takes READONLY back.",
        since: "3.0.0",
        arity: Arity::Exactly(1),
        flags: ALWAYS.with(Flags::FAST),
        acl: Acl::CONNECTION,
        ..BASE
    },
];

const SLOTS: &[Argument] = &[Argument::new("slot", ArgumentKind::Integer).multiple()];

const SLOT_RANGES: &[Argument] = &[Argument::block(
    "range",
    &[
        Argument::new("start-slot", ArgumentKind::Integer),
        Argument::new("end-slot", ArgumentKind::Integer),
    ],
)
.multiple()];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "ADDSLOTS",
        summary: "Gives slots to this node.",
        since: "3.0.0",
        arity: Arity::AtLeast(3),
        flags: CHANGES,
        arguments: SLOTS,
        ..BASE
    },
    Command {
        name: "ADDSLOTSRANGE",
        summary: "Gives ranges of slots to this node.",
        since: "7.0.0",
        arity: Arity::AtLeast(4),
        flags: CHANGES,
        arguments: SLOT_RANGES,
        ..BASE
    },
    Command {
        name: "BUMPEPOCH",
        summary: "Raises the epoch of the configuration.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: CHANGES,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "COUNT-FAILURE-REPORTS",
        summary: "Counts the reports that a node has failed.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.with(Flags::STALE),
        tips: &["nondeterministic_output"],
        arguments: &[Argument::new("node-id", ArgumentKind::String)],
        ..BASE
    },
    Command {
        name: "COUNTKEYSINSLOT",
        summary: "Counts the keys of a slot.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: Flags::STALE,
        arguments: &[Argument::new("slot", ArgumentKind::Integer)],
        ..BASE
    },
    Command {
        name: "DELSLOTS",
        summary: "Takes slots from this node.",
        since: "3.0.0",
        arity: Arity::AtLeast(3),
        flags: CHANGES,
        arguments: SLOTS,
        ..BASE
    },
    Command {
        name: "DELSLOTSRANGE",
        summary: "Takes ranges of slots from this node.",
        since: "7.0.0",
        arity: Arity::AtLeast(4),
        flags: CHANGES,
        arguments: SLOT_RANGES,
        ..BASE
    },
    Command {
        name: "FAILOVER",
        summary: "Makes this replica the primary.",
        since: "3.0.0",
        arity: Arity::AtLeast(2),
        flags: CHANGES,
        arguments: &[Argument::one_of(
            "options",
            &[Argument::token("force", "FORCE"), Argument::token("takeover", "TAKEOVER")],
        )
        .optional()],
        ..BASE
    },
    Command {
        name: "FLUSHSLOTS",
        summary: "Takes all slots from this node.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: CHANGES,
        ..BASE
    },
    Command {
        name: "FORGET",
        summary: "Forgets a node.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: CHANGES,
        arguments: &[Argument::new("node-id", ArgumentKind::String)],
        ..BASE
    },
    Command {
        name: "GETKEYSINSLOT",
        summary: "Returns keys of a slot.",
        since: "3.0.0",
        arity: Arity::Exactly(4),
        flags: Flags::STALE,
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::new("slot", ArgumentKind::Integer),
            Argument::new("count", ArgumentKind::Integer),
        ],
        ..BASE
    },
    Command {
        name: "HELP",
        summary: "Lists the subcommands.",
        since: "5.0.0",
        arity: Arity::Exactly(2),
        flags: ALWAYS,
        ..BASE
    },
    Command {
        name: "INFO",
        summary: "Returns the state of the cluster.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: Flags::STALE,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "KEYSLOT",
        summary: "Returns the slot of a key.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: Flags::STALE,
        arguments: &[Argument::new("key", ArgumentKind::String)],
        ..BASE
    },
    Command {
        name: "LINKS",
        summary: "Lists the connections between nodes.",
        since: "7.0.0",
        arity: Arity::Exactly(2),
        flags: Flags::STALE,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "MEET",
        summary: "Makes another node known.",
        since: "3.0.0",
        arity: Arity::AtLeast(4),
        flags: CHANGES,
        arguments: &[
            Argument::new("ip", ArgumentKind::String),
            Argument::new("port", ArgumentKind::Integer),
            Argument::new("cluster-bus-port", ArgumentKind::Integer).since("4.0.0").optional(),
        ],
        ..BASE
    },
    Command {
        name: "MYID",
        summary: "Returns the id of this node.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: Flags::STALE,
        ..BASE
    },
    Command {
        name: "MYSHARDID",
        summary: "Returns the id of the shard of this node.",
        since: "7.2.0",
        arity: Arity::Exactly(2),
        flags: Flags::STALE,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "NODES",
        summary: "Returns the configuration as the nodes see it.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: Flags::STALE,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "REPLICAS",
        summary: "Lists the replicas of a primary.",
        since: "5.0.0",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.with(Flags::STALE),
        tips: &["nondeterministic_output"],
        arguments: &[Argument::new("node-id", ArgumentKind::String)],
        ..BASE
    },
    Command {
        name: "REPLICATE",
        summary: "Makes this node the replica of a primary.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: CHANGES,
        arguments: &[Argument::new("node-id", ArgumentKind::String)],
        ..BASE
    },
    Command {
        name: "RESET",
        summary: "Forgets the cluster.",
        since: "3.0.0",
        arity: Arity::AtLeast(2),
        flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE),
        arguments: &[Argument::one_of(
            "reset-type",
            &[Argument::token("hard", "HARD"), Argument::token("soft", "SOFT")],
        )
        .optional()],
        ..BASE
    },
    Command {
        name: "SAVECONFIG",
        summary: "Writes the configuration of the cluster.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: CHANGES,
        ..BASE
    },
    Command {
        name: "SET-CONFIG-EPOCH",
        summary: "Sets the epoch of a new node.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: CHANGES,
        arguments: &[Argument::new("config-epoch", ArgumentKind::Integer)],
        ..BASE
    },
    Command {
        name: "SETSLOT",
        summary: "Binds a slot to a node.",
        since: "3.0.0",
        arity: Arity::AtLeast(4),
        flags: CHANGES,
        arguments: &[
            Argument::new("slot", ArgumentKind::Integer),
            Argument::one_of(
                "subcommand",
                &[
                    Argument::new("importing", ArgumentKind::String)
                        .after("IMPORTING")
                        .display("node-id"),
                    Argument::new("migrating", ArgumentKind::String)
                        .after("MIGRATING")
                        .display("node-id"),
                    Argument::new("node", ArgumentKind::String).after("NODE").display("node-id"),
                    Argument::token("stable", "STABLE"),
                ],
            ),
        ],
        ..BASE
    },
    Command {
        name: "SHARDS",
        summary: "Maps slots to shards.",
        since: "7.0.0",
        arity: Arity::Exactly(2),
        flags: ALWAYS,
        tips: &["nondeterministic_output"],
        ..BASE
    },
    Command {
        name: "SLAVES",
        summary: "Lists the replicas of a primary.",
        since: "3.0.0",
        arity: Arity::Exactly(3),
        flags: Flags::ADMIN.with(Flags::STALE),
        tips: &["nondeterministic_output"],
        arguments: &[Argument::new("node-id", ArgumentKind::String)],
        deprecated: Some(("5.0.0", "`CLUSTER REPLICAS`")),
        ..BASE
    },
    Command {
        name: "SLOTS",
        summary: "Maps slots to nodes.",
        since: "3.0.0",
        arity: Arity::Exactly(2),
        flags: ALWAYS,
        tips: &["nondeterministic_output"],
        deprecated: Some(("7.0.0", "`CLUSTER SHARDS`")),
        ..BASE
    },
];

fn disabled(_cx: &mut SessionContext<'_>, _args: Args<'_>, _reply: &mut Reply<'_>) -> Outcome {
    Err(CommandError::ClusterDisabled)
}
