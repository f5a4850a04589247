//! Runs the commands of an AOF again: where each goes, and those that need one partition.
//!
//! Invariant: what is replayed passes no gate, was judged when it first ran, and tells nobody but
//! those who wait for its keys. Source: the loading of an AOF by stock servers, whose words for
//! a command that fails these are.

use std::sync::atomic::Ordering::SeqCst;

use super::route::{self, Place};
use super::table::{Registered, Table, Way, table};
use super::worker::Worker;
use crate::client::{Session, SessionFacts};
use crate::command::Flags;
use crate::command::args::{ArgRange, Args, join};
use crate::command::context::Keyspace;
use crate::observe::log;
use crate::persist::aof::replay::{LineRef, Lines, Route, Router};
use crate::resp::reply::ReplyBuffer;
use crate::store::access::Stale;
use crate::store::partition::Partition;
use crate::txn::cores::SlotMap;
use crate::txn::multi::Transaction;

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
            self.tell_failure(&replies.bytes, registered.full_name);
            replies.clear();
        }
        // Nobody is to find these in the slow log.
        self.notes.clear();
    }
}

impl Worker {
    /// A chunk of a primary's stream is about to run. False if it must not: the link does not count
    /// any more, or the data is being replaced.
    pub(super) fn begin_followed(&self, transaction: &mut Transaction) -> bool {
        let Some(followed) = &mut transaction.followed else { return false };
        followed.has_begun =
            !self.server.persistence.is_loading() && self.server.primary_link.begin(followed.term);
        followed.has_begun
    }

    /// It has run: whoever has its partitions next finds how far the history has come.
    pub(super) fn end_followed(&self, transaction: &Transaction) {
        if let Some(followed) = transaction.followed
            && followed.has_begun
        {
            let link = &self.server.primary_link;
            link.applied.store(followed.end, SeqCst);
            link.db.store(followed.db, SeqCst);
        }
    }

    /// While what is replayed runs, nothing has expired: it says itself what has gone. What held
    /// before is given back, to be put in force again.
    pub fn let_stale_live(&mut self) -> Stale {
        std::mem::replace(&mut self.stale, Stale::Lives)
    }

    /// The other half of `let_stale_live`.
    pub fn end_stale(&mut self, before: Stale) {
        self.stale = before;
    }

    /// Adds commands that have run elsewhere to a transaction which begins in this database. Those
    /// that no primary sends are left out.
    pub fn queue_lines(
        &mut self,
        lines: &Lines,
        mut db: usize,
        transaction: &mut Transaction,
        map: SlotMap,
    ) {
        let mut ranges = Vec::new();
        for line in lines.iter() {
            let registered = &self.table.all()[usize::from(line.id)];
            let of_file = self.loading;
            let why_not =
                with_args(line, &mut ranges, |args| why_not_replayed(registered, args, of_file));
            if let Some(reason) = why_not {
                self.tell_failure(reason.as_bytes(), registered.full_name);
                continue;
            }
            if line.db != db
                && let Some(select) = self.table.command(b"SELECT")
            {
                db = line.db;
                let (words, ranges) = join(&[b"SELECT".to_vec(), db.to_string().into_bytes()]);
                self.queue((select, Args::new(&words, &ranges, &[])), transaction, map);
            }
            with_args(line, &mut ranges, |args| self.queue((registered, args), transaction, map));
        }
    }

    /// Tells the log of a command that failed, though it had not when it ran elsewhere. What comes
    /// too fast to be read is left out.
    pub fn tell_failure(&mut self, reply: &[u8], command: &str) {
        let Some(text) = reply.strip_prefix(b"-") else { return };
        self.stats.totals.unexpected_error_replies.add(1);
        let (second, told) = &mut self.failures_told;
        if *second != self.now.seconds() {
            (*second, *told) = (self.now.seconds(), 0);
        }
        *told += 1;
        if *told > FAILURES_TOLD_PER_SECOND {
            return;
        }
        let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let (who, whom) =
            if self.loading { ("server", "AOF-loading-client") } else { ("replica", "master") };
        log::warning(format!(
            "== CRITICAL == This {who} is sending an error to its {whom}: '{line}' after processing the command '{command}'"
        ));
    }
}

/// A stream of nothing but mistakes does not fill the disk.
const FAILURES_TOLD_PER_SECOND: u32 = 100;

/// Why a command of others is not run again, as an error reply. None if it is: it has its words, and
/// may change what is kept, or stands in a file of this server.
fn why_not_replayed(registered: &Registered, args: Args<'_>, of_file: bool) -> Option<String> {
    let command = registered.command;
    if !command.accepts(args.len()) {
        let name = registered.full_name;
        return Some(format!("-ERR wrong number of arguments for '{name}' command"));
    }
    let is_of_data = !matches!(registered.way, Way::Home | Way::Whole | Way::Exec);
    let changes = command.flags.any(Flags::WRITE.with(Flags::MAY_REPLICATE));
    let is_script = registered.full_name.starts_with("script|");
    let is_run = is_of_data || changes || is_script || of_file;
    (!is_run).then(|| "-ERR this is no command of a replication stream".to_owned())
}
