//! The replica's side of a link as state machines, against a primary that is scripted by a seed: links
//! stall and are cut behind any byte, with the channels that snapshots may come over; primaries die
//! between a snapshot and the stream, or are followed by one that goes on with their history, or does not.
//!
//! Invariant: behind every chunk the replica holds what the primary held at that offset of its history,
//! and a transaction of it never in part; when nobody cuts any more, it holds everything.

use std::collections::{BTreeMap, HashMap};

use ironring::base::rng::Rng;
use ironring::persist::aof::block::Lines;
use ironring::persist::aof::replay::{Line, Route, Router};
use ironring::persist::aof::scan::{Found, Scanner};
use ironring::replication::chunk::{Chunk, Reader};
use ironring::replication::identity::{History, ReplicationId};
use ironring::replication::link::{Event, Introduction, Link, Position};
use ironring::replication::stream::Stream;

/// Keys by database, with their values.
type Data = BTreeMap<(usize, String), i64>;

const DATABASES: usize = 4;
const MARK_BYTES: usize = 40;
/// Events of a run in which links are cut.
const EVENTS: u64 = 1500;
/// Steps of a run, at most.
const STEPS_MAX: u64 = 200_000;

/// The connections of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Main,
    Channel,
}

const WAYS: [Way; 2] = [Way::Main, Way::Channel];

/// The primary's end of one: requests, and what waits to be sent.
struct Peer {
    scanner: Scanner,
    line: Line,
    output: Vec<u8>,
}

impl Peer {
    fn new() -> Peer {
        Peer { scanner: Scanner::new(0), line: Line::default(), output: Vec::new() }
    }
}

/// A primary as its replica knows it.
struct Primary {
    history: History,
    stream: Stream,
    data: Data,
    turns: u64,
    /// What it held at each offset of each history, behind every turn.
    states: HashMap<(ReplicationId, u64), Data>,
    /// What each snapshot stands for.
    snapshots: HashMap<Vec<u8>, Data>,
    peers: [Peer; 2],
    /// Where in the stream the link is, once it follows.
    sent: Option<u64>,
}

impl Primary {
    fn new(rng: &mut Rng) -> Primary {
        let mut stream = Stream::new(0);
        stream.begin_backlog();
        let mut primary = Primary {
            history: History::new(id(rng)),
            stream,
            data: Data::new(),
            turns: 0,
            states: HashMap::new(),
            snapshots: HashMap::new(),
            peers: [Peer::new(), Peer::new()],
            sent: None,
        };
        primary.note_state();
        primary
    }

    fn note_state(&mut self) {
        let place = (self.history.id, self.stream.offset());
        self.states.insert(place, self.data.clone());
    }

    /// A turn of its clients: a command, or a transaction.
    fn write(&mut self, rng: &mut Rng) {
        let mut lines = Lines::default();
        let mut unit = Lines::default();
        for _ in 0..[1, 1, 1, 5][rng.below(4) as usize] {
            let (db, key) = (rng.below(DATABASES as u64) as usize, format!("key{}", rng.below(9)));
            let value = rng.below(1000) as i64;
            let text = value.to_string();
            unit.add(db, [b"SET".as_slice(), key.as_bytes(), text.as_bytes()].into_iter());
            self.data.insert((db, key), value);
        }
        lines.add_unit(&mut unit);
        self.turns += 1;
        self.stream.feed(self.turns, &lines);
        self.note_state();
    }

    /// The process ends. What takes its place goes on with its history, from this offset on, or with
    /// other data.
    fn die(&mut self, rng: &mut Rng) {
        self.hang_up();
        let offset = self.stream.offset();
        if rng.below(2) == 0 {
            // A replica that had everything, or the same server behind a restart.
            let former = self.history.id;
            self.history.shift(id(rng), offset);
            let known = self.states.iter().filter(|((id, _), _)| *id == former);
            let again = known.map(|((_, at), data)| ((self.history.id, *at), data.clone()));
            let again: Vec<_> = again.collect();
            self.states.extend(again);
            self.stream.forget_db();
            if rng.below(2) == 0 {
                self.stream.restart(offset);
            }
        } else {
            self.history.begin_anew(id(rng));
            self.stream.restart(rng.below(offset + 1));
            self.data.retain(|_, value| *value % 2 == 0);
        }
        self.note_state();
    }

    fn hang_up(&mut self) {
        (self.peers, self.sent) = ([Peer::new(), Peer::new()], None);
    }

