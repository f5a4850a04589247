//! Key specs: where the keys of a request stand, as data.
//!
//! Invariant: extraction never trusts a count that a client sent: a spec that does not fit the
//! request is an error, never an index out of range. Source: Redis' key specifications.

use super::args::Args;
use crate::base::number;

/// How a key is accessed, with the flags that COMMAND INFO prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u16);

macro_rules! access {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Access {
            $($(#[$doc])* pub const $name: Access = Access(1 << $bit);)*
            /// Every flag with the name that COMMAND INFO prints.
            pub const NAMES: &'static [(Access, &'static str)] = &[$((Access::$name, $text)),*];
        }
    };
}

access! {
    /// Reads the value, does not change it.
    RO = 0, "RO";
    /// Reads and changes.
    RW = 1, "RW";
    /// Overwrites without looking.
    OW = 2, "OW";
    /// Removes without looking.
    RM = 3, "RM";
    /// Returns or copies the user's data.
    ACCESS = 4, "access";
    /// Changes the value by what it was or by arguments.
    UPDATE = 5, "update";
    /// Adds data without changing what is there.
    INSERT = 6, "insert";
    /// Deletes data explicitly.
    DELETE = 7, "delete";
    /// Not a key, but routed like one.
    NOT_KEY = 8, "not_key";
    /// May miss keys.
    INCOMPLETE = 9, "incomplete";
    /// Depends on the arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
}

impl Access {
    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// True if all of `other` are set.
    pub const fn has(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the flags that are set, in COMMAND INFO's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// Where the search begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At a fixed word.
    Index(u16),
    /// Behind a keyword, looked for from word `from` on (from the end if negative).
    Keyword {
        /// The word, upper case.
        word: &'static str,
        /// First word that is looked at.
        from: i16,
    },
    /// At the word that a function finds, which is the only key; to clients unknown.
    Found(fn(Args<'_>) -> Option<usize>),
    /// Cannot be said in advance.
    Unknown,
}

/// How the keys are found from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// A range: `last` relative to the begin if not negative, else from the end; `limit` divides the
    /// rest of the words if `last` is -1.
    Range {
        /// Last key.
        last: i16,
        /// Distance from key to key.
        step: u16,
        /// 0 or 1: no limit; 2: only the first half, and so on.
        limit: u16,
    },
    /// A word that counts the keys, which follow.
    Keynum {
        /// Where the count is, from the begin.
        count: u16,
        /// Where the first key is, from the begin.
        first: u16,
        /// Distance from key to key.
        step: u16,
    },
    /// Cannot be said in advance.
    Unknown,
}

/// One rule that finds keys.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: Begin,
    /// How it goes on.
    pub find: Find,
    /// What is done with the keys.
    pub access: Access,
    /// A remark that COMMAND INFO prints.
    pub notes: Option<&'static str>,
}

/// The keys of this request cannot be found: the command's name takes none, or its words are off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeys;

impl KeySpec {
    /// One key at word `index`.
    pub const fn one(index: u16, access: Access) -> KeySpec {
        KeySpec::range(index, 0, 1, access)
    }

    /// All words from `index` to `last` (relative to `index`, or from the end if negative).
    pub const fn range(index: u16, last: i16, step: u16, access: Access) -> KeySpec {
        KeySpec {
            begin: Begin::Index(index),
            find: Find::Range { last, step, limit: 0 },
            access,
            notes: None,
        }
    }

    /// All words behind a keyword, looked for from word `from` on, to `last`.
    pub const fn behind(word: &'static str, from: i16, last: i16, access: Access) -> KeySpec {
        let find = Find::Range { last, step: 1, limit: 0 };
        KeySpec { begin: Begin::Keyword { word, from }, find, access, notes: None }
    }

    /// A count at word `index` and the keys behind it, `step` apart.
    pub const fn counted(index: u16, step: u16, access: Access) -> KeySpec {
        KeySpec {
            begin: Begin::Index(index),
            find: Find::Keynum { count: 0, first: 1, step },
            access,
            notes: None,
        }
    }

    /// The key that a function finds, which no data can describe.
    pub const fn found(find: fn(Args<'_>) -> Option<usize>, access: Access) -> KeySpec {
        KeySpec { begin: Begin::Found(find), find: Find::Unknown, access, notes: None }
    }

    /// Keys that no word of the request names.
    pub const fn unknown(access: Access) -> KeySpec {
        KeySpec { begin: Begin::Unknown, find: Find::Unknown, access, notes: None }
    }

    /// With a remark.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = Some(notes);
        self
    }

