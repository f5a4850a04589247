//! An f64 as decimal digits that read back as the same f64: Grisu2, nearly always the fewest digits
//! and nearly always the closest. Where Grisu2 is neither (1e23), the digits must still be the ones
//! that a stock server replies, so this is Grisu2 with its choices and not an exact algorithm.
//! Source: Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers" (2010).

/// A positive number as decimal digits: the integer that `digits` spell, times `10^exponent`.
pub(super) struct Shortest {
    digits: [u8; DIGITS_MAX],
    len: usize,
    /// The power of ten of the last digit.
    pub(super) exponent: i32,
}

impl Shortest {
    /// The digits of `value`, which is finite, not 0 and taken without its sign.
    pub(super) fn of(value: f64) -> Self {
        let exact = Scaled::of(value);
        let (lower, upper) = exact.boundaries();
        let exact = exact.normalized();
        let (power, decimal_exponent) = cached_power(upper.exponent);
        let exact = exact.times(power);
        let mut lower = lower.times(power);
        let mut upper = upper.times(power);
        // The products are off by less than one unit: stay inside the interval for sure.
        lower.fraction += 1;
        upper.fraction -= 1;
        let mut shortest = Self { digits: [0; DIGITS_MAX], len: 0, exponent: -decimal_exponent };
        shortest.generate(exact, lower, upper);
        shortest
    }

    /// The digits as ASCII, the first of them not '0'.
    pub(super) fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// Takes digits of `upper` until the rest fits into the interval.
    fn generate(&mut self, exact: Scaled, lower: Scaled, upper: Scaled) {
        let point = -upper.exponent;
        let below_point = (1u64 << point) - 1;
        let mut slack = upper.fraction - lower.fraction;
        let mut distance = upper.fraction - exact.fraction;
        let mut integer = upper.fraction >> point;
        let mut rest = upper.fraction & below_point;
        for place in (0..INTEGER_DIGITS).rev() {
            let unit = 10u64.pow(place);
            self.push((integer / unit) as u8);
            integer %= unit;
            let left = (integer << point) + rest;
            if left <= slack {
                self.exponent += place as i32;
                self.round(distance, slack, left, unit << point);
                return;
            }
        }
        loop {
            rest *= 10;
            slack *= 10;
            distance *= 10;
            self.push((rest >> point) as u8);
            rest &= below_point;
            self.exponent -= 1;
            if rest < slack {
                self.round(distance, slack, rest, 1 << point);
                return;
            }
        }
    }

