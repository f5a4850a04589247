//! RDB: what is written is read, in every version, and any bytes are answered.

use proptest::prelude::*;

use super::decode::{self, Limits, Loaded};
use super::{Checks, Encoder, Malformed, Reader, VERSION_MAX, opcode};
use crate::base::siphash::HashKey;
use crate::encoding::listpack::{self, Element, Listpack};
use crate::persist::dump::{self, Payload, WrongFooter};
use crate::types::hash::{HashLimits, HashMut, HashRef};
use crate::types::list::{self, Item, ListRef, Walk};
use crate::types::set::{self, SetMut, SetRef};
use crate::types::zset::{self, AddFlags, ZSetMut, ZSetRef};
use crate::types::{BigString, Collection, Packing, Place, Value, ValueRef};

/// Small limits, so that both forms of each type are met.
fn limits() -> Limits {
    let hash_key = HashKey { k0: 1, k1: 2 };
    Limits {
        list: list::Limits { fill: 8, depth: 0, packed_threshold: 0 },
        set: set::Limits { intset_entries: 6, listpack_entries: 8, listpack_value: 20, hash_key },
        hash: HashLimits { entries: 8, value: 20, key: hash_key },
        sorted_set: zset::Limits { entries: 8, value: 20, hash_key },
    }
}

/// The value written in a version and read again.
fn there_and_back(value: ValueRef<'_>, version: u16, check: impl FnOnce(ValueRef<'_>)) {
    let mut encoder = Encoder::new(version, version.is_multiple_of(2));
    let kind = encoder.kind(value);
    encoder.value(value);
    let bytes = encoder.into_pieces().concat();
    let mut reader = Reader::new(&bytes);
    let loaded = decode::value(&mut reader, kind, &limits()).expect("what was written is read");
    assert!(reader.rest().is_empty(), "all of it is read");
    match loaded {
        Loaded::Str(bytes) => check(ValueRef::Str(&bytes)),
        Loaded::Big(big) => check(ValueRef::Boxed(&Value::String(big))),
        Loaded::Collection(collection) => check(collection.value()),
    }
}

fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop_oneof![
        (-70_000i64..70_000).prop_map(|value| value.to_string().into_bytes()),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..30),
        (any::<u8>(), 0usize..100).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop::collection::vec(word, 1..30)
}

fn elements_of(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let list = ListRef::of(value).expect("a list");
    list.visit(0, list::End::Tail, |item| {
        found.push(item.to_slice(&mut Vec::new()).to_vec());
        Walk::On
    });
    found
}

fn members_of(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    SetRef::of(value).expect("a set").for_each(|member| found.push(member.to_vec()));
    found.sort();
    found
}

fn fields_of(value: ValueRef<'_>) -> Vec<(Vec<u8>, Vec<u8>, Option<i64>)> {
    let pairs = HashRef::of(value).expect("a hash").iter();
    let mut found: Vec<_> =
        pairs.map(|pair| (pair.field.to_vec(), pair.value.to_vec(), pair.expiry)).collect();
    found.sort();
    found
}

fn scores_of(value: ValueRef<'_>) -> Vec<(Vec<u8>, u64)> {
    let mut found = Vec::new();
    let set = ZSetRef::of(value).expect("a sorted set");
    set.for_each(|pair| found.push((pair.member.to_vec(), pair.score.to_bits())));
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn collections_come_back(words in words(), version in 9u16..=12) {
        let limits = limits();
        let list = list::collect(words.iter().map(|word| Item::Str(word)), limits.list);
        there_and_back(list.value(), version, |value| assert_eq!(elements_of(value), words));

        let mut members = Collection::empty(Packing::IntSet);
        let mut set = SetMut::of(&mut members).expect("a set");
        words.iter().for_each(|word| { set.add(Element::of(word), &limits.set); });
        let expected = members_of(members.value());
        there_and_back(members.value(), version, |value| assert_eq!(members_of(value), expected));

        let mut scored = Collection::empty(Packing::SortedSet);
        let mut set = ZSetMut::of(&mut scored).expect("a sorted set");
        for (index, word) in words.iter().enumerate() {
            let score = (index as f64 - 7.0) / 3.0;
            set.add(word, score, AddFlags::default(), &limits.sorted_set);
        }
        let expected = scores_of(scored.value());
        there_and_back(scored.value(), version, |value| assert_eq!(scores_of(value), expected));
    }

    #[test]
    fn hashes_come_back_with_their_times(words in words(), version in 9u16..=12) {
        let limits = limits();
        let mut fields = Collection::empty(Packing::Hash);
        let mut hash = HashMut::of(&mut fields).expect("a hash");
        for pair in words.chunks_exact(2) {
            hash.set(&pair[0], &pair[1], false, &limits.hash);
        }
        if version == 12 && words.len() > 2 {
            hash.allow_expiry();
            hash.set_expiry(&words[0], Some(1_900_000_000_000));
            hash.set_expiry(&words[words.len() / 4 * 2], Some(1_800_000_000_000));
        }
        let expected = fields_of(fields.value());
        if !expected.is_empty() {
            there_and_back(fields.value(), version, |value| assert_eq!(fields_of(value), expected));
        }
    }

    #[test]
    fn strings_come_back(word in prop::collection::vec(any::<u8>(), 0..400), times in 1usize..900) {
        let long = word.repeat(times);
        let big = Value::String(BigString::from(&long[..]));
        let check = |value: ValueRef<'_>| match value {
            ValueRef::Str(bytes) => assert!(bytes == long),
            ValueRef::Boxed(Value::String(big)) => assert!(big.to_vec() == long),
            other => panic!("a string, not {other:?}"),
        };
        there_and_back(ValueRef::Boxed(&big), 12, check);
        there_and_back(ValueRef::Boxed(&big), 9, check);
    }

    #[test]
    fn any_bytes_are_answered(kind in 0u8..30, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode::value(&mut Reader::new(&bytes), kind, &limits());
    }

    #[test]
    fn damaged_bytes_are_answered(words in words(), kind in 0u8..30, at: usize, byte: u8) {
        let mut pack = listpack::EMPTY.to_vec();
        words.iter().for_each(|word| listpack::append(&mut pack, [Element::of(word)]));
        let mut encoder = Encoder::new(12, false);
        encoder.string(&pack);
        let mut bytes = encoder.into_pieces().concat();
        let at = at % bytes.len();
        bytes[at] = byte;
        for bytes in [&bytes[..], &[&[0; 8], &bytes[..]].concat(), &[&[1, 2], &bytes[..]].concat()] {
            if let Ok(Loaded::Collection(loaded)) =
                decode::value(&mut Reader::new(bytes), kind, &limits())
                && let ValueRef::Packed(_, pack) = loaded.value()
            {
                assert!(kind == super::opcode::SET_INTSET || Listpack::new(pack).iter().count() > 0);
            }
        }
    }
}

