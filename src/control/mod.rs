//! The control plane: one thread for whatever may be slow, on tokio-uring, or on plain tokio where
//! io_uring is refused (`runtime`).
//!
//! Invariant: the only user of tokio and tokio_uring; it never touches a partition, it only gets and
//! sends messages. A command that can finish on its core never comes here.

mod aof;
mod files;
mod handle;
mod handshake;
mod load;
mod metrics;
mod migrate;
mod replica;
mod runtime;
mod save;
mod send;
mod watchdog;
mod work;

use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

pub use self::handle::Handle;
pub use self::metrics::Inquiry;
use crate::acl::file::FileUsers;
use crate::acl::{Defaults, Users};
use crate::base::slot::Slot;
use crate::base::sys::process;
use crate::base::{alloc, sys};
use crate::command::session_context::Preparation;
use crate::command::whole::Job;
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::aof::replay::Router;
use crate::persist::load::LoadOrder;
use crate::persist::migration::{Outcome, Parcel};
use crate::tls::{self, Newcomer};

/// What the control thread is asked to do.
enum Task {
    /// Write a line to the log, and a message with its priority to syslog.
    Log(String, Option<(i32, String)>),
    /// Make a job for all cores, which may take long.
    Prepare { ask: Ask, preparation: Preparation },
    /// Write the configuration file.
    RewriteConfig { ask: Ask, config: Arc<Config>, users: Arc<Users>, writes_defaults: bool },
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
    /// End the link to the primary, which is opened again.
    EndLink,
    /// End the link to the primary, for a server that is to follow another one, or none.
    Follow { ask: Ask, primary: Option<Endpoint>, offset: u64 },
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
    /// This is to be done by every core.
    Prepared(Job),
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

/// Answers a core.
fn answer(desks: &[Desk], ask: Ask, outcome: Result<Done, String>) {
    let desk = &desks[ask.core];
    let _ = desk.answers.send((ask.ticket, outcome));
    sys::write_event(desk.event_fd);
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
        let (tasks, task_queue) = unbounded_channel();
        let (saves, pieces) = unbounded_channel();
        let (room, room_orders) = unbounded_channel();
        let (orders, followed) = channel();
        let cores = event_fds.len();
        let (answers, inboxes) = per_core(cores);
        let (entries, secured) = per_core(cores);
        let (key_desks, keys) = per_core(cores);
        let (inquirers, inquiries) = per_core(cores);
        let acknowledged = Arc::new(Notify::new());
        let way = send::Way::new(event_fds[0]);
        let journal = load::JournalDesk::default();
        let to_core =
            |(sender, event_fd): (_, &RawFd)| Desk { answers: sender, event_fd: *event_fd };
        let door = |(sender, event_fd): (_, &RawFd)| handshake::Door {
            secured: sender,
            event_fd: *event_fd,
        };
        let work = work::Work {
            tasks: task_queue,
            server: server.clone(),
            desks: answers.into_iter().zip(&event_fds).map(to_core).collect(),
            doors: entries.into_iter().zip(&event_fds).map(door).collect(),
            config_file: PathBuf::from(&server.config_file),
            log_file,
            loader: load::Loader {
                desks: key_desks,
                event_fds: event_fds.clone(),
                server: server.clone(),
                owner,
                router: RefCell::new(router),
                history: Cell::default(),
                libraries: Cell::default(),
                listens,
                journal: journal.clone(),
                saves: saves.clone(),
                orders,
            },
            pieces,
            room_orders,
            room: room.clone(),
            acknowledged: acknowledged.clone(),
            way: way.clone(),
            observer: metrics::Observer::new(inquirers, event_fds.clone(), server.clone()),
        };
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                alloc::register_thread();
                sys::crash::register_thread(None);
                runtime::run(has_ring, work.run());
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
            journal,
            way,
            event_fds,
            followed: Mutex::new(followed),
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

/// A queue to each core: what is put in, and what the core takes out.
fn per_core<T>(cores: usize) -> (Vec<Sender<T>>, Vec<Mutex<Receiver<T>>>) {
    let queue = |_| {
        let (sender, receiver) = channel();
        (sender, Mutex::new(receiver))
    };
    (0..cores).map(queue).unzip()
}

/// Tells systemd something, where that supervises the process.
pub fn tell_supervisor(server: &ServerFacts, state: &str) {
    if server.process.supervised == "systemd"
        && let Err(error) = process::notify_supervisor(state)
    {
        log::warning(format!("systemd supervision error: {}", sys::reason(&error)));
    }
}
