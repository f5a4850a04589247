//! The cores' threads: what each is made of, and their queues to each other.
//!
//! Invariant: every thread has its ring, and knows those of the others, before any of them serves; a
//! ring that cannot be made ends them all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{host, sockets};
use crate::acl::Users;
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::base::sys::{self, crash};
use crate::base::time::{SystemClock, TickRate};
use crate::base::turns::Turns;
use crate::base::{alloc, mailbox};
use crate::config::Config;
use crate::control::Handle;
use crate::dispatch::worker::Identity;
use crate::event_loop::{self, Core, Mail, Message, Parts, mailbox_capacity};
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::pubsub::tracking::letterboxes;
use crate::ring::Backend;
use crate::store::key::Hasher;
use crate::store::partition::Partition;
use crate::tls;
use crate::txn::cores::SlotMap;

/// The threads of the cores.
pub(super) type Threads = Vec<JoinHandle<()>>;

/// One core's ends of its queues to and from every core.
struct Ends {
    senders: Vec<Option<mailbox::Sender<Message>>>,
    receivers: Vec<Option<mailbox::Receiver<Message>>>,
}

fn mailboxes(cores: usize) -> Vec<Ends> {
    let empty = || Ends {
        senders: (0..cores).map(|_| None).collect(),
        receivers: (0..cores).map(|_| None).collect(),
    };
    let mut ends: Vec<Ends> = (0..cores).map(|_| empty()).collect();
    for from in 0..cores {
        for to in (0..cores).filter(|to| *to != from) {
            let (sender, receiver) = mailbox::channel(mailbox_capacity(cores));
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
}

/// Keeps the process to the processors of `server-cpulist`. A list that is none, or names none that is
/// there, is as good as no list, as in stock servers.
pub(super) fn restrict(config: &Config) {
    let list = String::from_utf8_lossy(&config.server_cpulist);
    if let Some(processors) = processor_list(&list) {
        // What cannot be had is not used.
        let _ = sys::restrict_thread(&processors);
    }
}

/// "0,2-3" is 0, 2 and 3; "0-6:2" is 0, 2, 4 and 6. None if it is no such list.
fn processor_list(text: &str) -> Option<Vec<usize>> {
    let number = |text: &str| text.parse::<u16>().ok().map(usize::from);
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, rest) = part.split_once('-').unwrap_or((part, part));
        let (last, step) = rest.split_once(':').unwrap_or((rest, "1"));
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if first > last || step == 0 {
            return None;
        }
        all.extend((first..=last).step_by(step));
    }
    Some(all)
}

