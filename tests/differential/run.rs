//! Runs a program on the oracle and on ours, compares, and makes a failing program small.
//!
//! Invariant: before a program both servers are empty and the connections new, so programs do not
//! depend on each other.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::known::KnownDifferences;
use super::program::{self, Action, Program, Step};
use super::support::client::{Client, encode};
use super::support::quote::join;
use super::support::reply::{Node, Rule, render};
use super::support::server::Server;

/// The two servers of a comparison.
pub(crate) struct Pair<'s> {
    /// The stock server.
    pub(crate) oracle: &'s Server,
    /// The server under test.
    pub(crate) ours: &'s Server,
    /// RESP version of the connections.
    pub(crate) protocol: u8,
    /// Compare what programs do to keys, as keyspace notifications tell it, too.
    pub(crate) with_events: bool,
    /// Differences that the oracle's age excuses.
    pub(crate) known: &'s KnownDifferences,
}

/// The first difference of a run.
pub(crate) struct Mismatch {
    question: String,
    oracle: Vec<String>,
    ours: Vec<String>,
}

/// One question and its rendered answer.
pub(crate) struct Answer {
    argv: Vec<Vec<u8>>,
    rule: Rule,
    lines: Vec<String>,
}

impl Answer {
    /// Question and answer in one line, without what the clock decides.
    pub(crate) fn brief(&self) -> String {
        if let (Rule::Near(_), [line]) = (self.rule, self.lines.as_slice()) {
            return format!("{}: {}", join(&self.argv), line.starts_with(":-"));
        }
        format!("{}: {}", join(&self.argv), self.lines.join(" "))
    }

    /// Whether the connection failed, or the server did not answer in time.
    fn is_missing(&self) -> bool {
        self.lines.first().is_some_and(|line| line.starts_with("(lost"))
    }
}

impl Pair<'_> {
    /// Runs the program on both servers; the first difference, if there is one.
    pub(crate) fn run(&self, program: &Program) -> Result<(), Mismatch> {
        let oracle = self.answers(self.oracle, program);
        let ours = self.answers(self.ours, program);
        // A reply that the oracle owes us is a fault of the program: it is reported, too.
        for (oracle, ours) in oracle.iter().zip(&ours) {
            let same_question = oracle.argv == ours.argv && !oracle.is_missing();
            let agreed = same_question && oracle.rule.agree(&oracle.lines, &ours.lines);
            if !agreed && !self.known.excuse(&oracle.argv, &oracle.lines, &ours.lines) {
                return Err(Mismatch {
                    question: join(&oracle.argv),
                    oracle: oracle.lines.clone(),
                    ours: ours.lines.clone(),
                });
            }
        }
        Ok(())
    }

    /// Removes steps, ever smaller runs of them, as long as the servers still differ.
    pub(crate) fn shrink(&self, program: &Program, first: &Mismatch) -> (Program, Mismatch) {
        let mut best = program.clone();
        let mut mismatch = Mismatch {
            question: first.question.clone(),
            oracle: first.oracle.clone(),
            ours: first.ours.clone(),
        };
        let started = Instant::now();
        let mut length = best.steps.len() / 2;
        while length > 0 {
            let mut start = 0;
            while start < best.steps.len() && started.elapsed() < SHRINK_TIME {
                let end = (start + length).min(best.steps.len());
                let steps = [&best.steps[..start], &best.steps[end..]].concat();
                let candidate = Program { steps };
                match self.run(&candidate) {
                    Err(smaller) => (best, mismatch) = (candidate, smaller),
                    Ok(()) => start = end,
                }
            }
            length /= 2;
        }
        (best, mismatch)
    }

    fn answers(&self, server: &Server, program: &Program) -> Vec<Answer> {
        let mut control = server.client();
        control.call(&["FLUSHALL"]).expect("a reply to FLUSHALL");
        for library in program::function::NAMES {
            control.call(&["FUNCTION", "DELETE", library]).expect("a reply, perhaps an error");
        }
        let mut client = server.client();
        client.call(&["HELLO", &self.protocol.to_string()]).expect("a reply to HELLO");
        let mut listener = self.with_events.then(|| listen(server, &mut control, program));
        let mut answers = Vec::new();
        for pipeline in program.steps.split_inclusive(|step| step.ends_pipeline) {
            run_pipeline(&mut client, pipeline, &mut answers);
            if answers.last().is_some_and(Answer::is_missing) {
                // Every further question would wait as long.
                return answers;
            }
        }
        if let Some(listener) = &mut listener {
            read_events(listener, &mut control, &mut answers);
        }
        read_keyspace(&mut control, &mut answers);
        control.quit();
        client.quit();
        answers
    }
}

