//! The journal of a whole server under faults: at any instant the machine stops, or the process is
//! killed; what is left on the disk is then everything that was acknowledged, and a prefix of what
//! was done.
//!
//! Invariant: files of the control plane are on a simulated disk that tears, fails and forgets; the
//! file that is appended to is one of the simulated rings. The seed decides when it ends, which
//! operation fails, and what survives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ironring::base::rng::Rng;
use ironring::command::session_context::Request;
use ironring::event_loop::{Answer, Control};
use ironring::observe::journal::State;
use ironring::observe::server::ServerFacts;
use ironring::persist::aof::block::{JournalFile, Opened};
use ironring::persist::aof::files::{AofFiles, Rewrite};
use ironring::persist::aof::manifest::Manifest;
use ironring::persist::aof::replay::Line;
use ironring::persist::aof::scan::{self, Found, Scanner, Verdict, Verifier};
use ironring::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use ironring::persist::rdb::Checks;
use ironring::persist::rdb::file::{FileReader, Record};
use ironring::persist::save::{Piece as SavePiece, Save, Target, Writer};
use ironring::persist::simulated::SimulatedDisk;
use ironring::ring::Fd;
use ironring::ring::simulated::{ClientEnd, DiskFaults, Faults, SimNet};

use crate::schedule::{Schedule, any_of, pass_time};
use crate::server::Server;

const FILENAME: &[u8] = b"appendonly.aof";
const BESIDE: &str = "temp.rdb";
/// Descriptors of files; clients have smaller ones.
const FIRST_FD: Fd = 1_000_000;
/// Writers of a run.
const WRITERS: usize = 4;
/// Steps of a run, at most.
const STEPS_MAX: u64 = 12_000;
/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;
/// A little more than a second.
const SECOND_NANOS: u64 = 1_100_000_000;
/// A value of which some dozens are more than may wait for the disk.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_VALUES: usize = 80;

/// Operations of a simulated disk never wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a simulated operation waited"),
    }
}

/// What cores have asked for, and what is there for them.
#[derive(Default)]
struct Requests {
    opened: VecDeque<Opened>,
    rewrites: VecDeque<RewriteOrder>,
    pieces: Vec<(Arc<Save>, SavePiece)>,
}

/// The control plane as cores see it.
#[derive(Default)]
struct Desk(Mutex<Requests>);

impl Desk {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().expect("one thread")
    }
}

impl Control for Desk {
    fn ask(&self, _core: usize, _ticket: u64, _request: Request) {}

    fn answer(&self, _core: usize) -> Option<(u64, Result<Answer, String>)> {
        None
    }

    fn save(&self, save: &Arc<Save>, piece: SavePiece) {
        save.progress[piece.partition].queued.fetch_sub(piece.len, Ordering::Relaxed);
        self.requests().pieces.push((save.clone(), piece));
    }

    fn load(&self, _order: LoadOrder) {}

    fn loaded(&self, _core: usize) -> Option<(Arc<Load>, Piece)> {
        None
    }

    fn rewrite(&self, order: RewriteOrder) {
        self.requests().rewrites.push_back(order);
    }

    fn fill(&self, _fd: OwnedFd, _number: u64, _place: (u64, u64)) {}

    fn trim(&self, _fd: OwnedFd, _len: u64) {}

    fn journal(&self) -> Option<Opened> {
        self.requests().opened.pop_front()
    }

    fn shut_down(&self) {}
}

/// What does the work of the control plane, when it has its turn.
struct Plane {
    desk: Arc<Desk>,
    disk: SimulatedDisk,
    files: AofFiles<SimulatedDisk>,
    /// The file that the journal goes on in when the base is whole, and those that have names.
    next: Option<Fd>,
    named: BTreeMap<Vec<u8>, Fd>,
    last_fd: Fd,
    faults: DiskFaults,
    facts: Arc<ServerFacts>,
    cores: usize,
}

impl Plane {
    fn new(rng: &mut Rng, desk: Arc<Desk>, server: &Server, faults: DiskFaults) -> Plane {
        let disk = SimulatedDisk::new(rng.next_u64());
        let place = (PathBuf::from("aof"), FILENAME.to_vec());
        let files = AofFiles::new(disk.clone(), place, Manifest::default(), Vec::new());
        let mut plane = Plane {
            desk,
            disk,
            files,
            next: None,
            named: BTreeMap::new(),
            last_fd: FIRST_FD,
            faults,
            facts: server.facts.clone(),
            cores: server.cores.len(),
        };
        let name = now(plane.files.add_incr(Rewrite::Within)).expect("nothing fails yet");
        let fd = plane.open(&server.net);
        plane.named.insert(name, fd);
        plane.desk.requests().opened.push_back(Opened::First(JournalFile { fd, offset: 0 }, 0));
        plane
    }

