//! The command table: all records joined, numbered, and found by a perfect hash of the name.
//!
//! Invariant: names are unique (checked when the crate is built); a command's number is its place in
//! the statistics of every core. Names may be changed before the first core starts, and never again.

use std::sync::{Arc, OnceLock};

use crate::acl::{Catalogue, Entry, Users};
use crate::command::keyspec::{Begin, Find};
use crate::command::{Acl, Args, Command, CommandTable, Handler, Listed};
use crate::commands;
use crate::config::Config;

/// Slots of the hash; a power of two.
const SLOTS: usize = 4096;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();

const _: () = assert!(names_are_unique(), "two commands have the same name");

/// Where a command's keys lead it; computed once from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The client's home core.
    Home,
    /// The owner of the key at this word.
    OneKey(u8),
    /// The owners of all keys that the specs name.
    Keys,
    /// All partitions.
    Keyspace,
    /// The owners of all keys, or all partitions, as a function says.
    Reaching,
    /// The owner of the slot that a function reads from the arguments.
    Located,
    /// A loan of the partitions of its keys, which it keeps for a while.
    Migrating,
    /// Wherever its batch is.
    Here,
    /// A part on every core.
    Whole,
    /// Where the queue of the connection leads it.
    Exec,
    /// Where the keys are that the script may touch.
    Script,
}

/// A command with what the table knows of it.
#[derive(Debug)]
pub struct Registered {
    /// Its record.
    pub command: &'static Command,
    /// Its number.
    pub id: usize,
    /// What clients call it, in upper case unless an operator has said otherwise; None if nobody can.
    name: Option<&'static str>,
    /// Lower-case name, of a subcommand with its container's: `client|list`.
    pub full_name: &'static str,
    /// Where its keys lead it.
    pub way: Way,
    /// Numbers of its subcommands.
    pub subcommands: std::ops::Range<usize>,
    /// Its folded name, where that is all of it.
    folded: Option<Folded>,
}

/// All commands and subcommands.
#[derive(Debug)]
pub struct Table {
    registered: Vec<Registered>,
    top_level: usize,
    slots: Box<[u16; SLOTS]>,
    seed: u64,
    catalogue: Catalogue,
}

static TABLE: OnceLock<Table> = OnceLock::new();

/// The table of this process: that of the build, unless another was installed before.
pub fn table() -> &'static Table {
    TABLE.get_or_init(Table::build)
}

/// Makes this the table of the process. Once, before anybody asks for it.
pub fn install(table: Table) {
    assert!(TABLE.set(table).is_ok(), "the start installs the table before it uses one");
}

impl Table {
    /// The table of this build.
    pub fn build() -> Table {
        let all = || commands::ALL.iter().flat_map(|slice| slice.iter());
        let top_level = all().count();
        let (mut registered, mut nested) = (Vec::new(), Vec::new());
        for command in all() {
            let first = top_level + nested.len();
            let name = command.name.to_ascii_lowercase();
            for (at, subcommand) in command.subcommands.iter().enumerate() {
                let full = if subcommand.hidden {
                    name.clone()
                } else {
                    format!("{name}|{}", subcommand.name.to_ascii_lowercase())
                };
                nested.push(Registered::new(subcommand, first + at, full, 0..0));
            }
            let subcommands = first..top_level + nested.len();
            registered.push(Registered::new(command, registered.len(), name, subcommands));
        }
        registered.append(&mut nested);
        let (seed, slots) = perfect_hash(&registered[..top_level]);
        let catalogue = catalogue(&registered);
        Table { registered, top_level, slots, seed, catalogue }
    }

