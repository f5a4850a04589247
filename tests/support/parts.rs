//! What a core is built of where no process stands around it: facts, a listener, a control plane.
//!
//! Invariant: nothing here depends on the machine or on the hour; a core that is built of it behaves
//! the same in every run.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ironring::base::listening::{ListeningSocket, SocketOptions};
use ironring::base::time::{Micros, Millis};
use ironring::command::session_context::Request;
use ironring::command::whole::Job;
use ironring::config::Config;
use ironring::dispatch::table;
use ironring::event_loop::{Answer, Control};
use ironring::net::listener::Listener;
use ironring::observe::process::ProcessFacts;
use ironring::observe::replication::ReplicationId;
use ironring::observe::server::ServerFacts;
use ironring::persist::aof::block::Opened;
use ironring::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use ironring::persist::save::{Piece as SavePiece, Save};

/// 2026-01-01, when every such core begins.
pub(crate) const WALL_AT_START: Micros = Micros(1_767_225_600_000_000);

/// The control plane of a server that is asked for nothing slow.
pub(crate) struct NoControl;

impl Control for NoControl {
    fn ask(&self, _core: usize, _ticket: u64, _request: Request) {}

    fn answer(&self, _core: usize) -> Option<(u64, Result<Answer, String>)> {
        None
    }

    fn save(&self, save: &Arc<Save>, piece: SavePiece) {
        save.progress[piece.partition].queued.fetch_sub(piece.len, Ordering::Relaxed);
    }

    fn load(&self, _order: LoadOrder) {}

    fn loaded(&self, _core: usize) -> Option<(Arc<Load>, Piece)> {
        None
    }

    fn inquiry(&self, _core: usize) -> Option<Job> {
        None
    }

    fn rewrite(&self, _order: RewriteOrder) {}

    fn fill(&self, _fd: OwnedFd, _number: u64, _place: (u64, u64)) {}

    fn trim(&self, _fd: OwnedFd, _len: u64) {}

    fn journal(&self) -> Option<Opened> {
        None
    }

    fn shut_down(&self) {}
}

/// The stock configuration, for peers whose address could not be told from a stranger's.
pub(crate) fn config() -> Arc<Config> {
    let mut config = Config::default();
    config.protected_mode = false;
    Arc::new(config)
}

/// A socket that only gives accepted clients an address; nobody connects to it.
pub(crate) fn listener() -> Listener {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket =
        ListeningSocket::tcp(address, SocketOptions::default()).expect("a loopback address");
    Listener::new(Arc::new(socket))
}

/// The facts of a process of so many cores.
pub(crate) fn facts(cores: usize, databases: usize) -> ServerFacts {
    let process = ProcessFacts::new("simulated", "no", cores);
    let sizes = (cores, table::table().all().len(), databases);
    let started = Millis(WALL_AT_START.0 / 1000);
    ServerFacts {
        run_id: "0".repeat(40),
        pid: 1,
        system_memory: 1 << 30,
        ..ServerFacts::new(process, started, sizes, ReplicationId::new([1; 5]))
    }
}
