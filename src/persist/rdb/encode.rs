//! Writes values as RDB, in the encodings of a version.
//! Invariant: what is written is read by every stock server of that version, and by `decode`. Long
//! strings are not copied: their chunks are shared.
//! Source: see `rdb`.

mod slices;
mod stream;

pub use slices::Slices;

use bytes::Bytes;

use super::{VERSION_MAX, VERSION_MIN, opcode};
use crate::base::number;
use crate::encoding::dict::Dict;
use crate::encoding::intset::IntSet;
use crate::encoding::listpack::{Element, Listpack};
use crate::encoding::lzf;
use crate::types::list::{Item, QuickList};
use crate::types::zset::{SortedSet, ZSetRef};
use crate::types::{BigString, Packing, Value, ValueRef};

/// RDB in the making.
#[derive(Debug)]
pub struct Encoder {
    version: u16,
    compresses: bool,
    bytes: Vec<u8>,
    /// Chunks of strings, and where in `bytes` they belong, in ascending order.
    shared: Vec<(usize, Bytes)>,
    /// Bytes of these.
    shared_len: usize,
    /// Longer strings of chunks are not compressed.
    compressed_max: u64,
}

impl Encoder {
    /// Nothing yet. `version` is from `VERSION_MIN` to `VERSION_MAX`; `compresses` is rdbcompression.
    pub fn new(version: u16, compresses: bool) -> Self {
        Self {
            version,
            compresses,
            bytes: Vec::new(),
            shared: Vec::new(),
            shared_len: 0,
            compressed_max: COMPRESSED_MAX,
        }
    }

    /// The same where no step may be long: longer strings are not compressed.
    #[must_use]
    pub fn compressing_up_to(self, compressed_max: u64) -> Self {
        Self { compressed_max, ..self }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_len
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What follows is for this version.
    pub fn set_version(&mut self, version: u16) {
        self.version = version;
    }

    /// Takes what was written, in order.
    pub fn take_pieces(&mut self) -> Vec<Bytes> {
        // What comes next is likely to be as long.
        let bytes = Vec::with_capacity(self.bytes.len());
        let empty = Self { bytes, shared: Vec::new(), shared_len: 0, ..*self };
        std::mem::replace(self, empty).into_pieces()
    }

    /// What was written, in order.
    pub fn into_pieces(self) -> Vec<Bytes> {
        let bytes = Bytes::from(self.bytes);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (position, chunk) in self.shared {
            pieces.push(bytes.slice(at..position));
            pieces.push(chunk);
            at = position;
        }
        pieces.push(bytes.slice(at..));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// A length, or any other number that is not negative.
    pub fn length(&mut self, length: u64) {
        match length {
            0..0x40 => self.byte(length as u8),
            0x40..0x4000 => self.raw(&[0x40 | (length >> 8) as u8, length as u8]),
            _ if u32::try_from(length).is_ok() => {
                self.byte(opcode::LENGTH_32);
                self.raw(&(length as u32).to_be_bytes());
            }
            _ => {
                self.byte(opcode::LENGTH_64);
                self.raw(&length.to_be_bytes());
            }
        }
    }

    /// A string in one piece.
    pub fn string(&mut self, bytes: &[u8]) {
        if bytes.len() <= INT_TEXT_MAX
            && let Some(value) = number::parse_i64(bytes)
            && self.small_integer(value)
        {
            return;
        }
        if self.compresses
            && bytes.len() > UNCOMPRESSED_MAX
            && bytes.len() as u64 <= self.compressed_max
            && let Some(small) = lzf::compress(bytes, bytes.len() - SAVED_MIN)
        {
            return self.compressed(&[small], bytes.len() as u64);
        }
        self.length(bytes.len() as u64);
        self.raw(bytes);
    }

    /// The string that spells an integer.
    pub fn integer(&mut self, value: i64) {
        if !self.small_integer(value) {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(value).as_bytes();
            self.length(digits.len() as u64);
            self.raw(digits);
        }
    }

    /// A string in chunks.
    pub fn big_string(&mut self, string: &BigString) {
        if let [only] = string.chunks() {
            return self.string(only);
        }
        if self.compresses
            && string.len() <= self.compressed_max
            && let Some(small) = compress_chunks(string)
        {
            return self.compressed(&small, string.len());
        }
        self.length(string.len());
        for chunk in string.chunks() {
            self.shared.push((self.bytes.len(), chunk.clone()));
            self.shared_len += chunk.len();
        }
    }

    /// A time in milliseconds.
    pub fn millis(&mut self, millis: i64) {
        self.raw(&millis.to_le_bytes());
    }

    /// An element of a listpack as a string.
    pub fn element(&mut self, element: Element<'_>) {
        match element {
            Element::Int(value) => self.integer(value),
            Element::Str(bytes) => self.string(bytes),
        }
    }

    /// The type that `value` will write a value as.
    pub fn kind(&self, value: ValueRef<'_>) -> u8 {
        match value {
            ValueRef::Int(_) | ValueRef::Str(_) | ValueRef::Boxed(Value::String(_)) => {
                opcode::STRING
            }
            ValueRef::Packed(packing, _) => self.packed_kind(packing),
            ValueRef::Boxed(Value::List(_)) => self.packed_kind(Packing::List),
            ValueRef::Boxed(Value::Set(_)) => opcode::SET,
            ValueRef::Boxed(Value::Hash(hash)) if hash.volatile_len() == 0 => opcode::HASH,
            ValueRef::Boxed(Value::Hash(_)) if self.version >= 12 => opcode::HASH_TTL,
            ValueRef::Boxed(Value::Hash(_)) => opcode::HASH,
            ValueRef::Boxed(Value::SortedSet(_)) => opcode::SORTED_SET_2,
            ValueRef::Boxed(Value::Stream(_)) => self.stream_kind(),
            ValueRef::Boxed(Value::Packed(packing, _)) => self.packed_kind(*packing),
        }
    }

    /// The value without its type.
    pub fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Int(value) => self.integer(value),
            ValueRef::Str(bytes) => self.string(bytes),
            ValueRef::Boxed(Value::String(string)) => self.big_string(string),
            ValueRef::Packed(packing, bytes) => self.packed(packing, bytes),
            ValueRef::Boxed(Value::Packed(packing, bytes)) => self.packed(*packing, bytes),
            ValueRef::Boxed(Value::List(list)) => self.list(list),
            ValueRef::Boxed(Value::Set(set)) => {
                self.length(set.len() as u64);
                set.iter().for_each(|member| self.string(member.field));
            }
            ValueRef::Boxed(Value::Hash(hash)) => self.hash(hash, self.kind(value)),
            ValueRef::Boxed(Value::SortedSet(set)) => self.sorted_set(set),
            ValueRef::Boxed(Value::Stream(stream)) => self.stream(stream),
        }
    }