    /// Gives a command another name, or none; its old one means nothing then. Records and rules keep
    /// their names. Source: rename-command in redis.conf of Redis 8.0.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), String> {
        let found = self.command(old).ok_or("No such command in rename-command")?.id;
        let new = String::from_utf8(new.to_vec())
            .map_err(|_| "rename-command takes names in UTF-8".to_owned())?;
        let alike = |one: &Registered| {
            one.name.is_some_and(|name| Folded::of(name.as_bytes()) == Folded::of(new.as_bytes()))
        };
        let others = self.top_level().iter().filter(|one| one.id != found);
        if !new.is_empty() && others.clone().any(alike) {
            return Err("Target command name already exists".into());
        }
        let one = &mut self.registered[found];
        one.name = (!new.is_empty()).then(|| &*Box::leak(new.into_boxed_str()));
        one.folded = one.name.and_then(|name| Folded::whole(name.as_bytes()));
        (self.seed, self.slots) = perfect_hash(self.top_level());
        Ok(())
    }

    /// The command with this name in its record, whatever clients call it; for what a server with
    /// other names has written. O(commands).
    pub fn by_record(&self, name: &[u8]) -> Option<&Registered> {
        self.top_level().iter().find(|one| one.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The commands as rules speak of them.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The users of a server before any rule: only `default`, with the password of `requirepass`.
    pub fn first_users(&'static self, config: &Config) -> Arc<Users> {
        Arc::new(Users::new(&self.catalogue).require_password(&config.requirepass))
    }

    /// The command of this name, in any case. Subcommands are not looked at.
    #[inline]
    pub fn command(&self, name: &[u8]) -> Option<&Registered> {
        let folded = Folded::of(name);
        let number = self.slots[folded.slot(self.seed)] as usize;
        let found = self.registered.get(number)?;
        let same = match &found.folded {
            Some(whole) => *whole == folded,
            None => found.name.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(name)),
        };
        same.then_some(found)
    }

    /// The subcommand of `container` with this name, in any case.
    pub fn subcommand(&self, container: &Registered, name: &[u8]) -> Option<&Registered> {
        self.registered[container.subcommands.clone()]
            .iter()
            .find(|one| one.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The command or subcommand that a request names. A container without a known subcommand is
    /// found as itself.
    #[inline]
    pub fn lookup(&self, args: Args<'_>) -> Option<&Registered> {
        let found = self.command(args.get(0))?;
        if found.subcommands.is_empty() || args.len() < 2 {
            return Some(found);
        }
        Some(self.subcommand(found, args.get(1)).unwrap_or(found))
    }

    /// Every command and subcommand, by number.
    pub fn all(&self) -> &[Registered] {
        &self.registered
    }

    /// The commands without the subcommands.
    pub fn top_level(&self) -> &[Registered] {
        &self.registered[..self.top_level]
    }

    /// The subcommands of a container.
    pub fn subcommands_of(&self, container: &Registered) -> &[Registered] {
        &self.registered[container.subcommands.clone()]
    }
}

impl CommandTable for Table {
    fn commands(&self) -> Vec<Listed> {
        let named = self.top_level().iter().filter(|one| one.name.is_some());
        named.map(Registered::listed).collect()
    }

    fn parts(&self, container: Listed) -> Vec<Listed> {
        let container = &self.registered[container.number];
        self.subcommands_of(container).iter().map(Registered::listed).collect()
    }

    fn command(&self, name: &[u8]) -> Option<Listed> {
        Table::command(self, name).map(Registered::listed)
    }
}

impl Registered {
    /// As commands see it.
    pub fn listed(&self) -> Listed {
        Listed { command: self.command, number: self.id, full_name: self.full_name }
    }

    fn new(
        command: &'static Command,
        id: usize,
        full_name: String,
        subcommands: std::ops::Range<usize>,
    ) -> Registered {
        // Names live as long as the process: sessions point to them.
        let full_name = Box::leak(full_name.into_boxed_str());
        let folded = Folded::whole(command.name.as_bytes());
        let (name, way) = (Some(command.name), way_of(command));
        Registered { command, id, name, full_name, way, subcommands, folded }
    }
}

/// The commands as rules speak of them.
fn catalogue(registered: &[Registered]) -> Catalogue {
    let mut entries: Vec<Entry> = registered.iter().map(entry).collect();
    for container in registered {
        for part in container.subcommands.clone() {
            let hidden = registered[part].command.hidden;
            entries[part].is_part = !hidden;
            entries[part].counts_as = hidden.then_some(container.id as u16);
        }
    }
    let categories = Acl::NAMES.iter().map(|(category, name)| (category.bits(), *name)).collect();
    Catalogue::new(entries, categories)
}

fn entry(one: &Registered) -> Entry {
    Entry {
        full_name: one.full_name,
        categories: one.command.acl.derived(one.command.flags).bits(),
        parts: one.subcommands.clone(),
        is_part: false,
        counts_as: None,
    }
}

fn way_of(command: &Command) -> Way {
    match command.handler {
        Handler::Container | Handler::Session(_) => Way::Home,
        Handler::Keyspace(_) => Way::Keyspace,
        Handler::Located(..) => Way::Located,
        Handler::Reaching(..) => Way::Reaching,
        Handler::Migrating(_) => Way::Migrating,
        Handler::Here(_) => Way::Here,
        Handler::Whole(_) => Way::Whole,
        Handler::Exec => Way::Exec,
        Handler::Script(_) => Way::Script,
        Handler::Keyed(_) => match command.keys {
            [spec] => match (spec.begin, spec.find) {
                (Begin::Index(index), Find::Range { last: 0, .. }) => Way::OneKey(index as u8),
                _ => Way::Keys,
            },
            _ => Way::Keys,
        },
    }
}

/// Tries seeds until no two names share a slot.
fn perfect_hash(commands: &[Registered]) -> (u64, Box<[u16; SLOTS]>) {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        let mut slots = Box::new([u16::MAX; SLOTS]);
        let mut named = commands.iter().filter_map(|one| Some((one.id, one.name?)));
        let free = named.all(|(number, name)| {
            let slot = &mut slots[Folded::of(name.as_bytes()).slot(seed)];
            std::mem::replace(slot, number as u16) == u16::MAX
        });
        if free {
            return (seed, slots);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) | 1;
    }
}

/// The first and the last bytes of a name with its case folded, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Folded {
    first: u64,
    last: u64,
    len: usize,
}

