//! Follows a primary: opens the link, receives snapshots, hands the stream to the cores.
//!
//! Invariant: one link at a time, each with a term of its own; nothing that came over an earlier one
//! takes effect when the next one asks where to go on. The data is replaced when a snapshot of the
//! primary is here, whole and looked through, and not before. Log lines are those of stock servers.
//! Source: Redis 8.0.6, replication of a replica.

mod channel;
mod session;
mod snapshot;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, Notify};

use super::load::Loader;
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::observe::link::{LinkState, PrimaryLink};
use crate::observe::log;
use crate::observe::stats::CoreStats;
use crate::persist::load::Replacement;
use crate::replication::chunk::FromPrimary;
use crate::replication::identity::History;
use crate::replication::link::{Fault, Position};
use session::Session;

/// Between two tries. Source: Redis' replicationCron.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// What has come of a primary that is gone takes effect within this time, or does not.
const REST_MAX: Duration = Duration::from_secs(1);
/// Between two looks at what the cores have done.
const PAUSE: Duration = Duration::from_micros(200);

/// See above.
pub(super) struct Replica {
    loader: Rc<Loader>,
    config: RefCell<Arc<Config>>,
    /// Whom to follow.
    target: RefCell<Option<Endpoint>>,
    /// Whom a link was ended to follow no more, until the configuration says so, too.
    stopped: RefCell<Option<Endpoint>>,
    /// Counts the changes of that.
    generation: Cell<u64>,
    /// This server's history is its own, and has not been looked at since it is to follow another.
    was_primary: Cell<bool>,
    /// The configuration is known.
    is_configured: Cell<bool>,
    /// The server has started as a replica: nobody has written since its file was loaded.
    starts_so: Cell<bool>,
    /// The link that is open.
    session: RefCell<Option<Rc<Session>>>,
    /// A chunk that the primary wants to hear of has taken effect.
    asked: Arc<Notify>,
    /// Orders to make room for other data.
    replacements: Cell<u64>,
    /// Held by the one snapshot that may take the place of the data.
    placing: Mutex<()>,
}

impl Replica {
    pub(super) fn new(loader: Rc<Loader>, asked: Arc<Notify>) -> Replica {
        Replica {
            loader,
            config: RefCell::default(),
            target: RefCell::default(),
            stopped: RefCell::default(),
            generation: Cell::new(0),
            was_primary: Cell::new(true),
            is_configured: Cell::new(false),
            starts_so: Cell::new(false),
            session: RefCell::default(),
            asked,
            replacements: Cell::new(0),
            placing: Mutex::new(()),
        }
    }

    fn link(&self) -> &PrimaryLink {
        &self.loader.server.primary_link
    }

    fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// The configuration is this one from now on, and with it the role.
    pub(super) fn configure(self: &Rc<Self>, config: Arc<Config>) {
        let target = config.replicaof.clone();
        *self.config.borrow_mut() = config;
        if target.is_none() {
            // From now on clients write, so neither the primary nor a file knows where the data stands.
            self.was_primary.set(true);
            self.starts_so.set(false);
        }
        // A change of something else, made before the role that the link was ended for.
        if target.is_some() && *self.stopped.borrow() == target {
            return;
        }
        self.stopped.take();
        if *self.target.borrow() == target {
            self.is_configured.set(true);
            return;
        }
        self.cut();
        self.target.borrow_mut().clone_from(&target);
        let follows_now = target.is_some();
        self.starts_so
            .set(self.starts_so.get() || !self.is_configured.replace(true) && follows_now);
        if let Some(primary) = target {
            let (replica, generation) = (self.clone(), self.generation.get());
            tokio::task::spawn_local(async move { replica.follow(&primary, generation).await });
        }
    }

