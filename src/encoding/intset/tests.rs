//! Intsets against `BTreeSet`, and against bytes that nobody vouches for.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const EMPTY: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0];

/// Values around the limits of each width, and small ones that meet each other.
fn value() -> impl Strategy<Value = i64> {
    let edges = [i64::from(i16::MIN), i64::from(i16::MAX), i64::from(i32::MIN)];
    let more = [i64::from(i32::MAX), i64::MIN, i64::MAX, 0];
    let edge = prop::sample::select([&edges[..], &more[..]].concat());
    prop_oneof![
        -20i64..20,
        -300i64..300,
        (edge, -2i64..=2).prop_map(|(edge, off)| edge.saturating_add(off)),
        any::<i32>().prop_map(i64::from),
        any::<i64>(),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Add(i64),
    Remove(i64),
    RemoveAt(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => value().prop_map(Step::Add),
        2 => value().prop_map(Step::Remove),
        1 => any::<usize>().prop_map(Step::RemoveAt),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_set(steps in prop::collection::vec(step(), 0..120), asked in value()) {
        let mut run = EMPTY.to_vec();
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Add(value) => prop_assert_eq!(add(&mut run, value), model.insert(value)),
                Step::Remove(value) => prop_assert_eq!(remove(&mut run, value), model.remove(&value)),
                Step::RemoveAt(_) if model.is_empty() => {}
                Step::RemoveAt(index) => {
                    let index = index % model.len();
                    model.remove(&IntSet::of(&run).get(index));
                    remove_at(&mut run, index);
                }
            }
            let set = IntSet::of(&run);
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
            prop_assert_eq!(validate(&run, true).is_ok(), !model.is_empty());
        }
        let set = IntSet::of(&run);
        prop_assert_eq!(set.contains(asked), model.contains(&asked));
        prop_assert_eq!(set.find(asked).unwrap_or_else(|at| at), model.range(..asked).count());
    }

    #[test]
    fn a_seek_finds_what_lookups_find(
        members in prop::collection::btree_set(value(), 0..200),
        asked in prop::collection::btree_set(value(), 0..200),
    ) {
        let mut run = EMPTY.to_vec();
        for value in &members {
            add(&mut run, *value);
        }
        let mut seek = IntSet::of(&run).seek();
        for value in asked {
            prop_assert_eq!(seek.contains(value), members.contains(&value));
            prop_assert_eq!(seek.contains(value), members.contains(&value), "asked again");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_safe(bytes in hostile(), deep: bool) {
        if validate(&bytes, deep).is_ok() {
            let set = IntSet::of(&bytes);
            prop_assert!(!set.is_empty());
            // Without the deep look the order may be wrong: answers may be, too, but there is one.
            let _ = (set.iter().count(), set.find(7), set.seek().contains(7), set.random(u64::MAX));
            let mut run = bytes.clone();
            add(&mut run, i64::MIN);
            remove(&mut run, 7);
        }
    }
}

/// Headers that fit, nearly fit or do not fit what follows.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let width = prop::sample::select(vec![0u32, 1, 2, 4, 8, 16, 0x0100_0002, u32::MAX]);
    let count = prop_oneof![0u32..8, any::<u32>()];
    let made = (width, count, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(width, count, values)| [&width.to_le_bytes()[..], &count.to_le_bytes(), &values].concat(),
    );
    prop_oneof![3 => made, 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

#[test]
fn the_bytes_are_those_of_a_stock_server() {
    let mut run = EMPTY.to_vec();
    for value in [5, -1, 5, 70_000] {
        add(&mut run, value);
    }
    assert_eq!(run, b"\x04\0\0\0\x03\0\0\0\xff\xff\xff\xff\x05\0\0\0\x70\x11\x01\0");
    assert_eq!(validate(&run, true), Ok(()));
    run.swap(8, 12);
    assert_eq!(validate(&run, false), Ok(()));
    assert_eq!(validate(&run[..run.len() - 1], false), Err(InvalidIntSet));
}

#[test]
fn random_members_are_those_of_the_set() {
    let mut run = EMPTY.to_vec();
    assert_eq!(IntSet::of(&run).random(7), None);
    for value in 0..3 {
        add(&mut run, value);
    }
    let set = IntSet::of(&run);
    let picked: Vec<_> = (0..3).map(|third| set.random(u64::MAX / 3 * third + 9)).collect();
    assert_eq!(picked, [Some(0), Some(1), Some(2)]);
}
