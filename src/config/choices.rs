//! The words that some directives accept, as Rust enums. Invariant: the order of a list is Redis'
//! order, since the error reply names the words in it.

/// One word and what it stands for; several words may stand for the same.
pub type Choice = (&'static str, u32);

/// Declares an enum whose variants are the words of one directive.
macro_rules! choices {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant,)+
        }

        impl $name {
            /// The directive's words, in the order of the error reply.
            pub const CHOICES: &'static [Choice] = &[$(($word, $name::$variant as u32),)+];

            /// The word of the configuration file.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }

            /// What a parsed value stands for. Values come only from [`Self::CHOICES`].
            pub(super) fn from_value(value: u32) -> Self {
                const VARIANTS: &[$name] = &[$($name::$variant,)+];
                VARIANTS[value as usize]
            }
        }
    };
}

choices! {
    /// What to evict when `maxmemory` is reached.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
}

choices! {
    /// How a replica takes a snapshot of its primary.
    DisklessLoad {
        Disabled = "disabled",
        OnEmptyDb = "on-empty-db",
        Swapdb = "swapdb",
        FlushBeforeLoad = "flush-before-load",
    }
}

choices! {
    /// The least important messages that are logged.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
}

choices! {
    /// How a log line is written. Source: Valkey 9.1.
    LogFormat {
        Legacy = "legacy",
        Logfmt = "logfmt",
        Json = "json",
    }
}

choices! {
    /// How the time of a log line is written. Source: Valkey 9.1.
    LogTimestampFormat {
        Legacy = "legacy",
        Iso8601 = "iso8601",
        Milliseconds = "milliseconds",
    }
}

choices! {
    /// The syslog facility.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

choices! {
    /// How the cores reach the kernel.
    IoBackend {
        Auto = "auto",
        IoUring = "io_uring",
        Epoll = "epoll",
    }
}

choices! {
    /// Who supervises the process.
    Supervised {
        Upstart = "upstart",
        Systemd = "systemd",
        Auto = "auto",
        No = "no",
    }
}

choices! {
    /// When the append-only file is synced.
    AppendFsync {
        EverySec = "everysec",
        Always = "always",
        No = "no",
    }
}

choices! {
    /// Whether clients have to show a certificate.
    TlsAuthClients {
        No = "no",
        Yes = "yes",
        Optional = "optional",
    }
}

choices! {
    /// Which part of a client's certificate names its user. Source: Valkey 9.1.
    TlsAuthClientsUser {
        Cn = "CN",
        Uri = "URI",
        Off = "off",
    }
}

choices! {
    /// Who may use a protected command or directive.
    ProtectedAction {
        No = "no",
        Yes = "yes",
        Local = "local",
    }
}

impl ProtectedAction {
    /// Whether a client may, given whether it came over a local connection.
    pub fn allows(self, local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => local,
        }
    }
}

choices! {
    /// How a new user may use channels.
    AclPubsubDefault {
        AllChannels = "allchannels",
        ResetChannels = "resetchannels",
    }
}

choices! {
    /// Whether files and payloads of versions that are not known are refused.
    RdbVersionCheck {
        Strict = "strict",
        Relaxed = "relaxed",
    }
}

choices! {
    /// Which RESTORE payloads are checked in depth.
    SanitizeDumpPayload {
        No = "no",
        Yes = "yes",
        Clients = "clients",
    }
}

/// `oom-score-adj`; `yes` and `relative` are the same.
pub const OOM_SCORE_ADJ: &[Choice] = &[("no", 0), ("yes", 1), ("relative", 1), ("absolute", 2)];

/// Bits of `shutdown-on-sigint` and `shutdown-on-sigterm`.
pub const SHUTDOWN_ON_SIGNAL: &[Choice] = &[
    ("default", 0),
    ("save", ShutdownFlags::SAVE),
    ("nosave", ShutdownFlags::NOSAVE),
    ("now", ShutdownFlags::NOW),
    ("force", ShutdownFlags::FORCE),
];

/// What a signal asks of SHUTDOWN; empty means the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownFlags(pub u32);

impl ShutdownFlags {
    /// Write a snapshot although no save point is configured.
    pub const SAVE: u32 = 1;
    /// Do not write a snapshot.
    pub const NOSAVE: u32 = 2;
    /// Do not wait for replicas.
    pub const NOW: u32 = 4;
    /// Go on when the snapshot fails.
    pub const FORCE: u32 = 8;

    /// Whether a bit is set.
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}
