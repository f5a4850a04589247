//! Keys change, come, go, expire and move while a snapshot is written: the file is the state at its
//! instant, each key once.

use std::collections::BTreeMap;

use super::*;
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::persist::aof::files::Rewrite;
use crate::persist::load::{Load, Records};
use crate::persist::rdb::Checks;
use crate::persist::rdb::file::{FileReader, Record, magic, preamble};
use crate::persist::rdb::{Limits, Loaded, Reader, decode};
use crate::persist::save::{Flags, Target, Wanted};
use crate::store::access::{Access, AccessPolicy};
use crate::store::entry::NewValue;
use crate::store::expire::expire_slice;
use crate::store::key::Hasher;
use crate::store::load::Making;
use crate::types::hash::{HashLimits, HashMut, HashRef};
use crate::types::list::{self, Item, ListRef, Walk as Step};
use crate::types::set::{self, SetMut, SetRef};
use crate::types::stream::{self, NewId, Stream};
use crate::types::zset::{self, AddFlags, ZSetMut, ZSetRef};
use crate::types::{BigString, Collection, ListMut, Packing};

/// A key as the file, or the keyspace, has it: expiry and value, spelled.
type Model = BTreeMap<(usize, Vec<u8>), (Option<i64>, Vec<Vec<u8>>)>;

const HASH_KEY: HashKey = HashKey { k0: 5, k1: 6 };
const NOW: i64 = 1_000_000;
const SEEDS: u64 = 2;

fn limits() -> Limits {
    Limits {
        list: list::Limits { fill: 8, depth: 0, packed_threshold: 0 },
        set: set::Limits {
            intset_entries: 6,
            listpack_entries: 8,
            listpack_value: 20,
            hash_key: HASH_KEY,
        },
        hash: HashLimits { entries: 8, value: 20, key: HASH_KEY },
        sorted_set: zset::Limits { entries: 8, value: 20, hash_key: HASH_KEY },
    }
}

fn access() -> Access {
    Access::at(Millis(NOW))
}

/// All that can be told of a value.
fn spell(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    if let Ok(list) = ListRef::of(value) {
        list.visit(0, list::End::Tail, |item| {
            found.push(item.to_slice(&mut Vec::new()).to_vec());
            Step::On
        });
    } else if let Ok(set) = SetRef::of(value) {
        set.for_each(|member| found.push(member.to_vec()));
        found.sort();
    } else if let Ok(hash) = HashRef::of(value) {
        found.extend(hash.iter().map(|pair| {
            format!("{:?} {:?} {:?}", pair.field.to_vec(), pair.value.to_vec(), pair.expiry).into()
        }));
        found.sort();
    } else if let Ok(set) = ZSetRef::of(value) {
        set.for_each(|pair| {
            let member = pair.member.to_vec();
            found.push(format!("{member:?} {}", pair.score).into());
        });
    } else if let Ok(stream) = Stream::of(value) {
        found.push(format!("{:?}", stream.facts()).into());
        found.extend(stream.blocks().map(|(id, bytes)| format!("{id:?} {bytes:?}").into()));
    } else {
        found.push(match value {
            ValueRef::Int(number) => number.to_string().into_bytes(),
            ValueRef::Str(bytes) => bytes.to_vec(),
            ValueRef::Boxed(Value::String(big)) => big.to_vec(),
            other => panic!("a string, not {other:?}"),
        });
    }
    found
}

fn state(partition: &Partition) -> Model {
    let mut model = Model::new();
    for (index, db) in partition.dbs().iter().enumerate() {
        let mut cursor = 0;
        loop {
            cursor = db.scan(cursor, 100, |entry| {
                let told = (entry.expiry().map(|expiry| expiry.0), spell(entry.value()));
                model.insert((index, entry.key().to_vec()), told);
            });
            if cursor == 0 {
                break;
            }
        }
    }
    model
}

