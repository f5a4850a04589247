//! A base as commands instead of as a snapshot: the form that `aof-use-rdb-preamble no` asks for.
//!
//! Invariant: the commands make what the records say, but for what commands cannot say: when keys
//! were used and consumers were seen, and deliveries of entries that are not there any more. They
//! stand in groups, each behind its checksum. Source: the commands that Redis 8.0.6 writes.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;

use super::annotation::Heading;
use super::block::{Lines, Word};
use crate::base::number;
use crate::base::sys::reason;
use crate::encoding::listpack::{Element, INT_TEXT_MAX};
use crate::persist::rdb::Checks;
use crate::persist::rdb::decode::{self, Limits, Loaded};
use crate::persist::rdb::file::{Fault, FileError, FileReader, KeyRecord, Record};
use crate::persist::rdb::{Malformed, Reader};
use crate::types::hash::HashRef;
use crate::types::list::{End, ListRef, Walk};
use crate::types::set::SetRef;
use crate::types::stream::{Group, Stream, StreamId};
use crate::types::zset::ZSetRef;
use crate::types::{Place, Value, ValueRef};

/// How a base is written as commands.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// With which limits values are read.
    pub limits: Limits,
    /// What stands in front of all, in seconds: nothing behind the base happened earlier. None
    /// without a time line.
    pub time: Option<i64>,
}

/// Why a snapshot was not written as commands.
#[derive(Debug)]
pub enum NotWritten {
    /// A file could not be read or written.
    File(io::Error),
    /// The snapshot is not one.
    Snapshot(FileError),
    /// Nobody wants it any more.
    Unwanted,
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotWritten::File(error) => f.write_str(&reason(error)),
            NotWritten::Snapshot(error) => error.fmt(f),
            NotWritten::Unwanted => f.write_str("it is not wanted any more"),
        }
    }
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> NotWritten {
        NotWritten::File(error)
    }
}

/// Writes the RDB file that `snapshot` reads as commands; their bytes. Takes the memory of the largest
/// value, and as long as a load does: it is not for a core.
pub fn write_commands(
    mut snapshot: impl Read,
    mut commands: impl Write,
    form: Form,
    is_wanted: impl Fn() -> bool,
) -> Result<u64, NotWritten> {
    let mut reader = FileReader::new(Checks { sum: false, ..Checks::ALL });
    let mut base = Base::new(form);
    let (mut chunk, mut len) = (vec![0; READ_BYTES], 0);
    loop {
        if !is_wanted() {
            return Err(NotWritten::Unwanted);
        }
        let count = snapshot.read(&mut chunk)?;
        if count == 0 {
            reader.finish();
        }
        reader.feed(&chunk[..count]);
        let mut is_at_end = false;
        while let Some(record) = reader.next_record().map_err(NotWritten::Snapshot)? {
            is_at_end = matches!(record, Record::End(_));
            if is_at_end {
                break;
            }
            base.add(&record).map_err(NotWritten::Snapshot)?;
            if base.is_full() {
                len += write_group(&mut commands, &mut base)?;
            }
        }
        if is_at_end {
            break;
        }
    }
    len += write_group(&mut commands, &mut base)?;
    Ok(len)
}

fn write_group(file: &mut impl Write, base: &mut Base) -> io::Result<u64> {
    let Some(group) = base.take_group() else { return Ok(0) };
    file.write_all(&group)?;
    Ok(group.len() as u64)
}

/// The commands of one group, which grows by a key at a time.
struct Base {
    lines: Lines,
    /// The database of the keys that come.
    db: usize,
    /// The one that is selected where the group begins.
    selected: Option<usize>,
    limits: Limits,
    /// What the next group's time line says.
    time: Option<i64>,
}

impl Base {
    fn new(Form { limits, time }: Form) -> Base {
        Base { lines: Lines::default(), db: 0, selected: None, limits, time }
    }

