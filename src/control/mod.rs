//! The control plane: one thread for whatever may be slow, on tokio-uring, or on plain tokio where
//! io_uring is refused (`runtime`).
//!
//! Invariant: the only user of tokio and tokio_uring; it never touches a partition, it only gets and
//! sends messages. A command that can finish on its core never comes here.

mod aof;
mod files;
mod handshake;
mod load;
mod metrics;
mod migrate;
mod replica;
mod runtime;
mod save;
mod send;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::aof::room::Order;
pub use self::metrics::Inquiry;
use crate::acl::file::FileUsers;
use crate::acl::{Defaults, Users};
use crate::base::slot::Slot;
use crate::base::sys::process;
use crate::base::{alloc, sys};
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::aof::block::Opened;
use crate::persist::aof::replay::Router;
use crate::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use crate::persist::migration::{Outcome, Parcel};
use crate::persist::save::{Outgoing, Piece as SavePiece, Save};
use crate::replication::chunk::FromPrimary;
use crate::tls::{self, Newcomer, Secured};

/// What the control thread is asked to do.
enum Task {
    /// Write a line to the log, and a message with its priority to syslog.
    Log(String, Option<(i32, String)>),
    /// Write the configuration file.
    RewriteConfig { ask: Ask, config: Arc<Config>, users: Arc<Users> },
    /// Write the ACL file.
    SaveUsers { ask: Ask, path: PathBuf, users: Arc<Users> },
    /// Read the ACL file, for a client.
    LoadUsers { ask: Ask, path: PathBuf, users: Arc<Users>, defaults: Defaults, client: u64 },
    /// Send keys to another server.
    Migrate { ask: Ask, parcel: Box<Parcel> },
    /// New certificates, for those who connect from now on.
    UseTls(Arc<tls::Context>),
    /// Do the handshake of a connection.
    Secure(Newcomer),
    /// Read a file into the keyspace.
    Load(LoadOrder),
    /// End the link to the primary, for a server that is to follow another one, or none.
    Follow { ask: Ask, primary: Option<Endpoint> },
    /// The configuration is this one from now on.
    Configured(Arc<Config>),
    /// Answer those who want metrics here.
    Metrics(Vec<TcpListener>),
    /// Finish what was asked before, then end.
    End,
}

/// Who asks: a core, and the ticket by which it knows what for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The core.
    pub core: usize,
    /// Its ticket.
    pub ticket: u64,
}

/// What was done for a core.
pub enum Done {
    /// What it asked.
    Task,
    /// The ACL file was read, for this client.
    Users(FileUsers, u64),
    /// Keys were sent to another server, or were not.
    Migrated(Outcome),
    /// Nothing more comes of the former primary: every core is to take up its role.
    Unfollowed(Option<Endpoint>),
    /// A rewrite of the AOF can begin.
    Rewrite,
}

/// An answer to a core: the ticket, and what was done or went wrong.
type Answer = (u64, Result<Done, String>);

/// Where answers wait for their core. The receiving end is used by that core alone.
struct Desk {
    answers: Sender<Answer>,
    event_fd: RawFd,
}

/// The cores' way to the control thread.
pub struct Handle {
    tasks: UnboundedSender<Task>,
    saves: UnboundedSender<save::Message>,
    room: UnboundedSender<Order>,
    inboxes: Vec<std::sync::Mutex<Receiver<Answer>>>,
    secured: Vec<std::sync::Mutex<Receiver<Box<Secured>>>>,
    keys: Vec<load::Desk>,
    inquiries: Vec<std::sync::Mutex<Receiver<Inquiry>>>,
    journal: load::JournalDesk,
    way: Arc<send::Way>,
    event_fds: Vec<RawFd>,
    followed: std::sync::Mutex<Receiver<FromPrimary>>,
    acknowledged: Arc<Notify>,
    server: Arc<ServerFacts>,
    ending: AtomicBool,
}

