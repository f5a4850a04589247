//! What clients may still run that have subscribed to something.
//!
//! Invariant: in RESP3, where pushes can be told from replies, everything. Source: the Pub/Sub page of
//! Redis 8.0.

use super::table::Registered;
use super::worker::Worker;
use crate::client::SessionFacts;
use crate::command::Flags;
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;

/// What a subscriber may run in RESP2.
const FOR_SUBSCRIBERS: &[&str] = &[
    "ping",
    "subscribe",
    "ssubscribe",
    "psubscribe",
    "unsubscribe",
    "sunsubscribe",
    "punsubscribe",
    "quit",
    "reset",
];

impl Worker {
    /// The gate of who watches all commands: no key may be touched.
    pub(super) fn refuse_to_monitor(
        &mut self,
        registered: &Registered,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let keys = Flags::WRITE.with(Flags::READONLY).with(Flags::MAY_REPLICATE);
        let refused = registered.command.flags.any(keys);
        if refused {
            let text = b"ERR Replica can't interact with the keyspace".to_vec();
            self.reply_error(Some(registered), facts, buffer, text);
        }
        refused
    }

    /// The gate of subscribers: in RESP2, where messages and replies look alike, they may do little
    /// else.
    pub(super) fn refuse_to_subscriber(
        &mut self,
        registered: &Registered,
        facts: &mut SessionFacts,
        buffer: &mut ReplyBuffer,
    ) -> bool {
        let name = registered.full_name;
        if facts.proto != Proto::Resp2 || FOR_SUBSCRIBERS.contains(&name) {
            return false;
        }
        let text = format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
        );
        self.reply_error(Some(registered), facts, buffer, text.into_bytes());
        true
    }
}
