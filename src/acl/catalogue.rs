//! The commands as rules speak of them: names, numbers, categories.
//!
//! Invariant: an entry's number is its place; the parts of a container stand together. Built once,
//! from the table of commands, and never changed.

use std::collections::BTreeMap;
use std::ops::Range;

/// A name of a set of commands, with its bit in `Entry::categories`.
pub type Category = (u32, &'static str);

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Lower-case name, of a subcommand with its container's: `config|get`.
    pub full_name: &'static str,
    /// The bits of its categories.
    pub categories: u32,
    /// Numbers of the subcommands.
    pub parts: Range<usize>,
    /// It is a subcommand as rules see it.
    pub is_part: bool,
    /// The command whose permission counts for it, where it has no name of its own.
    pub counts_as: Option<u16>,
}

/// Every command.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_name: BTreeMap<&'static str, u16>,
    categories: Vec<Category>,
}

impl Catalogue {
    /// Takes one entry for each number, and the categories in the order of ACL CAT.
    pub fn new(entries: Vec<Entry>, categories: Vec<Category>) -> Catalogue {
        let named = entries.iter().enumerate().filter(|(_, entry)| entry.counts_as.is_none());
        let by_name = named.map(|(number, entry)| (entry.full_name, number as u16)).collect();
        Catalogue { entries, by_name, categories }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any command.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of a command by its full name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let number = self.by_name.get(std::str::from_utf8(&name).ok()?)?;
        Some(usize::from(*number))
    }

    /// The entry of a number.
    pub fn entry(&self, number: usize) -> &Entry {
        &self.entries[number]
    }

    /// Every entry with its number.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate()
    }

    /// True for a container, whose subcommands have permissions of their own.
    pub fn has_named_parts(&self, number: usize) -> bool {
        let mut parts = self.entries[number].parts.clone();
        parts.any(|part| self.entries[part].counts_as.is_none())
    }

    /// The number whose permission counts for a command.
    #[inline]
    pub fn counts_as(&self, number: usize) -> usize {
        self.entries[number].counts_as.map_or(number, usize::from)
    }

    /// The bit and the name of a category, in any case and without `@`.
    pub fn category(&self, name: &[u8]) -> Option<Category> {
        let same = |one: &&Category| one.1.as_bytes().eq_ignore_ascii_case(name);
        self.categories.iter().find(same).copied()
    }

    /// The names of all categories.
    pub fn categories(&self) -> impl ExactSizeIterator<Item = &'static str> {
        self.categories.iter().map(|(_, name)| *name)
    }
}
