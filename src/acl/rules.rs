//! The language of ACL SETUSER: one word is one rule, and a group of them in parentheses is a
//! selector.
//!
//! Invariant: a request changes a user by all of its rules or by none; error texts are those of a
//! stock server. Source: the ACL SETUSER page of Redis 8.0; `db=`, `alldbs` and `resetdbs` are those
//! of Valkey 9.1.

use std::borrow::Cow;

use super::catalogue::Catalogue;
use super::password::PasswordHash;
use super::selector::{KeyNeed, KeyPattern, Scope, Selector};
use super::user::User;
use crate::base::words::{c_integer, split_args};

/// What the configuration says of permissions that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `acl-pubsub-default allchannels`: a new selector allows every channel.
    pub all_channels: bool,
}

/// Why a rule was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command, subcommand or category.
    UnknownCommand,
    /// No rule begins like this, or its pattern has a blank in it.
    Syntax,
    /// A key pattern where every key is allowed already.
    KeysAfterAll,
    /// A channel pattern where every channel is allowed already.
    ChannelsAfterAll,
    /// The password to be removed is none of the user's.
    NoSuchPassword,
    /// Not 64 lower-case hexadecimal digits.
    BadHash,
    /// First arguments are for commands, not for subcommands.
    FirstArgOfPart,
    /// No database can have this number.
    DatabaseOutOfRange,
    /// A configuration file speaks of a user twice.
    DuplicateUser,
}

impl RuleError {
    /// What is wrong, as a stock server says it.
    pub fn text(self) -> &'static str {
        match self {
            Self::UnknownCommand => "Unknown command or category name in ACL",
            Self::Syntax => "Syntax error",
            Self::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::FirstArgOfPart => "Allowing first-arg of a subcommand is not supported",
            Self::DatabaseOutOfRange => "The provided database ID is out of range",
            Self::DuplicateUser => {
                "Duplicate user found. A user can only be defined once in config files"
            }
        }
    }
}

/// Why a list of rules was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetUserError {
    /// This rule is wrong.
    Rule(Vec<u8>, RuleError),
    /// The parenthesis that this word begins with is not closed.
    Unmatched(Vec<u8>),
}

impl SetUserError {
    /// What ACL SETUSER answers, without its code.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Rule(rule, error) => {
                let head: &[u8] = b"Error in ACL SETUSER modifier '";
                [head, rule, b"': ", error.text().as_bytes()].concat()
            }
            Self::Unmatched(word) => {
                let head: &[u8] = b"Unmatched parenthesis in acl selector starting at '";
                [head, word, b"'."].concat()
            }
        }
    }
}

/// Joins the words of selectors that were sent in several: `(+get`, `~a*)`. An error holds the word
/// whose parenthesis stays open.
pub fn join_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Cow<'a, [u8]>>, &'a [u8]> {
    let mut joined = Vec::with_capacity(words.len());
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for word in words {
        let closes = word.ends_with(b")");
        match &mut open {
            None if word.starts_with(b"(") && !closes => open = Some((word, word.to_vec())),
            None => joined.push(Cow::Borrowed(*word)),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if closes {
                    joined.extend(open.take().map(|(_, selector)| Cow::Owned(selector)));
                }
            }
        }
    }
    match open {
        None => Ok(joined),
        Some((first, _)) => Err(first),
    }
}

/// Applies rules to a user, one after the other; after an error the user is half changed.
pub fn apply_all(
    user: &mut User,
    words: &[&[u8]],
    catalogue: &Catalogue,
    defaults: Defaults,
) -> Result<(), SetUserError> {
    let rules = join_selectors(words).map_err(|word| SetUserError::Unmatched(word.to_vec()))?;
    for rule in rules {
        apply(user, &rule, catalogue, defaults)
            .map_err(|error| SetUserError::Rule(rule.into_owned(), error))?;
    }
    Ok(())
}

