//! A crowd on shared keys and channels: who pushes, takes and waits, who listens, who keeps copies,
//! and who is killed, woken or vanishes in the middle of it.
//!
//! Invariant: whatever happens to whom, an element is taken once or lies in a list, a message comes
//! once and in one order to everybody who stays, no copy is kept that has been called back, and when
//! all have gone nothing is left of them.

mod cache;
mod exchange;
mod peer;

use std::collections::{BTreeMap, BTreeSet};

use ironring::base::rng::Rng;
use ironring::event_loop::Sabotage;
use ironring::ring::simulated::{Faults, SimNet};

use crate::run::{STEPS_MAX, end};
use crate::schedule::{Schedule, any_of, pass_time};
use crate::server::{Server, names};
use crate::support::reply::Node;
use cache::{Cache, WRITERS, Writer};
use exchange::{CHANNEL, Pusher, Taker};
use peer::{ListSet, Peer, Purpose};

/// Lists and keys of a run.
const LISTS: usize = 4;
const KEYS: usize = 6;
/// Timers that may have to run out, one after the other, before a wait ends.
const PAUSES_MAX: usize = 2000;

/// What a client is for.
#[derive(Debug)]
enum Role {
    Pushes(Pusher),
    Takes(Taker),
    /// Listens, and has heard this.
    Listens(Vec<String>),
    Writes(Writer),
    Reads(Cache),
    /// Kills and wakes others, so many times more.
    Kills(u64),
    /// Looks what is left.
    Collects(Left),
}

/// What is left in the end.
#[derive(Debug, Default)]
struct Left {
    elements: Vec<String>,
    /// The lists that are not empty.
    lists: ListSet,
    /// The version of each key.
    versions: Vec<u64>,
}

impl Left {
    fn take_list(&mut self, at: usize, node: &Node) {
        let before = self.elements.len();
        exchange::collect(node, &mut self.elements);
        if self.elements.len() > before && at < LISTS {
            self.lists |= 1 << at;
        }
    }
}

/// What clients know of each other.
struct Common {
    lists: Vec<String>,
    keys: Vec<String>,
    /// Each pusher's own.
    own: Vec<String>,
    /// Ids of clients that may be killed or woken.
    victims: Vec<u64>,
    /// Everybody who stays listens by now.
    has_begun: bool,
}

struct Client {
    peer: Peer,
    role: Role,
    /// Requests under way, at most.
    depth: usize,
}

impl Client {
    fn act(&mut self, rng: &mut Rng, net: &SimNet, common: &mut Common) -> bool {
        let reads_first = rng.below(2) == 0;
        reads_first && self.read(net, common)
            || self.send(rng, net, common)
            || self.read(net, common)
    }

    fn send(&mut self, rng: &mut Rng, net: &SimNet, common: &Common) -> bool {
        if !self.peer.left && common.has_begun && self.peer.asked.len() < self.depth {
            self.ask_more(rng, common);
        }
        self.peer.send(rng, net)
    }

    fn ask_more(&mut self, rng: &mut Rng, common: &Common) {
        let peer = &mut self.peer;
        match &mut self.role {
            Role::Pushes(one) if one.rounds > 0 => {
                let own = &common.own[one.number];
                one.next(rng, peer, &common.lists, own);
            }
            Role::Takes(one) if one.rounds > 0 => one.next(rng, peer, &common.lists),
            Role::Writes(one) if one.rounds > 0 => one.next(rng, peer, &common.keys),
            Role::Reads(one) if one.rounds > 0 => one.next(rng, peer, &common.keys),
            Role::Kills(rounds) if *rounds > 0 => {
                *rounds -= 1;
                disturb(rng, peer, &common.victims);
            }
            _ => {}
        }
    }