    fn receive(&mut self, rng: &mut Rng, way: Way, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let peer = &mut self.peers[way as usize];
            let (used, found) = peer.scanner.step(bytes, &mut peer.line).expect("good requests");
            bytes = &bytes[used..];
            if let Some(Found::Command(_)) = found {
                let words = words(&peer.line);
                peer.line.clear();
                self.answer(rng, way, &words);
            }
        }
    }

    fn answer(&mut self, rng: &mut Rng, way: Way, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = &mut self.peers[way as usize].output;
        match words[..] {
            ["PING"] => output.extend(b"+PONG\r\n"),
            ["REPLCONF", "ACK", ..] => {}
            ["REPLCONF", ..] => output.extend(b"+OK\r\n"),
            ["PSYNC", "?", "-1"] if way == Way::Channel => self.begin_snapshot(rng, way),
            ["PSYNC", name, next] => self.answer_psync(rng, name, next),
            _ => panic!("{words:?}"),
        }
    }

    fn answer_psync(&mut self, rng: &mut Rng, name: &str, next: &str) {
        let known = ReplicationId::parse(name.as_bytes());
        let next: i64 = next.parse().expect("an offset");
        let backlog = self.stream.backlog().expect("it is kept");
        let is_kept = (backlog.first() as i64 + 1..=backlog.end() as i64 + 1).contains(&next);
        if known.is_some_and(|known| self.history.holds(known, next)) && is_kept {
            let answer = format!("+CONTINUE {}\r\n", self.history.id);
            self.peers[Way::Main as usize].output.extend(answer.into_bytes());
            self.sent = Some(next as u64 - 1);
        } else if rng.below(2) == 0 {
            self.begin_snapshot(rng, Way::Main);
        } else {
            self.peers[Way::Main as usize].output.extend(b"\n+RDBCHANNELSYNC 7\r\n");
        }
    }

    /// Sends a snapshot of now, and what comes behind it over the link.
    fn begin_snapshot(&mut self, rng: &mut Rng, way: Way) {
        let output = &mut self.peers[way as usize].output;
        let offset = self.stream.offset();
        let head = format!("\n+FULLRESYNC {} {offset}\r\n\n", self.history.id);
        output.extend(head.into_bytes());
        // Two letters, so that the mark seems to begin all the time.
        let mut letters =
            |count: u64| -> Vec<u8> { (0..count).map(|_| b"ab"[rng.below(2) as usize]).collect() };
        let (mark, mut snapshot) = (letters(MARK_BYTES as u64), letters(300));
        snapshot.extend(offset.to_string().into_bytes());
        if offset.is_multiple_of(2) {
            output.extend([b"$EOF:", &mark[..], b"\r\n", &snapshot, &mark].concat());
        } else {
            output.extend(format!("${}\r\n", snapshot.len()).into_bytes());
            output.extend(&snapshot);
        }
        self.snapshots.insert(snapshot, self.data.clone());
        self.stream.forget_db();
        self.sent = Some(offset);
    }

    /// The next bytes.
    fn send(&mut self, rng: &mut Rng, way: Way) -> Vec<u8> {
        let output = &mut self.peers[way as usize].output;
        if way == Way::Main
            && output.is_empty()
            && let Some(sent) = self.sent
            && let Some(bytes) = self.stream.backlog().and_then(|backlog| backlog.read(sent))
        {
            self.sent = Some(sent + bytes.len() as u64);
            output.extend_from_slice(&bytes);
        }
        let most = [1, 20, 10_000][rng.below(3) as usize];
        let count = output.len().min(1 + rng.below(most) as usize);
        output.drain(..count).collect()
    }

    fn has_sent_all(&self) -> bool {
        self.peers.iter().all(|peer| peer.output.is_empty())
    }
}

/// What a replica keeps while a link is open.
struct Open {
    /// The machine of each way; that of a channel while there is one.
    links: [Option<Link>; 2],
    /// Requests on their way.
    requests: [Vec<u8>; 2],
    begins: Option<Position>,
    snapshot: Vec<u8>,
    /// The stream that has come while there is a channel.
    kept: Vec<u8>,
    reader: Option<Reader>,
}

impl Open {
    fn begin(&mut self, way: Way, (link, requests): (Link, Vec<u8>)) {
        self.links[way as usize] = Some(link);
        self.requests[way as usize] = requests;
    }
}

/// The replica: what has taken effect, and its link.
struct Replica {
    position: Option<Position>,
    db: usize,
    data: Data,
    router: Router,
    open: Option<Open>,
}

impl Replica {
    fn new() -> Replica {
        let router: Router = Box::new(|bytes, lens| match &bytes[..lens[0] as usize] {
            b"SELECT" => Route::Select,
            b"MULTI" | b"EXEC" => Route::Bracket,
            _ => Route::Owner(0, 1),
        });
        Replica { position: None, db: 0, data: Data::new(), router, open: None }
    }

    fn connect(&mut self) {
        let mut open = Open {
            links: [None, None],
            requests: [Vec::new(), Vec::new()],
            begins: None,
            snapshot: Vec::new(),
            kept: Vec::new(),
            reader: None,
        };
        open.begin(Way::Main, Link::new(introduction()));
        self.open = Some(open);
    }

