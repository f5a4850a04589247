//! Numbers as text, both ways: integers, floating point scores and memory sizes. Invariant: what is
//! accepted and written here is, byte for byte, what a stock server accepts and writes. Source:
//! observed behaviour of Redis 8.0; ISO C for strtod and printf.

use super::float_scan::{Hex, Scanned, round_half_even, scan};
use super::grisu::Shortest;

/// A signed integer in its one canonical form: optional `-`, digits, no leading zero, no space, no
/// `+`, not `-0`. None for anything else and for what does not fit.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => match parse_magnitude(digits)? {
            0 => None,
            magnitude => 0i64.checked_sub_unsigned(magnitude),
        },
        _ => i64::try_from(parse_magnitude(text)?).ok(),
    }
}

/// An unsigned integer as strict as [`parse_i64`], up to 2^64 - 1.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    parse_magnitude(text)
}

/// Digits without a leading zero, or "0".
#[inline]
fn parse_magnitude(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= U64_DIGITS_MAX => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Appends `value` in decimal.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `value` in decimal.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A double: all of `text` must be what strtod accepts (decimal, hexadecimal, "inf", "infinity"; no
/// space in front). None for "nan", and where the value overflows or underflows to 0.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // Most numbers are integers that a double holds exactly.
    if (1..=INTEGER_DIGITS_EXACT).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let value = text.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        return Some(value as f64);
    }
    let (negative, scanned) = scan(text)?;
    let magnitude = match scanned {
        Scanned::Infinity => f64::INFINITY,
        Scanned::Hex(hex) => hex_to_f64(&hex)?,
        Scanned::Decimal(decimal) => {
            let unsigned = text.strip_prefix(b"-").unwrap_or(text);
            let value: f64 = std::str::from_utf8(unsigned).ok()?.parse().ok()?;
            if value.is_infinite() || (value == 0.0 && !decimal.is_zero()) {
                return None;
            }
            value
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Rounds to nearest, ties to even. None on overflow, and on underflow to 0.
fn hex_to_f64(hex: &Hex) -> Option<f64> {
    if hex.mantissa == 0 {
        return Some(0.0);
    }
    let shift = hex.mantissa.leading_zeros();
    // The value is mantissa * 2^(exponent - 127), its mantissa's highest bit set.
    let mantissa = hex.mantissa << shift;
    let exponent = hex.exponent + 127 - i64::from(shift);
    if exponent > F64_EXPONENT_MAX {
        return None;
    }
    // A subnormal number has fewer bits; what is smaller by far has none.
    let missing = (F64_EXPONENT_MIN - exponent).clamp(0, 64) as u32;
    let dropped = u128::BITS - f64::MANTISSA_DIGITS + missing;
    let bits = round_half_even(mantissa, dropped, hex.inexact) as u64;
    // A normal number's hidden bit adds one to the biased exponent, and so does a carry.
    let biased = (exponent - F64_EXPONENT_MIN).max(0) as u64;
    let value = f64::from_bits((biased << (f64::MANTISSA_DIGITS - 1)) + bits);
    (value.is_finite() && value != 0.0).then_some(value)
}

/// A number as text, on the stack.
#[derive(Clone, Copy)]
pub struct FloatText {
    bytes: [u8; FLOAT_TEXT_MAX],
    len: usize,
}

impl FloatText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..][..text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.len..][..count].fill(b'0');
        self.len += count;
    }
}

/// A double as Redis 8 writes it in replies and stores it: integers plainly, others by their
/// shortest digits, with an exponent where that is much shorter; "inf", "-inf", "nan", "-0".
pub fn format_f64(value: f64) -> FloatText {
    if value.abs() <= PLAIN_INTEGER_MAX && value.fract() == 0.0 && value != 0.0 {
        let mut text = FloatText { bytes: [0; FLOAT_TEXT_MAX], len: 0 };
        text.push(itoa::Buffer::new().format(value as i64).as_bytes());
        return text;
    }
    format_f64_shortest(value)
}

/// As [`format_f64`], but integers, too, by their shortest digits: 2^62 is "4611686018427388000".
/// How a stock server takes scores into its digests.
pub fn format_f64_shortest(value: f64) -> FloatText {
    let mut text = FloatText { bytes: [0; FLOAT_TEXT_MAX], len: 0 };
    if value.is_nan() {
        text.push(b"nan");
        return text;
    }
    if value.is_sign_negative() {
        text.push(b"-");
    }
    if value == 0.0 {
        text.push(b"0");
    } else if value.is_infinite() {
        text.push(b"inf");
    } else {
        place_digits(&mut text, &Shortest::of(value.abs()));
    }
    text
}

