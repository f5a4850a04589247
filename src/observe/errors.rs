//! Error replies by code (`ERR`, `WRONGTYPE` ...), as INFO errorstats shows them.
//!
//! Invariant: the core that counts is the only writer; whoever reads while the set of codes changes
//! reads again, so a count is never shown under another code. Source: "errorstats" of Redis 8.0.6.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::log;
use super::stats::Counter;

/// Codes that are told apart.
const CODES_MAX: usize = 128;
/// Bytes of a code: what has no blank within them counts as `ERR`.
const CODE_BYTES_MAX: usize = 30;
/// The one code that is left when there were too many.
const DISABLED: &[u8] = b"ERRORSTATS_DISABLED";
const WORD_BYTES: usize = size_of::<u64>();
const CODE_WORDS: usize = (CODE_BYTES_MAX + 1).div_ceil(WORD_BYTES);

/// A code, its length in front, padded with zeros.
type Packed = [u64; CODE_WORDS];

/// A code and its count.
#[derive(Debug, Default)]
struct Slot {
    code: [AtomicU64; CODE_WORDS],
    count: Counter,
}

/// The counts of one core.
#[derive(Debug)]
pub struct ErrorStats {
    slots: [Slot; CODES_MAX],
    /// Slots in use, from the first on.
    used: Counter,
    /// Odd while slots are given to codes or taken from them.
    version: AtomicU64,
}

impl Default for ErrorStats {
    fn default() -> Self {
        ErrorStats {
            slots: std::array::from_fn(|_| Slot::default()),
            used: Counter::default(),
            version: AtomicU64::new(0),
        }
    }
}

impl ErrorStats {
    /// Counts one error line (without `-`); its first word is the code. When there are too many codes,
    /// nothing is counted any more until the next reset. Only the owner may. Returns how many codes
    /// were forgotten.
    pub fn count(&self, line: &[u8]) -> usize {
        let start = &line[..line.len().min(CODE_BYTES_MAX + 1)];
        let code =
            start.iter().position(|byte| *byte == b' ').map_or(&b"ERR"[..], |end| &line[..end]);
        let (code, used) = (pack(code), self.used.get() as usize);
        if let Some(slot) = self.slots[..used].iter().find(|slot| slot.holds(&code)) {
            slot.count.add(1);
        } else if used == CODES_MAX {
            self.report();
            self.change(|| {
                self.used.set(1);
                self.slots[0].begin(&pack(DISABLED));
            });
            return CODES_MAX;
        } else if !self.is_disabled() {
            self.change(|| {
                self.slots[used].begin(&code);
                self.used.add(1);
            });
        }
        0
    }

    fn is_disabled(&self) -> bool {
        self.used.get() == 1 && self.slots[0].holds(&pack(DISABLED))
    }

    fn change(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change();
        self.version.store(version + 2, Ordering::Release);
    }

    #[cold]
    fn report(&self) {
        log::warning(
            "Errorstats stopped adding new errors because the number of errors reached the limit, \
             may be misuse of lua error_reply, please check INFO ERRORSTATS, this can be re-enabled \
             via CONFIG RESETSTAT.",
        );
        let codes: Vec<String> = self.all().into_iter().map(|(code, _)| shown(&code)).collect();
        log::warning(format!("Current errors code list: {}", codes.join(", ")));
    }

    /// Every code that was counted since the last reset, with its count.
    pub fn all(&self) -> Vec<(Vec<u8>, u64)> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let slots = &self.slots[..self.used.get() as usize];
            let all = slots.iter().map(|slot| (unpack(&slot.words()), slot.count.get())).collect();
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return all;
            }
            std::hint::spin_loop();
        }
    }

    /// Forgets all codes; only the owner may.
    pub fn reset(&self) {
        self.change(|| self.used.set(0));
    }
}

/// A code in the form of INFO, in which some bytes mean something themselves.
pub fn shown(code: &[u8]) -> String {
    String::from_utf8_lossy(code).replace(['#', ':', '\n', '\r'], "_")
}

impl Slot {
    fn words(&self) -> Packed {
        std::array::from_fn(|at| self.code[at].load(Ordering::Relaxed))
    }

    fn holds(&self, code: &Packed) -> bool {
        self.words() == *code
    }

    fn begin(&self, code: &Packed) {
        for (place, word) in self.code.iter().zip(code) {
            place.store(*word, Ordering::Relaxed);
        }
        self.count.set(1);
    }
}

fn pack(code: &[u8]) -> Packed {
    let mut bytes = [0; CODE_WORDS * WORD_BYTES];
    bytes[0] = code.len() as u8;
    bytes[1..=code.len()].copy_from_slice(code);
    let mut words = bytes.chunks_exact(WORD_BYTES);
    std::array::from_fn(|_| {
        let word = words.next().and_then(|word| word.try_into().ok());
        u64::from_le_bytes(word.expect("as many as there are words"))
    })
}

/// The code of a slot; a torn one, which is read again, may be of any length.
fn unpack(words: &Packed) -> Vec<u8> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes[1..].iter().take(usize::from(bytes[0])).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(errors: &ErrorStats) -> Vec<(String, u64)> {
        errors.all().into_iter().map(|(code, count)| (shown(&code), count)).collect()
    }

    #[test]
    fn errors_are_counted_by_code() {
        let errors = ErrorStats::default();
        errors.count(b"ERR one");
        errors.count(b"WRONGTYPE x");
        errors.count(b"WITHOUT_BLANK");
        errors.count(b"A_CODE_OF_THIRTY_ONE_BYTES_____ x");
        errors.count(b"A_CODE_OF_THIRTY_BYTES:_______ x");
        let thirty = "A_CODE_OF_THIRTY_BYTES________";
        let expected = [("ERR", 3), ("WRONGTYPE", 1), (thirty, 1)];
        assert_eq!(all(&errors), expected.map(|(code, count)| (code.to_owned(), count)));
        errors.reset();
        assert_eq!(all(&errors), []);
    }

    #[test]
    fn too_many_codes_end_the_count_until_the_next_reset() {
        let errors = ErrorStats::default();
        let forgotten: usize =
            (0..1100).map(|number| errors.count(format!("{number} x").as_bytes())).sum();
        assert_eq!(forgotten, CODES_MAX);
        errors.count(b"ERR x");
        assert_eq!(all(&errors), [("ERRORSTATS_DISABLED".to_owned(), 1)]);
        errors.reset();
        errors.count(b"ERR x");
        assert_eq!(all(&errors), [("ERR".to_owned(), 1)]);
    }
}
