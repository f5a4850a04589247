//! Hashes: fields with values, of which each may expire.
//! Invariant: a hash is one of three forms, and only grows from one to the next: a listpack of fields
//! and values (`Packing::Hash`), one of fields, values and times (`Packing::HashTtl`), a dict. What
//! has expired is still there until somebody takes it out: the time is the caller's.
//! Source: Redis' OBJECT ENCODING of hashes, `hash-max-listpack-*`, HEXPIRE.
//!
//! ```text
//! listpack:   | field | value | field | value | ...
//! listpackex: | field | value | time | ...        next expiry first, those with time 0 (never) last
//! ```

#[cfg(test)]
mod tests;

use super::WrongType;
use super::place::{Collection, Place};
use super::value::{Packing, Value, ValueRef};
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::encoding::dict::Dict;
use crate::encoding::listpack::{self, Element, Listpack};

/// Up to where a hash is packed, and what a dict of it is made with.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`.
    pub entries: usize,
    /// `hash-max-listpack-value`, in bytes.
    pub value: u64,
    /// The secret of the dict's hashes.
    pub key: HashKey,
}

/// A field with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The field.
    pub field: Element<'a>,
    /// Its value.
    pub value: Element<'a>,
    /// When it expires, in milliseconds; None if never.
    pub expiry: Option<i64>,
}

impl Pair<'_> {
    /// True if it has expired. Source: HEXPIRE; strictly later, as for keys.
    #[inline]
    pub fn is_expired(&self, now: i64) -> bool {
        self.expiry.is_some_and(|expiry| expiry < now)
    }
}

/// A hash, to be read.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    /// Fields and values.
    Packed(Listpack<'a>),
    /// Fields, values and times.
    PackedTtl(Listpack<'a>),
    /// The large form.
    Dict(&'a Dict),
}

impl<'a> HashRef<'a> {
    /// The hash that a value is.
    #[inline]
    pub fn of(value: ValueRef<'a>) -> Result<Self, WrongType> {
        match value {
            ValueRef::Packed(Packing::Hash, bytes) => Ok(Self::Packed(Listpack::new(bytes))),
            ValueRef::Packed(Packing::HashTtl, bytes) => Ok(Self::PackedTtl(Listpack::new(bytes))),
            ValueRef::Boxed(Value::Hash(dict)) => Ok(Self::Dict(dict)),
            _ => Err(WrongType),
        }
    }

    /// Fields, expired ones included. Source: HLEN.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / 2,
            Self::PackedTtl(pack) => pack.len() / 3,
            Self::Dict(dict) => dict.len(),
        }
    }

    /// True without any field.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The pair of a field, expired or not.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<Pair<'a>> {
        match self {
            Self::Packed(pack) => {
                let at = pack.find(field, pack.first()?, 1)?;
                let (field, value) = pack.get_and_skip(at);
                Some(Pair { field, value: pack.get(value), expiry: None })
            }
            Self::PackedTtl(pack) => {
                let at = pack.find(field, pack.first()?, 2)?;
                Some(triple(pack, at).0)
            }
            Self::Dict(dict) => dict.get(field).map(Pair::from),
        }
    }

    /// All pairs, expired ones included.
    pub fn iter(self) -> Iter<'a> {
        match self {
            Self::Packed(pack) => Iter::Packed(pack.iter()),
            Self::PackedTtl(pack) => Iter::PackedTtl(pack.iter()),
            Self::Dict(dict) => Iter::Dict(Box::new(dict.iter())),
        }
    }

    /// No field expires before this. None if none expires. Exact but for a dict.
    #[inline]
    pub fn next_expiry(self) -> Option<i64> {
        match self {
            Self::Packed(_) => None,
            Self::PackedTtl(pack) => triple(pack, pack.first()?).0.expiry,
            Self::Dict(dict) => dict.next_expiry(),
        }
    }

    /// True if some field may have expired.
    #[inline]
    pub fn may_have_expired(self, now: i64) -> bool {
        self.next_expiry().is_some_and(|next| next < now)
    }

    /// Fields that have not expired. O(1) if none can have, else O(N).
    pub fn live_len(self, now: i64) -> usize {
        if !self.may_have_expired(now) {
            return self.len();
        }
        self.iter().filter(|pair| !pair.is_expired(now)).count()
    }

    /// A pair, each with the same probability. None of an empty hash.
    pub fn random(self, rng: &mut Rng) -> Option<Pair<'a>> {
        if let Self::Dict(dict) = self {
            return dict.random(rng).map(Pair::from);
        }
        let len = self.len();
        (len > 0).then(|| self.pair_at(rng.below(len as u64) as usize))
    }

    /// `count` different pairs, all of them if there are no more; packed ones in their order.
    pub fn sample(self, count: usize, rng: &mut Rng) -> Vec<Pair<'a>> {
        if let Self::Dict(dict) = self {
            return dict.sample(count, rng).into_iter().map(Pair::from).collect();
        }
        let (mut left, mut wanted) = (self.len(), count.min(self.len()));
        let mut chosen = Vec::with_capacity(wanted);
        for pair in self.iter() {
            if wanted == 0 {
                break;
            }
            if rng.below(left as u64) < wanted as u64 {
                chosen.push(pair);
                wanted -= 1;
            }
            left -= 1;
        }
        chosen
    }

    /// Pair `index` of a packed hash.
    fn pair_at(self, index: usize) -> Pair<'a> {
        let (pack, width) = match self {
            Self::Packed(pack) => (pack, 2),
            Self::PackedTtl(pack) => (pack, 3),
            Self::Dict(_) => unreachable!("a dict has no order"),
        };
        let at = pack.seek((index * width) as i64).expect("an index below the length");
        if width == 3 {
            return triple(pack, at).0;
        }
        let (field, value) = pack.get_and_skip(at);
        Pair { field, value: pack.get(value), expiry: None }
    }
}