/// Appends `value` as [`format_f64`] has it.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(format_f64(value).as_bytes());
}

/// Writes digits with a point or an exponent, whichever Redis chooses.
fn place_digits(text: &mut FloatText, shortest: &Shortest) {
    let digits = shortest.digits();
    let len = digits.len() as i32;
    // The decimal exponent that the scientific form would have.
    let scientific = shortest.exponent + len - 1;
    if shortest.exponent >= 0 && scientific < len + ZEROS_APPENDED_MAX {
        text.push(digits);
        text.push_zeros(shortest.exponent as usize);
    } else if shortest.exponent < 0 && (shortest.exponent > -7 || scientific.abs() < 4) {
        if let Ok(high) = usize::try_from(scientific) {
            text.push(&digits[..=high]);
            text.push(b".");
            text.push(&digits[high + 1..]);
        } else {
            text.push(b"0.");
            text.push_zeros((-scientific - 1) as usize);
            text.push(digits);
        }
    } else {
        text.push(&digits[..1]);
        if len > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if scientific < 0 { b"e-" } else { b"e+" });
        text.push(itoa::Buffer::new().format(scientific.unsigned_abs()).as_bytes());
    }
}

/// Appends `value` as printf's `%.17g` writes it; how a stock server writes the scores of ZSCAN.
pub fn write_f64_17g(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() || value == 0.0 {
        return write_f64(out, value);
    }
    let scientific = format!("{:.*e}", PRECISION_17G - 1, value.abs());
    // "d.dddde-7": one digit, a point, the other digits, an exponent.
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let kept = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(0) + 1;
    if value < 0.0 {
        out.push(b'-');
    }
    if (-4..0).contains(&exponent) {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(&digits[..kept]);
    } else if (0..PRECISION_17G as i32).contains(&exponent) {
        let integer_len = exponent as usize + 1;
        out.extend_from_slice(&digits[..integer_len]);
        if kept > integer_len {
            out.push(b'.');
            out.extend_from_slice(&digits[integer_len..kept]);
        }
    } else {
        out.push(digits[0]);
        if kept > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..kept]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    }
}

/// A memory size as in redis.conf: digits and a unit of any case, powers of 1000 (k, m, g) or of
/// 1024 (kb, mb, gb), or bytes (b or nothing). None for anything else. As in a stock server no
/// digits are 0, digits beyond 64 bits are the largest number, and the product wraps.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits_len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_len);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1000 * 1000,
        b"mb" => 1 << 20,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if digits.len() > MEMORY_DIGITS_MAX {
        return None;
    }
    let append = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add((digit - b'0').into());
    let value = digits.iter().try_fold(0u64, append).unwrap_or(u64::MAX);
    Some(value.wrapping_mul(factor))
}

/// Appends a size for people, as INFO has it: "1.50G", below 1024 "512B". Units are powers of 1024.
pub fn write_human_size(out: &mut Vec<u8>, bytes: u64) {
    let units = [(10, b'K'), (20, b'M'), (30, b'G'), (40, b'T'), (50, b'P')];
    let unit = units.iter().rfind(|(shift, _)| bytes >> shift != 0 && bytes >> 60 == 0);
    let Some(&(shift, letter)) = unit else {
        write_u64(out, bytes);
        return out.push(b'B');
    };
    // A stock server divides doubles: 53 bits of the size count.
    let hundredths = round_half_even(u128::from(bytes as f64 as u64) * 100, shift, false) as u64;
    write_u64(out, hundredths / 100);
    let fraction = (hundredths % 100) as u8;
    out.extend_from_slice(&[b'.', b'0' + fraction / 10, b'0' + fraction % 10, letter]);
}

const U64_DIGITS_MAX: usize = 20;
const FLOAT_TEXT_MAX: usize = 32;
/// Half of the largest i64, as a double: integers up to here are written as integers.
const PLAIN_INTEGER_MAX: f64 = (1u64 << 62) as f64;
/// An integer gets up to this many zeros, counted from its last digit, before an exponent is
/// shorter.
const ZEROS_APPENDED_MAX: i32 = 7;
/// Integers of so many digits are below 2^53.
const INTEGER_DIGITS_EXACT: usize = 15;
const F64_EXPONENT_MAX: i64 = f64::MAX_EXP as i64 - 1;
const F64_EXPONENT_MIN: i64 = f64::MIN_EXP as i64 - 1;
const PRECISION_17G: usize = 17;
/// What fits the buffer of a stock server.
const MEMORY_DIGITS_MAX: usize = 127;

#[cfg(test)]
mod tests;