#[test]
fn lengths_are_announced_in_vain() {
    let huge = [0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for kind in 0..30 {
        let read = decode::value(&mut Reader::new(&huge), kind, &limits());
        assert!(matches!(read, Err(Malformed)), "type {kind}");
    }
    let lzf = [&[0xc3, 0x05][..], &huge, b"12345"].concat();
    assert_eq!(Reader::new(&lzf).string(), Err(Malformed));
}

#[test]
fn collections_without_elements_are_told_from_damage() {
    const ZIPLIST: &[u8] = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
    const LISTPACK: &[u8] = b"\x07\x07\0\0\0\0\0\xff";
    let cases: [(u8, Vec<u8>); 9] = [
        (opcode::SET, vec![0]),
        (opcode::SORTED_SET_2, vec![0]),
        (opcode::LIST_ZIPLIST, ZIPLIST.into()),
        (opcode::LIST_QUICKLIST, vec![0]),
        (opcode::LIST_QUICKLIST, [&[1][..], ZIPLIST].concat()),
        (opcode::LIST_QUICKLIST_2, [&[1, 2][..], LISTPACK].concat()),
        (opcode::HASH_LISTPACK, LISTPACK.into()),
        (opcode::SET_INTSET, b"\x08\x02\0\0\0\0\0\0\0".into()),
        (opcode::HASH_LISTPACK_TTL, [&[0; 8][..], LISTPACK].concat()),
    ];
    for (kind, bytes) in cases {
        let is_empty = |bytes| decode::is_empty(Reader::new(bytes), kind);
        assert!(is_empty(&bytes), "{kind}");
        assert!(!is_empty(&bytes[..bytes.len() - 1]), "{kind}");
        assert!(!is_empty(&[&bytes[..], b"x"].concat()), "{kind}");
    }
    assert!(!decode::is_empty(Reader::new(b"\x01\x01a"), opcode::SET));
}

/// Payloads that Redis 8.0.6 answered to DUMP.
#[test]
fn payloads_are_those_of_redis() {
    let cases: [(&[u8], &[u8]); 2] = [
        (b"hello", b"\x00\x05hello\x0c\x00\xa8\x04\xeb\xb6\x9f\x1e\xbe\x43"),
        (b"12", b"\x00\xc0\x0c\x0c\x00\xf7\x5c\xcc\x91\xa6\x2e\x22\x9c"),
    ];
    for (value, payload) in cases {
        let encoded = dump::encode(ValueRef::Str(value), VERSION_MAX, true).concat();
        assert_eq!(encoded, payload);
        let bytes = &payload[..payload.len() - 10];
        assert_eq!(dump::check(payload, Checks::ALL), Ok(Payload { bytes, version: VERSION_MAX }));
        let mut wrong = payload.to_vec();
        wrong[1] ^= 1;
        assert_eq!(dump::check(&wrong, Checks::ALL), Err(WrongFooter));
        let bytes = &wrong[..wrong.len() - 10];
        assert_eq!(
            dump::check(&wrong, Checks { sum: false, ..Checks::ALL }),
            Ok(Payload { bytes, version: VERSION_MAX })
        );
    }
    assert_eq!(dump::check(b"short", Checks::ALL), Err(WrongFooter));
}