/// The control thread, to be joined at the end.
pub struct ControlThread {
    handle: Arc<Handle>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    /// Starts the thread. `event_fds` wake the cores; the log goes to `log_file` or standard output;
    /// `has_ring` says that there is io_uring.
    pub fn start(
        server: Arc<ServerFacts>,
        event_fds: Vec<RawFd>,
        (log_file, has_ring): (Option<PathBuf>, bool),
        (owner, router): (Box<dyn Fn(Slot) -> usize + Send>, Router),
        listens: (bool, bool),
    ) -> Self {
        let (tasks, receiver) = unbounded_channel();
        let (saves, pieces) = unbounded_channel();
        let (room, room_orders) = unbounded_channel();
        let ends = room.clone();
        let (key_desks, keys) = event_fds
            .iter()
            .map(|_| {
                let (sender, receiver) = channel();
                (sender, std::sync::Mutex::new(receiver))
            })
            .unzip();
        let (inquirers, inquiries) = event_fds
            .iter()
            .map(|_| {
                let (sender, receiver) = channel();
                (sender, std::sync::Mutex::new(receiver))
            })
            .unzip();
        let mut desks = Vec::new();
        let mut inboxes = Vec::new();
        let (mut doors, mut secured) = (Vec::new(), Vec::new());
        for event_fd in &event_fds {
            let (sender, receiver) = channel();
            doors.push(handshake::Door { secured: sender, event_fd: *event_fd });
            secured.push(std::sync::Mutex::new(receiver));
            let (sender, receiver) = channel();
            desks.push(Desk { answers: sender, event_fd: *event_fd });
            inboxes.push(std::sync::Mutex::new(receiver));
        }
        let config_file = PathBuf::from(&server.config_file);
        let facts = server.clone();
        let journal_desk = load::JournalDesk::default();
        let loader = load::Loader {
            desks: key_desks,
            event_fds: event_fds.clone(),
            server: server.clone(),
            owner,
            router: RefCell::new(router),
            history: Cell::default(),
            listens,
            journal: journal_desk.clone(),
            saves: saves.clone(),
        };
        let (orders, followed) = channel();
        let acknowledged = Arc::new(Notify::new());
        let way = send::Way::new(event_fds[0]);
        let to_cores = (orders, acknowledged.clone(), way.clone());
        let observer = metrics::Observer::new(inquirers, event_fds.clone(), server.clone());
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                alloc::register_thread();
                sys::crash::register_thread(None);
                let (files, orders) = ((config_file, log_file), (room_orders, ends, observer));
                let pieces = (pieces, to_cores);
                let work = serve(receiver, (desks, doors), files, facts, (loader, pieces), orders);
                runtime::run(has_ring, work);
            })
            .expect("a thread more than the cores");
        let handle = Handle {
            tasks,
            saves,
            room,
            inboxes,
            secured,
            keys,
            inquiries,
            journal: journal_desk,
            way,
            event_fds,
            followed: std::sync::Mutex::new(followed),
            acknowledged,
            server,
            ending: AtomicBool::new(false),
        };
        ControlThread { handle: Arc::new(handle), thread }
    }

    /// The way to it.
    pub fn handle(&self) -> Arc<Handle> {
        self.handle.clone()
    }

    /// Lets it finish what it was asked, and waits for that.
    pub fn join(self) {
        let _ = self.handle.tasks.send(Task::End);
        let _ = self.thread.join();
    }
}

impl Handle {
    /// Writes one finished line to the log, and a message with its priority to syslog.
    pub fn log(&self, line: String, syslog: Option<(i32, String)>) {
        let _ = self.tasks.send(Task::Log(line, syslog));
    }

    /// Has the configuration file written.
    pub fn rewrite_config(&self, ask: Ask, config: Arc<Config>, users: Arc<Users>) {
        let _ = self.tasks.send(Task::RewriteConfig { ask, config, users });
    }

    /// Has the ACL file written.
    pub fn save_users(&self, ask: Ask, path: PathBuf, users: Arc<Users>) {
        let _ = self.tasks.send(Task::SaveUsers { ask, path, users });
    }

    /// Has the ACL file read, for a client; `users` are those of now.
    pub fn load_users(
        &self,
        ask: Ask,
        path: PathBuf,
        users: Arc<Users>,
        (defaults, client): (Defaults, u64),
    ) {
        let _ = self.tasks.send(Task::LoadUsers { ask, path, users, defaults, client });
    }

    /// Sends keys to another server.
    pub fn migrate(&self, ask: Ask, parcel: Box<Parcel>) {
        let _ = self.tasks.send(Task::Migrate { ask, parcel });
    }

