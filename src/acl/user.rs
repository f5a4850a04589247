//! A user: its name, passwords, flags, and the selectors that say what it may do.
//!
//! Invariant: the first selector is the root, which rules outside of parentheses change; the name
//! has no blanks, so that a user fits a line.

use super::catalogue::Catalogue;
use super::password::PasswordHash;
use super::rules::{Defaults, RuleError};
use super::selector::Selector;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(super) enabled: bool,
    pub(super) nopass: bool,
    pub(super) skips_sanitizing: bool,
    pub(super) passwords: Vec<PasswordHash>,
    pub(super) selectors: Vec<Selector>,
}

impl User {
    /// A user that cannot log in and may do nothing.
    pub fn new(catalogue: &Catalogue, defaults: Defaults) -> User {
        User {
            enabled: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(catalogue.len(), defaults.all_channels)],
        }
    }

    /// The rule `reset`.
    pub(super) fn reset(&mut self, catalogue: &Catalogue, defaults: Defaults) {
        *self = User::new(catalogue, defaults);
    }

    /// May log in.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Any password will do.
    pub fn has_nopass(&self) -> bool {
        self.nopass
    }

    /// RESTORE checks the payload of this user, unless the configuration says otherwise.
    pub fn is_sanitized(&self) -> bool {
        !self.skips_sanitizing
    }

    /// The sets of permissions, the root first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The hashes of the passwords.
    pub fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// The names of the flags, in the order in which they are shown.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let sanitizing =
            if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" };
        let state = if self.enabled { "on" } else { "off" };
        [Some(state), self.nopass.then_some("nopass"), Some(sanitizing)].into_iter().flatten()
    }

    /// True if this user may log in with this password. How long that takes depends on the number of
    /// the user's passwords and on the length of the one that was given alone.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = PasswordHash::of(password);
        let matches = |found: bool, known: &PasswordHash| known.matches(&given) | found;
        let known = self.passwords.iter().fold(false, matches);
        self.enabled && (self.nopass || known)
    }

    /// True if one selector allows all there is.
    pub fn is_unrestricted(&self, catalogue: &Catalogue) -> bool {
        self.selectors.iter().any(|selector| selector.is_unrestricted(catalogue))
    }

    /// True if somebody with these permissions may use every channel that `old` could use: then no
    /// subscriber has to go.
    pub fn keeps_channels_of(&self, old: &User) -> bool {
        let listed = |channel: &[u8]| self.channels().any(|known| known == channel);
        self.has_all_channels() || !old.has_all_channels() && old.channels().all(listed)
    }

    /// True if a selector lets the channel be used.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.selectors.iter().any(|one| one.allows_channel(channel, is_pattern))
    }

    fn has_all_channels(&self) -> bool {
        self.selectors.iter().any(Selector::allows_all_channels)
    }

    fn channels(&self) -> impl Iterator<Item = &[u8]> {
        self.selectors.iter().flat_map(Selector::channels)
    }

    pub(super) fn add_password(&mut self, hash: PasswordHash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.nopass = false;
    }

    pub(super) fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| *known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }
}
