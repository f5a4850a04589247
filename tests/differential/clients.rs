//! Several clients that take turns, on a stock server and on ours: replies and pushes of every
//! connection compared step by step.
//!
//! Invariant: a step begins when everything that the one before caused has arrived. A stock server
//! has sent it before it answers the second question of a control connection; of ours, it is known
//! what has to arrive. Who is blocked, and what is skipped for that, is the stock server's word.

pub(crate) mod program;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::run;
use super::support::client::{Client, encode};
use super::support::reply::{Node, Rule, render};
use super::support::server::Server;
use program::{CLIENTS, ID_OF, LIBRARY, PROTOCOLS, Program, SCRIPT_KNOWN, Step, WAIT_MILLIS};

/// What a step caused.
#[derive(Clone, Default, PartialEq)]
struct Outcome {
    /// The client could not take its turn.
    skipped: bool,
    /// What arrived at each client.
    heard: [Vec<Vec<String>>; CLIENTS],
    /// Who waits in a blocking command.
    blocked: BTreeSet<usize>,
}

/// The clients of a program on one server.
struct Session {
    control: Client,
    clients: Vec<Client>,
    ids: Vec<u64>,
    blocked: BTreeSet<usize>,
    in_transaction: [bool; CLIENTS],
}

/// Runs a program on both servers; a description of the first difference, if there is one.
pub(crate) fn compare(oracle: &Server, ours: &Server, program: &Program) -> Result<(), String> {
    let mut one = Session::start(oracle);
    let mut two = Session::start(ours);
    for step in &program.steps {
        let expected = one.step(step, None);
        let found = two.step(step, Some(&expected));
        let agreed = found.blocked == expected.blocked
            && (0..CLIENTS).all(|at| {
                views(step, at, &found.heard[at]) == views(step, at, &expected.heard[at])
            });
        let served_anew = (0..CLIENTS).any(|at| {
            let is_refusal = |lines: &Vec<String>| lines[0].starts_with("-WRONGTYPE");
            at != step.client && expected.heard[at].iter().any(is_refusal)
        });
        if !agreed && served_anew {
            // A stock server runs a blocked command again, from its first key on: one that meanwhile
            // holds another type is an error. Ours serves the key that has become ready.
            return Ok(());
        }
        if !agreed {
            return Err(difference(step, &expected, &found));
        }
    }
    let (expected, found) = (one.end(), two.end());
    match expected.iter().zip(&found).find(|(one, two)| one != two) {
        Some((expected, found)) => {
            Err(format!("the keys differ\n  oracle {expected}\n  ours   {found}"))
        }
        None => Ok(()),
    }
}

/// Removes steps, ever smaller runs of them, as long as the servers still differ.
pub(crate) fn shrink(
    oracle: &Server,
    ours: &Server,
    program: &Program,
    first: String,
) -> (Program, String) {
    let (mut best, mut difference) = (program.clone(), first);
    let started = Instant::now();
    let mut length = best.steps.len() / 2;
    while length > 0 {
        let mut start = 0;
        while start < best.steps.len() && started.elapsed() < SHRINK_TIME {
            let end = (start + length).min(best.steps.len());
            let candidate = Program { steps: [&best.steps[..start], &best.steps[end..]].concat() };
            match compare(oracle, ours, &candidate) {
                Err(smaller) => (best, difference) = (candidate, smaller),
                Ok(()) => start = end,
            }
        }
        length /= 2;
    }
    (best, difference)
}

impl Session {
    fn start(server: &Server) -> Self {
        let mut control = server.client();
        let commands: &[&[&str]] = &[
            &["FLUSHALL"],
            &["CONFIG", "SET", "notify-keyspace-events", "KEA"],
            &["DEBUG", "SET-ACTIVE-EXPIRE", "0"],
            &["SCRIPT", "FLUSH", "SYNC"],
            &["SCRIPT", "LOAD", SCRIPT_KNOWN],
            &["FUNCTION", "LOAD", "REPLACE", LIBRARY],
        ];
        for command in commands {
            let reply = control.call(command).expect("a reply");
            assert_ne!(reply[0], b'-', "{command:?}: {}", reply.escape_ascii());
        }
        let (mut clients, mut ids) = (Vec::new(), Vec::new());
        for protocol in PROTOCOLS {
            let mut client = server.client();
            client.call(&["HELLO", &protocol.to_string()]).expect("a reply to HELLO");
            let id = Node::parse(&client.call(&["CLIENT", "ID"]).expect("an id")).text;
            ids.push(String::from_utf8_lossy(&id).parse().expect("an id is a number"));
            clients.push(client);
        }
        let in_transaction = [false; CLIENTS];
        Self { control, clients, ids, blocked: BTreeSet::new(), in_transaction }
    }

