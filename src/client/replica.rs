//! What a session keeps of a client that is a replica, or is about to become one.
//!
//! Invariant: REPLCONF fills it in at the client's home; from the moment that the client asks for the
//! stream it lives with the client on the core that keeps the stream, and that core alone changes it.
//! Source: Redis 8.0.6, REPLCONF.

use super::Session;
use crate::base::time::Millis;

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It has not asked for anything.
    #[default]
    Stranger,
    /// It waits for a snapshot to begin.
    Waits,
    /// A main channel: it waits for its rdb channel, or for the snapshot to begin that goes there.
    WaitsForChannel,
    /// A main channel: it gets the stream while its rdb channel gets the snapshot.
    Streams,
    /// It waits for the first byte of its snapshot, or gets it.
    Receives,
    /// It has its snapshot, and the stream goes on when it says so.
    Loads,
    /// It follows the stream.
    Online,
    /// It wanted a snapshot alone, and has it.
    Served,
}

/// See above.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// The port that it listens on; 0 if it has not said.
    pub port: i64,
    /// The address that it wants to be known by.
    pub address: Vec<u8>,
    /// It understands a snapshot without a length, behind which a mark stands.
    pub takes_eof: bool,
    /// It understands that the history is called by another name.
    pub takes_psync2: bool,
    /// It takes the snapshot over a connection of its own.
    pub takes_rdb_channel: bool,
    /// It is such a connection, an rdb channel.
    pub is_rdb_channel: bool,
    /// The client that the rdb channel is for, its main channel. Once attached, only one that is here.
    pub main_channel: Option<u64>,
    /// It wants a snapshot and no stream.
    pub wants_rdb_only: bool,
    /// It wants parts of the data set: those that are named.
    pub filter: Option<RdbFilter>,
    /// It has asked by SYNC, and never says how far it is.
    pub is_silent: bool,
    /// How far it is.
    pub stage: Stage,
    /// Bytes of the history that have been handed over to its connection.
    pub sent: u64,
    /// Bytes of the history that it has, as it says.
    pub acked: u64,
    /// The same for what its append-only file has on disk.
    pub acked_synced: u64,
    /// When it said something of that, or became a replica.
    pub acked_at: Millis,
    /// It has said something since somebody looked.
    pub has_news: bool,
    /// Bytes of the stream that wait for it.
    pub behind: u64,
}

/// The parts of a data set that somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RdbFilter {
    /// Functions.
    pub functions: bool,
}

impl Replica {
    /// True if the client is a replica by now.
    pub fn is_attached(&self) -> bool {
        self.stage != Stage::Stranger
    }

    /// The offset from which on the stream is kept for it. None if it gets none.
    pub fn needs_stream_from(&self) -> Option<u64> {
        let needs = match self.stage {
            Stage::Receives => !self.wants_rdb_only,
            Stage::Streams | Stage::Loads | Stage::Online => true,
            Stage::Stranger | Stage::Waits | Stage::WaitsForChannel | Stage::Served => false,
        };
        needs.then_some(self.sent)
    }
}

/// What INFO and ROLE tell of a replica.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What the log calls it.
    pub name: String,
    /// The address that it wants to be known by, or has.
    pub address: Vec<u8>,
    /// The port that it listens on; 0 if it has not said.
    pub port: i64,
    /// How far it is.
    pub state: &'static str,
    /// Bytes of the history that it has, as it says.
    pub acked: u64,
    /// Seconds since it said so; 0 before it follows the stream.
    pub lag: i64,
}

impl Listed {
    /// What is told of a client. None if it is no replica, or one that nobody need know of: an rdb
    /// channel is told of as its main channel.
    pub fn of(session: &Session, now: Millis) -> Option<Listed> {
        let replica = session.replica.as_ref()?;
        let state = match replica.stage {
            Stage::Stranger | Stage::Served => return None,
            _ if replica.main_channel.is_some() => return None,
            Stage::Waits | Stage::WaitsForChannel => "wait_bgsave",
            Stage::Streams => "send_bulk_and_stream",
            Stage::Receives => "send_bulk",
            Stage::Loads | Stage::Online => "online",
        };
        let lag = if state == "online" { now.seconds() - replica.acked_at.seconds() } else { 0 };
        Some(Listed {
            name: replica.name(session),
            address: replica.address_of(session),
            port: replica.port,
            state,
            acked: replica.acked,
            lag,
        })
    }
}

impl Replica {
    /// The address that it wants to be known by, or has.
    fn address_of(&self, session: &Session) -> Vec<u8> {
        match session.facts.peer {
            _ if !self.address.is_empty() => self.address.clone(),
            Some(peer) => peer.ip().to_string().into_bytes(),
            None => b"?".to_vec(),
        }
    }

    /// What the log calls it.
    pub fn name(&self, session: &Session) -> String {
        let address = self.address_of(session);
        let address = String::from_utf8_lossy(&address);
        match self.port {
            0 => format!("{address}:<unknown-replica-port>"),
            port if address.contains(':') => format!("[{address}]:{port}"),
            port => format!("{address}:{port}"),
        }
    }
}