    fn open(&mut self, net: &SimNet) -> Fd {
        self.last_fd += 1;
        net.open_file(self.last_fd, b"", self.faults);
        self.last_fd
    }

    /// Takes a step. False if there is nothing to do.
    fn act(&mut self, net: &SimNet) -> bool {
        let order = self.desk.requests().rewrites.pop_front();
        if let Some(order) = order {
            self.begin_rewrite(net, &order);
            return true;
        }
        let pieces = {
            let mut requests = self.desk.requests();
            let ended = requests.pieces.iter().filter(|(_, piece)| piece.is_last).count();
            if ended < self.cores {
                return false;
            }
            std::mem::take(&mut requests.pieces)
        };
        let save = pieces[0].0.clone();
        let Target::AofBase(rewrite) = save.target else { panic!("nobody saves") };
        let is_wanted = !self.facts.persistence.cancelled.load(Ordering::Acquire);
        let installed = is_wanted && self.install(&save, pieces, rewrite).is_ok();
        self.facts.journal.rewrites.ended(installed, 0);
        self.facts.persistence.end();
        true
    }

    fn begin_rewrite(&mut self, net: &SimNet, order: &RewriteOrder) {
        let Ok(name) = now(self.files.add_incr(order.rewrite)) else {
            return self.facts.persistence.end();
        };
        let fd = self.open(net);
        if order.rewrite == Rewrite::Within {
            self.named.insert(name, fd);
        } else {
            self.next = Some(fd);
        }
        let opened = Opened::Next(order.rewrite, Some(JournalFile { fd, offset: 0 }));
        self.desk.requests().opened.push_back(opened);
    }

    fn install(
        &mut self,
        save: &Save,
        pieces: Vec<(Arc<Save>, SavePiece)>,
        rewrite: Rewrite,
    ) -> Result<(), ()> {
        let beside = Path::new(BESIDE);
        let written = now(async {
            let mut writer = Writer::create(&self.disk, save, beside).await?;
            for (_, piece) in pieces {
                assert!(!piece.continues, "values are small");
                writer.write(&self.disk, save, piece).await?;
            }
            writer.finish(&self.disk, save).await
        });
        let len = written.map_err(drop)?;
        if let (Rewrite::Anew, Some(fd)) = (rewrite, self.next) {
            // Also a step that fails may be found on the disk.
            let mut next = self.files.manifest().clone();
            self.named.insert(next.next_incr(FILENAME, Some(0)).name.clone(), fd);
        }
        now(self.files.install(beside, rewrite, true)).map_err(drop)?;
        self.facts.journal.rewrites.base_bytes.store(len, Ordering::Release);
        self.facts.journal.has_base();
        now(self.files.remove_history()).map(drop).map_err(drop)
    }

    /// What a server would load that starts now: keys and values.
    fn recovered(&self, rng: &mut Rng, net: &SimNet, power_cut: bool) -> BTreeMap<String, u64> {
        let left = if power_cut { self.disk.after_crash() } else { self.disk.clone() };
        let text = left.contents(Path::new("aof/appendonly.aof.manifest")).expect("a manifest");
        let manifest = Manifest::parse(&text).expect("the manifest is whole");
        let mut keys = BTreeMap::new();
        if let Some(base) = &manifest.base {
            let path = Path::new("aof").join(String::from_utf8_lossy(&base.name).into_owned());
            load_base(&left.contents(&path).expect("what is named is there"), &mut keys);
        }
        let mut is_torn = false;
        for incr in &manifest.incr {
            // One that nobody has heard of was never opened, since the step that named it failed.
            let fd = self.named.get(&incr.name);
            let bytes = fd.and_then(|fd| net.file(*fd, power_cut)).unwrap_or_default();
            assert!(!is_torn || bytes.is_empty(), "a file goes on behind one that is torn");
            is_torn |= replay(&bytes, &mut keys);
            check_damage(rng, &bytes);
        }
        keys
    }
}

