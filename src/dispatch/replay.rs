//! Runs the commands of an AOF again: where each goes, and those that need one partition.
//!
//! Invariant: what is replayed passes no gate, was judged when it first ran, and tells nobody but
//! those who wait for its keys. Source: the loading of an AOF by stock servers, whose words for
//! a command that fails these are.

use super::route::{self, Place};
use super::table::{Table, Way, table};
use super::worker::Worker;
use crate::client::{Session, SessionFacts};
use crate::command::args::{ArgRange, Args};
use crate::command::context::Keyspace;
use crate::observe::log;
use crate::persist::aof::replay::{LineRef, Lines, Route, Router};
use crate::resp::reply::ReplyBuffer;
use crate::store::partition::Partition;
use crate::txn::cores::SlotMap;

/// Says where the commands of an AOF run, on so many cores.
pub fn router(map: SlotMap) -> Router {
    let (table, mut ranges) = (table(), Vec::new());
    Box::new(move |bytes, words| {
        place_words(words, &mut ranges);
        route_line(table, map, Args::new(bytes, &ranges, &[]))
    })
}

fn route_line(table: &Table, map: SlotMap, args: Args<'_>) -> Route {
    // What the server itself has written has the names of the records.
    let found = table.lookup(args).or_else(|| table.by_record(args.get(0)));
    let Some(registered) = found else { return Route::Unknown };
    if registered.command.is_container() && args.len() > 1 {
        return Route::Unknown;
    }
    let id = registered.id as u16;
    match registered.full_name {
        "select" => return Route::Select,
        "multi" | "exec" => return Route::Bracket,
        // It answers with an error, as it would to a client.
        _ if !registered.command.accepts(args.len()) => return Route::Everywhere(id),
        _ => {}
    }
    match registered.way {
        Way::OneKey(_) | Way::Keys | Way::Keyspace | Way::Reaching => {
            match route::place(registered, args, map) {
                Place::Core(owner) => Route::Owner(owner, id),
                _ => Route::Everywhere(id),
            }
        }
        _ => Route::Everywhere(id),
    }
}

/// Finds words that stand one behind the other.
fn place_words(words: &[u32], ranges: &mut Vec<ArgRange>) {
    ranges.clear();
    let mut start = 0;
    for &len in words {
        ranges.push(ArgRange { start, len });
        start += len;
    }
}

/// Gives the words of a line.
pub fn with_args<T>(
    line: LineRef<'_>,
    ranges: &mut Vec<ArgRange>,
    then: impl FnOnce(Args<'_>) -> T,
) -> T {
    place_words(line.words, ranges);
    then(Args::new(line.bytes, ranges, &[]))
}

/// The session of whoever replays an AOF.
pub fn replaying_session(worker: &Worker) -> Session {
    let mut session = Session::new(0, worker.now, true);
    session.facts.replays = true;
    session
}

impl Worker {
    /// Runs commands whose keys are all of this partition.
    pub fn replay(&mut self, partition: &mut Partition, lines: &Lines) {
        let mut facts: SessionFacts = replaying_session(self).facts;
        let (mut ranges, mut replies) = (Vec::new(), ReplyBuffer::default());
        self.start_clock();
        self.hint(None);
        for line in lines.iter() {
            facts.db = line.db;
            let registered = &self.table.all()[usize::from(line.id)];
            with_args(line, &mut ranges, |args| {
                let keyspace = Keyspace::One(partition);
                self.keyed(keyspace, &mut facts, registered, args, &mut replies);
            });
            tell_failure(&replies, registered.full_name);
            replies.clear();
        }
        // Nobody is to find these in the slow log.
        self.notes.clear();
    }
}

/// Tells the log of a command that failed, though it had not when it was written.
pub fn tell_failure(replies: &ReplyBuffer, command: &str) {
    let Some(text) = replies.bytes.strip_prefix(b"-") else { return };
    let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    log::warning(format!(
        "== CRITICAL == This server is sending an error to its AOF-loading-client: '{line}' after processing the command '{command}'"
    ));
}
