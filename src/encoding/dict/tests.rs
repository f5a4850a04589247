//! The dict against a BTreeMap, and what it promises about scans, chance, clones and memory.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::Config;

use super::*;

const KEY: HashKey = HashKey { k0: 1, k1: 2 };

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

/// A field whose number says how long it is, some of them large.
fn field(n: u64) -> Vec<u8> {
    let length = if n % 97 == 5 { 1500 } else { n % 30 };
    let mut field = n.to_string().into_bytes();
    field.resize(field.len() + length as usize, b'f');
    field
}

fn value(n: u64) -> Vec<u8> {
    let length = if n % 89 == 7 { 2000 } else { n % 150 };
    vec![n as u8; length as usize]
}

impl Dict {
    /// Holds everything that is counted or ordered against what is there.
    fn check(&self) {
        let mut starts = Vec::new();
        let (mut len, mut volatile, mut held) = (0, 0, 0);
        for (number, page) in self.pages.iter().enumerate() {
            assert_eq!(page.start(0), Some(self.starts[number]));
            assert!(page.len() < SEGMENTS_MAX);
            for (at, segment) in page.segments().iter().enumerate() {
                let start = page.start(at).expect("a start for each segment");
                let spot = Spot { page: number, segment: at };
                let end = self.end_of(spot).unwrap_or(POSITIONS);
                assert!([start, end - 1].iter().all(|&it| self.locate(it) == Some(spot)));
                starts.push(start);
                len += segment.count();
                held += segment.bytes();
                assert!(segment.count() > 0 || page.len() == 1 && self.len > 0);
                assert!(segment.count() <= self.fullest);
                let (count, live) = (segment.count(), segment.live());
                assert!(count <= COUNT_MAX && live <= BYTES_MAX, "{count} with {live} bytes");
                for element in segment.elements() {
                    let position = position(self.key.hash(element.field));
                    assert!((start..end).contains(&position));
                    if let Some(expiry) = element.expiry {
                        volatile += 1;
                        let bounds = [segment.next_expiry(), page.next_expiry(), self.next_expiry];
                        assert!(bounds.iter().all(|&bound| bound <= expiry));
                    }
                }
            }
        }
        assert!(starts.is_sorted_by(|a, b| a < b));
        assert_eq!((self.len, self.volatile, self.held), (len, volatile, held));
        assert_eq!(self.pages.is_empty(), self.len == 0);
    }

    fn content(&self) -> Model {
        self.iter().map(|e| (e.field.to_vec(), (e.value.to_vec(), e.expiry))).collect()
    }
}

/// A dict of the numbers, with 16-byte values.
fn dict_of(numbers: std::ops::Range<u64>) -> Dict {
    let mut dict = Dict::new(KEY);
    for n in numbers {
        assert!(dict.insert(&n.to_be_bytes(), &[1; 16], None));
    }
    dict
}

fn number(element: Element<'_>) -> u64 {
    u64::from_be_bytes(element.field.try_into().expect("a field of dict_of"))
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64, Option<i64>),
    InsertIfAbsent(u64, u64),
    Expiry(u64, Option<i64>),
    Remove(u64),
    Take(u64),
    Change(u64),
    RemoveMany(u64),
    InsertMany(u64),
    Expire(i64, usize),
    Clone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = 0..3000u64;
    let expiry = || proptest::option::weighted(0.3, 0..1000i64);
    let step = prop_oneof![
        20 => (n.clone(), 0..5000u64, expiry()).prop_map(|(n, v, e)| Step::Insert(n, v, e)),
        5 => (n.clone(), 0..5000u64).prop_map(|(n, v)| Step::InsertIfAbsent(n, v)),
        10 => (n.clone(), expiry()).prop_map(|(n, e)| Step::Expiry(n, e)),
        10 => n.clone().prop_map(Step::Remove),
        3 => n.clone().prop_map(Step::Take),
        5 => n.clone().prop_map(Step::Change),
        1 => (0..7u64).prop_map(Step::RemoveMany),
        1 => (0..7u64).prop_map(Step::InsertMany),
        1 => (0..1000i64, 1..40usize).prop_map(|(now, budget)| Step::Expire(now, budget)),
        1 => Just(Step::Clone),
    ];
    prop::collection::vec(step, 1..150)
}

