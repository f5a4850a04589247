//! Property tests of entries against a plain model, and of the table of entries.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::siphash::HashKey;
use crate::store::key::Hasher;

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<u8>, Option<i64>),
    Append(Vec<u8>),
    WriteAt(u64, Vec<u8>),
    Expire(Option<i64>),
    Rename(Vec<u8>),
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![0usize..60, 200usize..300, 0..max.max(301)];
    (sizes, any::<u8>()).prop_map(|(len, fill)| vec![fill; len])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let expiry = || prop::option::of(any::<i64>());
    let number = any::<i64>().prop_map(|n| n.to_string().into_bytes());
    let step = prop_oneof![
        (prop_oneof![bytes(40_000), number], expiry()).prop_map(|(v, e)| Step::Set(v, e)),
        bytes(3000).prop_map(Step::Append),
        (0u64..20_000, bytes(3000)).prop_map(|(at, v)| Step::WriteAt(at, v)),
        expiry().prop_map(Step::Expire),
        bytes(600).prop_map(Step::Rename),
    ];
    prop::collection::vec(step, 0..24)
}

/// The bytes of a string value, however it lies.
fn text(view: EntryRef<'_>) -> Vec<u8> {
    match view.value() {
        ValueRef::Int(value) => value.to_string().into_bytes(),
        ValueRef::Str(bytes) => bytes.to_vec(),
        ValueRef::Packed(_, bytes) => bytes.to_vec(),
        ValueRef::Boxed(Value::String(string)) => string.to_vec(),
        ValueRef::Boxed(_) => unreachable!("packed collections are seen as such"),
    }
}

