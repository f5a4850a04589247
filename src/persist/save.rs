//! A save: what the cores that write their partitions and the control plane share, and the writer of
//! the file.
//!
//! Invariant: each partition sends pieces in order, and says with each whether the next one belongs
//! to the same record; so records of several partitions stand one behind the other in the file. The
//! file has its name only when all of it is safe; the old one stays until then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use bytes::Bytes;

use super::aof::files::Rewrite;
use super::rdb::VERSION_MIN;
use super::rdb::file::{Checksum, MAGIC_LEN, magic};
use super::storage::{Storage, Stored};
use crate::base::crc::crc64;
use crate::base::time::Nanos;

/// What the file says of when keys were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Nothing.
    Untold,
    /// How long ago.
    Idle,
    /// How often.
    Frequency {
        /// lfu-decay-time.
        decay_minutes: u32,
    },
}

/// What a save is for: where it goes, and what becomes of it at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The RDB file of this name.
    Dump(PathBuf),
    /// The base of the AOF, which gets its name from the manifest.
    AofBase(Rewrite),
    /// Replicas that wait for a snapshot: they get it as it is written, or all of it from a file.
    Replicas {
        /// It is not written to a file first.
        is_diskless: bool,
    },
}

/// A snapshot for replicas, on its way to the core that sends it.
#[derive(Debug)]
pub enum Outgoing {
    /// Its length, if that is known before its first byte.
    Length(u64),
    /// More of it.
    Bytes(Bytes),
    /// Its end. If it is not whole, nobody can use it.
    End {
        /// Nothing is missing.
        is_whole: bool,
    },
}

/// One save, from its instant to its end.
#[derive(Debug)]
pub struct Save {
    /// The tag of entries that it has written, or need not.
    pub epoch: u8,
    /// What it is for.
    pub target: Target,
    /// rdbcompression.
    pub compresses: bool,
    /// rdbchecksum.
    pub checksums: bool,
    /// The file is synced while it grows. Source: rdb-save-incremental-fsync,
    /// aof-rewrite-incremental-fsync.
    pub syncs_often: bool,
    /// What is told of the use of keys.
    pub usage: Usage,
    /// What stands before the keys.
    pub preamble: Vec<u8>,
    /// Keys at the instant.
    pub keys: u64,
    /// Changes up to the instant, since the start of the process.
    pub changes: u64,
    /// Somebody waits for it at the end of the process: nothing has to be spared.
    pub is_urgent: bool,
    /// How far each partition is.
    pub progress: Vec<Progress>,
    /// When it began, if its keys may be told to take time. Source: rdb-key-save-delay.
    began: Option<Nanos>,
    /// The version that the file needs so far.
    version: AtomicU16,
    /// It is not wanted any more, or cannot be written.
    cancelled: AtomicBool,
}

/// How far a partition is. Written by whoever has it; lowered by the writer of the file.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that were encoded and are not in the file.
    pub queued: AtomicU64,
    /// Keys that were encoded.
    pub keys: AtomicU64,
}

/// What a save is made of.
pub struct Wanted {
    /// See `Save`.
    pub epoch: u8,
    /// See `Save`.
    pub target: Target,
    /// See `Save`.
    pub flags: Flags,
    /// See `Save`.
    pub usage: Usage,
    /// See `Save`.
    pub preamble: Vec<u8>,
    /// See `Save`.
    pub keys: u64,
    /// See `Save`.
    pub changes: u64,
    /// Partitions.
    pub partitions: usize,
    /// Functions are among the preamble.
    pub has_functions: bool,
}

/// What the directives say, and who waits.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    /// See `Save`.
    pub compresses: bool,
    /// See `Save`.
    pub checksums: bool,
    /// See `Save`.
    pub syncs_often: bool,
    /// See `Save`.
    pub is_urgent: bool,
}

impl Save {
    /// A save that begins.
    pub fn new(wanted: Wanted) -> Save {
        let Wanted { epoch, target, flags, usage, preamble, keys, changes, .. } = wanted;
        let version = if wanted.has_functions { FUNCTIONS_SINCE } else { VERSION_MIN };
        Save {
            epoch,
            target,
            compresses: flags.compresses,
            checksums: flags.checksums,
            syncs_often: flags.syncs_often,
            is_urgent: flags.is_urgent,
            usage,
            preamble,
            keys,
            changes,
            progress: (0..wanted.partitions).map(|_| Progress::default()).collect(),
            began: None,
            version: AtomicU16::new(version),
            cancelled: AtomicBool::new(false),
        }
    }

