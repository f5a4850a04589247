//! Extended numbers against gcc's `long double` and glibc on x86.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Option<LongDouble> {
    LongDouble::parse(text.as_bytes())
}

fn text(value: LongDouble) -> String {
    let mut out = Vec::new();
    value.write(&mut out);
    String::from_utf8(out).expect("numbers are ASCII")
}

/// Each line: two numbers, and the text of their sum on x86; "none" when one of them is refused.
#[test]
fn sums_are_those_of_a_stock_server() {
    for line in include_str!("sums.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [left, right, expected] = fields[..] else { panic!("three fields: {line}") };
        let sum = match (parse(left), parse(right)) {
            (Some(left), Some(right)) => text(left + right),
            _ => "none".to_owned(),
        };
        assert_eq!(sum, expected, "{line}");
    }
}

#[test]
fn texts_that_a_stock_server_takes() {
    let taken: &[(&str, &str)] = &[
        ("+5", "5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("1E5", "100000"),
        ("00012", "12"),
        ("-0", "0"),
        ("-1e-30", "0"),
        ("-infinity", "-inf"),
        ("+inf", "inf"),
        ("0x10", "16"),
        ("0x1.8", "1.5"),
        ("5.0e3", "5000"),
        ("0.1", "0.1"),
        ("3.14", "3.14"),
        ("1e-400", "0"),
        ("0e99999999999999999999", "0"),
        ("2e-4951", "0"),
        ("1e19", "10000000000000000000"),
        ("18446744073709551617", "18446744073709551616"),
        ("18446744073709551619", "18446744073709551620"),
    ];
    for &(given, expected) in taken {
        assert_eq!(parse(given).map(text).as_deref(), Some(expected), "{given}");
    }
}

#[test]
fn texts_that_a_stock_server_refuses() {
    let refused = "|nan|-nan|.|-|1 | 1|1e|0x|0x1p|1e4933|-1e4933|1e-4960|1.8e-4951|1_0|abc|1e5x|\
        1e99999999999999999999|1e-99999999999999999999|0x1p16384|0x1p-16446";
    for text in refused.split('|') {
        assert_eq!(parse(text), None, "{text}");
    }
    assert_eq!(LongDouble::parse(&[b'0'; 5120]), None);
    assert!(LongDouble::parse(&[b'0'; 5119]).is_some());
}

#[test]
fn the_ends_of_the_range() {
    let largest = LongDouble::parse(b"0x1.fffffffffffffffep16383").expect("finite");
    assert_eq!(text(largest).len(), 4933);
    assert!((largest + largest).is_infinite());
    let smallest = LongDouble::parse(b"0x1p-16445").expect("not 0");
    assert_eq!(smallest.magnitude, Magnitude::Finite { mantissa: 1, exponent: EXPONENT_MIN });
    assert_eq!(LongDouble::parse(b"1.9e-4951"), Some(smallest));
    assert_eq!(largest + smallest, largest);
    let infinite = LongDouble::parse(b"inf").expect("taken");
    let negative = LongDouble::parse(b"-inf").expect("taken");
    assert!((infinite + negative).is_nan() && (infinite + largest).is_infinite());
    assert_eq!((text(infinite + negative), text(negative)), ("nan".into(), "-inf".into()));
}

#[test]
fn long_texts_take_the_exact_way() {
    // A tie of 64 bits, and a digit far behind that breaks it.
    let tie = "18446744073709551617.";
    assert_eq!(parse(tie).map(text).as_deref(), Some("18446744073709551616"));
    let above = format!("{tie}{}1", "0".repeat(5000));
    assert_eq!(parse(&above).map(text).as_deref(), Some("18446744073709551618"));
    let spread = format!("0.{}15e4000", "0".repeat(4000));
    assert_eq!(parse(&spread), parse("0.15"));
}

proptest! {
    #[test]
    fn integers_are_exact(left: i64, right: i64) {
        prop_assert_eq!(text(left.into()), left.to_string());
        prop_assert_eq!(parse(&left.to_string()), Some(left.into()));
        if let Some(sum) = left.checked_add(right) {
            prop_assert_eq!(LongDouble::from(left) + right.into(), sum.into());
        }
    }

    #[test]
    fn short_and_long_way_agree(integer: u64, exponent in -18i32..=18) {
        let integer = integer / 10;
        let padding = "0".repeat(30);
        let short = parse(&format!("{integer}e{exponent}"));
        // The trailing 1 makes it long, and is far too small to matter but as a tie-break.
        let long = parse(&format!("{integer}.{padding}{padding}1e{exponent}"));
        let (Some(short), Some(long)) = (short, long) else { panic!("both are numbers") };
        let (Magnitude::Finite { mantissa: short, .. }, Magnitude::Finite { mantissa: long, .. }) =
            (short.magnitude, long.magnitude) else { panic!("both are finite") };
        prop_assert!(integer == 0 || long.wrapping_sub(short) <= 1);
    }

    #[test]
    fn adding_is_commutative(left in "-?[0-9]{1,30}[.][0-9]{1,30}(e-?[0-9]{1,4})?", right: i64) {
        if let Some(left) = parse(&left) {
            let right = LongDouble::from(right);
            prop_assert_eq!(left + right, right + left);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "[-+]?(0x)?[0-9a-f.]{0,40}([pe][-+]?[0-9]{0,22})?") {
        parse(&text);
    }
}