    fn read(&mut self, net: &SimNet, common: &mut Common) -> bool {
        let mut nodes = Vec::new();
        let has_read = self.peer.read(net, &mut nodes);
        for (purpose, node) in nodes {
            match purpose {
                Some(Purpose::Id) => {
                    let id = std::str::from_utf8(&node.text).ok().and_then(|id| id.parse().ok());
                    common.victims.push(id.expect("an id"));
                }
                Some(purpose) => self.hear(purpose, &node),
                None => self.hear_push(&node, common),
            }
        }
        has_read
    }

    fn hear(&mut self, purpose: Purpose, node: &Node) {
        match (&mut self.role, purpose) {
            (Role::Pushes(one), Purpose::Pushed(at)) => one.pushes[at].acknowledged = true,
            (Role::Takes(one), Purpose::Takes { most, .. }) => one.take(most, node),
            (Role::Reads(one), Purpose::Keeps(key)) => one.keep(key, node),
            (Role::Reads(one), Purpose::Barrier) => one.check(),
            (Role::Collects(left), Purpose::List(at)) => left.take_list(at, node),
            (Role::Collects(left), Purpose::Keeps(_)) => left.versions.push(cache::version(node)),
            _ => assert_eq!(purpose, Purpose::Nothing, "who asks for it knows what to do"),
        }
    }

    fn hear_push(&mut self, node: &Node, common: &Common) {
        match &mut self.role {
            Role::Reads(one) => one.forget(node, &common.keys),
            Role::Listens(heard) => {
                let payload = &node.elements.last().expect("a message has a payload").text;
                heard.push(String::from_utf8_lossy(payload).into_owned());
            }
            role => panic!("a push to somebody who wants none: {role:?}"),
        }
    }

    /// It has asked and got everything, or waits without an end.
    fn is_done(&self) -> bool {
        let has_more = match &self.role {
            Role::Pushes(one) => one.rounds > 0,
            Role::Takes(one) => one.rounds > 0,
            Role::Writes(one) => one.rounds > 0,
            Role::Reads(one) => one.rounds > 0,
            Role::Kills(rounds) => *rounds > 0,
            Role::Listens(_) | Role::Collects(_) => false,
        };
        self.peer.is_quiet() && (self.peer.left || !has_more) || self.waits_for() != 0
    }

    /// The lists that it waits for without an end.
    fn waits_for(&self) -> ListSet {
        match self.peer.asked.front() {
            Some(Purpose::Takes { waits_for, .. }) if !self.peer.left => *waits_for,
            _ => 0,
        }
    }

    /// It listens before anybody publishes, if it lives so long.
    fn is_awaited(&self) -> bool {
        matches!(self.role, Role::Listens(_)) && !self.peer.left
    }
}

/// Kills or wakes somebody, or gets into everybody's way.
fn disturb(rng: &mut Rng, peer: &mut Peer, victims: &[u64]) {
    let victim = match victims {
        [] => String::from("1000000"),
        some => some[rng.below(some.len() as u64) as usize].to_string(),
    };
    let words: &[&str] = match rng.below(9) {
        0 => &["CLIENT", "KILL", "ID", &victim],
        1 => &["CLIENT", "KILL", "ID", &victim, "TYPE", "pubsub"],
        2..4 => &["CLIENT", "UNBLOCK", &victim, "ERROR"],
        4 | 5 => &["CLIENT", "UNBLOCK", &victim],
        6 => &["SCRIPT", "FLUSH"],
        7 => &["CLIENT", "PAUSE", "3", "WRITE"],
        _ => &["PUBSUB", "NUMSUB", CHANNEL],
    };
    peer.ask(words, Purpose::Nothing);
}

/// Makes a client of one kind: the chance, its connection and its number among those of its kind.
type NewRole = fn(&mut Rng, &mut Peer, usize) -> Role;

