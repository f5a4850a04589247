//! Room ahead of the journal: zeros in front of its writer, and the cut behind its last group.
//!
//! Invariant: zeros are written only where the writer has said that it will write nothing until it is
//! told of them. What is asked for one file is done in order. A file that cannot be filled is as long
//! as it was.

use std::fs::File as StdFile;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::super::load::JournalDesk;
use super::super::runtime::File;
use crate::base::sys;
use crate::observe::log;
use crate::persist::aof::block::Opened;

/// What the writer of the journal asks for.
pub(in crate::control) enum Order {
    /// Fill a file, by its number, with zeros between two places.
    Fill(OwnedFd, u64, (u64, u64)),
    /// Cut a file to this length.
    Trim(OwnedFd, u64),
    /// The process ends, when all of this is done.
    End(oneshot::Sender<()>),
}

/// Does what is asked for. The writer's core is woken when there is something for it at the desk.
pub(in crate::control) async fn make_room(
    mut orders: UnboundedReceiver<Order>,
    desk: JournalDesk,
    event_fd: i32,
) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Fill(fd, number, (from, to)) => {
                let filled = fill(StdFile::from(fd), from, to).await;
                desk.put(Opened::Filled(number, filled.is_ok().then_some(to)));
                sys::write_event(event_fd);
            }
            Order::Trim(fd, len) => {
                let file = StdFile::from(fd);
                if let Err(error) = file.set_len(len).and_then(|()| file.sync_all()) {
                    // Zeros at the end are cut at the next start.
                    let reason = sys::reason(&error);
                    log::warning(format!("Error truncating the AOF file: {reason}"));
                }
            }
            Order::End(done) => {
                let _ = done.send(());
                return;
            }
        }
    }
}

/// Writes zeros to the disk, in pieces that a sync of somebody else can wait for.
async fn fill(file: StdFile, from: u64, to: u64) -> io::Result<()> {
    if sys::free_bytes(file.as_fd()) < (to - from) * FREE_SEGMENTS_MIN {
        return Err(io::Error::from_raw_os_error(libc::ENOSPC));
    }
    let open = File::from_std(file.try_clone()?);
    let outcome = async {
        for at in (from..to).step_by(PIECE_BYTES) {
            let len = (to - at).min(PIECE_BYTES as u64) as usize;
            open.write_all_at(vec![0; len], at).await?;
            open.sync_data().await?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    let _ = open.close().await;
    if outcome.is_err() {
        file.set_len(from)?;
    }
    outcome
}

/// Zeros that are written and synced at once.
const PIECE_BYTES: usize = 512 << 10;
/// Where less is free, nothing is taken ahead.
const FREE_SEGMENTS_MIN: u64 = 16;
