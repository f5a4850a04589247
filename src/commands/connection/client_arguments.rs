//! The syntax of CLIENT KILL, CLIENT LIST and CLIENT TRACKING, as COMMAND DOCS prints it.
//!
//! Invariant: equal to the command reference; what carries a version above 8.0 is Valkey's.

use crate::command::{Argument, ArgumentKind};

/// What CLIENT KILL takes.
pub(super) const KILL: &[Argument] = &[Argument::one_of(
    "filter",
    &[
        Argument::new("old-format", ArgumentKind::String).deprecated("2.8.12").display("ip:port"),
        Argument::one_of(
            "new-format",
            &[
                Argument::new("client-id", ArgumentKind::Integer)
                    .after("ID")
                    .optional()
                    .multiple()
                    .since("2.8.12"),
                Argument::one_of(
                    "client-type",
                    &[
                        Argument::token("normal", "NORMAL"),
                        Argument::token("master", "MASTER").since("3.2.0"),
                        Argument::token("primary", "PRIMARY").since("8.0.0"),
                        Argument::token("slave", "SLAVE"),
                        Argument::token("replica", "REPLICA").since("5.0.0"),
                        Argument::token("pubsub", "PUBSUB"),
                    ],
                )
                .after("TYPE")
                .optional()
                .since("2.8.12"),
                Argument::new("username", ArgumentKind::String).after("USER").optional(),
                Argument::new("addr", ArgumentKind::String)
                    .after("ADDR")
                    .optional()
                    .display("ip:port"),
                Argument::new("laddr", ArgumentKind::String)
                    .after("LADDR")
                    .optional()
                    .since("6.2.0")
                    .display("ip:port"),
                Argument::one_of(
                    "skipme",
                    &[Argument::token("yes", "YES"), Argument::token("no", "NO")],
                )
                .after("SKIPME")
                .optional(),
                Argument::new("maxage", ArgumentKind::Integer)
                    .after("MAXAGE")
                    .optional()
                    .since("8.0.0"),
                Argument::new("name", ArgumentKind::String).after("NAME").optional().since("9.0.0"),
                Argument::new("idle", ArgumentKind::Integer)
                    .after("IDLE")
                    .optional()
                    .since("9.0.0"),
                Argument::new("flags", ArgumentKind::String)
                    .after("FLAGS")
                    .optional()
                    .since("9.0.0"),
                Argument::new("lib-name", ArgumentKind::String)
                    .after("LIB-NAME")
                    .optional()
                    .since("9.0.0"),
                Argument::new("lib-ver", ArgumentKind::String)
                    .after("LIB-VER")
                    .optional()
                    .since("9.0.0"),
                Argument::new("db", ArgumentKind::Integer).after("DB").optional().since("9.0.0"),
                Argument::new("capa", ArgumentKind::String).after("CAPA").optional().since("9.0.0"),
                Argument::new("ip", ArgumentKind::String).after("IP").optional().since("9.0.0"),
                Argument::one_of(
                    "not-client-type",
                    &[
                        Argument::token("normal", "NORMAL"),
                        Argument::token("master", "MASTER"),
                        Argument::token("primary", "PRIMARY"),
                        Argument::token("slave", "SLAVE"),
                        Argument::token("replica", "REPLICA"),
                        Argument::token("pubsub", "PUBSUB"),
                    ],
                )
                .after("NOT-TYPE")
                .optional()
                .since("9.0.0"),
                Argument::new("not-client-id", ArgumentKind::Integer)
                    .after("NOT-ID")
                    .optional()
                    .multiple()
                    .since("9.0.0"),
                Argument::new("not-username", ArgumentKind::String)
                    .after("NOT-USER")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-addr", ArgumentKind::String)
                    .after("NOT-ADDR")
                    .optional()
                    .since("9.0.0")
                    .display("ip:port"),
                Argument::new("not-laddr", ArgumentKind::String)
                    .after("NOT-LADDR")
                    .optional()
                    .since("9.0.0")
                    .display("ip:port"),
                Argument::new("not-name", ArgumentKind::String)
                    .after("NOT-NAME")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-flags", ArgumentKind::String)
                    .after("NOT-FLAGS")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-lib-name", ArgumentKind::String)
                    .after("NOT-LIB-NAME")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-lib-ver", ArgumentKind::String)
                    .after("NOT-LIB-VER")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-db", ArgumentKind::Integer)
                    .after("NOT-DB")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-capa", ArgumentKind::String)
                    .after("NOT-CAPA")
                    .optional()
                    .since("9.0.0"),
                Argument::new("not-ip", ArgumentKind::String)
                    .after("NOT-IP")
                    .optional()
                    .since("9.0.0"),
            ],
        )
        .multiple(),
    ],
)];