/// What a file of these pieces says.
fn read(pieces: &[Piece], version: u16) -> Model {
    let mut file = [&magic(version)[..], &preamble(&[], &[], &[])].concat();
    pieces.iter().flat_map(|piece| &piece.bytes).for_each(|bytes| file.extend_from_slice(bytes));
    file.extend([opcode::EOF, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut reader = FileReader::new(Checks::ALL);
    reader.feed(&file);
    reader.finish();
    let (mut model, mut db) = (Model::new(), 0);
    loop {
        match reader.next_record().expect("the file is right") {
            Some(Record::SelectDb(index)) => db = index as usize,
            Some(Record::Key(key)) => {
                let mut value = Reader::new(key.value);
                let value = decode::value(&mut value, key.kind, &limits()).expect("a value");
                let spelled = match &value {
                    Loaded::Str(bytes) => vec![bytes.to_vec()],
                    Loaded::Big(big) => vec![big.to_vec()],
                    Loaded::Collection(Collection::Packed(packing, bytes)) => {
                        spell(ValueRef::Packed(*packing, bytes))
                    }
                    Loaded::Collection(Collection::Boxed(value)) => spell(ValueRef::of(value)),
                };
                let told = (key.expiry.map(|expiry| expiry.0), spelled);
                let twice = model.insert((db, key.key.to_vec()), told);
                assert!(twice.is_none(), "{:?} is there twice", key.key);
            }
            Some(Record::End(_)) => return model,
            Some(_) => {}
            None => unreachable!("the file is whole"),
        }
    }
}

fn save(epoch: u8) -> Arc<Save> {
    Arc::new(Save::new(Wanted {
        epoch,
        target: Target::AofBase(Rewrite::Within),
        flags: Flags { compresses: true, checksums: false, syncs_often: false, is_urgent: false },
        usage: Usage::Untold,
        preamble: Vec::new(),
        keys: 0,
        changes: 0,
        partitions: 1,
        has_functions: false,
    }))
}

fn name(rng: &mut Rng) -> Vec<u8> {
    let number = rng.below(400);
    let long = if number.is_multiple_of(7) { 300 } else { 0 };
    [format!("key:{number}").into_bytes(), vec![b'k'; long]].concat()
}

/// Changes a key somehow.
fn change(partition: &mut Partition, rng: &mut Rng) {
    let (limits, access, name) = (limits(), access(), name(rng));
    let index = rng.below(3) as usize;
    let key = partition.hasher().key(&name);
    let expiry =
        [None, None, Some(Millis(NOW + 500)), Some(Millis(NOW - 5))][rng.below(4) as usize];
    let text = vec![b'a' + rng.below(26) as u8; rng.below(60) as usize];
    let count = if rng.below(24) == 0 { 400 } else { 1 + rng.below(12) };
    let db = partition.db_mut(index);
    match rng.below(12) {
        0 | 1 => drop(db.set(&key, NewValue::string(&text), expiry, &access)),
        2 => {
            let big = BigString::from(&vec![text.len() as u8; 90_000][..]);
            db.set(&key, NewValue::Boxed(Box::new(Value::String(big))), expiry, &access);
        }
        3 => drop(db.delete(&key)),
        4 => drop(db.entry(&key).map(|mut entry| entry.set_expiry(expiry))),
        5 => drop(db.entry(&key).map(|mut entry| entry.append(&text).is_ok())),
        6 => {
            // RENAME, to another database at times.
            if let Some(entry) = db.delete(&key) {
                let other = self::name(rng);
                let other = partition.hasher().key(&other);
                let target = rng.below(3) as usize;
                partition.db_mut(target).insert(&other, entry.renamed(other.bytes));
            }
        }
        kind => {
            let packing = [Packing::List, Packing::IntSet, Packing::Hash, Packing::SortedSet];
            let packing = packing[kind as usize % 4];
            let empty = || match kind {
                11 => NewValue::Boxed(Box::new(Value::Stream(Stream::new()))),
                _ => NewValue::Packed(packing, packing.empty().into()),
            };
            let (mut entry, _) = db.lookup_or_make(&key, &access, empty);
            for _ in 0..count {
                let word = rng.below(2000).to_string().into_bytes();
                let value = entry.view().value();
                if ListRef::of(value).is_ok() {
                    let mut list = ListMut::of(&mut entry, limits.list).expect("a list");
                    list.push(list::End::Tail, [Item::Str(&word)].into_iter());
                } else if SetRef::of(value).is_ok() {
                    let mut set = SetMut::of(&mut entry).expect("a set");
                    set.add(crate::encoding::listpack::Element::of(&word), &limits.set);
                } else if HashRef::of(value).is_ok() {
                    let mut hash = HashMut::of(&mut entry).expect("a hash");
                    hash.set(&word, &text, false, &limits.hash);
                } else if ZSetRef::of(value).is_ok() {
                    let mut set = ZSetMut::of(&mut entry).expect("a sorted set");
                    let score = rng.below(100) as f64;
                    set.add(&word, score, AddFlags::default(), &limits.sorted_set);
                } else if let Ok(stream) = Stream::of_mut(&mut entry) {
                    let limits = stream::Limits { node_max_bytes: 400, node_max_entries: 10 };
                    let fields = [(&word[..], &text[..])];
                    let _ = stream.append(NewId::Auto, NOW as u64, limits, fields.into_iter());
                }
            }
            entry.note_fields();
        }
    }
}

#[test]
fn the_file_is_the_state_at_the_instant() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let slot = |number| Slot::from_number(number).expect("below 16384");
        let mut partition = Partition::new(slot(0), slot(16383), 3, Hasher::new(HASH_KEY));
        for epoch in 1..4 {
            (0..600).for_each(|_| change(&mut partition, &mut rng));
            let expected = state(&partition);
            let save = save(epoch);
            partition.begin_snapshot(&save, 0, Millis(NOW));
            let is_cancelled = rng.below(4) == 0;
            let mut pieces = Vec::new();
            let (mut rounds, mut unwritten) = (0, 0);
            loop {
                for _ in 0..rng.below(20) {
                    // The disk is slow: who would change something waits.
                    if !partition.is_choked() {
                        change(&mut partition, &mut rng);
                    }
                }
                match rng.below(40) {
                    0 => partition.flush(rng.below(3) as usize),
                    1 => partition.swap_dbs(0, 1 + rng.below(2) as usize, Millis(0)),
                    2 => {
                        let mut budget = Budget::new(500);
                        expire_slice(&mut partition, Millis(NOW + 1000), &mut budget, |_, _| {});
                    }
                    3 => drop(partition.free_slice(&mut Budget::new(300))),
                    4 if is_cancelled => save.cancel(),
                    _ => {}
                }
                let mut budget = Budget::new(rng.below(400) as usize);
                let goes_on = partition.snapshot_slice(&mut budget, &mut |_, piece| {
                    unwritten += piece.len;
                    pieces.push(piece);
                });
                if rng.below(6) == 0 {
                    save.progress[0].queued.fetch_sub(unwritten, Relaxed);
                    unwritten = 0;
                }
                rounds += 1;
                assert!(rounds < 100_000, "seed {seed}: it comes to an end");
                if !goes_on {
                    break;
                }
            }
            assert!(pieces.last().is_some_and(|last| last.is_last));
            if !save.is_cancelled() {
                assert_eq!(read(&pieces, 12), expected, "seed {seed}, save {epoch}");
                assert_eq!(save.keys_done(), expected.len() as u64);
            }
        }
    }
}