impl<'a> From<crate::encoding::dict::Element<'a>> for Pair<'a> {
    #[inline]
    fn from(element: crate::encoding::dict::Element<'a>) -> Self {
        let (field, value) = (Element::Str(element.field), Element::Str(element.value));
        Pair { field, value, expiry: element.expiry }
    }
}

/// The pairs of a hash.
pub enum Iter<'a> {
    /// Of a listpack.
    Packed(listpack::Iter<'a>),
    /// Of a listpack with times.
    PackedTtl(listpack::Iter<'a>),
    /// Of a dict.
    Dict(Box<dyn Iterator<Item = crate::encoding::dict::Element<'a>> + 'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Pair<'a>;

    #[inline]
    fn next(&mut self) -> Option<Pair<'a>> {
        match self {
            Self::Packed(pack) => {
                Some(Pair { field: pack.next()?, value: pack.next()?, expiry: None })
            }
            Self::PackedTtl(pack) => {
                let (field, value) = (pack.next()?, pack.next()?);
                Some(Pair { field, value, expiry: expiry_of(pack.next()?) })
            }
            Self::Dict(dict) => dict.next().map(Pair::from),
        }
    }
}

/// A hash at its place, to be changed.
pub struct HashMut<'p, P: Place> {
    place: &'p mut P,
}

impl<'p, P: Place> HashMut<'p, P> {
    /// The hash at a place.
    #[inline]
    pub fn of(place: &'p mut P) -> Result<Self, WrongType> {
        HashRef::of(place.value())?;
        Ok(Self { place })
    }