    /// Appends a digit, but no leading zero.
    fn push(&mut self, digit: u8) {
        if digit != 0 || self.len > 0 {
            self.digits[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Lowers the last digit while that stays in the interval and comes closer to the exact value.
    /// All are distances below `upper`; `unit` is what the last digit is worth.
    fn round(&mut self, distance: u64, slack: u64, mut left: u64, unit: u64) {
        while left < distance
            && slack - left >= unit
            && (left + unit < distance || distance - left > left + unit - distance)
        {
            self.digits[self.len - 1] -= 1;
            left += unit;
        }
    }
}

/// `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Scaled {
    fraction: u64,
    exponent: i32,
}

impl Scaled {
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let fraction = bits & (HIDDEN_BIT - 1);
        match (bits >> 52 & 0x7ff) as i32 {
            0 => Self { fraction, exponent: 1 - EXPONENT_BIAS },
            biased => Self { fraction: fraction | HIDDEN_BIT, exponent: biased - EXPONENT_BIAS },
        }
    }

    /// Halfway to the next smaller and the next larger f64, with one exponent, the larger of the
    /// two normalized. For the smallest normal number the lower one is closer than it need be, as
    /// in every Grisu that stock servers have used.
    fn boundaries(self) -> (Self, Self) {
        let upper = Self { fraction: (self.fraction << 1) + 1, exponent: self.exponent - 1 };
        let upper = upper.normalized();
        let closer = u32::from(self.fraction == HIDDEN_BIT) + 1;
        let lower = (self.fraction << closer) - 1;
        let shift = self.exponent - closer as i32 - upper.exponent;
        (Self { fraction: lower << shift, exponent: upper.exponent }, upper)
    }

    /// The same value with its highest bit set.
    fn normalized(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Self { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    /// The product, its fraction rounded to the nearest.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        let rounded = (product + (1 << 63)) >> 64;
        Self { fraction: rounded as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// A power of ten that brings a number with this exponent into `PRODUCT_EXPONENTS`, and its
/// decimal exponent. Where two do, the estimate decides, as it does in a stock server.
fn cached_power(exponent: i32) -> (Scaled, i32) {
    let estimate =
        (f64::from(-(exponent + POWERS.len() as i32)) * std::f64::consts::LOG10_2) as i32;
    let mut index = ((estimate - FIRST_POWER) / POWER_STEP) as usize;
    loop {
        let (fraction, power_exponent) = POWERS[index];
        let product_exponent = exponent + i32::from(power_exponent) + 64;
        if product_exponent < *PRODUCT_EXPONENTS.start() {
            index += 1;
        } else if product_exponent > *PRODUCT_EXPONENTS.end() {
            index -= 1;
        } else {
            let power = Scaled { fraction, exponent: i32::from(power_exponent) };
            return (power, FIRST_POWER + index as i32 * POWER_STEP);
        }
    }
}

const DIGITS_MAX: usize = 20;
/// Digits that the part above the point can have: it is below 2^32.
const INTEGER_DIGITS: u32 = 10;
const HIDDEN_BIT: u64 = 1 << 52;
const EXPONENT_BIAS: i32 = 1023 + 52;
/// With an exponent in here the integer part of a product fits 32 bits, and ten times its fraction
/// part fits 64.
const PRODUCT_EXPONENTS: std::ops::RangeInclusive<i32> = -60..=-32;
const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// `10^(FIRST_POWER + POWER_STEP * index)` as a fraction of 64 bits, rounded to the nearest, and a
/// binary exponent.
#[rustfmt::skip]
static POWERS: [(u64, i16); 87] = [
    (0xfa8fd5a0081c0288, -1220), (0xbaaee17fa23ebf76, -1193), (0x8b16fb203055ac76, -1166),
    (0xcf42894a5dce35ea, -1140), (0x9a6bb0aa55653b2d, -1113), (0xe61acf033d1a45df, -1087),
    (0xab70fe17c79ac6ca, -1060), (0xff77b1fcbebcdc4f, -1034), (0xbe5691ef416bd60c, -1007),
    (0x8dd01fad907ffc3c, -980), (0xd3515c2831559a83, -954), (0x9d71ac8fada6c9b5, -927),
    (0xea9c227723ee8bcb, -901), (0xaecc49914078536d, -874), (0x823c12795db6ce57, -847),
    (0xc21094364dfb5637, -821), (0x9096ea6f3848984f, -794), (0xd77485cb25823ac7, -768),
    (0xa086cfcd97bf97f4, -741), (0xef340a98172aace5, -715), (0xb23867fb2a35b28e, -688),
    (0x84c8d4dfd2c63f3b, -661), (0xc5dd44271ad3cdba, -635), (0x936b9fcebb25c996, -608),
    (0xdbac6c247d62a584, -582), (0xa3ab66580d5fdaf6, -555), (0xf3e2f893dec3f126, -529),
    (0xb5b5ada8aaff80b8, -502), (0x87625f056c7c4a8b, -475), (0xc9bcff6034c13053, -449),
    (0x964e858c91ba2655, -422), (0xdff9772470297ebd, -396), (0xa6dfbd9fb8e5b88f, -369),
    (0xf8a95fcf88747d94, -343), (0xb94470938fa89bcf, -316), (0x8a08f0f8bf0f156b, -289),
    (0xcdb02555653131b6, -263), (0x993fe2c6d07b7fac, -236), (0xe45c10c42a2b3b06, -210),
    (0xaa242499697392d3, -183), (0xfd87b5f28300ca0e, -157), (0xbce5086492111aeb, -130),
    (0x8cbccc096f5088cc, -103), (0xd1b71758e219652c, -77), (0x9c40000000000000, -50),
    (0xe8d4a51000000000, -24), (0xad78ebc5ac620000, 3), (0x813f3978f8940984, 30),
    (0xc097ce7bc90715b3, 56), (0x8f7e32ce7bea5c70, 83), (0xd5d238a4abe98068, 109),
    (0x9f4f2726179a2245, 136), (0xed63a231d4c4fb27, 162), (0xb0de65388cc8ada8, 189),
    (0x83c7088e1aab65db, 216), (0xc45d1df942711d9a, 242), (0x924d692ca61be758, 269),
    (0xda01ee641a708dea, 295), (0xa26da3999aef774a, 322), (0xf209787bb47d6b85, 348),
    (0xb454e4a179dd1877, 375), (0x865b86925b9bc5c2, 402), (0xc83553c5c8965d3d, 428),
    (0x952ab45cfa97a0b3, 455), (0xde469fbd99a05fe3, 481), (0xa59bc234db398c25, 508),
    (0xf6c69a72a3989f5c, 534), (0xb7dcbf5354e9bece, 561), (0x88fcf317f22241e2, 588),
    (0xcc20ce9bd35c78a5, 614), (0x98165af37b2153df, 641), (0xe2a0b5dc971f303a, 667),
    (0xa8d9d1535ce3b396, 694), (0xfb9b7cd9a4a7443c, 720), (0xbb764c4ca7a44410, 747),
    (0x8bab8eefb6409c1a, 774), (0xd01fef10a657842c, 800), (0x9b10a4e5e9913129, 827),
    (0xe7109bfba19c0c9d, 853), (0xac2820d9623bf429, 880), (0x80444b5e7aa7cf85, 907),
    (0xbf21e44003acdd2d, 933), (0x8e679c2f5e44ff8f, 960), (0xd433179d9c8cb841, 986),
    (0x9e19db92b4e31ba9, 1013), (0xeb96bf6ebadf77d9, 1039), (0xaf87023b9bf0ee6b, 1066),
];
