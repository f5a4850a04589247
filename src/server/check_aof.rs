//! `--check-aof`: says what the files of an AOF are worth, and cuts what a crash has torn.
//!
//! Invariant: nothing is cut unasked, and only at the end of the last file. What it does and prints
//! is what redis-check-aof does and prints; beside that it compares the checksums of groups.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use crate::config::args::AofCheck;
use crate::persist::aof::manifest::Manifest;
use crate::persist::aof::scan::{State, Verdict, Verifier};
use crate::persist::rdb::Checks;
use crate::persist::rdb::file::{FileReader, Record};

/// Checks what is asked for. The exit code is 0 if all is well, or was made so.
pub(super) fn run(check: &AofCheck) -> ExitCode {
    let path = super::host::path(&check.path);
    let outcome = match is_manifest(&path) {
        Err(reason) => Err(reason),
        Ok(true) => check_directory(check, &path),
        Ok(false) => {
            println!("Start checking Old-Style AOF");
            let name = path.display().to_string();
            check_file(check, "AOF", &name, &path, true)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// A manifest begins with a line about a file, behind comments.
fn is_manifest(path: &Path) -> Result<bool, String> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| cannot_open(path, &error))?;
    let read = file.take(READ_BYTES as u64).read_to_end(&mut head);
    read.map_err(|error| cannot_read(path, &error))?;
    let mut lines = head.split(|byte| *byte == b'\n');
    Ok(lines.find(|line| !line.starts_with(b"#")).is_some_and(|line| line.starts_with(b"file")))
}

fn check_directory(check: &AofCheck, path: &Path) -> Result<(), String> {
    println!("Start checking Multi Part AOF");
    let text = std::fs::read(path).map_err(|error| cannot_read(path, &error))?;
    let manifest = Manifest::parse(&text).map_err(|error| error.log_lines().concat())?;
    let count = manifest.files().count();
    for (at, info) in manifest.files().enumerate() {
        let is_base = at == 0 && manifest.base.is_some();
        let kind = if is_base { "BASE AOF" } else { "INCR AOF" };
        println!("Start to check {kind}.");
        let name = String::from_utf8_lossy(&info.name);
        let file = path.with_file_name(std::ffi::OsStr::from_bytes(&info.name));
        check_file(check, kind, &name, &file, at + 1 == count)?;
    }
    println!("All AOF files and manifest are valid");
    Ok(())
}

fn check_file(
    check: &AofCheck,
    kind: &str,
    name: &str,
    path: &Path,
    is_last: bool,
) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| cannot_open(path, &error))?;
    let begin = match check_snapshot(&mut file) {
        Ok(begin) => begin,
        Err(reason) => {
            return Err(format!("{reason}\nRDB preamble of AOF file is not sane, aborting."));
        }
    };
    if begin > 0 {
        println!("RDB preamble is OK, proceeding with AOF tail...");
    }
    let verdict =
        verify(&mut file, begin, check.latest).map_err(|error| cannot_read(path, &error))?;
    if verdict.len == 0 {
        println!("{kind} {name} is empty");
        return Ok(());
    }
    if let (Some(latest), Some(offset)) = (check.latest, verdict.too_late) {
        return cut_to_time(path, name, (latest, offset), is_last);
    }
    if let State::Damaged(fault) = verdict.state {
        println!("{fault}");
    }
    let Verdict { safe, len, .. } = verdict;
    let diff = if verdict.state == State::Whole { 0 } else { len - safe };
    if let Some(latest) = check.latest.filter(|_| diff == 0) {
        println!("Truncate nothing in AOF {name} to timestamp {latest}");
        return Ok(());
    }
    println!("AOF analyzed: filename={name}, size={len}, ok_up_to={safe}, diff={diff}");
    if diff == 0 {
        println!("{kind} {name} is valid");
        return Ok(());
    }
    if !check.fixes {
        return Err(format!("AOF {name} is not valid. Use the --fix option to try fixing it."));
    }
    // Zeros behind a whole file lose nothing: the next file may have begun before they were cut off.
    if !is_last && verdict.state != State::Blank {
        return Err(format!("Failed to truncate AOF {name} because it is not the last file"));
    }
    println!(
        "This will shrink the AOF {name} from {len} bytes, with {diff} bytes, to {safe} bytes\nContinue? [y/N]: "
    );
    if !is_confirmed() {
        return Err("Aborting...".into());
    }
    cut(path, safe).map_err(|error| format!("Failed to truncate AOF {name}: {error}"))?;
    println!("Successfully truncated AOF {name}");
    Ok(())
}

/// Cuts a file in front of what happened too late.
fn cut_to_time(
    path: &Path,
    name: &str,
    (latest, offset): (i64, u64),
    is_last: bool,
) -> Result<(), String> {
    if offset == 0 {
        return Err(format!("AOF {name} has nothing before timestamp {latest}, aborting..."));
    }
    if !is_last {
        return Err(format!(
            "Failed to truncate AOF {name} to timestamp {latest} to offset {offset} because it is not the last file.\nIf you insist, please delete all files after this file according to the manifest file and delete the corresponding records in manifest file manually. Then run this again."
        ));
    }
    cut(path, offset)
        .map_err(|error| format!("Failed to truncate AOF {name} to timestamp {latest}: {error}"))?;
    println!("Successfully truncated AOF {name} to timestamp {latest}");
    Ok(())
}

fn cut(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

fn is_confirmed() -> bool {
    let mut line = String::new();
    io::stdin().read_line(&mut line).is_ok() && line.starts_with(['y', 'Y'])
}

/// Reads the snapshot that a file begins with, if it does; where that ends.
fn check_snapshot(file: &mut File) -> Result<u64, String> {
    let unreadable = |error: io::Error| error.to_string();
    let mut buffer = vec![0; READ_BYTES];
    let mut count = file.read(&mut buffer).map_err(unreadable)?;
    if !buffer.starts_with(b"REDIS") && !buffer.starts_with(b"VALKEY") {
        return Ok(0);
    }
    let mut reader = FileReader::new(Checks::ALL);
    loop {
        if count == 0 {
            reader.finish();
        } else {
            reader.feed(&buffer[..count]);
        }
        while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
            if let Record::End(_) = record {
                return Ok(reader.position());
            }
        }
        count = file.read(&mut buffer).map_err(unreadable)?;
    }
}

fn verify(file: &mut File, begin: u64, latest: Option<i64>) -> io::Result<Verdict> {
    let mut verifier = match latest {
        None => Verifier::new(begin),
        Some(latest) => Verifier::until(begin, latest),
    };
    file.seek(SeekFrom::Start(begin))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(verifier.finish()),
            count => verifier.feed(&buffer[..count]),
        }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!("Cannot open file {}: {}, aborting...", path.display(), crate::base::sys::reason(error))
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("Cannot read file {}: {}", path.display(), crate::base::sys::reason(error))
}

/// The bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;
