//! The floating point texts that strtod takes as a whole in the C locale: decimal, hexadecimal and
//! infinity. Splits a text into its parts, exactly; rounding is the caller's. Source: ISO C,
//! 7.24.1.5.

/// What a text says, without its sign.
pub(super) enum Scanned<'a> {
    Infinity,
    Decimal(Decimal<'a>),
    Hex(Hex),
}

/// `integer.fraction * 10^exponent`; both are digits only, one of them may be empty.
pub(super) struct Decimal<'a> {
    pub(super) integer: &'a [u8],
    pub(super) fraction: &'a [u8],
    pub(super) exponent: i64,
}

/// `mantissa * 2^exponent`, plus something smaller than the mantissa's last bit when `inexact`;
/// then the mantissa has at least 125 significant bits.
pub(super) struct Hex {
    pub(super) mantissa: u128,
    pub(super) exponent: i64,
    pub(super) inexact: bool,
}

impl Decimal<'_> {
    pub(super) fn is_zero(&self) -> bool {
        self.integer.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }
}

/// Whether the number is negative, and its parts. None when `text` is not one number and nothing
/// else, or not a number at all: "nan" is refused, as Redis refuses it everywhere.
pub(super) fn scan(text: &[u8]) -> Option<(bool, Scanned<'_>)> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let scanned = match text {
        [b'0', b'x' | b'X', rest @ ..] => Scanned::Hex(scan_hex(rest)?),
        [b'0'..=b'9' | b'.', ..] => Scanned::Decimal(scan_decimal(text)?),
        _ if text.eq_ignore_ascii_case(b"inf") => Scanned::Infinity,
        _ if text.eq_ignore_ascii_case(b"infinity") => Scanned::Infinity,
        _ => return None,
    };
    Some((negative, scanned))
}

fn scan_decimal(text: &[u8]) -> Option<Decimal<'_>> {
    let (integer, fraction, rest) = split_digits(text, u8::is_ascii_digit)?;
    let exponent = scan_exponent(rest, b'e')?;
    Some(Decimal { integer, fraction, exponent })
}

fn scan_hex(text: &[u8]) -> Option<Hex> {
    let (integer, fraction, rest) = split_digits(text, u8::is_ascii_hexdigit)?;
    let mut hex = Hex { mantissa: 0, exponent: scan_exponent(rest, b'p')?, inexact: false };
    for &digit in integer {
        hex.append(digit);
    }
    for &digit in fraction {
        hex.append(digit);
        hex.exponent -= 4;
    }
    Some(hex)
}

impl Hex {
    /// Multiplies by 16 and adds a digit, as far as 128 bits hold it.
    fn append(&mut self, digit: u8) {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        if self.mantissa >> 124 == 0 {
            self.mantissa = self.mantissa << 4 | u128::from(value);
        } else {
            self.inexact |= value != 0;
            self.exponent += 4;
        }
    }
}

/// Digits, optionally a point and more digits, at least one digit in all; and the rest.
fn split_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = |text: &[u8]| text.iter().position(|byte| !is_digit(byte)).unwrap_or(text.len());
    let (integer, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(digits(rest)),
        _ => (&[][..], rest),
    };
    (integer.len() + fraction.len() > 0).then_some((integer, fraction, rest))
}

/// The exponent after `letter` (either case); 0 when there is nothing, None when there is anything
/// else.
fn scan_exponent(text: &[u8], letter: u8) -> Option<i64> {
    let [first, rest @ ..] = text else { return Some(0) };
    if first.to_ascii_lowercase() != letter {
        return None;
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut exponent = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        exponent = (exponent * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    }
    Some(if negative { -exponent } else { exponent })
}

/// `value / 2^bits` to the nearest integer, a tie to the even one; `inexact` says that the value is
/// a little more, by less than one. `bits` is not 0.
pub(super) fn round_half_even(value: u128, bits: u32, inexact: bool) -> u128 {
    if bits > u128::BITS {
        return 0;
    }
    let quotient = value.checked_shr(bits).unwrap_or(0);
    let rest = value - quotient.checked_shl(bits).unwrap_or(0);
    let half = 1u128 << (bits - 1);
    let up = rest > half || (rest == half && (inexact || quotient & 1 == 1));
    quotient + u128::from(up)
}

/// Exponents are cut here: far beyond any length that a text can have, so that the digits cannot
/// make up for it, and far below overflow.
const EXPONENT_MAX: i64 = 1 << 56;