/// A file without a checksum, so that damage reaches the decoders.
fn unchecked_file(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let slot = |number| Slot::from_number(number).expect("below 16384");
    let mut partition = Partition::new(slot(0), slot(16383), 3, Hasher::new(HASH_KEY));
    (0..60).for_each(|_| change(&mut partition, &mut rng));
    let save = save(1);
    partition.begin_snapshot(&save, 0, Millis(NOW));
    let mut pieces = Vec::new();
    while partition.snapshot_slice(&mut Budget::new(1000), &mut |_, piece| pieces.push(piece)) {
        save.progress[0].queued.store(0, Relaxed);
    }
    let bytes: Vec<u8> =
        pieces.iter().flat_map(|piece| &piece.bytes).flat_map(|bytes| bytes.to_vec()).collect();
    [&magic(12)[..], &bytes, &[opcode::EOF, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
}

#[test]
fn damaged_files_are_refused_or_read() {
    let (mut refused, mut loaded) = (0, 0);
    for seed in 0..5 {
        let file = unchecked_file(seed);
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            let mut file = file.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(file.len() as u64 - 9) as usize + 9;
                file[at] = rng.next_u64() as u8;
            }
            file.truncate(file.len() - rng.below(4) as usize);
            let slot = |number| Slot::from_number(number).expect("below 16384");
            let mut partition = Partition::new(slot(0), slot(16383), 3, Hasher::new(HASH_KEY));
            let load = Load::new(1, true, Some(Millis(NOW)));
            let access = AccessPolicy::Lru;
            let making = Making { limits: limits(), access, now: Millis(NOW) };
            let mut reader = FileReader::new(Checks::ALL);
            reader.feed(&file);
            reader.finish();
            let mut db = 0;
            let is_read = loop {
                match reader.next_record() {
                    Ok(Some(Record::SelectDb(index))) => db = index as usize,
                    Ok(Some(Record::Key(key))) => {
                        let mut records = Records::default();
                        records.push(db, &key);
                        partition.load(&load, &records, &making, |_, _| {});
                    }
                    Ok(Some(Record::End(_))) => break load.failure().is_none(),
                    Ok(Some(_)) => {}
                    Ok(None) => unreachable!("the file is whole"),
                    Err(_) => break false,
                }
            };
            *if is_read { &mut loaded } else { &mut refused } += 1;
        }
    }
    assert!(refused > 0 && loaded > 0, "both happen: {refused} {loaded}");
}
