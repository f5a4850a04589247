//! Property tests of the listpack against a vector, and its bytes against those of Redis 8.0.6 (the
//! listpack inside DUMP of a list).

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

const INTEGERS_HEX: &str = "80000000180000010101dfff027f01c08002df8002cfff02f1001003d00002f1ffef03\
f1ff7f03f200800004f1008003f2ff7fff04f2ffff7f04f30000800005f200008004f3ffff7fff05f3ffffff7f05f400000\
0800000000009f30000008005f4ffffff7fffffffff09f4ffffffffffffff7f09f4000000000000008009ff";
const INTEGERS: [i64; 24] = [
    0,
    1,
    -1,
    127,
    128,
    -128,
    4095,
    4096,
    -4096,
    -4097,
    32767,
    32768,
    -32768,
    -32769,
    8388607,
    8388608,
    -8388608,
    -8388609,
    2147483647,
    2147483648,
    -2147483648,
    -2147483649,
    i64::MAX,
    i64::MIN,
];

const STRINGS_HEX: &str = "620000000a008001812d02822d3003822b3103823031039339323233333732303336\
38353437373538303814942d39323233333732303336383534373735383039158231200383312e350494313834343637343\
430373337303935353136313615ff";
const STRINGS: [&str; 10] = [
    "",
    "-",
    "-0",
    "+1",
    "01",
    "9223372036854775808",
    "-9223372036854775809",
    "1 ",
    "1.5",
    "18446744073709551616",
];

