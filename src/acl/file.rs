//! Users in files: the lines of an ACL file, and the `user` lines of a configuration file.
//!
//! Invariant: a file with any fault changes nothing; the report names every line with a fault, in
//! one line, as a stock server does. Source: ACL LOAD of Redis 8.0.6.

use super::catalogue::Catalogue;
use super::rules::{Defaults, RuleError, SetUserError, apply, has_blanks, join_selectors};
use super::user::User;
use super::users::Users;
use crate::base::words::trim_line;

/// What stands at the end of a report.
const UNCHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// Users with their names, as a file has them.
pub type FileUsers = Vec<(Vec<u8>, User)>;

/// Reads the text of the ACL file at `path`. An error is the report.
pub fn parse(
    text: &[u8],
    path: &[u8],
    catalogue: &Catalogue,
    defaults: Defaults,
) -> Result<FileUsers, Vec<u8>> {
    let mut users = FileUsers::new();
    let mut report = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = trim_line(line);
        if line.is_empty() {
            continue;
        }
        let place = [path, b":", (index + 1).to_string().as_bytes()].concat();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [b"user", name, rules @ ..] = words.as_slice() else {
            let fault: &[u8] = b" should start with user keyword followed by the username. ";
            report.extend([&place, fault].concat());
            continue;
        };
        if has_blanks(name) {
            let head: &[u8] = b": username '";
            let tail: &[u8] = b"' contains invalid characters. ";
            report.extend([b"'", &place[..], head, name, tail].concat());
        } else if users.iter().any(|(known, _)| known == name) {
            let tail = format!("' found on line {}. ", index + 1);
            report.extend([b"WARNING: Duplicate user '", *name, tail.as_bytes()].concat());
        } else {
            let user = read_rules(rules, &place, &mut report, (catalogue, defaults));
            users.push((name.to_vec(), user));
        }
    }
    if report.is_empty() {
        return Ok(users);
    }
    report.extend_from_slice(UNCHANGED.as_bytes());
    Err(report)
}

/// The user that these rules make. What is wrong with them goes into the report.
fn read_rules(
    rules: &[&[u8]],
    place: &[u8],
    report: &mut Vec<u8>,
    (catalogue, defaults): (&Catalogue, Defaults),
) -> User {
    let mut user = User::new(catalogue, defaults);
    let Ok(rules) = join_selectors(rules) else {
        report.extend([place, b": Unmatched parenthesis in selector definition."].concat());
        return user;
    };
    let mut has_fault = false;
    for rule in rules {
        let rule = trim_line(&rule);
        match apply(&mut user, rule, catalogue, defaults) {
            Ok(()) => {}
            Err(error @ RuleError::UnknownCommand) => {
                let reason = error.text().as_bytes();
                let head: &[u8] = b": Error in applying operation '";
                report.extend([place, head, rule, b"': ", reason, b". "].concat());
            }
            // Only the first of the others is named: what follows may come from it.
            Err(error) => {
                if !has_fault {
                    report.extend([place, b": ", error.text().as_bytes(), b". "].concat());
                }
                has_fault = true;
            }
        }
    }
    user
}

/// The users that a configuration file declares, in the order of its lines.
#[derive(Debug, Default)]
pub struct Declarations {
    users: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Declarations {
    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The names of the users.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.users.iter().map(|(name, _)| name.as_slice())
    }

    /// Takes the words behind `user`: a name and its rules. Commands that nobody knows are judged
    /// when the users are made. An error names the word as a stock server does, which counts from
    /// the beginning of the line.
    pub fn declare(&mut self, words: &[&[u8]], catalogue: &Catalogue) -> Result<(), String> {
        let [name, rules @ ..] = words else { return Ok(()) };
        let wrong = |word: usize, error: &str| {
            let word = if word == 0 { b"user" } else { words[word - 1] };
            let word = String::from_utf8_lossy(word);
            Err(format!("Error in user declaration '{word}': {error}"))
        };
        if self.users.iter().any(|(known, _)| known == name) {
            return wrong(1, RuleError::DuplicateUser.text());
        }
        let rules = match join_selectors(rules) {
            Ok(rules) => rules,
            Err(open) => {
                let at = rules.iter().position(|rule| std::ptr::eq(*rule, open));
                return wrong(at.unwrap_or(0), "Wrong format");
            }
        };
        let mut user = User::new(catalogue, Defaults::default());
        for (index, rule) in rules.iter().enumerate() {
            match apply(&mut user, rule, catalogue, Defaults::default()) {
                Ok(()) | Err(RuleError::UnknownCommand) => {}
                Err(error) => return wrong(index, error.text()),
            }
        }
        let rules = rules.into_iter().map(std::borrow::Cow::into_owned).collect();
        self.users.push((name.to_vec(), rules));
        Ok(())
    }

    /// The registry with the declared users in it; `default` begins anew if it is declared. An error
    /// is a line for the log.
    pub fn make(&self, mut users: Users, defaults: Defaults) -> Result<Users, Vec<u8>> {
        for (name, rules) in &self.users {
            if has_blanks(name) {
                return Err(b"Spaces not allowed in ACL usernames".to_vec());
            }
            let rules = rules.iter().map(Vec::as_slice);
            let rules: Vec<&[u8]> = std::iter::once(&b"reset"[..]).chain(rules).collect();
            users = users.set_user(name, &rules, defaults).map_err(|error| {
                let SetUserError::Rule(rule, error) = error else { return error.text() };
                let parts: [&[u8]; 6] = [
                    b"Error loading ACL rule '",
                    &rule,
                    b"' for the user named '",
                    name,
                    b"': ",
                    error.text().as_bytes(),
                ];
                parts.concat()
            })?;
        }
        Ok(users)
    }
}

/// The text of an ACL file that makes these users.
pub fn write(users: &Users) -> Vec<u8> {
    let mut text = Vec::new();
    for named in users.iter() {
        text.extend(named.user.line(&named.name));
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::catalogue;
    use super::*;

    fn report(text: &str) -> String {
        let parsed = parse(text.as_bytes(), b"users.acl", catalogue(), Defaults::default());
        String::from_utf8(parsed.expect_err("a fault")).expect("text")
    }

    #[test]
    fn what_is_written_is_read_back() {
        let users = Users::new(catalogue());
        let rules: [&[u8]; 5] = [b"on", b">x", b"%R~a*", b"+get", b"(~b* +@string)"];
        let users = users.set_user(b"alice", &rules, Defaults::default()).expect("good rules");
        let text = write(&users);
        let read = parse(&text, b"f", catalogue(), Defaults::default()).expect("no fault");
        assert_eq!(write(&users.replace(read)), text);
    }

    #[test]
    fn every_line_with_a_fault_is_named() {
        let text =
            report("user a on\n\nuser a nope\nadmin x\nuser b +nope ~a >x bad\nuser c (+get");
        assert_eq!(
            text,
            format!(
                "WARNING: Duplicate user 'a' found on line 3. \
                 users.acl:4 should start with user keyword followed by the username. \
                 users.acl:5: Error in applying operation '+nope': Unknown command or category name in ACL. \
                 users.acl:5: Syntax error. \
                 users.acl:6: Unmatched parenthesis in selector definition.{UNCHANGED}"
            )
        );
    }
}
