//! One transcript: a conversation with a server, in a text file.
//!
//! Invariant: reading a file and writing it back changes nothing but its expectations.
//!
//! ```text
//! # a comment
//! # config: maxmemory 1mb      start the server with this directive
//! # cores: 1                   run only with this many cores (else with each number in turn)
//! # resp: 2                    run only in this protocol (else in both)
//! # reply: sorted              how the next reply is compared: see `Rule`
//! > SET k "a b"                send a command and read one reply; quoted as in redis-cli
//! @2> GET k                    the same on a second client
//! >~ DBSIZE                    the same, again and again for a while, until the reply is as it should be
//! ~ BLPOP l 0                  send a command that blocks, and wait until the server says it does
//! ? read one more reply (or push) on this client; the text is a remark
//! ! "*1\r\n$4\r\nPI"           send these bytes as they are and read one reply
//! !~ "NG\r\n"                  send these bytes as they are
//! < $3 a b                     the reply, in the readable form of `support::reply`
//! <2 $-1                       the reply in RESP2, where the protocols differ
//! <3 _                         and in RESP3
//! < (closed)                   the server closed the connection
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::client::{Client, encode};
use crate::support::quote;
use crate::support::reply::{Rule, render};
use crate::support::server::Server;

/// The protocol that every client of a run speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

/// A parsed transcript.
pub(crate) struct Transcript {
    path: PathBuf,
    /// Directives to start the server with.
    pub(crate) config: Vec<(String, String)>,
    /// Numbers of cores that the transcript is meant for.
    pub(crate) cores: Vec<usize>,
    only_protocol: Option<Protocol>,
    items: Vec<Item>,
}

enum Item {
    /// A comment, a directive or an empty line.
    Verbatim(String),
    Exchange(Exchange),
}

struct Exchange {
    line: String,
    line_number: usize,
    client: u32,
    action: Action,
    rule: Rule,
    expected: BTreeMap<Protocol, Vec<String>>,
}

enum Action {
    /// Send these bytes, then read a reply.
    Call(Vec<u8>),
    /// Send these bytes and read a reply until it is the expected one: another core is not done yet.
    Poll(Vec<u8>),
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes and wait until one more client is blocked.
    Block(Vec<u8>),
    /// Read a reply.
    Read,
}