/// A random crowd.
fn crowd(rng: &mut Rng, net: &SimNet) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    let mut add = |rng: &mut Rng, role: NewRole, count: u64, depth_max: u64| {
        for number in 0..count as usize {
            let mut peer = Peer::new(rng, net);
            if rng.below(4) == 0 {
                peer.vanish_after(rng.below(600) as usize);
            } else if rng.below(2) == 0 {
                peer.ask(&["CLIENT", "ID"], Purpose::Id);
            }
            let role = role(rng, &mut peer, number);
            let depth = 1 + rng.below(depth_max) as usize;
            clients.push(Client { peer, role, depth });
        }
    };
    let count = 1 + rng.below(4);
    add(rng, |rng, peer, _| listener(rng, peer), count, 1);
    let count = 1 + rng.below(3);
    add(rng, |rng, peer, _| Role::Reads(Cache::new(rng, peer, KEYS)), count, 1);
    let count = 1 + rng.below(4);
    add(rng, |rng, _, number| Role::Pushes(Pusher::new(rng, number)), count, 6);
    let count = rng.below(5);
    add(rng, |rng, _, _| Role::Takes(Taker::new(rng)), count, 4);
    add(rng, |rng, _, number| Role::Writes(Writer::new(rng, number)), WRITERS as u64, 6);
    let peer = Peer::new(rng, net);
    clients.push(Client { peer, role: Role::Kills(rng.below(15)), depth: 2 });
    clients
}

fn listener(rng: &mut Rng, peer: &mut Peer) -> Role {
    if rng.below(2) == 0 {
        peer.ask(&["HELLO", "3"], Purpose::Nothing);
    }
    let words = [["SUBSCRIBE", CHANNEL], ["PSUBSCRIBE", "n*"]][rng.below(2) as usize];
    peer.ask(&words, Purpose::Nothing);
    Role::Listens(Vec::new())
}

/// Lets a random crowd loose on a server of so many cores, broken on purpose or not.
pub(crate) fn run(seed: u64, cores: usize, sabotage: Sabotage) {
    let mut rng = Rng::new(seed);
    let mut faults = if rng.below(2) == 0 { Faults::none() } else { Faults::random(&mut rng) };
    faults.receive_bytes_max = faults.receive_bytes_max.max(100);
    let mailbox = [1, 2, 256][rng.below(3) as usize];
    let mut server = Server::start(&mut rng, cores, mailbox, faults, "");
    server.cores.iter_mut().for_each(|core| core.sabotage(sabotage));
    let net = server.net.clone();
    let mut clients = crowd(&mut rng, &net);
    let mut common = Common {
        lists: names("list", LISTS, cores),
        keys: names("key", KEYS, cores),
        own: names("own", 4, cores),
        victims: Vec::new(),
        has_begun: false,
    };
    go_on(&mut rng, &mut server, &mut clients, &mut common);
    let mut peer = Peer::new(&mut rng, &net);
    let lists = common.lists.iter().chain(&common.own).enumerate();
    lists.for_each(|(at, list)| peer.ask(&["LRANGE", list, "0", "-1"], Purpose::List(at)));
    let keys = common.keys.iter().enumerate();
    keys.for_each(|(at, key)| peer.ask(&["GET", key], Purpose::Keeps(at)));
    clients.push(Client { peer, role: Role::Collects(Left::default()), depth: 1 });
    go_on(&mut rng, &mut server, &mut clients, &mut common);
    clients.iter().filter(|one| !one.peer.left).for_each(|one| net.close(one.peer.end));
    end(&mut rng, server);
    check(&clients);
}

/// Lets everybody go on until nobody has anything to do.
fn go_on(rng: &mut Rng, server: &mut Server, clients: &mut [Client], common: &mut Common) {
    let mut schedule = Schedule::new(rng, server.cores.len());
    let mut pauses = 0;
    loop {
        assert!(schedule.steps < STEPS_MAX as u64, "{STEPS_MAX} steps were not enough");
        common.has_begun |= clients.iter().all(|one| !one.is_awaited() || one.peer.is_quiet());
        let moved = schedule.step(rng, server, |rng, net, _| {
            any_of(rng, clients, |client, rng| client.act(rng, net, common))
        });
        if moved {
            continue;
        }
        if !server.net.has_backlog() {
            if clients.iter().all(Client::is_done) {
                return;
            }
            pauses += 1;
        }
        let waiting = || {
            let waiting = clients.iter().filter(|one| !one.is_done());
            waiting.map(|one| (&one.peer, &one.role)).collect::<Vec<_>>()
        };
        assert!(pauses < PAUSES_MAX, "nobody can do anything, but these wait: {:#?}", waiting());
        pass_time(server);
    }
}

