//! The cores' way to the control thread: what they ask for, and where they find what has come for them.
//!
//! Invariant: nothing here waits: what is asked for is put into a queue without an end, and a lock is
//! only ever taken by the one core that it belongs to.

use std::net::TcpListener;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::aof::room::Order;
use super::{Answer, Ask, Inquiry, Task, load, save, send};
use crate::acl::{Defaults, Users};
use crate::base::sys;
use crate::command::session_context::Preparation;
use crate::config::Config;
use crate::config::value::Endpoint;
use crate::observe::server::ServerFacts;
use crate::persist::aof::block::Opened;
use crate::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use crate::persist::migration::Parcel;
use crate::persist::save::{Outgoing, Piece as SavePiece, Save};
use crate::replication::chunk::FromPrimary;
use crate::tls::{self, Newcomer, Secured};

/// The cores' way to the control thread.
pub struct Handle {
    pub(super) tasks: UnboundedSender<Task>,
    pub(super) saves: UnboundedSender<save::Message>,
    pub(super) room: UnboundedSender<Order>,
    pub(super) inboxes: Vec<Mutex<Receiver<Answer>>>,
    pub(super) secured: Vec<Mutex<Receiver<Box<Secured>>>>,
    pub(super) keys: Vec<load::Desk>,
    pub(super) inquiries: Vec<Mutex<Receiver<Inquiry>>>,
    pub(super) journal: load::JournalDesk,
    pub(super) way: Arc<send::Way>,
    pub(super) event_fds: Vec<RawFd>,
    pub(super) followed: Mutex<Receiver<FromPrimary>>,
    pub(super) acknowledged: Arc<Notify>,
    pub(super) server: Arc<ServerFacts>,
    pub(super) ending: AtomicBool,
}

impl Handle {
    /// Writes one finished line to the log, and a message with its priority to syslog.
    pub fn log(&self, line: String, syslog: Option<(i32, String)>) {
        let _ = self.tasks.send(Task::Log(line, syslog));
    }

    /// Has a job for all cores made, which may take long.
    pub fn prepare(&self, ask: Ask, preparation: Preparation) {
        let _ = self.tasks.send(Task::Prepare { ask, preparation });
    }

    /// Has the configuration file written.
    pub fn rewrite_config(
        &self,
        ask: Ask,
        config: Arc<Config>,
        users: Arc<Users>,
        writes_defaults: bool,
    ) {
        let _ = self.tasks.send(Task::RewriteConfig { ask, config, users, writes_defaults });
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

    /// Ends the link to the primary, for a server that is to follow another one, or none: if that can
    /// be, when it has come to this offset.
    pub fn follow(&self, ask: Ask, primary: Option<Endpoint>, offset: u64) {
        let _ = self.tasks.send(Task::Follow { ask, primary, offset });
    }

    /// Ends the link to the primary, which is opened again.
    pub fn end_link(&self) {
        let _ = self.tasks.send(Task::EndLink);
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
