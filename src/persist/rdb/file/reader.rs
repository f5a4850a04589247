//! The reader of a file: bytes in, records out.
//! Invariant: as in `file`. A record that is not complete is tried again only when its bytes have
//! doubled, so that a large value costs no more than twice its length.

use std::borrow::Cow;

use super::super::{Malformed, Reader, opcode};
use super::skim::{Skim, Stop};
use super::{CHECKSUM_SINCE, Fault, FileError, MAGIC_LEN};
use crate::base::crc::crc64;
use crate::base::time::Millis;
use crate::persist::rdb::{Checks, VERSION_OF_VALKEY_MIN};

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A fact: name and value.
    Aux(Cow<'a, [u8]>, Cow<'a, [u8]>),
    /// The database of the keys that follow.
    SelectDb(u64),
    /// How many keys that has, and how many of them expire.
    ResizeDb(u64, u64),
    /// Keys in a hash slot, and those that expire.
    SlotInfo(u64, u64, u64),
    /// The text of a library of functions.
    Function(Cow<'a, [u8]>),
    /// What a module kept; it was passed over.
    ModuleAux(u64),
    /// A key.
    Key(KeyRecord<'a>),
    /// The end. False if no checksum was compared.
    End(bool),
}

/// A key and its value, which has been passed over.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyRecord<'a> {
    /// Where its record begins in the file.
    pub offset: u64,
    /// When it expires.
    pub expiry: Option<Millis>,
    /// Seconds since it was used.
    pub idle: Option<u64>,
    /// How often it was used, as the counter of LFU has it.
    pub frequency: Option<u8>,
    /// The type of the value.
    pub kind: u8,
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// The value, as `decode::value` takes it.
    pub value: &'a [u8],
}

/// What was said of the next key.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    expiry: Option<Millis>,
    idle: Option<u64>,
    frequency: Option<u8>,
    /// Where the first of it stands.
    offset: Option<u64>,
}

/// Reads a file that comes in pieces.
#[derive(Debug)]
pub struct FileReader {
    bytes: Vec<u8>,
    /// Bytes of these that were given out.
    used: usize,
    /// Where in the file `bytes` begins.
    offset: u64,
    crc: u64,
    checks: Checks,
    version: u32,
    /// No record is complete before so many bytes are there.
    enough: usize,
    is_whole: bool,
}

impl FileReader {
    /// Nothing yet.
    pub fn new(checks: Checks) -> Self {
        Self {
            bytes: Vec::new(),
            used: 0,
            offset: 0,
            crc: 0,
            checks,
            version: 0,
            enough: 0,
            is_whole: false,
        }
    }

    /// The next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.offset += self.used as u64;
        self.bytes.drain(..self.used);
        self.enough = self.enough.saturating_sub(self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// There are no more bytes.
    pub fn finish(&mut self) {
        self.is_whole = true;
        self.enough = 0;
    }

    /// The version of the file, once its first bytes were read.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Where in the file the next record begins.
    pub fn position(&self) -> u64 {
        self.offset + self.used as u64
    }

    /// The next record. None if more bytes are needed.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, FileError> {
        if self.version == 0 {
            match self.head() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(fault) => return Err(FileError { offset: 0, fault }),
            }
        }
        let offset = self.position();
        let error = |fault| FileError { offset, fault };
        if self.bytes.len() < self.enough {
            return Ok(None);
        }
        let (mut at, mut said) = (self.used, Said::default());
        loop {
            match step(&self.bytes[at..], &mut said, self.version, self.offset + at as u64) {
                Ok((len, true)) => at += len,
                Ok((len, false)) => {
                    let start = at;
                    at += len;
                    let crc = crc_of(self.checks.sum, self.crc, &self.bytes[self.used..at]);
                    if self.bytes[start] == opcode::EOF {
                        let (sum, found) = (
                            &self.bytes[start + 1..at],
                            crc_of(self.checks.sum, self.crc, &self.bytes[self.used..=start]),
                        );
                        self.used = at;
                        return end(sum, found, self.checks.sum).map(Some).map_err(error);
                    }
                    self.crc = crc;
                    self.used = at;
                    let first = said.offset.unwrap_or(self.offset + start as u64);
                    let said = Said { offset: Some(first), ..said };
                    let record = record(&self.bytes[start..at], said, self.version);
                    return record.map(Some).map_err(|Malformed| error(Fault::Corrupt));
                }
                Err(Stop::Short) if self.is_whole => return Err(error(Fault::Truncated)),
                Err(Stop::Short) => {
                    self.enough = (self.bytes.len() - self.used) * 2 + self.used;
                    return Ok(None);
                }
                Err(Stop::Corrupt) if self.bytes.get(at) == Some(&opcode::FUNCTION_EARLY) => {
                    return Err(error(Fault::EarlyFunction));
                }
                Err(Stop::Corrupt) => return Err(error(Fault::Corrupt)),
                Err(Stop::Module) => return Err(error(Fault::Module)),
            }
        }
    }

    /// Reads the first bytes; false if they are not all there.
    fn head(&mut self) -> Result<bool, Fault> {
        let Some(head) = self.bytes.get(..MAGIC_LEN) else {
            return if self.is_whole { Err(Fault::Truncated) } else { Ok(false) };
        };
        let digits = |digits: &[u8]| {
            digits.iter().try_fold(0, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0'))
            })
        };
        let (version, is_valkey) = match (head.strip_prefix(b"REDIS"), head.strip_prefix(b"VALKEY"))
        {
            (Some(number), _) => (digits(number), false),
            (_, Some(number)) => (digits(number), true),
            _ => return Err(Fault::Signature),
        };
        let version = version.ok_or(Fault::Signature)?;
        // Either has versions of its own. Some files of Valkey were written with the other name.
        let is_theirs = if is_valkey {
            version >= VERSION_OF_VALKEY_MIN
        } else {
            (1..=VERSION_OF_VALKEY_MIN).contains(&version)
        };
        if !is_theirs || !self.checks.accept(version) {
            return Err(Fault::Version(version));
        }
        self.crc = crc_of(self.checks.sum, 0, head);
        self.version = version;
        self.used = MAGIC_LEN;
        Ok(true)
    }
}

