//! What the control thread does: one task after the other, and beside them whatever takes longer.
//!
//! Invariant: a task that may take long is spawned, so that the next one need not wait for it; what a
//! core asked for is answered at its desk exactly once.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::aof::room::Order;
use super::{
    Ask, Desk, Done, Task, answer, aof, files, handshake, load, metrics, migrate, replica, save,
    send, tell_supervisor, watchdog,
};
use crate::base::sys::process;
use crate::base::{alloc, sys};
use crate::observe::log;
use crate::observe::server::ServerFacts;
use crate::persist::load::LoadOrder;

/// What the thread works with.
pub(super) struct Work {
    pub(super) tasks: UnboundedReceiver<Task>,
    pub(super) server: Arc<ServerFacts>,
    /// Where answers go, a desk a core.
    pub(super) desks: Vec<Desk>,
    /// Where those go who are through their handshakes, a door a core.
    pub(super) doors: Vec<handshake::Door>,
    pub(super) config_file: PathBuf,
    /// None: standard output.
    pub(super) log_file: Option<PathBuf>,
    pub(super) loader: load::Loader,
    /// Pieces of snapshots.
    pub(super) pieces: UnboundedReceiver<save::Message>,
    /// What the journal's writer wants of its files, and the way to say that it is over.
    pub(super) room_orders: UnboundedReceiver<Order>,
    pub(super) room: UnboundedSender<Order>,
    /// The primary is to hear how far this server is.
    pub(super) acknowledged: Arc<Notify>,
    /// Snapshots for replicas.
    pub(super) way: Arc<send::Way>,
    pub(super) observer: metrics::Observer,
}

impl Work {
    /// Runs until all that was asked for before the end is done.
    pub(super) async fn run(mut self) {
        let (loader, desks) = (Rc::new(self.loader), Rc::new(self.desks));
        let replica = Rc::new(replica::Replica::new(loader.clone(), self.acknowledged));
        let saves = save::SaveWriter {
            server: self.server.clone(),
            event_fds: loader.event_fds.clone(),
            desks: desks.clone(),
            journal: loader.journal.clone(),
            way: self.way,
            keeper: aof::rewrite::Keeper::new(self.server.clone()),
        };
        tokio::task::spawn_local(saves.run(self.pieces));
        let (desk, writer) = (loader.journal.clone(), loader.event_fds[0]);
        tokio::task::spawn_local(aof::room::make_room(self.room_orders, desk, writer));
        let mut log_writer = files::LogWriter::new(self.log_file);
        let mut security = handshake::Security::new(self.doors, self.server.clone());
        tokio::task::spawn_local(give_back(self.server.clone()));
        let links = Rc::new(migrate::Links::new(self.server.clone()));
        tokio::task::spawn_local(watch(self.server));
        let watched = links.clone();
        tokio::task::spawn_local(async move { watched.watch().await });
        while let Some(task) = self.tasks.recv().await {
            match task {
                Task::Log(line, syslog) => {
                    log_writer.write(line).await;
                    if let Some((priority, message)) = syslog {
                        process::syslog(priority, &message);
                    }
                }
                Task::Prepare { ask, preparation } => {
                    let desks = desks.clone();
                    tokio::task::spawn_local(async move {
                        let prepared = tokio::task::spawn_blocking(preparation).await;
                        let outcome = prepared.unwrap_or_else(|error| Err(format!("ERR {error}")));
                        answer(&desks, ask, outcome.map(Done::Prepared));
                    });
                }
                Task::RewriteConfig { ask, config, users, writes_defaults } => {
                    let path = &self.config_file;
                    let what = (&*config, &*users, writes_defaults);
                    let outcome = files::rewrite_config(&files::Files, path, what).await;
                    match &outcome {
                        Ok(()) => log::notice("CONFIG REWRITE executed with success."),
                        Err(error) => log::warning(format!("CONFIG REWRITE failed: {error}")),
                    }
                    let outcome = outcome
                        .map_err(|error| format!("ERR Rewriting config file: {}", error.source));
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
                Task::EndLink => replica.end_link(),
                Task::Follow { ask, primary, offset } => {
                    let (replica, desks) = (replica.clone(), desks.clone());
                    tokio::task::spawn_local(async move {
                        if primary.is_none() {
                            replica.catch_up(offset).await;
                        }
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
                Task::Metrics(listeners) => metrics::serve(listeners, &self.observer),
                Task::End => {
                    let (done, ended) = tokio::sync::oneshot::channel();
                    if loader.saves.send(save::Message::End(done)).is_ok() {
                        let _ = ended.await;
                    }
                    let (done, ended) = tokio::sync::oneshot::channel();
                    if self.room.send(Order::End(done)).is_ok() {
                        let _ = ended.await;
                    }
                    return;
                }
            }
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
        log::warning(if order.aof.is_some() {
            "Fatal error loading the DB, check server logs. Exiting."
        } else {
            "Terminating server after rdb file reading failure."
        });
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

/// What DEBUG RELOAD answers where there is no file.
const NOT_RELOADED: &str = "ERR Error trying to load the RDB dump, check server logs.";

/// The same for DEBUG LOADAOF.
const AOF_NOT_LOADED: &str = "ERR Error trying to load the AOF files, check server logs.";

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

/// Gives memory back to the system where much more is resident than used, after a flush, or when the
/// largest values have gone; and when MEMORY PURGE asks for it. The allocator does so by itself only
/// while somebody allocates.
async fn give_back(server: Arc<ServerFacts>) {
    let mut rounds = tokio::time::interval(GIVE_BACK_ROUND);
    let (mut rest, mut pause) = (0u32, 1u32);
    loop {
        rounds.tick().await;
        let spare = || {
            let resident = server.resident_memory.load(Ordering::Relaxed);
            resident.saturating_sub(alloc::used_memory() as u64)
        };
        let before = spare();
        let is_much = before > SPARE_BYTES_MAX.max(alloc::used_memory() as u64 / SPARE_PART);
        rest = if is_much { rest } else { 0 };
        if !server.purge_asked.swap(false, Ordering::Relaxed) && (!is_much || rest > 0) {
            rest = rest.saturating_sub(1);
            continue;
        }
        // The kernel takes some 100 ms for a gigabyte.
        let _ = tokio::task::spawn_blocking(alloc::give_back_all).await;
        tokio::time::sleep(2 * ROUND).await;
        // Where little came of it, pages are in part free: another try is worth less each time.
        let is_worth = before.saturating_sub(spare()) > before / SPARE_PART;
        pause = if is_worth { 1 } else { (2 * pause).min(GIVE_BACK_PAUSE_MAX) };
        rest = pause;
    }
}

/// How often memory is given back, at most.
const GIVE_BACK_ROUND: Duration = Duration::from_secs(1);
/// What may be resident beside what is used: the program, buffers of the kernel, pages in part free.
const SPARE_BYTES_MAX: u64 = 32 << 20;
/// The same as a part of what is used.
const SPARE_PART: u64 = 10;

/// So many rounds are left out at most where little came of the last ones.
const GIVE_BACK_PAUSE_MAX: u32 = 60;

/// How often the process is looked at; as often as a core's periodic work runs.
const ROUND: Duration = Duration::from_millis(100);
