//! The 80-bit extended numbers of x86 in software: what INCRBYFLOAT and HINCRBYFLOAT calculate
//! with, so that their replies are those of a stock server on x86, byte for byte, on every machine.
//!
//! Invariant: a finite value is `mantissa * 2^exponent`; the mantissa's highest bit is set, or the
//! exponent is `EXPONENT_MIN` (a subnormal number, or 0). Every result is the exact one, rounded to
//! nearest, ties to even. Source: Intel SDM volume 1, 4.2.2; IEEE 754 binary64 extended.

mod bignum;

use bignum::Big;

use super::float_scan::{Decimal, Hex, Scanned, round_half_even, scan};

/// An 80-bit extended number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i32 },
    Infinite,
    Nan,
}

impl LongDouble {
    /// The number that all of `text` is, as strtold reads it (decimal, hexadecimal, infinity). None
    /// where Redis has no float: other bytes around it, "nan", 5120 bytes or more, a value that
    /// overflows, or that underflows to 0.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_LEN_MAX {
            return None;
        }
        let (negative, scanned) = scan(text)?;
        let magnitude = match scanned {
            Scanned::Infinity => Magnitude::Infinite,
            Scanned::Hex(hex) => checked(hex.mantissa == 0, from_hex(&hex))?,
            Scanned::Decimal(decimal) => checked(decimal.is_zero(), from_decimal(&decimal))?,
        };
        Some(Self { negative, magnitude })
    }

    /// Whether this is not a number: what adding opposite infinities gives.
    pub fn is_nan(self) -> bool {
        self.magnitude == Magnitude::Nan
    }

    /// Whether this is infinite, of either sign.
    pub fn is_infinite(self) -> bool {
        self.magnitude == Magnitude::Infinite
    }

    /// The text that Redis stores and replies: 17 decimals without the zeros at their end, never an
    /// exponent; "inf", "-inf", "nan". At most 4934 bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        let (mantissa, exponent) = match self.magnitude {
            Magnitude::Nan => return out.extend_from_slice(b"nan"),
            Magnitude::Infinite if self.negative => return out.extend_from_slice(b"-inf"),
            Magnitude::Infinite => return out.extend_from_slice(b"inf"),
            Magnitude::Finite { mantissa, exponent } => (mantissa, exponent),
        };
        if exponent >= 0 {
            if self.negative {
                out.push(b'-');
            }
            return Big::from(mantissa).shifted_left(exponent as u32).write_decimal(out);
        }
        // 64 bits of mantissa and 57 of 10^17 fit 128.
        let scaled = u128::from(mantissa) * u128::from(DECIMALS_FACTOR);
        let scaled = round_half_even(scaled, exponent.unsigned_abs(), false);
        let factor = u128::from(DECIMALS_FACTOR);
        let (integer, fraction) = ((scaled / factor) as u64, (scaled % factor) as u64);
        // What rounds to 0 is "-0" to a stock server, too, which it makes "0".
        if self.negative && scaled != 0 {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        if fraction != 0 {
            let decimals = format!(".{fraction:017}");
            out.extend_from_slice(decimals.trim_end_matches('0').as_bytes());
        }
    }
}

impl From<i64> for LongDouble {
    /// Exact: 64 bits hold every i64.
    fn from(value: i64) -> Self {
        let magnitude = round(u128::from(value.unsigned_abs()), 0, false);
        Self { negative: value < 0, magnitude }
    }
}

impl std::ops::Add for LongDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (left, right) = match (self.magnitude, other.magnitude) {
            (Magnitude::Nan, _) => return self,
            (_, Magnitude::Nan) => return other,
            (Magnitude::Infinite, Magnitude::Infinite) if self.negative != other.negative => {
                return Self { negative: true, magnitude: Magnitude::Nan };
            }
            (Magnitude::Infinite, _) => return self,
            (_, Magnitude::Infinite) => return other,
            (
                Magnitude::Finite { mantissa, exponent },
                Magnitude::Finite { mantissa: other_mantissa, exponent: other_exponent },
            ) => ((exponent, mantissa), (other_exponent, other_mantissa)),
        };
        // Normalized numbers are ordered by exponent first, then by mantissa.
        let (negative, (exponent, large), (small_exponent, small)) = if left >= right {
            (self.negative, left, right)
        } else {
            (other.negative, right, left)
        };
        // With `GUARD_BITS` below the mantissa, either all bits of the small number are kept, or it
        // is too small to cancel more than one bit, and one bit can stand for all that are lost.
        let large = u128::from(large) << GUARD_BITS;
        let small = u128::from(small) << GUARD_BITS;
        let distance = (exponent - small_exponent) as u32;
        let aligned = small.checked_shr(distance).unwrap_or(0);
        let lost = aligned.checked_shl(distance).unwrap_or(0) != small;
        let aligned = aligned | u128::from(lost);
        let same_sign = self.negative == other.negative;
        let sum = if same_sign { large + aligned } else { large - aligned };
        // x - x is +0; -0 only comes of -0 and -0.
        let negative = if sum == 0 { self.negative && other.negative } else { negative };
        Self { negative, magnitude: round(sum, i64::from(exponent) - i64::from(GUARD_BITS), false) }
    }
}