/// Where bytes are replaced (in thousandths of the length), how many, and by how many.
fn splices() -> impl Strategy<Value = Vec<(usize, usize, usize, Option<i64>)>> {
    let expiry = prop::option::of(any::<i64>());
    prop::collection::vec((0usize..1001, 0usize..400, 0usize..2500, expiry), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn an_entry_holds_what_was_put_in(key in bytes(600), steps in steps()) {
        let mut entry = Entry::new(&key, NewValue::string(b""), None, 0x0234_5678);
        entry.set_epoch(7);
        let mut model = (key, Vec::new(), None);
        for step in steps {
            match step {
                Step::Set(value, expiry) => {
                    entry.set(NewValue::string(&value), expiry.map(Millis));
                    model = (model.0, value, expiry);
                }
                Step::Append(value) => {
                    model.1.extend_from_slice(&value);
                    prop_assert_eq!(entry.append(&value), Ok(model.1.len() as u64));
                }
                Step::WriteAt(at, value) => {
                    let end = at as usize + value.len();
                    if !value.is_empty() {
                        model.1.resize(model.1.len().max(end), 0);
                        model.1[at as usize..end].copy_from_slice(&value);
                    }
                    prop_assert_eq!(entry.write_at(at, &value), Ok(model.1.len() as u64));
                }
                Step::Expire(expiry) => {
                    entry.set_expiry(expiry.map(Millis));
                    model.2 = expiry;
                }
                Step::Rename(key) => {
                    entry = entry.renamed(&key);
                    model.0 = key;
                }
            }
            let view = entry.view();
            prop_assert_eq!(view.key(), &model.0[..]);
            prop_assert!(text(view) == model.1);
            prop_assert_eq!(view.str_len(), Ok(model.1.len() as u64));
            prop_assert_eq!(view.expiry(), model.2.map(Millis));
            prop_assert_eq!((view.access(), view.epoch()), (0x0234_5678, 7));
            prop_assert!(text(entry.view().copied(b"copy", 1).view()) == model.1);
        }
    }

    #[test]
    fn a_packed_collection_is_spliced_as_a_vector_is(key in bytes(600), splices in splices()) {
        let mut entry = Entry::new(&key, NewValue::from(Collection::empty(Packing::Hash)), None, 5);
        let mut model = Packing::Hash.empty().to_vec();
        for (number, (at, removed, inserted, expiry)) in splices.into_iter().enumerate() {
            let at = model.len() * at / 1000;
            let removed = removed.min(model.len() - at);
            let piece = vec![number as u8; inserted];
            let halves = piece.split_at(inserted / 3);
            entry.splice(at, removed, &[halves.0, halves.1]);
            model.splice(at..at + removed, piece);
            entry.set_expiry(expiry.map(Millis));
            let view = entry.view();
            prop_assert!(text(view) == model);
            prop_assert_eq!((view.key(), view.expiry()), (&key[..], expiry.map(Millis)));
            prop_assert_eq!((view.type_name(), view.encoding()), ("hash", "listpack"));
            prop_assert!(entry.packed_mut() == &mut model[..]);
            prop_assert!(text(entry.view().copied(b"copy", 1).view()) == model);
        }
    }

    #[test]
    fn a_table_of_entries_agrees_with_a_map(
        steps in prop::collection::vec((0u16..3000, 0u16..1500, 0u8..5), 1..20),
    ) {
        let hasher = Hasher::new(HashKey { k0: 1, k1: 2 });
        let mut table = EntryTable::default();
        let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<Millis>)> = BTreeMap::new();
        for (first, count, action) in steps {
            for number in first..first + count {
                let name = number.to_string().into_bytes();
                let key = hasher.key(&name);
                let expiry = (number % 2 == 0).then_some(Millis(i64::from(number)));
                match (action, table.lookup_mut(&key)) {
                    (0, Some(entry)) => {
                        let entry = entry.remove();
                        prop_assert_eq!(entry.view().key(), &name[..]);
                        model.remove(&name);
                    }
                    (0, None) => (),
                    (1, Some(mut entry)) => {
                        entry.append(&name).expect("a string");
                        model.get_mut(&name).expect("there").0.extend_from_slice(&name);
                    }
                    (2, Some(mut entry)) => {
                        entry.set_expiry(expiry);
                        model.get_mut(&name).expect("there").1 = expiry;
                    }
                    (_, Some(mut entry)) => {
                        entry.set(NewValue::string(&name), expiry);
                        model.insert(name, (number.to_string().into_bytes(), expiry));
                    }
                    (_, None) => {
                        let entry = Entry::new(&name, NewValue::string(b"new"), expiry, 0);
                        table.insert(&hasher, key.position, entry);
                        model.insert(name, (b"new".to_vec(), expiry));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            let volatile = model.values().filter(|value| value.1.is_some()).count();
            prop_assert_eq!(table.volatile(), volatile);
        }
        for (name, (value, expiry)) in &model {
            let view = table.lookup(&hasher.key(name)).expect("the model has it");
            prop_assert_eq!((view.expiry(), text(view)), (*expiry, value.clone()));
        }
    }
}

#[test]
fn encodings_are_those_of_redis() {
    let check = |value: &[u8], encoding| {
        let entry = Entry::new(b"k", NewValue::string(value), None, 0);
        assert_eq!((entry.view().encoding(), entry.view().type_name()), (encoding, "string"));
        entry
    };
    check(b"123", "int");
    check(b"0123", "embstr");
    check(&[b'x'; 44], "embstr");
    check(&[b'x'; 45], "raw");
    check(&vec![b'x'; 20_000], "raw");
    let mut entry = check(b"12", "int");
    assert_eq!(entry.append(b""), Ok(2));
    assert_eq!(entry.view().encoding(), "int");
    assert_eq!(entry.append(b"3"), Ok(3));
    assert_eq!(entry.view().encoding(), "raw");
    assert_eq!(entry.view().copied(b"c", 0).view().encoding(), "raw");
}

#[test]
fn the_usual_entry_takes_56_bytes_and_is_set_in_place() {
    let mut entry = Entry::new(&[1; 16], NewValue::string(&[b'v'; 32]), None, 0);
    assert_eq!(entry.view().bytes_allocated(), 56);
    let before = entry.0;
    assert!(entry.set(NewValue::string(&[b'w'; 30]), None).is_none());
    assert_eq!(entry.0, before);
    assert_eq!(text(entry.view()), [b'w'; 30]);
}

#[test]
fn short_appends_seldom_move_the_entry() {
    let mut entry = Entry::new(b"key", NewValue::string(b""), None, 0);
    let mut moves = 0;
    for _ in 0..STRING_INLINE_MAX {
        let before = entry.0;
        entry.append(b"x").expect("a string");
        moves += usize::from(entry.0 != before);
    }
    assert!(moves < 150, "{moves} moves");
}