    /// Has those who connect from now on use these certificates.
    pub fn use_tls(&self, context: Arc<tls::Context>) {
        let _ = self.tasks.send(Task::UseTls(context));
    }

    /// Has the handshake of a connection done.
    pub fn secure(&self, newcomer: Newcomer) {
        let _ = self.tasks.send(Task::Secure(newcomer));
    }

    /// The next connection for a core that is through its handshake. Only that core asks, so the lock
    /// is never waited for.
    pub fn secured(&self, core: usize) -> Option<Box<Secured>> {
        self.secured[core].try_lock().ok()?.try_recv().ok()
    }

    /// Writes a piece of a save.
    pub fn save(&self, save: &Arc<Save>, piece: SavePiece) {
        let _ = self.saves.send(save::Message::Piece(save.clone(), piece));
    }

    /// What comes next of a snapshot for replicas.
    pub fn outgoing(&self) -> Option<Outgoing> {
        self.way.next()
    }

    /// So many bytes of it have been sent to all of them.
    pub fn took(&self, bytes: u64) {
        self.way.took(bytes);
    }

    /// Nobody wants the snapshot for replicas under way any more.
    pub fn give_up(&self) {
        self.way.give_up();
    }

    /// Has a file loaded.
    pub fn load(&self, order: LoadOrder) {
        let _ = self.tasks.send(Task::Load(order));
    }

    /// Has those answered who want metrics.
    pub fn serve_metrics(&self, listeners: Vec<TcpListener>) {
        let _ = self.tasks.send(Task::Metrics(listeners));
    }

    /// Where a core is to send a report to. Only that core asks, so the lock is never waited for.
    pub fn inquiry(&self, core: usize) -> Option<Inquiry> {
        self.inquiries[core].try_lock().ok()?.try_recv().ok()
    }

    /// What the process is.
    pub fn server(&self) -> Arc<ServerFacts> {
        self.server.clone()
    }

    /// What comes next of a file for a core. Only that core asks, so the lock is never waited for.
    pub fn loaded(&self, core: usize) -> Option<(Arc<Load>, Piece)> {
        self.keys[core].try_lock().ok()?.try_recv().ok()
    }

    /// Begins a rewrite of the AOF; who calls has the right to the next snapshot.
    pub fn rewrite(&self, order: RewriteOrder) {
        let _ = self.saves.send(save::Message::Rewrite(order));
    }

    /// Fills a file of the journal, by its number, with zeros between two places.
    pub fn fill(&self, fd: OwnedFd, number: u64, place: (u64, u64)) {
        let _ = self.room.send(Order::Fill(fd, number, place));
    }

    /// Cuts a file of the journal behind its last group.
    pub fn trim(&self, fd: OwnedFd, len: u64) {
        let _ = self.room.send(Order::Trim(fd, len));
    }

    /// What was opened for the journal. Only its writer asks.
    pub fn journal(&self) -> Option<Opened> {
        self.journal.take()
    }

    /// Ends the link to the primary, for a server that is to follow another one, or none.
    pub fn follow(&self, ask: Ask, primary: Option<Endpoint>) {
        let _ = self.tasks.send(Task::Follow { ask, primary });
    }

    /// What has come of the primary. Only one core asks, so the lock is never waited for.
    pub fn followed(&self) -> Option<FromPrimary> {
        self.followed.try_lock().ok()?.try_recv().ok()
    }

    /// The primary is to hear how far the replica is.
    pub fn acknowledge(&self) {
        self.acknowledged.notify_one();
    }

    /// The configuration is this one from now on.
    pub fn configured(&self, config: &Arc<Config>) {
        let _ = self.tasks.send(Task::Configured(config.clone()));
    }

    /// Wakes all cores, to look at what has changed.
    pub fn wake_all(&self) {
        self.event_fds.iter().for_each(|event_fd| sys::write_event(*event_fd));
    }

    /// The next answer for a core. Only that core asks, so the lock is never waited for.
    pub fn answer(&self, core: usize) -> Option<Answer> {
        self.inboxes[core].try_lock().ok()?.try_recv().ok()
    }

