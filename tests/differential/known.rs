//! The committed list of what an older oracle answers unlike Redis 8.0.6.
//!
//! Invariant: an entry excuses one difference and no other: command, the oracle's reply and ours
//! must all fit. Format of a line, with `*` for any one word of the command, and at the end of a
//! reply for "and so on":
//!
//! ```text
//! 7.0 | CLIENT NO-TOUCH | -ERR unknown subcommand* | * | since 7.2
//! ```

use super::support::quote::join;

/// The entries that apply to one oracle.
pub(crate) struct KnownDifferences {
    entries: Vec<Entry>,
}

struct Entry {
    /// First words of the command, in upper case.
    words: Vec<String>,
    oracle: String,
    ours: String,
}

impl KnownDifferences {
    /// Reads the list and keeps what is about this version of the oracle.
    pub(crate) fn of_oracle(version: &str) -> Self {
        let lines = LIST.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.filter_map(|line| {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [series, words, oracle, ours, reason] = columns[..] else {
                panic!("known_differences.txt: five columns, not {line:?}");
            };
            assert!(!reason.is_empty(), "known_differences.txt: no reason in {line:?}");
            let words = words.split_whitespace().map(str::to_owned).collect();
            let entry = Entry { words, oracle: oracle.to_owned(), ours: ours.to_owned() };
            version.starts_with(&format!("{series}.")).then_some(entry)
        });
        Self { entries: entries.collect() }
    }

    /// Whether an entry excuses these two replies to this command.
    pub(crate) fn excuse(&self, argv: &[Vec<u8>], oracle: &[String], ours: &[String]) -> bool {
        let command = join(argv).to_ascii_uppercase();
        let words: Vec<&str> = command.split(' ').collect();
        self.entries.iter().any(|entry| {
            words.len() >= entry.words.len()
                && entry
                    .words
                    .iter()
                    .zip(&words)
                    .all(|(wanted, word)| wanted == "*" || wanted == word)
                && fits(&entry.oracle, oracle)
                && fits(&entry.ours, ours)
        })
    }
}

fn fits(pattern: &str, reply: &[String]) -> bool {
    let reply = reply.join(" ");
    match pattern.strip_suffix('*') {
        Some(prefix) => reply.starts_with(prefix),
        None => reply == pattern,
    }
}

const LIST: &str = include_str!("known_differences.txt");
