//! A full synchronization over two connections: the snapshot comes over a channel of its own, and the
//! stream behind it over the link at the same time.
//!
//! Invariant: what has come of the stream is kept, no more of it than may be, until the snapshot is in
//! place; then it is followed from its first byte on. A snapshot that is not whole goes with either
//! connection; one that is whole is put in place even if the link has ended, and a later one goes on
//! behind it. Whoever ends the link ends both. Source: Redis 8.0.6, repl-rdb-channel.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;

use super::session::{READ_BYTES, Session, Step, late, lost};
use super::snapshot::Receiving;
use super::{PAUSE, Replica, unix_seconds};
use crate::base::sys;
use crate::config::value::ClientClass;
use crate::observe::link::LinkState;
use crate::observe::log;
use crate::observe::replication::SyncStep;
use crate::replication::link::{Event, Fault, Link, Position};

/// Memory for the stream is taken in blocks of so many bytes.
const BLOCK_BYTES: usize = 256 << 10;

impl Session {
    /// Gets a snapshot over a channel, and follows the stream behind it, of which these bytes have come.
    pub(super) async fn follow_beside_channel(
        self: &Rc<Self>,
        step: &mut Step<'_>,
        client: u64,
        first: &[u8],
    ) -> Result<(), Fault> {
        log::notice("PSYNC is not possible, initialize RDB channel.");
        let mut kept = Kept::new(self.replica.clone());
        kept.push(first);
        self.place_from_channel(step, client, &mut kept).await?;
        // A primary that has gone is noticed by who reads on.
        let _ = self.send(self.acknowledgement()).await;
        self.follow_kept(step, kept).await
    }

    /// Puts the snapshot of a channel in place, while the stream is kept.
    async fn place_from_channel(
        self: &Rc<Self>,
        step: &mut Step<'_>,
        client: u64,
        kept: &mut Kept,
    ) -> Result<(), Fault> {
        let mut keeping = pin!(self.keep_stream(kept));
        let received = self.receive_beside(client, keeping.as_mut()).await;
        let (channel, snapshot, position) =
            received.inspect_err(|_| log::notice("Aborting rdb channel sync"))?;
        (step.snapshot, step.position) = (Some(snapshot), Some(position));
        let mut placing = pin!(self.place(step));
        let placed = tokio::select! {
            biased;
            placed = &mut placing => placed,
            _ = keeping => {
                log::notice("Aborting rdb channel sync while loading the RDB.");
                log::notice("After loading RDB, replica will try psync with master.");
                placing.await
            }
        };
        channel.close();
        placed
    }

    /// Opens a channel and receives its snapshot, unless the link ends meanwhile.
    async fn receive_beside(
        &self,
        client: u64,
        mut keeping: Pin<&mut impl Future<Output = Fault>>,
    ) -> Result<(Rc<Session>, Receiving, Position), Fault> {
        let channel = tokio::select! {
            biased;
            fault = &mut keeping => return Err(fault),
            opened = Session::open(self.replica.clone(), &self.primary, self.term) => {
                Rc::new(opened.map_err(Fault)?)
            }
        };
        let mut receiving = pin!(channel.clone().receive_snapshot(client));
        let received = tokio::select! {
            biased;
            received = &mut receiving => received,
            fault = keeping => {
                channel.close();
                // To its end, and its file goes.
                let _ = receiving.await;
                Err(fault)
            }
        };
        let (snapshot, position) = received?;
        Ok((channel, snapshot, position))
    }

    /// Receives the snapshot of this channel, which belongs to the link that the primary knows as this
    /// client.
    async fn receive_snapshot(self: Rc<Self>, client: u64) -> Result<(Receiving, Position), Fault> {
        let (mut link, first) = Link::channel(self.introduction(), client);
        self.send(first).await?;
        let (mut position, mut snapshot) = (None, None::<Receiving>);
        let mut buffer = Vec::with_capacity(READ_BYTES);
        while self.hear(&mut buffer, || late(snapshot.is_some())).await? > 0 {
            let mut bytes = &buffer[..];
            loop {
                let (used, event) = link.step(bytes)?;
                let (part, rest) = bytes.split_at(used);
                bytes = rest;
                match event {
                    None if used == 0 => break,
                    None => {}
                    Some(Event::Introduced) => {
                        let replication = &self.replica.loader.server.replication;
                        replication.stop_if_wanted(SyncStep::BeforeChannel);
                        self.send(link.psync(None)).await?;
                    }
                    Some(Event::Begins(at)) => {
                        self.replica.link().set_state(LinkState::Sync);
                        log::notice("Starting to receive RDB and replication stream in parallel.");
                        position = Some(at);
                    }
                    Some(Event::Snapshot(length)) => {
                        snapshot = Some(Receiving::begin(&self.replica, position, length).await?);
                    }
                    Some(Event::Part) => write(&mut snapshot, part).await?,
                    Some(Event::Kept(part)) => write(&mut snapshot, &part).await?,
                    Some(Event::Complete) => return snapshot.zip(position).ok_or_else(lost),
                    Some(
                        Event::Send(_)
                        | Event::Continues(_)
                        | Event::Channel(_)
                        | Event::Stream
                        | Event::Ignored(_),
                    ) => return Err(Fault("The primary sends no snapshot over a channel".into())),
                }
            }
            buffer.clear();
        }
        Err(lost())
    }

