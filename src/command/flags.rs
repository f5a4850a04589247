//! Command flags: what a command may do and when it may run.
//!
//! Invariant: names, order and meaning are those of COMMAND INFO; the flags that it hides have no name
//! and are listed last.

/// A set of command flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Flags {
            /// No flag.
            pub const NONE: Flags = Flags(0);
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*
            /// Every flag with the name that COMMAND INFO prints; empty if it hides the flag.
            pub const NAMES: &'static [(Flags, &'static str)] = &[$((Flags::$name, $text)),*];
        }
    };
}

flags! {
    /// May change the keyspace.
    WRITE = 0, "write";
    /// Only reads the keyspace.
    READONLY = 1, "readonly";
    /// May grow memory: refused at the limit.
    DENYOOM = 2, "denyoom";
    /// An operator's command.
    ADMIN = 3, "admin";
    /// Publishes or subscribes.
    PUBSUB = 4, "pubsub";
    /// Not from scripts.
    NOSCRIPT = 5, "noscript";
    /// May wait.
    BLOCKING = 6, "blocking";
    /// May run while data is loaded.
    LOADING = 7, "loading";
    /// May run on a replica that has lost its primary.
    STALE = 8, "stale";
    /// Never shown to MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Never in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Runs on an importing slot after ASKING.
    ASKING = 11, "asking";
    /// Constant or logarithmic time.
    FAST = 12, "fast";
    /// Runs before authentication.
    NO_AUTH = 13, "no_auth";
    /// Takes keys only if it is told so.
    NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
    /// Not on a replica's asynchronous loading.
    NO_ASYNC_LOADING = 15, "no_async_loading";
    /// Not inside MULTI.
    NO_MULTI = 16, "no_multi";
    /// Keys cannot be found by first, last and step alone.
    MOVABLEKEYS = 17, "movablekeys";
    /// Runs while a script is too long on its way.
    ALLOW_BUSY = 18, "allow_busy";
    /// Counts as a write where replicas are concerned, whatever it does.
    MAY_REPLICATE = 19, "";
    /// Needs a directive that allows it (DEBUG, MODULE).
    PROTECTED = 20, "";
    /// Touches every database.
    ALL_DBS = 21, "";
}

impl Flags {
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// The set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// True if all of `other` are set.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if any of `other` is set.
    #[inline]
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The names of the flags that are set and not hidden, in COMMAND INFO's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .filter(move |(flag, name)| self.has(*flag) && !name.is_empty())
            .map(|(_, name)| *name)
    }
}