    fn packed_kind(&self, packing: Packing) -> u8 {
        match packing {
            Packing::List if self.version >= 10 => opcode::LIST_QUICKLIST_2,
            Packing::List => opcode::LIST,
            Packing::Set if self.version >= 11 => opcode::SET_LISTPACK,
            Packing::Set => opcode::SET,
            Packing::IntSet => opcode::SET_INTSET,
            Packing::HashTtl if self.version >= 12 => opcode::HASH_LISTPACK_TTL,
            Packing::Hash if self.version >= 10 => opcode::HASH_LISTPACK,
            Packing::Hash | Packing::HashTtl => opcode::HASH,
            Packing::SortedSet if self.version >= 10 => opcode::SORTED_SET_LISTPACK,
            Packing::SortedSet => opcode::SORTED_SET_2,
        }
    }

    fn packed(&mut self, packing: Packing, bytes: &[u8]) {
        match self.packed_kind(packing) {
            opcode::LIST_QUICKLIST_2 => {
                self.length(1);
                self.length(opcode::NODE_PACKED);
                self.string(bytes);
            }
            opcode::HASH_LISTPACK_TTL => {
                // Next expiry first: that is what the list is preceded by.
                let next = Listpack::new(bytes).at(2).and_then(Element::to_int);
                self.millis(next.unwrap_or(0));
                self.string(bytes);
            }
            opcode::SET_INTSET
            | opcode::SET_LISTPACK
            | opcode::HASH_LISTPACK
            | opcode::SORTED_SET_LISTPACK => self.string(bytes),
            _ => self.unpacked(packing, bytes),
        }
    }

    /// A packed collection, element by element, for versions that do not know its encoding. Times of
    /// fields are lost.
    fn unpacked(&mut self, packing: Packing, bytes: &[u8]) {
        let width = match packing {
            Packing::List | Packing::Set | Packing::IntSet => 1,
            Packing::Hash | Packing::SortedSet => 2,
            Packing::HashTtl => 3,
        };
        if packing == Packing::IntSet {
            let members = IntSet::of(bytes);
            self.length(members.len() as u64);
            return members.iter().for_each(|member| self.integer(member));
        }
        let pack = Listpack::new(bytes);
        self.length((pack.len() / width) as u64);
        for (index, element) in pack.iter().enumerate() {
            match (packing, index % width) {
                (Packing::SortedSet, 1) => self.raw(&score_of(element).to_le_bytes()),
                (_, 2) => {}
                _ => self.element(element),
            }
        }
    }

