//! HyperLogLog: unit tests. The figures were answered by Redis 8.0.6.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn with(elements: impl Iterator<Item = String>, sparse_max: u64) -> Vec<u8> {
    let mut hll = Cow::Owned(empty());
    for element in elements {
        add(&mut hll, element.as_bytes(), sparse_max).expect("what was made here is sound");
    }
    hll.into_owned()
}

#[test]
fn an_empty_one_is_one_run() {
    let hll = empty();
    assert_eq!(hll, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!(Encoding::of(&hll, hll.len() as u64), Ok(Encoding::Sparse));
    assert_eq!((cached(&hll), count(&hll)), (Some(0), Ok(0)));
}

#[test]
fn what_is_no_hyperloglog_is_refused() {
    let dense = to_dense(&empty()).expect("sound");
    assert_eq!(Encoding::of(&dense, dense.len() as u64), Ok(Encoding::Dense));
    assert_eq!(Encoding::of(&dense, dense.len() as u64 + 1), Err(NotHyperLogLog));
    assert_eq!(Encoding::of(b"HYLL\x01", 5), Err(NotHyperLogLog));
    assert_eq!(Encoding::of(b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0", 16), Err(NotHyperLogLog));
    assert_eq!(Encoding::of(b"HYLX\x01\0\0\0\0\0\0\0\0\0\0\0", 16), Err(NotHyperLogLog));
    assert_eq!(Encoding::of(b"", 0), Err(NotHyperLogLog));
}

#[test]
fn estimates_are_close() {
    for elements in [1u64, 10, 100, 1000, 10_000, 100_000] {
        let hll = with((0..elements).map(|at| format!("element:{at}")), 3000);
        let estimate = count(&hll).expect("sound");
        let error = estimate.abs_diff(elements) as f64 / elements as f64;
        assert!(error < 0.03, "{elements} estimated as {estimate}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sparse_and_dense_hold_the_same(seed: u32, elements in 0u64..3000, max in 0u64..20_000) {
        let names = || (0..elements).map(|at| format!("{seed}:{at}"));
        let sparse = with(names(), max);
        let mut dense = to_dense(&empty()).expect("sound");
        names().for_each(|name| { add_dense(&mut dense, name.as_bytes()); });
        let unpacked = to_dense(&sparse).expect("sound");
        prop_assert!(unpacked[HEADER_BYTES..] == dense[HEADER_BYTES..]);
        prop_assert_eq!(count(&sparse), count(&dense));
        let mut registers = Registers::default();
        registers.merge(&sparse).expect("sound");
        prop_assert_eq!(Ok(registers.count()), count(&dense));
        let mut copy = Cow::Owned(empty());
        registers.raise_in(&mut copy, max).expect("sound");
        prop_assert_eq!(count(&copy), count(&dense));
        let mut again = to_dense(&empty()).expect("sound");
        registers.write_dense(&mut again);
        prop_assert!(again[HEADER_BYTES..] == dense[HEADER_BYTES..]);
    }

    #[test]
    fn any_bytes_are_answered(
        runs in prop::collection::vec(any::<u8>(), 0..2000),
        elements in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".to_vec();
        bytes.extend(runs);
        let _ = count(&bytes);
        let _ = to_dense(&bytes);
        let _ = Registers::default().merge(&bytes);
        prop_assert!(super::runs(&bytes).count() <= bytes.len());
        let mut hll = Cow::Owned(bytes);
        for element in elements {
            let _ = add(&mut hll, &element.to_le_bytes(), 3000);
        }
    }
}
