//! Numbers as C treats them on the machines Redis runs on: conversions out of range, text by printf
//! and strtod.
//!
//! Invariant: what Rust saturates or refuses gets the value that x86-64 gives a C program, since a
//! stock server's libraries show those values. Source: the instruction cvttsd2si, printf(3), strtod(3).

use std::ffi::c_int;

/// The double as an int; the least int when it does not fit.
pub(super) fn to_i32(number: f64) -> i32 {
    let whole = number.trunc();
    if (-2147483648.0..2147483648.0).contains(&whole) { whole as i32 } else { i32::MIN }
}

/// The double as a long; the least long when it does not fit.
pub(super) fn to_i64(number: f64) -> i64 {
    if (-TWO_63..TWO_63).contains(&number) { number as i64 } else { i64::MIN }
}

/// The double as an unsigned long: a negative one wraps, one that does not fit is 0.
pub(super) fn to_u64(number: f64) -> u64 {
    if number >= TWO_63 {
        (to_i64(number - TWO_63) as u64) ^ (1 << 63)
    } else {
        to_i64(number) as u64
    }
}

/// Text of a number in a place of its own.
pub(super) struct Text {
    bytes: [u8; 40],
    length: usize,
}

impl Text {
    /// The number as printf's `%.<precision>g` writes it; a precision of 1 to 14.
    pub(super) fn general(number: f64, precision: u32) -> Self {
        let mut text = Self { bytes: [0; 40], length: 0 };
        let whole = number as i64;
        if whole as f64 == number && whole.unsigned_abs() < 10_u64.pow(precision) && whole != 0 {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(whole).as_bytes();
            text.bytes[..digits.len()].copy_from_slice(digits);
            text.length = digits.len();
            return text;
        }
        // SAFETY: the format takes an int and a double, and snprintf stops at the size.
        let length = unsafe {
            libc::snprintf(
                text.bytes.as_mut_ptr().cast(),
                text.bytes.len(),
                c"%.*g".as_ptr(),
                precision as c_int,
                number,
            )
        };
        text.length = usize::try_from(length).unwrap_or(0).min(text.bytes.len() - 1);
        text
    }

    /// The text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads the number that `text` begins with, in all forms of strtod, without white space before it:
/// the number and how many bytes it takes; none where there is no number. The text ends with a zero.
pub(super) fn read(text: &[u8]) -> Option<(f64, usize)> {
    assert_eq!(text.last(), Some(&0), "a C string ends");
    let digits =
        text.iter().take(DIGITS_EXACT + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0
        && digits <= DIGITS_EXACT
        && !matches!(text[digits], b'.' | b'e' | b'E' | b'x' | b'X')
    {
        let value = text[..digits].iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
        return Some((value as f64, digits));
    }
    let mut end = std::ptr::null_mut();
    // SAFETY: the text ends with a zero, so strtod reads nothing behind it, and `end` is a place for a
    // pointer into it.
    let (value, length) = unsafe {
        let value = libc::strtod(text.as_ptr().cast(), &raw mut end);
        (value, end.cast_const().cast::<u8>().offset_from(text.as_ptr()))
    };
    (length > 0).then_some((value, length as usize))
}

/// As many digits are exact in a double.
const DIGITS_EXACT: usize = 15;

const TWO_63: f64 = 9223372036854775808.0;