/// Does a step to both, and compares what they answer.
fn take_step(dict: &mut Dict, model: &mut Model, step: &Step) {
    match *step {
        Step::Insert(n, v, expiry) => {
            let new = model.insert(field(n), (value(v), expiry)).is_none();
            assert_eq!(dict.insert(&field(n), &value(v), expiry), new);
        }
        Step::InsertIfAbsent(n, v) => {
            let new = !model.contains_key(&field(n));
            assert_eq!(dict.insert_if_absent(&field(n), &value(v)), new);
            model.entry(field(n)).or_insert((value(v), None));
        }
        Step::Expiry(n, expiry) => {
            let there = model.get_mut(&field(n)).map(|it| it.1 = expiry).is_some();
            assert_eq!(dict.set_expiry(&field(n), expiry), there);
        }
        Step::Remove(n) => {
            assert_eq!(dict.remove(&field(n)), model.remove(&field(n)).is_some());
        }
        Step::Take(n) => {
            assert_eq!(dict.take(&field(n)), model.remove(&field(n)).map(|it| it.0));
        }
        Step::Change(n) => {
            let changed = dict.value_mut(&field(n)).map(|value| value.fill(b'c')).is_some();
            let there = model.get_mut(&field(n)).map(|it| it.0.fill(b'c')).is_some();
            assert_eq!(changed, there);
        }
        Step::RemoveMany(rest) => (0..3000).filter(|n| n % 7 != rest).for_each(|n| {
            assert_eq!(dict.remove(&field(n)), model.remove(&field(n)).is_some());
        }),
        Step::InsertMany(rest) => (0..3000).filter(|n| n % 7 == rest).for_each(|n| {
            let new = model.insert(field(n), (value(n), None)).is_none();
            assert_eq!(dict.insert(&field(n), &value(n), None), new);
        }),
        Step::Expire(now, budget) => {
            let mut cursor = 0;
            loop {
                cursor = dict.expire_slice(now, cursor, budget, |element| {
                    let (value, expiry) = model.remove(element.field).expect("it was there");
                    assert_eq!((&value[..], expiry), (element.value, element.expiry));
                });
                if cursor == 0 {
                    break;
                }
            }
            assert!(model.values().all(|it| it.1.is_none_or(|expiry| expiry > now)));
            assert!(dict.next_expiry().is_none_or(|next| next > now));
        }
        Step::Clone => {}
    }
}

proptest! {
    #![proptest_config(Config::with_cases(24))]

    #[test]
    fn it_holds_what_a_map_would(steps in steps()) {
        let mut dict = Dict::new(KEY);
        let mut model = Model::new();
        let mut clones = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            take_step(&mut dict, &mut model, step);
            if number % 8 == 0 {
                dict.check();
            }
            if matches!(step, Step::Clone) {
                clones.push((dict.clone(), model.clone()));
            }
        }
        dict.check();
        prop_assert_eq!(&dict.content(), &model);
        for (n, (value, expiry)) in &model {
            let element = dict.get(n).expect("it is in the model");
            prop_assert_eq!((element.value, element.expiry), (&value[..], *expiry));
        }
        for (clone, then) in clones {
            clone.check();
            prop_assert_eq!(clone.content(), then);
        }
    }

    #[test]
    fn a_scan_gives_what_stays(
        changes in prop::collection::vec((0..4u64, 0..6000u64), 1..60),
        count in 1usize..300,
    ) {
        // Numbers below 1000 stay; the others come and go, thousands at a time.
        let mut dict = dict_of(0..4000);
        let mut changes = changes.into_iter().cycle();
        let mut times = BTreeMap::<u64, u32>::new();
        let mut cursor = 0;
        loop {
            cursor = dict.scan(cursor, count, |element| {
                *times.entry(number(element)).or_default() += 1;
            });
            if cursor == 0 {
                break;
            }
            prop_assert!(cursor < 1 << 48);
            let (kind, from) = changes.next().expect("cycles");
            for n in 1000 + from..1000 + from + 2500 {
                if kind == 0 {
                    dict.insert(&n.to_be_bytes(), b"again", None);
                } else if kind < 3 {
                    dict.remove(&n.to_be_bytes());
                }
            }
        }
        for n in 0..1000 {
            prop_assert_eq!(times.get(&n), Some(&1));
        }
    }

    #[test]
    fn any_cursor_ends(cursor: u64, bits in 0u32..64) {
        let dict = dict_of(0..1000);
        let mut cursor = cursor >> bits;
        for _ in 0..1001 {
            cursor = dict.scan(cursor, 1, |_| ());
            if cursor == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "still at {}", cursor);
    }
}

#[test]
fn elements_that_share_most_of_their_position_do_not_pile_up() {
    let alike = |n: &u64| position(KEY.hash(&n.to_be_bytes())) >> 38 == 7;
    let mut dict = Dict::new(KEY);
    for n in (0..1_000_000u64).filter(alike) {
        dict.insert(&n.to_be_bytes(), b"", None);
    }
    assert!(dict.len() > 800);
    dict.check();
    assert!(dict.shape().segments >= dict.len() / COUNT_MAX);
}