/// Takes the keys of an RDB file. Their values are short strings.
fn load_base(bytes: &[u8], keys: &mut BTreeMap<String, u64>) {
    let mut reader = FileReader::new(Checks::ALL);
    reader.feed(bytes);
    reader.finish();
    while let Some(record) = reader.next_record().expect("the base is whole") {
        match record {
            Record::Key(key) => {
                let value = match key.value {
                    [0xC0, one] => u64::from(*one),
                    [0xC1, low, high] => u64::from(u16::from_le_bytes([*low, *high])),
                    other => panic!("a value {other:?}"),
                };
                keys.insert(String::from_utf8_lossy(&key.key).into_owned(), value);
            }
            Record::End(_) => return,
            _ => {}
        }
    }
}

fn judge(bytes: &[u8]) -> Verdict {
    let mut verifier = Verifier::new(0);
    verifier.feed(bytes);
    verifier.finish()
}

fn is_damaged(bytes: &[u8]) -> bool {
    matches!(judge(bytes).state, scan::State::Damaged(_))
}

/// Whatever a crash has left, it is noticed if something else happens to what is whole, or if a sector
/// of what was synced gets lost.
fn check_damage(rng: &mut Rng, bytes: &[u8]) {
    let whole = judge(bytes).safe;
    if whole == 0 {
        return;
    }
    let at = rng.below(whole) as usize;
    let mut flipped = bytes.to_vec();
    flipped[at] ^= 1 << rng.below(8);
    assert!(is_damaged(&flipped), "a bit of byte {at} is not the same: {:?}", judge(&flipped));
    let sectors = told_by_last_group(&bytes[..whole as usize]) / SECTOR_BYTES;
    if sectors > 0 {
        let begin = rng.below(sectors as u64) as usize * SECTOR_BYTES;
        let mut holed = bytes.to_vec();
        holed[begin..begin + SECTOR_BYTES].fill(0);
        assert!(is_damaged(&holed), "the sector at {begin} is lost: {:?}", judge(&holed));
    }
}

/// Up to where a file is synced, as the last of its groups says.
fn told_by_last_group(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let line = text.rsplit_once("#SYNC:").expect("each group says it").1;
    line.split_once(' ').and_then(|(upto, _)| upto.parse().ok()).expect("a number")
}

/// Runs the commands of a file, as far as it is whole. True if it is torn.
fn replay(bytes: &[u8], keys: &mut BTreeMap<String, u64>) -> bool {
    let verdict = judge(bytes);
    assert!(!matches!(verdict.state, scan::State::Damaged(_)), "{verdict:?}");
    let (mut scanner, mut line) = (Scanner::new(0), Line::default());
    let mut rest = &bytes[..verdict.safe as usize];
    while !rest.is_empty() {
        let (used, found) = scanner.step(rest, &mut line).expect("it was whole");
        rest = &rest[used..];
        if let Some(Found::Command(_)) = found {
            if line.word(0) == Some(b"SET") {
                let word = |at| String::from_utf8_lossy(line.word(at).unwrap_or_default());
                keys.insert(word(1).into_owned(), word(2).parse().expect("a number"));
            }
            line.clear();
        }
    }
    verdict.safe < verdict.len
}

/// A client that writes pairs of keys, and then which pair it was.
struct Pairs {
    number: usize,
    end: ClientEnd,
    /// The pair that was sent last; nothing is sent behind it before it is answered.
    sent: u64,
    is_answered: bool,
    acknowledged: Vec<u64>,
    /// So many of them were on the disk, as the server said.
    synced: usize,
    /// Pairs that may have been refused, and what was sent behind them taken all the same, perhaps
    /// after what was sent later on another connection.
    doubtful: BTreeSet<u64>,
    replies: Vec<u8>,
}

impl Pairs {
    const REPLIES: &'static [u8] = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n+OK\r\n";

    fn new(net: &SimNet, number: usize) -> Pairs {
        let end = net.connect();
        Pairs {
            number,
            end,
            sent: 0,
            is_answered: true,
            acknowledged: Vec::new(),
            synced: 0,
            doubtful: BTreeSet::new(),
            replies: Vec::new(),
        }
    }

    /// Takes a step. False if it waits.
    fn act(&mut self, net: &SimNet) -> bool {
        let readable = net.readable(self.end);
        if readable > 0 {
            self.replies.extend(net.read(self.end, readable));
            if self.replies == Self::REPLIES {
                self.acknowledged.push(self.sent);
                self.replies.clear();
                self.is_answered = true;
            } else if !Self::REPLIES.starts_with(&self.replies) {
                // Refused: what comes later may be taken again.
                self.start_again(net);
            }
            return true;
        }
        if net.is_at_end(self.end) {
            self.start_again(net);
            return true;
        }
        if !self.is_answered {
            return false;
        }
        self.sent += 1;
        self.is_answered = false;
        let (writer, number) = (self.number, self.sent);
        let request = format!(
            "MULTI\r\nSET left:{writer}:{number} {number}\r\nSET right:{writer}:{number} {number}\r\nEXEC\r\nSET last:{writer} {number}\r\n"
        );
        net.send(self.end, request.as_bytes());
        true
    }

