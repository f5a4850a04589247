//! The control plane as the cores see it: what they ask it for, and what it answers.
//!
//! Invariant: a request is handed on whole and at once; nothing here waits.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::host;
use crate::base::sys;
use crate::command::session_context::Request;
use crate::command::whole::{Job, Part};
use crate::commands::replication::replicaof;
use crate::commands::server::acl;
use crate::commands::server::report::report;
use crate::config::Config;
use crate::control::{Ask, Done, Handle};
use crate::dispatch::table;
use crate::event_loop::{Answer, Control};
use crate::persist::aof::block::Opened;
use crate::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use crate::persist::save::{Outgoing, Piece as SavePiece, Save};
use crate::replication::chunk::FromPrimary;
use crate::tls::{self, Newcomer, Secured};

impl Control for Handle {
    fn ask(&self, core: usize, ticket: u64, request: Request) {
        let ask = Ask { core, ticket };
        match request {
            Request::Shutdown => self.shut_down(),
            Request::Discard
            | Request::Unwatch
            | Request::Leave(_)
            | Request::Sync(_)
            | Request::Handover(_)
            | Request::AwaitAcks(_)
            | Request::Save(_)
            | Request::Feed(_)
            | Request::Rewrite => {
                unreachable!("a core does this itself")
            }
            Request::Migrate(parcel) => self.migrate(ask, parcel),
            Request::Follow(primary) => self.follow(ask, primary, 0),
            Request::TakeOver(wanted) => self.follow(ask, None, wanted.has()),
            Request::Prepare(preparation) => self.prepare(ask, preparation),
            Request::RewriteConfig { config, users, writes_defaults } => {
                self.rewrite_config(ask, config, users, writes_defaults);
            }
            Request::SaveUsers { config, users } => {
                self.save_users(ask, host::path(&config.aclfile), users);
            }
            Request::LoadUsers { config, users, client } => {
                let path = host::path(&config.aclfile);
                self.load_users(ask, path, users, (acl::defaults(&config), client));
            }
        }
    }

    fn answer(&self, core: usize) -> Option<(u64, Result<Answer, String>)> {
        let (ticket, outcome) = Handle::answer(self, core)?;
        let outcome = outcome.map(|done| match done {
            Done::Task => Answer::Done,
            Done::Rewrite => Answer::Said("Background append only file rewriting started"),
            Done::Migrated(outcome) => Answer::Migrated(outcome),
            Done::Prepared(job) => Answer::Everywhere(job),
            Done::Unfollowed(primary) => {
                Answer::Everywhere(replicaof::take_role(primary, self.server()))
            }
            Done::Users(users, client) => Answer::Everywhere(acl::change::install(users, client)),
        });
        Some((ticket, outcome))
    }

    fn save(&self, save: &Arc<Save>, piece: SavePiece) {
        Handle::save(self, save, piece);
    }

    fn load(&self, order: LoadOrder) {
        Handle::load(self, order);
    }

    fn loaded(&self, core: usize) -> Option<(Arc<Load>, Piece)> {
        Handle::loaded(self, core)
    }

    fn inquiry(&self, core: usize) -> Option<Job> {
        let answer = Handle::inquiry(self, core)?;
        let server = self.server();
        Some(Arc::new(move |view| {
            // Who has asked may have gone.
            let _ = answer.send(report(view, &server, table::table()));
            Part::Done
        }))
    }

    fn use_tls(&self, context: Arc<tls::Context>) {
        Handle::use_tls(self, context);
    }

    fn secure(&self, newcomer: Newcomer) {
        Handle::secure(self, newcomer);
    }

    fn secured(&self, core: usize) -> Option<Box<Secured>> {
        Handle::secured(self, core)
    }

    fn rewrite(&self, order: RewriteOrder) {
        Handle::rewrite(self, order);
    }

    fn fill(&self, fd: OwnedFd, number: u64, place: (u64, u64)) {
        Handle::fill(self, fd, number, place);
    }

    fn trim(&self, fd: OwnedFd, len: u64) {
        Handle::trim(self, fd, len);
    }

    fn journal(&self) -> Option<Opened> {
        Handle::journal(self)
    }

    fn followed(&self) -> Option<FromPrimary> {
        Handle::followed(self)
    }

    fn end_link(&self) {
        Handle::end_link(self);
    }

    fn acknowledge(&self) {
        Handle::acknowledge(self);
    }

    fn configured(&self, config: &Arc<Config>) {
        Handle::configured(self, config);
    }

    fn outgoing(&self) -> Option<Outgoing> {
        Handle::outgoing(self)
    }

    fn took(&self, bytes: u64) {
        Handle::took(self, bytes);
    }

    fn give_up(&self) {
        Handle::give_up(self);
    }

    fn shut_down(&self) {
        Handle::shut_down(self);
        // The main thread waits for a signal.
        sys::raise_signal(libc::SIGTERM);
    }
}
