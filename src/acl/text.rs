//! Users as text: what ACL LIST prints, ACL SAVE and CONFIG REWRITE write, ACL GETUSER returns.
//!
//! Invariant: the text of a user, applied to a new user rule by rule, makes the same user. Source:
//! the replies of Redis 8.0.6; databases, which only Valkey 9.1 has, are left out where all are
//! allowed.

use super::selector::{KeyNeed, KeyPattern, Scope, Selector};
use super::user::User;

impl User {
    /// Flags, passwords and selectors, as rules with one blank between.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for flag in self.flags() {
            text.extend_from_slice(flag.as_bytes());
            text.push(b' ');
        }
        for password in self.passwords() {
            text.push(b'#');
            text.extend_from_slice(password.digits().as_bytes());
            text.push(b' ');
        }
        let [root, others @ ..] = self.selectors() else { return text };
        text.extend(root.text());
        for selector in others {
            text.extend_from_slice(b" (");
            text.extend(selector.text());
            text.push(b')');
        }
        text
    }

    /// The line that stands for a user in a file, without its end.
    pub fn line(&self, name: &[u8]) -> Vec<u8> {
        [b"user ", name, b" ", &self.text()].concat()
    }
}

impl Selector {
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let keys = self.keys_text();
        if !keys.is_empty() {
            text.extend(keys);
            text.push(b' ');
        }
        if !self.allows_all_channels() {
            text.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channels_text();
        if !channels.is_empty() {
            text.extend(channels);
            text.push(b' ');
        }
        if let Some(databases) = self.databases_text() {
            let rule: &[u8] = if databases.is_empty() { b"resetdbs" } else { &databases };
            text.extend_from_slice(rule);
            text.push(b' ');
        }
        text.extend(self.commands_text());
        text
    }

    /// `+@all` or `-@all`, and the rules behind it.
    pub fn commands_text(&self) -> Vec<u8> {
        let mut text = if self.allows_future { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allow { b" +" } else { b" -" });
            text.extend_from_slice(rule.name.as_bytes());
        }
        text
    }

    /// The key patterns; empty for none.
    pub fn keys_text(&self) -> Vec<u8> {
        let Scope::Only(patterns) = &self.keys else { return b"~*".to_vec() };
        let words: Vec<Vec<u8>> = patterns.iter().map(key_pattern).collect();
        words.join(&b' ')
    }

    /// The channel patterns; empty for none.
    pub fn channels_text(&self) -> Vec<u8> {
        let Scope::Only(patterns) = &self.channels else { return b"&*".to_vec() };
        let words: Vec<Vec<u8>> =
            patterns.iter().map(|pattern| [b"&", &**pattern].concat()).collect();
        words.join(&b' ')
    }

    /// The databases; empty for none. None where all are allowed.
    pub fn databases_text(&self) -> Option<Vec<u8>> {
        let Scope::Only(numbers) = &self.databases else { return None };
        let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let text = if words.is_empty() { String::new() } else { format!("db={}", words.join(",")) };
        Some(text.into_bytes())
    }
}

fn key_pattern(one: &KeyPattern) -> Vec<u8> {
    let head: &[u8] = match one.allows {
        KeyNeed { read: true, write: true } => b"~",
        KeyNeed { read: true, write: false } => b"%R~",
        KeyNeed { read: false, .. } => b"%W~",
    };
    [head, &one.pattern].concat()
}