    /// Lets a client take its turn. Without `expected` it decides itself whether the client can.
    fn step(&mut self, step: &Step, expected: Option<&Outcome>) -> Outcome {
        let skipped = expected.map_or_else(|| self.cannot(step), |expected| expected.skipped);
        if skipped {
            return Outcome { skipped, blocked: self.blocked.clone(), ..Outcome::default() };
        }
        let bytes: Vec<u8> =
            step.commands.iter().flat_map(|argv| encode(&self.with_ids(argv))).collect();
        // A closed connection shows in what is read.
        drop(self.clients[step.client].send(&bytes));
        let mut outcome = Outcome::default();
        let deadline = Instant::now() + ARRIVAL_DEADLINE;
        loop {
            self.ask_who_is_blocked();
            self.ask_who_is_blocked();
            self.hear(step, &mut outcome);
            let is_complete = expected.is_none_or(|expected| {
                let as_many =
                    |at: usize| has_all(step, at, &outcome.heard[at], &expected.heard[at]);
                self.blocked == expected.blocked && (0..CLIENTS).all(as_many)
            });
            if is_complete || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        self.note_transaction(step, &outcome);
        if step.waits {
            std::thread::sleep(Duration::from_millis(WAIT_MILLIS));
        }
        outcome.blocked.clone_from(&self.blocked);
        outcome
    }

    fn cannot(&self, step: &Step) -> bool {
        self.blocked.contains(&step.client) || step.outside && self.in_transaction[step.client]
    }

    fn note_transaction(&mut self, step: &Step, outcome: &Outcome) {
        let name = step.commands[0][0].as_slice();
        let is_ok = outcome.heard[step.client].iter().any(|lines| lines[0] == "+OK");
        match name {
            b"MULTI" if is_ok => self.in_transaction[step.client] = true,
            b"EXEC" | b"DISCARD" | b"RESET" => self.in_transaction[step.client] = false,
            _ => {}
        }
    }

    fn with_ids(&self, argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let word = |word: &Vec<u8>| match word.strip_prefix(ID_OF) {
            Some([digit]) => self.ids[usize::from(digit - b'0')].to_string().into_bytes(),
            _ => word.clone(),
        };
        argv.iter().map(word).collect()
    }

    fn hear(&mut self, step: &Step, outcome: &mut Outcome) {
        for (at, client) in self.clients.iter_mut().enumerate() {
            let arrived = client.arrived();
            let Ok(arrived) = arrived else {
                let closed = vec!["(closed)".to_owned()];
                if outcome.heard[at].last() != Some(&closed) {
                    outcome.heard[at].push(closed);
                }
                continue;
            };
            for raw in arrived {
                let of_step = at == step.client && raw[0] != b'>';
                let rule = if of_step { step.rule } else { Rule::Exact };
                outcome.heard[at].push(render(&raw, rule));
            }
        }
    }

    fn ask_who_is_blocked(&mut self) {
        let list = self.list();
        let id_of = |word: &str| word.strip_prefix("id=").and_then(|id| id.parse::<u64>().ok());
        let is_blocked = |line: &&str| {
            line.split(' ').any(|word| word.starts_with("flags=") && word.contains('b'))
        };
        let blocked = list.lines().filter(is_blocked).filter_map(|line| {
            let id = line.split(' ').find_map(id_of)?;
            self.ids.iter().position(|one| *one == id)
        });
        self.blocked = blocked.collect();
    }

    fn list(&mut self) -> String {
        let list = self.control.call(&["CLIENT", "LIST"]).expect("a reply to CLIENT LIST");
        String::from_utf8_lossy(&list).into_owned()
    }

    /// Everybody leaves, then the keys are read back.
    fn end(mut self) -> Vec<String> {
        self.leave();
        let mut answers = Vec::new();
        run::read_keyspace(&mut self.control, &mut answers);
        answers.iter().map(run::Answer::brief).collect()
    }

    /// The clients close their connections; returns when the server has noticed.
    fn leave(&mut self) {
        self.clients.clear();
        let deadline = Instant::now() + ARRIVAL_DEADLINE;
        while self.list().matches("\nid=").count() > 1 && Instant::now() < deadline {
            std::thread::sleep(POLL_PAUSE);
        }
    }
}

impl Drop for Session {
    /// Nobody of a program may meet the next one.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.leave();
            self.control.quit();
        }
    }
}