fn check(clients: &[Client]) {
    let Some(Client { role: Role::Collects(left), .. }) = clients.last() else {
        unreachable!("the last one collects")
    };
    check_elements(clients, &left.elements);
    check_messages(clients);
    for client in clients.iter().filter(|one| !one.peer.left) {
        if let Role::Reads(cache) = &client.role {
            cache.check_against(&left.versions);
        }
        let missed = client.waits_for() & left.lists;
        assert_eq!(missed, 0, "an element lies where somebody waits");
    }
}

/// Every element that was pushed was taken once, or lies in a list, or was on its way to a client
/// that has gone.
fn check_elements(clients: &[Client], left: &[String]) {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut may_be_lost = 0;
    left.iter().for_each(|one| *found.entry(one).or_default() += 1);
    for client in clients {
        if let Role::Takes(taker) = &client.role {
            taker.taken.iter().for_each(|one| *found.entry(one).or_default() += 1);
            let most = |purpose: &Purpose| match purpose {
                Purpose::Takes { most, .. } => *most,
                _ => 0,
            };
            if client.peer.left {
                may_be_lost += client.peer.asked.iter().map(most).sum::<usize>();
            }
        }
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "elements that were there twice: {twice:?}");
    let pushers = clients.iter().filter_map(|one| match &one.role {
        Role::Pushes(pusher) => Some(pusher),
        _ => None,
    });
    let pushes: Vec<_> = pushers.flat_map(|one| &one.pushes).collect();
    let pushed: BTreeSet<&str> =
        pushes.iter().flat_map(|one| &one.elements).map(String::as_str).collect();
    assert!(found.keys().all(|one| pushed.contains(one)), "an element that nobody pushed");
    let acknowledged = pushes.iter().filter(|one| one.acknowledged).flat_map(|one| &one.elements);
    let lost: Vec<_> = acknowledged.filter(|one| !found.contains_key(one.as_str())).collect();
    assert!(lost.len() <= may_be_lost, "elements that are nowhere: {lost:?}, {may_be_lost} may be");
}

/// Everybody who stays has heard the same, each message once and those of a pusher in their order;
/// who was killed has heard some of that without a gap.
fn check_messages(clients: &[Client]) {
    let heard = |one: &Client| match &one.role {
        Role::Listens(heard) => Some((heard.clone(), one.peer.left)),
        _ => None,
    };
    let heard: Vec<(Vec<String>, bool)> = clients.iter().filter_map(heard).collect();
    let Some((all, _)) = heard.iter().find(|(_, left)| !left) else { return };
    for (some, left) in &heard {
        if *left {
            let part = |whole: &[String]| whole == some.as_slice();
            let mut parts = all.windows(some.len().max(1));
            assert!(
                some.is_empty() || parts.any(part),
                "one who left has heard {some:?} of {all:?}"
            );
        } else {
            assert_eq!(some, all, "two listeners heard different orders");
        }
    }
    let places: BTreeMap<&str, usize> =
        all.iter().enumerate().map(|(at, one)| (one.as_str(), at)).collect();
    assert_eq!(places.len(), all.len(), "a message came twice: {all:?}");
    for client in clients {
        let Role::Pushes(pusher) = &client.role else { continue };
        let messages = pusher.pushes.iter().filter_map(|push| {
            let message = push.message.as_deref()?;
            let place = places.get(message).copied();
            assert!(place.is_some() || !push.acknowledged, "nobody has heard {message}");
            place
        });
        assert!(messages.is_sorted(), "the messages of one pusher changed places");
    }
}