/// Applies one rule to a user; a user whose rule is wrong stays as it was.
pub fn apply(
    user: &mut User,
    rule: &[u8],
    catalogue: &Catalogue,
    defaults: Defaults,
) -> Result<(), RuleError> {
    match rule.to_ascii_lowercase().as_slice() {
        b"" => {}
        b"on" => user.enabled = true,
        b"off" => user.enabled = false,
        b"skip-sanitize-payload" => user.skips_sanitizing = true,
        b"sanitize-payload" => user.skips_sanitizing = false,
        b"nopass" => {
            user.nopass = true;
            user.passwords.clear();
        }
        b"resetpass" => {
            user.nopass = false;
            user.passwords.clear();
        }
        b"clearselectors" => user.selectors.truncate(1),
        b"reset" => user.reset(catalogue, defaults),
        _ => return apply_with_value(user, rule, catalogue, defaults),
    }
    Ok(())
}

fn apply_with_value(
    user: &mut User,
    rule: &[u8],
    catalogue: &Catalogue,
    defaults: Defaults,
) -> Result<(), RuleError> {
    match rule {
        [b'>', password @ ..] => user.add_password(PasswordHash::of(password)),
        [b'#', digits @ ..] => {
            user.add_password(PasswordHash::parse(digits).ok_or(RuleError::BadHash)?);
        }
        [b'<', password @ ..] => user.remove_password(PasswordHash::of(password))?,
        [b'!', digits @ ..] => {
            user.remove_password(PasswordHash::parse(digits).ok_or(RuleError::BadHash)?)?;
        }
        [b'(', rules @ .., b')'] => {
            let mut selector = Selector::new(catalogue.len(), defaults.all_channels);
            // With an open quote it has no words, as in stock servers.
            for rule in split_args(rules).unwrap_or_default() {
                apply_to_selector(&mut selector, &rule, catalogue)?;
            }
            user.selectors.push(selector);
        }
        _ => apply_to_selector(&mut user.selectors[0], rule, catalogue)?,
    }
    Ok(())
}

fn apply_to_selector(
    selector: &mut Selector,
    rule: &[u8],
    catalogue: &Catalogue,
) -> Result<(), RuleError> {
    match rule.to_ascii_lowercase().as_slice() {
        b"allkeys" | b"~*" => selector.keys = Scope::All,
        b"resetkeys" => selector.keys = Scope::NOTHING,
        b"allchannels" | b"&*" => selector.channels = Scope::All,
        b"resetchannels" => selector.channels = Scope::NOTHING,
        b"allcommands" | b"+@all" => selector.set_all_commands(true),
        b"nocommands" | b"-@all" => selector.set_all_commands(false),
        b"alldbs" => selector.databases = Scope::All,
        b"resetdbs" => selector.databases = Scope::NOTHING,
        [b'd', b'b', b'=', list @ ..] => selector.databases = Scope::Only(databases(list)?),
        _ => return apply_pattern(selector, rule, catalogue),
    }
    Ok(())
}

fn apply_pattern(
    selector: &mut Selector,
    rule: &[u8],
    catalogue: &Catalogue,
) -> Result<(), RuleError> {
    match rule {
        [b'~' | b'%', ..] => add_key_pattern(selector, rule),
        [b'&', pattern @ ..] => {
            let Scope::Only(channels) = &mut selector.channels else {
                return Err(RuleError::ChannelsAfterAll);
            };
            let pattern = unbroken(pattern)?;
            if !channels.contains(&pattern) {
                channels.push(pattern);
            }
            Ok(())
        }
        [sign @ (b'+' | b'-'), b'@', name @ ..] => {
            let category = catalogue.category(name).ok_or(RuleError::UnknownCommand)?;
            selector.set_category(catalogue, category, *sign == b'+');
            Ok(())
        }
        [b'+', name @ ..] => allow_command(selector, name, catalogue),
        [b'-', name @ ..] => {
            let number = catalogue.find(name).ok_or(RuleError::UnknownCommand)?;
            selector.set_command(catalogue, number, false);
            Ok(())
        }
        _ => Err(RuleError::Syntax),
    }
}