/// A client that hears the keyspace events of a program.
fn listen(server: &Server, control: &mut Client, program: &Program) -> Client {
    // SORT asks for the keys of BY and GET in the order of a table.
    let sorts = |step: &Step| step.command().is_some_and(|(argv, _)| argv[0].starts_with(b"SORT"));
    let classes = if program.steps.iter().any(sorts) { "KEAn" } else { "KEAnm" };
    let every = ["CONFIG", "SET", "notify-keyspace-events", classes];
    control.call(&every).expect("a reply to CONFIG");
    // What a command finds expired is an event of its own; what time finds comes whenever it comes.
    control.call(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).expect("a reply to DEBUG");
    let mut listener = server.client();
    listener.call(&["PSUBSCRIBE", "__key*__:*"]).expect("a reply to PSUBSCRIBE");
    listener
}

/// Reads the events of a program, each as an answer, and stops listening.
fn read_events(listener: &mut Client, control: &mut Client, answers: &mut Vec<Answer>) {
    control.call(&["PUBLISH", "__key__:end", "end"]).expect("a reply to PUBLISH");
    loop {
        let lines = lines_of(&listener.read_reply(), Rule::Exact);
        let is_last = lines.iter().any(|line| line.contains("__key__:end"));
        answers.push(Answer { argv: vec![b"(event)".to_vec()], rule: Rule::Exact, lines });
        if is_last || answers.last().is_some_and(Answer::is_missing) {
            break;
        }
    }
    let none = ["CONFIG", "SET", "notify-keyspace-events", ""];
    control.call(&none).expect("a reply to CONFIG");
}

/// Sends the commands of a pipeline in one write and reads their replies.
fn run_pipeline(client: &mut Client, pipeline: &[Step], answers: &mut Vec<Answer>) {
    for commands in pipeline.chunk_by(|a, b| !a.is_scan() && !b.is_scan() && !b.is_auth()) {
        if let Action::Scan(options) = &commands[0].action {
            answers.push(full_scan(client, options));
            continue;
        }
        let argvs: Vec<(&Vec<Vec<u8>>, Rule)> = commands.iter().filter_map(Step::command).collect();
        ask(client, &argvs, answers);
    }
}

fn ask(client: &mut Client, questions: &[(&Vec<Vec<u8>>, Rule)], answers: &mut Vec<Answer>) {
    let bytes: Vec<u8> = questions.iter().flat_map(|(argv, _)| encode(argv)).collect();
    // A closed connection shows in what is read.
    drop(client.send(&bytes));
    for (argv, rule) in questions {
        let lines = lines_of(&client.read_reply(), *rule);
        answers.push(Answer { argv: (*argv).clone(), rule: *rule, lines });
        if answers.last().is_some_and(Answer::is_missing) {
            return;
        }
    }
}

