//! Property tests of lists against a vector, in all forms: with every limit, with nodes of one
//! element, with compression, and with copies that share nodes.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u32..20).prop_map(|value| value.to_string().into_bytes()),
        3 => "[a-c]{1,3}".prop_map(String::into_bytes),
        3 => (30usize..90, any::<bool>()).prop_map(|(len, noise)| long(len, noise)),
        1 => (4000usize..4200, any::<bool>()).prop_map(|(len, noise)| long(len, noise)),
        1 => (8100usize..9000).prop_map(|len| long(len, false)),
    ]
}

/// A string that compresses well, or not at all.
fn long(len: usize, noise: bool) -> Vec<u8> {
    let byte = |at: usize| if noise { (at * at * 31 >> 3) as u8 ^ at as u8 } else { b'l' };
    (0..len).map(byte).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Push(End, Vec<Vec<u8>>),
    PushMany(End, usize),
    DropEnd(End),
    RemoveRange(Index, usize),
    Trim(Index, Index),
    Set(Index, Vec<u8>),
    Insert(Vec<u8>, Side, Vec<u8>),
    InsertBeside(Index, Side, Vec<u8>),
    RemoveEqual(Vec<u8>, u64, End),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let end = || prop_oneof![Just(End::Head), Just(End::Tail)];
    let side = || prop_oneof![Just(Side::Before), Just(Side::After)];
    let values = prop::collection::vec(value(), 1..20);
    let limit = prop_oneof![Just(u64::MAX), 1u64..4];
    prop_oneof![
        4 => (end(), values).prop_map(|(end, values)| Step::Push(end, values)),
        1 => (end(), 200usize..700).prop_map(|(end, count)| Step::PushMany(end, count)),
        2 => end().prop_map(Step::DropEnd),
        2 => (any::<Index>(), 0usize..40).prop_map(|(at, count)| Step::RemoveRange(at, count)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Step::Trim(from, to)),
        3 => (any::<Index>(), value()).prop_map(|(at, value)| Step::Set(at, value)),
        2 => (value(), side(), value()).prop_map(|(pivot, side, value)| {
            Step::Insert(pivot, side, value)
        }),
        4 => (any::<Index>(), side(), value()).prop_map(|(at, side, value)| {
            Step::InsertBeside(at, side, value)
        }),
        2 => (value(), limit, end()).prop_map(|(value, limit, end)| {
            Step::RemoveEqual(value, limit, end)
        }),
        1 => Just(Step::Copy),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let fill = prop_oneof![Just(-2), Just(-1), Just(-9), Just(1), Just(0), 2i32..7, Just(100)];
    let threshold = prop_oneof![4 => Just(0u64), 1 => Just(3), 1 => Just(60)];
    (fill, 0u32..4, threshold).prop_map(|(fill, depth, packed_threshold)| Limits {
        fill,
        depth,
        packed_threshold,
    })
}

/// Does a step to a list and to its model; both are not empty before.
fn take(place: &mut Collection, model: &mut Vec<Vec<u8>>, limits: Limits, step: Step) {
    let mut list = ListMut::of(place, limits).expect("it is a list");
    match step {
        Step::Push(end, values) => {
            list.push(end, values.iter().map(|value| Item::Str(value)));
            push(model, end, values);
        }
        Step::PushMany(end, count) => {
            let values: Vec<_> = (0..count).map(|value| value.to_string().into_bytes()).collect();
            list.push(end, values.iter().map(|value| Item::Str(value)));
            push(model, end, values);
        }
        Step::DropEnd(end) => {
            let at = if end == End::Head { 0 } else { model.len() - 1 };
            let gone = model.remove(at);
            assert!(list.view().at_end(end).is_some_and(|item| item.eq_bytes(&gone)));
            list.drop_end(end);
        }
        Step::RemoveRange(at, count) => {
            let at = at.index(model.len());
            list.remove_range(at as u64, count as u64);
            model.drain(at..(at + count).min(model.len()));
        }
        Step::Trim(from, to) => {
            let (from, to) = (from.index(model.len()), to.index(model.len()));
            let (from, to) = (from.min(to), from.max(to) + 1);
            list.remove_range(to as u64, (model.len() - to) as u64);
            list.remove_range(0, from as u64);
            model.truncate(to);
            model.drain(..from);
        }
        Step::Set(at, value) => {
            assert!(!list.set(model.len() as u64, Item::Str(&value)));
            let at = at.index(model.len());
            assert!(list.set(at as u64, Item::Str(&value)));
            model[at] = value;
        }
        Step::Insert(pivot, side, value) => insert(&mut list, model, &pivot, side, value),
        Step::InsertBeside(at, side, value) => {
            let pivot = model[at.index(model.len())].clone();
            insert(&mut list, model, &pivot, side, value);
        }
        Step::RemoveEqual(wanted, limit, end) => {
            let mut equal: Vec<usize> =
                (0..model.len()).filter(|at| model[*at] == wanted).collect();
            if end == End::Head {
                equal.reverse();
            }
            equal.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            assert_eq!(list.remove_equal(&wanted, limit, end), equal.len() as u64);
            let mut at = 0;
            model.retain(|_| {
                at += 1;
                !equal.contains(&(at - 1))
            });
        }
        Step::Copy => {}
    }
}

fn push(model: &mut Vec<Vec<u8>>, end: End, values: Vec<Vec<u8>>) {
    match end {
        End::Tail => model.extend(values),
        End::Head => drop(model.splice(..0, values.into_iter().rev())),
    }
}

fn insert(
    list: &mut ListMut<'_, Collection>,
    model: &mut Vec<Vec<u8>>,
    pivot: &[u8],
    side: Side,
    value: Vec<u8>,
) {
    let at = model.iter().position(|one| one == pivot);
    assert_eq!(list.insert(pivot, side, Item::Str(&value)), at.is_some());
    if let Some(at) = at {
        model.insert(at + usize::from(side == Side::After), value);
    }
}

fn compare(place: &Collection, model: &[Vec<u8>]) {
    let list = ListRef::of(place.value()).expect("it is a list");
    assert_eq!(list.len(), model.len() as u64);
    let shown = |index: usize, end| {
        let mut shown = Vec::new();
        let found = list.visit(index as u64, end, |item| {
            assert_eq!(item.len(), item.to_vec().len() as u64);
            shown.push(item.to_vec());
            Walk::On
        });
        assert_eq!(found, index < model.len());
        shown
    };
    assert_eq!(shown(0, End::Tail), model);
    for index in [model.len() / 3, model.len().saturating_sub(1), model.len()] {
        let index_end = (index + 1).min(model.len());
        let mut backward = shown(index, End::Head);
        backward.reverse();
        if index < model.len() {
            assert_eq!(backward, &model[..index_end]);
            assert_eq!(shown(index, End::Tail), &model[index..]);
        }
    }
    match list {
        ListRef::Packed(pack) => assert!(listpack::validate(pack.bytes(), true)),
        ListRef::Quick(list) => list.check(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_a_vector(limits in limits(), steps in prop::collection::vec(step(), 1..40)) {
        let mut place = Collection::empty(Packing::List);
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut copies = Vec::new();
        for step in steps {
            if model.is_empty() && !matches!(step, Step::Push(..) | Step::PushMany(..)) {
                continue;
            }
            if matches!(step, Step::Copy) && copies.len() < 2 {
                copies.push((place.clone(), model.clone()));
            }
            take(&mut place, &mut model, limits, step);
            if model.is_empty() {
                place = Collection::empty(Packing::List);
            }
            compare(&place, &model);
        }
        for (place, model) in &copies {
            compare(place, model);
        }
        if let Collection::Boxed(mut value) = place {
            let mut slices = 0;
            while value.free_slice(3) == 0 {
                slices += 1;
                prop_assert!(slices <= model.len() * 3);
            }
        }
        for (place, model) in &copies {
            compare(place, model);
        }
    }
}

#[test]
fn inner_nodes_are_compressed() {
    let limits = Limits { fill: -1, depth: 2, packed_threshold: 0 };
    let mut place = Collection::empty(Packing::List);
    let values: Vec<_> = (0..3000).map(|value| format!("value number {value}")).collect();
    let mut list = ListMut::of(&mut place, limits).expect("it is a list");
    list.push(End::Tail, values.iter().map(|value| Item::Str(value.as_bytes())));
    let ListRef::Quick(list) = list.view() else { panic!("it is large") };
    list.check();
    assert_eq!(list.compressed_nodes() as u64, list.shape().nodes - 4);
    assert!(list.bytes() < 25 * 3000, "{} bytes", list.bytes());
}

#[test]
fn a_large_list_is_dense_and_its_copy_costs_nothing() {
    let limits = Limits { fill: -2, depth: 0, packed_threshold: 0 };
    let mut list = QuickList::new(limits);
    for _ in 0..100_000 {
        list.push(End::Tail, Item::Str(b"sixteen bytes ok"), limits);
    }
    let bytes = list.bytes();
    assert!(bytes < 100_000 * 19, "{bytes} bytes");
    let copy = list.clone();
    for index in 0..50 {
        assert!(list.set(index * 2000, Item::Str(b"other"), limits));
    }
    let mut changed = 0;
    copy.visit(0, End::Tail, |item| {
        changed += u64::from(!item.eq_bytes(b"sixteen bytes ok"));
        Walk::On
    });
    assert_eq!(changed, 0);
}

#[test]
fn empty_strings_have_an_end() {
    let limits = Limits { fill: -2, depth: 0, packed_threshold: 0 };
    let mut place = Collection::empty(Packing::List);
    let mut list = ListMut::of(&mut place, limits).expect("it is a list");
    list.push(End::Tail, std::iter::repeat_n(Item::Str(b""), 1_000_000));
    assert!(matches!(list.view(), ListRef::Quick(_)));
    assert_eq!(list.view().len(), 1_000_000);
}