fn crc_of(checks: bool, crc: u64, bytes: &[u8]) -> u64 {
    if checks { crc64(crc, bytes) } else { 0 }
}

/// Passes over what stands first: its length, and whether it says something of the next key.
fn step(bytes: &[u8], said: &mut Said, version: u32, offset: u64) -> Result<(usize, bool), Stop> {
    let mut skim = Skim::new(bytes);
    let kind = skim.byte()?;
    let mut is_said = true;
    match kind {
        opcode::EXPIRETIME_MS => {
            let millis = skim.skip(8)?.try_into().map_err(|_| Stop::Corrupt)?;
            said.expiry = Some(Millis(i64::from_le_bytes(millis)));
        }
        opcode::EXPIRETIME => {
            let seconds = skim.skip(4)?.try_into().map_err(|_| Stop::Corrupt)?;
            said.expiry = Some(Millis(i64::from(i32::from_le_bytes(seconds)) * 1000));
        }
        opcode::IDLE => said.idle = Some(skim.length()?),
        opcode::FREQ => said.frequency = Some(skim.byte()?),
        _ => is_said = false,
    }
    if is_said {
        said.offset.get_or_insert(offset);
        return Ok((skim.at(), true));
    }
    match kind {
        opcode::AUX => {
            skim.string()?;
            skim.string()?;
        }
        opcode::SELECTDB => drop(skim.length()?),
        opcode::RESIZEDB => {
            skim.length()?;
            skim.length()?;
        }
        opcode::SLOT_INFO => (0..3).try_for_each(|_| skim.length().map(drop))?,
        opcode::FUNCTION2 => skim.string()?,
        opcode::MODULE_AUX => skim.module_aux()?,
        opcode::EOF if version < CHECKSUM_SINCE => {}
        opcode::EOF => drop(skim.skip(8)?),
        _ => {
            skim.string()?;
            skim.value(opcode::kind_of(kind, version))?;
        }
    }
    Ok((skim.at(), false))
}

/// What a record says whose end was found.
fn record(bytes: &[u8], said: Said, version: u32) -> Result<Record<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    Ok(match reader.byte()? {
        opcode::AUX => Record::Aux(reader.string()?, reader.string()?),
        opcode::SELECTDB => Record::SelectDb(reader.length()?),
        opcode::RESIZEDB => Record::ResizeDb(reader.length()?, reader.length()?),
        opcode::SLOT_INFO => Record::SlotInfo(reader.length()?, reader.length()?, reader.length()?),
        opcode::FUNCTION2 => Record::Function(reader.string()?),
        opcode::MODULE_AUX => Record::ModuleAux(reader.length()?),
        kind => {
            let key = reader.string()?;
            let Said { expiry, idle, frequency, offset } = said;
            // A time of -1 is none.
            let expiry = expiry.filter(|expiry| expiry.0 != -1);
            Record::Key(KeyRecord {
                offset: offset.unwrap_or_default(),
                expiry,
                idle,
                frequency,
                kind: opcode::kind_of(kind, version),
                key,
                value: reader.rest(),
            })
        }
    })
}

fn end(sum: &[u8], found: u64, checks: bool) -> Result<Record<'static>, Fault> {
    let said = sum.try_into().map_or(0, u64::from_le_bytes);
    if !checks || said == 0 {
        return Ok(Record::End(false));
    }
    if said == found { Ok(Record::End(true)) } else { Err(Fault::Checksum(said, found)) }
}
