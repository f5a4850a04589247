//! Whether a user may run a request: the command, its keys, its channels, its databases.
//!
//! Invariant: one selector has to allow the whole request. A request whose keys cannot be found has
//! none here, and its handler answers with the error. Source: the ACL page of Redis 8.0; databases
//! and their precedence are those of Valkey 9.1.

use super::args::Args;
use super::categories::Acl;
use super::keyspec::{Access, keys_of};
use super::{Command, Flags, Listed};
use crate::acl::{Denied, KeyNeed, Reason, Selector, User, Users};
use crate::base::number;

/// Where the channels of a request stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// The first one.
    pub first: usize,
    /// All words from there on; else only that one.
    pub to_the_end: bool,
    /// They are patterns.
    pub patterns: bool,
}

/// A request whose command and number of words are right.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The command.
    pub command: Listed,
    /// Its words.
    pub args: Args<'a>,
    /// The selected database.
    pub db: usize,
    /// How many databases there are.
    pub databases: usize,
}

/// Checks a request. An error says what is denied: of several selectors, by the one that came
/// furthest.
pub fn check(users: &Users, user: &User, asked: &Asked<'_>) -> Result<(), Denied> {
    let mut relevant = Denied { reason: Reason::Database, word: 0 };
    let mut keys = None;
    for selector in user.selectors() {
        match check_selector(users, selector, asked, &mut keys) {
            Ok(()) => return Ok(()),
            Err(denied) => {
                let further = (denied.reason, denied.word) > (relevant.reason, relevant.word);
                relevant = if further { denied } else { relevant };
            }
        }
    }
    Err(relevant)
}

/// Checks a request that reads keys which it does not name: SORT with BY or GET. True if a selector
/// that allows it lets every key be read.
pub fn may_read_all_keys(users: &Users, user: &User, asked: &Asked<'_>) -> bool {
    let mut keys = None;
    user.selectors().iter().any(|selector| {
        selector.allows_reading_all_keys()
            && check_selector(users, selector, asked, &mut keys).is_ok()
    })
}

/// The error reply to a client whose request is denied, its code first.
pub fn refusal(denied: Denied, username: &[u8], full_name: &str) -> Vec<u8> {
    let tail: &[u8] = match denied.reason {
        Reason::Key => b"No permissions to access a key",
        Reason::Channel => b"No permissions to access a channel",
        Reason::Database => b"No permissions to access database",
        Reason::Command | Reason::Auth | Reason::Certificate => {
            let head: &[u8] = b"NOPERM User ";
            let middle: &[u8] = b" has no permissions to run the '";
            return [head, username, middle, full_name.as_bytes(), b"' command"].concat();
        }
    };
    [b"NOPERM ", tail].concat()
}

/// The error reply to a command that was queued before its user's permissions changed.
pub fn changed_since(denied: Denied) -> Vec<u8> {
    let reason = match denied.reason {
        Reason::Command | Reason::Auth | Reason::Certificate => {
            "no permission to execute the command or subcommand"
        }
        Reason::Key => "no permission to touch the specified keys",
        Reason::Channel => {
            "no permission to access one of the channels used as argument to the command"
        }
        Reason::Database => "no permission",
    };
    let head = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: ";
    [head, reason].concat().into_bytes()
}

/// What ACL DRYRUN answers to a request that would be denied.
pub fn explanation(denied: Denied, username: &[u8], full_name: &str, args: Args<'_>) -> Vec<u8> {
    let word = args.get(denied.word);
    let (middle, object, tail): (&[u8], &[u8], &[u8]) = match denied.reason {
        Reason::Key => (b"access the '", word, b"' key"),
        Reason::Channel => (b"access the '", word, b"' channel"),
        Reason::Database => (b"access database ", word, b""),
        Reason::Command | Reason::Auth | Reason::Certificate => {
            (b"run the '", full_name.as_bytes(), b"' command")
        }
    };
    [b"User ", username, b" has no permissions to ", middle, object, tail].concat()
}