#[test]
fn memory_is_dense_and_comes_back() {
    let mut dict = dict_of(0..30_000);
    // Eight and 16 bytes, three of the index, two of lengths.
    assert!(dict.bytes() < 36 * dict.len(), "{} bytes a field", dict.bytes() / dict.len());
    for n in 0..29_000u64 {
        dict.remove(&n.to_be_bytes());
    }
    dict.check();
    assert!(dict.bytes() < 60 * dict.len(), "{} bytes a field", dict.bytes() / dict.len());

    let mut set = Dict::new(KEY);
    for n in 0..30_000u64 {
        set.insert(format!("member:{n:09}").as_bytes(), b"", None);
    }
    assert!(set.bytes() < 25 * set.len(), "{} bytes a member", set.bytes() / set.len());
    (0..30_000u64).for_each(|n| assert!(set.remove(format!("member:{n:09}").as_bytes())));
    assert_eq!(set.bytes() - set.pages.capacity() * 16, 0);
}

#[test]
fn random_elements_are_spread_evenly() {
    let mut dict = dict_of(0..20_000);
    let mut rng = Rng::new(1);
    (200..20_000u64).for_each(|n| assert!(dict.remove(&n.to_be_bytes())));
    let mut times = [0u32; 200];
    for _ in 0..200 * 200 {
        times[number(dict.random(&mut rng).expect("not empty")) as usize] += 1;
    }
    assert!(times.iter().all(|n| (130..280).contains(n)), "{times:?}");
    assert_eq!(Dict::new(KEY).random(&mut rng), None);
}

#[test]
fn samples_are_distinct_and_spread_evenly() {
    let dict = dict_of(0..1000);
    let mut rng = Rng::new(2);
    for count in [0, 1, 100, 300, 1000, 5000] {
        let sample = dict.sample(count, &mut rng);
        let distinct: BTreeSet<u64> = sample.iter().map(|it| number(*it)).collect();
        assert_eq!((sample.len(), distinct.len()), (count.min(1000), count.min(1000)));
    }
    for count in [100, 500] {
        let mut times = [0u32; 1000];
        for _ in 0..200_000 / count {
            dict.sample(count, &mut rng).iter().for_each(|it| times[number(*it) as usize] += 1);
        }
        assert!(times.iter().all(|n| (120..290).contains(n)), "{times:?}");
    }
}

#[test]
fn popping_gives_each_element_once() {
    let mut dict = dict_of(0..5000);
    let mut rng = Rng::new(3);
    let mut popped = BTreeSet::new();
    while let Some(field) = dict.pop_random(&mut rng) {
        assert!(popped.insert(field));
        if dict.len().is_multiple_of(1000) {
            dict.check();
        }
    }
    assert_eq!((popped.len(), dict.len()), (5000, 0));
}

#[test]
fn freeing_in_slices_leaves_a_clone_whole() {
    let mut dict = dict_of(0..50_000);
    let clone = dict.clone();
    let segments = dict.shape().segments;
    assert_eq!(dict.free_slice(1), 0);
    while dict.free_slice(10) == 0 {}
    assert_eq!((dict.len(), dict.bytes()), (0, 0));
    clone.check();
    assert_eq!(clone.len(), 50_000);

    let mut alone = dict_of(0..50_000);
    assert_eq!(alone.free_slice(segments / 2), 0);
    assert!(alone.len() > 10_000);
    assert!(alone.free_slice(segments) > 0);
    assert_eq!(alone.len(), 0);
}

#[test]
fn expiry_passes_over_what_is_not_due() {
    let mut dict = dict_of(0..50_000);
    for n in 0..50 {
        dict.set_expiry(&(n * 1000u64).to_be_bytes(), Some(100 + n as i64));
    }
    assert_eq!((dict.volatile_len(), dict.next_expiry()), (50, Some(100)));
    let mut gone = Vec::new();
    assert_eq!(dict.expire_slice(99, 0, 0, |_| gone.push(0)), 0);
    // Ten segments are read at most, so at least two calls are needed.
    let cursor = dict.expire_slice(119, 0, 10, |element| gone.push(number(element)));
    assert!(cursor != 0 && gone.len() >= 10 && gone.len() < 20);
    assert_eq!(dict.expire_slice(119, cursor, 10, |element| gone.push(number(element))), 0);
    gone.sort_unstable();
    assert_eq!(gone, (0..20).map(|n| n * 1000).collect::<Vec<_>>());
    assert_eq!((dict.len(), dict.volatile_len(), dict.next_expiry()), (49_980, 30, Some(120)));
    dict.check();
}
