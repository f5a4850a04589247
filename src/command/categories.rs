//! ACL categories, derived from a command's flags and the data type that its record names.
//!
//! Invariant: nothing is declared that flags imply. Source: Redis' ACL categories.

use super::Flags;

/// A set of ACL categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acl(u32);

macro_rules! categories {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        #[allow(missing_docs)]
        impl Acl {
            /// No category.
            pub const NONE: Acl = Acl(0);
            $(pub const $name: Acl = Acl(1 << $bit);)*
            /// Every category with its name, in the order of ACL CAT.
            pub const NAMES: &'static [(Acl, &'static str)] = &[$((Acl::$name, $text)),*];
        }
    };
}

categories! {
    KEYSPACE = 0, "keyspace";
    READ = 1, "read";
    WRITE = 2, "write";
    SET = 3, "set";
    SORTEDSET = 4, "sortedset";
    LIST = 5, "list";
    HASH = 6, "hash";
    STRING = 7, "string";
    BITMAP = 8, "bitmap";
    HYPERLOGLOG = 9, "hyperloglog";
    GEO = 10, "geo";
    STREAM = 11, "stream";
    PUBSUB = 12, "pubsub";
    ADMIN = 13, "admin";
    FAST = 14, "fast";
    SLOW = 15, "slow";
    BLOCKING = 16, "blocking";
    DANGEROUS = 17, "dangerous";
    CONNECTION = 18, "connection";
    TRANSACTION = 19, "transaction";
    SCRIPTING = 20, "scripting";
}

impl Acl {
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Acl) -> Acl {
        Acl(self.0 | other.0)
    }

    /// True if all of `other` are set.
    pub const fn has(self, other: Acl) -> bool {
        self.0 & other.0 == other.0
    }

    /// As bits, in the order of `NAMES`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The declared categories and all that `flags` imply.
    #[must_use]
    pub fn derived(self, flags: Flags) -> Acl {
        let mut all = self;
        if flags.has(Flags::WRITE) {
            all = all.with(Acl::WRITE);
        }
        // What is for scripts' or the server's own use is no read of the user's data.
        if flags.has(Flags::READONLY) && !all.has(Acl::SCRIPTING) {
            all = all.with(Acl::READ);
        }
        if flags.has(Flags::ADMIN) {
            all = all.with(Acl::ADMIN).with(Acl::DANGEROUS);
        }
        if flags.has(Flags::PUBSUB) {
            all = all.with(Acl::PUBSUB);
        }
        if flags.has(Flags::BLOCKING) {
            all = all.with(Acl::BLOCKING);
        }
        all.with(if flags.has(Flags::FAST) { Acl::FAST } else { Acl::SLOW })
    }

    /// The names of the categories that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(category, _)| self.has(*category)).map(|(_, name)| *name)
    }
}