    /// Nobody knows what became of the pair under way: it is not sent again.
    fn start_again(&mut self, net: &SimNet) {
        self.doubtful.insert(self.sent);
        net.close(self.end);
        self.end = net.connect();
        self.replies.clear();
        self.is_answered = true;
    }

    /// Compares what was recovered with what is known; `has_all`: everything that was acknowledged
    /// has to be there, else what there is has to be a prefix.
    fn check(&self, keys: &BTreeMap<String, u64>, has_all: bool) {
        let writer = self.number;
        let has = |side: &str, number: u64| keys.contains_key(&format!("{side}:{writer}:{number}"));
        let last = (1..=self.sent).rev().find(|number| has("left", *number)).unwrap_or(0);
        for number in 1..=self.sent {
            assert_eq!(has("left", number), has("right", number), "half of pair {number}");
        }
        for (at, number) in self.acknowledged.iter().enumerate() {
            let is_due = has_all || at < self.synced || *number < last;
            assert!(!is_due || has("left", *number), "pair {number} of {writer} is lost");
        }
        let told = keys.get(&format!("last:{writer}")).copied().unwrap_or(0);
        let promised = self.acknowledged.last().copied().unwrap_or(0);
        // Nobody has heard yet what became of the one under way.
        let is_in_doubt = self.doubtful.contains(&told) || told == self.sent && !self.is_answered;
        let is_sound = told <= last && (!has_all || told >= promised);
        assert!(is_sound || is_in_doubt, "{told}, {last}, {promised}");
    }
}

/// Runs a server until its machine stops; what is left of its files is compared with what its clients
/// know. Where the disk `forgets` what it was to sync, that has to fail.
pub(crate) fn run(seed: u64, cores: usize, forgets: bool) {
    let mut rng = Rng::new(seed);
    let always = rng.below(2) == 0;
    let policy: &[u8] = if always { b"always" } else { b"everysec" };
    let settings: [(&[u8], &[u8]); 2] = [(b"appendonly", b"yes"), (b"appendfsync", policy)];
    let desk = Arc::new(Desk::default());
    let faults = Faults::none();
    let mut server = Server::start_with(&mut rng, (cores, 256), faults, &settings, desk.clone());
    server.facts.journal.enter(State::On);
    let none = DiskFaults { forgets, ..DiskFaults::default() };
    let disk_faults = match rng.below(3) {
        0 => none,
        1 => DiskFaults { short_write: 200, interrupted: 100, ..none },
        _ => DiskFaults { short_write: 50, interrupted: 50, no_room: 10, failed_sync: 10, ..none },
    };
    let mut plane = Plane::new(&mut rng, desk, &server, disk_faults);
    let operations = plane.disk.operations();
    match rng.below(3) {
        0 => {}
        1 => plane.disk.fail_at(operations + rng.below(60)),
        _ => plane.disk.crash_at(operations + rng.below(60)),
    }
    let net = server.net.clone();
    let mut writers: Vec<Pairs> = (0..WRITERS).map(|one| Pairs::new(&net, one)).collect();
    let mut schedule = Schedule::new(&mut rng, cores);
    let steps = rng.below(STEPS_MAX);
    for _ in 0..steps {
        let facts = server.facts.clone();
        let moved = schedule.step(&mut rng, &mut server, |rng, net, _| {
            if rng.below(200) == 0 {
                facts.journal.rewrites.scheduled.store(true, Ordering::Relaxed);
            }
            rng.below(5) == 0 && plane.act(net)
                || any_of(rng, &mut writers, |one, _| one.act(net))
                || plane.act(net)
        });
        if !moved {
            pass_time(&server);
        }
        if rng.below(1500) == 0 {
            // What waits for a second is tried again.
            server.clock.advance(SECOND_NANOS);
        }
        let journal = &server.facts.journal;
        if journal.state() == State::On && journal.has_synced(journal.last()) {
            writers.iter_mut().for_each(|one| one.synced = one.acknowledged.len());
        }
    }
    let power_cut = rng.below(2) == 0;
    let keys = plane.recovered(&mut rng, &net, power_cut);
    for writer in &writers {
        writer.check(&keys, always || !power_cut);
    }
}