    /// The same, begun `now`, and not in a hurry.
    pub fn paced(self, now: Nanos) -> Save {
        Save { began: Some(now), ..self }
    }

    /// True if each key takes some time, where that is to be so many microseconds at least.
    pub fn is_paced(&self, key_micros: i64) -> bool {
        self.began.is_some() && key_micros > 0 && !self.is_cancelled()
    }

    /// True if it has written as many keys as it may by now.
    pub fn is_ahead(&self, now: Nanos, key_micros: i64) -> bool {
        let micros = u64::try_from(key_micros).unwrap_or(0);
        self.began.is_some_and(|began| {
            let due = self.keys_done().saturating_mul(micros).saturating_mul(NANOS_PER_MICRO);
            now.since(began) < due && !self.is_cancelled()
        })
    }

    /// A value needs this version.
    pub fn needs(&self, version: u16) {
        if version > VERSION_MIN {
            self.version.fetch_max(version, Ordering::Relaxed);
        }
    }

    /// It is not wanted any more: the partitions come to their ends without writing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// True if it can be written as slowly as its readers read, which is for others to bound.
    pub fn is_for_replicas(&self) -> bool {
        matches!(self.target, Target::Replicas { .. })
    }

    /// The first bytes of a file that is sent before all of it is known: they say the lowest version,
    /// which every reader takes, and readers look at each value's own type.
    pub fn magic(&self) -> [u8; MAGIC_LEN] {
        magic(self.version.load(Ordering::Relaxed))
    }

    /// True if it is not wanted any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Bytes that are encoded with one unit of work.
    pub fn bytes_per_unit(&self) -> usize {
        if self.compresses { COMPRESSED_PER_UNIT } else { COPIED_PER_UNIT }
    }

    /// Keys that were encoded.
    pub fn keys_done(&self) -> u64 {
        self.progress.iter().map(|one| one.keys.load(Ordering::Relaxed)).sum()
    }
}

/// A run of bytes of one partition.
#[derive(Debug)]
pub struct Piece {
    /// The partition's number.
    pub partition: usize,
    /// The bytes.
    pub bytes: Vec<Bytes>,
    /// Their length.
    pub len: u64,
    /// Their checksum, if the file has one.
    pub crc: u64,
    /// The next piece of this partition goes on with the same record.
    pub continues: bool,
    /// It was the partition's last.
    pub is_last: bool,
}

impl Piece {
    /// A piece of these bytes.
    pub fn new(save: &Save, partition: usize, bytes: Vec<Bytes>, continues: bool) -> Piece {
        let len = bytes.iter().map(|one| one.len() as u64).sum();
        let crc = if save.checksums { bytes.iter().fold(0, |crc, one| crc64(crc, one)) } else { 0 };
        Piece { partition, bytes, len, crc, continues, is_last: false }
    }
}

/// The file of a save, while it is written beside the old one.
pub struct Writer<F> {
    file: F,
    offset: u64,
    checksum: Checksum,
    unsynced: u64,
}

impl<F> Writer<F> {
    /// A file beside the one that it is to replace.
    pub async fn create<S: Storage<File = F>>(
        storage: &S,
        save: &Save,
        beside: &Path,
    ) -> Stored<Writer<F>> {
        let file = storage.create(beside).await?;
        let mut writer =
            Writer { file, offset: MAGIC_LEN as u64, checksum: Checksum::default(), unsynced: 0 };
        let preamble = Bytes::copy_from_slice(&save.preamble);
        writer.write(storage, save, Piece::new(save, 0, vec![preamble], false)).await?;
        Ok(writer)
    }

    /// Adds a piece.
    pub async fn write<S: Storage<File = F>>(
        &mut self,
        storage: &S,
        save: &Save,
        piece: Piece,
    ) -> Stored<()> {
        self.checksum.add(piece.crc, piece.len);
        for bytes in piece.bytes {
            let len = bytes.len() as u64;
            // What nobody shares is not copied.
            storage.write_at(&mut self.file, self.offset, bytes.into()).await?;
            self.offset += len;
        }
        self.unsynced += piece.len;
        if save.syncs_often && self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            storage.sync(&mut self.file).await?;
        }
        Ok(())
    }

    /// Ends the file, which is whole and safe then, but for its name. Its length.
    pub async fn finish<S: Storage<File = F>>(mut self, storage: &S, save: &Save) -> Stored<u64> {
        let magic = save.magic();
        let body = self.offset - MAGIC_LEN as u64;
        let end = Checksum::end(save.checksums.then_some(self.checksum), &magic, body);
        storage.write_at(&mut self.file, self.offset, end.to_vec()).await?;
        storage.write_at(&mut self.file, 0, magic.to_vec()).await?;
        storage.sync(&mut self.file).await?;
        storage.close(self.file).await?;
        Ok(self.offset + end.len() as u64)
    }
}