/// What CLIENT LIST takes.
pub(super) const LIST: &[Argument] = &[
    Argument::one_of(
        "client-type",
        &[
            Argument::token("normal", "NORMAL"),
            Argument::token("master", "MASTER"),
            Argument::token("replica", "REPLICA"),
            Argument::token("pubsub", "PUBSUB"),
        ],
    )
    .after("TYPE")
    .optional()
    .since("5.0.0"),
    Argument::new("client-id", ArgumentKind::Integer)
        .after("ID")
        .optional()
        .multiple()
        .since("6.2.0"),
    Argument::new("username", ArgumentKind::String).after("USER").optional().since("8.1.0"),
    Argument::new("addr", ArgumentKind::String)
        .after("ADDR")
        .optional()
        .since("8.1.0")
        .display("ip:port"),
    Argument::new("laddr", ArgumentKind::String)
        .after("LADDR")
        .optional()
        .since("8.1.0")
        .display("ip:port"),
    Argument::one_of("skipme", &[Argument::token("yes", "YES"), Argument::token("no", "NO")])
        .after("SKIPME")
        .optional()
        .since("8.1.0"),
    Argument::new("maxage", ArgumentKind::Integer).after("MAXAGE").optional().since("8.1.0"),
    Argument::new("name", ArgumentKind::String).after("NAME").optional().since("9.0.0"),
    Argument::new("idle", ArgumentKind::Integer).after("IDLE").optional().since("9.0.0"),
    Argument::new("flags", ArgumentKind::String).after("FLAGS").optional().since("9.0.0"),
    Argument::new("lib-name", ArgumentKind::String).after("LIB-NAME").optional().since("9.0.0"),
    Argument::new("lib-ver", ArgumentKind::String).after("LIB-VER").optional().since("9.0.0"),
    Argument::new("db", ArgumentKind::Integer).after("DB").optional().since("9.0.0"),
    Argument::new("capa", ArgumentKind::String).after("CAPA").optional().since("9.0.0"),
    Argument::new("ip", ArgumentKind::String).after("IP").optional().since("9.0.0"),
    Argument::one_of(
        "not-client-type",
        &[
            Argument::token("normal", "NORMAL"),
            Argument::token("master", "MASTER"),
            Argument::token("replica", "REPLICA"),
            Argument::token("pubsub", "PUBSUB"),
        ],
    )
    .after("NOT-TYPE")
    .optional()
    .since("9.0.0"),
    Argument::new("not-client-id", ArgumentKind::Integer)
        .after("NOT-ID")
        .optional()
        .multiple()
        .since("9.0.0"),
    Argument::new("not-username", ArgumentKind::String).after("NOT-USER").optional().since("9.0.0"),
    Argument::new("not-addr", ArgumentKind::String)
        .after("NOT-ADDR")
        .optional()
        .since("9.0.0")
        .display("ip:port"),
    Argument::new("not-laddr", ArgumentKind::String)
        .after("NOT-LADDR")
        .optional()
        .since("9.0.0")
        .display("ip:port"),
    Argument::new("not-name", ArgumentKind::String).after("NOT-NAME").optional().since("9.0.0"),
    Argument::new("not-flags", ArgumentKind::String).after("NOT-FLAGS").optional().since("9.0.0"),
    Argument::new("not-lib-name", ArgumentKind::String)
        .after("NOT-LIB-NAME")
        .optional()
        .since("9.0.0"),
    Argument::new("not-lib-ver", ArgumentKind::String)
        .after("NOT-LIB-VER")
        .optional()
        .since("9.0.0"),
    Argument::new("not-db", ArgumentKind::Integer).after("NOT-DB").optional().since("9.0.0"),
    Argument::new("not-capa", ArgumentKind::String).after("NOT-CAPA").optional().since("9.0.0"),
    Argument::new("not-ip", ArgumentKind::String).after("NOT-IP").optional().since("9.0.0"),
];

/// What CLIENT TRACKING takes.
pub(super) const TRACKING: &[Argument] = &[
    Argument::one_of("status", &[Argument::token("on", "ON"), Argument::token("off", "OFF")]),
    Argument::new("client-id", ArgumentKind::Integer).after("REDIRECT").optional(),
    Argument::new("prefix", ArgumentKind::String).after("PREFIX").optional().multiple_token(),
    Argument::token("bcast", "BCAST").optional(),
    Argument::token("optin", "OPTIN").optional(),
    Argument::token("optout", "OPTOUT").optional(),
    Argument::token("noloop", "NOLOOP").optional(),
];
