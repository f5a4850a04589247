//! The manifest of an AOF: which files make the data, in which order.
//!
//! Invariant: at most one base; sequence numbers of incr files grow; a name is no path. What a
//! parsed manifest writes, parses to the same. Source: Redis 8.0.6.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.3.incr.aof seq 3 type h                  history: to be removed
//! file appendonly.aof.4.incr.aof seq 4 type i startoffset 0 endoffset 128
//! ```

use std::borrow::Cow;
use std::fmt;

use crate::base::number::write_i64;
use crate::base::words::{c_integer, push_word, split_args, trim_line};

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name within the directory.
    pub name: Vec<u8>,
    /// Its sequence number, one sequence for bases and one for incr files.
    pub seq: i64,
    /// The replication offset of its first byte.
    pub start_offset: Option<i64>,
    /// The replication offset behind its last byte, after a clean stop.
    pub end_offset: Option<i64>,
}

/// All files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The data to begin with.
    pub base: Option<FileInfo>,
    /// Files that are not needed any more and have to be removed.
    pub history: Vec<FileInfo>,
    /// What changed afterwards, in order.
    pub incr: Vec<FileInfo>,
    base_seq: i64,
    incr_seq: i64,
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        if text.is_empty() {
            return Err(ManifestError { line: None, fault: Fault::Empty });
        }
        for (at, raw) in lines(text).enumerate() {
            if raw.starts_with(b"#") {
                continue;
            }
            if !raw.ends_with(b"\n") || raw.contains(&0) {
                return Err(ManifestError { line: None, fault: Fault::LineTooLong });
            }
            let line = trim_line(raw);
            manifest.take_line(line).map_err(|fault| {
                let shown = (at + 1, line.escape_ascii().to_string());
                ManifestError { line: Some(shown), fault }
            })?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let words = split_args(line).ok_or(Fault::Format)?;
        if words.len() < FIELDS_MIN || !words.len().is_multiple_of(2) {
            return Err(Fault::Format);
        }
        let (info, kind) = parse_file(&words)?;
        match kind {
            b'b' if self.base.is_some() => return Err(Fault::TwoBases),
            b'b' => {
                self.base_seq = info.seq;
                self.base = Some(info);
            }
            b'h' => self.history.push(info),
            b'i' if self.incr.last().map_or(0, |last| last.seq) >= info.seq => {
                return Err(Fault::Order);
            }
            b'i' => {
                self.incr_seq = info.seq;
                self.incr.push(info);
            }
            _ => return Err(Fault::Type),
        }
        Ok(())
    }

    /// What stands in the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let base = self.base.iter().map(|info| (info, b'b'));
        let history = self.history.iter().map(|info| (info, b'h'));
        let incr = self.incr.iter().map(|info| (info, b'i'));
        for (info, kind) in base.chain(history).chain(incr) {
            push_file(&mut text, info, kind);
        }
        text
    }

    /// True if it names nothing to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incr.is_empty()
    }

    /// The files that make the data, in order.
    pub fn files(&self) -> impl Iterator<Item = &FileInfo> {
        self.base.iter().chain(&self.incr)
    }

    /// A single file of old is the base from here on.
    pub fn adopt(&mut self, name: &[u8]) {
        self.base = Some(FileInfo { name: name.to_vec(), seq: 1, ..FileInfo::default() });
        self.base_seq = 1;
    }

    /// Enters a new base; the one before becomes history.
    pub fn next_base(&mut self, filename: &[u8], is_rdb: bool) -> &FileInfo {
        self.history.splice(..0, self.base.take());
        self.base_seq += 1;
        let name = base_name(filename, self.base_seq, is_rdb);
        self.base.insert(FileInfo { name, seq: self.base_seq, ..FileInfo::default() })
    }

    /// Enters a new incr file behind all others.
    pub fn next_incr(&mut self, filename: &[u8], start_offset: Option<i64>) -> &FileInfo {
        self.incr_seq += 1;
        let name = numbered(filename, self.incr_seq, "incr.aof");
        let info = FileInfo { name, seq: self.incr_seq, start_offset, end_offset: None };
        self.incr.push(info);
        self.incr.last().expect("it was just entered")
    }

    /// A step has failed that was to name a new base, and an incr file if `has_incr` says so: they are
    /// history, and their numbers are not given again, since the step may yet be found on the disk.
    pub fn spoil(&mut self, filename: &[u8], is_rdb: bool, has_incr: bool) {
        self.base_seq += 1;
        let name = base_name(filename, self.base_seq, is_rdb);
        self.history.push(FileInfo { name, seq: self.base_seq, ..FileInfo::default() });
        if has_incr {
            self.incr_seq += 1;
            let name = numbered(filename, self.incr_seq, "incr.aof");
            self.history.push(FileInfo { name, seq: self.incr_seq, ..FileInfo::default() });
        }
    }

    /// The incr files become history, but for the last `kept`: a base holds what they did.
    pub fn retire_incr(&mut self, kept: usize) {
        let retired = self.incr.len().saturating_sub(kept);
        self.history.splice(..0, self.incr.drain(..retired).rev());
    }
}