impl Folded {
    /// Up to so many bytes are all in the first or the last.
    const WHOLE_BYTES_MAX: usize = 16;

    #[inline]
    fn of(name: &[u8]) -> Folded {
        let (first, last) = match *name {
            [] => (0, 0),
            [a] => (u64::from(a), 0),
            [a, b] => (u64::from(a), u64::from(b)),
            [a, b, c] => (u64::from(a) | u64::from(b) << 8, u64::from(c)),
            _ if name.len() < 8 => (word32(&name[..4]), word32(&name[name.len() - 4..])),
            _ => (word64(&name[..8]), word64(&name[name.len() - 8..])),
        };
        let fold = 0xdfdf_dfdf_dfdf_dfdf;
        Folded { first: first & fold, last: last & fold, len: name.len() }
    }

    /// A name that no other name of its length folds to but itself in another case: only letters,
    /// since of those only the two cases become one.
    fn whole(name: &[u8]) -> Option<Folded> {
        let letters = name.iter().all(u8::is_ascii_alphabetic);
        (letters && name.len() <= Folded::WHOLE_BYTES_MAX).then(|| Folded::of(name))
    }

    /// Mixes all, takes the high bits of a product.
    #[inline]
    fn slot(self, seed: u64) -> usize {
        let mixed = self.first.wrapping_mul(seed) ^ self.last.rotate_left(29);
        let mixed = (mixed ^ self.len as u64).wrapping_mul(seed);
        (mixed >> (64 - SLOT_BITS)) as usize
    }
}

fn word32(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn word64(bytes: &[u8]) -> u64 {
    word32(bytes) | word32(&bytes[4..]) << 32
}

const fn names_are_unique() -> bool {
    let mut slice = 0;
    while slice < commands::ALL.len() {
        let mut at = 0;
        while at < commands::ALL[slice].len() {
            let name = commands::ALL[slice][at].name.as_bytes();
            if count_of(name) != 1 {
                return false;
            }
            at += 1;
        }
        slice += 1;
    }
    true
}

const fn count_of(name: &[u8]) -> usize {
    let (mut count, mut slice) = (0, 0);
    while slice < commands::ALL.len() {
        let mut at = 0;
        while at < commands::ALL[slice].len() {
            if same(commands::ALL[slice][at].name.as_bytes(), name) {
                count += 1;
            }
            at += 1;
        }
        slice += 1;
    }
    count
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        let table = table();
        for one in table.top_level() {
            let lower = one.command.name.to_ascii_lowercase();
            assert_eq!(table.command(lower.as_bytes()).map(|found| found.id), Some(one.id));
        }
        assert!(table.command(b"nosuchcommand").is_none());
        assert!(table.command(b"").is_none());
    }

    #[test]
    fn a_byte_that_folds_to_another_names_no_command() {
        let table = table();
        for one in table.top_level() {
            let name = one.command.name.as_bytes();
            for at in 0..name.len() {
                for byte in 0..=u8::MAX {
                    let mut other = name.to_vec();
                    other[at] = byte;
                    let found = table.command(&other).map(|found| found.command.name);
                    let same = byte.eq_ignore_ascii_case(&name[at]);
                    assert_eq!(found == Some(one.command.name), same, "{}", other.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn commands_get_other_names_or_none() {
        let mut table = Table::build();
        let long = b"b840fc02d524045429941cc15f59e41cb7be6c52";
        assert_eq!(table.rename(b"config", long), Ok(()));
        assert_eq!(table.rename(b"FLUSHALL", b""), Ok(()));
        assert_eq!(table.rename(b"get", b"GET"), Ok(()));
        let none = Err("No such command in rename-command".to_owned());
        assert_eq!(table.rename(b"flushall", b"x"), none);
        assert_eq!(table.rename(b"config", b"x"), none);
        let taken = Err("Target command name already exists".to_owned());
        assert_eq!(table.rename(b"set", b"Get"), taken);
        let name_of = |name: &[u8]| table.command(name).map(|one| one.command.name);
        assert_eq!(name_of(long), Some("CONFIG"));
        assert_eq!(name_of(&long.to_ascii_uppercase()), Some("CONFIG"));
        assert_eq!((name_of(b"config"), name_of(b"flushall")), (None, None));
        assert_eq!((name_of(b"get"), name_of(b"set")), (Some("GET"), Some("SET")));
        assert_eq!(table.by_record(b"flushall").map(|one| one.command.name), Some("FLUSHALL"));
        assert_eq!(CommandTable::commands(&table).len(), table.top_level().len() - 1);
    }

    #[test]
    fn names_that_swap_keep_their_places() {
        let mut table = Table::build();
        let places = [(&b"get"[..], &b"tmp"[..]), (b"set", b"get"), (b"tmp", b"set")];
        for (old, new) in places {
            assert_eq!(table.rename(old, new), Ok(()));
        }
        assert_eq!(table.command(b"get").map(|one| one.command.name), Some("SET"));
        assert_eq!(table.command(b"set").map(|one| one.command.name), Some("GET"));
    }
}