impl Transcript {
    /// Parses the file; the error names file and line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut transcript = Self {
            path: path.to_owned(),
            config: Vec::new(),
            cores: vec![1, 4],
            only_protocol: None,
            items: Vec::new(),
        };
        let mut rule = Rule::Exact;
        for (index, line) in text.lines().enumerate() {
            transcript
                .read_line(line, index + 1, &mut rule)
                .map_err(|e| format!("{}:{}: {e}", path.display(), index + 1))?;
        }
        Ok(transcript)
    }

    fn read_line(&mut self, line: &str, number: usize, rule: &mut Rule) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix('#') {
            self.read_directive(comment.trim(), rule)?;
            self.items.push(Item::Verbatim(line.to_owned()));
        } else if line.trim().is_empty() {
            self.items.push(Item::Verbatim(String::new()));
        } else if let Some(expected) = line.strip_prefix('<') {
            self.read_expectation(expected)?;
        } else {
            let exchange = Exchange::parse(line, number, std::mem::replace(rule, Rule::Exact))?;
            self.items.push(Item::Exchange(exchange));
        }
        Ok(())
    }

    fn read_directive(&mut self, comment: &str, rule: &mut Rule) -> Result<(), String> {
        let Some((word, value)) = comment.split_once(": ") else { return Ok(()) };
        let value = value.trim();
        match word {
            "config" => {
                let (name, value) = value.split_once(' ').ok_or("config: name value")?;
                self.config.push((name.to_owned(), value.trim().to_owned()));
            }
            "cores" => {
                let number = |text: &str| text.trim().parse::<usize>().map_err(|e| e.to_string());
                self.cores = value.split(',').map(number).collect::<Result<_, _>>()?;
            }
            "resp" => {
                self.only_protocol = Some(match value {
                    "2" => Protocol::Resp2,
                    "3" => Protocol::Resp3,
                    _ => return Err("resp: 2 or 3".to_owned()),
                });
            }
            "reply" => *rule = Rule::parse(value).ok_or("reply: no such rule")?,
            // One lower-case word before a colon is a mistyped directive; else it is a sentence.
            _ if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                return Err(format!("no directive is called {word:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn read_expectation(&mut self, text: &str) -> Result<(), String> {
        let Some(Item::Exchange(exchange)) = self.items.last_mut() else {
            return Err("a reply follows what asks for it".to_owned());
        };
        let (both, one) = ([Protocol::Resp2, Protocol::Resp3], text.get(2..).unwrap_or(""));
        let (protocols, line) = match text.as_bytes().first() {
            Some(b'2') => (&both[..1], one),
            Some(b'3') => (&both[1..], one),
            Some(b' ') => (&both[..], &text[1..]),
            _ => return Err("`< `, `<2 ` or `<3 `".to_owned()),
        };
        for protocol in protocols {
            exchange.expected.entry(*protocol).or_default().push(line.to_owned());
        }
        Ok(())
    }

    /// The protocols to run in.
    pub(crate) fn protocols(&self) -> Vec<Protocol> {
        match self.only_protocol {
            Some(protocol) => vec![protocol],
            None => vec![Protocol::Resp2, Protocol::Resp3],
        }
    }

    /// Holds the conversation; one text for each reply that is not the expected one.
    pub(crate) fn check(&self, server: &Server, protocol: Protocol) -> Vec<String> {
        let mut failures = Vec::new();
        let mut conversation = Conversation::new(server, protocol);
        for exchange in self.items.iter().filter_map(Item::exchange) {
            let found = conversation.hold(exchange);
            let nothing = Vec::new();
            let expected = exchange.expected.get(&protocol).unwrap_or(&nothing);
            if !exchange.rule.agree(expected, &found) {
                failures.push(format!(
                    "{}:{}: {}\n  expected {}\n  found    {}",
                    self.path.display(),
                    exchange.line_number,
                    exchange.line,
                    expected.join("\n           "),
                    found.join("\n           "),
                ));
            }
            if found == ["(no reply)"] {
                // What follows would only repeat the wait.
                break;
            }
        }
        failures.extend(conversation.leftovers().map(|what| {
            format!("{}: the server said more than was read: {what}", self.path.display())
        }));
        failures
    }

    /// Holds the conversation and keeps what the server said as the expectation.
    pub(crate) fn record(&mut self, server: &Server, protocol: Protocol) {
        let mut conversation = Conversation::new(server, protocol);
        for item in &mut self.items {
            let Item::Exchange(exchange) = item else { continue };
            let found = conversation.hold(exchange);
            assert_ne!(found, ["(no reply)"], "{}: {}", self.path.display(), exchange.line);
            let old = exchange.expected.get(&protocol);
            // A reply that still agrees stays as it is, so that a recording changes no line in vain.
            if old.is_none_or(|old| !exchange.rule.agree(old, &found)) {
                exchange.expected.insert(protocol, found);
            }
        }
        let leftovers: Vec<String> = conversation.leftovers().collect();
        assert!(leftovers.is_empty(), "{}: not read: {leftovers:?}", self.path.display());
    }

    /// Writes the file back.
    pub(crate) fn write(&self) {
        let mut text = String::new();
        for item in &self.items {
            match item {
                Item::Verbatim(line) => writeln!(text, "{line}").expect("a String takes all"),
                Item::Exchange(exchange) => exchange.print(&mut text, self.only_protocol),
            }
        }
        std::fs::write(&self.path, text).expect("the transcript can be written");
    }
}

impl Item {
    fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Verbatim(_) => None,
            Self::Exchange(exchange) => Some(exchange),
        }
    }
}

impl Exchange {
    fn parse(line: &str, line_number: usize, rule: Rule) -> Result<Self, String> {
        let (client, rest) = match line.strip_prefix('@') {
            Some(rest) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let client = rest[..digits].parse::<u32>().map_err(|e| e.to_string())?;
                (client, &rest[digits..])
            }
            None => (1, line),
        };
        let (mark, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let command = || quote::split(text).map(|argv| encode(&argv));
        let bytes = || quote::split(text).map(|parts| parts.concat());
        let action = match mark {
            ">" => Action::Call(command()?),
            ">~" => Action::Poll(command()?),
            "~" => Action::Block(command()?),
            "!" => Action::Call(bytes()?),
            "!~" => Action::Send(bytes()?),
            "?" => Action::Read,
            _ => return Err(format!("a line begins with # > >~ ~ ! !~ ? or <, not {mark:?}")),
        };
        let expected = BTreeMap::new();
        Ok(Self { line: line.to_owned(), line_number, client, action, rule, expected })
    }