/// Length of a string, and how the listpack that holds it alone begins and ends.
const LONG: [(usize, &str, &str); 16] = [
    (63, "480000000100bf61", "616140ff"),
    (64, "4a0000000100e04061", "616142ff"),
    (125, "870000000100e07d61", "61617fff"),
    (126, "890000000100e07e61", "610180ff"),
    (127, "8a0000000100e07f61", "610181ff"),
    (4095, "0a1000000100efff61", "612081ff"),
    (4096, "0e1000000100f00010000061", "612085ff"),
    (16377, "074000000100f0f93f000061", "617ffeff"),
    (16378, "094000000100f0fa3f000061", "00ffffff"),
    (16379, "0a4000000100f0fb3f000061", "018080ff"),
    (16383, "0e4000000100f0ff3f000061", "018084ff"),
    (30000, "3f7500000100f03075000061", "01eab5ff"),
    (2097144, "", "7ffffdff"),
    (2097145, "", "7ffffeff"),
    (2097146, "", "00ffffffff"),
    (2097147, "", "01808080ff"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

fn pack_of<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Vec<u8> {
    let mut run = EMPTY.to_vec();
    extend(&mut run, values.into_iter().map(Element::of));
    run
}

fn texts(pack: Listpack<'_>) -> Vec<Vec<u8>> {
    pack.iter().map(Element::to_vec).collect()
}

#[test]
fn bytes_are_those_of_redis() {
    let mut run = EMPTY.to_vec();
    extend(&mut run, INTEGERS.map(Element::Int).into_iter());
    assert_eq!(hex(&run), INTEGERS_HEX);
    let spelled = INTEGERS.map(|value| value.to_string());
    assert_eq!(hex(&pack_of(spelled.iter().map(String::as_bytes))), INTEGERS_HEX);
    assert_eq!(Listpack::new(&run).iter().collect::<Vec<_>>(), INTEGERS.map(Element::Int));
    for (len, begin, end) in LONG {
        let string = vec![b'a'; len];
        let run = pack_of([string.as_slice()]);
        assert!(hex(&run[..16]).starts_with(begin), "begin of {len}");
        assert!(hex(&run[run.len() - 8..]).ends_with(end), "end of {len}");
        assert!(validate(&run, true));
        assert_eq!(run.len(), EMPTY.len() + Element::Str(&string).size());
        assert_eq!(texts(Listpack::new(&run)), [string]);
    }
}

#[test]
fn what_only_looks_like_an_integer_stays_a_string() {
    let run = pack_of(STRINGS.map(str::as_bytes));
    assert!(Listpack::new(&run).iter().all(|element| matches!(element, Element::Str(_))));
    assert_eq!(texts(Listpack::new(&run)), STRINGS.map(|text| text.as_bytes().to_vec()));
    assert_eq!(hex(&run), STRINGS_HEX);
}

#[test]
fn more_elements_than_the_header_counts() {
    let mut run = EMPTY.to_vec();
    extend(&mut run, (0..70_000).map(|value| Element::Int(value % 100)));
    assert!(validate(&run, true));
    assert_eq!(count(&run), COUNT_UNKNOWN);
    let pack = Listpack::new(&run);
    assert_eq!(pack.len(), 70_000);
    assert_eq!(pack.at(69_999), Some(Element::Int(99)));
    assert_eq!(pack.at(70_000), None);
    assert_eq!(pack.at(-70_000), Some(Element::Int(0)));
    assert_eq!(pack.at(-70_001), None);
    delete_range(&mut run, -3, 3);
    delete_range(&mut run, 1, 2);
    assert_eq!(Listpack::new(&run).len(), 69_995);
    assert!(validate(&run, true));
}

#[test]
fn extremes_of_an_index_miss() {
    let run = pack_of([b"a".as_slice(), b"b"]);
    let pack = Listpack::new(&run);
    assert_eq!((pack.seek(i64::MAX), pack.seek(i64::MIN)), (None, None));
    assert_eq!(Listpack::new(&EMPTY).seek(0), None);
    assert_eq!(Listpack::new(&EMPTY).seek(-1), None);
}

#[test]
fn fields_are_found_but_values_are_not() {
    let run = pack_of(["f", "1", "1", "g", "-5", "f"].map(str::as_bytes));
    let pack = Listpack::new(&run);
    let index = |found: Option<usize>| found.map(|pos| pack.iter().len_before(pos));
    assert_eq!(index(pack.find(b"1", HEADER, 1)), Some(2));
    assert_eq!(index(pack.find(b"1", HEADER, 0)), Some(1));
    assert_eq!(index(pack.find(b"-5", HEADER, 1)), Some(4));
    assert_eq!(index(pack.find(b"g", HEADER, 1)), None);
    assert_eq!(index(pack.find(b"g", HEADER, 2)), Some(3));
    assert_eq!(index(pack.find(b"f", pack.seek(1).expect("six elements"), 0)), Some(5));
    assert_eq!(index(pack.find(b"f", pack.end(), 0)), None);
}

impl Iter<'_> {
    /// Elements before the one at `pos`.
    fn len_before(mut self, pos: usize) -> usize {
        let mut passed = 0;
        while self.position() < pos {
            self.next();
            passed += 1;
        }
        passed
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        3 => (-5000i64..5000).prop_map(|value| value.to_string().into_bytes()),
        3 => prop::collection::vec(any::<u8>(), 0..80),
        1 => (120usize..140).prop_map(|len| vec![b'x'; len]),
        1 => (4090usize..4100).prop_map(|len| vec![b'y'; len]),
        1 => "[-+]?0?[0-9]{1,22}".prop_map(String::into_bytes),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    InsertPair(usize, Vec<u8>, Vec<u8>),
    Prepend(Vec<u8>),
    Extend(Vec<Vec<u8>>),
    Replace(usize, Vec<u8>),
    Delete(usize, usize),
    DeleteRange(i64, usize),
    DeleteAll(Vec<bool>),
    ExtendFront(Vec<Vec<u8>>),
    Split(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0usize..40;
    prop_oneof![
        (at.clone(), value()).prop_map(|(at, value)| Step::Insert(at, value)),
        (at.clone(), value()).prop_map(|(at, value)| Step::InsertAfter(at, value)),
        (at.clone(), value(), value()).prop_map(|(at, a, b)| Step::InsertPair(at, a, b)),
        value().prop_map(Step::Prepend),
        prop::collection::vec(value(), 0..20).prop_map(Step::Extend),
        (at.clone(), value()).prop_map(|(at, value)| Step::Replace(at, value)),
        (at.clone(), 0usize..5).prop_map(|(at, count)| Step::Delete(at, count)),
        (-40i64..40, 0usize..9).prop_map(|(at, count)| Step::DeleteRange(at, count)),
        prop::collection::vec(any::<bool>(), 0..40).prop_map(Step::DeleteAll),
        prop::collection::vec(value(), 0..20).prop_map(Step::ExtendFront),
        (at, any::<bool>()).prop_map(|(at, swap)| Step::Split(at, swap)),
    ]
}

fn take(run: &mut Vec<u8>, model: &mut Vec<Vec<u8>>, step: Step) {
    let pos = |run: &[u8], at: usize| {
        let pack = Listpack::new(run);
        pack.seek(at as i64).unwrap_or(pack.end())
    };
    let clamp = |at: usize| at.min(model.len());
    match step {
        Step::Insert(at, value) => {
            insert(run, pos(run, at), [Element::of(&value)]);
            model.insert(clamp(at), value);
        }
        Step::InsertAfter(at, value) if at < model.len() => {
            let inserted = insert_after(run, pos(run, at), Element::of(&value));
            assert!(Listpack::new(run).get(inserted).eq_bytes(&value));
            model.insert(at + 1, value);
        }
        Step::InsertPair(at, first, second) => {
            insert(run, pos(run, at), [Element::of(&first), Element::of(&second)]);
            let at = clamp(at);
            model.insert(at, second);
            model.insert(at, first);
        }
        Step::Prepend(value) => {
            prepend(run, Element::of(&value));
            model.insert(0, value);
        }
        Step::Extend(values) => {
            extend(run, values.iter().map(|value| Element::of(value)));
            model.extend(values);
        }
        Step::Replace(at, value) if at < model.len() => {
            replace(run, pos(run, at), Element::of(&value));
            model[at] = value;
        }
        Step::InsertAfter(..) | Step::Replace(..) => {}
        Step::Delete(at, count) => {
            delete(run, pos(run, at), count);
            model.drain(clamp(at)..clamp(at + count));
        }
        Step::DeleteRange(index, count) => {
            delete_range(run, index, count);
            let at = if index < 0 { index + model.len() as i64 } else { index };
            if let Ok(at) = usize::try_from(at) {
                model.drain(clamp(at)..clamp(at + count));
            }
        }
        Step::DeleteAll(which) => {
            let pack = Listpack::new(run);
            let count = model.len().min(which.len());
            let chosen = (0..count).filter(|at| which[*at]);
            let positions: Vec<_> = chosen.filter_map(|at| pack.seek(at as i64)).collect();
            delete_all(run, &positions);
            let mut index = 0;
            model.retain(|_| {
                index += 1;
                !which.get(index - 1).copied().unwrap_or(false)
            });
        }
        Step::ExtendFront(values) => {
            extend_front(run, values.iter().map(|value| Element::of(value)));
            values.into_iter().for_each(|value| model.insert(0, value));
        }
        Step::Split(at, swap) => {
            let tail = split_off(run, pos(run, at));
            assert!(validate(&tail, true) && validate(run, true));
            if swap {
                prepend_pack(run, Listpack::new(&tail));
                let at = clamp(at);
                model.rotate_left(at);
            } else {
                append_pack(run, Listpack::new(&tail));
            }
        }
    }
}

fn compare(run: &[u8], model: &[Vec<u8>]) {
    assert!(validate(run, true));
    let pack = Listpack::new(run);
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert_eq!(texts(pack), model);
    let mut backward: Vec<_> = pack.iter().rev().map(Element::to_vec).collect();
    backward.reverse();
    assert_eq!(backward, model);
    assert_eq!(hex(run), hex(&pack_of(model.iter().map(Vec::as_slice))), "one form for one list");
    let sizes: usize = pack.iter().map(Element::size).sum();
    assert_eq!(sizes + EMPTY.len(), run.len());
    for (index, value) in model.iter().enumerate() {
        let element = pack.at(index as i64).expect("an index below the length");
        assert_eq!(Some(element), pack.at(index as i64 - model.len() as i64));
        assert!(element.eq_bytes(value));
        assert_eq!(element.text_len(), value.len());
        let first = model.iter().position(|other| other == value).map(|at| at as i64);
        assert_eq!(pack.find(value, HEADER, 0), first.and_then(|at| pack.seek(at)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_listpack_is_a_vector(steps in prop::collection::vec(step(), 0..30)) {
        let (mut run, mut model) = (EMPTY.to_vec(), Vec::new());
        for step in steps {
            take(&mut run, &mut model, step);
            compare(&run, &model);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_walked(
        values in prop::collection::vec(value(), 0..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut run = pack_of(values.iter().map(Vec::as_slice));
        validate(&run[..cut.index(run.len())], true);
        for (at, byte) in damage {
            let at = at.index(run.len());
            run[at] = byte;
        }
        if validate(&run, true) {
            let pack = Listpack::new(&run);
            let forward: Vec<_> = pack.iter().collect();
            let mut backward: Vec<_> = pack.iter().rev().collect();
            backward.reverse();
            assert_eq!(forward, backward);
            assert_eq!(forward.len(), pack.len());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_walked(body in prop::collection::vec(any::<u8>(), 0..40)) {
        validate(&body, true);
        validate(&body, false);
        let mut run = EMPTY[..HEADER].to_vec();
        run.extend_from_slice(&body);
        run.push(END);
        let total = run.len() as u32;
        run[..4].copy_from_slice(&total.to_le_bytes());
        run[4..HEADER].copy_from_slice(&COUNT_UNKNOWN.to_le_bytes());
        if validate(&run, true) {
            assert_eq!(Listpack::new(&run).iter().rev().count(), Listpack::new(&run).len());
        }
    }
}