    /// The words of `args` that this spec names as keys, as (first, last, step), inclusive.
    /// None if it names none in this request.
    pub fn locate(&self, args: Args<'_>) -> Result<Option<(usize, usize, usize)>, InvalidKeys> {
        let argc = args.len() as i64;
        let begin = match self.begin {
            Begin::Index(index) => i64::from(index),
            Begin::Keyword { word, from } => match keyword(args, word, from) {
                Some(index) => index as i64 + 1,
                None => return Ok(None),
            },
            Begin::Found(find) => return Ok(find(args).map(|index| (index, index, 1))),
            Begin::Unknown => return Ok(None),
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = match i64::from(last) {
                    last if last >= 0 => begin + last,
                    -1 if limit > 1 => begin + (argc - begin) / i64::from(limit) - 1,
                    last => argc + last,
                };
                (begin, last, i64::from(step))
            }
            Find::Keynum { count, first, step } => {
                let count_at = begin + i64::from(count);
                if count_at >= argc {
                    return Err(InvalidKeys);
                }
                let count = number::parse_i64(args.get(count_at as usize)).ok_or(InvalidKeys)?;
                // The bound keeps the arithmetic below far from overflow.
                if !(0..=argc).contains(&count) {
                    return Err(InvalidKeys);
                }
                if count == 0 {
                    return Ok(None);
                }
                let first = begin + i64::from(first);
                (first, first + (count - 1) * i64::from(step), i64::from(step))
            }
            Find::Unknown => return Ok(None),
        };
        if first < 1 || last >= argc || first > last {
            return Err(InvalidKeys);
        }
        Ok(Some((first as usize, last as usize, step as usize)))
    }
}

/// The keys of a request by all specs of its command: the index of each word and its access. A spec
/// that does not fit the request is an error, but the keys of the others are told before.
pub fn keys_of(
    specs: &[KeySpec],
    args: Args<'_>,
    mut found: impl FnMut(usize, Access),
) -> Result<(), InvalidKeys> {
    let mut result = Ok(());
    // An empty word is no key where others take its place. Source: MIGRATE.
    let is_replaced = |index: usize| {
        let others = specs.last().is_some_and(|last| last.access.has(Access::INCOMPLETE));
        others && args.opt(index).is_some_and(<[u8]>::is_empty)
    };
    for spec in specs.iter().filter(|spec| !spec.access.has(Access::NOT_KEY)) {
        match spec.locate(args) {
            Ok(Some((first, last, _))) if first == last && is_replaced(first) => {}
            Ok(None) => {}
            Ok(Some((first, last, step))) => {
                (first..=last).step_by(step).for_each(|index| found(index, spec.access));
            }
            Err(invalid) => result = Err(invalid),
        }
    }
    result
}

/// What COMMAND prints of keys beside their specs: one range, as clients of old read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// First key; 0 without any.
    pub first: i64,
    /// Last key, from the end if negative.
    pub last: i64,
    /// Distance from key to key.
    pub step: i64,
    /// The range does not name all keys.
    pub movable: bool,
}

impl KeyRange {
    /// Joins the specs that are ranges at fixed words; any other makes the keys movable. Source: what
    /// COMMAND INFO prints for the commands of a stock server.
    pub fn of(specs: &[KeySpec]) -> KeyRange {
        let mut joined = KeyRange::default();
        let mut end = 0;
        for spec in specs {
            joined.movable |= spec.access.has(Access::INCOMPLETE);
            let (Begin::Index(index), Find::Range { last, step, .. }) = (spec.begin, spec.find)
            else {
                joined.movable = true;
                continue;
            };
            let (first, last) = (i64::from(index), i64::from(last));
            let last = if last < 0 { last } else { first + last };
            if specs.len() == 1 {
                return KeyRange { first, last, step: i64::from(step), ..joined };
            }
            if step != 1 || end != 0 && end != first - 1 {
                joined.movable = true;
                continue;
            }
            if joined.first == 0 {
                (joined.first, joined.step) = (first, 1);
            }
            // As unsigned numbers, what counts from the end is behind all that counts from the begin.
            end = (end as u64).max(last as u64) as i64;
            joined.last = end;
        }
        joined
    }
}

fn keyword(args: Args<'_>, word: &str, from: i16) -> Option<usize> {
    let argc = args.len() as i64;
    if from >= 0 {
        (i64::from(from)..argc).map(|at| at as usize).find(|at| args.is(*at, word))
    } else {
        (1..=(argc + i64::from(from)).max(0))
            .rev()
            .map(|at| at as usize)
            .find(|at| args.is(*at, word))
    }
}