/// A sync fails, and the journal with it: it is written anew by itself, and writes are taken again.
pub(crate) fn lose_and_renew(seed: u64, cores: usize) {
    let mut rng = Rng::new(seed);
    let settings: [(&[u8], &[u8]); 2] = [(b"appendonly", b"yes"), (b"appendfsync", b"always")];
    let desk = Arc::new(Desk::default());
    let faults = Faults::none();
    let mut server = Server::start_with(&mut rng, (cores, 256), faults, &settings, desk.clone());
    server.facts.journal.enter(State::On);
    let failing = DiskFaults { failed_sync: 300, ..DiskFaults::default() };
    let mut plane = Plane::new(&mut rng, desk, &server, failing);
    let net = server.net.clone();
    let mut writers: Vec<Pairs> = (0..WRITERS).map(|one| Pairs::new(&net, one)).collect();
    let mut schedule = Schedule::new(&mut rng, cores);
    let facts = server.facts.clone();
    let mut acknowledged = None;
    for step in 0..STEPS_MAX * 25 {
        let count = writers.iter().map(|one| one.acknowledged.len()).sum::<usize>();
        match (facts.journal.state(), acknowledged) {
            (State::Lost, _) => {
                plane.faults = DiskFaults::default();
                acknowledged = Some(count);
            }
            (State::On, Some(before)) if count > before => {
                let keys = plane.recovered(&mut rng, &net, true);
                writers.iter().for_each(|one| one.check(&keys, true));
                assert!(!facts.journal.refuses());
                return;
            }
            _ => {}
        }
        let moved = schedule.step(&mut rng, &mut server, |rng, net, _| {
            // Writers that are refused try again without a pause.
            rng.below(5) == 0 && plane.act(net)
                || any_of(rng, &mut writers, |one, _| one.act(net))
                || plane.act(net)
        });
        if !moved {
            pass_time(&server);
        }
        if step % 1000 == 0 {
            server.clock.advance(SECOND_NANOS);
        }
    }
    panic!("writes are not taken again: {:?}", facts.journal);
}

/// The disk hangs: changes wait when enough of them do, whoever reads does not, and all are done when
/// it goes on.
pub(crate) fn hang(seed: u64, cores: usize) {
    let mut rng = Rng::new(seed);
    let settings: [(&[u8], &[u8]); 1] = [(b"appendonly", b"yes")];
    let desk = Arc::new(Desk::default());
    let faults = Faults::none();
    let mut server = Server::start_with(&mut rng, (cores, 256), faults, &settings, desk.clone());
    server.facts.journal.enter(State::On);
    let stalled = DiskFaults { stalls: true, ..DiskFaults::default() };
    let mut plane = Plane::new(&mut rng, desk, &server, stalled);
    let (net, facts) = (server.net.clone(), server.facts.clone());
    let writer = net.connect();
    let value = "x".repeat(LARGE_BYTES);
    for number in 0..LARGE_VALUES {
        let key = format!("key{number:02}");
        let request = format!("*3\r\n$3\r\nSET\r\n$5\r\n{key}\r\n${LARGE_BYTES}\r\n{value}\r\n");
        net.send(writer, request.as_bytes());
    }
    let mut schedule = Schedule::new(&mut rng, cores);
    let mut settle = |server: &mut Server, rng: &mut Rng, until: &dyn Fn() -> bool| {
        for _ in 0..STEPS_MAX * 25 {
            if until() {
                return;
            }
            if !schedule.step(rng, server, |_, net, _| plane.act(net)) {
                pass_time(server);
            }
        }
        panic!("nothing comes of it");
    };
    settle(&mut server, &mut rng, &|| facts.journal.is_choked.load(Ordering::Relaxed));
    let reader = net.connect();
    net.send(reader, b"PING\r\nGET nothing\r\n");
    settle(&mut server, &mut rng, &|| net.readable(reader) == 12);
    let waiting = facts.journal.waiting_bytes.load(Ordering::Relaxed);
    assert!(waiting < 80 << 20, "{waiting} bytes wait");
    assert_eq!(net.readable(writer), 0, "nothing is acknowledged");
    // Another file, and the disk goes on.
    net.open_file(FIRST_FD - 1, b"", DiskFaults::default());
    settle(&mut server, &mut rng, &|| net.readable(writer) == LARGE_VALUES * "+OK\r\n".len());
    assert!(!facts.journal.is_choked.load(Ordering::Relaxed));
}
