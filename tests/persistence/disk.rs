//! Disks that are full, directories that are gone, and what is on the disk otherwise.

use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

/// A small file system of its own, for as long as this lives.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// None where that is not allowed.
    pub(crate) fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(dir));
        }
        eprintln!("SKIPPED: only root may mount a small disk");
        None
    }

    /// Nothing can be written to it any more, or everything again.
    fn mount_again(&self, options: &str) {
        let mounted = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.path())
            .status();
        assert!(mounted.is_ok_and(|status| status.success()), "remount,{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A save in the background has failed: writes are refused, until one succeeds.
fn check_failed_save(server: &Server) {
    let mut client = server.client();
    assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
    wait_for_save(server);
    assert_eq!(server.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("err"));
    let refused = call(&mut client, "SET key other");
    assert!(refused.starts_with("-MISCONF Redis is configured to save RDB snapshots"), "{refused}");
    assert_eq!(call(&mut client, "GET key"), "$5\r\nvalue");
    call(&mut client, "CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(call(&mut client, "SET free yes"), "+OK");
    call(&mut client, "CONFIG SET stop-writes-on-bgsave-error yes");
}

fn check_recovered(server: &Server) {
    let mut client = server.client();
    assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
    wait_for_save(server);
    assert_eq!(server.info("persistence", "rdb_last_bgsave_status").as_deref(), Some("ok"));
    assert_eq!(call(&mut client, "SET key value"), "+OK");
}

#[test]
fn a_full_disk_stops_writes_until_there_is_room() {
    for cores in CORES {
        let Some(disk) = SmallDisk::mount() else { return };
        let dir = disk.0.path();
        let points = [("save", "3600 1000000"), ("rdbcompression", "no")];
        let server = start(&Program::Ours { cores }, dir, &points);
        let mut client = server.client();
        call(&mut client, "SET key value");
        for number in 0..40 {
            call(&mut client, &format!("SETRANGE large{number} 50000 x"));
        }
        check_failed_save(&server);
        assert!(fs::read_dir(dir).expect("it is there").all(|file| {
            !file.expect("an entry").file_name().to_string_lossy().starts_with("temp-")
        }));
        call(&mut client, "CONFIG SET rdbcompression yes");
        check_recovered(&server);
        call(&mut client, "CONFIG SET save ");
    }
}

#[test]
fn a_directory_that_is_gone_stops_writes_until_it_is_back() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        let options = [("save", "3600 1000000"), ("enable-protected-configs", "yes")];
        let server = start(&Program::Ours { cores }, &inner, &options);
        let mut client = server.client();
        call(&mut client, "SET key value");
        fs::remove_dir_all(&inner).expect("it goes");
        check_failed_save(&server);
        let dir = dir.path().to_str().expect("text");
        assert_eq!(call(&mut client, &format!("CONFIG SET dir {dir}")), "+OK");
        check_recovered(&server);
    }
}

#[test]
fn a_file_system_that_cannot_be_written_stops_writes_until_it_can() {
    for cores in CORES {
        let Some(disk) = SmallDisk::mount() else { return };
        let points = [("save", "3600 1000000")];
        let server = start(&Program::Ours { cores }, disk.path(), &points);
        let mut client = server.client();
        call(&mut client, "SET key value");
        disk.mount_again("ro");
        check_failed_save(&server);
        // A journal cannot begin, and nothing changes by that.
        let refused = call(&mut client, "CONFIG SET appendonly yes");
        assert!(refused.starts_with("-ERR"), "{refused}");
        assert_eq!(
            call(&mut client, "CONFIG GET appendonly"),
            "*2\r\n$10\r\nappendonly\r\n$2\r\nno"
        );
        assert_eq!(call(&mut client, "GET key"), "$5\r\nvalue");
        disk.mount_again("rw");
        check_recovered(&server);
        assert_eq!(call(&mut client, "CONFIG SET appendonly yes"), "+OK");
        assert_eq!(call(&mut client, "SET key value"), "+OK");
        call(&mut client, "CONFIG SET save ");
    }
}

#[test]
fn a_flush_leaves_an_empty_file_that_all_may_read() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::Ours { cores };
        let points = [("save", "3600 1000000")];
        let mut server = start(&program, dir.path(), &points);
        let mut client = server.client();
        fill(&mut client, false);
        assert_eq!(call(&mut client, "SAVE"), "+OK");
        let dump = dir.path().join("dump.rdb");
        let mine = dir.path().join("mine");
        fs::write(&mine, b"").expect("a file");
        let mode = |path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&dump), mode(&mine));
        let full = fs::metadata(&dump).expect("it is there").len();
        assert_eq!(call(&mut client, "FLUSHALL"), "+OK");
        wait_until("the file becomes empty", || {
            fs::metadata(&dump).expect("it is there").len() <= full / 10
        });
        wait_for_save(&server);
        end(&mut server, "SHUTDOWN NOSAVE");
        let server = start(&program, dir.path(), &points);
        assert_eq!(call(&mut server.client(), "DBSIZE"), ":0");
    }
}

#[test]
fn what_has_expired_is_not_loaded() {
    for cores in CORES {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program::Ours { cores };
        let mut server = start(&program, dir.path(), &[]);
        let mut client = server.client();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let soon = now() + 300;
        call(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
        call(&mut client, "SET stays 1");
        call(&mut client, "HSET hash short 1 long 2");
        for number in 0..20 {
            call(&mut client, &format!("SET goes{number} 1 PXAT {soon}"));
        }
        call(&mut client, &format!("HPEXPIREAT hash {soon} FIELDS 1 short"));
        assert_eq!(call(&mut client, "SAVE"), "+OK");
        end(&mut server, "SHUTDOWN NOSAVE");
        while now() <= soon {
            std::thread::sleep(POLL_PAUSE);
        }
        let mut server = start(&program, dir.path(), &[]);
        let mut client = server.client();
        assert_eq!(call(&mut client, "DBSIZE"), ":2");
        server.must_log("keys loaded: 2, keys expired: 20");
        assert_eq!(call(&mut client, "HMGET hash short long"), "*2\r\n$-1\r\n$1\r\n2");
        end(&mut server, "SHUTDOWN NOSAVE");
    }
}