/// What strtold calls a range error is no number: infinity, and 0 that was not 0.
fn checked(is_zero: bool, magnitude: Magnitude) -> Option<Magnitude> {
    match magnitude {
        Magnitude::Finite { mantissa, .. } => (is_zero || mantissa != 0).then_some(magnitude),
        Magnitude::Infinite | Magnitude::Nan => None,
    }
}

fn from_hex(hex: &Hex) -> Magnitude {
    round(hex.mantissa, hex.exponent, hex.inexact)
}

fn from_decimal(decimal: &Decimal<'_>) -> Magnitude {
    let all = || decimal.integer.iter().chain(decimal.fraction).copied();
    let leading_zeros = all().take_while(|&digit| digit == b'0').count();
    let trailing_zeros = all().rev().take_while(|&digit| digit == b'0').count();
    let all_len = decimal.integer.len() + decimal.fraction.len();
    let Some(len) = all_len.checked_sub(leading_zeros + trailing_zeros) else {
        return ZERO;
    };
    let digits = || all().skip(leading_zeros).take(len);
    // The value is the integer of these digits, times 10^exponent.
    let exponent = decimal.exponent - decimal.fraction.len() as i64 + trailing_zeros as i64;
    let above_all = exponent + len as i64;
    if len == 0 || above_all < DECIMAL_EXPONENT_MIN {
        return ZERO;
    }
    if above_all > DECIMAL_EXPONENT_MAX {
        return Magnitude::Infinite;
    }
    let power = exponent.unsigned_abs() as u32;
    if len <= U64_DIGITS && power <= POWER_SHORT_MAX {
        let integer = digits().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        return from_short(integer, exponent < 0, 10u64.pow(power));
    }
    let mut integer = Big::from(0);
    for digit in digits() {
        integer.multiply_add(10, u32::from(digit - b'0'));
    }
    if exponent >= 0 {
        integer.multiply_power_of_ten(power);
        let (top, exponent, inexact) = integer.top_bits();
        return round(top, i64::from(exponent), inexact);
    }
    let mut divisor = Big::from(1);
    divisor.multiply_power_of_ten(power);
    let (quotient, exponent, inexact) = integer.divide(divisor);
    round(quotient, i64::from(exponent), inexact)
}

/// The common case, without big numbers: `integer * power` or `integer / power`.
fn from_short(integer: u64, divides: bool, power: u64) -> Magnitude {
    let (integer, power) = (u128::from(integer), u128::from(power));
    if !divides {
        return round(integer * power, 0, false);
    }
    // 127 bits by at most 60 leave at least 67.
    let shift = integer.leading_zeros();
    let dividend = integer << shift;
    round(dividend / power, -i64::from(shift), dividend % power != 0)
}

/// `value * 2^exponent`, plus less than one unit of it when `inexact`; then the value has more than
/// 64 significant bits, or the exponent is so low that those are cut off.
fn round(value: u128, exponent: i64, inexact: bool) -> Magnitude {
    if value == 0 {
        return ZERO;
    }
    let significant = i64::from(u128::BITS - value.leading_zeros());
    // Cut to 64 bits, and to more below the smallest exponent.
    let dropped = (significant - MANTISSA_BITS).max(i64::from(EXPONENT_MIN) - exponent);
    let (mantissa, exponent) = if dropped > 0 {
        let dropped = dropped.min(i64::from(u32::MAX)) as u32;
        (round_half_even(value, dropped, inexact), exponent.saturating_add(i64::from(dropped)))
    } else {
        (value, exponent)
    };
    if mantissa == 0 {
        return ZERO;
    }
    // Rounding may have carried into a 65th bit, and an exact small value has fewer than 64.
    let significant = i64::from(u128::BITS - mantissa.leading_zeros());
    let shift = (MANTISSA_BITS - significant).min(exponent - i64::from(EXPONENT_MIN));
    let mantissa = if shift >= 0 { mantissa << shift } else { mantissa >> -shift };
    let exponent = exponent - shift;
    if exponent > i64::from(EXPONENT_MAX) {
        return Magnitude::Infinite;
    }
    Magnitude::Finite { mantissa: mantissa as u64, exponent: exponent as i32 }
}

const ZERO: Magnitude = Magnitude::Finite { mantissa: 0, exponent: EXPONENT_MIN };
const MANTISSA_BITS: i64 = 64;
/// Of the lowest bit of a mantissa: 1 - 16383 - 63.
const EXPONENT_MIN: i32 = -16445;
/// 16383 - 63.
const EXPONENT_MAX: i32 = 16320;
const GUARD_BITS: u32 = 62;
const DECIMALS_FACTOR: u64 = 100_000_000_000_000_000;
/// What fits the buffer of a stock server, its terminator included.
const TEXT_LEN_MAX: usize = 5 * 1024;
/// Values from 10^4933 are infinite, those below 10^-4952 are 0, whatever their digits.
const DECIMAL_EXPONENT_MAX: i64 = 4933;
const DECIMAL_EXPONENT_MIN: i64 = -4951;
/// So many digits always fit a u64.
const U64_DIGITS: usize = 19;
/// 10^18 is below 2^60.
const POWER_SHORT_MAX: u32 = 18;

#[cfg(test)]
mod tests;