/// What the keys of a request ask for: each word with what is done to it.
type Keys = Vec<(usize, KeyNeed)>;

fn check_selector(
    users: &Users,
    selector: &Selector,
    asked: &Asked<'_>,
    keys: &mut Option<Keys>,
) -> Result<(), Denied> {
    let (command, args) = (asked.command.command, asked.args);
    if !selector.allows_all_databases() {
        check_databases(selector, asked)?;
    }
    if !command.flags.has(Flags::NO_AUTH) {
        let number = users.catalogue().counts_as(asked.command.number);
        let is_part = asked.command.full_name.contains('|');
        if !selector.allows_command(number, args.opt(if is_part { 2 } else { 1 })) {
            return Err(Denied { reason: Reason::Command, word: 0 });
        }
    }
    if !selector.allows_all_keys() && !command.keys.is_empty() {
        for (word, need) in keys.get_or_insert_with(|| needs(command, args)) {
            if !selector.allows_key(args.get(*word), *need) {
                return Err(Denied { reason: Reason::Key, word: *word });
            }
        }
    }
    match command.channels {
        Some(channels) if !selector.allows_all_channels() => {
            check_channels(selector, channels, args)
        }
        _ => Ok(()),
    }
}

fn needs(command: &Command, args: Args<'_>) -> Keys {
    let mut keys = Keys::new();
    let of_request = command.key_access.map(|access_of| access_of(args));
    let found = keys_of(command.keys, args, |word, access| {
        keys.push((word, need(of_request.unwrap_or(access))));
    });
    if found.is_ok() { keys } else { Keys::new() }
}

fn need(access: Access) -> KeyNeed {
    let writes = [Access::INSERT, Access::DELETE, Access::UPDATE];
    KeyNeed {
        read: access.has(Access::ACCESS),
        write: writes.into_iter().any(|flag| access.has(flag)),
    }
}

fn check_channels(selector: &Selector, channels: Channels, args: Args<'_>) -> Result<(), Denied> {
    let end = if channels.to_the_end { args.len() } else { channels.first + 1 };
    for word in channels.first..end.min(args.len()) {
        if !selector.allows_channel(args.get(word), channels.patterns) {
            return Err(Denied { reason: Reason::Channel, word });
        }
    }
    Ok(())
}

#[cold]
fn check_databases(selector: &Selector, asked: &Asked<'_>) -> Result<(), Denied> {
    let command = asked.command.command;
    let denied = |word| Err(Denied { reason: Reason::Database, word });
    let shut = |db: usize| !selector.allows_database(db);
    if let Some(words_of) = command.databases {
        for (word, db) in named_databases(&words_of(asked.args), asked) {
            if shut(db) {
                return denied(word);
            }
        }
        // Its keys are those of the selected database, too.
        return if !command.keys.is_empty() && shut(asked.db) { denied(0) } else { Ok(()) };
    }
    if command.flags.has(Flags::ALL_DBS) {
        return if (0..asked.databases).any(shut) { denied(0) } else { Ok(()) };
    }
    let categories = command.acl.derived(command.flags);
    let of_keys = [Acl::KEYSPACE, Acl::READ, Acl::WRITE].into_iter().any(|one| categories.has(one));
    if (of_keys || !command.keys.is_empty()) && shut(asked.db) { denied(0) } else { Ok(()) }
}

/// The words that name databases, with their numbers. None of them if one is no database: then the
/// command does nothing but say so.
fn named_databases(words: &[usize], asked: &Asked<'_>) -> Vec<(usize, usize)> {
    let number = |word: &usize| {
        let db = usize::try_from(number::parse_i64(asked.args.opt(*word)?)?).ok()?;
        (db < asked.databases).then_some((*word, db))
    };
    words.iter().map(number).collect::<Option<Vec<_>>>().unwrap_or_default()
}