/// `~pattern`, or `%R~pattern` and its kin.
fn add_key_pattern(selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
    let Scope::Only(patterns) = &mut selector.keys else { return Err(RuleError::KeysAfterAll) };
    let (allows, pattern) = match rule {
        [b'%', rest @ ..] => key_permissions(rest)?,
        _ => (KeyNeed::BOTH, &rule[1..]),
    };
    let pattern = unbroken(pattern)?;
    match patterns.iter_mut().find(|known| known.pattern == pattern) {
        Some(known) => {
            known.allows.read |= allows.read;
            known.allows.write |= allows.write;
        }
        None => patterns.push(KeyPattern { allows, pattern }),
    }
    // It is written as `~*`, which is read as every key: another pattern beside it could not be read
    // back.
    let is_all = |one: &KeyPattern| one.allows == KeyNeed::BOTH && *one.pattern == *b"*";
    if patterns.iter().any(is_all) {
        selector.keys = Scope::All;
    }
    Ok(())
}

/// The letters before `~`, each once and one at least, and the pattern behind it. Without `~` the
/// pattern is the empty one.
fn key_permissions(text: &[u8]) -> Result<(KeyNeed, &[u8]), RuleError> {
    let mut allows = KeyNeed::default();
    let end = text.iter().position(|byte| *byte == b'~').unwrap_or(text.len());
    for letter in &text[..end] {
        match letter.to_ascii_uppercase() {
            b'R' if !allows.read => allows.read = true,
            b'W' if !allows.write => allows.write = true,
            _ => return Err(RuleError::Syntax),
        }
    }
    if allows == KeyNeed::default() {
        return Err(RuleError::Syntax);
    }
    Ok((allows, text.get(end + 1..).unwrap_or_default()))
}

/// `name`, `container|part` or `name|first-arg`.
fn allow_command(
    selector: &mut Selector,
    name: &[u8],
    catalogue: &Catalogue,
) -> Result<(), RuleError> {
    let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
        let number = catalogue.find(name).ok_or(RuleError::UnknownCommand)?;
        selector.set_command(catalogue, number, true);
        return Ok(());
    };
    let number = catalogue.find(&name[..bar]).ok_or(RuleError::UnknownCommand)?;
    let entry = catalogue.entry(number);
    let arg = &name[bar + 1..];
    if entry.is_part {
        return Err(RuleError::FirstArgOfPart);
    }
    if arg.is_empty() {
        return Err(RuleError::Syntax);
    }
    if catalogue.has_named_parts(number) {
        let part = catalogue.find(name).ok_or(RuleError::UnknownCommand)?;
        selector.set_command(catalogue, part, true);
        return Ok(());
    }
    // What cannot stand in a line of an ACL file would change its meaning there.
    let plain = arg.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'()".contains(byte));
    match std::str::from_utf8(arg) {
        Ok(arg) if plain => selector.allow_first_arg(entry, number, arg),
        _ => return Err(RuleError::Syntax),
    }
    Ok(())
}

/// Numbers with commas between, ascending and each once.
fn databases(list: &[u8]) -> Result<Vec<u32>, RuleError> {
    let mut numbers = Vec::new();
    for word in list.split(|byte| *byte == b',') {
        let number = c_integer(word).filter(|_| !word.is_empty()).ok_or(RuleError::Syntax)?;
        let number = i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok());
        numbers.push(number.ok_or(RuleError::DatabaseOutOfRange)?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// A pattern that stays in one piece in a line of an ACL file.
fn unbroken(pattern: &[u8]) -> Result<Box<[u8]>, RuleError> {
    if has_blanks(pattern) { Err(RuleError::Syntax) } else { Ok(pattern.into()) }
}

/// True with a blank or a zero byte in it: no name and no pattern of users has one.
pub fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, 0 | b' ' | b'\t'..=b'\r'))
}

#[cfg(test)]
pub(super) mod tests;