/// Follows SCAN's cursor to its end; all keys, sorted and each once, as SCAN promises no more.
fn full_scan(client: &mut Client, options: &[Vec<u8>]) -> Answer {
    let mut argv = vec![b"SCAN".to_vec(), b"0".to_vec()];
    argv.extend_from_slice(options);
    let question = argv.clone();
    let mut keys = Vec::new();
    for _ in 0..SCAN_CALLS_MAX {
        let reply = client.call(&argv);
        let Some((cursor, elements)) = reply.as_ref().ok().and_then(|raw| scan_parts(raw)) else {
            let lines = lines_of(&reply, Rule::Exact);
            return Answer { argv: question, rule: Rule::Exact, lines };
        };
        keys.extend(elements);
        if cursor == b"0" {
            keys.sort();
            keys.dedup();
            let lines = keys.iter().map(|key| join(&[key])).collect();
            return Answer { argv: question, rule: Rule::Exact, lines };
        }
        argv[1] = cursor;
    }
    let lines = vec![format!("(no end after {SCAN_CALLS_MAX} calls)")];
    Answer { argv: question, rule: Rule::Exact, lines }
}

fn scan_parts(raw: &[u8]) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut reply = Node::parse(raw);
    let elements = reply.elements.pop()?;
    let cursor = reply.elements.pop()?;
    Some((cursor.text, elements.elements.into_iter().map(|element| element.text).collect()))
}

/// Reads back every key of every database that programs use: type, value, encoding, expiry.
pub(crate) fn read_keyspace(client: &mut Client, answers: &mut Vec<Answer>) {
    for db in super::program::DATABASES {
        let select = vec![b"SELECT".to_vec(), db.as_bytes().to_vec()];
        ask(client, &[(&select, Rule::Exact)], answers);
        let first = answers.len();
        answers.push(full_scan(client, &[]));
        let keys: Vec<Vec<u8>> = answers[first]
            .lines
            .iter()
            .filter_map(|line| super::support::quote::split(line).ok()?.pop())
            .collect();
        for key in keys {
            read_key(client, &key, answers);
        }
    }
}

fn read_key(client: &mut Client, key: &[u8], answers: &mut Vec<Answer>) {
    let command = |words: &str| -> Vec<Vec<u8>> {
        let word =
            |word: &str| if word == "$key" { key.to_vec() } else { word.as_bytes().to_vec() };
        words.split(' ').map(word).collect()
    };
    let kind = command("TYPE $key");
    ask(client, &[(&kind, Rule::Exact)], answers);
    let (value, rule) = match answers.last().and_then(|answer| answer.lines.first()) {
        Some(line) if line == "+list" => ("LRANGE $key 0 -1", Rule::Exact),
        Some(line) if line == "+set" => ("SMEMBERS $key", Rule::Sorted),
        Some(line) if line == "+hash" => ("HGETALL $key", Rule::Type),
        Some(line) if line == "+zset" => ("ZRANGE $key 0 -1 WITHSCORES", Rule::Exact),
        Some(line) if line == "+stream" => ("XRANGE $key - +", Rule::Exact),
        _ => ("GET $key", Rule::Exact),
    };
    let (value, encoding) = (command(value), command("OBJECT ENCODING $key"));
    let expiry = command("PEXPIRETIME $key");
    let near = Rule::Near(super::program::MILLIS_TOLERANCE);
    ask(client, &[(&value, rule), (&encoding, Rule::Exact), (&expiry, near)], answers);
}

fn lines_of(reply: &io::Result<Vec<u8>>, rule: Rule) -> Vec<String> {
    match reply {
        Ok(raw) => render(raw, rule),
        Err(e) => vec![format!("(lost: {:?})", e.kind())],
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { question, oracle, ours } = self;
        let indent = "\n         ";
        let (oracle, ours) = (oracle.join(indent), ours.join(indent));
        write!(f, "> {question}\n  oracle {oracle}\n  ours   {ours}")
    }
}

/// Enough for hundreds of runs, or for a few when each waits in vain for a reply.
const SHRINK_TIME: Duration = Duration::from_secs(30);
/// A full scan of the few keys of a program needs a few calls a core.
const SCAN_CALLS_MAX: usize = 10_000;