    /// The hash, to be read.
    #[inline]
    pub fn view(&self) -> HashRef<'_> {
        HashRef::of(self.place.value()).expect("a place keeps its type")
    }

    /// Makes it a dict at once if what is coming will not fit: more than `limits.entries` new pairs, a
    /// field or value above `limits.value`. Source: HSET.
    pub fn prepare<'w>(
        &mut self,
        words: impl ExactSizeIterator<Item = &'w [u8]>,
        limits: &HashLimits,
    ) {
        if self.place.boxed_mut().is_some() {
            return;
        }
        let mut too_large = words.len() / 2 > limits.entries;
        let mut sum = 0usize;
        for word in words {
            too_large |= word.len() as u64 > limits.value;
            sum = sum.saturating_add(word.len());
        }
        if too_large || !listpack::may_grow(self.place.bytes().len(), sum) {
            self.make_dict(limits);
        }
    }

    /// Sets the value of a field; true if the field is new. Its expiry goes, or stays if `keep_expiry`.
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        keep_expiry: bool,
        limits: &HashLimits,
    ) -> bool {
        if let Some(dict) = self.dict() {
            let expiry = if keep_expiry { dict.get(field).and_then(|it| it.expiry) } else { None };
            return dict.insert(field, value, expiry);
        }
        if field.len().max(value.len()) as u64 > limits.value {
            self.make_dict(limits);
            return self.set(field, value, keep_expiry, limits);
        }
        let is_new = if self.width() == 2 {
            self.set_packed(field, value)
        } else {
            self.set_packed_ttl(field, value, keep_expiry)
        };
        if is_new && self.view().len() > limits.entries {
            self.make_dict(limits);
        }
        is_new
    }

    fn set_packed(&mut self, field: &[u8], value: &[u8]) -> bool {
        let value = Element::of(value);
        if let Some(at) = self.find(field) {
            let at = self.pack().get_and_skip(at).1;
            listpack::replace(self.place, at, value);
            return false;
        }
        listpack::append(self.place, [Element::of(field), value]);
        true
    }

    fn set_packed_ttl(&mut self, field: &[u8], value: &[u8], keep_expiry: bool) -> bool {
        let Some(at) = self.find(field) else {
            self.insert_triple(field, value, None);
            return true;
        };
        if keep_expiry || triple(self.pack(), at).0.expiry.is_none() {
            let at = self.pack().get_and_skip(at).1;
            listpack::replace(self.place, at, Element::of(value));
        } else {
            listpack::delete(self.place, at, 3);
            self.insert_triple(field, value, None);
        }
        false
    }

    /// Takes a field out; false if it is not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        if let Some(dict) = self.dict() {
            return dict.remove(field);
        }
        let Some(at) = self.find(field) else { return false };
        let width = self.width();
        listpack::delete(self.place, at, width);
        true
    }

    /// Prepares a packed hash for fields that expire. Source: HEXPIRE, which does so even where no
    /// field gets an expiry.
    pub fn allow_expiry(&mut self) {
        if !matches!(self.view(), HashRef::Packed(_)) {
            return;
        }
        let mut with_times = Packing::HashTtl.empty().to_vec();
        let pairs = self.view().iter();
        let triples = pairs.flat_map(|pair| [pair.field, pair.value, Element::Int(NEVER)]);
        listpack::extend(&mut with_times, triples);
        self.place.put(Collection::Packed(Packing::HashTtl, with_times));
    }

    /// Lets a field expire at a time, or never; false if it is not there. `allow_expiry` comes first.
    pub fn set_expiry(&mut self, field: &[u8], expiry: Option<i64>) -> bool {
        if let Some(dict) = self.dict() {
            return dict.set_expiry(field, expiry);
        }
        let Some(at) = self.find(field) else { return false };
        if self.width() == 2 {
            return true;
        }
        let value = triple(self.pack(), at).0.value.to_vec();
        listpack::delete(self.place, at, 3);
        self.insert_triple(field, &value, expiry);
        true
    }

    /// Takes out up to `budget` or a few more fields that expire at or before `now`, giving each to
    /// `removed`; returns how many. Fewer than `budget` means that none is left.
    pub fn expire(&mut self, now: i64, budget: usize, mut removed: impl FnMut(&[u8])) -> usize {
        if let Some(dict) = self.dict() {
            let mut count = 0;
            let mut cursor = 0;
            while count < budget {
                cursor = dict.expire_slice(now, cursor, 1, |element| {
                    removed(element.field);
                    count += 1;
                });
                if cursor == 0 {
                    break;
                }
            }
            return count;
        }
        if self.width() == 2 {
            return 0;
        }
        let mut count = 0;
        for pair in self.view().iter().take(budget) {
            if pair.expiry.is_none_or(|expiry| expiry > now) {
                break;
            }
            removed(pair.field.to_bytes(&mut [0; _]));
            count += 1;
        }
        listpack::delete_range(self.place, 0, count * 3);
        count
    }

    #[inline]
    fn dict(&mut self) -> Option<&mut Dict> {
        match self.place.boxed_mut() {
            Some(Value::Hash(dict)) => Some(dict),
            _ => None,
        }
    }

    fn pack(&self) -> Listpack<'_> {
        Listpack::new(self.place.bytes())
    }

    /// Elements of the pack for each field.
    fn width(&self) -> usize {
        if matches!(self.view(), HashRef::Packed(_)) { 2 } else { 3 }
    }

    fn find(&self, field: &[u8]) -> Option<usize> {
        let pack = self.pack();
        pack.find(field, pack.first()?, self.width() - 1)
    }

    /// Adds a field that is not there, before those that expire later.
    fn insert_triple(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) {
        let pack = self.pack();
        let mut at = pack.end();
        if let Some(expiry) = expiry {
            let mut next = pack.first();
            while let Some(pos) = next.filter(|&pos| pos < pack.end()) {
                let (pair, end) = triple(pack, pos);
                if pair.expiry.is_none_or(|other| other > expiry) {
                    at = pos;
                    break;
                }
                next = Some(end);
            }
        }
        let time = Element::Int(expiry.unwrap_or(NEVER));
        listpack::insert(self.place, at, [Element::of(field), Element::of(value), time]);
    }

    fn make_dict(&mut self, limits: &HashLimits) {
        let dict = dict_of(self.view(), limits.key);
        self.place.put(Collection::Boxed(Box::new(Value::Hash(dict))));
    }
}

/// A dict with the pairs of a hash.
fn dict_of(hash: HashRef<'_>, key: HashKey) -> Dict {
    let mut dict = Dict::new(key);
    for pair in hash.iter() {
        let (mut field, mut value) = ([0; _], [0; _]);
        let (field, value) = (pair.field.to_bytes(&mut field), pair.value.to_bytes(&mut value));
        dict.insert(field, value, pair.expiry);
    }
    dict
}

/// The field, value and time at `at`, and where the next field begins.
#[inline]
fn triple(pack: Listpack<'_>, at: usize) -> (Pair<'_>, usize) {
    let (field, at) = pack.get_and_skip(at);
    let (value, at) = pack.get_and_skip(at);
    let (time, at) = pack.get_and_skip(at);
    (Pair { field, value, expiry: expiry_of(time) }, at)
}

#[inline]
fn expiry_of(time: Element<'_>) -> Option<i64> {
    time.to_int().filter(|&time| time != NEVER)
}

/// The time of a field that never expires.
const NEVER: i64 = 0;
