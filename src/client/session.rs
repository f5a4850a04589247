//! A client's session: what AUTH, SELECT, HELLO and CLIENT change, and what CLIENT LIST shows.
//!
//! Invariant: a session is changed on its home core only, by session commands; what a travelling
//! batch needs of it is copied into the batch.

use std::net::SocketAddr;
use std::sync::Arc;

use super::replica::Replica;
use super::tracking::{Redirect, Tracking};
use crate::acl::UserRef;
use crate::acl::users::{DEFAULT_NAME, Named};
use crate::base::claim::Claim;
use crate::base::time::Millis;
use crate::pubsub::{Name, Subscriptions};
use crate::resp::Proto;

/// Which replies the client wants (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// Not the one of the next command.
    SkipNext,
    /// Not the one of the current command.
    Skip,
}

/// What a travelling batch needs of its session.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts {
    /// Unique while the process lives; never used again.
    pub id: u64,
    /// The selected database.
    pub db: usize,
    /// The protocol of its replies.
    pub proto: Proto,
    /// As whom it is logged in; `default` before that.
    pub user: UserRef,
    /// False until AUTH, where a password is set.
    pub authenticated: bool,
    /// Which replies it wants.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-TOUCH: its reads leave the access clocks alone.
    pub no_touch: bool,
    /// CLIENT IMPORT-SOURCE (Valkey).
    pub import_source: bool,
    /// Came over the unix socket or from a loopback address.
    pub local: bool,
    /// Inside MULTI: its commands are queued.
    pub in_multi: bool,
    /// A command was refused inside MULTI: EXEC will be, too.
    pub multi_failed: bool,
    /// The core that it lives on.
    pub home: u16,
    /// Counts the runs of its commands, while it has tracking on.
    pub run: u32,
    /// Its address; None came through the unix socket.
    pub peer: Option<SocketAddr>,
    /// It watches all commands.
    pub monitoring: bool,
    /// Which keys are tracked for it.
    pub tracking: Tracking,
    /// It has subscribed to something: in RESP2 few commands are left to it.
    pub subscribed: bool,
    /// It is nobody: its commands come from an AOF that is loaded, and pass all gates.
    pub replays: bool,
}

impl SessionFacts {
    /// Takes up whether CLIENT CACHING still speaks of the next command.
    #[inline]
    pub fn keep_caching(&mut self, later: &SessionFacts) {
        if !later.tracking.has(Tracking::CACHING) {
            self.tracking = self.tracking.without(Tracking::CACHING);
        }
    }

    /// MULTI is over.
    pub fn leave_multi(&mut self) {
        self.in_multi = false;
        self.multi_failed = false;
    }
}

/// The state of one client.
#[derive(Debug)]
pub struct Session {
    /// What travels with its commands.
    pub facts: SessionFacts,
    /// Close when everything written so far has been sent.
    pub close_after_reply: bool,
    /// Its next command waits, for a key or for the end of CLIENT PAUSE.
    pub blocked: bool,
    /// While it waits for a key: whoever takes this decides how the wait ends.
    pub wait: Option<Arc<Claim>>,
    /// What it has subscribed to, since it first did.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What its SUBSCRIBE or kin answers when every core knows.
    pub answer: Vec<u8>,
    /// How many pieces of its command have been done on every core, if there are more.
    pub pieces_done: usize,
    /// That says what it has left: messages that it still gets go before.
    pub leaves: bool,
    /// Its place in the table of its home core.
    pub place: u32,
    /// Who is told of invalidations in its place.
    pub redirect: Option<Redirect>,
    /// The prefixes of keys that it wants to hear of.
    pub prefixes: Vec<Name>,
    /// The cores have been told of prefixes.
    pub follows: bool,
    /// It is the link to the primary, which this server opened itself.
    pub is_primary: bool,
    /// What makes it a replica, since it first said something of that.
    pub replica: Option<Box<Replica>>,
    /// The number of the last turn that changed something for it; 0 before that.
    pub last_write: u64,
    /// CLIENT NO-EVICT: not a victim of maxmemory-clients.
    pub no_evict: bool,
    /// CLIENT CAPA redirect (Valkey).
    pub capa_redirect: bool,
    /// The name of its user, if that is not `default`.
    pub user_name: Option<Arc<[u8]>>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: Vec<u8>,
    /// The peer's address, `ip:port`, or `path:0` for a unix socket.
    pub addr: String,
    /// The address that it connected to.
    pub laddr: String,
    /// Came through the unix socket.
    pub unix: bool,
    /// The socket's descriptor, for CLIENT LIST only.
    pub fd: i32,
    /// When it connected.
    pub created: Millis,
    /// When it last sent something.
    pub last_interaction: Millis,
    /// The full name of its last command, `client|list`. Empty before the first.
    pub last_command: &'static str,
    /// Commands that it sent.
    pub commands: u64,
    /// Bytes that it sent.
    pub net_input_bytes: u64,
    /// Bytes that were sent to it.
    pub net_output_bytes: u64,
    /// Reads from its socket.
    pub reads: u64,
}