/// Reads the fields of a line: the file, and the letter of its type.
fn parse_file(words: &[Cow<'_, [u8]>]) -> Result<(FileInfo, u8), Fault> {
    let (mut info, mut kind) = (FileInfo::default(), None);
    for pair in words.chunks_exact(2) {
        let (field, value) = (&pair[0], &*pair[1]);
        let number = || c_integer(value).unwrap_or(0);
        let offset = || Some(number()).filter(|offset| *offset != -1);
        match field.to_ascii_lowercase().as_slice() {
            b"file" if memchr::memchr2(b'/', b'\\', value).is_some() => return Err(Fault::Path),
            b"file" => info.name = value.to_vec(),
            b"seq" => info.seq = number(),
            b"type" => kind = value.first().copied(),
            b"startoffset" => info.start_offset = offset(),
            b"endoffset" => info.end_offset = offset(),
            // Later servers may say more.
            _ => {}
        }
    }
    let kind = kind.filter(|_| !info.name.is_empty() && info.seq != 0).ok_or(Fault::Format)?;
    Ok((info, kind))
}

fn push_file(text: &mut Vec<u8>, info: &FileInfo, kind: u8) {
    text.extend(b"file ");
    push_word(text, &info.name);
    text.extend(b" seq ");
    write_i64(text, info.seq);
    text.extend([b" type ".as_slice(), &[kind]].concat());
    if let Some(offset) = info.start_offset {
        text.extend(b" startoffset ");
        write_i64(text, offset);
        if let Some(offset) = info.end_offset {
            text.extend(b" endoffset ");
            write_i64(text, offset);
        }
    }
    text.push(b'\n');
}

/// The name of a manifest.
pub fn manifest_name(filename: &[u8]) -> Vec<u8> {
    [filename, b".manifest"].concat()
}

/// The name under which a manifest is written before it takes its place.
pub fn temporary_name(filename: &[u8]) -> Vec<u8> {
    [b"temp-", filename, b".manifest"].concat()
}

/// The name of an incr file until its base is whole.
pub fn temporary_incr_name(filename: &[u8]) -> Vec<u8> {
    [b"temp-", filename, b".incr"].concat()
}

fn base_name(filename: &[u8], seq: i64, is_rdb: bool) -> Vec<u8> {
    numbered(filename, seq, if is_rdb { "base.rdb" } else { "base.aof" })
}

fn numbered(filename: &[u8], seq: i64, suffix: &str) -> Vec<u8> {
    [filename, format!(".{seq}.{suffix}").as_bytes()].concat()
}

/// The lines with their ends. One that is too long counts as several, which shows as it is read.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(LINE_BYTES_MAX))
}

/// Why a manifest is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, its number counted from 1, where one can be shown.
    line: Option<(usize, String)>,
    fault: Fault,
}