    /// Keeps what comes over the link until it ends; why it has.
    async fn keep_stream(&self, kept: &mut Kept) -> Fault {
        loop {
            let room = kept.room();
            if room == 0 {
                log::notice(format!(
                    "Replication buffer limit has been reached ({} bytes), stopped buffering replication stream. Further accumulation may occur on master side.",
                    kept.limit()
                ));
                self.wait_for_close().await;
                return lost();
            }
            let mut buffer = Vec::with_capacity(room.min(READ_BYTES));
            match self.read(&mut buffer).await {
                Ok(0) => return lost(),
                Ok(count) => {
                    self.replica.link().heard(unix_seconds(), count);
                    kept.push(&buffer);
                }
                Err(error) => {
                    return Fault(format!(
                        "Main channel error while reading from master: {}",
                        sys::reason(&error)
                    ));
                }
            }
        }
    }

    /// Has what was kept take effect.
    async fn follow_kept(&self, step: &mut Step<'_>, mut kept: Kept) -> Result<(), Fault> {
        let Some(reader) = &mut step.reader else { return Ok(()) };
        let total = kept.len();
        log::notice(format!(
            "MASTER <-> REPLICA sync: Starting to stream replication buffer into the db ({total} bytes)."
        ));
        while let Some(block) = kept.pop() {
            self.take_stream(reader, &block).await?;
            let replication = &self.replica.loader.server.replication;
            if replication.stop_if_wanted(SyncStep::OnKeptStream) {
                // Whoever continues the process has sent something, which cores take first.
                tokio::time::sleep(PAUSE).await;
            }
            if self.is_closed() {
                log::warning(
                    "Master client was freed while streaming accumulated replication data to db.",
                );
                return Err(lost());
            }
        }
        log::notice(format!(
            "MASTER <-> REPLICA sync: Successfully streamed replication buffer into the db ({total} bytes in total)"
        ));
        Ok(())
    }
}

async fn write(snapshot: &mut Option<Receiving>, part: &[u8]) -> Result<(), Fault> {
    match snapshot {
        Some(snapshot) => snapshot.write(part).await,
        None => Ok(()),
    }
}

/// The stream that has come before its snapshot is in place. INFO tells how much memory it takes.
struct Kept {
    replica: Rc<Replica>,
    blocks: VecDeque<Vec<u8>>,
    /// Bytes that the blocks have room for.
    reserved: u64,
}

impl Kept {
    fn new(replica: Rc<Replica>) -> Kept {
        Kept { replica, blocks: VecDeque::new(), reserved: 0 }
    }

    /// Bytes that may be kept.
    fn limit(&self) -> u64 {
        let config = self.replica.config();
        let of_replicas = config.client_output_buffer_limit[ClientClass::Replica as usize];
        match (config.replica_full_sync_buffer_limit, of_replicas.hard_bytes) {
            (0, 0) => u64::MAX,
            (0, limit) | (limit, _) => limit,
        }
    }

    fn spare(&self) -> usize {
        self.blocks.back().map_or(0, |block| block.capacity() - block.len())
    }

    /// Bytes that may still come.
    fn room(&self) -> usize {
        let more = self.limit().saturating_sub(self.reserved);
        self.spare().saturating_add(usize::try_from(more).unwrap_or(usize::MAX))
    }

    /// Keeps all of them: what was read with the line that began it, and the end of a record of TLS, may
    /// be more than there is room for.
    fn push(&mut self, bytes: &[u8]) {
        let (part, rest) = bytes.split_at(self.spare().min(bytes.len()));
        if let Some(block) = self.blocks.back_mut() {
            block.extend_from_slice(part);
        }
        if !rest.is_empty() {
            let mut block = Vec::with_capacity(rest.len().max(self.room().min(BLOCK_BYTES)));
            block.extend_from_slice(rest);
            self.reserved += block.capacity() as u64;
            self.blocks.push_back(block);
            self.replica.link().keeps(self.reserved);
        }
    }

    fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// The next bytes of the stream.
    fn pop(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop_front()?;
        self.reserved -= block.capacity() as u64;
        self.replica.link().keeps(self.reserved);
        Some(block)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.replica.link().keeps(0);
    }
}