    /// Adds what makes a record.
    fn add(&mut self, record: &Record<'_>) -> Result<(), FileError> {
        match record {
            Record::SelectDb(db) => self.db = *db as usize,
            Record::Function(code) => {
                self.line(&[b"FUNCTION", b"LOAD", code]);
            }
            Record::Key(key) => {
                let fault = |_| FileError { offset: key.offset, fault: Fault::Corrupt };
                self.key(key).map_err(fault)?;
            }
            Record::Aux(..)
            | Record::ResizeDb(..)
            | Record::SlotInfo(..)
            | Record::ModuleAux(_)
            | Record::End(_) => {}
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.lines.bytes().len() >= GROUP_BYTES
    }

    /// The group, with what stands before it. None if there is nothing in it.
    fn take_group(&mut self) -> Option<Vec<u8>> {
        if self.lines.is_empty() {
            return None;
        }
        let (opening, rest) = self.lines.opened(self.selected);
        let mut heading = Heading::new(self.time.take());
        heading.cover(&opening);
        heading.cover(rest);
        let group = [&heading.into_bytes()[..], &opening, rest].concat();
        self.selected = Some(self.lines.last_db());
        self.lines = Lines::default();
        Some(group)
    }

    fn key(&mut self, record: &KeyRecord<'_>) -> Result<(), Malformed> {
        let key = &*record.key;
        let mut reader = Reader::new(record.value);
        match decode::value(&mut reader, record.kind, &self.limits)? {
            Loaded::Str(bytes) => self.line(&[b"SET", key, &bytes]),
            Loaded::Big(string) => {
                let words = [
                    Word::Bytes(b"SET"),
                    Word::Bytes(key),
                    Word::Chunks(string.len(), string.chunks()),
                ];
                self.lines.add_words(self.db, words.into_iter());
            }
            Loaded::Collection(collection) => self.collection(key, collection.value()),
        }
        if let Some(expiry) = record.expiry {
            self.line(&[b"PEXPIREAT", key, digits(expiry.0).as_bytes()]);
        }
        Ok(())
    }

    fn line(&mut self, words: &[&[u8]]) {
        self.lines.add(self.db, words.iter().copied());
    }

    fn collection(&mut self, key: &[u8], value: ValueRef<'_>) {
        if let Ok(list) = ListRef::of(value) {
            let (mut batch, mut buffer) = (self.batch(b"RPUSH", key), Vec::new());
            list.visit(0, End::Tail, |item| {
                batch.add(&[item.to_slice(&mut buffer)]);
                Walk::On
            });
        } else if let Ok(set) = SetRef::of(value) {
            let mut batch = self.batch(b"SADD", key);
            set.for_each(|member| batch.add(&[text(member, &mut [0; INT_TEXT_MAX])]));
        } else if let Ok(set) = ZSetRef::of(value) {
            let mut batch = self.batch(b"ZADD", key);
            set.for_each(|pair| {
                let score = number::format_f64_shortest(pair.score);
                batch.add(&[score.as_bytes(), text(pair.member, &mut [0; INT_TEXT_MAX])]);
            });
        } else if let Ok(hash) = HashRef::of(value) {
            self.hash(key, hash);
        } else if let ValueRef::Boxed(Value::Stream(stream)) = value {
            self.stream(key, stream);
        }
    }

    fn hash(&mut self, key: &[u8], hash: HashRef<'_>) {
        let mut batch = self.batch(b"HMSET", key);
        for pair in hash.iter() {
            batch.add(&[
                text(pair.field, &mut [0; INT_TEXT_MAX]),
                text(pair.value, &mut [0; INT_TEXT_MAX]),
            ]);
        }
        drop(batch);
        for pair in hash.iter() {
            let Some(expiry) = pair.expiry else { continue };
            let (at, mut field) = (digits(expiry), [0; INT_TEXT_MAX]);
            let field = text(pair.field, &mut field);
            self.line(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field]);
        }
    }

