//! Journals on disks that fail: a sync that tells of an error, a directory that cannot be written.
//!
//! Invariant: what was acknowledged is there whatever fails, reads go on, and writes are taken again as
//! soon as the disk is well. Each test skips, loudly, where the system does not allow it.

use super::disk::SmallDisk;
use super::journal::journaling;
use super::rewrite::{field, wait_for_rewrite};
use super::*;

/// A file system whose blocks are in a file on a small disk: where that is full, writes go well and
/// their sync fails.
struct FailingDisk {
    mounted: tempfile::TempDir,
    below: SmallDisk,
}

impl FailingDisk {
    fn mount() -> Option<FailingDisk> {
        let below = SmallDisk::mount()?;
        let image = below.path().join("image");
        // Without a journal it stays as it is when a block cannot be written.
        let options = ["-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", "-N", "64"];
        fs::File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
        let made = Command::new("mkfs.ext4").args(options).arg(&image).status();
        let mounted = tempfile::tempdir().expect("a directory");
        let is_made = made.is_ok_and(|status| status.success());
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=continue"]).arg(&image).arg(mounted.path());
        if is_made && mount.status().is_ok_and(|status| status.success()) {
            return Some(FailingDisk { mounted, below });
        }
        eprintln!("SKIPPED: no loop device can be mounted here");
        None
    }

    /// What is under the file system.
    fn ballast(&self) -> PathBuf {
        self.below.path().join("ballast")
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.mounted.path()).status();
    }
}

#[test]
fn a_sync_that_fails_loses_nothing_and_the_journal_is_written_anew() {
    for (cores, policy) in CORES.iter().flat_map(|one| [(*one, "always"), (*one, "everysec")]) {
        let Some(disk) = FailingDisk::mount() else { return };
        let options = [("appendfsync", policy)];
        let server = journaling(&Program::Ours { cores }, disk.mounted.path(), &options);
        let mut client = server.client();
        assert_eq!(call(&mut client, "SET first value"), "+OK");
        let _ = fs::write(disk.ballast(), vec![0; 2 * DISK_BYTES]);
        let value = "x".repeat(10_000);
        let mut number = 0;
        wait_until("writes are refused", || {
            number += 1;
            let reply = client.call(&["SET", &number.to_string(), &value]).expect("a reply");
            reply.starts_with(b"-MISCONF Errors writing to the AOF file: ")
        });
        wait_until("the log says why", || server.log().contains("Fail to fsync the AOF file"));
        assert_eq!(call(&mut client, "GET first"), "$5\r\nvalue", "reads go on");
        fs::remove_file(disk.ballast()).expect("it goes");
        wait_until("writes are taken again", || {
            client.call(&["SET", "last", "value"]).is_ok_and(|reply| reply == b"+OK\r\n")
        });
        assert_eq!(field(&server, "aof_last_write_status"), "ok");
        let known = digest(&mut client);
        drop(server);
        let server = journaling(&Program::Ours { cores }, disk.mounted.path(), &options);
        assert_eq!(digest(&mut server.client()), known, "{cores} cores, {policy}");
    }
}

/// Takes or gives the right to change a directory, from root as well. False where nobody can.
fn set_immutable(dir: &Path, mark: &str) -> bool {
    Command::new("chattr").arg(mark).arg(dir).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_directory_that_cannot_be_written_stops_rewrites_and_nothing_else() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let server = journaling(&Program::Ours { cores }, dir.path(), &[("appendfsync", "always")]);
        let inside = dir.path().join("appendonlydir");
        if !set_immutable(&inside, "+i") {
            return eprintln!("SKIPPED: no directory can be made immutable here");
        }
        let mut client = server.client();
        let replies = ["SET key value", "BGREWRITEAOF"].map(|line| call(&mut client, line));
        wait_for_rewrite(&server);
        let status = field(&server, "aof_last_bgrewrite_status");
        let later = call(&mut client, "SET key later");
        assert!(set_immutable(&inside, "-i"), "it can be written again");
        assert_eq!(replies[0], "+OK");
        assert!(replies[1].starts_with("-ERR Can't execute an AOF background rewriting."));
        assert_eq!((status.as_str(), later.as_str()), ("err", "+OK"));
        assert!(call(&mut client, "BGREWRITEAOF").starts_with('+'));
        wait_for_rewrite(&server);
        assert_eq!(field(&server, "aof_last_bgrewrite_status"), "ok");
        drop(server);
        let server = journaling(&Program::Ours { cores }, dir.path(), &[]);
        assert_eq!(call(&mut server.client(), "GET key"), "$5\r\nlater");
    }
}

/// The size of the file system, of which its disk has room for a part.
const IMAGE_BYTES: u64 = 16 << 20;
/// The disk's.
const DISK_BYTES: usize = 1 << 20;
