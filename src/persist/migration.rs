//! A migration: keys on their way to another server, and what became of them. Data that a command,
//! the event loop and the control plane hand each other.
//!
//! Invariant: the keys' partitions are kept from everybody until the outcome is known, so that no
//! client meets a key that is on its way. Source: MIGRATE.

use std::time::Duration;

use bytes::Bytes;

/// How far a migration is.
#[derive(Debug)]
pub enum Migration {
    /// A command wants it.
    Wanted(Box<Parcel>),
    /// The other server has answered, or has not.
    Ended(Outcome),
}

/// What is sent, and where to.
#[derive(Debug)]
pub struct Parcel {
    /// The other server.
    pub target: Target,
    /// How long any one operation of the socket may take.
    pub timeout: Duration,
    /// The words of AUTH, if there is a password.
    pub auth: Vec<Vec<u8>>,
    /// Its database.
    pub db: i64,
    /// For each key the word of the command that names it.
    pub words: Vec<usize>,
    /// As many RESTORE requests, in pieces.
    pub requests: Vec<Bytes>,
}

/// A server, as MIGRATE names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port; 0 is none that could be reached.
    pub port: u16,
}

/// What became of the keys.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The words of the keys that the other server has.
    pub arrived: Vec<usize>,
    /// What went wrong: the line of an error, code first.
    pub error: Option<String>,
}

/// Writes the head of a request of so many words.
pub fn push_count(request: &mut Vec<u8>, words: usize) {
    request.extend_from_slice(format!("*{words}\r\n").as_bytes());
}

/// Writes a word of a request.
pub fn push_word(request: &mut Vec<u8>, word: &[u8]) {
    push_len(request, word.len() as u64);
    request.extend_from_slice(word);
    request.extend_from_slice(b"\r\n");
}

/// Writes what stands before a word of so many bytes, which are followed by a line's end.
pub fn push_len(request: &mut Vec<u8>, len: u64) {
    request.extend_from_slice(format!("${len}\r\n").as_bytes());
}