    fn receive(&mut self, primary: &Primary, way: Way, mut bytes: &[u8]) {
        let Replica { position, db, data, router, open } = self;
        let Some(open) = open else { return };
        if way == Way::Main && open.links[Way::Channel as usize].is_some() {
            return open.kept.extend_from_slice(bytes);
        }
        loop {
            if let Some(reader) = &mut open.reader {
                reader.feed(bytes, router).expect("a good stream");
                while let Some(chunk) = reader.take() {
                    apply(position, (db, data), &chunk);
                    check(primary, *position, data);
                }
                return;
            }
            let Some(link) = &mut open.links[way as usize] else { return };
            let (used, event) = link.step(bytes).expect("a good primary");
            let part = &bytes[..used];
            bytes = &bytes[used..];
            match event {
                None if used == 0 => return,
                None | Some(Event::Snapshot(_) | Event::Stream | Event::Ignored(_)) => {}
                Some(Event::Send(requests)) => open.requests[way as usize].extend(requests),
                Some(Event::Introduced) => {
                    let request = link.psync(position.filter(|_| way == Way::Main));
                    open.requests[way as usize].extend(request);
                }
                Some(Event::Channel(client)) => {
                    open.kept = bytes.to_vec();
                    return open.begin(Way::Channel, Link::channel(introduction(), client));
                }
                Some(Event::Continues(id)) => {
                    let Some(position) = position else { panic!("it goes on with nothing") };
                    position.id = id.unwrap_or(position.id);
                    open.reader = Some(Reader::new(1, position.offset, *db, DATABASES));
                }
                Some(Event::Begins(at)) => open.begins = Some(at),
                Some(Event::Part) => open.snapshot.extend_from_slice(part),
                Some(Event::Kept(part)) => open.snapshot.extend(part),
                Some(Event::Complete) => {
                    let Some(at) = open.begins else { panic!("it begins nowhere") };
                    *data = primary.snapshots[&open.snapshot].clone();
                    (*position, *db) = (Some(at), 0);
                    open.reader = Some(Reader::new(1, at.offset, 0, DATABASES));
                    if way == Way::Channel {
                        open.links[Way::Channel as usize] = None;
                        let kept = std::mem::take(&mut open.kept);
                        return self.receive(primary, Way::Main, &kept);
                    }
                }
            }
        }
    }
}

fn introduction() -> Introduction {
    Introduction { version: "1", offers_channel: true, ..Introduction::default() }
}

/// A chunk takes effect.
fn apply(position: &mut Option<Position>, (db, data): (&mut usize, &mut Data), chunk: &Chunk) {
    let (mut scanner, mut line, mut rest) = (Scanner::new(0), Line::default(), &chunk.bytes[..]);
    while !rest.is_empty() {
        let (used, found) = scanner.step(rest, &mut line).expect("whole commands");
        rest = &rest[used..];
        let Some(Found::Command(_)) = found else { continue };
        let words = words(&line);
        line.clear();
        match words[0].as_str() {
            "SELECT" => *db = words[1].parse().expect("a database"),
            "SET" => {
                data.insert((*db, words[1].clone()), words[2].parse().expect("a number"));
            }
            _ => {}
        }
    }
    assert_eq!(*db, chunk.db);
    let Some(position) = position else { panic!("a stream of nothing") };
    assert_eq!(position.offset + chunk.bytes.len() as u64, chunk.end);
    position.offset = chunk.end;
}

/// What the replica holds is what a primary held at the last turn before that offset.
fn check(primary: &Primary, position: Option<Position>, data: &Data) {
    let Some(Position { id, offset }) = position else { return };
    let held = (0..=offset).rev().find_map(|offset| primary.states.get(&(id, offset)));
    assert_eq!(Some(data), held, "at {offset} of {id}");
}

fn words(line: &Line) -> Vec<String> {
    let words = (0..).map_while(|at| line.word(at));
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn id(rng: &mut Rng) -> ReplicationId {
    ReplicationId::new(std::array::from_fn(|_| rng.next_u64() as u32))
}

/// Runs a replica against primaries of this seed.
pub(crate) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let (mut primary, mut replica) = (Primary::new(&mut rng), Replica::new());
    let (cuts, deaths) = (1 + rng.below(200), 1 + rng.below(400));
    for step in 0..STEPS_MAX {
        let is_calm = step >= EVENTS;
        let way = WAYS[rng.below(2) as usize];
        match rng.below(8) {
            0 | 1 if !is_calm => primary.write(&mut rng),
            2 if !is_calm && rng.below(cuts) == 0 => {
                primary.hang_up();
                replica.open = None;
            }
            3 if !is_calm && rng.below(deaths) == 0 => {
                primary.die(&mut rng);
                replica.open = None;
            }
            4 => match &mut replica.open {
                None => replica.connect(),
                Some(open) => {
                    let waiting = &mut open.requests[way as usize];
                    let count = waiting.len().min(1 + rng.below(100) as usize);
                    let requests: Vec<u8> = waiting.drain(..count).collect();
                    primary.receive(&mut rng, way, &requests);
                }
            },
            _ if replica.open.is_some() => {
                let bytes = primary.send(&mut rng, way);
                replica.receive(&primary, way, &bytes);
            }
            _ => {}
        }
        let end = Position { id: primary.history.id, offset: primary.stream.offset() };
        if is_calm && replica.position == Some(end) && primary.has_sent_all() {
            return assert_eq!(replica.data, primary.data);
        }
    }
    panic!("the replica does not come to the end: {:?}", replica.position);
}
