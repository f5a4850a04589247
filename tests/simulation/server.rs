//! A whole server in one thread: every core is real, its ring and its clock are simulated.
//!
//! Invariant: a core turns only when the simulated kernel would let it; mailboxes, partitions and
//! flags between cores are those of the real server.

use std::sync::Arc;

use ironring::base::mailbox::{self, Parked};
use ironring::base::rng::Rng;
use ironring::base::siphash::HashKey;
use ironring::base::slot::Slot;
use ironring::base::time::{SimClock, TickRate};
use ironring::base::turns::Turns;
use ironring::config::{Config, SetContext};
use ironring::dispatch::table::table;
use ironring::dispatch::worker::Identity;
use ironring::event_loop::{Core, Mail, Parts};
use ironring::observe::server::ServerFacts;
use ironring::observe::stats::Gauge;
use ironring::pubsub::tracking::letterboxes;
use ironring::ring::simulated::{Faults, SimNet, SimRing};
use ironring::store::key::Hasher;
use ironring::store::partition::Partition;
use ironring::txn::cores::SlotMap;

use crate::support::parts;

/// A server and the network that its clients are in.
pub(crate) struct Server {
    pub(crate) net: SimNet,
    pub(crate) clock: SimClock,
    pub(crate) facts: Arc<ServerFacts>,
    pub(crate) cores: Vec<Core<SimRing, SimClock>>,
}

impl Server {
    /// A server of so many cores, whose queues between cores hold `mailbox` messages. Without a
    /// `password` everybody may come in.
    pub(crate) fn start(
        rng: &mut Rng,
        cores: usize,
        mailbox: usize,
        faults: Faults,
        password: &str,
    ) -> Server {
        let clock = SimClock::new(parts::WALL_AT_START);
        let net = SimNet::new(rng.next_u64(), cores, faults, clock.clone());
        // Simulated peers have no address that could be told from a stranger's.
        let settings: [(&[u8], &[u8]); 2] =
            [(b"protected-mode", b"no"), (b"requirepass", password.as_bytes())];
        let config = Config::default().set(&settings, SetContext::default());
        let config = config.expect("both may be set");
        let config = Arc::new(config);
        let facts = Arc::new(parts::facts(cores, config.databases));
        // Long commands end a turn early.
        let command_nanos = [0, 1000, 50_000][rng.below(3) as usize];
        let hasher = Hasher::new(HashKey { k0: rng.next_u64(), k1: rng.next_u64() });
        let map = SlotMap::new(cores);
        let parked: Arc<[Parked]> = (0..cores).map(|_| Parked::new()).collect();
        let mut server = Server { net, clock, facts, cores: Vec::new() };
        for (core, mail) in mailboxes(cores, mailbox, &parked).into_iter().enumerate() {
            let slot = |number: u16| Slot::from_number(number.into()).expect("a slot of the map");
            let (first, last) = map.range(core);
            let partition = Partition::new(slot(first), slot(last), config.databases, hasher);
            let mut one = Core::new(Parts {
                ring: server.net.ring(core),
                clock: server.clock.clone(),
                identity: Identity {
                    core,
                    config: config.clone(),
                    tls: None,
                    users: table().first_users(&config),
                    server: server.facts.clone(),
                    hasher,
                    rng: Rng::new(rng.next_u64()),
                    tick_rate: TickRate::constant(command_nanos),
                },
                partition: Box::new(partition),
                mail,
                listeners: if core == 0 { vec![parts::listener()] } else { Vec::new() },
                control: Arc::new(parts::NoControl),
                may_spin: rng.below(2) == 0,
            });
            one.start();
            server.cores.push(one);
        }
        server
    }

    /// What its cores hold for clients that have gone.
    pub(crate) fn leftovers(&mut self) -> Vec<(usize, Vec<&'static str>)> {
        let cores = self.cores.iter_mut().enumerate();
        cores
            .map(|(core, one)| (core, one.leftovers()))
            .filter(|(_, one)| !one.is_empty())
            .collect()
    }

    /// Clients that the server believes to have.
    pub(crate) fn clients(&self) -> i64 {
        self.facts.clients.iter().map(Gauge::get).sum()
    }
}

/// Names of keys that lie on different partitions, as far as there are so many.
pub(crate) fn names(prefix: &str, count: usize, cores: usize) -> Vec<String> {
    let map = SlotMap::new(cores);
    let mut candidates = (0..).map(|number| format!("{prefix}{number}"));
    let mut name = |owner: usize| {
        let is_there = |name: &String| map.owner(Slot::of(name.as_bytes())) == owner;
        candidates.find(is_there).expect("numbers do not end")
    };
    (0..count).map(|key| name(key % cores)).collect()
}

fn mailboxes(cores: usize, capacity: usize, parked: &Arc<[Parked]>) -> Vec<Mail> {
    let mut senders: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
    let mut receivers: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
    for (from, senders) in senders.iter_mut().enumerate() {
        for (to, receivers) in receivers.iter_mut().enumerate() {
            let ends = (from != to).then(|| mailbox::channel(capacity));
            let (sender, receiver) = ends.map_or((None, None), |(one, two)| (Some(one), Some(two)));
            senders.push(sender);
            receivers.push(receiver);
        }
    }
    let turns = Arc::new(Turns::new(cores));
    let letters = letterboxes(cores);
    let ends = senders.into_iter().zip(receivers).enumerate();
    ends.map(|(core, (to, from))| {
        Mail::new(core, to, from, (parked.clone(), turns.clone(), letters.clone()))
    })
    .collect()
}