impl Session {
    /// A fresh session. `authenticated` is true where no password is set.
    pub fn new(id: u64, now: Millis, authenticated: bool) -> Self {
        Session {
            facts: SessionFacts {
                id,
                db: 0,
                proto: Proto::Resp2,
                user: UserRef::DEFAULT,
                authenticated,
                reply_mode: ReplyMode::On,
                no_touch: false,
                import_source: false,
                local: false,
                in_multi: false,
                multi_failed: false,
                home: 0,
                run: 0,
                peer: None,
                monitoring: false,
                tracking: Tracking::default(),
                subscribed: false,
                replays: false,
            },
            close_after_reply: false,
            blocked: false,
            wait: None,
            subscriptions: None,
            answer: Vec::new(),
            pieces_done: 0,
            leaves: false,
            place: 0,
            redirect: None,
            prefixes: Vec::new(),
            follows: false,
            is_primary: false,
            replica: None,
            last_write: 0,
            no_evict: false,
            capa_redirect: false,
            user_name: None,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            addr: String::new(),
            laddr: String::new(),
            unix: false,
            fd: -1,
            created: now,
            last_interaction: now,
            last_command: "",
            commands: 0,
            net_input_bytes: 0,
            net_output_bytes: 0,
            reads: 0,
        }
    }

    /// True if it came over the unix socket or from a loopback address.
    pub fn is_local(&self) -> bool {
        let loopback = ["127.", "::1:", "[::1]:"];
        self.unix || loopback.iter().any(|prefix| self.addr.starts_with(prefix))
    }

    /// True if it is a replica.
    pub fn is_replica(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.is_attached())
    }

    /// Logs it in.
    pub fn log_in(&mut self, named: &Named) {
        self.facts.user = named.id;
        self.facts.authenticated = true;
        self.user_name = (*named.name != *DEFAULT_NAME).then(|| named.name.clone());
    }

    /// The name of its user.
    pub fn user_name(&self) -> &[u8] {
        self.user_name.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// RESET: everything that commands changed, back to the start. Names of libraries stay.
    pub fn reset(&mut self, authenticated: bool) {
        let fresh = Session::new(self.facts.id, self.created, authenticated);
        let SessionFacts { local, home, run, peer, .. } = self.facts;
        self.facts = SessionFacts { local, home, run, peer, ..fresh.facts };
        self.redirect = None;
        self.prefixes.clear();
        self.user_name = None;
        self.no_evict = false;
        self.name.clear();
    }
}

/// What the connection adds to CLIENT LIST and CLIENT INFO, in bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionFacts {
    /// Unparsed input.
    pub query_bytes: usize,
    /// Room left in the query buffer.
    pub query_free: usize,
    /// Words of the command that is not complete yet.
    pub argv_bytes: usize,
    /// Room of the reply buffer.
    pub reply_buffer_bytes: usize,
    /// Used room of the reply buffer.
    pub reply_buffer_used: usize,
    /// Buffers in the output list.
    pub output_list_len: usize,
    /// Bytes in the output list.
    pub output_list_bytes: usize,
    /// Everything that the client holds.
    pub total_bytes: usize,
    /// The core that it lives on.
    pub core: usize,
    /// Closing as soon as its output has been sent.
    pub closing: bool,
    /// Commands queued by MULTI; None outside of it.
    pub multi: Option<usize>,
    /// What they hold.
    pub multi_bytes: usize,
    /// Watched keys.
    pub watched: usize,
}

impl ConnectionFacts {
    /// The same while the client runs a command of so many bytes, so many of them in its words: stock
    /// servers have them in the query buffer then.
    #[must_use]
    pub fn while_running(self, request_bytes: u64, word_bytes: u64) -> ConnectionFacts {
        let (request, words) = (request_bytes as usize, word_bytes as usize);
        ConnectionFacts {
            query_bytes: self.query_bytes + request,
            argv_bytes: self.argv_bytes + words,
            total_bytes: self.total_bytes + request + words,
            ..self
        }
    }
}

/// What is to become of a connection that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Closed; a client that kills itself still gets its reply.
    Kill,
    /// Its wait, whose claim was taken, ends: with an error, or as if its time were up.
    Wake {
        /// With an error.
        with_error: bool,
    },
    /// Its wait, whose claim was taken, ends with an error, and so does the connection: the server
    /// is a replica now.
    Disown,
}

/// The clients of one core, as commands see them.
pub trait ConnectionTable {
    /// Shows every client, in the order of their ids.
    fn for_each(&mut self, look: &mut dyn FnMut(&mut Session, &ConnectionFacts) -> Verdict);
}
