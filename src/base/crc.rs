//! The two checksums of the Redis formats: CRC-16/XMODEM (cluster hash slots) and the CRC-64 of RDB
//! files and DUMP payloads. Pure functions over bytes; the tables are computed by the compiler.
//!
//! Both use slicing (Kounavis and Berry, "A Systematic Approach to Building High Performance
//! Software-based CRC Generators"): table `k` holds what one byte contributes when `k` more bytes
//! follow it, so eight bytes cost eight independent loads instead of a chain of eight.

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, not reflected. Source: Redis Cluster
/// specification, appendix A.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        crc = crc16_head::<7>(crc, eight[0], eight[1])
            ^ CRC16[5][eight[2] as usize]
            ^ CRC16[4][eight[3] as usize]
            ^ CRC16[3][eight[4] as usize]
            ^ CRC16[2][eight[5] as usize]
            ^ CRC16[1][eight[6] as usize]
            ^ CRC16[0][eight[7] as usize];
    }
    // Keys are short: a loop over the up to seven bytes left would be most of the work.
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        crc = crc16_head::<3>(crc, four[0], four[1])
            ^ CRC16[1][four[2] as usize]
            ^ CRC16[0][four[3] as usize];
    }
    let (pairs, rest) = rest.as_chunks::<2>();
    for pair in pairs {
        crc = crc16_head::<1>(crc, pair[0], pair[1]);
    }
    for &byte in rest {
        crc = (crc << 8) ^ CRC16[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// The first two bytes of a group take in the checksum so far; `TABLE` bytes follow the first.
#[inline(always)]
fn crc16_head<const TABLE: usize>(crc: u16, first: u8, second: u8) -> u16 {
    let [high, low] = crc.to_be_bytes();
    CRC16[TABLE][(first ^ high) as usize] ^ CRC16[TABLE - 1][(second ^ low) as usize]
}

/// The CRC-64 `crc` after so many zero bytes. With it the checksums of two parts become that of
/// both: `crc64_zeros(one, length of the other) ^ other`. O(log zeros).
pub fn crc64_zeros(crc: u64, zeros: u64) -> u64 {
    // One step of eight zero bits, squared again and again: linear maps over bits.
    let mut map: [u64; 64] = std::array::from_fn(|bit| crc64(1 << bit, &[0]));
    let (mut crc, mut left) = (crc, zeros);
    while left > 0 {
        if left & 1 == 1 {
            crc = apply(&map, crc);
        }
        left >>= 1;
        map = std::array::from_fn(|bit| apply(&map, map[bit]));
    }
    crc
}

/// A linear map, given by what it makes of each bit, applied to a word.
fn apply(map: &[u64; 64], mut word: u64) -> u64 {
    let mut sum = 0;
    while word != 0 {
        sum ^= map[word.trailing_zeros() as usize];
        word &= word - 1;
    }
    sum
}

/// Continues the CRC-64 `crc` (0 to begin) over `bytes`. Polynomial 0xad93d23594c935a9 (Jones),
/// reflected in and out, initial value and final xor 0. Source: the RDB file format.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut crc = crc;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mixed = (crc ^ u64::from_le_bytes(*eight)).to_le_bytes();
        crc = CRC64[7][mixed[0] as usize]
            ^ CRC64[6][mixed[1] as usize]
            ^ CRC64[5][mixed[2] as usize]
            ^ CRC64[4][mixed[3] as usize]
            ^ CRC64[3][mixed[4] as usize]
            ^ CRC64[2][mixed[5] as usize]
            ^ CRC64[1][mixed[6] as usize]
            ^ CRC64[0][mixed[7] as usize];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ CRC64[0][(crc as u8 ^ byte) as usize];
    }
    crc
}

static CRC16: [[u16; 256]; 8] = crc16_tables();
static CRC64: [[u64; 256]; 8] = crc64_tables();

const CRC16_POLYNOMIAL: u16 = 0x1021;
const CRC64_POLYNOMIAL_REFLECTED: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= CRC16_POLYNOMIAL;
            }
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[table - 1][byte];
            tables[table][byte] = (shorter << 8) ^ tables[0][(shorter >> 8) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

const fn crc64_tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1 != 0;
            crc >>= 1;
            if carry {
                crc ^= CRC64_POLYNOMIAL_REFLECTED;
            }
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[table - 1][byte];
            tables[table][byte] = (shorter >> 8) ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_values_of_the_catalogues() {
        assert_eq!(crc16(b""), 0);
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc64(0, b""), 0);
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    fn crc16_bitwise(bytes: &[u8]) -> u16 {
        let mut crc = 0u16;
        for &byte in bytes {
            crc ^= u16::from(byte) << 8;
            for _ in 0..8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ CRC16_POLYNOMIAL };
            }
        }
        crc
    }

    fn crc64_bitwise(mut crc: u64, bytes: &[u8]) -> u64 {
        for &byte in bytes {
            crc ^= u64::from(byte);
            for _ in 0..8 {
                let carry = crc & 1 != 0;
                crc = (crc >> 1) ^ if carry { CRC64_POLYNOMIAL_REFLECTED } else { 0 };
            }
        }
        crc
    }

    proptest! {
        #[test]
        fn slicing_equals_bit_by_bit(bytes: Vec<u8>, start: u64) {
            prop_assert_eq!(crc16(&bytes), crc16_bitwise(&bytes));
            prop_assert_eq!(crc64(start, &bytes), crc64_bitwise(start, &bytes));
        }

        #[test]
        fn crc64_goes_on_where_it_stopped(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc64(crc64(0, head), tail), crc64(0, &bytes));
        }
    }
}