    fn list(&mut self, list: &QuickList) {
        let by_node = self.packed_kind(Packing::List) == opcode::LIST_QUICKLIST_2;
        self.length(if by_node { list.node_count() as u64 } else { list.len() });
        list.visit_nodes(|node| self.list_node(&node));
    }

    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Int(value) => self.integer(value),
            Item::Str(bytes) => self.string(bytes),
            Item::Big(string) => self.big_string(string),
        }
    }

    /// Times of fields are written as distances from the next one, plus one: 0 is never.
    fn hash(&mut self, hash: &Dict, kind: u8) {
        let next = hash.next_expiry().filter(|_| kind == opcode::HASH_TTL);
        if let Some(next) = next {
            self.millis(next);
        }
        self.length(hash.len() as u64);
        for pair in hash.iter() {
            if let Some(next) = next {
                self.length(pair.expiry.map_or(0, |expiry| (expiry - next + 1) as u64));
            }
            self.string(pair.field);
            self.string(pair.value);
        }
    }

    /// The highest score first, as Redis does: lists that are built from that are built at one end.
    fn sorted_set(&mut self, set: &SortedSet) {
        self.length(set.len());
        ZSetRef::Tree(set).visit((0, set.len()), true, |pair| {
            self.element(pair.member);
            self.raw(&pair.score.to_le_bytes());
        });
    }

    /// The integer in up to 32 bits; false if it is larger.
    fn small_integer(&mut self, value: i64) -> bool {
        if let Ok(value) = i8::try_from(value) {
            self.byte(opcode::LENGTH_SPECIAL | opcode::STRING_INT8);
            self.raw(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.byte(opcode::LENGTH_SPECIAL | opcode::STRING_INT16);
            self.raw(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.byte(opcode::LENGTH_SPECIAL | opcode::STRING_INT32);
            self.raw(&value.to_le_bytes());
        } else {
            return false;
        }
        true
    }

    fn compressed(&mut self, small: &[Vec<u8>], len: u64) {
        self.byte(opcode::LENGTH_SPECIAL | opcode::STRING_LZF);
        self.length(small.iter().map(|piece| piece.len() as u64).sum());
        self.length(len);
        small.iter().for_each(|piece| self.raw(piece));
    }
}

/// The lowest version that carries a value: what older ones know is written in their form.
pub fn version_for(value: ValueRef<'_>) -> u16 {
    match value {
        ValueRef::Packed(Packing::HashTtl, pack)
            if Listpack::new(pack).at(2).and_then(Element::to_int).is_some_and(|at| at != 0) =>
        {
            VERSION_MAX
        }
        ValueRef::Boxed(Value::Hash(hash)) if hash.volatile_len() > 0 => VERSION_MAX,
        ValueRef::Boxed(Value::Stream(stream)) => stream::version_for(stream),
        _ => VERSION_MIN,
    }
}

/// The score that an element of a sorted set's listpack spells.
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Int(value) => value as f64,
        Element::Str(text) => number::parse_f64(text).unwrap_or(0.0),
    }
}

/// LZF chunk by chunk: what is compressed alone is valid one behind the other, too. None if nothing
/// is saved.
fn compress_chunks(string: &BigString) -> Option<Vec<Vec<u8>>> {
    let mut left = usize::try_from(string.len()).ok()?.checked_sub(SAVED_MIN)?;
    let mut pieces = Vec::new();
    for chunk in string.chunks() {
        let piece = lzf::compress(chunk, left)?;
        left -= piece.len();
        pieces.push(piece);
    }
    Some(pieces)
}

/// The longest spelling of an integer of 32 bits. Source: Redis.
const INT_TEXT_MAX: usize = 11;
/// Strings up to here cannot be made shorter. Source: Redis.
const UNCOMPRESSED_MAX: usize = 20;
/// Bytes that compression has to save. Source: Redis.
const SAVED_MIN: usize = 4;
/// Longer strings are written as they are, which copies nothing: compression of a megabyte takes
/// some milliseconds.
const COMPRESSED_MAX: u64 = 1 << 20;