/// Puts a whole file in its place.
pub async fn put_in_place<S: Storage>(storage: &S, beside: &Path, path: &Path) -> Stored<()> {
    storage.rename(beside, path).await?;
    storage.sync_directory(path).await
}

/// The first version that knows functions.
pub const FUNCTIONS_SINCE: u16 = 10;
const NANOS_PER_MICRO: u64 = 1000;
/// With rdb-save-incremental-fsync a file is synced each time that it has grown so much.
const SYNC_BYTES: u64 = 4 << 20;
/// What LZF gets through while a line of memory is fetched.
const COMPRESSED_PER_UNIT: usize = 16;
/// The same for a copy and its checksum.
const COPIED_PER_UNIT: usize = 64;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::persist::rdb::Checks;
    use crate::persist::rdb::file::{FileReader, Record};
    use crate::persist::rdb::{Encoder, opcode};
    use crate::persist::simulated::SimulatedDisk;

    const PATH: &str = "/data/dump.rdb";
    const BESIDE: &str = "/data/temp-1.rdb";

    /// Operations of a simulated disk never wait.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a simulated operation waited"),
        }
    }

    fn save() -> Save {
        Save::new(Wanted {
            epoch: 1,
            target: Target::Dump(PathBuf::from(PATH)),
            flags: Flags { compresses: true, checksums: true, syncs_often: true, is_urgent: false },
            usage: Usage::Untold,
            preamble: crate::persist::rdb::file::preamble(&[("redis-bits", b"64")], &[], &[]),
            keys: 2,
            changes: 0,
            partitions: 2,
            has_functions: false,
        })
    }

    fn piece(save: &Save, partition: usize) -> Piece {
        let mut encoder = Encoder::new(9, false);
        encoder.byte(opcode::SELECTDB);
        encoder.length(0);
        encoder.byte(opcode::STRING);
        encoder.string(format!("key of {partition}").as_bytes());
        encoder.string(&[b'v'; 2000]);
        Piece::new(save, partition, encoder.into_pieces(), false)
    }

    async fn saved(disk: &SimulatedDisk) -> Stored<u64> {
        let save = save();
        let mut writer = Writer::create(disk, &save, Path::new(BESIDE)).await?;
        for partition in [0, 1] {
            writer.write(disk, &save, piece(&save, partition)).await?;
        }
        save.needs(11);
        let len = writer.finish(disk, &save).await?;
        put_in_place(disk, Path::new(BESIDE), Path::new(PATH)).await?;
        Ok(len)
    }

    fn keys(file: &[u8]) -> usize {
        let mut reader = FileReader::new(Checks::ALL);
        reader.feed(file);
        reader.finish();
        let mut keys = 0;
        loop {
            match reader.next_record().expect("the file is right") {
                Some(Record::End(is_checked)) => {
                    assert!(is_checked);
                    assert_eq!(reader.version(), 11);
                    return keys;
                }
                Some(Record::Key(_)) => keys += 1,
                _ => {}
            }
        }
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_file_or_the_new_one() {
        let whole = SimulatedDisk::new(0);
        now(saved(&whole)).expect("nothing fails");
        let new = whole.contents(Path::new(PATH)).expect("it was saved");
        assert_eq!(keys(&new), 2);
        for seed in 0..30 {
            for step in 0..=whole.operations() {
                let disk = SimulatedDisk::new(seed);
                disk.put(Path::new(PATH), b"old");
                disk.crash_at(step);
                let outcome = now(saved(&disk));
                let found = disk.after_crash().contents(Path::new(PATH)).expect("one is there");
                assert!(found == b"old" || found == new, "seed {seed}, step {step}");
                assert!(outcome.is_err() || found == new, "seed {seed}: it was said to be safe");
            }
        }
    }

    #[test]
    fn a_failure_at_any_step_is_told() {
        let whole = SimulatedDisk::new(0);
        now(saved(&whole)).expect("nothing fails");
        let new = whole.contents(Path::new(PATH)).expect("it was saved");
        for step in 0..whole.operations() {
            let disk = SimulatedDisk::new(step);
            disk.put(Path::new(PATH), b"old");
            disk.fail_at(step);
            now(saved(&disk)).expect_err("it failed");
            let found = disk.contents(Path::new(PATH)).expect("one is there");
            assert!(found == b"old" || found == new, "step {step}");
        }
    }
}
