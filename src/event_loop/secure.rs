//! Encrypted connections on their core: records become input, replies become records.
//!
//! Invariant: a handshake never runs here. Plain connections take no step of this file: what is
//! received on an encrypted one has a kind of its own, and replies are sealed in one pass of the
//! turn, which a core without such connections does not make.

use std::os::fd::IntoRawFd;
use std::sync::Arc;

use super::Core;
use crate::acl::log::Place as DenialPlace;
use crate::acl::{Denial, Reason};
use crate::base::sys;
use crate::base::time::Clock;
use crate::command::session_context::Request;
use crate::command::whole::{CoreView, Job, Part};
use crate::net::listener::Accepted;
use crate::net::sealing::Sealing;
use crate::observe::log::{self, Level};
use crate::ring::{BufferLease, Fd, Op, Ring};
use crate::tls::{Broken, Context, Newcomer, Secured};

/// The core that accepts.
const ACCEPTS: usize = 0;
/// The ticket of what no client has asked for.
const RELOAD: u64 = u64::MAX - 2;
/// A buffer for records that grew beyond this is given back.
const RECORDS_KEPT_BYTES: usize = 256 * 1024;

impl<R: Ring, C: Clock> Core<R, C> {
    /// Tells the control plane of the certificates, if this is the core that accepts and has others
    /// than `before`.
    pub(super) fn tls_changed(&self, before: Option<&Arc<Context>>) {
        let now = self.worker.tls.as_ref();
        let is_same = now.map(Arc::as_ptr) == before.map(Arc::as_ptr);
        if let Some(context) = now.filter(|_| !is_same && self.worker.core == ACCEPTS) {
            self.control.use_tls(context.clone());
        }
    }

    /// Has the certificates read again if their files have changed. Source: tls-auto-reload-interval.
    pub(super) fn look_at_certificates(&mut self) {
        let (config, now) = (&self.worker.config, self.worker.now.seconds());
        let interval = i64::from(config.tls_auto_reload_interval);
        let Some(context) = self.worker.tls.clone() else { return };
        let is_due = now - self.certificates_seen >= interval;
        if interval == 0 || !is_due || !Context::is_needed(config) {
            return;
        }
        self.certificates_seen = now;
        let config = config.clone();
        let preparation = move || {
            let context = context.reloaded(&config).map(Arc::new).ok_or(String::new())?;
            let job: Job = Arc::new(move |view: &mut CoreView<'_>| {
                // Who has changed the configuration meanwhile has read the files.
                if Arc::ptr_eq(view.config, &config) {
                    *view.tls = Some(context.clone());
                }
                Part::Done
            });
            Ok(job)
        };
        self.control.ask(self.worker.core, RELOAD, Request::Prepare(Box::new(preparation)));
    }

    /// A connection was accepted that is to be encrypted: its handshake is done elsewhere, and
    /// `core` hears of it. One too many is closed without a word, since it would not understand any.
    pub(super) fn secure(&mut self, accepted: Accepted, core: usize) {
        let Accepted { fd, addr, laddr, refusal, .. } = accepted;
        let socket = sys::own_fd(fd);
        self.control.secure(Newcomer { socket, addr, laddr, refusal, core });
    }

    /// Nobody is told why: before the handshake there is no way to.
    pub(super) fn turn_away(&mut self, fd: Fd) {
        self.ring.push(Op::Close { fd });
    }

    /// Takes in the clients of this core that are through their handshake.
    pub(super) fn take_secured(&mut self) {
        while let Some(secured) = self.control.secured(self.worker.core) {
            let Secured { newcomer, session, early, users } = *secured;
            let Newcomer { socket, addr, laddr, refusal, .. } = newcomer;
            let sealing = Some(Box::new(Sealing::new(session)));
            let fd = socket.into_raw_fd();
            let accepted = Accepted { fd, addr, laddr, unix: false, refusal, sealing };
            self.secured_clients += 1;
            let index = self.add_client(accepted);
            if refusal.is_some() {
                continue;
            }
            self.log_in_by_certificate(index, &users);
            let Some(connection) = self.clients.get(index) else { continue };
            connection.input.receive(&early);
            let outcome = connection.open(&[], &mut self.records);
            self.opened(index, outcome);
        }
    }

    /// Logs a client in as the first user of those that its certificate names who may.
    fn log_in_by_certificate(&mut self, index: u32, names: &[Vec<u8>]) {
        let Some(first) = names.first() else { return };
        let Core { clients, worker, .. } = self;
        let Some(connection) = clients.get(index) else { return };
        let mut known = names.iter().filter_map(|name| worker.users.find(name));
        if let Some(named) = known.find(|named| named.user.is_enabled()) {
            connection.session.log_in(named);
            let name = connection.session.user_name().to_vec();
            return log::write(Level::Verbose, || {
                format!("TLS: Auto-authenticated client as {}", String::from_utf8_lossy(&name))
            });
        }
        worker.stats.denials.certificate.add(1);
        let denial = Denial {
            reason: Reason::Certificate,
            place: DenialPlace::TopLevel,
            object: Vec::new(),
            username: first.clone(),
            time: worker.now,
            command: "",
            client: Vec::new(),
        };
        self.report(index, denial);
    }

    /// Opens the records that a client has sent.
    pub(super) fn take_sealed(&mut self, index: u32, lease: BufferLease) {
        self.served += 1;
        let Core { clients, ring, records, .. } = self;
        let outcome = match clients.get(index) {
            Some(connection) => connection.open(ring.bytes(&lease), records),
            None => Ok(()),
        };
        ring.release(lease);
        self.opened(index, outcome);
    }

    /// Records were opened, or were not what they should be.
    fn opened(&mut self, index: u32, outcome: Result<(), Broken>) {
        let Some(connection) = self.clients.get(index) else { return };
        let Some(sealing) = &connection.sealing else { return };
        let says_something = sealing.session.has_outgoing() || outcome.is_err();
        let has_finished = sealing.session.is_closed_by_peer();
        if let Err(error) = outcome {
            log::write(Level::Verbose, || format!("Reading from client: {error}"));
            connection.closing = true;
        }
        if says_something {
            self.dirty.push(index);
        }
        if has_finished {
            self.peer_finished(index);
        }
        self.check_query_buffer(index);
        self.note_ready(index);
    }

    /// Seals the replies of this turn to encrypted clients, where nothing keeps them back.
    #[cold]
    pub(super) fn seal_replies(&mut self) {
        let Core { clients, replies, dirty, records, .. } = self;
        // What begins behind this is sealed: a client may be named twice.
        let end = replies.bytes.len();
        for index in dirty.iter() {
            let Some(connection) = clients.get(*index) else { continue };
            let plain = connection.segment.filter(|(start, len)| *len > 0 && *start < end);
            let Some((start, len)) = plain else { continue };
            let leaves_now = connection.leaves_with_turn() && connection.gate.is_open();
            let Some(sealing) = connection.sealing.as_mut().filter(|_| !connection.is_dead) else {
                continue;
            };
            let plain = &replies.bytes[start..start + len];
            if !leaves_now {
                connection.output.wait_for(connection.gate);
                connection.output.push(bytes::Bytes::copy_from_slice(plain));
                connection.segment = Some((start, 0));
                continue;
            }
            records.clear();
            if sealing.session.seal(plain, records).is_none() {
                connection.closing = true;
                records.clear();
            }
            connection.segment = Some((replies.bytes.len(), records.len()));
            replies.bytes.extend_from_slice(records);
        }
        if records.capacity() > RECORDS_KEPT_BYTES {
            *records = Vec::new();
        }
    }
}
