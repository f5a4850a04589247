//! A selector: one set of permissions. A user may do what one of its selectors allows as a whole.
//!
//! Invariant: the bit of every command is what its `rules` make of `allows_future`, applied one
//! after the other; so the rules can be shown and read again. Source: the ACL page of Redis 8.0.

use super::catalogue::{Catalogue, Entry};
use crate::base::glob::stringmatch;

/// What a request does to a key, as far as permissions tell it apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyNeed {
    /// The value is returned or copied.
    pub read: bool,
    /// Data is added, changed or deleted.
    pub write: bool,
}

impl KeyNeed {
    /// Reading and writing.
    pub const BOTH: KeyNeed = KeyNeed { read: true, write: true };

    fn covers(self, need: KeyNeed) -> bool {
        self.read >= need.read && self.write >= need.write
    }
}

/// Keys of a glob pattern, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) allows: KeyNeed,
    pub(super) pattern: Box<[u8]>,
}

/// A set that is everything, or what stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope<T> {
    All,
    Only(Vec<T>),
}

impl<T> Scope<T> {
    pub(super) const NOTHING: Scope<T> = Scope::Only(Vec::new());

    pub(super) fn is_all(&self) -> bool {
        matches!(self, Scope::All)
    }

    pub(super) fn list(&self) -> &[T] {
        match self {
            Scope::All => &[],
            Scope::Only(list) => list,
        }
    }
}

/// A rule about commands as it is shown: `+get`, `-@dangerous`, `+config|get`, `+select|0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandRule {
    pub(super) allow: bool,
    pub(super) name: String,
}

/// One set of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// One bit for each command of the catalogue.
    bits: Vec<u64>,
    /// Made from everything by taking away, so that commands to come are in it.
    pub(super) allows_future: bool,
    pub(super) rules: Vec<CommandRule>,
    /// Commands that are allowed with one of these first arguments only, lower case.
    first_args: Vec<(u16, Box<[u8]>)>,
    pub(super) keys: Scope<KeyPattern>,
    pub(super) channels: Scope<Box<[u8]>>,
    /// Numbers of databases, ascending.
    pub(super) databases: Scope<u32>,
}

impl Selector {
    /// Allows nothing, but any database; and any channel if that is the default.
    pub(super) fn new(commands: usize, all_channels: bool) -> Selector {
        Selector {
            bits: vec![0; commands.div_ceil(64)],
            allows_future: false,
            rules: Vec::new(),
            first_args: Vec::new(),
            keys: Scope::NOTHING,
            channels: if all_channels { Scope::All } else { Scope::NOTHING },
            databases: Scope::All,
        }
    }

    /// True if command `number` may be run. `first_arg` is the first word behind its name.
    #[inline]
    pub fn allows_command(&self, number: usize, first_arg: Option<&[u8]>) -> bool {
        self.has_bit(number) || self.allows_first_arg(number, first_arg)
    }

    #[cold]
    fn allows_first_arg(&self, number: usize, first_arg: Option<&[u8]>) -> bool {
        let Some(arg) = first_arg else { return false };
        let listed = self.first_args.iter().filter(|(of, _)| usize::from(*of) == number);
        listed.into_iter().any(|(_, known)| known.eq_ignore_ascii_case(arg))
    }

    /// True for any key.
    #[inline]
    pub fn allows_all_keys(&self) -> bool {
        self.keys.is_all()
    }

    /// True if this may be done with the key.
    pub fn allows_key(&self, key: &[u8], need: KeyNeed) -> bool {
        let fits = |one: &KeyPattern| one.allows.covers(need) && matches(&one.pattern, key);
        self.keys.is_all() || self.keys.list().iter().any(fits)
    }

    /// True if every key may be read: what SORT's BY and GET ask for.
    pub fn allows_reading_all_keys(&self) -> bool {
        let fits = |one: &KeyPattern| one.allows.read && *one.pattern == *b"*";
        self.keys.is_all() || self.keys.list().iter().any(fits)
    }

    /// True for any channel.
    #[inline]
    pub fn allows_all_channels(&self) -> bool {
        self.channels.is_all()
    }

    /// True if the channel may be used. A pattern of channels must stand in the list as it is.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let fits = |known: &[u8]| {
            if is_pattern { known == channel } else { matches(known, channel) }
        };
        self.channels.is_all() || self.channels().any(fits)
    }

    /// The channel patterns that are listed; none if every channel is allowed.
    pub fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.channels.list().iter().map(|pattern| &**pattern)
    }

    /// True for any database.
    #[inline]
    pub fn allows_all_databases(&self) -> bool {
        self.databases.is_all()
    }

    /// True if the database may be used.
    pub fn allows_database(&self, number: usize) -> bool {
        let number = u32::try_from(number);
        self.databases.is_all() || number.is_ok_and(|one| self.databases.list().contains(&one))
    }

    /// True if it allows all there is.
    pub fn is_unrestricted(&self, catalogue: &Catalogue) -> bool {
        self.keys.is_all()
            && self.channels.is_all()
            && self.databases.is_all()
            && (0..catalogue.len()).all(|number| self.has_bit(number))
    }

    /// `+@all` and `-@all`.
    pub(super) fn set_all_commands(&mut self, allow: bool) {
        self.bits.fill(if allow { u64::MAX } else { 0 });
        self.allows_future = allow;
        self.rules.clear();
        self.first_args.clear();
    }

    /// Allows or forbids a command, with its subcommands.
    pub(super) fn set_command(&mut self, catalogue: &Catalogue, number: usize, allow: bool) {
        self.set_bits(catalogue, number, allow);
        self.note_rule(catalogue.entry(number).full_name, allow);
    }

    /// Allows or forbids the commands of a category.
    pub(super) fn set_category(
        &mut self,
        catalogue: &Catalogue,
        (bit, name): (u32, &str),
        allow: bool,
    ) {
        for (number, entry) in catalogue.entries() {
            if entry.categories & bit != 0 && entry.counts_as.is_none() {
                self.set_bits(catalogue, number, allow);
            }
        }
        self.note_rule(&format!("@{name}"), allow);
    }

    /// Allows a command with this first argument; both without blanks.
    pub(super) fn allow_first_arg(&mut self, entry: &Entry, number: usize, arg: &str) {
        let arg = arg.to_ascii_lowercase();
        self.note_rule(&format!("{}|{arg}", entry.full_name), true);
        let new = (number as u16, arg.into_bytes().into_boxed_slice());
        if !self.first_args.contains(&new) {
            self.first_args.push(new);
        }
    }

    fn has_bit(&self, number: usize) -> bool {
        self.bits[number / 64] >> (number % 64) & 1 == 1
    }

    fn set_bits(&mut self, catalogue: &Catalogue, number: usize, allow: bool) {
        self.first_args.retain(|(of, _)| usize::from(*of) != number);
        let parts = catalogue.entry(number).parts.clone();
        for number in std::iter::once(number).chain(parts) {
            let bit = 1 << (number % 64);
            if allow {
                self.bits[number / 64] |= bit;
            } else {
                self.bits[number / 64] &= !bit;
            }
        }
    }

    /// Adds a rule behind the others, those of the same name or of its subcommands gone.
    fn note_rule(&mut self, name: &str, allow: bool) {
        let overruled = |rule: &CommandRule| {
            let rest = rule.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        self.rules.retain(|rule| !overruled(rule));
        self.rules.push(CommandRule { allow, name: name.to_owned() });
    }
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    stringmatch(pattern, text, false)
}