impl ManifestError {
    /// What is logged of it, line by line.
    pub fn log_lines(&self) -> Vec<String> {
        let mut lines = vec!["\n*** FATAL AOF MANIFEST FILE ERROR ***\n".to_owned()];
        if let Some((number, line)) = &self.line {
            lines.push(format!("Reading the manifest file, at line {number}\n"));
            lines.push(format!(">>> '{line}'\n"));
        }
        lines.push(format!("{self}\n"));
        lines
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.fault {
            Fault::Empty => "Found an empty AOF manifest",
            Fault::LineTooLong => "The AOF manifest file contains too long line",
            Fault::Format => "Invalid AOF manifest file format",
            Fault::Path => "File can't be a path, just a filename",
            Fault::TwoBases => "Found duplicate base file information",
            Fault::Order => "Found a non-monotonic sequence number",
            Fault::Type => "Unknown AOF file type",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    LineTooLong,
    Format,
    Path,
    TwoBases,
    Order,
    Type,
}

/// The longest line that is read, its end included.
const LINE_BYTES_MAX: usize = 1024;
/// Words of a line, at least: a file, its number and its type.
const FIELDS_MIN: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    fn text(manifest: &Manifest) -> String {
        String::from_utf8(manifest.to_bytes()).expect("plain names")
    }

    #[test]
    fn the_life_of_a_directory() {
        let mut manifest = Manifest::default();
        manifest.next_base(b"a.aof", true);
        manifest.next_incr(b"a.aof", Some(0));
        let first = "file a.aof.1.base.rdb seq 1 type b\n\
                     file a.aof.1.incr.aof seq 1 type i startoffset 0\n";
        assert_eq!(text(&manifest), first);
        manifest.next_incr(b"a.aof", Some(7));
        manifest.next_base(b"a.aof", false);
        manifest.retire_incr(1);
        let rewritten = "file a.aof.2.base.aof seq 2 type b\n\
                         file a.aof.1.incr.aof seq 1 type h startoffset 0\n\
                         file a.aof.1.base.rdb seq 1 type h\n\
                         file a.aof.2.incr.aof seq 2 type i startoffset 7\n";
        assert_eq!(text(&manifest), rewritten);
        assert_eq!(Manifest::parse(rewritten.as_bytes()), Ok(manifest.clone()));
        manifest.history.clear();
        manifest.retire_incr(1);
        assert_eq!(manifest.files().count(), 2);
        assert!(manifest.history.is_empty());
    }

    #[test]
    fn an_old_file_is_adopted() {
        let mut manifest = Manifest::default();
        manifest.adopt(b"a b.aof");
        assert_eq!(text(&manifest), "file \"a b.aof\" seq 1 type b\n");
        assert_eq!(manifest.next_base(b"x", true).name, b"x.2.base.rdb");
    }

    #[test]
    fn what_may_vary() {
        let varied = "# a comment\r\n  TYPE incremental SEQ 3 file 'a b' endoffset 9 future yes \n";
        let manifest = Manifest::parse(varied.as_bytes()).expect("it is a manifest");
        let expected =
            FileInfo { name: b"a b".to_vec(), seq: 3, start_offset: None, end_offset: Some(9) };
        assert_eq!(manifest.incr, [expected]);
        assert!(Manifest::parse(b"# nothing\n").is_ok_and(|manifest| manifest.is_empty()));
    }

    #[test]
    fn faults_are_told_as_stock_tells_them() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1100));
        let cases: &[(&str, &str)] = &[
            ("", "Found an empty AOF manifest"),
            ("file a seq 1 type b", "The AOF manifest file contains too long line"),
            (&long, "The AOF manifest file contains too long line"),
            ("\n", "Invalid AOF manifest file format"),
            ("file a seq 1\n", "Invalid AOF manifest file format"),
            ("file a seq 1 type b x\n", "Invalid AOF manifest file format"),
            ("file a seq 0 type b\n", "Invalid AOF manifest file format"),
            ("file a seq x type b\n", "Invalid AOF manifest file format"),
            ("file \"a seq 1 type b\n", "Invalid AOF manifest file format"),
            ("file ../a seq 1 type b\n", "File can't be a path, just a filename"),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number"),
        ];
        for (text, expected) in cases {
            let error = Manifest::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), *expected, "{text}");
        }
        let error = Manifest::parse(b"# one\nfile a seq 1 type x\n").expect_err("no such type");
        assert_eq!(error.log_lines()[1], "Reading the manifest file, at line 2\n");
        assert_eq!(error.log_lines()[2], ">>> 'file a seq 1 type x'\n");
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_is_read(
            name in proptest::collection::vec(
                proptest::num::u8::ANY.prop_filter("paths", |byte| !b"/\\".contains(byte)), 1..40),
            steps in proptest::collection::vec(0..4u8, 0..20),
        ) {
            let mut manifest = Manifest::default();
            for step in steps {
                match step {
                    0 => { manifest.next_base(&name, true); }
                    1 => { manifest.next_incr(&name, Some(1)); }
                    2 => { manifest.next_incr(&name, None); }
                    _ => manifest.retire_incr(1),
                }
            }
            let written = manifest.to_bytes();
            if !written.is_empty() {
                let read = Manifest::parse(&written).expect("our own");
                proptest::prop_assert_eq!(read.to_bytes(), written);
            }
        }

        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = Manifest::parse(&text);
        }
    }
}