/// Starts one pinned thread a core; returns when every ring is set up, or with the first failure.
pub(super) fn start<R: Backend>(
    (config, users): &(Arc<Config>, Arc<Users>),
    facts: &Arc<ServerFacts>,
    control: &Arc<Handle>,
    event_fds: &[i32],
    processors: &[usize],
) -> Result<Threads, String> {
    let tls = first_context(config)?;
    let mut listeners = sockets::listen(config)?;
    let metrics = sockets::listen_for_metrics(config)?;
    let cores = event_fds.len();
    let map = SlotMap::new(cores);
    let mut secret = [0; 16];
    host::random_bytes(&mut secret);
    let half = |at: usize| u64::from_le_bytes(secret[at..at + 8].try_into().unwrap_or_default());
    let hasher = Hasher::new(HashKey { k0: half(0), k1: half(8) });
    let tick_rate = TickRate::calibrate();
    let parked = &facts.process.parked;
    let turns = Arc::new(Turns::new(cores));
    let letterboxes = letterboxes(cores);
    let rings = Rings::of(cores);
    let may_spin = cores <= processors.len();
    let mut threads = Threads::new();
    for (core, ends) in mailboxes(cores).into_iter().enumerate() {
        let shared = (parked.clone(), turns.clone(), letterboxes.clone());
        let mail = Mail::new(core, ends.senders, ends.receivers, shared);
        let listeners = if core == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
        let identity = Identity {
            core,
            config: config.clone(),
            tls: tls.clone(),
            users: users.clone(),
            server: facts.clone(),
            hasher,
            rng: Rng::new(half(0) ^ half(8) ^ core as u64),
            tick_rate,
        };
        let (first, last) = map.range(core);
        let (control, event_fd, databases) = (control.clone(), event_fds[core], config.databases);
        let processor = may_spin.then(|| processors[core]);
        let rings = rings.clone();
        let run = move || {
            alloc::register_thread();
            crash::register_thread(Some(core));
            if let Some(processor) = processor {
                // A thread that cannot be pinned still works.
                let _ = sys::pin_thread(processor);
            }
            let Some(ring) = rings.open::<R>(core, event_fd) else { return };
            let slots = (Slot::from_number(first.into()), Slot::from_number(last.into()));
            let (Some(first), Some(last)) = slots else { return };
            let partition = Box::new(Partition::new(first, last, databases, hasher));
            let clock = SystemClock::new();
            let parts =
                Parts { ring, clock, identity, partition, mail, listeners, control, may_spin };
            Core::new(parts).run();
        };
        let thread = std::thread::Builder::new().name(format!("core-{core}")).spawn(run);
        threads.push(thread.map_err(|error| format!("Cannot start a thread: {error}"))?);
    }
    rings.wait()?;
    facts.startup_memory.store(alloc::used_memory() as u64, Ordering::Relaxed);
    log::notice("Server initialized");
    control.serve_metrics(metrics);
    control.load(event_loop::load_order(config, None));
    Ok(threads)
}

/// What encrypts, where something is to be encrypted.
fn first_context(config: &Config) -> Result<Option<Arc<tls::Context>>, String> {
    if !tls::Context::is_needed(config) {
        return Ok(None);
    }
    let context = tls::Context::load(config);
    let context =
        context.map_err(|_| "Failed to configure TLS. Check logs for more info.".to_owned())?;
    Ok(Some(Arc::new(context)))
}

/// Where the threads meet when their rings are made, and the thread that started them.
#[derive(Clone)]
struct Rings {
    /// What wakes each ring, or why there is none.
    fds: Arc<Mutex<Vec<Result<i32, String>>>>,
    barrier: Arc<Barrier>,
}

impl Rings {
    fn of(cores: usize) -> Rings {
        Rings {
            fds: Arc::new(Mutex::new(vec![Ok(-1); cores])),
            barrier: Arc::new(Barrier::new(cores + 1)),
        }
    }

    /// The ring of a core, that knows the others; None if one of them could not be made.
    fn open<R: Backend>(&self, core: usize, event_fd: i32) -> Option<R> {
        let ring = R::open(event_fd);
        self.fds()[core] = ring.as_ref().map(R::wake_fd).map_err(R::refusal);
        self.barrier.wait();
        let peers: Option<Vec<i32>> = self.fds().iter().map(|fd| fd.clone().ok()).collect();
        let mut ring = ring.ok()?;
        ring.set_peers(peers?);
        Some(ring)
    }

    /// Waits for all of them.
    fn wait(&self) -> Result<(), String> {
        self.barrier.wait();
        self.fds().iter().find_map(|fd| fd.clone().err()).map_or(Ok(()), Err)
    }

    fn fds(&self) -> MutexGuard<'_, Vec<Result<i32, String>>> {
        self.fds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::processor_list;

    #[test]
    fn lists_of_processors_are_those_of_stock_servers() {
        for (text, processors) in [
            ("0", &[0][..]),
            ("0,2,3", &[0, 2, 3]),
            ("0,2-3", &[0, 2, 3]),
            ("0-6:2,7", &[0, 2, 4, 6, 7]),
        ] {
            assert_eq!(processor_list(text).as_deref(), Some(processors), "{text}");
        }
        for text in ["", "a", "1-", "-1", "3-1", "0-6:0", "1,,2", "1 2"] {
            assert_eq!(processor_list(text), None, "{text}");
        }
    }
}
