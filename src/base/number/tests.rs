//! Numbers against values that Redis 8.0.6, its fpconv and glibc gave.

use super::*;
use crate::base::grisu::Shortest;
use proptest::prelude::*;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("numbers are ASCII")
}

#[test]
fn integers_have_one_form() {
    for canonical in ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
        assert_eq!(parse_i64(canonical.as_bytes()), canonical.parse().ok(), "{canonical}");
    }
    let refused = ["", "-", "-0", "+1", "01", "-01", " 1", "1 ", "1a", "--1", "0x1", "00", "1.0"];
    for text in refused {
        assert_eq!(
            (parse_i64(text.as_bytes()), parse_u64(text.as_bytes())),
            (None, None),
            "{text}"
        );
    }
    let too_large = ["9223372036854775808", "-9223372036854775809", "99999999999999999999"];
    for text in too_large {
        assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_i64(&[b'1'; 1000]), None);
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(parse_u64(b"18446744073709551616"), None);
    assert_eq!(parse_u64(b"-1"), None);
}

#[test]
fn doubles_that_a_stock_server_takes() {
    let taken: &[(&str, f64)] = &[
        ("+5", 5.0),
        ("+inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("INF", f64::INFINITY),
        ("Infinity", f64::INFINITY),
        ("5.", 5.0),
        (".5", 0.5),
        ("1.e5", 1e5),
        ("1E5", 1e5),
        ("1e+5", 1e5),
        ("00012", 12.0),
        ("0x10", 16.0),
        ("0X1P4", 16.0),
        ("-0x10", -16.0),
        ("+0x10", 16.0),
        ("0x.8p1", 1.0),
        ("0x1.8p+1", 3.0),
        ("0x1p-1074", 5e-324),
        ("0x1.8p-1075", 5e-324),
        ("0x0p-99999", 0.0),
        ("0e9999999", 0.0),
        ("0e99999999999999999999", 0.0),
        ("3e-324", 5e-324),
        ("2.4703282292062328e-324", 5e-324),
    ];
    for &(text, value) in taken {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
    assert!(parse_f64(b"-0").is_some_and(|zero| zero == 0.0 && zero.is_sign_negative()));
}

#[test]
fn doubles_that_a_stock_server_refuses() {
    let refused = "infinit|nan|NAN|-nan|nan(1)|.|-.|1e|1e+|0x|0x.p1|0x1p|1e400|-1e400|1e-400|\
        0x1p-1075|0x1p1024|0x1.fffffffffffff8p1023|1e-324|1 | 1|1_0||-|+|1e5x|0xg|1e1.5|\
        1e99999999999999999999|1e-99999999999999999999|2.4703282292062327e-324|0x1p99999999999999";
    for text in refused.split('|') {
        assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_f64(b"1\0"), None);
    assert_eq!(parse_f64("\u{661}".as_bytes()), None);
}

/// Each line: the bits of a double, Redis' text of it, and printf's `%.17g`.
#[test]
fn doubles_are_written_as_a_stock_server_writes_them() {
    for line in include_str!("doubles.txt").lines() {
        let mut fields = line.split(' ');
        let mut field = || fields.next().expect("three fields");
        let bits = u64::from_str_radix(field(), 16).expect("hexadecimal");
        let value = f64::from_bits(bits);
        assert_eq!(text(|out| write_f64(out, value)), field(), "{line}");
        assert_eq!(text(|out| write_f64_17g(out, value)), field(), "{line}");
    }
}

/// Each line: a text, and the bits of the double nearest to it, or "none". These are CPython's:
/// some glibc versions round the last bit of a subnormal number wrongly.
#[test]
fn hexadecimal_doubles_are_rounded_to_the_nearest() {
    for line in include_str!("hex.txt").lines() {
        let (text, bits) = line.split_once(' ').expect("two fields");
        let expected = u64::from_str_radix(bits, 16).ok();
        assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), expected, "{line}");
    }
}

#[test]
fn special_doubles() {
    let texts: &[(f64, &str)] = &[
        (0.0, "0"),
        (-0.0, "-0"),
        (f64::NAN, "nan"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (3.0, "3"),
        (-1.5, "-1.5"),
        (1e22, "1e+22"),
        (1e23, "99999999999999990000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (9223372036854775808.0, "9223372036854776000"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-2.2250738585072014e-308, "-2.2250738585072014e-308"),
        (5e-324, "5e-324"),
    ];
    for &(value, expected) in texts {
        assert_eq!(text(|out| write_f64(out, value)), expected);
    }
}

#[test]
fn memory_sizes() {
    let sizes: &[(&str, u64)] = &[
        ("0", 0),
        ("100", 100),
        ("100b", 100),
        ("100k", 100_000),
        ("1kb", 1024),
        ("5M", 5_000_000),
        ("5mB", 5 << 20),
        ("1g", 1_000_000_000),
        ("1gb", 1 << 30),
        ("", 0),
        ("kb", 0),
        ("007", 7),
        ("18446744073709551615", u64::MAX),
        ("99999999999999999999999", u64::MAX),
    ];
    for &(text, size) in sizes {
        assert_eq!(parse_memory(text.as_bytes()), Some(size), "{text}");
    }
    for text in ["-1", "1tb", "1 gb", "1.5g", "1gbx", "x", "+1"] {
        assert_eq!(parse_memory(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_memory(&[b'0'; 127]), Some(0));
    assert_eq!(parse_memory(&[b'0'; 128]), None);
}

#[test]
fn human_sizes() {
    let sizes: &[(u64, &str)] = &[
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (1152, "1.12K"),
        (1408, "1.38K"),
        (1_610_612_736, "1.50G"),
        ((1 << 30) - 1, "1024.00M"),
        (1 << 40, "1.00T"),
        ((1 << 60) - 1, "1024.00P"),
        (1 << 60, "1152921504606846976B"),
        (u64::MAX, "18446744073709551615B"),
    ];
    for &(size, expected) in sizes {
        assert_eq!(text(|out| write_human_size(out, size)), expected);
    }
}

proptest! {
    #[test]
    fn integers_read_back(value: i64, unsigned: u64) {
        let written = text(|out| write_i64(out, value));
        prop_assert_eq!(parse_i64(written.as_bytes()), Some(value));
        let written = text(|out| write_u64(out, unsigned));
        prop_assert_eq!(parse_u64(written.as_bytes()), Some(unsigned));
    }

    #[test]
    fn no_other_text_is_an_integer(text in "[-+ 0-9a]{0,22}") {
        let canonical = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
        prop_assert_eq!(parse_i64(text.as_bytes()), canonical);
    }

    #[test]
    fn doubles_read_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite() && value != 0.0);
        for text in [text(|out| write_f64(out, value)), text(|out| write_f64_17g(out, value))] {
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value), "{}", text);
        }
        prop_assert!(Shortest::of(value.abs()).digits().len() <= 17);
    }

    #[test]
    fn no_text_is_a_panic(text in "[-+]?(0x)?[0-9a-f]{0,30}[.]?[0-9a-f]{0,30}([pe][-+]?[0-9]{0,22})?") {
        parse_f64(text.as_bytes());
        parse_memory(text.as_bytes());
    }
}