    /// The end was ordered.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Makes every core end its loop. The first call counts.
    pub fn shut_down(&self) {
        if !self.ending.swap(true, Ordering::AcqRel) {
            self.server.shutdown.store(true, Ordering::Release);
            for event_fd in &self.event_fds {
                sys::write_event(*event_fd);
            }
        }
    }
}

async fn serve(
    mut tasks: UnboundedReceiver<Task>,
    (desks, doors): (Vec<Desk>, Vec<handshake::Door>),
    (config_file, log_file): (PathBuf, Option<PathBuf>),
    server: Arc<ServerFacts>,
    (loader, (pieces, (orders, acknowledged, way))): (
        load::Loader,
        (UnboundedReceiver<save::Message>, (Sender<FromPrimary>, Arc<Notify>, Arc<send::Way>)),
    ),
    (room_orders, room, observer): (
        UnboundedReceiver<Order>,
        UnboundedSender<Order>,
        metrics::Observer,
    ),
) {
    let (loader, desks) = (Rc::new(loader), Rc::new(desks));
    let replica = Rc::new(replica::Replica::new(loader.clone(), orders, acknowledged));
    let saves = save::SaveWriter {
        server: server.clone(),
        event_fds: loader.event_fds.clone(),
        desks: desks.clone(),
        journal: loader.journal.clone(),
        way,
        keeper: aof::rewrite::Keeper::new(server.clone()),
    };
    tokio::task::spawn_local(saves.run(pieces));
    let (desk, writer) = (loader.journal.clone(), loader.event_fds[0]);
    tokio::task::spawn_local(aof::room::make_room(room_orders, desk, writer));
    let mut log_writer = files::LogWriter::new(log_file);
    let mut security = Security { context: None, handshakes: None, doors, server: server.clone() };
    tokio::task::spawn_local(watch(server));
    let links = Rc::new(migrate::Links::default());
    let watched = links.clone();
    tokio::task::spawn_local(async move { watched.watch().await });
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Log(line, syslog) => {
                log_writer.write(line).await;
                if let Some((priority, message)) = syslog {
                    process::syslog(priority, &message);
                }
            }
            Task::RewriteConfig { ask, config, users } => {
                let rewritten = files::rewrite_config(&files::Files, &config_file, &config, &users);
                let outcome = rewritten.await;
                match &outcome {
                    Ok(()) => log::notice("CONFIG REWRITE executed with success."),
                    Err(error) => log::warning(format!("CONFIG REWRITE failed: {error}")),
                }
                let outcome =
                    outcome.map_err(|error| format!("ERR Rewriting config file: {}", error.source));
                answer(&desks, ask, outcome.map(|()| Done::Task));
            }
            Task::SaveUsers { ask, path, users } => {
                let saved = files::save_users(&files::Files, &path, &users).await;
                let outcome = saved.map_err(|error| {
                    log::warning(format!("Writing ACL file for ACL SAVE: {}", error.source));
                    NOT_SAVED.to_owned()
                });
                answer(&desks, ask, outcome.map(|()| Done::Task));
            }
            Task::LoadUsers { ask, path, users, defaults, client } => {
                let outcome = files::load_users(&files::Files, &path, &users, defaults).await;
                answer(&desks, ask, outcome.map(|users| Done::Users(users, client)));
            }
            Task::Migrate { ask, parcel } => {
                let (links, desks) = (links.clone(), desks.clone());
                tokio::task::spawn_local(async move {
                    let outcome = links.send(&parcel).await;
                    answer(&desks, ask, Ok(Done::Migrated(outcome)));
                });
            }
            Task::Follow { ask, primary } => {
                let (replica, desks) = (replica.clone(), desks.clone());
                tokio::task::spawn_local(async move {
                    replica.stop().await;
                    answer(&desks, ask, Ok(Done::Unfollowed(primary)));
                });
            }
            Task::Configured(config) => replica.configure(config),
            Task::UseTls(context) => security.context = Some(context),
            Task::Secure(newcomer) => security.begin(newcomer),
            Task::Load(order) => {
                tokio::task::spawn_local(load_file(loader.clone(), desks.clone(), order));
            }
            Task::Metrics(listeners) => metrics::serve(listeners, &observer),
            Task::End => {
                let (done, ended) = tokio::sync::oneshot::channel();
                if loader.saves.send(save::Message::End(done)).is_ok() {
                    let _ = ended.await;
                }
                let (done, ended) = tokio::sync::oneshot::channel();
                if room.send(Order::End(done)).is_ok() {
                    let _ = ended.await;
                }
                return;
            }
        }
    }
}