/// Whether this is a push of RESP3.
fn is_push(lines: &[String]) -> bool {
    lines.first().is_some_and(|line| line.starts_with('>'))
}

/// Whether this tells of keys that changed.
fn is_invalidation(lines: &[String]) -> bool {
    let is = |at: usize, text: &str| lines.get(at).is_some_and(|line| line.trim_start() == text);
    let names_keys =
        |line: &String| matches!(line.trim_start().as_bytes(), [b'*' | b'_', ..] | b"$-1");
    is(1, "$10 invalidate")
        || is(1, "$7 message")
            && is(2, "$20 __redis__:invalidate")
            && lines.get(3).is_some_and(names_keys)
}

/// What arrived at a client, as it is compared: each list for itself. Messages and invalidations may
/// pass each other; so may the reply to a client that has waited and messages about what served it,
/// and replies to a client that is told in another one's place. Invalidations that follow each other
/// count as one: what is served beside its cause may be served a turn later. Where several commands
/// ran at once, a stock server's one thread ends them together: of ours, pushes may come behind all
/// replies.
fn views(step: &Step, at: usize, heard: &[Vec<String>]) -> [Vec<Vec<String>>; 3] {
    let of = |chosen: &dyn Fn(&[String]) -> bool| -> Vec<Vec<String>> {
        heard.iter().filter(|lines| chosen(lines)).cloned().collect()
    };
    if !step.is_several() && at == step.client && !step.redirects {
        let messages = of(&|lines| !is_invalidation(lines));
        let told = of(&|lines| is_invalidation(lines) || !is_push(lines));
        let runs = told.chunk_by(|one, next| is_invalidation(one) && is_invalidation(next));
        let runs = runs.map(|run| if is_invalidation(&run[0]) { keys(run) } else { run.concat() });
        return [messages, runs.collect(), Vec::new()];
    }
    [
        of(&|lines| !is_push(lines) && !is_invalidation(lines)),
        of(&|lines| is_push(lines) && !is_invalidation(lines)),
        vec![keys(&of(&is_invalidation))],
    ]
}

/// The keys that invalidations tell.
fn keys(invalidations: &[Vec<String>]) -> Vec<String> {
    let mut keys = invalidations.concat();
    keys.retain(|line| !line.trim_start().starts_with(['>', '*']));
    keys.sort();
    keys.dedup();
    keys
}

/// Whether nothing more has to arrive.
fn has_all(step: &Step, at: usize, heard: &[Vec<String>], expected: &[Vec<String>]) -> bool {
    let (heard, expected) = (views(step, at, heard), views(step, at, expected));
    let all = |list: &[Vec<String>]| list.concat().len();
    heard.iter().zip(&expected).all(|(heard, expected)| heard.len() >= expected.len())
        && all(&heard[1]) >= all(&expected[1])
        && all(&heard[2]) >= all(&expected[2])
}

fn difference(step: &Step, expected: &Outcome, found: &Outcome) -> String {
    let mut text = format!("at {step}\n");
    for (at, (oracle, ours)) in expected.heard.iter().zip(&found.heard).enumerate() {
        if oracle != ours {
            let shown = |heard: &[Vec<String>]| {
                heard.iter().map(|lines| lines.join(" ")).collect::<Vec<_>>().join(" | ")
            };
            let (oracle, ours) = (shown(oracle), shown(ours));
            write!(text, "  client {at}\n    oracle {oracle}\n    ours   {ours}\n").expect("text");
        }
    }
    if expected.blocked != found.blocked {
        let (oracle, ours) = (&expected.blocked, &found.blocked);
        writeln!(text, "  blocked: oracle {oracle:?}, ours {ours:?}").expect("text");
    }
    text
}

/// Nothing takes longer to arrive unless it never does.
const ARRIVAL_DEADLINE: Duration = Duration::from_secs(3);
const POLL_PAUSE: Duration = Duration::from_micros(200);
/// Enough for hundreds of runs, or for a few when each waits in vain.
const SHRINK_TIME: Duration = Duration::from_mins(1);