    fn stream(&mut self, key: &[u8], stream: &Stream) {
        let mut entries = stream.entries().range(StreamId::MIN, StreamId::MAX, false);
        while let Some((id, _)) = entries.next() {
            let mut fields = Vec::new();
            while let Some((field, value)) = entries.field() {
                fields.extend([field.to_vec(), value.to_vec()]);
            }
            let id = id.text();
            let mut words: Vec<&[u8]> = vec![b"XADD", key, id.as_bytes()];
            words.extend(fields.iter().map(Vec::as_slice));
            self.line(&words);
        }
        let facts = stream.facts();
        if facts.length == 0 {
            // No other command makes a stream without entries.
            self.line(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
        }
        let (last, deleted) = (facts.last_id.text(), facts.max_deleted_id.text());
        let added = digits(facts.entries_added as i64);
        self.line(&[
            b"XSETID",
            key,
            last.as_bytes(),
            b"ENTRIESADDED",
            added.as_bytes(),
            b"MAXDELETEDID",
            deleted.as_bytes(),
        ]);
        for (name, group) in stream.groups.iter() {
            self.group(key, name, group);
        }
    }

    fn group(&mut self, key: &[u8], name: &[u8], group: &Group) {
        let read = digits(group.entries_read.map_or(UNKNOWN, |read| read as i64));
        let (last, read) = (group.last_id.text(), read.as_bytes());
        self.line(&[b"XGROUP", b"CREATE", key, name, last.as_bytes(), b"ENTRIESREAD", read]);
        for consumer in group.consumers() {
            self.line(&[b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name]);
            for id in consumer.pending_from(StreamId::MIN) {
                let Some(nack) = group.pending().get(id) else { continue };
                let (id, time, count) =
                    (id.text(), digits(nack.delivered.0), digits(nack.count as i64));
                self.line(&[
                    b"XCLAIM",
                    key,
                    name,
                    &consumer.name,
                    b"0",
                    id.as_bytes(),
                    b"TIME",
                    time.as_bytes(),
                    b"RETRYCOUNT",
                    count.as_bytes(),
                    b"JUSTID",
                    b"FORCE",
                ]);
            }
        }
    }

    fn batch<'b>(&'b mut self, name: &'static [u8], key: &'b [u8]) -> Batch<'b> {
        Batch { base: self, name, key, words: Vec::new(), items: 0, bytes: 0 }
    }
}

/// The elements of one command, as many as one takes. What is left is written when it is dropped.
struct Batch<'b> {
    base: &'b mut Base,
    name: &'static [u8],
    key: &'b [u8],
    words: Vec<Vec<u8>>,
    items: usize,
    bytes: usize,
}

impl Batch<'_> {
    fn add(&mut self, words: &[&[u8]]) {
        self.words.extend(words.iter().map(|word| word.to_vec()));
        self.bytes += words.iter().map(|word| word.len()).sum::<usize>();
        self.items += 1;
        if self.items == ITEMS_PER_COMMAND || self.bytes >= BYTES_PER_COMMAND {
            self.write();
        }
    }

    fn write(&mut self) {
        let mut words = vec![self.name, self.key];
        words.extend(self.words.iter().map(Vec::as_slice));
        self.base.line(&words);
        self.words.clear();
        (self.items, self.bytes) = (0, 0);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if mem::take(&mut self.items) > 0 {
            self.write();
        }
    }
}

fn text<'b>(element: Element<'b>, buffer: &'b mut [u8; INT_TEXT_MAX]) -> &'b [u8] {
    element.to_bytes(buffer)
}

fn digits(value: i64) -> String {
    value.to_string()
}

/// A command has no more elements. Source: Redis.
const ITEMS_PER_COMMAND: usize = 64;
/// Nor many more bytes of them.
const BYTES_PER_COMMAND: usize = 1 << 20;
/// A group ends behind the key with which it reaches so many bytes.
const GROUP_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;
/// A counter that is not known.
const UNKNOWN: i64 = -1;