/// What encrypted connections need; the thread that does their handshakes starts with the first.
struct Security {
    context: Option<Arc<tls::Context>>,
    handshakes: Option<handshake::Handshakes>,
    doors: Vec<handshake::Door>,
    server: Arc<ServerFacts>,
}

impl Security {
    fn begin(&mut self, newcomer: Newcomer) {
        if self.handshakes.is_none() {
            let doors = std::mem::take(&mut self.doors);
            let started = handshake::Handshakes::start(doors, self.server.clone());
            self.handshakes =
                Some(started.expect("a thread more than the cores, and a descriptor for it"));
        }
        if let (Some(handshakes), Some(context)) = (&self.handshakes, &self.context) {
            handshakes.begin(context.clone(), newcomer);
        }
    }
}

/// Loads a file, and tells who asked. A file that is wrong ends the process, as with stock servers.
async fn load_file(loader: Rc<load::Loader>, desks: Rc<Vec<Desk>>, order: LoadOrder) {
    let outcome = loader.load(&order).await;
    if let Err(load::NotLoaded::Broken(reason)) = &outcome {
        log::warning(reason.clone());
    }
    if order.asker.is_none() && matches!(outcome, Err(load::NotLoaded::Broken(_))) {
        log::warning("Fatal error loading the DB, check server logs. Exiting.");
        loader.server.persistence.fatal.store(true, Ordering::Release);
        loader.server.shutdown.store(true, Ordering::Release);
        loader.event_fds.iter().for_each(|event_fd| sys::write_event(*event_fd));
        return sys::raise_signal(libc::SIGTERM);
    }
    match order.asker {
        None => {
            loader.tell_ready();
            tell_supervisor(&loader.server, "STATUS=Ready to accept connections\nREADY=1");
        }
        Some((core, ticket)) => {
            let done = outcome.map(|()| Done::Task);
            let (said, refusal) = match order.aof {
                None => ("DB reloaded by DEBUG RELOAD", NOT_RELOADED),
                Some(_) => ("Append Only File loaded by DEBUG LOADAOF", AOF_NOT_LOADED),
            };
            if done.is_ok() {
                log::notice(said);
            }
            answer(&desks, Ask { core, ticket }, done.map_err(|_| refusal.to_owned()));
        }
    }
}

/// Tells systemd something, where that supervises the process.
pub fn tell_supervisor(server: &ServerFacts, state: &str) {
    if server.process.supervised == "systemd"
        && let Err(error) = process::notify_supervisor(state)
    {
        log::warning(format!("systemd supervision error: {}", sys::reason(&error)));
    }
}

/// What DEBUG RELOAD answers where there is no file.
const NOT_RELOADED: &str = "ERR Error trying to load the RDB dump, check server logs.";

/// The same for DEBUG LOADAOF.
const AOF_NOT_LOADED: &str = "ERR Error trying to load the AOF files, check server logs.";

fn answer(desks: &[Desk], ask: Ask, outcome: Result<Done, String>) {
    let desk = &desks[ask.core];
    let _ = desk.answers.send((ask.ticket, outcome));
    sys::write_event(desk.event_fd);
}

/// What ACL SAVE answers where the file could not be written.
const NOT_SAVED: &str = "ERR There was an error trying to save the ACLs. Please check the server logs for more information";

/// Publishes what the process holds and how local time stands, and watches the cores, round after round.
async fn watch(server: Arc<ServerFacts>) {
    let mut rounds = tokio::time::interval(ROUND);
    let mut watchdog = watchdog::Watchdog::new(server.clone());
    loop {
        rounds.tick().await;
        watchdog.look();
        log::set_utc_offset(process::utc_offset(load::now().seconds()));
        if let Some(bytes) = files::resident_memory().await {
            server.resident_memory.store(bytes, Ordering::Relaxed);
        }
        server.peak_memory.fetch_max(alloc::used_memory() as u64, Ordering::Relaxed);
    }
}

/// How often that is looked at; as often as a core's periodic work runs.
const ROUND: Duration = Duration::from_millis(100);
