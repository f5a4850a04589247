//! The options that SET, GETEX and MSETEX share: a condition, GET, and what becomes of the expiry.
//!
//! Invariant: what is accepted, repeated words included, is what stock servers accept. Source:
//! Redis 8.0 for SET and GETEX; Valkey 9.1 for IFEQ and MSETEX.

use crate::base::time::Millis;
use crate::command::args::ArgValue;
use crate::command::{Args, CommandError};
use crate::resp::reply::Reply;

/// Whose options are parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Set,
    GetEx,
    MSetEx,
}

/// The options of one request.
pub(super) struct Options<'q> {
    pub(super) condition: Option<Condition<'q>>,
    /// Answer with the old value.
    pub(super) get: bool,
    pub(super) ttl: Ttl,
}

/// What must hold for a key to be set.
#[derive(Clone, Copy)]
pub(super) enum Condition<'q> {
    /// NX.
    Missing,
    /// XX.
    Exists,
    /// IFEQ.
    Equals(ArgValue<'q>),
}

/// What becomes of the expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    /// Nothing was said.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// Given in a unit, by the word of this index.
    Given(Unit, usize),
}

/// How an expiry is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// EX.
    Seconds,
    /// PX.
    Milliseconds,
    /// EXAT.
    UnixSeconds,
    /// PXAT.
    UnixMilliseconds,
}

impl Ttl {
    /// True if the expiry, as given, is the time itself in milliseconds.
    pub(super) fn is_unix_milliseconds(self) -> bool {
        matches!(self, Ttl::Given(Unit::UnixMilliseconds, _))
    }

    /// True if the expiry was given as a time, which may have passed.
    pub(super) fn is_unix_time(self) -> bool {
        matches!(self, Ttl::Given(Unit::UnixSeconds | Unit::UnixMilliseconds, _))
    }

    /// The time that was given, if one was. `command` is named in the error.
    pub(super) fn expires(
        self,
        args: Args<'_>,
        now: Millis,
        command: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Option<Millis>, CommandError> {
        match self {
            Ttl::Given(unit, index) => unit.expires(args, index, now, command, reply).map(Some),
            Ttl::Unsaid | Ttl::Keep | Ttl::Persist => Ok(None),
        }
    }
}

impl Unit {
    /// The time that word `index` means; not 0 or less, and within 64 bits. `command` is named in
    /// the error.
    pub(super) fn expires(
        self,
        args: Args<'_>,
        index: usize,
        now: Millis,
        command: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Millis, CommandError> {
        let given = args.integer(index)?;
        let millis = match self {
            Unit::Seconds | Unit::UnixSeconds => given.checked_mul(1000),
            Unit::Milliseconds | Unit::UnixMilliseconds => Some(given),
        };
        let time = match self {
            Unit::Seconds | Unit::Milliseconds => {
                millis.and_then(|millis| millis.checked_add(now.0))
            }
            Unit::UnixSeconds | Unit::UnixMilliseconds => millis,
        };
        match time {
            Some(time) if given > 0 => Ok(Millis(time)),
            _ => {
                reply.error(format!("ERR invalid expire time in '{command}' command"));
                Err(CommandError::Written)
            }
        }
    }
}

/// Parses the words from `from` on.
pub(super) fn parse(
    args: Args<'_>,
    from: usize,
    family: Family,
) -> Result<Options<'_>, CommandError> {
    let mut options = Options { condition: None, get: false, ttl: Ttl::Unsaid };
    let mut at = from;
    while at < args.len() {
        at += options.take(args, at, family).ok_or(CommandError::Syntax)?;
    }
    Ok(options)
}

impl<'q> Options<'q> {
    /// Takes the option at word `at`; the words that it has. None if it is none here.
    fn take(&mut self, args: Args<'q>, at: usize, family: Family) -> Option<usize> {
        let has_next = at + 1 < args.len();
        let sets = family != Family::GetEx;
        if let Some(unit) = unit(args, at) {
            let fits = match self.ttl {
                Ttl::Unsaid => true,
                Ttl::Given(before, _) => before == unit,
                Ttl::Keep | Ttl::Persist => false,
            };
            self.ttl = Ttl::Given(unit, at + 1);
            return (fits && has_next).then_some(2);
        }
        if args.is(at, "NX") && sets && matches!(self.condition, None | Some(Condition::Missing)) {
            self.condition = Some(Condition::Missing);
        } else if args.is(at, "XX")
            && sets
            && matches!(self.condition, None | Some(Condition::Exists))
        {
            self.condition = Some(Condition::Exists);
        } else if args.is(at, "GET") && family == Family::Set {
            self.get = true;
        } else if args.is(at, "KEEPTTL") && sets && matches!(self.ttl, Ttl::Unsaid | Ttl::Keep) {
            self.ttl = Ttl::Keep;
        } else if args.is(at, "PERSIST")
            && family == Family::GetEx
            && matches!(self.ttl, Ttl::Unsaid | Ttl::Persist)
        {
            self.ttl = Ttl::Persist;
        } else if args.is(at, "IFEQ")
            && family == Family::Set
            && has_next
            && self.condition.is_none()
        {
            self.condition = Some(Condition::Equals(args.value(at + 1)));
            return Some(2);
        } else {
            return None;
        }
        Some(1)
    }
}

fn unit(args: Args<'_>, at: usize) -> Option<Unit> {
    const UNITS: [(&str, Unit); 4] = [
        ("EX", Unit::Seconds),
        ("PX", Unit::Milliseconds),
        ("EXAT", Unit::UnixSeconds),
        ("PXAT", Unit::UnixMilliseconds),
    ];
    UNITS.iter().find(|(word, _)| args.is(at, word)).map(|(_, unit)| *unit)
}
