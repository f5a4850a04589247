//! The command table as commands see it: COMMAND and INFO describe all of them.
//!
//! Invariant: the table itself, with its hash and its ways, belongs to `dispatch/`; commands get this
//! view of it in their context, so that nothing here depends on how a request is routed.

use super::Command;

/// One command or subcommand of the table.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Its record.
    pub command: &'static Command,
    /// Its number: its place in `CoreStats::commands`.
    pub number: usize,
    /// Lower-case name, of a subcommand with its container's: `client|list`.
    pub full_name: &'static str,
}

/// Every command of this build.
pub trait CommandTable: Sync {
    /// The commands, without subcommands.
    fn commands(&self) -> Vec<Listed>;

    /// The subcommands of a container, hidden parts included.
    fn parts(&self, container: Listed) -> Vec<Listed>;

    /// The command of this name, in any case.
    fn command(&self, name: &[u8]) -> Option<Listed>;

    /// The subcommands of a container, as clients see them.
    fn subcommands(&self, container: Listed) -> Vec<Listed> {
        let mut parts = self.parts(container);
        parts.retain(|part| !part.command.hidden);
        parts
    }

    /// The subcommand of a container, in any case.
    fn subcommand(&self, container: Listed, name: &[u8]) -> Option<Listed> {
        let matches = |part: &Listed| part.command.name.as_bytes().eq_ignore_ascii_case(name);
        self.subcommands(container).into_iter().find(matches)
    }
}

/// The command that a request runs which begins with these words; behind a container, only with a
/// known subcommand.
pub fn find(table: &dyn CommandTable, name: &[u8], second: Option<&[u8]>) -> Option<Listed> {
    let command = table.command(name)?;
    match second {
        Some(word) if command.command.is_container() => table.subcommand(command, word),
        _ => Some(command),
    }
}

/// The command of a full name, `config` or `config|get`.
pub fn find_full_name(table: &dyn CommandTable, name: &[u8]) -> Option<Listed> {
    let mut words = name.split(|byte| *byte == b'|');
    let command = table.command(words.next()?)?;
    match (words.next(), words.next()) {
        (None, _) => Some(command),
        (Some(word), None) if command.command.is_container() => table.subcommand(command, word),
        _ => None,
    }
}