    fn print(&self, text: &mut String, only_protocol: Option<Protocol>) {
        writeln!(text, "{}", self.line).expect("a String takes all");
        let lines = |protocol| self.expected.get(&protocol).map_or(&[][..], Vec::as_slice);
        let (second, third) = (lines(Protocol::Resp2), lines(Protocol::Resp3));
        let mut print = |mark: &str, lines: &[String]| {
            for line in lines {
                writeln!(text, "{mark} {line}").expect("a String takes all");
            }
        };
        match only_protocol {
            Some(protocol) => print("<", lines(protocol)),
            None if second == third => print("<", second),
            None => {
                print("<2", second);
                print("<3", third);
            }
        }
    }
}

/// The clients of one run.
struct Conversation<'s> {
    server: &'s Server,
    protocol: Protocol,
    clients: BTreeMap<u32, Client>,
}

impl<'s> Conversation<'s> {
    fn new(server: &'s Server, protocol: Protocol) -> Self {
        Self { server, protocol, clients: BTreeMap::new() }
    }

    /// Does what the exchange says and renders the reply; no lines when none was asked for.
    fn hold(&mut self, exchange: &Exchange) -> Vec<String> {
        let blocked = || self.server.info("clients", "blocked_clients");
        let blocked_before = matches!(exchange.action, Action::Block(_)).then(blocked);
        let (server, protocol) = (self.server, self.protocol);
        let client =
            self.clients.entry(exchange.client).or_insert_with(|| connect(server, protocol));
        match &exchange.action {
            Action::Read => {}
            // The server may have closed the connection; the read says so.
            Action::Call(bytes) => drop(client.send(bytes)),
            Action::Poll(bytes) => return poll(client, bytes, exchange, protocol),
            Action::Send(bytes) => {
                drop(client.send(bytes));
                return Vec::new();
            }
            Action::Block(bytes) => {
                drop(client.send(bytes));
                wait_for_blocked(server, &blocked_before.flatten());
                return Vec::new();
            }
        }
        read(client, exchange.rule)
    }

    /// What clients received and no exchange read.
    fn leftovers(&self) -> impl Iterator<Item = String> {
        let unread = self.clients.iter().map(|(id, client)| (id, client.unread()));
        unread
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(id, bytes)| format!("@{id} {}", quote::escape(bytes)))
    }
}

/// Reads and renders a reply.
fn read(client: &mut Client, rule: Rule) -> Vec<String> {
    match client.read_reply() {
        Ok(raw) => render(&raw, rule),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => vec!["(closed)".to_owned()],
        Err(e) if e.kind() == ErrorKind::TimedOut => vec!["(no reply)".to_owned()],
        Err(e) => vec![format!("({e})")],
    }
}

/// Asks until the reply is the expected one, or time is up; the last one.
fn poll(
    client: &mut Client,
    command: &[u8],
    exchange: &Exchange,
    protocol: Protocol,
) -> Vec<String> {
    let deadline = Instant::now() + POLL_DEADLINE;
    loop {
        drop(client.send(command));
        let found = read(client, exchange.rule);
        if exchange.expected.get(&protocol) == Some(&found) || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn connect(server: &Server, protocol: Protocol) -> Client {
    let mut client = server.client();
    if protocol == Protocol::Resp3 {
        // With a password this is an error: such a transcript says AUTH and HELLO itself.
        client.call(&["HELLO", "3"]).expect("a reply to HELLO");
    }
    client
}

/// Waits until INFO counts one blocked client more than before.
fn wait_for_blocked(server: &Server, before: &Option<String>) {
    let count = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u64>().ok());
    let wanted = count(before).unwrap_or(0) + 1;
    let deadline = Instant::now() + BLOCK_DEADLINE;
    while count(&server.info("clients", "blocked_clients")).is_none_or(|now| now < wanted) {
        assert!(Instant::now() < deadline, "the command did not block");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const BLOCK_DEADLINE: Duration = Duration::from_secs(10);
/// What one core tells another is there in a moment.
const POLL_DEADLINE: Duration = Duration::from_secs(5);