    /// Waits until what the primary has sent has taken effect, since this server is to take its place:
    /// all that has come, and all up to `offset` if that comes soon.
    pub(super) async fn catch_up(&self, offset: u64) {
        let link = self.link();
        let (offset, began) = (offset.max(link.read.load(Relaxed)), Instant::now());
        while link.is_up() && link.applied.load(SeqCst) < offset && began.elapsed() < REST_MAX {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until what came over a link that has ended has taken effect.
    async fn take_rest(&self, generation: u64) {
        let (link, ended) = (self.link(), Instant::now());
        while self.goes_on(generation) && link.queued.load(SeqCst) > 0 && ended.elapsed() < REST_MAX
        {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends the link. When this returns, nothing more that came over it takes effect.
    pub(super) async fn stop(&self) {
        let target = self.target.borrow_mut().take();
        let had_target = target.is_some();
        self.stopped.replace(target);
        if had_target && self.was_primary.get() && !self.starts_so.get() {
            // It was a replica for so short a time that its history is still its own.
            self.find_position();
        }
        self.cut();
        self.settle().await;
    }

    /// Ends the link, which is opened again.
    pub(super) fn end_link(&self) {
        if let Some(session) = &*self.session.borrow() {
            session.close();
        }
    }

    fn cut(&self) {
        self.generation.set(self.generation.get() + 1);
        self.link().cut();
        if let Some(session) = self.session.borrow_mut().take() {
            session.close();
        }
    }

    /// Waits until what has begun to take effect has done so.
    async fn settle(&self) {
        while self.link().is_running() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn goes_on(&self, generation: u64) -> bool {
        self.generation.get() == generation
    }

    async fn follow(self: Rc<Self>, primary: &Endpoint, generation: u64) {
        self.link().set_state(LinkState::Connect);
        self.wait_for_data().await;
        if self.goes_on(generation) && self.was_primary.get() {
            self.hear_of_all_writes(generation).await;
            // Who has become a primary again meanwhile is one whose clients have written since.
            if !self.goes_on(generation) {
                return;
            }
            self.find_position();
            self.was_primary.set(false);
        }
        let host = String::from_utf8_lossy(&primary.host).into_owned();
        log::notice(format!("Connecting to MASTER {host}:{}", primary.port));
        while self.goes_on(generation) {
            let term = self.link().cut();
            self.settle().await;
            let began = Instant::now();
            let reason = self.try_link(primary, term, generation).await;
            self.take_rest(generation).await;
            if !self.goes_on(generation) {
                return;
            }
            log::warning(reason);
            if self.link().is_up() {
                self.link().down_since.store(unix_seconds(), Relaxed);
            }
            self.link().set_state(LinkState::Connect);
            self.loader.wake();
            tokio::time::sleep(TRY_PAUSE.saturating_sub(began.elapsed())).await;
            if self.goes_on(generation) {
                log::notice(format!("Reconnecting to MASTER {host}:{}", primary.port));
            }
        }
    }

    /// Finds out where the data stands of a server that begins to follow: as the file says that it has
    /// just loaded, or in its own history.
    fn find_position(&self) {
        let (link, replication) = (self.link(), &self.loader.server.replication);
        let loaded = self.loader.history.take().filter(|_| self.starts_so.take());
        if let Some((Position { id, offset }, db)) = loaded {
            replication.publish(History::new(id));
            link.applied.store(offset, SeqCst);
            link.db.store(db, SeqCst);
        } else {
            link.applied.store(replication.offset.load(SeqCst), SeqCst);
        }
    }

    /// Waits until nothing is being loaded.
    async fn wait_for_data(&self) {
        while self.loader.server.persistence.is_loading() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Opens a link and follows it to its end; why it has ended.
    async fn try_link(self: &Rc<Self>, primary: &Endpoint, term: u64, generation: u64) -> String {
        self.link().set_state(LinkState::Connecting);
        log::notice("MASTER <-> REPLICA sync started");
        let session = match Session::open(self.clone(), primary, term).await {
            Ok(session) => Rc::new(session),
            Err(reason) => return reason,
        };
        if !self.goes_on(generation) {
            return String::new();
        }
        *self.session.borrow_mut() = Some(session.clone());
        let Fault(reason) = session.run().await;
        session.close();
        reason
    }

    /// A server that was a primary until now: waits until all that its clients have written is part of
    /// its history.
    async fn hear_of_all_writes(&self, generation: u64) {
        let server = &self.loader.server;
        while self.goes_on(generation) && !server.stats.iter().all(|core| core.follows.get() == 1) {
            tokio::time::sleep(PAUSE).await;
        }
        // What a turn did is on its way at its end, and arrives in the next one; its place among what
        // others did is known one later.
        for _ in 0..TURNS_UNTIL_SETTLED {
            let turns = |core: &Arc<CoreStats>| core.totals.turns.get();
            let before: Vec<u64> = server.stats.iter().map(turns).collect();
            self.loader.wake();
            let has_turned = |(core, before)| turns(core) > before;
            while self.goes_on(generation)
                && !server.stats.iter().zip(before.iter().copied()).all(has_turned)
            {
                tokio::time::sleep(PAUSE).await;
                self.loader.wake();
            }
        }
    }

    /// Has all data go: for what was put aside, to be followed by a load, or behind one that has
    /// failed. False if the link does not count any more, and the data stays.
    async fn clear(&self, term: u64, within_load: bool, swaps: bool) -> bool {
        let number = self.replacements.get() + 1;
        self.replacements.set(number);
        let wanted = Replacement { term, number, within_load, swaps };
        self.loader.order(FromPrimary::Replace(wanted));
        loop {
            let is_cut = self.link().term() != term && !self.link().is_running();
            if self.link().cleared.load(SeqCst) >= number {
                return true;
            }
            if is_cut {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as i64
}

/// See `hear_of_all_writes`.
const TURNS_UNTIL_SETTLED: usize = 3;
