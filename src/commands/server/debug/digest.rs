//! DEBUG DIGEST and DIGEST-VALUE: a fingerprint of data that does not depend on where it is stored.
//!
//! Invariant: the same data gives the digest that a stock server gives. Definition, with `+` for
//! exclusive or: `add(d, x) = d + sha1(x)`, `mix(d, x) = sha1(add(d, x))`. Numbers are 32 bits,
//! big-endian. Source: replies of Redis 8.0.6.
//!
//! ```text
//! value  = mix(type), then what is in it; add("!!expire!!") if it expires
//!   string: mix(bytes)                       list: mix(element) for each, in order
//!   set: add(member) for each                hash: add(pair) for each field
//!   sorted set: add(mix(member), mix(score)) for each member
//!   stream: mix("ms.seq"), mix(field), mix(value), ... for each entry
//! pair   = mix(field), mix(value); add("!!hexpire!!") if the field expires
//! key    = mix(name), then value
//! server = for each database with keys: mix(number of the database), then add(key) for each key
//! ```

use sha1::{Digest as _, Sha1};

use super::SCAN_COUNT;
use crate::base::number;
use crate::command::context::StringRef;
use crate::command::{Args, Context, Outcome};
use crate::commands::container::wrong_form;
use crate::encoding::listpack::INT_TEXT_MAX;
use crate::resp::reply::Reply;
use crate::store::entry::EntryRef;
use crate::types::hash::{HashRef, Pair};
use crate::types::list::{End, ListRef, Walk};
use crate::types::set::SetRef;
use crate::types::stream::{Stream, StreamId};
use crate::types::zset::ZSetRef;

/// The number of the type string.
const TYPE_STRING: u32 = 0;
/// The number of the type list.
const TYPE_LIST: u32 = 1;
/// The number of the type set.
const TYPE_SET: u32 = 2;
/// The number of the type hash.
const TYPE_HASH: u32 = 4;
const FIELD_EXPIRES: &[u8] = b"!!hexpire!!";
/// The number of the type sorted set.
const TYPE_SORTED_SET: u32 = 3;
/// The number of the type stream.
const TYPE_STREAM: u32 = 6;
const EXPIRES: &[u8] = b"!!expire!!";

pub(super) fn digest(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() != 2 {
        reply.error(wrong_form(args));
        return Ok(());
    }
    let mut whole = Fingerprint::default();
    for db in 0..cx.config.databases {
        let partitions = cx.keyspace.partitions();
        if partitions.iter().all(|partition| partition.db(db).is_empty()) {
            continue;
        }
        whole.mix(&(db as u32).to_be_bytes());
        for partition in partitions {
            let mut cursor = 0;
            loop {
                cursor = partition.db(db).scan(cursor, SCAN_COUNT, |entry| {
                    let mut of_key = Fingerprint::default();
                    of_key.mix(entry.key());
                    of_key.mix_value(entry);
                    whole.add(&of_key.0);
                });
                if cursor == 0 {
                    break;
                }
            }
        }
    }
    reply.simple(&whole.hex());
    Ok(())
}

pub(super) fn digest_value(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        let mut of_value = Fingerprint::default();
        let key = cx.key(name);
        if let Some(entry) = cx.peek(&key) {
            of_value.mix_value(entry);
        }
        reply.simple(&of_value.hex());
    }
    Ok(())
}

#[derive(Default)]
struct Fingerprint([u8; 20]);

impl Fingerprint {
    fn add(&mut self, bytes: &[u8]) {
        self.add_hash(Sha1::digest(bytes).into());
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn add_hash(&mut self, hash: [u8; 20]) {
        for (byte, other) in self.0.iter_mut().zip(hash) {
            *byte ^= other;
        }
    }

    fn mix_value(&mut self, entry: EntryRef<'_>) {
        if let Ok(string) = StringRef::of(entry) {
            self.mix(&TYPE_STRING.to_be_bytes());
            self.mix_string(string);
        } else if let Ok(set) = SetRef::of(entry.value()) {
            self.mix(&TYPE_SET.to_be_bytes());
            set.for_each(|member| self.add(member.to_bytes(&mut [0; INT_TEXT_MAX])));
        } else if let Ok(hash) = HashRef::of(entry.value()) {
            self.mix(&TYPE_HASH.to_be_bytes());
            hash.iter().for_each(|pair| self.add(&Self::of_pair(pair).0));
        } else if let Ok(set) = ZSetRef::of(entry.value()) {
            self.mix(&TYPE_SORTED_SET.to_be_bytes());
            set.for_each(|pair| {
                let mut of_pair = Fingerprint::default();
                of_pair.mix(pair.member.to_bytes(&mut [0; INT_TEXT_MAX]));
                of_pair.mix(number::format_f64_shortest(pair.score).as_bytes());
                self.add(&of_pair.0);
            });
        } else if let Ok(stream) = Stream::of(entry.value()) {
            self.mix(&TYPE_STREAM.to_be_bytes());
            self.mix_stream(stream);
        }
        if let Ok(list) = ListRef::of(entry.value()) {
            self.mix(&TYPE_LIST.to_be_bytes());
            let mut buffer = Vec::new();
            list.visit(0, End::Tail, |item| {
                self.mix(item.to_slice(&mut buffer));
                Walk::On
            });
        }
        if entry.expiry().is_some() {
            self.add(EXPIRES);
        }
    }

    fn of_pair(pair: Pair<'_>) -> Self {
        let mut of_pair = Self::default();
        of_pair.mix(pair.field.to_bytes(&mut [0; INT_TEXT_MAX]));
        of_pair.mix(pair.value.to_bytes(&mut [0; INT_TEXT_MAX]));
        if pair.expiry.is_some() {
            of_pair.add(FIELD_EXPIRES);
        }
        of_pair
    }

    fn mix_stream(&mut self, stream: &Stream) {
        let mut range = stream.entries().range(StreamId::MIN, StreamId::MAX, false);
        while let Some((id, _)) = range.next() {
            self.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
            while let Some((field, value)) = range.field() {
                self.mix(field.to_bytes(&mut [0; INT_TEXT_MAX]));
                self.mix(value.to_bytes(&mut [0; INT_TEXT_MAX]));
            }
        }
    }

    fn mix_string(&mut self, string: StringRef<'_>) {
        match string {
            StringRef::Int(value) => self.mix(itoa::Buffer::new().format(value).as_bytes()),
            StringRef::Bytes(bytes) => self.mix(bytes),
            StringRef::Big(big) => {
                let mut hash = Sha1::new();
                big.chunks().iter().for_each(|chunk| hash.update(chunk));
                self.add_hash(hash.finalize().into());
                self.0 = Sha1::digest(self.0).into();
            }
        }
    }

    fn hex(&self) -> String {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}
